package netns

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

const (
	// helloTimeout is how long a client may take over the first bytes that its
	// protocol wants from it.
	helloTimeout = 30 * time.Second

	// refuseTimeout is how long a refused client may take over the bytes that show
	// how to tell it so.
	refuseTimeout = 2 * time.Second
)

// conn is one connection of the agent, classified: what it asked for, and what the
// profile says to it. Every connection is classified once, as it is accepted, and then
// belongs to one handler.
type conn struct {
	*net.TCPConn
	id      uint64
	who     uint64 // by which the supervisor knows its program; 0: not at all
	asked   netip.AddrPort
	name    string     // behind the pool address; empty for a connection by address
	addr    netip.Addr // that the agent dialled
	port    uint16
	srcPort uint16
	verdict profiles.Verdict
	network *profiles.Network // as a person has granted it; nil: the gateway's
	began   time.Time

	sni      string
	dialled  string
	first    []byte // read from the agent and not yet passed on
	recorded bool   // there is a Connect record
	out, in  int64
	inbound  bool // from the host's side: c is the host's end, and out is what goes in
	err      error

	seat     *seat
	hostSeat *seat         // of the host's side
	splices  chan struct{} // the gateway's; nil: every byte is copied
	leaving  *atomic.Int64 // the gateway's, see mayLeave
	left     atomic.Bool

	upCap, downCap *byteCap // of what is relayed; nil for none
}

// handler serves a connection that a rule allows. It opens the host's side through
// gateway.dialFor, reports by conn's methods, and returns when the connection is
// over; the caller closes it.
type handler func(g *gateway, c *conn)

func handlers() map[profiles.Protocol]handler {
	return map[profiles.Protocol]handler{
		profiles.ProtocolTLS:  (*gateway).serveTLS,
		profiles.ProtocolHTTP: (*gateway).serveHTTP,
		profiles.ProtocolSSH:  (*gateway).serveSSH,
		profiles.ProtocolTCP:  (*gateway).serveTCP,
	}
}

// classify finds out what a connection asks for and what the profile says to it.
func (g *gateway) classify(tcp *net.TCPConn, redirected bool) (*conn, bool) {
	to, ok := asked(tcp, redirected)
	if !ok {
		return nil, false
	}
	c := &conn{
		TCPConn: tcp, id: g.ids.Add(1), began: time.Now(),
		addr: to.Addr(), port: to.Port(), srcPort: sourcePort(tcp),
	}
	c.name, c.verdict = g.judge(c.addr, c.port)
	c.asked = to
	return c, true
}

// ruleKey names the rule that a connection's seat is counted for.
func (c *conn) ruleKey() string {
	if c.verdict.Action == profiles.Deny || c.verdict.Rule == nil {
		return "none"
	}
	return c.verdict.Rule.Origin.String()
}

// mayLeave counts a connection among those that the gateway's end waits for, until hasLeft.
func (c *conn) mayLeave(leaving *atomic.Int64) {
	leaving.Add(1)
	c.leaving = leaving
}

// hasLeft says that all that will leave the jail by this connection has.
func (c *conn) hasLeft() {
	if c.leaving != nil && !c.left.Swap(true) {
		c.leaving.Add(-1)
	}
}

// serveConn hands a connection to its handler.
func (g *gateway) serveConn(c *conn) {
	// A refused program may be gone as soon as it knows.
	denied := c.verdict.Action != profiles.Allow || c.verdict.Rule == nil
	c.who = g.errands.who(c.id, unix.IPPROTO_TCP, remote(c.TCPConn), c.asked, denied)
	if c.verdict.Action == profiles.Ask && c.verdict.Rule != nil {
		denied = !g.permit(c)
	}
	if denied {
		g.explain(c)
		return
	}
	serve, ok := g.handlers[c.verdict.Rule.Protocol]
	if !ok {
		g.refuse(c, "the rule's protocol "+string(c.verdict.Rule.Protocol)+" is not known")
		return
	}
	leave, ok := g.admit(c)
	if !ok {
		return
	}
	defer leave()
	serve(g, c)
	g.cappedBy(c)
	g.reportClosed(c)
}

// cappedBy records which cap ended a connection, where one did.
func (g *gateway) cappedBy(c *conn) {
	if !errors.Is(c.err, errCapped) {
		return
	}
	for _, b := range []*byteCap{c.upCap, c.downCap} {
		if b.empty() {
			g.capHit(b, c.target().host())
		}
	}
}

const noName = "the address stands for no name that was asked for in this run"

// judge finds the name behind an address and asks the profile.
func (g *gateway) judge(a netip.Addr, port uint16) (string, profiles.Verdict) {
	name, inPool := g.pool.name(a)
	switch {
	case a == hostLoopback && g.network.HasHostPort(port):
		return "", g.network.HostPort(port)
	case name != "":
		return name, g.network.Connect(name, netip.Addr{}, port)
	case inPool:
		return "", profiles.Verdict{Action: profiles.Deny, Reason: noName}
	}
	return "", g.network.Connect("", a, port)
}

