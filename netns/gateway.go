package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httputil"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

const (
	// controlFD is the control socket's descriptor, the first of exec.Cmd's
	// ExtraFiles; the jail's sockets follow.
	controlFD = 3

	// maxConns bounds the connections at once. Each takes two sockets and, once it
	// has carried much, two pipes.
	maxConns     = 4096
	filesPerConn = 6
	wantedFiles  = maxConns*filesPerConn + 256

	// gcPercent trades a little CPU for a small process; it lives as long as the run.
	gcPercent = 50
)

// gateway is the process that serves the jail's sockets.
type gateway struct {
	network  profiles.Network
	pool     *pool
	resolver *resolver
	dialer   *dialer
	handlers map[profiles.Protocol]handler
	reports  func(report)

	front      *front
	proxy      *httputil.ReverseProxy
	upstreams  *upstreams
	vault      *vault
	quotas     *quotas
	conditions map[string]*profiles.Test // by their source

	ids   atomic.Uint64
	slots chan struct{}

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
	conns  sync.WaitGroup
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
	layers, err := secondStep()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	debug.SetGCPercent(gcPercent)

	f := os.NewFile(controlFD, "control")
	ctl, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("gateway: control socket: %w", err)
	}
	defer ctl.Close()
	var s start
	if err := readFrame(ctl, &s, maxStart); err != nil {
		return fmt.Errorf("gateway: read the start message: %w", err)
	}
	var keys *Keys
	if s.CA != nil {
		if keys, err = receiveKeys(ctl); err != nil {
			return fmt.Errorf("gateway: read the keys: %w", err)
		}
		defer keys.Close()
		layers = append(layers, keys.layer())
	}
	reports := newReporter(ctl)
	g, err := newGateway(s, keys, routes.isHost, reports.send)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	reports.send(report{Ready: &ready{Layers: layers}})
	reports.flush() // before the first connection is served
	if err := g.serve(s); err != nil {
		return fmt.Errorf("gateway: %w", err)
	}

	var b [1]byte
	_, _ = ctl.Read(b[:]) // nothing follows the start message but its end
	g.close()
	reports.close()
	return nil
}

func newGateway(s start, keys *Keys, isHost func(netip.Addr) (bool, error), reports func(report)) (*gateway, error) {
	g := &gateway{
		network: s.Network, pool: newPool(), reports: reports,
		slots: make(chan struct{}, connSlots()), open: map[net.Conn]bool{},
	}
	g.resolver = &resolver{network: &g.network, pool: g.pool}
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
	g.front = newFront(l)
	g.conditions = map[string]*profiles.Test{}
	for _, r := range s.Network.Allow {
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

// connSlots is how many connections the limit of open files allows.
func connSlots() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur >= wantedFiles {
		return maxConns
	}
	return max(8, (int(l.Cur)-64)/filesPerConn)
}

// serve starts to serve every socket that the supervisor passed.
func (g *gateway) serve(s start) error {
	for i, index := range s.Sockets {
		if index < 0 || index >= len(s.Link.Sockets) {
			return fmt.Errorf("start message names socket %d of %d", index, len(s.Link.Sockets))
		}
		plan := s.Link.Sockets[index]
		f := os.NewFile(uintptr(controlFD+1+i), plan.Name)
		err := g.serveSocket(plan, f)
		f.Close()
		if err != nil {
			return fmt.Errorf("socket %s: %w", plan.Name, err)
		}
	}
	return nil
}

func (g *gateway) serveSocket(plan SocketPlan, f *os.File) error {
	if plan.Network == "udp4" || plan.Network == "udp6" {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		go g.serveDNSPackets(c.(*net.UDPConn))
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	serve := g.serveConn
	switch plan.Kind {
	case SocketDNS:
		serve = func(c *net.TCPConn, _ bool) { g.serveDNSConn(c) }
	case SocketDirect, SocketRedirect:
	default:
		return fmt.Errorf("unknown kind %q", plan.Kind)
	}
	go g.accept(l.(*net.TCPListener), func(c *net.TCPConn) { serve(c, plan.Kind == SocketRedirect) })
	return nil
}

// accept hands each connection to a goroutine, as long as there are slots.
func (g *gateway) accept(l *net.TCPListener, serve func(*net.TCPConn)) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // EMFILE, ECONNABORTED and the like pass
			time.Sleep(10 * time.Millisecond)
			continue
		}
		select {
		case g.slots <- struct{}{}:
		default:
			g.refuseFull(c)
			continue
		}
		if !g.track(c) {
			<-g.slots
			c.Close()
			continue
		}
		go func() {
			defer func() {
				g.forget(c)
				<-g.slots
				g.conns.Done()
			}()
			serve(c)
		}()
	}
}

func (g *gateway) refuseFull(c *net.TCPConn) {
	a, _ := asked(c, false)
	g.reports(report{Connect: &audit.Connect{
		Network: "tcp", Addr: a.Addr().String(), Port: a.Port(), SrcPort: sourcePort(c),
		Outcome: audit.Blocked, Reason: fmt.Sprintf("there are %d connections already", cap(g.slots)),
	}})
	reset(c)
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

// close ends every connection and waits until each has been reported.
func (g *gateway) close() {
	g.mu.Lock()
	g.closed = true
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
