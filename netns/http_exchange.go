package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// ask is one request on its way.
type ask struct {
	x     *exchange
	path  string // canonical
	match profiles.RequestMatch
	rec   audit.HTTP
	began time.Time
	w     *answerWriter

	sent, received atomic.Int64 // bytes of the bodies
	up, down       *byteCap
	full           atomic.Pointer[byteCap] // that ended the request
	placed         atomic.Bool             // a placeholder was in the wrong place
}

type askKey struct{}

// newProxy makes the one reverse proxy. What goes to the host is made of the parsed
// request alone; headers of one connection stay on it.
func newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return askOf(r.Context()).x.up.transport.RoundTrip(r)
		}),
		FlushInterval:  -1, // events and chunks as they come
		BufferPool:     copyBuffers{},
		ErrorLog:       log.New(io.Discard, "", 0),
		Rewrite:        func(p *httputil.ProxyRequest) { askOf(p.Out.Context()).rewrite(p) },
		ModifyResponse: func(res *http.Response) error { return askOf(res.Request.Context()).answered(res) },
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { askOf(r.Context()).failed(r, err) },
	}
}

func askOf(ctx context.Context) *ask { return ctx.Value(askKey{}).(*ask) }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// copyBuffers are for ReverseProxy.
type copyBuffers struct{}

const copyBuffer = 32 << 10

var copyPool = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

func (copyBuffers) Get() []byte { return copyPool.Get().(*[copyBuffer]byte)[:] }

func (copyBuffers) Put(b []byte) {
	if len(b) == copyBuffer {
		copyPool.Put((*[copyBuffer]byte)(b))
	}
}

// serve answers one request.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request) {
	x.enter(1)
	defer x.enter(-1)
	a := &ask{x: x, began: time.Now()}
	a.w = &answerWriter{ResponseWriter: w, ask: a}
	path := rawPath(r)
	a.rec = audit.HTTP{ID: x.c.id, Method: validText(r.Method), Scheme: x.scheme, Host: x.host, Port: x.c.port, Path: validText(path),
		Version: version(r), Outcome: audit.Allowed, Rule: x.c.verdict.Rule.Origin.String()}
	defer a.record() // also where net/http aborts the answer with a panic
	if !a.allowed(r, path) {
		return
	}
	if err := x.g.vault.watch(r, func(secret string) { a.misplaced(r, secret, "the body") }); err != nil {
		a.unread(r, err)
		return
	}
	upgrade(r)
	ctx := x.traced(context.WithValue(r.Context(), askKey{}, a))
	x.g.proxy.ServeHTTP(a.w, r.WithContext(ctx))
}

func version(r *http.Request) string {
	if r.ProtoMajor == 2 {
		return "2"
	}
	return fmt.Sprintf("%d.%d", r.ProtoMajor, r.ProtoMinor)
}

// allowed judges a request and answers it where it is refused.
func (a *ask) allowed(r *http.Request, raw string) bool {
	x := a.x
	if reason := judgeRequest(r, x.c.name, x.c.addr, x.c.port, x.scheme); reason != "" {
		return a.deny(r, http.StatusForbidden, reason)
	}
	if name, where := x.g.vault.misplaced(r, a.x.bound); name != "" {
		a.misplaced(r, name, where)
		return a.deny(r, http.StatusForbidden, fmt.Sprintf("the placeholder of the secret %q may not be in %s", name, where))
	}
	path, err := profiles.CanonicalPath(raw)
	if err != nil {
		return a.deny(r, http.StatusForbidden, "the request's path can be read in two ways: "+err.Error())
	}
	a.path, a.rec.Path = path, validText(path)
	matches, denied := x.access.Request(r.Method, path)
	if denied != "" {
		return a.deny(r, http.StatusForbidden, denied)
	}
	if matches[0].Request != nil {
		if what := overrides(r); what != "" {
			return a.deny(r, http.StatusForbidden, what+" would make another request of this one")
		}
	}
	if reason := a.choose(r, matches); reason != "" {
		return a.deny(r, http.StatusForbidden, reason)
	}
	return a.withinQuotas(r)
}

// choose takes the first rule whose condition holds.
func (a *ask) choose(r *http.Request, matches []profiles.RequestMatch) (reason string) {
	var body judgedBody
	for _, m := range matches {
		q := m.Request
		if q == nil || q.When == nil {
			a.take(m)
			return ""
		}
		a.rec.Rule = q.Origin.String()
		test := a.x.g.conditions[q.When.Source]
		if test == nil {
			reason = "the rule's condition can't be evaluated"
			continue
		}
		if q.When.Body {
			body.load(r)
			if body.err != nil {
				reason = body.err.Error()
				continue
			}
		}
		holds, err := test.Holds(facts(r, a.x.host, a.path, body.value))
		if holds {
			a.take(m)
			return ""
		}
		reason = "the rule's condition does not hold: " + oneLine(q.When.Source)
		if q.Reason != "" {
			reason += " (" + q.Reason + ")"
		}
		if err != nil {
			reason += ": " + oneLine(err.Error())
		}
	}
	return reason
}

