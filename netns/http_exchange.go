package netns

import (
	"context"
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
	"github.com/agentjail/agentjail/profiles/mutate"
)

// ask is one request on its way.
type ask struct {
	x     *exchange
	path  string // canonical
	match profiles.RequestMatch
	under profiles.RequestMatch // the ceiling's, which lets it too; zero where it says nothing
	rec   audit.HTTP
	began time.Time
	w     *answerWriter

	sent, received atomic.Int64 // bytes of the bodies
	up, down       *byteCap
	model          *modelCall // nil where no model is called
	body           judgedBody
	spend          spending
	budgets        map[string]string       // what the answer says of each that was charged
	full           atomic.Pointer[byteCap] // that ended the request
	placed         atomic.Bool             // a placeholder was in the wrong place
	signing        *signing                // nil: it has no AWS signature
	socket         atomic.Pointer[string]  // why the WebSocket was ended
	cut            *profiles.Fault         // that ends the answer in its middle
}

type askKey struct{}

// newProxy makes the one reverse proxy. What goes to the host is made of the parsed
// request alone; headers of one connection stay on it.
func newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			a := askOf(r.Context())
			if a.signing != nil && a.signing.err != nil {
				return nil, a.signing.err
			}
			return a.x.up.transport.RoundTrip(r)
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
	if err := x.g.vault.watch(r, a.misplaced); err != nil {
		a.unread(r, err)
		return
	}
	if !a.prepareSigning(r) || a.fault(r) {
		return
	}
	if !a.reserve(r) {
		return
	}
	defer a.spent()
	upgrade(r)
	if !a.callsModel(r) {
		return
	}
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
		a.misplaced(name, where)
		return a.deny(r, http.StatusForbidden, fmt.Sprintf("the placeholder of the secret %q may not be in %s", name, where))
	}
	if mutate.Off(mutate.Requests) {
		return true
	}
	path, err := profiles.CanonicalPath(raw)
	if err != nil {
		return a.deny(r, http.StatusForbidden, "the request's path can be read in two ways: "+err.Error())
	}
	a.path, a.rec.Path = path, validText(path)
	for i, layer := range x.access.Layers() {
		matches, denied := layer.Request(r.Method, path)
		if i > 0 {
			a.rec.Rule = layer.Rules[0].Origin.String()
		}
		if denied != "" {
			return a.deny(r, http.StatusForbidden, denied)
		}
		if matches[0].Request != nil {
			if what := overrides(r); what != "" {
				return a.deny(r, http.StatusForbidden, what+" would make another request of this one")
			}
		}
		m, reason := a.choose(r, matches)
		if reason != "" {
			return a.deny(r, http.StatusForbidden, reason)
		}
		a.take(m, i > 0)
	}
	if reason := a.price(r); reason != "" {
		return a.deny(r, http.StatusForbidden, reason)
	}
	if reason, ok := a.permitted(r.Context()); !ok {
		return a.deny(r, http.StatusForbidden, reason)
	}
	return a.withinQuotas(r)
}

// choose takes the first rule whose condition holds.
func (a *ask) choose(r *http.Request, matches []profiles.RequestMatch) (match profiles.RequestMatch, reason string) {
	for _, m := range matches {
		q := m.Request
		if q == nil || q.When == nil {
			return m, ""
		}
		a.rec.Rule = q.Origin.String()
		test := a.x.g.conditions[q.When.Source]
		if test == nil {
			reason = "the rule's condition can't be evaluated"
			continue
		}
		if q.When.Body {
			a.body.load(r)
			if a.body.err != nil {
				reason = a.body.err.Error()
				continue
			}
		}
		holds, err := test.Holds(facts(r, a.x.host, a.path, a.body.value))
		if holds {
			return m, ""
		}
		reason = "the rule's condition does not hold: " + oneLine(q.When.Source)
		if q.Reason != "" {
			reason += " (" + q.Reason + ")"
		}
		if err != nil {
			reason += ": " + oneLine(err.Error())
		}
	}
	return profiles.RequestMatch{}, reason
}

