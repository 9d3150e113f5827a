package netns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"
)

const (
	maxIdleUpstream = 64
	maxUpstream     = 1024 // connections to one host at once
	maxAnswerHead   = 256 << 10
	upstreamBuffer  = 16 << 10
)

// upstreams are the host sides of requests, one for each host and port, shared by all
// of the agent's connections to it.
type upstreams struct {
	mu   sync.Mutex
	all  map[string]*upstream
	pems map[string][]byte // of upstream_ca, by path
}

func newUpstreams(pems map[string][]byte) *upstreams {
	return &upstreams{all: map[string]*upstream{}, pems: pems}
}

// upstream is one host's.
type upstream struct {
	transport http.RoundTripper
}

func (u *upstreams) get(g *gateway, x *exchange) *upstream {
	key := x.scheme + " " + x.authority()
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.all[key]
	if up == nil {
		up = &upstream{transport: u.transport(g, x)}
		u.all[key] = up
	}
	return up
}

// closeIdle closes the connections that no request is on.
func (u *upstreams) closeIdle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, up := range u.all {
		if t, ok := up.transport.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// authority is the host and port as the transport has it.
func (x *exchange) authority() string {
	return net.JoinHostPort(x.host, strconv.Itoa(int(x.c.port)))
}

// trackedConn is a connection of the host's side that the gateway's end closes, and
// that knows what was dialled.
type trackedConn struct {
	net.Conn
	to   string
	done func()
	once sync.Once
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.done)
	return err
}

// transport sends requests to the one host that it is for, whatever they say.
func (u *upstreams) transport(g *gateway, x *exchange) http.RoundTripper {
	target, authority := x.c.target(), x.authority()
	rule := x.c.ruleKey()
	tracked := func(dial func() (net.Conn, string, error)) (net.Conn, error) {
		place := g.seats.takeHost(rule)
		if place == nil {
			// Those that wait for a request to some host are nobody's.
			u.closeIdle()
			if place = g.seats.takeHost(rule); place == nil {
				return nil, errFull
			}
		}
		c, to, err := dial()
		if err == nil && !g.track(c) {
			c.Close()
			err = net.ErrClosed
		}
		if err != nil {
			place.leave()
			return nil, err
		}
		return &trackedConn{Conn: c, to: to, done: func() {
			g.done(c)
			place.leave()
		}}, nil
	}
	t := &http.Transport{
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    maxIdleUpstream,
		MaxConnsPerHost:        maxUpstream,
		MaxResponseHeaderBytes: maxAnswerHead,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    dialTimeout,
		ExpectContinueTimeout:  time.Second,
		ReadBufferSize:         upstreamBuffer,
		WriteBufferSize:        upstreamBuffer,
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			if addr != authority {
				return nil, fmt.Errorf("a request to %s on a connection to %s", addr, authority)
			}
			return tracked(func() (net.Conn, string, error) { return g.dialer.dial(ctx, target) })
		},
	}
	if x.scheme == "https" {
		roots, err := u.roots(x)
		if err != nil {
			return failing{err}
		}
		// The name is the one asked for, whatever upstream the profile dials instead.
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: x.host, RootCAs: roots}
		return t
	}
	// A plain-HTTP proxy takes requests in absolute form; many refuse CONNECT to
	// anything but port 443.
	if target.upstream == "" {
		if p, err := g.dialer.proxyFor(target); err == nil && p != nil && p.Scheme == "http" {
			t.Proxy = http.ProxyURL(p)
			t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				return tracked(func() (net.Conn, string, error) {
					c, err := g.dialer.net.DialContext(ctx, network, addr)
					return c, "proxy " + addr, err
				})
			}
		}
	}
	return t
}

// roots are whom the upstream's certificate must be vouched for by: upstream_ca where
// the profile names one, else the host's own (nil).
func (u *upstreams) roots(x *exchange) (*x509.CertPool, error) {
	path := x.c.verdict.Rule.UpstreamCA
	if path == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(u.pems[path]) {
		return nil, fmt.Errorf("upstream_ca %s holds no certificate", path)
	}
	return pool, nil
}

// failing refuses every request.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

// traced tells the exchange of the connection that a request got.
func (x *exchange) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			askOf(ctx).spend.sent.Store(true)
			c := i.Conn
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			if t, ok := c.(*trackedConn); ok {
				x.dialled(t.to, nil)
			}
		},
	})
}

// upstreamError puts a failure into words for the agent.
func upstreamError(host string, err error) string {
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &verify):
		return fmt.Sprintf("the certificate of %s can't be verified: %v", host, verify.Err)
	case isTimeout(err):
		return host + " did not answer in time"
	}
	return host + " did not answer: " + err.Error()
}