func (a *ask) take(m profiles.RequestMatch) {
	a.match = m
	a.rec.Rule = m.Origin().String()
	a.up, a.down = a.x.g.quotas.cap("upload", m.Rule, a.x.host), a.x.g.quotas.cap("download", m.Rule, a.x.host)
}

// withinQuotas takes what the request uses of its rule's quotas.
func (a *ask) withinQuotas(r *http.Request) bool {
	v := a.x.g.quotas.take(claims(a.match, a.x.host))
	if v.quota != nil {
		a.rec.Rule = v.quota.Origin.String()
		if v.first {
			a.x.g.limitHit(v.quota.Rate.String(), v.quota.Rate.Count, "requests", v.quota.Origin, a.x.host)
		}
		reason := fmt.Sprintf("the limit of %s requests to %s is used up", v.quota.Rate, a.x.host)
		if v.wait > 0 {
			seconds := int(math.Ceil(v.wait.Seconds()))
			a.w.Header().Set("Retry-After", strconv.Itoa(max(1, seconds)))
			reason += fmt.Sprintf("; try again in %d s", max(1, seconds))
		} else {
			reason += " for this run, and asking again does not help"
		}
		return a.deny(r, http.StatusTooManyRequests, reason)
	}
	// The head counts too: what a request says may be in its address.
	head := int64(len(r.Method) + len(r.RequestURI) + len(r.Host))
	for k, values := range r.Header {
		for _, v := range values {
			head += int64(len(k) + len(v) + 4)
		}
	}
	if got := a.up.reserve(head); got < head {
		return a.capped(r, a.up)
	}
	if a.down.empty() {
		return a.capped(r, a.down)
	}
	return true
}

func (a *ask) capped(r *http.Request, c *byteCap) bool {
	a.rec.Rule = c.rule.String()
	a.x.g.capHit(c, a.x.host)
	return a.deny(r, http.StatusTooManyRequests, capReason(c, a.x.host))
}

func capReason(c *byteCap, host string) string {
	return fmt.Sprintf("the %s limit of %s for %s is used up for this run, and asking again does not help", c.what, profiles.FormatSize(c.most), host)
}

// deny answers with the reason and the rule.
func (a *ask) deny(r *http.Request, status int, reason string) bool {
	a.rec.Outcome, a.rec.Reason = audit.Blocked, reason
	a.x.mu.Lock()
	a.x.said = true
	a.x.mu.Unlock()
	a.explain(r, status, reason)
	return false
}

// explain writes a refusal for the program, and for the model that reads it.
func (a *ask) explain(r *http.Request, status int, reason string) {
	text := "agentjail: " + reason
	if a.rec.Rule != "" {
		text += " (" + a.rec.Rule + ")"
	}
	h := a.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.ProtoMajor == 1 && status == http.StatusForbidden {
		h.Set("Connection", "close")
	}
	body := text + "\n"
	if strings.Contains(r.Header.Get("Accept"), "json") {
		h.Set("Content-Type", "application/json")
		b, err := json.Marshal(map[string]any{"error": map[string]string{"type": "agentjail_denied", "message": text, "rule": a.rec.Rule}})
		if err == nil {
			body = string(b) + "\n"
		}
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	a.w.WriteHeader(status)
	_, _ = io.WriteString(a.w, body) // an agent that has gone needs no answer
}

// misplaced reports a placeholder in the wrong place.
func (a *ask) misplaced(r *http.Request, name, where string) {
	a.placed.Store(true)
	a.x.g.reports(report{Finding: &audit.Finding{
		Title:    "placeholder credential sent to the wrong place",
		Detail:   fmt.Sprintf("the placeholder of the secret %q was in %s of %s %s://%s; it was not replaced, and the request was refused", name, validText(where), validText(r.Method), a.x.scheme, a.x.authority()),
		Severity: "high", Outcome: audit.Blocked, Rule: a.rec.Rule,
	}})
}

// rewrite makes the request that the host gets.
func (a *ask) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL = &url.URL{Scheme: a.x.scheme, Host: a.x.authority(), Path: in.URL.Path,
		RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery}
	out.Host = hostHeader(a.x)
	out.Header.Del("Host") // of HTTP/2, beside :authority
	if _, ok := in.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // none is added
	}
	if len(a.x.bound) > 0 {
		askReadable(out)
	}
	a.rec.Secrets = put(out, a.x.bound)
	if out.Body != nil && out.Body != http.NoBody {
		out.Body = &sentBody{out.Body, a}
	}
}

// hostHeader is the name that was judged, in its one spelling.
func hostHeader(x *exchange) string {
	host := x.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if p := strconv.Itoa(int(x.c.port)); p != defaultPort(x.scheme) {
		host += ":" + p
	}
	return host
}

