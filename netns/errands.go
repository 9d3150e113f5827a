package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// maxErrands bounds the connections that are being made at once.
const maxErrands = 64

// errands is the supervisor's side of the errand socket.
type errands struct {
	cfg    *Config
	namer  *namer
	askers *askers
	slots  chan struct{}
	c      *net.UnixConn
}

// serve does errands until the gateway closes its end. An errand that an honest
// gateway would not send is an error, which ends the gateway.
func (e *errands) serve() error {
	buf := make([]byte, errandLen+1)
	for {
		n, err := e.c.Read(buf)
		if n == 0 || err != nil {
			return nil // closed
		}
		x, err := parseErrand(buf[:n])
		if err != nil {
			return fmt.Errorf("the gateway's errand: %w", err)
		}
		switch x.kind {
		case errandWho, errandPeer:
			e.askers.put(x.id, e.who(x))
			if x.answer {
				e.reply(x.id, true, nil)
			}
		case errandDial:
			r, ok := e.cfg.Network.Publication(x.arg)
			if !ok || e.cfg.DialJail == nil {
				return fmt.Errorf("the gateway's errand: the profile publishes no port %d", x.arg)
			}
			e.fetch(x.id, func() (*os.File, error) { return e.cfg.DialJail(r.Jail) })
		case errandAgent:
			if e.cfg.SSHAgent == nil {
				return errors.New("the gateway's errand: the profile has no ssh_agent")
			}
			e.fetch(x.id, e.cfg.DialAgent)
		}
	}
}

// fetch makes a connection and hands it over.
func (e *errands) fetch(id uint64, dial func() (*os.File, error)) {
	select {
	case e.slots <- struct{}{}:
	default:
		e.reply(id, false, nil)
		return
	}
	go func() {
		defer func() { <-e.slots }()
		f, err := dial()
		if err != nil {
			e.reply(id, false, nil)
			return
		}
		defer f.Close()
		e.reply(id, true, f)
	}()
}

// who names the program of an errand. The addresses are the gateway's word: one that
// was taken over can name another program of the jail, and none outside.
func (e *errands) who(x errand) audit.Process {
	if p := e.askers.get(x.id, false); p.PID != 0 {
		return p
	}
	if x.kind == errandPeer {
		return e.namer.peer(int(x.arg))
	}
	return e.namer.owner(x.ends)
}

// reply answers. A gateway that has gone reads nothing any more.
func (e *errands) reply(id uint64, done bool, f *os.File) {
	var oob []byte
	if f != nil {
		oob = unix.UnixRights(int(f.Fd()))
	}
	_, _, _ = e.c.WriteMsgUnix(outcome(id, done), oob, nil)
}

// errander is the gateway's side.
type errander struct {
	c *net.UnixConn

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan errandEnd
	gone    bool
	names   float64 // how many may be looked for at once
	named   time.Time
}

// errandEnd is how an errand ended.
type errandEnd struct {
	done bool
	file *os.File
}

// whoPatience bounds the wait for a program to be named; it takes some hundred
// microseconds of a machine that is not busy, and whoever waits has been decided about
// already.
const whoPatience = time.Second

func newErrander(c *net.UnixConn) *errander {
	e := &errander{c: c, waiting: map[uint64]chan errandEnd{}, names: whoMost, named: time.Now()}
	go e.read()
	return e
}

// read passes outcomes on.
func (e *errander) read() {
	buf, oob := make([]byte, outcomeLen+1), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := e.c.ReadMsgUnix(buf, oob)
		if err != nil || n == 0 {
			break
		}
		f := receivedFile(oob[:oobn])
		var got chan errandEnd
		if n == outcomeLen {
			id := getID(buf)
			e.mu.Lock()
			got = e.waiting[id]
			delete(e.waiting, id)
			e.mu.Unlock()
		}
		if got == nil { // nobody waits any more
			if f != nil {
				f.Close()
			}
			continue
		}
		got <- errandEnd{done: buf[8] == 1, file: f}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = true
	for id, got := range e.waiting {
		got <- errandEnd{}
		delete(e.waiting, id)
	}
}

// who has the program behind a connection looked for, and returns by which number the
// supervisor knows it: id, or 0 where nobody looks. With wait it returns once that was
// done: for what is over as soon as it is answered.
func (e *errander) who(id uint64, proto byte, local, peer netip.AddrPort, wait bool) uint64 {
	return e.name(errand{kind: errandWho, id: id, answer: wait, ends: endpoints{proto, local, peer}})
}

// peer is who for a program that is known by its pid.
func (e *errander) peer(id uint64, pid int32) uint64 {
	return e.name(errand{kind: errandPeer, id: id, arg: uint32(pid)})
}

func (e *errander) name(x errand) uint64 {
	if e == nil || !e.mayName() {
		return 0
	}
	if !x.answer {
		if _, err := e.c.Write(x.marshal()); err != nil {
			return 0 // a supervisor that has gone names nobody
		}
		return x.id
	}
	got := e.expect(x.id)
	if got == nil {
		return 0
	}
	if _, err := e.c.Write(x.marshal()); err != nil {
		e.forget(x.id)
		return 0
	}
	timer := time.NewTimer(whoPatience)
	defer timer.Stop()
	select {
	case <-got:
	case <-timer.C:
		e.forget(x.id)
	}
	return x.id
}

// mayName says whether there may be one more errand for a program now.
func (e *errander) mayName() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.names = min(whoMost, e.names+whoRate*now.Sub(e.named).Seconds())
	e.named = now
	if e.names < 1 {
		return false
	}
	e.names--
	return true
}

// fetch has the supervisor make a connection.
func (e *errander) fetch(x errand) (net.Conn, error) {
	e.mu.Lock()
	e.last++
	x.id = 1<<63 | e.last // apart from the numbers of connections
	e.mu.Unlock()
	got := e.expect(x.id)
	if got == nil {
		return nil, errNoSupervisor
	}
	if _, err := e.c.Write(x.marshal()); err != nil {
		e.forget(x.id)
		return nil, errNoSupervisor
	}
	r := <-got
	if r.file == nil {
		return nil, errNotFetched
	}
	defer r.file.Close()
	return net.FileConn(r.file)
}

var errNotFetched = errors.New("nobody answers there")

// expect makes room for an outcome; nil where none will come.
func (e *errander) expect(id uint64) chan errandEnd {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone {
		return nil
	}
	got := make(chan errandEnd, 1)
	e.waiting[id] = got
	return got
}

func (e *errander) forget(id uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, id)
}
