package netns

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

const (
	caPath = "/test/ca.pem"
	apiKey = "sk-ant-api03-RealValue/of+theKey0123456789"
)

// origin is an upstream: a TLS server with a CA of its own, and what it got.
type origin struct {
	addr string
	pem  []byte

	mu       sync.Mutex
	requests []seen
}

type seen struct {
	Method, Host, URI, Proto string
	Header                   http.Header
	Body                     string
}

func (o *origin) got() []seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.requests)
}

// newOrigin serves for some names; what is nil answers with what it got.
func newOrigin(t *testing.T, h http.HandlerFunc, names ...string) *origin {
	t.Helper()
	o := &origin{}
	ca, caKey := testCA(t)
	o.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, ca, key.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h != nil {
			o.note(r, "")
			h(w, r)
			return
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		o.note(r, string(b))
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.RequestURI, r.Proto)
	}), ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	go s.ServeTLS(l, "", "")
	t.Cleanup(func() { s.Close() })
	return o
}

func (o *origin) note(r *http.Request, body string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, seen{r.Method, r.Host, r.RequestURI, r.Proto, r.Header.Clone(), body})
}

func testCA(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// loadNetwork reads a profile's network and secrets.
func loadNetwork(t *testing.T, source string) *profiles.Spec {
	t.Helper()
	s, diags, _ := profiles.Load("/test.hcl", profiles.Options{Home: "/h", Cwd: "/", ReadFile: func(string) ([]byte, error) { return []byte("extends = []\n" + source), nil }})
	if s == nil {
		t.Fatal(diags)
	}
	return s
}

// ibox is a box whose gateway looks into TLS.
type ibox struct {
	*box
	ca      []byte
	holders map[string]string // placeholders, by the secret's name
}

// newInterceptBox serves a profile; every rule dials the origin.
func newInterceptBox(t *testing.T, o *origin, source string, values map[string]string) *ibox {
	t.Helper()
	needNamespaces(t)
	spec := loadNetwork(t, source)
	for i := range spec.Network.Allow {
		r := &spec.Network.Allow[i]
		if r.Upstream == "" {
			r.Upstream, r.UpstreamCA = o.addr, caPath
		}
	}
	b := &ibox{holders: map[string]string{}}
	cert, key, err := NewAuthority("test", &spec.Network, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.ca = cert
	secrets, keys := []Secret{}, [][]byte{key}
	for _, s := range spec.Secrets {
		value := []byte(values[s.Name])
		holder, err := NewPlaceholder(value)
		if err != nil {
			t.Fatal(err)
		}
		b.holders[s.Name] = holder
		secrets, keys = append(secrets, Secret{s, holder}), append(keys, value)
	}
	handed, err := NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	b.box = newBox(t, spec.Network, func(c *Config) {
		c.UpstreamCAs = map[string][]byte{caPath: o.pem}
		c.Intercept = &Intercept{CA: cert, Secrets: secrets, Keys: handed}
	})
	return b
}

func (b *ibox) fetch(a fetchArg) fetched {
	b.t.Helper()
	a.CA = b.ca
	if a.Method == "" {
		a.Method = "GET"
	}
	var out fetched
	text := b.do("fetch", a)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	return out
}

// wantFetch makes a request over HTTP/1.1 and HTTP/2 and compares the answer.
func (b *ibox) wantFetch(a fetchArg, status int, body string) fetched {
	b.t.Helper()
	var out fetched
	for _, h1 := range []bool{true, false} {
		a.H1 = h1
		out = b.fetch(a)
		if out.Err != "" || out.Status != status || !strings.Contains(out.Body, body) {
			b.t.Errorf("%s %s (HTTP/1.1 %v): %d %q %s, want %d %q", a.Method, a.URL, h1, out.Status, out.Body, out.Err, status, body)
		}
	}
	return out
}

func (b *ibox) wantHTTP(what string, pred func(audit.HTTP) bool) {
	b.t.Helper()
	b.sink.wait(b.t, what, func(r audit.Record) bool {
		h, ok := r.(audit.HTTP)
		return ok && pred(h)
	})
}

func (b *ibox) wantFinding(where string) {
	b.t.Helper()
	b.sink.wait(b.t, "the finding of "+where, func(r audit.Record) bool {
		f, ok := r.(audit.Finding)
		return ok && f.Severity == "high" && f.Outcome == audit.Blocked && strings.Contains(f.Detail, where)
	})
}

const rulesProfile = `
network {
  allow "api.example" {
    request "GET" "/v1/**" {}
    request "POST" "/v1/issues" {
      when   = request.body.project == "web" && request.host == "api.example"
      reason = "our project only"
    }
    request "POST" "/v1/free" {}
    request "PUT" "/v1/flag" { when = request.query.ok == "yes" && request.headers["x-mode"] == "safe" }
    request "GET" "/@*%2f*" {}
  }
  allow "open.example:8443" {
    limit = "1000/s"
  }
  allow "plain.example:80" {
    request "GET" "/a" {}
  }
  allow "opaque.example" {}
}
`

func TestKernelRequests(t *testing.T) {
	o := newOrigin(t, nil, "api.example", "open.example", "opaque.example")
	b := newInterceptBox(t, o, rulesProfile, nil)
	api := "https://api.example"
	got := b.wantFetch(fetchArg{URL: api + "/v1/models?x=1&x=2"}, 200, "GET api.example /v1/models?x=1&x=2 HTTP/2.0")
	if got.Proto != "HTTP/2.0" {
		t.Errorf("the gateway speaks %s to a client that can HTTP/2", got.Proto)
	}
	b.wantFetch(fetchArg{URL: api + "/@scope%2fname"}, 200, "/@scope%2fname")
	b.wantFetch(fetchArg{URL: api + "/v1/a%2fb"}, 403, "no request rule")
	b.wantFetch(fetchArg{URL: api + "/v2/models"}, 403, "agentjail: no request rule of this host allows GET for this path (test.hcl:4)")
	b.wantFetch(fetchArg{URL: api + "/v1/models", Method: "DELETE"}, 403, "not DELETE")
	b.wantFetch(fetchArg{URL: "https://open.example:8443/any/path", Method: "DELETE"}, 200, "DELETE open.example:8443 /any/path")
	b.wantFetch(fetchArg{URL: api + "/v1/free", Method: "POST", Body: "anything"}, 200, "POST")

	// The refusal as JSON, where that is asked for.
	j := b.fetch(fetchArg{URL: api + "/no", Header: map[string][]string{"Accept": {"application/json"}}})
	var body struct {
		Error struct{ Type, Message, Rule string }
	}
	if err := json.Unmarshal([]byte(j.Body), &body); err != nil || body.Error.Rule != "test.hcl:4" || body.Error.Type != "agentjail_denied" || body.Error.Message == "" {
		t.Errorf("%s: %v", j.Body, err)
	}

	issue := func(kind, body string) fetchArg {
		return fetchArg{URL: api + "/v1/issues", Method: "POST", Body: body, Header: map[string][]string{"Content-Type": {kind}}}
	}
	b.wantFetch(issue("application/json", `{"project":"web","title":"x"}`), 200, "POST")
	b.wantFetch(issue("application/json; charset=utf-8", `{"project":"web"}`), 200, "POST")
	b.wantFetch(issue("application/vnd.x+json", `{"project":"web"}`), 200, "POST")
	b.wantFetch(issue("application/x-www-form-urlencoded", `title=x&project=web`), 200, "POST")
	for name, a := range map[string]fetchArg{
		"another value":       issue("application/json", `{"project":"other"}`),
		"no value":            issue("application/json", `{}`),
		"no body":             issue("application/json", ``),
		"broken":              issue("application/json", `{"project":"web"`),
		"something behind":    issue("application/json", `{"project":"web"}{}`),
		"twice":               issue("application/json", `{"project":"other","project":"web"}`),
		"twice in other case": issue("application/json", `{"Project":"other","project":"web"}`),
		"another type":        issue("text/plain", `{"project":"web"}`),
		"another charset":     issue("application/json; charset=utf-16", `{"project":"web"}`),
		"form twice":          issue("application/x-www-form-urlencoded", `project=web&project=other`),
		"form that is JSON":   issue("application/x-www-form-urlencoded", `{"a":"&project=web&b=","project":"other"}`),
		"too large":           issue("application/json", `{"project":"web","pad":"`+strings.Repeat("a", maxJudgedBody)+`"}`),
		"compressed":          {URL: api + "/v1/issues", Method: "POST", Body: `{"project":"web"}`, Header: map[string][]string{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}},
		"two types":           {URL: api + "/v1/issues", Method: "POST", Body: `{"project":"web"}`, Header: map[string][]string{"Content-Type": {"application/json", "text/plain"}}},
	} {
		if got := b.fetch(a); got.Status != 403 {
			t.Errorf("%s: %d %s", name, got.Status, got.Body)
		}
	}
	flag := func(query, mode string) int {
		return b.fetch(fetchArg{URL: api + "/v1/flag?" + query, Method: "PUT", Header: map[string][]string{"X-Mode": {mode}}}).Status
	}
	for query, want := range map[string]int{"ok=yes": 200, "ok=no": 403, "ok=yes&ok=no": 403, "ok=yes;x": 403, "": 403} {
		if got := flag(query, "safe"); got != want {
			t.Errorf("?%s: %d", query, got)
		}
	}
	if got := flag("ok=yes", "unsafe"); got != 403 {
		t.Errorf("the header is not looked at: %d", got)
	}

	// Plain HTTP has the same rules. Its upstream here speaks TLS: what is refused
	// is refused before.
	b.want("403 agentjail: no request rule", "http", "http://plain.example/b")
	if got := b.do("http", "http://plain.example/a"); strings.HasPrefix(got, "403") {
		t.Errorf("the allowed request was refused: %s", got)
	}

	b.wantHTTP("an allowed request", func(h audit.HTTP) bool {
		return h.Method == "GET" && h.Host == "api.example" && h.Path == "/v1/models" && h.Status == 200 && h.Outcome == audit.Allowed &&
			h.Rule == "test.hcl:5" && h.BytesIn > 10 && h.Version == "2" && h.Scheme == "https" && h.ID != 0 && h.Duration > 0
	})
	b.wantHTTP("a refused one", func(h audit.HTTP) bool {
		return h.Method == "DELETE" && h.Status == 403 && h.Outcome == audit.Blocked && h.Reason != ""
	})
	b.wantHTTP("one whose condition failed", func(h audit.HTTP) bool {
		return h.Path == "/v1/issues" && h.Outcome == audit.Blocked && strings.Contains(h.Reason, "our project only") && h.Rule == "test.hcl:6"
	})
	b.wantConnect("the connection", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Name == "api.example" && c.Dialled == o.addr && c.SNI == "api.example"
	})
	for _, r := range o.got() {
		if r.Method == "DELETE" && r.Host == "api.example" || strings.HasPrefix(r.URI, "/v2") || r.Header.Get("X-Forwarded-For") != "" {
			t.Errorf("the host got %+v", r)
		}
	}
	// A host without request rules stays end to end: its own certificate is seen.
	if got := b.fetch(fetchArg{URL: "https://opaque.example/"}); !strings.Contains(got.Err, "certificate signed by unknown authority") {
		t.Errorf("opaque.example was looked into: %+v", got)
	}
}

// TestKernelSmuggling: what two servers could read in two ways does not get through.
func TestKernelSmuggling(t *testing.T) {
	o := newOrigin(t, nil, "api.example")
	b := newInterceptBox(t, o, rulesProfile+"\n", nil)
	const head = "GET /v1/a HTTP/1.1\r\nHost: api.example\r\n"
	send := func(text string) string {
		return b.do("tlssend", fetchArg{Host: "api.example:443", Body: text})
	}
	if got := send(head + "Connection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Fatalf("the honest request: %q", got)
	}
	post := "POST /v1/free HTTP/1.1\r\nHost: api.example\r\n"
	if got := send(post + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Fatalf("the honest chunked request: %q", got)
	}
	before := len(o.got())
	for name, text := range map[string]string{
		"CL and TE":             post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/evil HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"TE and CL":             post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two CL":                post + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"two different CL":      post + "Content-Length: 3\r\nContent-Length: 0\r\n\r\nabc",
		"CL list":               post + "Content-Length: 3, 3\r\n\r\nabc",
		"CL with a sign":        post + "Content-Length: +3\r\n\r\nabc",
		"CL in hex":             post + "Content-Length: 0x3\r\n\r\nabc",
		"CL with underscore":    post + "Content_Length: 3\r\n\r\n",
		"TE twice":              post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE list":               post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"TE identity":           post + "Transfer-Encoding: identity\r\n\r\n",
		"TE obscured":           post + "Transfer-Encoding: xchunked\r\n\r\n",
		"TE with a space":       post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"TE folded":             post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"TE in HTTP/1.0":        "POST /v1/free HTTP/1.0\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"bare LF":               "GET /v1/a HTTP/1.1\nHost: api.example\n\n",
		"bare LF in a header":   head + "X-A: b\nX-C: d\r\n\r\n",
		"bare CR":               head + "X-A: b\rX-C: d\r\n\r\n",
		"folded header":         head + "X-A: b\r\n c\r\n\r\n",
		"NUL":                   head + "X-A: b\x00c\r\n\r\n",
		"chunk extension":       post + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n",
		"chunk bare LF":         post + "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
		"chunk size with 0x":    post + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
		"chunk too long":        post + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
		"length in the trailer": post + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
		"two hosts":             head + "Host: api.example\r\n\r\n",
		"no host":               "GET /v1/a HTTP/1.1\r\n\r\n",
		"another host":          "GET /v1/a HTTP/1.1\r\nHost: opaque.example\r\n\r\n",
		"host with userinfo":    "GET /v1/a HTTP/1.1\r\nHost: api.example@opaque.example\r\n\r\n",
		"absolute form":         "GET https://opaque.example/v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"own absolute form":     "GET https://api.example/v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"CONNECT":               "CONNECT opaque.example:443 HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"asterisk":              "OPTIONS * HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"two spaces":            "GET  /v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"space in the target":   "GET /v1/a /v2/b HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"tab":                   "GET\t/v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"HTTP/0.9":              "GET /v1/a\r\n\r\n",
		"HTTP/2 preface":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"empty line first":      "\r\n" + head + "\r\n",
		"dots":                  "GET /v1/../v2/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded dots":          "GET /v1/%2e%2e/v2/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded twice":         "GET /v1/%252e%252e/v2/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"empty segment":         "GET /v1//a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"empty first segment":   "GET //api.example/v1/a HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded slash":         "GET /v1/a%2fb HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded backslash":     "GET /v1/a%5cb HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded letter":        "GET /v1/%61 HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded NUL":           "GET /v1/a%00 HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"encoded CRLF":          "GET /v1/a%0d%0aX:y HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"override header":       head + "X-HTTP-Method-Override: DELETE\r\n\r\n",
		"override underscore":   head + "X_HTTP_Method_Override: DELETE\r\n\r\n",
		"override address":      head + "X-Original-URL: /v2/evil\r\n\r\n",
		"override parameter":    "GET /v1/a?_method=DELETE HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"hop by hop":            head + "X-Mode: safe\r\nConnection: close, X-Mode\r\n\r\n",
	} {
		got := send(text)
		if !strings.HasPrefix(got, "HTTP/1.1 403") && !strings.HasPrefix(got, "HTTP/1.1 400") && !strings.HasPrefix(got, "HTTP/1.0 40") {
			t.Errorf("%s: %q", name, got)
		}
		if n := strings.Count(got, "HTTP/1.") - strings.Count(got, "end in HTTP/1.1"); n != 1 && !strings.Contains(got, "HTTP/1.0 has no") {
			t.Errorf("%s: %d answers: %q", name, n, got)
		}
	}
	for _, r := range o.got()[before:] {
		// A body that turns out broken may have begun to flow; nothing else may.
		if r.URI != "/v1/free" || r.Body != "" && r.Body != "ab" && r.Body != "abc" {
			t.Errorf("the host got %+v", r)
		}
	}
	// A pipelined second request is judged like the first.
	got := send(head + "\r\nGET /v2/evil HTTP/1.1\r\nHost: api.example\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 200") || !strings.Contains(got, "HTTP/1.1 403") {
		t.Errorf("pipelined: %q", got)
	}
	b.wantConnect("what was malformed", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && strings.Contains(c.Reason, "bare line feed")
	})
}

