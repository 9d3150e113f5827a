package netns

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// plainBytes are copied through a buffer before a direction is spliced: making
	// the pipes costs a short connection more than it saves, and they are kept to the
	// direction's end.
	plainBytes = 64 << 10
	bufferSize = 16 << 10
)

// buffers are shared by all connections: one is held only while there are bytes to
// move, so that idle connections hold none.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

type closeWriter interface{ CloseWrite() error }

// relay passes bytes both ways until both sides have ended. What was read of the
// agent already goes first.
func (c *conn) relay(up net.Conn) {
	c.relayAfter(up, func() ([]byte, error) { return c.first, nil })
}

// relayAfter lets the host's side flow at once and the agent's after first has
// given its opening bytes; an error of first ends the connection.
func (c *conn) relayAfter(up net.Conn, first func() ([]byte, error)) {
	inward := make(chan error, 1)
	go func() {
		var err error
		c.in, err = c.pass(c.TCPConn, up, c.downCap)
		if c.inbound {
			c.hasLeft()
		}
		inward <- err
	}()
	if err := c.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		c.err = err
	}
	b, err := first()
	if err == nil {
		err = c.SetReadDeadline(noDeadline)
	}
	if err == nil && len(b) > 0 {
		_, err = up.Write(b)
		c.out += int64(len(b))
	}
	if err == nil {
		var n int64
		n, err = c.pass(up, c.TCPConn, c.upCap)
		c.out += n
	} else {
		// The connection is over for the agent; its own side stays open, so that it
		// can still be told why.
		up.Close()
	}
	if !c.inbound {
		c.hasLeft()
	}
	c.err = errors.Join(c.err, err, <-inward)
}

// pass copies one direction to its end and closes the writing half behind it. An
// error ends both directions: the half that still works has nobody to talk to.
func (c *conn) pass(dst, src net.Conn, limit *byteCap) (int64, error) {
	if limit != nil {
		return passLimited(dst, src, limit)
	}
	total := int64(0)
	for {
		n, err := copyPlain(dst, src)
		total += n
		if errors.Is(err, io.EOF) {
			return passed(dst, src, total, nil)
		}
		if err != nil {
			return passed(dst, src, total, err)
		}
		select {
		case c.splices <- struct{}{}:
			n, err = io.Copy(dst, src) // TCPConn.ReadFrom: splice(2) between two TCP sockets
			<-c.splices
			return passed(dst, src, total+n, err)
		default: // other connections have all the pipes
		}
	}
}

// passLimited is pass for a direction whose bytes are counted: they go through a
// buffer, so that a connection that waits holds nothing of what is left for others.
func passLimited(dst, src net.Conn, limit *byteCap) (total int64, err error) {
	b := make([]byte, bufferSize)
	for {
		n, rerr := src.Read(b)
		if got := limit.reserve(int64(n)); n > 0 && got < int64(n) {
			return passed(dst, src, total, errCapped)
		}
		if n > 0 {
			if _, err := dst.Write(b[:n]); err != nil {
				return passed(dst, src, total, err)
			}
			total += int64(n)
		}
		if errors.Is(rerr, io.EOF) {
			return passed(dst, src, total, nil)
		}
		if rerr != nil {
			return passed(dst, src, total, rerr)
		}
	}
}

// passed ends a direction.
func passed(dst, src net.Conn, n int64, err error) (int64, error) {
	if err == nil {
		if cw, ok := dst.(closeWriter); ok {
			err = cw.CloseWrite()
		}
	}
	if err != nil && !ended(err) {
		_ = dst.Close()
		_ = src.Close()
		return n, err
	}
	return n, nil
}

// copyPlain copies the first bytes of a direction; io.EOF says that it has ended.
func copyPlain(dst, src net.Conn) (int64, error) {
	total := int64(0)
	for total < plainBytes {
		buf := buffers.Get().(*[]byte)
		n, err := readPooled(src, &buf)
		if n > 0 {
			total += int64(n)
			if _, werr := dst.Write((*buf)[:n]); werr != nil {
				err = werr
			}
		}
		if buf != nil {
			buffers.Put(buf)
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// readPooled reads into a pooled buffer that it gives back while it waits.
func readPooled(src net.Conn, buf **[]byte) (int, error) {
	tcp, ok := src.(*net.TCPConn)
	if !ok { // TLS to a proxy: no descriptor to wait on
		return src.Read(**buf)
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var rerr error
	err = rc.Read(func(fd uintptr) bool {
		if *buf == nil {
			*buf = buffers.Get().(*[]byte)
		}
		for {
			n, rerr = unix.Read(int(fd), **buf)
			if !errors.Is(rerr, unix.EINTR) {
				break
			}
		}
		if errors.Is(rerr, unix.EAGAIN) {
			buffers.Put(*buf)
			*buf = nil
			return false
		}
		return true
	})
	switch {
	case err != nil:
		return 0, err
	case rerr != nil:
		return 0, rerr
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// ended says whether an error only means that the other end has closed already.
func ended(err error) bool { return errors.Is(err, unix.ENOTCONN) }
