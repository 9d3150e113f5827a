package netns

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

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