func TestKernelSmugglingH2(t *testing.T) {
	o := newOrigin(t, nil, "api.example")
	b := newInterceptBox(t, o, rulesProfile, nil)
	h2 := func(change ...[2]string) string {
		fields := [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "api.example"}, {":path", "/v1/a"}}
		for _, kv := range change {
			if i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == kv[0] }); i >= 0 {
				fields[i] = kv
			} else {
				fields = append(fields, kv)
			}
		}
		return b.do("h2raw", map[string]any{"Host": "api.example:443", "Fields": fields})
	}
	if got := h2(); !strings.HasPrefix(got, "200") {
		t.Fatalf("the honest request: %q", got)
	}
	if got := h2([2]string{"host", "api.example"}); !strings.HasPrefix(got, "200") {
		t.Errorf("an equal host header: %q", got)
	}
	before := len(o.got())
	for name, change := range map[string][2]string{
		"another host header":     {"host", "opaque.example"},
		"another authority":       {":authority", "opaque.example"},
		"authority with userinfo": {":authority", "x@api.example"},
		"CONNECT":                 {":method", "CONNECT"},
		"Transfer-Encoding":       {"transfer-encoding", "chunked"},
		"Connection":              {"connection", "x-mode"},
		"upper case":              {"X-Mode", "safe"},
		"line break in a value":   {"x-mode", "safe\r\nx-evil: 1"},
		"line break in the path":  {":path", "/v1/a\r\nx-evil: 1"},
		"NUL":                     {"x-mode", "a\x00b"},
		"dots":                    {":path", "/v1/../v2"},
		"encoded slash":           {":path", "/v1/a%2fb"},
		"absolute path":           {":path", "https://opaque.example/v1/a"},
		"no slash":                {":path", "v1/a"},
		"override":                {"x-http-method-override", "DELETE"},
	} {
		got := h2(change)
		if strings.HasPrefix(got, "200") || got == "timeout" || got == "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for _, r := range o.got()[before:] {
		t.Errorf("the host got %+v", r)
	}
}