// take keeps a rule that lets the request; ceiling says whose it is.
func (a *ask) take(m profiles.RequestMatch, ceiling bool) {
	if ceiling {
		a.under = m
	} else {
		a.match = m
	}
	a.rec.Rule = a.match.Origin().String()
	q := a.x.g.quotas
	a.up, a.down = bothCaps(a.up, q.cap("upload", m.Rule, a.x.host)), bothCaps(a.down, q.cap("download", m.Rule, a.x.host))
}

// withinQuotas takes what the request uses of its rule's quotas.
func (a *ask) withinQuotas(r *http.Request) bool {
	v := a.x.g.quotas.take(append(claims(a.match, a.x.host), claims(a.under, a.x.host)...))
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
	a.rec.Rule = c.blame().rule.String()
	a.x.g.capHit(c, a.x.host)
	return a.deny(r, http.StatusTooManyRequests, capReason(c, a.x.host))
}

func capReason(c *byteCap, host string) string {
	c = c.blame()
	return fmt.Sprintf("the %s limit of %s for %s is used up for this run, and asking again does not help", c.what, profiles.FormatSize(c.most), host)
}

// misplaced reports a placeholder in the wrong place.
func (a *ask) misplaced(name, where string) {
	a.placed.Store(true)
	a.misplacedIn(name, where, "the request was refused")
}

func (a *ask) misplacedIn(name, where, then string) {
	a.x.g.reports(report{Finding: &audit.Finding{
		Title:    "placeholder credential sent to the wrong place",
		Detail:   fmt.Sprintf("the placeholder of the secret %q was in %s of %s %s://%s; it was not replaced, and %s", name, validText(where), a.rec.Method, a.x.scheme, a.x.authority(), then),
		Severity: "high", Outcome: audit.Blocked, Rule: a.rec.Rule, Event: "escape",
	}})
}

// rewrite makes the request that the host gets.
func (a *ask) rewrite(p *httputil.ProxyRequest) {
	in, out := p.In, p.Out
	out.URL = &url.URL{Scheme: a.x.scheme, Host: a.x.authority(), Path: in.URL.Path,
		RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery, ForceQuery: in.URL.ForceQuery}
	if !mutate.Off(mutate.Respelling) {
		out.Host = hostHeader(a.x)
	}
	out.Header.Del("Host") // of HTTP/2, beside :authority
	if _, ok := in.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = nil // none is added
	}
	if len(a.x.bound) > 0 || a.x.access.Sanitizes() || a.model != nil || a.spend.looks {
		askReadable(out, a.x.access.Sanitizes() || a.model != nil || a.spend.looks || wholeAnswers(a.x.bound))
	}
	if len(a.x.g.vault.secrets) > 0 {
		// permessage-deflate, RFC 7692: a server does without what is not offered.
		out.Header.Del("Sec-Websocket-Extensions")
	}
	// What stands behind the body was judged by no rule, and some servers take it for
	// headers (RFC 9110 section 6.5.1).
	out.Trailer = nil
	a.rec.Secrets = put(out, a.x.bound)
	if a.signing != nil { // last: what is signed is what is sent
		a.signAgain(out)
	}
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

// record reports the request once it is over.
func (a *ask) record() {
	a.rec.Duration = time.Since(a.began)
	a.rec.BytesOut, a.rec.BytesIn = a.sent.Load(), a.received.Load()
	a.rec.Status, a.rec.Latency = a.w.status, a.w.first
	if full := a.full.Load(); full != nil && a.rec.Outcome == audit.Allowed {
		a.rec.Outcome, a.rec.Reason, a.rec.Rule = audit.Blocked, capReason(full, a.x.host), full.blame().rule.String()
	}
	if a.placed.Load() && a.rec.Outcome == audit.Allowed {
		a.rec.Outcome, a.rec.Reason = audit.Blocked, "a placeholder was in the request's body, behind what was sent already"
	}
	if why := a.socket.Load(); why != nil {
		a.rec.Outcome, a.rec.Reason = audit.Blocked, *why
	}
	a.x.g.reports(report{HTTP: &a.rec})
	if a.model != nil {
		a.model.finish()
	}
}
