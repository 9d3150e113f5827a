package profiles

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const requestProfile = `# r.hcl
variable "project" { default = "web" }

network {
  allow "api.example" {
    secret   = secret.api
    limit    = "100/m"
    upload   = "10MiB"
    download = "1GiB"
    connections = 4
    request "GET" "/**" {}
    request "GET|HEAD" "/v1/models" { limit = "10/s" }
    request "POST" "/v1/*" {
      when = (request.body.project == var.project &&
        request.headers["content-type"] != "x")
      limit  = "500/run"
      reason = "only our project."
    }
    request "*" "/open" {}
  }
  allow "api.example" {}
  allow "*.example" {}
  allow "*.wild.example" {
    request "GET" "/w" {}
  }
  allow "mixed.example" {
    ports   = [80, 443]
    secret  = [secret.api, secret.other]
    request "GET" "/a" {}
  }
  allow "ssh.example" {
    ports = [22, 443]
    limit = "3/run"
  }
  deny "api.example:8443" {}
}

secret "api" {
  env    = "API_KEY"
  header = "X-Api-Key"
  format = "Bearer %s"
  inject = true
}
secret "other" {
  command  = ["pass", "show", "x y"]
  query    = "key"
  variable = "OTHER"
}
secret "file" {
  file  = "token.txt"
  basic = "x-access-token"
}
`

func requestSpec(t *testing.T) *Spec {
	t.Helper()
	return mustLoad(t, "/p/r.hcl", mapOptions(map[string]string{"/p/r.hcl": requestProfile}))
}

func TestRequest(t *testing.T) {
	s := requestSpec(t)
	for _, tt := range []struct {
		host   string
		port   uint16
		method string
		path   string
		want   string // origins of the rules, or the beginning of the refusal
	}{
		{"api.example", 443, "GET", "/", "r.hcl:11"},
		{"api.example", 443, "GET", "/v1/models", "r.hcl:12 r.hcl:11"},
		{"api.example", 443, "HEAD", "/v1/models", "r.hcl:12"},
		{"api.example", 443, "HEAD", "/v1/other", "the profile allows GET, POST for this path, not HEAD"},
		{"api.example", 443, "POST", "/v1/messages", "r.hcl:13"},
		{"api.example", 443, "POST", "/v1/messages/x", "the profile allows GET for this path, not POST"},
		{"api.example", 443, "post", "/v1/messages", "the profile allows GET, POST for this path, not post"},
		{"api.example", 443, "DELETE", "/open", "r.hcl:19"},
		{"api.example", 443, "GET", "/open", "r.hcl:19 r.hcl:11"},
		{"api.example", 443, "DELETE", "/x%2fy", "no request rule of this host allows DELETE"},
		{"api.example", 8443, "GET", "/", ""},
		// A less specific allow adds nothing, and neither does an equal one without rules.
		{"a.wild.example", 443, "GET", "/w", "r.hcl:24"},
		{"a.wild.example", 443, "GET", "/", "no request rule"},
		{"other.example", 443, "DELETE", "/x", "r.hcl:22"},
		{"mixed.example", 80, "GET", "/a", "r.hcl:29"},
		{"mixed.example", 80, "GET", "/b", "no request rule"},
		{"mixed.example", 443, "GET", "/a", "r.hcl:29"},
		{"nowhere.test", 443, "GET", "/", ""},
	} {
		matches, denied := s.Network.Access(tt.host, netip.Addr{}, tt.port).Request(tt.method, tt.path)
		var got []string
		for _, m := range matches {
			got = append(got, m.Origin().String())
		}
		text := strings.Join(got, " ")
		if len(matches) == 0 {
			text = denied
		}
		if !strings.HasPrefix(text, tt.want) || tt.want == "" && len(matches) > 0 {
			t.Errorf("%s %s %s:%d: %q, want %q", tt.method, tt.path, tt.host, tt.port, text, tt.want)
		}
	}
	for host, want := range map[string]bool{"api.example": true, "other.example": false, "mixed.example": true, "ssh.example": true, "no.test": false} {
		if got := s.Network.Access(host, netip.Addr{}, 443).Plaintext(); got != want {
			t.Errorf("%s needs plaintext: %v", host, got)
		}
	}
	for _, port := range []uint16{22, 80} {
		for _, host := range []string{"ssh.example", "mixed.example"} {
			if s.Network.Access(host, netip.Addr{}, port).Plaintext() || len(s.Network.Access(host, netip.Addr{}, port).Secrets()) > 0 {
				t.Errorf("%s:%d is intercepted or gets a secret", host, port)
			}
		}
	}
	if got := strings.Join(s.Network.Access("mixed.example", netip.Addr{}, 443).Secrets(), " "); got != "api other" {
		t.Errorf("secrets: %q", got)
	}
	if n := len(s.Network.Intercepts()); n != 4 {
		t.Errorf("%d rules need plaintext, want 4", n)
	}
}