const secretsProfile = `
network {
  allow "api.example"   { secret = secret.api }
  allow "other.example" {
    request "*" "/**" {}
  }
  allow "query.example" { secret = secret.query }
  allow "git.example"   { secret = secret.git }
  allow "forced.example" { secret = secret.forced }
  allow "plain.example:80" {}
}
secret "api" {
  env    = "API"
  header = "x-api-key"
}
secret "query" {
  env   = "Q"
  query = "key"
}
secret "git" {
  env    = "G"
  basic  = "x-access-token"
  inject = true
}
secret "forced" {
  env    = "F"
  header = "authorization"
  format = "Bearer %s"
  inject = true
}
`

func secretValues() map[string]string {
	return map[string]string{"api": apiKey, "query": "AIzaQUERYquery0123456789", "git": "ghp_gitGITgit0123456789abcdef", "forced": "sk_live_forced0123456789"}
}

func TestKernelSecrets(t *testing.T) {
	o := newOrigin(t, nil, "api.example", "other.example", "query.example", "git.example", "forced.example")
	b := newInterceptBox(t, o, secretsProfile, secretValues())
	real, holder := secretValues(), b.holders
	last := func() seen { g := o.got(); return g[len(g)-1] }
	with := func(name, value string) map[string][]string { return map[string][]string{name: {value}} }

	b.wantFetch(fetchArg{URL: "https://api.example/a", Header: with("X-Api-Key", holder["api"])}, 200, "GET")
	if got := last().Header.Get("X-Api-Key"); got != real["api"] {
		t.Errorf("the host got %q", got)
	}
	b.wantFetch(fetchArg{URL: "https://api.example/a"}, 200, "GET")
	if got := last().Header.Values("X-Api-Key"); len(got) != 0 {
		t.Errorf("the secret was put in where there was no header: %q", got)
	}
	b.wantFetch(fetchArg{URL: "https://query.example/a?x=1&key=" + holder["query"] + "&y=2"}, 200, "GET")
	if got := last().URI; got != "/a?x=1&key="+real["query"]+"&y=2" {
		t.Errorf("the host got %s", got)
	}
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	for _, header := range []map[string][]string{nil, with("Authorization", basic("x", holder["git"])), with("Authorization", "Bearer the-agent's-own")} {
		b.wantFetch(fetchArg{URL: "https://git.example/r.git", Header: header}, 200, "GET")
		if got := last().Header.Get("Authorization"); got != basic("x-access-token", real["git"]) {
			t.Errorf("the host got %q", got)
		}
	}
	b.wantFetch(fetchArg{URL: "https://forced.example/", Header: with("Authorization", "Bearer the-agent's-own")}, 200, "GET")
	if got := last().Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+real["forced"] {
		t.Errorf("the host got %q", got)
	}
	b.wantHTTP("the secret's use", func(h audit.HTTP) bool { return slices.Equal(h.Secrets, []string{"api"}) })

	// Anywhere else it is left as it is, refused and reported.
	before := len(o.got())
	p := holder["api"]
	escaped := strings.NewReplacer("/", "%2F", "+", "%2B").Replace(p)
	for name, tt := range map[string]struct {
		where string
		a     fetchArg
	}{
		"another host":          {"the header X-Api-Key", fetchArg{URL: "https://other.example/1", Header: with("X-Api-Key", p)}},
		"another header":        {"the header X-Other", fetchArg{URL: "https://api.example/2", Header: with("X-Other", p)}},
		"within a header":       {"the header Cookie", fetchArg{URL: "https://api.example/3", Header: with("Cookie", "a="+p+"; b=c")}},
		"another's header":      {"the header Authorization", fetchArg{URL: "https://forced.example/4", Header: with("Authorization", "Bearer "+p)}},
		"basic":                 {"the header Authorization", fetchArg{URL: "https://api.example/5", Header: with("Authorization", basic("x", p))}},
		"the query":             {"the query", fetchArg{URL: "https://api.example/6?x-api-key=" + escaped}},
		"another parameter":     {"the query", fetchArg{URL: "https://query.example/7?q=" + holder["query"]}},
		"in a parameter's text": {"the query", fetchArg{URL: "https://query.example/8?key=x" + holder["query"]}},
		"the path":              {"the path", fetchArg{URL: "https://query.example/9/" + holder["query"]}},
		"a body":                {"the body", fetchArg{URL: "https://api.example/10", Method: "POST", Body: `{"x":"` + p + `"}`}},
		"a large body":          {"the body", fetchArg{URL: "https://api.example/11", Method: "POST", Body: strings.Repeat("x", 100_000) + p}},
		"a body in base64":      {"the body", fetchArg{URL: "https://api.example/12", Method: "POST", Body: base64.StdEncoding.EncodeToString([]byte("ab" + p + "c"))}},
		"a body elsewhere":      {"the body", fetchArg{URL: "https://other.example/13", Method: "POST", Body: p}},
	} {
		for _, h1 := range []bool{true, false} {
			tt.a.H1 = h1
			if got := b.fetch(tt.a); got.Status != 403 || !strings.Contains(got.Body, "placeholder") {
				t.Errorf("%s (HTTP/1.1 %v): %d %q %s", name, h1, got.Status, got.Body, got.Err)
			}
		}
		b.wantFinding(tt.where + " of " + map[bool]string{true: "POST", false: "GET"}[tt.a.Method == "POST"] + " " + tt.a.URL[:strings.Index(tt.a.URL, ".example")])
	}
	if got := b.do("fetch", fetchArg{URL: "http://plain.example/14", Method: "GET", Header: with("X-Api-Key", p)}); !strings.Contains(got, `"Status":403`) {
		t.Errorf("over plain HTTP: %s", got)
	}
	b.wantFinding("GET http://plain.example")
	for _, r := range o.got()[before:] {
		text := fmt.Sprint(r)
		for name := range real {
			if name != "forced" && name != "git" && (strings.Contains(text, real[name]) || strings.Contains(r.Body, holder[name])) {
				t.Errorf("the host got %+v", r)
			}
		}
	}
	for _, r := range b.sink.all() {
		for name, value := range real {
			if j, _ := json.Marshal(r); strings.Contains(string(j), value) {
				t.Errorf("the secret %s is in a record: %s", name, j)
			}
		}
	}
}

