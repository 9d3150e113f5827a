package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

// A published port is a listener on the host's 127.0.0.1, made by the supervisor before
// the run begins and served by the gateway. For each connection the jail's PID 1 dials
// the jail's port from within and hands the connected socket out: nobody on the host's
// side is ever in the jail's network namespace.
//
//	host's client ──▶ 127.0.0.1:8080 ──▶ GATEWAY ◀──▶ 127.0.0.1:3000 in the jail
//	                                        │ errand       ▲ connects
//	                                        ▼              │
//	                                    SUPERVISOR ─────▶ PID 1

// ListenPublished opens the listeners of a profile's publications.
func ListenPublished(n profiles.Network) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	for _, r := range n.Publications() {
		at := netip.AddrPortFrom(hostLoopback, r.Host)
		l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			return files, fmt.Errorf("%s: publish %q: %s is taken by another program\nhint: end that one (ss -ltnp shows it), or publish another port of the host: publish \"PORT:%d\" {}", r.Origin, r.Label, at, r.Jail)
		case errors.Is(err, unix.EACCES):
			return files, fmt.Errorf("%s: publish %q: an ordinary user may not listen on port %d\nhint: publish a port from 1024 up: publish \"8%03d:%d\" {}", r.Origin, r.Label, r.Host, r.Host%1000, r.Jail)
		case err != nil:
			return files, fmt.Errorf("%s: publish %q: %w", r.Origin, r.Label, err)
		}
		f, err := l.File()
		l.Close()
		if err != nil {
			return files, fmt.Errorf("%s: publish %q: %w", r.Origin, r.Label, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// servePublications serves the listeners, which follow the jail's sockets.
func (g *gateway) servePublications(fd int) error {
	for i, r := range g.network.Publications() {
		f := os.NewFile(uintptr(fd+i), "publish "+r.Label)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("listener of publish %q: %w", r.Label, err)
		}
		classify := func(tcp *net.TCPConn) (*conn, bool) {
			return &conn{TCPConn: tcp, id: g.ids.Add(1), began: time.Now(), inbound: true,
				addr: hostLoopback, port: r.Host, srcPort: sourcePort(tcp),
				verdict: profiles.Verdict{Action: profiles.Allow, Rule: r.Rule(), Reason: r.Reason}}, true
		}
		go g.accept(l.(*net.TCPListener), classify, func(c *conn) { g.servePublished(c, r) })
	}
	return nil
}

// servePublished connects a client of the host's with the jail.
func (g *gateway) servePublished(c *conn, r profiles.PortRule) {
	a, reason := g.admitRule(c.verdict.Rule, hostLoopback.String(), "connections")
	if reason != "" {
		g.report(c, audit.Blocked, reason)
		reset(c.TCPConn)
		return
	}
	defer a.leave()
	if c.hostSeat = g.seats.takeHost(c.ruleKey()); c.hostSeat == nil {
		g.refuseFull(c)
		return
	}
	defer c.hostSeat.leave()
	up, err := g.errands.fetch(errand{kind: errandDial, arg: uint32(r.Host)})
	if err != nil {
		g.report(c, audit.Failed, fmt.Sprintf("port %d of the jail: %v", r.Jail, err))
		reset(c.TCPConn)
		return
	}
	if !g.track(up) {
		up.Close()
		return
	}
	defer g.done(up)
	c.dialled = netip.AddrPortFrom(hostLoopback, r.Jail).String() + " in the jail"
	c.seat.serve()
	// What goes to the host's client is what leaves the jail.
	c.downCap, c.upCap = a.up, a.down
	g.report(c, audit.Allowed, c.verdict.Reason)
	c.relay(up)
	g.cappedBy(c)
	g.reportClosed(c)
}
