package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

const (
	// maxFlows bounds the flows at once, each of which has a socket; a new one then
	// takes the place of the one that was silent the longest.
	maxFlows = 1024

	// flowIdle is how long a flow may be silent: RFC 4787 section 4.3, which forbids
	// address translators less than two minutes, for programs that count on it.
	flowIdle = 2 * time.Minute

	// maxWaiting bounds the datagrams of a flow that wait for its host to be resolved.
	maxWaiting = 8

	maxDatagram = 64 << 10 // an IP packet has no more: RFC 791, RFC 8200
)

// datagramBuffers are shared by all flows; one is held only while there is a datagram.
var datagramBuffers = sync.Pool{New: func() any { b := make([]byte, maxDatagram); return &b }}

// flows are the exchanges of datagrams, by who asked and whom. Nothing is forwarded
// that did not come over one: the agent's datagrams go to the address that was dialled
// for it, and from there alone come the answers, so that nobody can make the jail's
// host send to somebody who did not ask, nor answer in another's name.
type flows struct {
	g       *gateway
	refuser refuser
	most    int

	mu   sync.Mutex
	open map[flowKey]*flow
}

type flowKey struct{ from, to netip.AddrPort }

// flow is one exchange of datagrams.
type flow struct {
	flowKey
	f       *flows
	jail    *net.UDPConn // the port's socket in the jail
	id      uint64
	who     uint64
	name    string // behind the pool address
	verdict profiles.Verdict
	leave   func()
	upCap   *byteCap
	downCap *byteCap

	began    time.Time
	last     atomic.Int64 // time of the last datagram, Unix nanoseconds
	out, in  atomic.Int64
	dialled  atomic.Bool
	mu       sync.Mutex
	up       *net.UDPConn // nil until it was dialled
	waiting  [][]byte
	finished bool
}

// serveDatagrams takes the agent's datagrams to one port.
func (f *flows) serveDatagrams(c *net.UDPConn, port uint16) {
	buf, oob := make([]byte, maxDatagram), make([]byte, pktinfoSpace)
	for {
		n, oobn, _, from, err := c.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of a program that has gone
		}
		to, err := askedAddr(oob[:oobn])
		if err != nil {
			continue // without an address there is nobody whom a rule could allow
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		f.deliver(c, flowKey{from, netip.AddrPortFrom(to.Unmap(), port)}, buf[:n])
	}
}

// deliver passes a datagram on, over its flow or a new one.
func (f *flows) deliver(c *net.UDPConn, key flowKey, b []byte) {
	f.mu.Lock()
	x := f.open[key]
	f.mu.Unlock()
	if x != nil {
		x.send(b)
		return
	}
	x = &flow{flowKey: key, f: f, jail: c, id: f.g.ids.Add(1), began: time.Now()}
	x.last.Store(x.began.UnixNano())
	x.name, x.verdict = f.g.judgeDatagram(key.to)
	denied := x.verdict.Action != profiles.Allow || x.verdict.Rule == nil
	x.who = f.g.errands.who(x.id, unix.IPPROTO_UDP, key.from, key.to, denied)
	if denied {
		x.refuse(audit.Blocked, x.verdict.Reason, len(b))
		return
	}
	a, reason := f.g.admitRules(x.verdict, x.target().host(), "flows", false)
	if reason != "" {
		x.refuse(audit.Blocked, reason, len(b))
		return
	}
	x.leave, x.upCap, x.downCap = a.leave, a.up, a.down
	x.waiting = [][]byte{append([]byte(nil), b...)}
	if !f.add(x) {
		x.leave()
		x.refuse(audit.Blocked, fmt.Sprintf("there are %d flows already", f.most), len(b))
		return
	}
	go x.serve()
}

// add gives a flow a place, if need be that of the one that was silent the longest. A
// flow whose host is still being resolved keeps its place: how much is asked of the
// host's resolver at once is bounded by that.
func (f *flows) add(x *flow) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.open) >= f.most {
		var oldest *flow
		for _, o := range f.open {
			if o.dialled.Load() && (oldest == nil || o.last.Load() < oldest.last.Load()) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		delete(f.open, oldest.flowKey)
		go oldest.end()
	}
	f.open[x.flowKey] = x
	return true
}

// judgeDatagram is judge for UDP.
func (g *gateway) judgeDatagram(to netip.AddrPort) (string, profiles.Verdict) {
	name, inPool := g.pool.name(to.Addr())
	switch {
	case name != "":
		return name, g.network.Datagram(name, netip.Addr{}, to.Port())
	case inPool:
		return "", profiles.Verdict{Action: profiles.Deny, Reason: noName}
	}
	return "", g.network.Datagram("", to.Addr(), to.Port())
}

func (x *flow) target() target {
	return target{name: x.name, addr: x.to.Addr(), port: x.to.Port(), protocol: profiles.ProtocolUDP, upstream: x.verdict.Rule.Upstream}
}

// serve opens the host's side and brings its datagrams back until the flow is over.
func (x *flow) serve() {
	defer x.remove()
	up, dialled, err := x.f.g.dialer.dialUDP(context.Background(), x.target())
	if err != nil {
		outcome := audit.Failed
		var r refusal
		if errors.As(err, &r) {
			outcome = audit.Blocked
		}
		x.refuse(outcome, err.Error(), 0)
		return
	}
	if !x.f.g.track(up) {
		up.Close()
		return
	}
	defer x.f.g.done(up)
	x.report(audit.Allowed, x.verdict.Reason, dialled)
	defer x.reportClosed(&err)
	if !x.start(up) {
		return
	}
	if err = x.receive(up); errors.Is(err, syscall.ECONNREFUSED) {
		x.f.refuser.refuse(x.from, x.to, 0)
	}
}

