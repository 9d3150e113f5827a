package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

var noAddr netip.Addr

const maxHTTPHead = 64 << 10

// serveHTTP serves plain HTTP/1.1. Each request of the connection is parsed and
// judged by itself and sent on as it was understood, so that there is no second
// reading of it upstream: requests are never relayed as bytes.
func (g *gateway) serveHTTP(c *conn) {
	x := &exchange{g: g, c: c}
	front := &countingConn{Conn: c.TCPConn}
	transport := x.transport()
	defer transport.CloseIdleConnections()

	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // events and chunks as they come
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL = &url.URL{Scheme: "http", Host: x.authority(), Path: r.In.URL.Path,
				RawPath: r.In.URL.RawPath, RawQuery: r.In.URL.RawQuery, ForceQuery: r.In.URL.ForceQuery}
			r.Out.Host = r.In.Host
			if _, ok := r.In.Header["User-Agent"]; !ok {
				r.Out.Header["User-Agent"] = nil // none is added
			}
		},
		ErrorHandler: x.failed,
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if reason := judgeRequest(r, c.name, c.addr, c.port); reason != "" {
				x.refuse(w, reason)
				return
			}
			proxy.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: helloTimeout,
		MaxHeaderBytes:    maxHTTPHead,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	l := newOneListener(front)
	front.closed = l.end
	_ = server.Serve(l) // ends with the listener, when its one connection is over
	c.out, c.in = front.read.Load(), front.written.Load()
	if !c.recorded && !x.said.Load() && c.out > 0 {
		g.report(c, audit.Blocked, "the rule wants plain HTTP, and the first bytes are no request that can be judged")
	}
}

// exchange is the state of one connection's requests.
type exchange struct {
	g    *gateway
	c    *conn
	mu   sync.Mutex
	said atomic.Bool // something was recorded
}

func (x *exchange) authority() string {
	return net.JoinHostPort(x.c.target().host(), strconv.Itoa(int(x.c.port)))
}

// transport sends requests to the connection's own host only, and opens the host's
// side once: the first request's dial is the connection's record.
func (x *exchange) transport() *http.Transport {
	t := &http.Transport{
		DisableCompression:     true,
		MaxConnsPerHost:        1,
		MaxResponseHeaderBytes: maxHTTPHead,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return x.dial(ctx)
		},
	}
	// A plain-HTTP proxy takes requests in absolute form; many refuse CONNECT to
	// anything but port 443.
	if x.c.verdict.Rule.Upstream == "" {
		if u, err := x.g.dialer.proxyFor(x.c.target()); err == nil && u != nil && u.Scheme == "http" {
			t.Proxy = http.ProxyURL(u)
			t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				up, err := x.g.dialer.net.DialContext(ctx, network, addr)
				x.record("proxy "+addr, err)
				return up, err
			}
		}
	}
	return t
}

func (x *exchange) dial(ctx context.Context) (net.Conn, error) {
	up, dialled, err := x.g.dialer.dial(ctx, x.c.target())
	x.record(dialled, err)
	return up, err
}

func (x *exchange) record(dialled string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.said.Store(true)
	x.c.dialled = dialled
	var r refusal
	switch {
	case errors.As(err, &r):
		x.g.report(x.c, audit.Blocked, r.reason)
	case err != nil:
		x.g.report(x.c, audit.Failed, err.Error())
	case !x.c.recorded:
		x.g.report(x.c, audit.Allowed, x.c.verdict.Reason)
	}
}

// refuse answers one request with the reason; the connection ends with it.
func (x *exchange) refuse(w http.ResponseWriter, reason string) {
	x.mu.Lock()
	x.said.Store(true)
	x.g.report(x.c, audit.Blocked, reason)
	x.mu.Unlock()
	v := x.c.verdict
	v.Reason = reason
	w.Header().Set("Connection", "close")
	http.Error(w, denial(v), http.StatusForbidden)
}

func (x *exchange) failed(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Connection", "close")
	var r refusal
	if errors.As(err, &r) {
		v := x.c.verdict
		v.Reason = r.reason
		http.Error(w, denial(v), http.StatusForbidden)
		return
	}
	http.Error(w, "agentjail: the host did not answer: "+err.Error(), http.StatusBadGateway)
}

// judgeRequest says why a request is refused, or nothing. net/http has refused what
// can be read in two ways before: two Host headers, both lengths, folded lines.
func judgeRequest(r *http.Request, name string, addr netip.Addr, port uint16) string {
	switch {
	case r.Method == http.MethodConnect:
		return "CONNECT would open a connection to another host"
	case !strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != "*":
		return "the request line has a whole URL in it, as if this were a proxy"
	case r.ProtoMajor != 1:
		return "the rule wants HTTP/1"
	case r.Host == "":
		return "the request has no Host"
	}
	host, p := r.Host, "80"
	if h, hp, err := net.SplitHostPort(r.Host); err == nil {
		host, p = h, hp
	}
	asked, literal, err := profiles.CanonicalHost(host)
	switch {
	case err != nil:
		return fmt.Sprintf("the request's Host: %v", err)
	case name != "" && asked != name:
		return fmt.Sprintf("the request's Host %q is not %s, which was asked for", clip(r.Host), name)
	case name == "" && literal != addr:
		return fmt.Sprintf("the request's Host %q is not %s, which was asked for", clip(r.Host), addr)
	case p != strconv.Itoa(int(port)):
		return fmt.Sprintf("the request's Host %q has another port than %d", clip(r.Host), port)
	}
	return ""
}

// countingConn counts bytes and says when it is closed.
type countingConn struct {
	net.Conn
	read, written atomic.Int64
	closed        func()
}

func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

func (c *countingConn) Close() error {
	err := c.Conn.Close()
	c.closed()
	return err
}

// oneListener gives one connection to an http.Server and ends when that is closed.
type oneListener struct {
	conn chan net.Conn
	over chan struct{}
	once sync.Once
	addr net.Addr
}

func newOneListener(c net.Conn) *oneListener {
	l := &oneListener{conn: make(chan net.Conn, 1), over: make(chan struct{}), addr: c.LocalAddr()}
	l.conn <- c
	return l
}

func (l *oneListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *oneListener) end()           { l.once.Do(func() { close(l.over) }) }
func (l *oneListener) Close() error   { l.end(); return nil }
func (l *oneListener) Addr() net.Addr { return l.addr }
