package netns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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

	quiet bool // nothing of the requests is kept

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
func newOrigin(t testing.TB, h http.HandlerFunc, names ...string) *origin {
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
	if o.quiet {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, seen{r.Method, r.Host, r.RequestURI, r.Proto, r.Header.Clone(), body})
}

func testCA(t testing.TB) (*x509.Certificate, *ecdsa.PrivateKey) {
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
func loadNetwork(t testing.TB, source string) *profiles.Spec {
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
func newInterceptBox(t *testing.T, o *origin, source string, values map[string]string, change ...func(*Config)) *ibox {
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
		for _, part := range []Part{PartSecret, PartAccessKey, PartSessionToken} {
			if s.AWS == nil && part != PartSecret {
				continue
			}
			name := strings.TrimSpace(s.Name + " " + string(part))
			value := []byte(values[name])
			holder, err := NewPlaceholder(value)
			if err != nil {
				t.Fatal(err)
			}
			b.holders[name] = holder
			secrets, keys = append(secrets, Secret{Secret: s, Placeholder: holder, Part: part}), append(keys, value)
		}
	}
	handed, err := NewKeys(keys...)
	if err != nil {
		t.Fatal(err)
	}
	b.box = newBox(t, spec.Network, func(c *Config) {
		c.UpstreamCAs = map[string][]byte{caPath: o.pem}
		c.Intercept = &Intercept{CA: cert, Secrets: secrets, Keys: handed}
		c.Prices = spec.Prices
		for _, f := range change {
			f(c)
		}
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