func TestRequestSpec(t *testing.T) {
	s := requestSpec(t)
	r := s.Network.Allow[0]
	if r.AnyRequest || r.Upload != 10<<20 || r.Download != 1<<30 || r.Connections != 4 || r.Limit.Rate.String() != "100/m" {
		t.Errorf("%+v", r)
	}
	q := r.Requests[2]
	want := `(request.body.project == ("web") &&` + "\n" + `        request.headers["content-type"] != "x")`
	if q.When.Source != want || !q.When.Body || q.Limit.Rate != (Rate{500, 0}) || q.Reason != "only our project" {
		t.Errorf("%+v %+v", q, q.When)
	}
	secrets := []Secret{
		{Name: "api", Env: "API_KEY", Variable: "API_KEY", Header: "x-api-key", Format: "Bearer %s", Inject: true, Origin: at("r.hcl", 38)},
		{Name: "other", Command: []string{"pass", "show", "x y"}, Variable: "OTHER", Query: "key", Origin: at("r.hcl", 44)},
		{Name: "file", File: "/p/token.txt", Basic: "x-access-token", Origin: at("r.hcl", 49)},
	}
	if diff := cmp.Diff(secrets, s.Secrets); diff != "" {
		t.Error(diff)
	}
	// The zero value of what a rule allows is nothing.
	b, err := json.Marshal(NetRule{Protocol: ProtocolTLS, Ports: []uint16{443}, Hosts: exact("a.example")})
	if err != nil {
		t.Fatal(err)
	}
	var back NetRule
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	n := Network{Allow: []NetRule{back}}
	if m, why := n.Access("a.example", netip.Addr{}, 443).Request("GET", "/"); len(m) != 0 || why == "" {
		t.Errorf("a rule that allows no request allows one: %v", m)
	}
}

// TestSecretOfChild: of two secrets of one name the nearest file's counts, and what a
// parent binds may be defined by the child.
func TestSecretOfChild(t *testing.T) {
	s := mustLoad(t, "/p/child.hcl", mapOptions(map[string]string{
		"/p/parent.hcl": "extends = []\nnetwork {\n allow \"a.example\" { secret = secret.x }\n}\nsecret \"x\" {\n env = \"P\"\n header = \"h\"\n}",
		"/p/child.hcl":  "extends = [\"./parent.hcl\"]\nsecret \"x\" {\n env = \"C\"\n header = \"h\"\n}",
	}))
	if len(s.Secrets) != 1 || s.Secrets[0].Env != "C" {
		t.Errorf("%+v", s.Secrets)
	}
}

func TestWildcardSecretWarns(t *testing.T) {
	for host, want := range map[string]bool{"*.a.example": true, "*": true, "10.0.0.0/8": true, "a.example": false, "10.0.0.1": false} {
		src := "network {\n allow \"" + host + "\" { secret = secret.x }\n}\nsecret \"x\" {\n env = \"P\"\n header = \"h\"\n}"
		s, diags, _ := Load("/p/a.hcl", mapOptions(map[string]string{"/p/a.hcl": src}))
		if s == nil || (len(diags) > 0) != want {
			t.Errorf("%s: %v", host, diags)
		}
	}
}

