package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httputil"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

const (
	// controlFD is the control socket's descriptor, the first of exec.Cmd's
	// ExtraFiles; the jail's sockets follow.
	controlFD = 3

	// errandFD is the errand socket's; see errand_wire.go.
	errandFD = 4

	// gcPercent keeps a process with many connections small. With few its heap has some
	// 4 MB, and a collection every 2 MB, which is every fifty requests, took half of the
	// time of a request. The ballast counts as heap and is never touched, so it takes
	// address space and no memory: there are 18 MB from one collection to the next.
	gcPercent = 50
	gcBallast = 32 << 20
)

// gateway is the process that serves the jail's sockets.
type gateway struct {
	network  profiles.Network
	pool     *pool
	resolver *resolver
	dialer   *dialer
	handlers map[profiles.Protocol]handler
	reports  func(report)
	errands  *errander

	front      *front
	proxy      *httputil.ReverseProxy
	upstreams  *upstreams
	vault      *vault
	quotas     *quotas
	budgets    *budgets
	prices     []profiles.Price // the profile's own
	held       atomic.Int64     // bytes of bodies that wait for a budget
	faults     *faults
	pages      *pages
	conditions map[string]*profiles.Test // by their source
	costs      map[string]*profiles.Cost // by their source

	ids     atomic.Uint64
	seats   *seats
	splices chan struct{} // one for each direction that has a pipe
	flows   int           // of datagrams, at once

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	conns  sync.WaitGroup

	leaving atomic.Int64 // connections by which something may still leave the jail
}

// GatewayMain is the gateway's process, from its first instruction to its end: it
// returns nil once the supervisor has closed the control socket and every
// connection is closed and reported.
func GatewayMain() error {
	if !isConfined() {
		return fmt.Errorf("gateway: %w", firstStep())
	}
	// Before the confinement, which can't open or bind it any more.
	routes, err := openRoutes()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	defer routes.close()
	files, err := openFiles()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	layers, err := secondStep()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	debug.SetGCPercent(gcPercent)
	ballast := make([]byte, gcBallast)
	defer runtime.KeepAlive(ballast)

	f := os.NewFile(controlFD, "control")
	ctl, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("gateway: control socket: %w", err)
	}
	defer ctl.Close()
	errands, err := takeConn(errandFD)
	if err != nil {
		return fmt.Errorf("gateway: errand socket: %w", err)
	}
	defer errands.Close()
	var s start
	if err := readFrame(ctl, &s, maxStart); err != nil {
		return fmt.Errorf("gateway: read the start message: %w", err)
	}
	var keys *Keys
	if s.CA != nil {
		locked := LockMemory() // before there is a copy of anything
		if keys, err = receiveKeys(ctl); err != nil {
			return fmt.Errorf("gateway: read the keys: %w", err)
		}
		defer keys.Close()
		keys.all = locked
		layers = append(layers, keys.layer())
	}
	reports := newReporter(ctl)
	g, err := newGateway(s, files, keys, routes.isHost, reports.send)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	g.errands = newErrander(errands)
	reports.send(report{Ready: &ready{Layers: layers}})
	reports.flush() // before the first connection is served
	if err := g.serve(s); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}

	err = g.budgets.questions.serve(ctl) // nothing follows the start message but answers
	g.close()
	reports.close()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	return nil
}

// takeConn makes a connection of a descriptor that was inherited.
func takeConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "inherited")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("it is no Unix socket")
	}
	return u, nil
}

func newGateway(s start, most files, keys *Keys, isHost func(netip.Addr) (bool, error), reports func(report)) (*gateway, error) {
	g := &gateway{
		network: s.Network, pool: newPool(), reports: reports,
		seats: newSeats(count{maxConns, most.sockets}), splices: make(chan struct{}, most.splices), flows: most.flows, open: map[net.Conn]bool{},
	}
	g.resolver = &resolver{network: &g.network, pool: g.pool, learn: s.Learn}
	g.dialer = newDialer(&g.network, s.Proxy, isHost)
	g.handlers = handlers()

	var l *leaves
	g.vault = &vault{}
	if keys != nil {
		values, err := keys.values()
		if err != nil {
			return nil, err
		}
		if len(values) == 0 {
			return nil, errors.New("the certificate authority came without its key")
		}
		if l, err = newLeaves(s.CA, values[0]); err != nil {
			return nil, err
		}
		if g.vault, err = newVault(s.Secrets, values[1:]); err != nil {
			return nil, err
		}
	}
	g.quotas, g.upstreams, g.proxy = newQuotas(), newUpstreams(s.UpstreamCAs), newProxy()
	g.budgets = &budgets{questions: newQuestions(reports), all: s.Budgets}
	g.faults, g.pages = newFaults(), newPages()
	g.prices = s.Prices
	g.front = newFront(l)
	var err error
	if g.costs, err = compileCosts(&s); err != nil {
		return nil, err
	}
	g.conditions = map[string]*profiles.Test{}
	rules := s.Network.Allow
	if c := s.Network.Ceiling; c != nil {
		rules = slices.Concat(rules, c.Allow)
	}
	for _, r := range rules {
		for _, q := range r.Requests {
			if q.When == nil {
				continue
			}
			test, err := q.When.Compile()
			if err != nil {
				return nil, fmt.Errorf("%s: the rule's condition: %w", q.Origin, err)
			}
			g.conditions[q.When.Source] = test
		}
	}
	return g, nil
}

