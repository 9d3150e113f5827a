package netns

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// jailFuncs are what the process in the jail can be told to do. Each answers
// "ok ..." or the error in short.
var jailFuncs = map[string]func(string) string{
	"resolve":   jailResolve,
	"tcp":       jailTCP,
	"tls":       jailTLS,
	"http":      jailHTTP,
	"udp":       jailUDP,
	"udpbig":    jailUDPBig,
	"knock":     jailKnock,
	"udpbind":   jailUDPBind,
	"udpquiet":  jailUDPQuiet,
	"udpmany":   jailUDPMany,
	"own":       jailOwn,
	"many":      jailMany,
	"bulk":      jailBulk,
	"halfclose": jailHalfClose,
	"ping":      jailPing,
	"raw":       jailRaw,
	"send":      jailSend,
	"bind":      jailBind,
	"ssh":       jailSSH,
	"hold":      jailHold,
	"upgrade":   jailUpgrade,
}

func jailLookup() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network[:3], net.JoinHostPort(dnsAddr4.String(), "53"))
	}}
}

func jailDialer() *net.Dialer { return &net.Dialer{Timeout: 10 * time.Second, Resolver: jailLookup()} }

// short is an error as its errno, so that tests don't depend on wording.
func short(err error) string {
	var errno unix.Errno
	var dns *net.DNSError
	var alert tls.AlertError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "NXDOMAIN"
	case errors.As(err, &alert):
		return "alert " + strconv.Itoa(int(alert))
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	return err.Error()
}

func jailResolve(name string) string {
	addrs, err := jailLookup().LookupNetIP(context.Background(), "ip", name)
	if err != nil {
		return short(err)
	}
	var s []string
	for _, a := range addrs {
		s = append(s, a.Unmap().String())
	}
	return "ok " + strings.Join(s, " ")
}

// jailTCP connects and reports what comes back for a line.
func jailTCP(to string) string {
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return short(err)
	}
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err != nil {
		return short(err)
	}
	return "ok " + string(b[:n])
}

type tlsArg struct {
	To, SNI string
	ECH     bool
}

func jailTLS(arg string) string {
	var a tlsArg
	json.Unmarshal([]byte(arg), &a)
	c, err := jailDialer().Dial("tcp", a.To)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	t := tls.Client(c, &tls.Config{ServerName: a.SNI, InsecureSkipVerify: true})
	if err := t.Handshake(); err != nil {
		return short(err)
	}
	fmt.Fprintf(t, "GET / HTTP/1.0\r\n\r\n")
	b, _ := io.ReadAll(t)
	_, body, _ := strings.Cut(string(b), "\r\n\r\n")
	return "ok " + body
}

// jailSend connects, sends the bytes, and returns all that comes.
func jailSend(arg string) string {
	to, text, _ := strings.Cut(arg, " ")
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte(text)); err != nil {
		return short(err)
	}
	b, err := io.ReadAll(c)
	if len(b) == 0 && err != nil {
		return short(err)
	}
	return string(b)
}

func jailHTTP(url string) string {
	t := &http.Transport{DialContext: jailDialer().DialContext}
	defer t.CloseIdleConnections()
	host := ""
	if i := strings.IndexByte(url, ' '); i >= 0 {
		url, host = url[:i], url[i+1:]
	}
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err.Error()
	}
	req.Host = host
	resp, err := (&http.Client{Transport: t, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return short(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, b)
}

func jailUDP(to string) string {
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
	n, err := c.Read(b)
	if err != nil {
		return short(err)
	}
	return "ok " + string(b[:n])
}

// jailOwn starts a server of the agent's own at the address and talks to it by the
// address behind the space.
func jailOwn(arg string) string {
	at, to, _ := strings.Cut(arg, " ")
	l, err := net.Listen("tcp", at)
	if err != nil {
		return "listen " + short(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("own server"))
			c.Close()
		}
	}()
	return jailTCP(to)
}

// jailMany opens so many connections at once and talks over each.
func jailMany(arg string) string {
	to, count, _ := strings.Cut(arg, " ")
	n, _ := strconv.Atoi(count)
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[string]int{}
	release := make(chan struct{})
	var ready sync.WaitGroup
	ready.Add(n)
	for range n {
		wg.Go(func() {
			r := func() string {
				c, err := net.DialTimeout("tcp", to, 30*time.Second)
				ready.Done()
				if err != nil {
					return short(err)
				}
				defer c.Close()
				<-release // all are open at once
				c.SetDeadline(time.Now().Add(30 * time.Second))
				if _, err := c.Write([]byte("hello\n")); err != nil {
					return short(err)
				}
				b := make([]byte, 6)
				if _, err := io.ReadFull(c, b); err != nil {
					return short(err)
				}
				return "ok"
			}()
			mu.Lock()
			results[r]++
			mu.Unlock()
		})
	}
	ready.Wait()
	close(release)
	wg.Wait()
	j, _ := json.Marshal(results)
	return string(j)
}