// TestKernelEcho: a host that sends the secret back does not get it into the jail.
func TestKernelEcho(t *testing.T) {
	encode := map[string]func(io.Writer) io.WriteCloser{
		"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"br":   func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z },
	}
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("X-Api-Key") + r.Header.Get("Authorization")
		coding := r.URL.Query().Get("coding")
		w.Header().Set("X-Echo", "you sent "+key)
		w.Header().Set("Trailer", "X-Trail")
		switch {
		case encode[coding] != nil:
			w.Header().Set("Content-Encoding", coding)
			z := encode[coding](w)
			fmt.Fprintf(z, "%s you sent %s!", strings.Repeat("pad ", 5000), key)
			z.Close()
		case coding != "":
			w.Header().Set("Content-Encoding", coding)
			io.WriteString(w, key)
		case r.URL.Path == "/bytes":
			for i := range key {
				io.WriteString(w, key[i:i+1])
				http.NewResponseController(w).Flush()
			}
		case r.URL.Path == "/base64":
			for i := range 3 {
				fmt.Fprintf(w, "%s %s\n", base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", i)+key+"yy")), base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("z", i)+key)))
			}
		case r.URL.Path == "/json":
			json.NewEncoder(w).Encode(map[string]string{"key": key})
			io.WriteString(w, strings.ReplaceAll(key, "/", `\/`))
		case r.URL.Path == "/early":
			w.Header().Set("Link", "<"+key+">")
			w.WriteHeader(103)
			w.WriteHeader(204)
		case r.URL.Path == "/range":
			if r.Header.Get("Range") != "" {
				w.WriteHeader(206)
				io.WriteString(w, key[:len(key)/2])
				return
			}
			io.WriteString(w, key)
		default:
			w.Header().Set("Content-Length", fmt.Sprint(len(key)))
			io.WriteString(w, key)
		}
		w.Header().Set("X-Trail", key)
	}, "api.example", "git.example")
	b := newInterceptBox(t, o, secretsProfile, secretValues())
	real, holder := secretValues()["api"], b.holders["api"]
	for _, path := range []string{"/", "/bytes", "/base64", "/json", "/early", "/range", "/?coding=gzip", "/?coding=br", "/?coding=zstd", "/?coding=deflate", "/?coding=gzip,gzip"} {
		for _, h1 := range []bool{true, false} {
			header := map[string][]string{"X-Api-Key": {holder}, "Accept-Encoding": {"gzip, deflate, br, zstd"}}
			if path == "/range" {
				header["Range"] = []string{"bytes=0-9"}
			}
			got := b.fetch(fetchArg{URL: "https://api.example" + path, Header: header, H1: h1})
			all := fmt.Sprint(got)
			for _, n := range needles([]byte(real), strings.Repeat("*", len(real))) {
				if strings.Contains(all, string(n.find)) {
					t.Errorf("%s: the jail got the secret as %s", path, n.find)
				}
			}
			if strings.Contains(path, "deflate") || strings.Contains(path, "gzip,") {
				if got.Status != 502 {
					t.Errorf("%s: %d, what can't be read was let through", path, got.Status)
				}
				continue
			}
			if got.Err != "" || got.Status != 200 && path != "/early" || got.Header.Get("X-Echo") != "you sent "+holder {
				t.Errorf("%s: %+v", path, got)
			}
			if (path == "/" || path == "/bytes" || path == "/range") && got.Body != holder || strings.Contains(path, "coding") && !strings.HasSuffix(got.Body, "you sent "+holder+"!") {
				t.Errorf("%s: body %q", path, got.Body)
			}
			if path == "/bytes" && got.Trail.Get("X-Trail") != holder {
				t.Errorf("%s: trailer %v", path, got.Trail)
			}
		}
	}
	got := b.fetch(fetchArg{URL: "https://git.example/"})
	if got.Status != 200 || strings.Contains(got.Body, base64.StdEncoding.EncodeToString([]byte("x-access-token:"+secretValues()["git"]))) || !strings.HasPrefix(got.Body, "Basic ") {
		t.Errorf("basic: %+v", got)
	}
	for _, r := range o.got() {
		if strings.Contains(r.Header.Get("Accept-Encoding"), "deflate") {
			t.Errorf("the host was offered %q", r.Header.Get("Accept-Encoding"))
		}
	}
}

