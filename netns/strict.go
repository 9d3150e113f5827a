package netns

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// strictConn gives net/http the bytes of an HTTP/1 connection only as far as they can
// be read in one way, and ends the connection where they can't. Reads come from one
// goroutine at a time, as net/http does it.
type strictConn struct {
	net.Conn
	refuse func(why error) // once, before the error is returned

	raw   atomic.Bool // nothing is HTTP any more: the connection was upgraded
	state func() (bool, error)
	left  int64  // of the body or chunk that is passed through
	buf   []byte // read and not yet looked at
	space []byte // that buf begins in
	full  bool   // the last read filled what there was
	out   []byte // looked at and not yet passed on; a part of what was in buf
	err   error
}

func newStrictConn(c net.Conn, refuse func(error)) *strictConn {
	s := &strictConn{Conn: c, refuse: refuse}
	s.state = s.head
	return s
}

// strictRead is read at once, and strictFirst after an empty buffer: a connection that
// waits for a request holds as much. Most heads are shorter.
const (
	strictRead  = 8 << 10
	strictFirst = 1 << 10
)

func (s *strictConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(s.out) > 0 {
			n := copy(p, s.out)
			s.out = s.out[n:]
			return n, nil
		}
		if s.err != nil {
			return 0, s.err
		}
		if s.raw.Load() {
			if len(s.buf) > 0 {
				s.out, s.buf = s.buf, nil
				continue
			}
			return s.Conn.Read(p)
		}
		// A body's bytes need no looking at.
		if s.left > 0 && len(s.buf) == 0 {
			n, err := s.Conn.Read(p[:min(int64(len(p)), s.left)])
			s.left -= int64(n)
			return n, err
		}
		more, err := s.step()
		if err != nil {
			s.err = err
			s.refuse(err)
			continue
		}
		if !more {
			continue
		}
		n, err := s.fill()
		if n == 0 && err != nil {
			// Also a deadline that has passed: what was read is kept for the next call.
			return 0, err
		}
	}
}

// fill reads behind what is in buf. Nothing of what was passed on is in use any more.
func (s *strictConn) fill() (int, error) {
	if len(s.buf) == 0 {
		if want := s.room(); len(s.space) != want {
			s.space = make([]byte, want)
		}
		s.buf = s.space[:0]
	} else if cap(s.buf)-len(s.buf) < s.room()/2 {
		s.buf = append(make([]byte, 0, 2*len(s.buf)+s.room()), s.buf...)
	}
	to := s.buf[len(s.buf):cap(s.buf)]
	n, err := s.Conn.Read(to)
	s.full = n == len(to)
	s.buf = s.buf[:len(s.buf)+n]
	return n, err
}

// room is how much is made for a read: more where there was more than asked for.
func (s *strictConn) room() int {
	if s.full {
		return strictRead
	}
	return strictFirst
}

// step looks at what was read; more says that it needs the next bytes.
func (s *strictConn) step() (more bool, err error) {
	if s.left > 0 {
		n := min(int64(len(s.buf)), s.left)
		s.pass(int(n))
		s.left -= n
		return false, nil
	}
	return s.state()
}

// pass hands the first n bytes on.
func (s *strictConn) pass(n int) {
	s.out = s.buf[:n:n]
	s.buf = s.buf[n:]
}

// head waits for a request's whole head.
func (s *strictConn) head() (bool, error) {
	end, err := endOf(s.buf, maxHTTPHead)
	if end < 0 || err != nil {
		return true, err
	}
	f, err := parseHead(s.buf[:end])
	if err != nil {
		return false, err
	}
	s.pass(end)
	if s.left = f.length; f.chunked {
		s.left, s.state = 0, s.chunk
	}
	return false, nil
}

// endOf finds the end of the empty line that ends a head. What is wrong with the
// bytes before it is found as soon as they are there: a head that never ends is not
// waited for.
func endOf(b []byte, limit int) (int, error) {
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 && i+4 <= limit {
		return i + 4, nil
	}
	if len(b) >= limit {
		return -1, fmt.Errorf("%w: its head is longer than %d bytes", errNoRequest, limit)
	}
	// The last byte may be the first half of a line end.
	if err := checkBytes(bytes.TrimSuffix(b, []byte("\r"))); err != nil {
		return -1, fmt.Errorf("%w: %v", errNoRequest, err)
	}
	return -1, nil
}

// line waits for a line and gives it without its end; nil while it is not there.
func (s *strictConn) line() ([]byte, error) {
	i := bytes.IndexByte(s.buf, '\n')
	switch {
	case i < 0 && len(s.buf) > maxHTTPHead:
		return nil, fmt.Errorf("%w: a line is too long", errNoRequest)
	case i < 0:
		return nil, nil
	case i == 0 || s.buf[i-1] != '\r':
		return nil, fmt.Errorf("%w: a line ends in a bare line feed", errNoRequest)
	}
	return s.buf[: i-1 : i-1], nil
}

func (s *strictConn) chunk() (bool, error) {
	line, err := s.line()
	if line == nil || err != nil {
		return true, err
	}
	size, err := parseChunkSize(line)
	if err != nil {
		return false, err
	}
	s.pass(len(line) + 2)
	if s.left, s.state = size, s.chunkEnd; size == 0 {
		s.state = s.trailer
	}
	return false, nil
}

func (s *strictConn) chunkEnd() (bool, error) {
	if len(s.buf) < 2 {
		return true, nil
	}
	if string(s.buf[:2]) != "\r\n" {
		return false, fmt.Errorf("%w: a chunk is longer than its size", errNoRequest)
	}
	s.pass(2)
	s.state = s.chunk
	return false, nil
}

func (s *strictConn) trailer() (bool, error) {
	if len(s.buf) < 2 {
		return true, nil
	}
	if string(s.buf[:2]) == "\r\n" {
		s.pass(2)
		s.state = s.head
		return false, nil
	}
	end, err := endOf(s.buf, maxHTTPHead)
	if end < 0 || err != nil {
		return true, err
	}
	if err := parseTrailer(s.buf[:end]); err != nil {
		return false, err
	}
	s.pass(end)
	s.state = s.head
	return false, nil
}

// upgraded lets everything through from now on.
func (s *strictConn) upgraded() { s.raw.Store(true) }

var _ io.Reader = (*strictConn)(nil)