// answered looks at an answer's head before the agent sees it.
func (a *ask) answered(res *http.Response) error {
	res.Header.Del("Alt-Svc") // another port or QUIC, neither of which is there
	if err := mask(res, a.x.forms); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		return err
	}
	body, ok := res.Body.(io.ReadWriteCloser)
	if !ok || a.x.wire == nil {
		return errors.New("the host switched protocols without being asked to")
	}
	a.w.status, a.w.first = res.StatusCode, time.Since(a.began)
	res.Body = &upgradedConn{body, a}
	a.x.wire.upgraded()
	return nil
}

// upgradedConn counts what goes over a connection that is no HTTP any more.
type upgradedConn struct {
	io.ReadWriteCloser
	a *ask
}

func (c *upgradedConn) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	if cerr := c.a.use(c.a.down, n); cerr != nil {
		return 0, cerr
	}
	c.a.received.Add(int64(n))
	return n, err
}

func (c *upgradedConn) Write(p []byte) (int, error) {
	if err := c.a.use(c.a.up, len(p)); err != nil {
		return 0, err
	}
	n, err := c.ReadWriteCloser.Write(p)
	c.a.sent.Add(int64(n))
	return n, err
}

// use takes bytes of a cap; an error says that it is used up.
func (a *ask) use(c *byteCap, n int) error {
	if c.reserve(int64(n)) == int64(n) {
		return nil
	}
	a.full.Store(c)
	a.x.g.capHit(c, a.x.host)
	return errCapped
}

// failed answers a request that did not get through.
func (a *ask) failed(request *http.Request, err error) {
	x, r := a.x, refusal{}
	a.rec.Outcome = audit.Failed
	var placed errPlaceholder
	x.mu.Lock()
	broken := x.broken
	x.mu.Unlock()
	switch {
	case a.full.Load() != nil:
		full := a.full.Load()
		a.rec.Rule = full.rule.String()
		a.deny(request, http.StatusTooManyRequests, capReason(full, x.host))
	case errors.As(err, &placed):
		a.deny(request, http.StatusForbidden, placed.Error())
	case broken != "":
		a.deny(request, http.StatusBadRequest, broken)
	case errors.As(err, &r):
		x.dialled("", err)
		a.deny(request, http.StatusForbidden, r.reason)
	case errors.Is(err, errCoding):
		a.deny(request, http.StatusBadGateway, err.Error())
	default:
		reason := replaceText(upstreamError(x.host, err), a.x.forms)
		if !x.c.recorded {
			x.dialled("", errors.New(reason))
		}
		a.rec.Reason = clip(reason)
		a.explain(request, http.StatusBadGateway, clip(reason))
	}
}

// unread answers a request whose body was looked through before it was sent.
func (a *ask) unread(r *http.Request, err error) {
	var placed errPlaceholder
	if errors.As(err, &placed) {
		a.deny(r, http.StatusForbidden, placed.Error())
		return
	}
	a.rec.Outcome, a.rec.Reason = audit.Failed, "the request's body was cut off"
	a.explain(r, http.StatusBadRequest, a.rec.Reason)
}

// record reports the request once it is over.
func (a *ask) record() {
	a.rec.Duration = time.Since(a.began)
	a.rec.BytesOut, a.rec.BytesIn = a.sent.Load(), a.received.Load()
	a.rec.Status, a.rec.Latency = a.w.status, a.w.first
	if full := a.full.Load(); full != nil && a.rec.Outcome == audit.Allowed {
		a.rec.Outcome, a.rec.Reason, a.rec.Rule = audit.Blocked, capReason(full, a.x.host), full.rule.String()
	}
	if a.placed.Load() && a.rec.Outcome == audit.Allowed {
		a.rec.Outcome, a.rec.Reason = audit.Blocked, "a placeholder was in the request's body, behind what was sent already"
	}
	a.x.g.reports(report{HTTP: &a.rec})
}

// sentBody counts what the host gets and ends at the cap.
type sentBody struct {
	io.ReadCloser
	a *ask
}

var errCapped = errors.New("the limit of bytes is used up")

func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if cerr := b.a.use(b.a.up, n); cerr != nil {
		return 0, cerr
	}
	b.a.sent.Add(int64(n))
	return n, err
}

// answerWriter counts what the agent gets, masks the heads of answers (also those
// before the final one), and ends at the cap.
type answerWriter struct {
	http.ResponseWriter
	ask    *ask
	status int
	first  time.Duration
}

// Unwrap is for http.ResponseController: flushing and hijacking are the connection's.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *answerWriter) WriteHeader(status int) {
	if status < 200 {
		maskHeader(w.Header(), w.ask.x.forms)
	}
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status, w.first = status, time.Since(w.ask.began)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answerWriter) Write(p []byte) (int, error) {
	if w.ask.rec.Outcome == audit.Allowed { // else it is our own answer
		if err := w.ask.use(w.ask.down, len(p)); err != nil {
			return 0, err
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.ask.received.Add(int64(n))
	return n, err
}
