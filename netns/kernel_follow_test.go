package netns

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestKernelFollow: a client that follows a redirect makes a request of its own, which
// is judged anew, and to which the credential does not follow.
func TestKernelFollow(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return
		}
		fmt.Fprint(w, "here")
	}, "api.example", "other.example")
	b := newInterceptBox(t, o, strings.Replace(secretsProfile, `request "*" "/**" {}`, `request "GET" "/open" {}`, 1), secretValues())
	real, holder := secretValues()["api"], b.holders["api"]
	follow := func(to string) fetched {
		var got fetched
		text := b.do("fetch", fetchArg{URL: "https://api.example/?to=" + to, Method: "GET", CA: b.ca, Follow: true, Header: map[string][]string{"X-Api-Key": {holder}}})
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return got
	}
	if got := follow("/here"); got.Status != 200 || got.Body != "here" {
		t.Errorf("to the same host: %+v", got)
	}
	for to, want := range map[string]string{
		"https://other.example/open":   "placeholder",        // the client sends what it has
		"https://other.example/closed": "placeholder",        //
		"http://plain.example/":        "placeholder",        // without TLS
		"https://nobody.example/":      "no such host",       // no rule allows it
		"https://8.8.8.8/":             "tls: access denied", // nor an address
	} {
		got := follow(to)
		if got.Status == 200 || !strings.Contains(got.Body+got.Err, want) {
			t.Errorf("to %s: %+v", to, got)
		}
	}
	// Without the header the request is one of many, and its own rules count.
	if got := b.fetch(fetchArg{URL: "https://other.example/closed"}); got.Status != 403 {
		t.Errorf("%+v", got)
	}
	for _, r := range o.got() {
		if r.Host != "api.example" && (r.Header.Get("X-Api-Key") != "" || strings.Contains(fmt.Sprint(r), real)) {
			t.Errorf("the credential followed: %+v", r)
		}
	}
	// The same over HTTP/1.1 on the host's side only: what is put in is put in anew for
	// each request, whatever its version was.
	for _, h1 := range []bool{true, false} {
		b.wantFetch(fetchArg{URL: "https://api.example/", H1: h1, Header: map[string][]string{"X-Api-Key": {holder}}}, 200, "here")
		if last := o.got()[len(o.got())-1]; last.Header.Get("X-Api-Key") != real {
			t.Errorf("HTTP/1.1 %v: the host got %q", h1, last.Header.Get("X-Api-Key"))
		}
	}
}

// TestKernelUpgradeJudged: a WebSocket is opened by a request, and judged as one; what
// goes over it is no request any more.
func TestKernelUpgradeJudged(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		c.Close()
	}, "api.example")
	b := newInterceptBox(t, o, `
network {
  allow "api.example" {
    request "GET" "/socket" {}
  }
}`, nil)
	open := func(path string) string {
		return b.do("websocket", fetchArg{Host: "api.example:443", Body: "GET " + path + " HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"})
	}
	if got := open("/socket"); got != `ok ""` {
		t.Errorf("the allowed one: %q", got)
	}
	if got := open("/other"); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("another path: %q", got)
	}
	if got := o.got(); len(got) != 1 {
		t.Errorf("the host got %+v", got)
	}
}
