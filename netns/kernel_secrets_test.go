package netns

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/agentjail/agentjail/audit"
)

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
		c.Intercept = &Intercept{CA: cert, Secrets: []Secret{{Secret: spec.Secrets[0], Placeholder: holder}}, Keys: keys}
	})
	b.wantFetch(fetchArg{URL: "https://api.example/", Header: map[string][]string{"X-Api-Key": {holder}}}, 200, "GET")
	keys.mu.Lock()
	defer keys.mu.Unlock()
	if keys.mem != nil {
		t.Error("the supervisor still has the keys")
	}
	if !slices.ContainsFunc(b.sup.Layers(), func(l audit.Layer) bool { return l.Name == "gateway secrets" }) {
		t.Errorf("no layer says how secrets are kept: %+v", b.sup.Layers())
	}
}