// TestKernelStreams: nothing is held back, in either direction and version.
func TestKernelStreams(t *testing.T) {
	release := make(chan struct{}, 8)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			var out io.Writer = w
			flush := rc.Flush
			if r.URL.Query().Has("gzip") {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				out, flush = z, func() error { z.Flush(); return rc.Flush() }
				defer z.Close()
			}
			io.WriteString(out, "data: first\n\n")
			flush()
			<-release
			io.WriteString(out, "data: last\n\n")
		case "/release":
			release <- struct{}{}
		case "/grpc":
			w.Header().Set("Trailer", "Grpc-Status")
			b := make([]byte, 100)
			for {
				n, err := r.Body.Read(b)
				if n > 0 {
					fmt.Fprintf(w, "echo %s", b[:n])
					rc.Flush()
				}
				if err != nil {
					break
				}
			}
			w.Header().Set("Grpc-Status", "0")
		case "/socket":
			if r.Header.Get("Upgrade") == "" {
				io.WriteString(w, "not asked to upgrade")
				return
			}
			c, rw, err := rc.Hijack()
			if err != nil {
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nX-Ext: %s\r\n\r\n", r.Header.Get("Upgrade"), r.Header.Get("Sec-Websocket-Extensions"))
			line := make([]byte, len("frame\n\x00\x81bare\n"))
			io.ReadFull(rw, line)
			fmt.Fprintf(c, "socket %q", line)
		case "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d %v", n, err)
		case "/download":
			io.Copy(w, io.LimitReader(zeros{}, 50_000_000))
		}
	}, "api.example", "stream.example")
	b := newInterceptBox(t, o, strings.Replace(secretsProfile, `"other.example"`, `"stream.example"`, 1), secretValues())
	for _, host := range []string{"stream.example", "api.example"} { // the second has a secret, so that answers are looked through
		base := "https://" + host
		for _, h1 := range []bool{true, false} {
			for _, query := range []string{"", "?gzip"} {
				if query != "" && host == "stream.example" {
					continue // the client would have to decode it
				}
				got := b.do("stream", fetchArg{URL: base + "/events" + query, Method: "GET", CA: b.ca, H1: h1})
				if got != "ok data: first\n\n|data: last\n\n" {
					t.Errorf("%s%s (HTTP/1.1 %v): %q", host, query, h1, got)
				}
			}
			if got := b.fetch(fetchArg{URL: base + "/upload", Method: "POST", Size: 20_000_000, H1: h1, Header: map[string][]string{"Expect": {"100-continue"}}}); got.Body != "20000000 <nil>" {
				t.Errorf("upload to %s (HTTP/1.1 %v): %+v", host, h1, got)
			}
			if got := b.fetch(fetchArg{URL: base + "/download", H1: h1}); got.Length != 50_000_000 || got.Err != "" {
				t.Errorf("download from %s (HTTP/1.1 %v): %d %s", host, h1, got.Length, got.Err)
			}
		}
		if got := b.do("duplex", fetchArg{URL: base + "/grpc", Method: "POST", CA: b.ca, Header: map[string][]string{"Te": {"trailers"}, "Content-Type": {"application/grpc"}}}); got != "ok echo one echo two HTTP/2.0 0" {
			t.Errorf("gRPC to %s: %q", host, got)
		}
		upgrade := func(to string) string {
			return b.do("websocket", fetchArg{Host: host + ":443", Body: "GET /socket HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: " + to + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"})
		}
		if got := upgrade("websocket"); got != `ok socket "frame\n\x00\x81bare\n"` {
			t.Errorf("WebSocket to %s: %q", host, got)
		}
		if got := upgrade("h2c"); !strings.HasPrefix(got, "HTTP/1.1 200") {
			t.Errorf("h2c to %s: %q", host, got)
		}
	}
	if kb := rss(t, gatewayPID(t)); kb > 60<<10 {
		t.Errorf("the gateway's RSS is %d KiB", kb)
	} else {
		t.Logf("the gateway's RSS is %d KiB", kb)
	}
	b.wantHTTP("the stream", func(h audit.HTTP) bool { return h.Path == "/events" && h.BytesIn == 25 && h.Latency < h.Duration })
	b.wantHTTP("the upload", func(h audit.HTTP) bool { return h.Path == "/upload" && h.BytesOut == 20_000_000 })
	b.wantHTTP("the socket", func(h audit.HTTP) bool {
		return h.Path == "/socket" && h.Status == 101 && h.BytesOut == 13 && h.BytesIn > 13
	})
}

func TestKernelQuotas(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/big" {
			io.Copy(w, io.LimitReader(zeros{}, 3<<20))
		}
		io.WriteString(w, "fine")
	}, "a.example", "b.example", "up.example", "down.example")
	up := echo(t)
	b := newInterceptBox(t, o, fmt.Sprintf(`
network {
  allow "ab" {
    hosts = ["a.example", "b.example"]
    limit = "5/run"
    request "GET" "/x" { limit = "2/h" }
    request "GET" "/y" {}
  }
  allow "up.example" {
    upload = "1MiB"
    request "*" "/**" {}
  }
  allow "down.example" {
    download = "1MiB"
    request "*" "/**" {}
  }
  allow "tcp.example" {
    protocol = "tcp"
    limit    = "2/run"
    upstream = %q
  }
  allow "few.example" {
    protocol    = "tcp"
    connections = 1
    upstream    = %q
  }
  allow "cap.example" {
    protocol = "tcp"
    upload   = "10B"
    upstream = %q
  }
}`, up, up, up), nil)
	status := func(url string, change ...func(*fetchArg)) fetched {
		a := fetchArg{URL: url}
		for _, f := range change {
			f(&a)
		}
		return b.fetch(a)
	}
	for i, want := range []int{200, 200, 429} {
		if got := status("https://a.example/x"); got.Status != want {
			t.Errorf("request %d: %d %s", i, got.Status, got.Body)
		} else if want == 429 && (got.Header.Get("Retry-After") != "1800" && got.Header.Get("Retry-After") != "1799" || !strings.Contains(got.Body, "limit of 2/h requests to a.example is used up; try again in") || !strings.Contains(got.Body, "test.hcl:7")) {
			t.Errorf("%+v", got)
		}
	}
	for i, want := range []int{200, 200, 200, 429, 429} {
		if got := status("https://a.example/y"); got.Status != want {
			t.Errorf("request %d of the host: %d %s", i, got.Status, got.Body)
		} else if want == 429 && (got.Header.Get("Retry-After") != "" || !strings.Contains(got.Body, "asking again does not help")) {
			t.Errorf("%+v", got)
		}
	}
	if got := status("https://b.example/x"); got.Status != 200 {
		t.Errorf("another host has the same count: %d", got.Status)
	}
	limit := func(name, rule string) {
		t.Helper()
		b.sink.wait(t, "the limit "+name, func(r audit.Record) bool {
			l, ok := r.(audit.LimitHit)
			return ok && l.Limit == name && l.Rule == rule && l.Action == "refused"
		})
	}
	limit("2/h", "test.hcl:7")
	limit("5/run", "test.hcl:6")

	post := func(n int) func(*fetchArg) { return func(a *fetchArg) { a.Method, a.Size = "POST", n } }
	if got := status("https://up.example/", post(500_000)); got.Status != 200 {
		t.Errorf("within the cap: %+v", got)
	}
	if got := status("https://up.example/", post(900_000)); got.Status != 429 || !strings.Contains(got.Body, "upload limit of 1MiB") {
		t.Errorf("over the cap: %d %q %s", got.Status, got.Body, got.Err)
	}
	if got := status("https://up.example/"); got.Status != 429 {
		t.Errorf("behind the cap: %+v", got)
	}
	if got := status("https://down.example/big"); got.Err == "" || got.Length > 1<<20 {
		t.Errorf("over the cap: %d bytes, %s", got.Length, got.Err)
	}
	if got := status("https://down.example/"); got.Status != 429 || !strings.Contains(got.Body, "download limit") {
		t.Errorf("behind the cap: %+v", got)
	}
	limit("upload", "test.hcl:10")
	limit("download", "test.hcl:14")

	b.want("ok hello", "tcp", "tcp.example:443")
	b.want("ok hello", "tcp", "tcp.example:443")
	b.want("ECONNRESET", "tcp", "tcp.example:443")
	b.want("ok", "hold", "few.example:443")
	b.want("ECONNRESET", "tcp", "few.example:443")
	b.want("ok hello", "tcp", "cap.example:443")
	if got := b.do("tcp", "cap.example:443"); got == "ok hello\n" {
		t.Errorf("behind the cap of bytes: %q", got)
	}
	limit("2/run", "test.hcl:20")
	limit("connections", "test.hcl:23")
	limit("upload", "test.hcl:28")
}