func TestConditions(t *testing.T) {
	facts := RequestFacts{Method: "POST", Host: "a.example", Path: "/x/1", Query: map[string]string{"q": "1"},
		Headers: map[string]string{"content-type": "application/json"},
		Body:    map[string]any{"project": "web", "n": json.Number("1.50"), "list": []any{"a", true, nil}, "o": map[string]any{"k-1": "v"}}}
	for source, want := range map[string]string{
		`request.body.project == "web"`:                           "true",
		`request.body.project != "web"`:                           "false",
		`request.body.project == "other"`:                         "false",
		`request.body.missing == "x"`:                             "error",
		`request.body.missing != "x"`:                             "error",
		`request.body.n == 1.5`:                                   "true",
		`request.body.n < 2 && request.body.n >= 1`:               "true",
		`request.body.project < 2`:                                "error",
		`request.body.list[0] == "a" && request.body.list[1]`:     "true",
		`request.body.list[2] == null`:                            "true",
		`request.body.list[9] == "a"`:                             "error",
		`request.body.o["k-1"] == "v"`:                            "true",
		`request.query.q == "1"`:                                  "true",
		`request.query.other == "1"`:                              "error",
		`request.headers["content-type"] == "application/json"`:   "true",
		`request.method == "POST" && request.host == "a.example"`: "true",
		`regex("^/x/[0-9]+$", request.path) == request.path`:      "true",
		`regex("^/y/[0-9]+$", request.path) == request.path`:      "error",
		`lower(request.method)`:                                   "error",
		`request.body`:                                            "error",
		`request.body == null`:                                    "false",
		`length(request.body.list) == 3`:                          "error",
	} {
		test, err := (&Condition{Source: source}).Compile()
		got := "error"
		if err == nil {
			if ok, err := test.Holds(facts); err == nil {
				got = map[bool]string{true: "true", false: "false"}[ok]
			} else if ok {
				t.Errorf("%s holds with an error", source)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	// What HCL would read as another value than the host does.
	always, err := (&Condition{Source: `request.method == "POST"`}).Compile()
	if err != nil {
		t.Fatal(err)
	}
	deep := any("x")
	for range 200 {
		deep = []any{deep}
	}
	for name, body := range map[string]any{
		"a number with a billion digits": map[string]any{"n": json.Number("1e999999999")},
		"decomposed text":                map[string]any{"s": "cafe\u0301"},
		"a decomposed name":              map[string]any{"cafe\u0301": "x"},
		"a deep body":                    deep,
		"another type":                   map[string]any{"x": struct{}{}},
	} {
		f := facts
		f.Body = body
		if ok, err := always.Holds(f); ok || err == nil {
			t.Errorf("%s: holds", name)
		}
	}
	for _, source := range []string{`var.x == 1`, `request == 1`, `request.nothing == 1`, `request["method"] == "x"`, `other`, `(`} {
		if _, err := (&Condition{Source: source}).Compile(); err == nil {
			t.Errorf("%s compiles", source)
		}
	}
}

func FuzzCondition(f *testing.F) {
	f.Add(`{"project":"web","n":1}`, "q")
	f.Add(`{"project":1e400}`, "\xff")
	test, err := (&Condition{Source: `request.body.project == "web" && request.body.n < 10 && request.query.q != "x" || regex("^a+$", request.body.s) == "aa"`}).Compile()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return
		}
		ok, err := test.Holds(RequestFacts{Body: v, Query: map[string]string{"q": query}})
		if ok && err != nil {
			t.Fatal("holds with an error")
		}
		m, _ := v.(map[string]any)
		if ok && m["project"] != "web" && m["s"] != "aa" {
			t.Fatalf("holds for %q", body)
		}
	})
}