// jailBulk sends many bytes to an echo server and says whether they came back.
func jailBulk(arg string) string {
	to, count, _ := strings.Cut(arg, " ")
	n, _ := strconv.Atoi(count)
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	sent, got := sha256.New(), sha256.New()
	go func() {
		buf := make([]byte, 100_000)
		for i := 0; i < n; i += len(buf) {
			for j := range buf {
				buf[j] = byte(i/7 + j*31)
			}
			sent.Write(buf)
			if _, err := c.Write(buf); err != nil {
				return
			}
		}
		c.(*net.TCPConn).CloseWrite()
	}()
	m, err := io.Copy(got, c)
	if err != nil {
		return short(err)
	}
	if string(sent.Sum(nil)) != string(got.Sum(nil)) {
		return fmt.Sprintf("%d bytes came back changed", m)
	}
	return fmt.Sprintf("ok %d", m)
}

// jailHalfClose ends its own side and reads what the server says to that.
func jailHalfClose(to string) string {
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	c.Write([]byte("question"))
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		return short(err)
	}
	return "ok " + string(b)
}

// jailPing sends an echo request through a raw socket, which the test's process may
// have and an agent may not.
func jailPing(to string) string {
	ip := net.ParseIP(to)
	domain, proto, sa, echo := unix.AF_INET, unix.IPPROTO_ICMP, unix.Sockaddr(nil), byte(8)
	if v4 := ip.To4(); v4 != nil {
		sa = &unix.SockaddrInet4{Addr: [4]byte(v4)}
	} else {
		domain, proto, echo = unix.AF_INET6, unix.IPPROTO_ICMPV6, 128
		sa = &unix.SockaddrInet6{Addr: [16]byte(ip)}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW, proto)
	if err != nil {
		return "socket " + short(err)
	}
	defer unix.Close(fd)
	msg := []byte{echo, 0, 0, 0, 0, 1, 0, 1}
	if echo == 8 {
		msg[2], msg[3] = 0xf7, 0xfd // checksum
	}
	return short(unix.Sendto(fd, msg, 0, sa))
}

// jailRaw connects a socket of any protocol: "domain type proto addr port".
func jailRaw(arg string) string {
	var typ, proto, port int
	var to string
	fmt.Sscan(arg, &typ, &proto, &to, &port)
	ip := net.ParseIP(to)
	domain, sa := unix.AF_INET, unix.Sockaddr(nil)
	if v4 := ip.To4(); v4 != nil {
		sa = &unix.SockaddrInet4{Addr: [4]byte(v4), Port: port}
	} else {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: [16]byte(ip), Port: port}
	}
	fd, err := unix.Socket(domain, typ, proto)
	if err != nil {
		return "socket " + short(err)
	}
	defer unix.Close(fd)
	if typ == unix.SOCK_DGRAM {
		return short(unix.Sendto(fd, []byte("x"), 0, sa))
	}
	return short(unix.Connect(fd, sa))
}

func jailBind(at string) string {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return short(err)
	}
	l.Close()
	return "ok"
}

// jailSSH waits for the server's line before it sends its own.
func jailSSH(to string) string {
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	line := make([]byte, len("SSH-2.0-server\r\n"))
	if _, err := io.ReadFull(c, line); err != nil {
		return short(err)
	}
	c.Write([]byte("SSH-2.0-client\r\n"))
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil {
		return short(err)
	}
	return "ok " + string(line) + string(b)
}

var held net.Conn // until the process ends

// jailHold talks once and leaves the connection open.
func jailHold(to string) string {
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		return short(err)
	}
	_, err = io.ReadFull(c, make([]byte, 6))
	held = c
	return short(err)
}

// jailUpgrade becomes a WebSocket and sends a frame once it is one.
func jailUpgrade(to string) string {
	c, err := jailDialer().Dial("tcp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: web.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Sprint(resp, err)
	}
	io.WriteString(c, "frame")
	b, err := io.ReadAll(r)
	if err != nil {
		return short(err)
	}
	return "ok " + string(b)
}

// jailKnock sends a datagram and waits for nothing.
func jailKnock(to string) string {
	c, err := net.Dial("udp", to)
	if err != nil {
		return short(err)
	}
	defer c.Close()
	_, err = c.Write([]byte("knock"))
	return short(err)
}