// TestKernelUpstreamTLS: a host that can't prove its name gets nothing.
func TestKernelUpstreamTLS(t *testing.T) {
	o := newOrigin(t, nil, "right.example")
	b := newInterceptBox(t, o, `
network {
  allow "all" {
    hosts  = ["right.example", "wrong.example"]
    secret = secret.api
  }
}
secret "api" {
  env    = "A"
  header = "x-api-key"
}`, secretValues())
	b.wantFetch(fetchArg{URL: "https://right.example/"}, 200, "GET")
	before := len(o.got())
	b.wantFetch(fetchArg{URL: "https://wrong.example/", Header: map[string][]string{"X-Api-Key": {b.holders["api"]}}}, 502, "can't be verified")
	if n := len(o.got()); n != before {
		t.Errorf("the wrong host got %d requests", n-before)
	}
	b.wantConnect("the failure", func(c audit.Connect) bool {
		return c.Name == "wrong.example" && c.Outcome == audit.Failed && strings.Contains(c.Reason, "certificate")
	})
	// The right SNI, and another host inside; no SNI.
	if got := b.do("tlssend", fetchArg{Host: "right.example:443", Body: "GET / HTTP/1.1\r\nHost: wrong.example\r\n\r\n"}); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("another host inside: %q", got)
	}
	b.want("remote error: tls: unrecognized name", "tls", tlsArg{To: "right.example:443"})
	b.want("remote error: tls: unrecognized name", "tls", tlsArg{To: "right.example:443", SNI: "wrong.example"})
}

