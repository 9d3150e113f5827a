package netns

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// TestKernelSockets: what goes over a WebSocket is looked through as the rest is: a
// placeholder does not get to the host, also in pieces; a secret does not come back,
// also in pieces; and what the host says right behind its 101 is there.
func TestKernelSockets(t *testing.T) {
	got := make(chan []byte, 8)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		key := r.Header.Get("X-Api-Key")
		head := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		if r.URL.Path == "/extension" {
			io.WriteString(c, head+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
			return
		}
		// In one write with the head, as a server does that greets first.
		early := append([]byte(head+"\r\n"), frame(finText, "early", "")...)
		switch r.URL.Path {
		case "/echo":
			early = append(early, frame(text, "your key is "+key[:9], "")...)
			early = append(early, frame(finPing, "p", "")...)
			early = append(early, frame(finContinue, key[9:]+"!", "")...)
		case "/masked":
			early = append(early, frame(finText, "x", "abcd")...)
		}
		c.Write(early)
		if r.URL.Path == "/listen" {
			b, _ := io.ReadAll(rw)
			got <- b
		}
	}, "api.example", "other.example")
	b := newInterceptBox(t, o, secretsProfile, secretValues())
	holder := b.holders["api"]
	socket := func(host, path string, raw ...[]byte) string {
		key := map[bool]string{true: holder, false: "none"}[host == "api.example"]
		answer := b.do("websocket", fetchArg{Host: host + ":443", Raw: bytes.Join(raw, nil),
			Body: "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\nX-Api-Key: " + key + "\r\n\r\n"})
		if quoted, ok := strings.CutPrefix(answer, "ok "); ok {
			text, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", answer, err)
			}
			return "ok " + text
		}
		return answer
	}
	early := "ok " + string(frame(finText, "early", ""))

	want := early + string(frame(text, "your key is "+holder[:9], "")) + string(frame(finPing, "p", "")) + string(frame(finContinue, holder[9:]+"!", ""))
	if g := socket("api.example", "/echo"); g != want {
		t.Errorf("the secret in two frames: %q, want %q", g, want)
	}
	if g := socket("api.example", "/masked"); strings.Contains(g, "abcd") {
		t.Errorf("a frame that can't be looked into came through: %q", g)
	}
	if g := socket("api.example", "/extension"); !strings.HasPrefix(g, "HTTP/1.1 502") {
		t.Errorf("an extension that was not offered: %q", g)
	}
	fine := frame(finText, "fine", "abcd")
	for _, host := range []string{"api.example", "other.example"} { // bound to the secret, and not
		for name, raw := range map[string][][]byte{
			"one frame":  {frame(finText, "x"+holder, "abcd")},
			"two frames": {frame(text, holder[:20], "abcd"), frame(finPing, "p", "efgh"), frame(finContinue, holder[20:], "ijkl")},
		} {
			g := socket(host, "/listen", append([][]byte{fine}, raw...)...)
			// The greeting may be on its way yet when the connection ends.
			if closed := strings.TrimPrefix(g, early); !strings.Contains(closed, "\x88") || !strings.Contains(closed, `agentjail: the placeholder of the secret "api" is in a WebSocket message`) {
				t.Errorf("%s to %s: %q", name, host, g)
			}
			// What the host got is a beginning of what was sent, without the placeholder.
			all := bytes.Join(append([][]byte{fine}, raw...), nil)
			if seen := <-got; !bytes.HasPrefix(all, seen) || len(seen) > len(fine)+6+20 {
				t.Errorf("%s to %s: the host got %q", name, host, seen)
			}
		}
	}
	b.wantFinding("a WebSocket message of GET https://api.example")
	b.wantFinding("a WebSocket message of GET https://other.example")
	b.wantHTTP("the socket that was ended", func(h audit.HTTP) bool {
		return h.Path == "/listen" && h.Status == 101 && h.Outcome == audit.Blocked && strings.Contains(h.Reason, "placeholder")
	})
	for _, r := range o.got() {
		if e := r.Header.Get("Sec-Websocket-Extensions"); e != "" {
			t.Errorf("%s was offered %q", r.Host, e)
		}
	}
}

// TestKernelTrailers: a placeholder behind the body is found, and nothing that stands
// there gets to the host.
func TestKernelTrailers(t *testing.T) {
	trailers := make(chan http.Header, 64)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			trailers <- r.Trailer
		}
		io.WriteString(w, "fine")
	}, "api.example", "other.example")
	b := newInterceptBox(t, o, secretsProfile, secretValues())
	for _, h1 := range []bool{true, false} {
		for _, host := range []string{"api.example", "other.example"} {
			for _, size := range []int{10, 200_000} {
				for _, chunked := range []bool{true, false} {
					if h1 && !chunked {
						continue // HTTP/1 has no trailers then
					}
					post := func(value string) fetched {
						return b.fetch(fetchArg{URL: "https://" + host + "/", Method: "POST", H1: h1, Chunked: chunked, Body: strings.Repeat("x", size), Trailer: map[string][]string{"X-Api-Key": {value}}})
					}
					if got := post("harmless"); got.Status != 200 {
						t.Errorf("a harmless trailer to %s: %+v", host, got)
					} else if tr := <-trailers; tr.Get("X-Api-Key") != "" {
						t.Errorf("%s got the trailer %v", host, tr)
					}
					if got := post("x" + b.holders["api"]); got.Status != 403 || !strings.Contains(got.Body, "is in the request's trailer") {
						t.Errorf("the placeholder in a trailer to %s (HTTP/1.1 %v, %d bytes, chunked %v): %+v", host, h1, size, chunked, got)
					}
				}
			}
		}
	}
	select {
	case tr := <-trailers:
		t.Errorf("a request with the placeholder got through whole: %v", tr)
	default:
	}
	b.wantFinding("the trailer of POST https://api.example")
}

// TestKernelSocketsEarly: where the run has no secrets and nothing is looked through,
// what the host says in one packet with its 101 is there too.
func TestKernelSocketsEarly(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly bytes")
	}, "api.example")
	b := newInterceptBox(t, o, `
network {
  allow "api.example" {
    request "GET" "/**" {}
  }
}`, nil)
	const head = "GET /v1/a HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	for range 5 {
		if got := b.do("websocket", fetchArg{Host: "api.example:443", Body: head}); got != `ok "early bytes"` {
			t.Errorf("%q", got)
		}
	}
	// A client that does not wait for the 101, which it has to (RFC 6455 section 4.1):
	// its bytes are no request, and nothing of them is passed on or taken for one.
	if got := b.do("tlssend", fetchArg{Host: "api.example:443", Body: head + "GET /v2/evil HTTP/1.1\r\nHost: api.example\r\n\r\n"}); strings.Count(got, "HTTP/1.1 101") > 1 {
		t.Errorf("early bytes of the client: %q", got)
	}
	for _, r := range o.got() {
		if r.URI != "/v1/a" {
			t.Errorf("the host got %+v", r)
		}
	}
}