// start sends what has waited for the host's side.
func (x *flow) start(up *net.UDPConn) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.waiting {
		x.pass(up, b)
	}
	x.waiting, x.up = nil, up
	x.dialled.Store(true)
	return !x.finished
}

// send passes one of the agent's datagrams on.
func (x *flow) send(b []byte) {
	x.last.Store(time.Now().UnixNano())
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.up != nil:
		x.pass(x.up, b)
	case len(x.waiting) < maxWaiting: // more is lost, as on any network
		x.waiting = append(x.waiting, append([]byte(nil), b...))
	}
}

// pass sends a datagram to the host. What can't be sent is lost; that the host refuses
// is read by receive.
func (x *flow) pass(up *net.UDPConn, b []byte) {
	if x.upCap.reserve(int64(len(b))) < int64(len(b)) {
		x.f.g.capHit(x.upCap, x.target().host())
		x.f.refuser.refuse(x.from, x.to, len(b))
		return
	}
	if _, err := up.Write(b); err == nil {
		x.out.Add(int64(len(b)))
	}
}

// receive brings the host's datagrams to the agent, until the flow was silent for too
// long or its socket fails. It comes from the address that the agent sent to.
func (x *flow) receive(up *net.UDPConn) error {
	rc, err := up.SyscallConn()
	if err != nil {
		return err
	}
	oob := answerFrom(x.to.Addr())
	for {
		silent := time.Since(time.Unix(0, x.last.Load()))
		if silent >= flowIdle {
			return nil
		}
		if err := up.SetReadDeadline(time.Now().Add(flowIdle - silent)); err != nil {
			return err
		}
		b, err := readDatagram(rc)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, net.ErrClosed):
			return nil // evicted, or the run is over
		case err != nil:
			return err
		}
		x.last.Store(time.Now().UnixNano())
		if x.downCap.reserve(int64(len(*b))) < int64(len(*b)) {
			datagramBuffers.Put(b)
			x.f.g.capHit(x.downCap, x.target().host())
			return errCapped
		}
		// A program that has gone gets nothing; its flow ends when it is silent.
		if _, _, err := x.jail.WriteMsgUDPAddrPort(*b, oob, x.from); err == nil {
			x.in.Add(int64(len(*b)))
		}
		*b = (*b)[:maxDatagram]
		datagramBuffers.Put(b)
	}
}

// readDatagram waits for a datagram and takes a buffer only once there is one.
func readDatagram(rc syscall.RawConn) (*[]byte, error) {
	var b *[]byte
	var rerr error
	err := rc.Read(func(fd uintptr) bool {
		b = datagramBuffers.Get().(*[]byte)
		*b = (*b)[:maxDatagram]
		var n int
		for {
			if n, rerr = unix.Read(int(fd), *b); !errors.Is(rerr, unix.EINTR) {
				break
			}
		}
		if rerr != nil {
			datagramBuffers.Put(b)
			b = nil
			return !errors.Is(rerr, unix.EAGAIN)
		}
		*b = (*b)[:n]
		return true
	})
	if err == nil {
		err = rerr
	}
	return b, err
}

// refuse tells the agent that its datagram goes nowhere, once the trail knows.
func (x *flow) refuse(o audit.Outcome, reason string, size int) {
	x.report(o, reason, "")
	x.f.refuser.refuse(x.from, x.to, size)
}

func (x *flow) report(o audit.Outcome, reason, dialled string) {
	r := &audit.Connect{Network: "udp", Name: x.name, Addr: x.to.Addr().String(), Port: x.to.Port(), SrcPort: x.from.Port(),
		Dialled: dialled, Outcome: o, Reason: reason}
	if x.verdict.Rule != nil {
		r.Protocol, r.Rule = string(profiles.ProtocolUDP), x.verdict.Rule.Origin.String()
	}
	if o == audit.Allowed {
		r.ID = x.id
	}
	x.f.g.reports(report{Connect: r, Who: x.who})
}

func (x *flow) reportClosed(err *error) {
	r := &audit.ConnectClosed{ID: x.id, Name: x.name, Addr: x.to.Addr().String(), Port: x.to.Port(),
		BytesOut: x.out.Load(), BytesIn: x.in.Load(), Duration: time.Since(x.began)}
	if *err != nil {
		r.Error = (*err).Error()
	}
	x.f.g.reports(report{Closed: r})
}

// end makes serve return.
func (x *flow) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finished = true
	if x.up != nil {
		x.up.Close()
	}
}

// remove forgets a flow that is over.
func (x *flow) remove() {
	x.end()
	x.leave()
	x.f.mu.Lock()
	defer x.f.mu.Unlock()
	if x.f.open[x.flowKey] == x {
		delete(x.f.open, x.flowKey)
	}
}

var errNoRefuser = errors.New("the socket that refuses datagrams is missing")

// serveUDP starts to serve the UDP sockets of the profile's ports, once all of them
// and those that refuse are there.
func (g *gateway) serveUDP(sockets map[*net.UDPConn]uint16, r refuser) error {
	if len(sockets) == 0 {
		return nil
	}
	if r.v4 == nil {
		return errNoRefuser
	}
	f := &flows{g: g, refuser: r, most: g.flows, open: map[flowKey]*flow{}}
	for c, port := range sockets {
		go f.serveDatagrams(c, port)
	}
	return nil
}