// TestKernelKeysForgotten: once the gateway has the keys, the supervisor has not.
func TestKernelKeysForgotten(t *testing.T) {
	o := newOrigin(t, nil, "api.example")
	var keys *Keys
	spec := loadNetwork(t, secretsProfile)
	cert, key, err := NewAuthority("test", &spec.Network, 0)
	if err != nil {
		t.Fatal(err)
	}
	keyBefore := bytes.Clone(key)
	value := []byte(apiKey)
	holder, err := NewPlaceholder(value)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err = NewKeys(key, value); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(key, keyBefore) || string(value) == apiKey {
		t.Error("the caller's copies were not overwritten")
	}
	b := &ibox{ca: cert}
	spec.Secrets = spec.Secrets[:1]
	for i := range spec.Network.Allow {
		spec.Network.Allow[i].Upstream, spec.Network.Allow[i].UpstreamCA = o.addr, caPath
	}
	b.box = newBox(t, spec.Network, func(c *Config) {
		c.UpstreamCAs = map[string][]byte{caPath: o.pem}
		c.Intercept = &Intercept{CA: cert, Secrets: []Secret{{spec.Secrets[0], holder}}, Keys: keys}
	})
	b.wantFetch(fetchArg{URL: "https://api.example/", Header: map[string][]string{"X-Api-Key": {holder}}}, 200, "GET")
	if keys.mem != nil {
		t.Error("the supervisor still has the keys")
	}
	if !slices.ContainsFunc(b.sup.Layers(), func(l audit.Layer) bool { return l.Name == "gateway secrets" }) {
		t.Errorf("no layer says how secrets are kept: %+v", b.sup.Layers())
	}
}

// TestKernelParallel: many at once, over few upstream connections.
func TestKernelParallel(t *testing.T) {
	o := newOrigin(t, nil, "api.example")
	b := newInterceptBox(t, o, rulesProfile, nil)
	for _, h1 := range []bool{true, false} {
		if got := b.do("parallel", fetchArg{URL: "https://api.example/v1/a", Method: "GET", CA: b.ca, Count: 60, H1: h1}); got != `{"200":60}` {
			t.Errorf("HTTP/1.1 %v: %s", h1, got)
		}
	}
}
