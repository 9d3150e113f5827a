package netns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

const (
	maxHTTPHead  = 64 << 10
	idleTimeout  = 5 * time.Minute
	maxH2Streams = 250
)

// front is the one HTTP server of the gateway. The connections that it serves come
// from the handlers of plain HTTP and of TLS that is looked into; each has an exchange.
type front struct {
	server *http.Server
	tls    *tls.Config // nil where no rule needs the plaintext of TLS
	conns  chan net.Conn
	once   sync.Once
}

type exchangeKey struct{}

func newFront(l *leaves) *front {
	f := &front{conns: make(chan net.Conn)}
	f.server = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Context().Value(exchangeKey{}).(*exchange).serve(w, r)
		}),
		// "OPTIONS *" is for a rule to allow like any other.
		DisableGeneralOptionsHandler: true,

		ReadHeaderTimeout: helloTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHTTPHead,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxH2Streams},
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, exchangeKey{}, frontOf(c).x)
		},
	}
	if l != nil {
		f.tls = &tls.Config{
			MinVersion: tls.VersionTLS12,
			NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return l.get(frontOf(h.Conn).x.host)
			},
		}
	}
	return f
}

// serve serves a connection to its end.
func (f *front) serve(c net.Conn, fc *frontConn) {
	f.once.Do(func() { go func() { _ = f.server.Serve(f) }() }) // never returns: Accept doesn't fail
	f.conns <- c
	<-fc.over
}

// Accept, Close and Addr make a net.Listener of it.
func (f *front) Accept() (net.Conn, error) { return <-f.conns, nil }

func (f *front) Close() error   { return nil }
func (f *front) Addr() net.Addr { return &net.TCPAddr{} }

// frontConn is the agent's side of a connection: it counts, and says when it is over.
type frontConn struct {
	*net.TCPConn
	x             *exchange
	first         []byte // read already
	read, written atomic.Int64
	once          sync.Once
	over          chan struct{}
}

func newFrontConn(x *exchange, first []byte) *frontConn {
	return &frontConn{TCPConn: x.c.TCPConn, x: x, first: first, over: make(chan struct{})}
}

func (c *frontConn) Read(b []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(b, c.first)
		if c.first = c.first[n:]; len(c.first) == 0 {
			c.first = nil // the connection may live for long
		}
		c.read.Add(int64(n))
		return n, nil
	}
	n, err := c.TCPConn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (c *frontConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

func (c *frontConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() { close(c.over) })
	return err
}

// frontOf finds the agent's side under the layers that are put on it.
func frontOf(c net.Conn) *frontConn {
	for {
		switch v := c.(type) {
		case *frontConn:
			return v
		case *strictConn:
			c = v.Conn
		case *tls.Conn:
			c = v.NetConn()
		default:
			panic(fmt.Sprintf("netns: a connection of type %T has no front", c)) // of our own making
		}
	}
}

// serveHTTP serves plain HTTP/1.1. Each request of the connection is parsed and
// judged by itself and sent on as it was understood, so that there is no second
// reading of it upstream: requests are never relayed as bytes.
func (g *gateway) serveHTTP(c *conn) {
	x := newExchange(g, c, "http")
	fc := newFrontConn(x, nil)
	g.front.serve(x.strict(fc), fc)
	x.over(fc)
}

// serveIntercepted ends the agent's TLS here, for a host whose rules are about what is
// inside. The ClientHello was judged already, and is in c.first.
func (g *gateway) serveIntercepted(c *conn) {
	x := newExchange(g, c, "https")
	fc := newFrontConn(x, c.first)
	c.first = nil
	if g.front.tls == nil {
		g.refuse(c, "the host's rules are about requests, and the gateway has no certificate authority")
		return
	}
	t := tls.Server(fc, g.front.tls)
	if err := handshake(t); err != nil {
		c.out, c.in = fc.read.Load(), fc.written.Load()
		g.report(c, audit.Failed, "TLS with the program in the jail: "+clip(err.Error())+"; does it trust the certificates of the system's bundle?")
		fc.Close()
		return
	}
	if t.ConnectionState().NegotiatedProtocol == "h2" {
		g.front.serve(t, fc) // net/http wants to see that it is TLS
	} else {
		g.front.serve(x.strict(t), fc)
	}
	x.over(fc)
}

// handshake has a goroutine of its own: its stack grows by it, and this one's would be
// kept for as long as the connection lives.
func handshake(t *tls.Conn) error {
	over := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
		defer cancel()
		over <- t.HandshakeContext(ctx)
	}()
	return <-over
}

// exchange is one connection's requests.
type exchange struct {
	g      *gateway
	c      *conn
	scheme string
	host   string // canonical name, or address
	access profiles.Access
	bound  []*credential // that may go to the host
	forms  []needle      // of them, that may not come back
	up     *upstream
	wire   *strictConn // nil for HTTP/2

	mu     sync.Mutex
	busy   int    // requests that are being answered
	said   bool   // something was recorded
	broken string // why nothing more is read
}

func newExchange(g *gateway, c *conn, scheme string) *exchange {
	x := &exchange{g: g, c: c, scheme: scheme, host: c.target().host(), access: g.policy(c).Access(c.name, c.addr, c.port)}
	x.bound = g.vault.bound(x.access.Secrets())
	x.forms = forms(x.bound)
	x.up = g.upstreams.get(g, x)
	return x
}

// strict puts the check of HTTP/1 over a connection.
func (x *exchange) strict(c net.Conn) net.Conn {
	if mutate.Off(mutate.Framing) {
		return c
	}
	x.wire = newStrictConn(c, func(why error) { x.malformed(c, why) })
	return x.wire
}

// malformed reports what can't be read in one way. Where no request is being answered
// the connection is ours to say so on.
func (x *exchange) malformed(c net.Conn, why error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.said, x.broken = true, why.Error()
	x.g.report(x.c, audit.Blocked, why.Error())
	if x.busy == 0 {
		v := x.c.verdict
		v.Reason = why.Error()
		body := denial(v) + "\n"
		// The connection ends next; an error of this write changes nothing.
		_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
		x.wire.err = io.EOF // net/http adds nothing to it
	}
}

// enter and leave count the requests that are being answered.
func (x *exchange) enter(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy += n
	if x.busy > 0 {
		x.c.seat.serve()
	} else {
		x.c.seat.waitAgain()
	}
}

// over records the connection's end.
func (x *exchange) over(fc *frontConn) {
	c := x.c
	c.out, c.in = fc.read.Load(), fc.written.Load()
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.said && c.out > 0 && x.scheme == "http" {
		x.g.report(c, audit.Blocked, "the rule wants plain HTTP, and the first bytes are "+errNoRequest.Error())
	}
}

// dialled records how the host's side was opened: once for each connection of the
// agent, although the requests of several may share one.
func (x *exchange) dialled(to string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.said = true
	if to != "" {
		x.c.dialled = to
	}
	var r refusal
	switch {
	case errors.As(err, &r):
		x.g.report(x.c, audit.Blocked, r.reason)
	case err != nil:
		x.g.report(x.c, audit.Failed, clip(err.Error()))
	case !x.c.recorded:
		x.g.report(x.c, audit.Allowed, x.c.verdict.Reason)
	}
}
