package netns

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the tests' program does over UDP within the jail.

// jailUDPBig sends one large datagram and says how much came back.
func jailUDPBig(arg string) string {
	to, size, _ := strings.Cut(arg, " ")
	n, _ := strconv.Atoi(size)
	c, err := net.Dial("udp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, n)); err != nil {
		return short(err)
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 1<<16)
	if n, err = c.Read(b); err != nil {
		return short(err)
	}
	return fmt.Sprintf("ok big %d", n)
}

func jailUDPBind(at string) string {
	c, err := net.ListenPacket("udp4", at)
	if err != nil {
		return short(err)
	}
	c.Close()
	return "ok"
}

// jailUDPQuiet sends a datagram and waits a moment for an answer that must not come; a
// second one is then refused.
func jailUDPQuiet(to string) string {
	c, err := net.Dial("udp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	for {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			if errors.Is(err, unix.ECONNREFUSED) {
				return "quiet"
			}
			return short(err)
		}
		b := make([]byte, 100)
		c.SetDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Read(b)
		switch {
		case err == nil:
			return "ok " + string(b[:n])
		case errors.Is(err, unix.ECONNREFUSED):
			return "quiet"
		}
	}
}

// jailUDPMany exchanges a datagram over each of many sockets, which stay open.
func jailUDPMany(arg string) string {
	to, count, _ := strings.Cut(arg, " ")
	n, _ := strconv.Atoi(count)
	for i := range n {
		c, err := net.Dial("udp", to)
		if err != nil {
			return short(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			return short(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 100)
		if _, err := c.Read(b); err != nil {
			return fmt.Sprintf("%d: %s", i, short(err))
		}
	}
	return fmt.Sprintf("ok %d", n)
}
