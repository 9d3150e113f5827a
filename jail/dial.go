package jail

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// dialTimeout is how long a connection within the jail may take: over loopback it is
// there at once, or the server's backlog is full.
const dialTimeout = 2 * time.Second

// dial connects to a port of the jail's loopback and hands the socket out. PID 1 does
// it with no capability, as any program in the jail could.
func (s *shim) dial(m message) {
	s.dials <- struct{}{}
	defer func() { <-s.dials }()
	answer := message{Type: msgDialed, Dial: m.Dial}
	f, err := dialLoopback(m.Port)
	if err != nil {
		answer.Error = err.Error()
		_ = send(s.control, answer, nil) // a supervisor that has gone ends us
		return
	}
	defer f.Close()
	_ = send(s.control, answer, []*os.File{f})
}

// dialLoopback tries both families: a server of "localhost" may be on either.
func dialLoopback(port uint16) (*os.File, error) {
	var errs []error
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(int(port))), dialTimeout)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer c.Close()
		return c.(*net.TCPConn).File()
	}
	return nil, errors.Join(errs...)
}

// dials are the supervisor's open questions to PID 1.
type dials struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]chan dialed
	over bool
}

type dialed struct {
	file *os.File
	err  error
}

var errNoJail = errors.New("the jail is gone")

// Dial connects to a TCP port of the jail's loopback, from within the jail.
func (j *Jail) Dial(port uint16) (*os.File, error) {
	d := &j.dials
	got := make(chan dialed, 1)
	d.mu.Lock()
	if d.over || !j.released.Load() {
		d.mu.Unlock()
		return nil, errNoJail
	}
	d.last++
	id := d.last
	if d.open == nil {
		d.open = map[uint64]chan dialed{}
	}
	d.open[id] = got
	d.mu.Unlock()
	if err := send(j.control, message{Type: msgDial, Port: port, Dial: id}, nil); err != nil {
		d.take(id)
		return nil, fmt.Errorf("%w: %w", errNoJail, err)
	}
	r := <-got
	return r.file, r.err
}

func (d *dials) take(id uint64) chan dialed {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.open[id]
	delete(d.open, id)
	return got
}

// answered passes PID 1's answer on; the caller closes the files that it leaves.
func (d *dials) answered(m message, files []*os.File) (left []*os.File) {
	got := d.take(m.Dial)
	switch {
	case got == nil:
		return files
	case len(files) == 1 && m.Error == "":
		got <- dialed{file: files[0]}
		return nil
	}
	got <- dialed{err: fmt.Errorf("connect within the jail: %s", m.Error)}
	return files
}

// end answers what is open: PID 1 does not.
func (d *dials) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	for id, got := range d.open {
		got <- dialed{err: errNoJail}
		delete(d.open, id)
	}
}
