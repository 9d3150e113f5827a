package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

const (
	dialTimeout   = 20 * time.Second
	fallbackDelay = 250 * time.Millisecond // RFC 8305 section 5
	keepAlive     = 30 * time.Second
)

var noDeadline time.Time

// target is a host that a verdict has allowed.
type target struct {
	name     string     // canonical; empty for a connection by address
	addr     netip.Addr // for a connection by address
	port     uint16
	protocol profiles.Protocol
	upstream string // host:port that the profile dials instead

	network *profiles.Network // that a person has granted; nil: the dialer's own
}

// destinations judge where a target's connection goes.
func (t target) destinations(d *destinations) *destinations {
	if t.network == nil {
		return d
	}
	granted := *d
	granted.network = t.network
	return &granted
}

func (t target) host() string {
	if t.name != "" {
		return t.name
	}
	return t.addr.String()
}

// dialer opens the host's side of connections.
type dialer struct {
	net      net.Dialer
	resolver *net.Resolver
	dest     destinations
	udp      destinations
	proxy    ProxyEnv
}

func newDialer(n *profiles.Network, p ProxyEnv, isHost func(netip.Addr) (bool, error)) *dialer {
	// Never cgo's resolver: it loads modules of the host's nsswitch into the
	// process, which is confined too far for them.
	resolver := &net.Resolver{PreferGo: true}
	d := &dialer{
		net:      net.Dialer{KeepAlive: keepAlive, Resolver: resolver},
		resolver: resolver,
		dest:     destinations{network: n, specials: specials(), isHost: isHost},
		proxy:    p,
	}
	d.udp = d.dest
	d.udp.udp = true
	return d
}

// dial connects to a target and says what it dialled.
func (d *dialer) dial(ctx context.Context, t target) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if t.upstream != "" {
		// The profile's owner named it, so it may be anywhere, and it is not the
		// place that the host's proxy setting is about.
		c, err := d.net.DialContext(ctx, "tcp", t.upstream)
		return c, t.upstream, err
	}
	u, err := d.proxyFor(t)
	if err != nil {
		return nil, "", err
	}
	if u != nil {
		c, err := dialProxy(ctx, &d.net, u, net.JoinHostPort(t.host(), fmt.Sprint(t.port)))
		return c, "proxy " + proxyAddress(u), err
	}
	addrs, err := d.resolve(ctx, &d.dest, t)
	if err != nil {
		return nil, "", err
	}
	return d.dialAny(ctx, addrs, t.port)
}

// dialUDP makes a socket that exchanges datagrams with a target and nobody else: the
// kernel drops what comes to a connected socket from any other address (udp(7)). The
// host's proxies are for TCP and are not asked.
func (d *dialer) dialUDP(ctx context.Context, t target) (*net.UDPConn, string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if t.upstream != "" {
		c, err := d.net.DialContext(ctx, "udp", t.upstream)
		if err != nil {
			return nil, t.upstream, err
		}
		return c.(*net.UDPConn), t.upstream, nil
	}
	addrs, err := d.resolve(ctx, &d.udp, t)
	if err != nil {
		return nil, "", err
	}
	var errs []error
	for _, a := range addrs { // one without a route fails at once; nothing else shows here
		to := netip.AddrPortFrom(a.Unmap(), t.port).String()
		c, err := d.net.DialContext(ctx, "udp", to)
		if err == nil {
			return c.(*net.UDPConn), to, nil
		}
		errs = append(errs, err)
	}
	return nil, "", errors.Join(errs...)
}

// proxyFor is the host's proxy for a target. A target by address is checked all
// the same: here the address is known.
func (d *dialer) proxyFor(t target) (*url.URL, error) {
	u, err := d.proxy.For(t.protocol, t.host(), t.port)
	if err != nil || u == nil {
		return nil, err
	}
	if t.name == "" {
		return u, t.destinations(&d.dest).check("", []netip.Addr{t.addr}, t.port)
	}
	return u, nil
}

// resolve returns the addresses of a target, all of them checked.
func (d *dialer) resolve(ctx context.Context, dest *destinations, t target) ([]netip.Addr, error) {
	addrs := []netip.Addr{t.addr}
	if t.name != "" {
		var err error
		// The final dot keeps the host's search domains out of it.
		addrs, err = d.resolver.LookupNetIP(ctx, "ip", t.name+".")
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", t.name, err)
		}
	}
	if err := t.destinations(dest).check(t.name, addrs, t.port); err != nil {
		return nil, err
	}
	return addrs, nil
}

// dialAny dials the addresses in order, the next one when the last has failed or
// has been silent for a while, and takes the first that answers.
func (d *dialer) dialAny(ctx context.Context, addrs []netip.Addr, port uint16) (net.Conn, string, error) {
	if len(addrs) == 1 {
		to := netip.AddrPortFrom(addrs[0].Unmap(), port).String()
		c, err := d.net.DialContext(ctx, "tcp", to)
		return c, to, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		c   net.Conn
		to  string
		err error
	}
	results := make(chan result, len(addrs))
	started, failed := 0, 0
	next := func() {
		to := netip.AddrPortFrom(addrs[started].Unmap(), port).String()
		started++
		go func() {
			c, err := d.net.DialContext(ctx, "tcp", to)
			results <- result{c, to, err}
		}()
	}
	next()
	tick := time.NewTicker(fallbackDelay)
	defer tick.Stop()
	var errs []error
	for {
		select {
		case r := <-results:
			if r.err == nil {
				go func(rest int) { // the losers
					for range rest {
						if l := <-results; l.c != nil {
							l.c.Close()
						}
					}
				}(started - failed - 1)
				return r.c, r.to, nil
			}
			failed++
			errs = append(errs, r.err)
			if failed == len(addrs) {
				return nil, "", errors.Join(errs...)
			}
			if started < len(addrs) && failed == started {
				next()
			}
		case <-tick.C:
			if started < len(addrs) {
				next()
			}
		}
	}
}