// serve starts to serve every socket that the supervisor passed.
func (g *gateway) serve(s start) error {
	datagrams, refuser := map[*net.UDPConn]uint16{}, refuser{}
	for i, index := range s.Sockets {
		if index < 0 || index >= len(s.Link.Sockets) {
			return fmt.Errorf("start message names socket %d of %d", index, len(s.Link.Sockets))
		}
		plan := s.Link.Sockets[index]
		f := os.NewFile(uintptr(errandFD+1+i), plan.Name)
		err := g.serveSocket(plan, f, datagrams, &refuser)
		f.Close()
		if err != nil {
			return fmt.Errorf("socket %s: %w", plan.Name, err)
		}
	}
	rest := errandFD + 1 + len(s.Sockets)
	if err := g.servePublications(rest); err != nil {
		return err
	}
	if err := g.serveAgent(s.SSHAgent, rest+len(g.network.Publications())); err != nil {
		return err
	}
	return g.serveUDP(datagrams, refuser)
}

func (g *gateway) serveSocket(plan SocketPlan, f *os.File, datagrams map[*net.UDPConn]uint16, r *refuser) error {
	if plan.isUDP() || plan.Kind == SocketICMP {
		c, err := net.FilePacketConn(f)
		switch {
		case err != nil:
			return err
		case plan.Kind == SocketDatagram:
			datagrams[c.(*net.UDPConn)] = plan.Port
		case plan.Kind == SocketDNS:
			go g.serveDNSPackets(c.(*net.UDPConn))
		case plan.Addr.Is6():
			r.v6 = c
		default:
			r.v4 = c
		}
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	var classify func(*net.TCPConn) (*conn, bool)
	serve := g.serveConn
	switch plan.Kind {
	case SocketDNS:
		classify = func(c *net.TCPConn) (*conn, bool) { return &conn{TCPConn: c}, true }
		serve = g.serveDNSConn
	case SocketDirect, SocketRedirect, SocketHostPort:
		classify = func(c *net.TCPConn) (*conn, bool) { return g.classify(c, plan.Kind == SocketRedirect) }
	default:
		return fmt.Errorf("unknown kind %q", plan.Kind)
	}
	go g.accept(l.(*net.TCPListener), classify, serve)
	return nil
}

// accept hands each connection to a goroutine, as long as there are seats.
func (g *gateway) accept(l *net.TCPListener, classify func(*net.TCPConn) (*conn, bool), serve func(*conn)) {
	for {
		tcp, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // EMFILE, ECONNABORTED and the like pass
			time.Sleep(10 * time.Millisecond)
			continue
		}
		c, ok := classify(tcp)
		if !ok { // gone already
			tcp.Close()
			continue
		}
		if c.seat = g.seats.take(c.ruleKey(), func() { reset(tcp) }); c.seat == nil {
			g.refuseFull(c)
			continue
		}
		c.splices = g.splices
		if !g.track(tcp) {
			c.seat.leave()
			tcp.Close()
			continue
		}
		c.mayLeave(&g.leaving)
		go func() {
			defer func() {
				c.hasLeft()
				g.forget(tcp)
				c.seat.leave()
				g.conns.Done()
			}()
			serve(c)
		}()
	}
}

func (g *gateway) refuseFull(c *conn) {
	g.report(c, audit.Blocked, g.seats.full())
	reset(c.TCPConn)
}

// track remembers a connection so that close can end it.
func (g *gateway) track(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.open[c] = true
	g.conns.Add(1)
	return true
}

func (g *gateway) forget(c net.Conn) {
	c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, c)
}

// drainTime is how long what left the jail before its end may take to arrive.
const drainTime = 250 * time.Millisecond

// close ends every connection and waits until each has been reported. What the agent has
// sent arrives: its ends of the connections were closed with it, so that a relay soon comes
// to the end of what there is, unless the host does not take it.
func (g *gateway) close() {
	g.mu.Lock()
	g.closed = true // no new ones
	g.mu.Unlock()
	for end := time.Now().Add(drainTime); g.leaving.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	g.mu.Lock()
	for c := range g.open {
		c.Close()
	}
	g.mu.Unlock()
	over := make(chan struct{})
	go func() {
		g.conns.Wait()
		close(over)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout/2)
	defer cancel()
	select {
	case <-over:
	case <-ctx.Done(): // the process ends all the same
	}
}