// target is what the handler dials.
func (c *conn) target() target {
	return target{name: c.name, addr: c.addr, port: c.port, network: c.network,
		protocol: c.verdict.Rule.Protocol, upstream: c.verdict.Rule.Upstream}
}

// dialFor opens the host's side of a connection and records how that went.
func (g *gateway) dialFor(c *conn) (net.Conn, error) {
	// From here on it is the host's turn as much.
	if c.seat.serve() {
		c.hostSeat = g.seats.takeHost(c.ruleKey())
	}
	if c.hostSeat == nil {
		g.refuseFull(c)
		return nil, errFull
	}
	up, dialled, err := g.dialer.dial(context.Background(), c.target())
	c.dialled = dialled
	if err != nil {
		c.hostSeat.leave()
		var r refusal
		if errors.As(err, &r) {
			g.report(c, audit.Blocked, r.reason)
		} else {
			g.report(c, audit.Failed, err.Error())
		}
		return nil, err
	}
	if !g.track(up) {
		c.hostSeat.leave()
		up.Close()
		return nil, net.ErrClosed
	}
	g.report(c, audit.Allowed, c.verdict.Reason)
	return up, nil
}

var errFull = errors.New("no place for the host's side")

// hangUp closes the host's side of a connection.
func (g *gateway) hangUp(c *conn, up net.Conn) {
	g.done(up)
	c.hostSeat.leave()
}

// done closes the host's side.
func (g *gateway) done(up net.Conn) {
	g.forget(up)
	g.conns.Done()
}

// report records what became of a connection.
func (g *gateway) report(c *conn, o audit.Outcome, reason string) {
	if o != audit.Allowed && c.seat.madeWay() {
		reason = "it waited for the program in the jail, and made way for a newer connection: there are too many at once"
	}
	r := &audit.Connect{
		Network: "tcp", Name: c.name, Addr: c.addr.String(), Port: c.port, SrcPort: c.srcPort,
		Dialled: c.dialled, SNI: c.sni, Outcome: o, Reason: reason,
	}
	if c.verdict.Rule != nil {
		r.Protocol = string(c.verdict.Rule.Protocol)
		r.Rule = c.verdict.Rule.Origin.String()
	}
	if c.inbound {
		r.Direction = audit.Inbound
	}
	if o == audit.Allowed {
		r.ID = c.id
		c.recorded = true
	}
	g.reports(report{Connect: r, Who: c.who})
}

// reportClosed records the end of a connection that was allowed.
func (g *gateway) reportClosed(c *conn) {
	if !c.recorded {
		return
	}
	r := &audit.ConnectClosed{
		ID: c.id, Name: c.name, Addr: c.addr.String(), Port: c.port,
		BytesOut: c.out, BytesIn: c.in, Duration: time.Since(c.began),
	}
	if c.inbound {
		r.Direction, r.BytesOut, r.BytesIn = audit.Inbound, c.in, c.out
	}
	if c.err != nil {
		r.Error = c.err.Error()
	}
	g.reports(report{Closed: r})
}

// asked is the address that the agent dialled: the accepted socket's own, or the
// one before the redirect. A connection that reached the redirect's listener by
// itself has no other, and no rule allows that port.
func asked(c *net.TCPConn, redirected bool) (netip.AddrPort, bool) {
	local, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	a := local.AddrPort()
	a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	if redirected {
		if before, err := originalDestination(c, a.Addr().Is4()); err == nil {
			a = before
		}
	}
	return a, a.IsValid()
}

// originalDestination asks connection tracking for the address before a redirect:
// SO_ORIGINAL_DST of linux/netfilter_ipv4.h, IP6T_SO_ORIGINAL_DST of
// linux/netfilter_ipv6/ip6_tables.h, both 80. The structures of x/sys that hold
// enough bytes stand in for sockaddr_in and sockaddr_in6.
func originalDestination(c *net.TCPConn, v4 bool) (netip.AddrPort, error) {
	const soOriginalDst = 80
	rc, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var a netip.AddrPort
	var oerr error
	if err := rc.Control(func(fd uintptr) {
		if v4 {
			var m *unix.IPv6Mreq
			if m, oerr = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, soOriginalDst); oerr == nil {
				b := m.Multiaddr
				a = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4]))
			}
			return
		}
		var m *unix.IPv6MTUInfo
		if m, oerr = unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, soOriginalDst); oerr == nil {
			p := [2]byte{}
			binary.NativeEndian.PutUint16(p[:], m.Addr.Port)
			a = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(p[:]))
		}
	}); err != nil {
		return netip.AddrPort{}, err
	}
	return a, oerr
}

// remote is the agent's end.
func remote(c *net.TCPConn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

func sourcePort(c *net.TCPConn) uint16 { return remote(c).Port() }

// reset ends a connection so that the other side sees a refusal, not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
