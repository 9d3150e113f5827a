package netns

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// forwarder takes requests as the agent sends them through all that the gateway does
// with them, up to the bytes that the host would get.
type forwarder struct {
	g *gateway

	mu   sync.Mutex
	sent []byte
}

const forwardProfile = `
network {
  allow "a.example" {
    request "GET|POST" "/v1/**" {}
    request "PUT" "/upload/*" {}
  }
}`

func newForwarder(t testing.TB, n profiles.Network) *forwarder {
	t.Helper()
	f := &forwarder{}
	var err error
	if f.g, err = newGateway(start{Network: n}, shareFiles(wantedFiles), nil, func(netip.Addr) (bool, error) { return false, nil }, func(report) {}); err != nil {
		t.Fatal(err)
	}
	return f
}

// send gives what goes to the host; nil where nothing does.
func (f *forwarder) send(t testing.TB, raw []byte) (sent []byte, status int) {
	t.Helper()
	c := &conn{name: "a.example", port: 443}
	c.verdict = f.g.network.Connect(c.name, netip.Addr{}, c.port)
	c.seat = f.g.seats.take("test", func() {})
	defer c.seat.leave()
	x := newExchange(f.g, c, "https")
	f.sent = nil
	x.up = &upstream{transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		var b bytes.Buffer
		if err := r.Write(&b); err != nil {
			return nil, err
		}
		f.sent = b.Bytes()
		return nil, errors.New("seen")
	})}
	// What net/http reads is what strictConn lets through.
	x.wire = newStrictConn(readerConn{r: bytes.NewReader(raw)}, func(error) {})
	r, err := http.ReadRequest(bufio.NewReader(x.wire))
	if err != nil {
		return nil, 0
	}
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { // net/http's own way of ending an answer
				panic(p)
			}
		}()
		x.serve(w, r)
	}()
	return f.sent, w.Code
}

// loadedNetwork is of a profile that loads.
func loadedNetwork(t testing.TB, source string) profiles.Network {
	t.Helper()
	spec, diags, _ := profiles.Load("/p/test.hcl", profiles.Options{Home: "/home/u", Cwd: "/ws", Env: func(string) (string, bool) { return "", false },
		ReadFile: func(string) ([]byte, error) { return []byte(source), nil }})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return spec.Network
}

func TestForward(t *testing.T) {
	f := newForwarder(t, loadedNetwork(t, forwardProfile))
	sent, _ := f.send(t, []byte("POST /v1/a%20b?x=%41&y HTTP/1.1\r\nHost: A.example\r\nContent-Length: 3\r\nX-Y: z\r\nConnection: close\r\n\r\nabc"))
	if want := "POST /v1/a%20b?x=%41&y HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nX-Y: z\r\n\r\nabc"; string(sent) != want {
		t.Errorf("%q, want %q", sent, want)
	}
	for _, refused := range []string{"GET /v2 HTTP/1.1\r\nHost: a.example\r\n\r\n", "DELETE /v1/a HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /v1/../v2 HTTP/1.1\r\nHost: a.example\r\n\r\n"} {
		if sent, status := f.send(t, []byte(refused)); sent != nil || status != 403 {
			t.Errorf("%q was sent as %q (%d)", refused, sent, status)
		}
	}
}

// FuzzForward: what the host gets is one request, of the method, path, query and body
// that were judged, for the host that was judged, and a rule allows it as the host
// reads it, whether the host reads paths as net/http does or as it likes: there is no
// other spelling left in it.
func FuzzForward(f *testing.F) {
	for _, s := range []string{
		"GET /v1/a HTTP/1.1\r\nHost: a.example\r\n\r\n", "POST /v1/a?b=c HTTP/1.1\r\nHost: a.example:443\r\nContent-Length: 3\r\n\r\nabc",
		"POST /v1/%2e%2e/x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: v\r\n\r\n", "PUT /upload/caf%C3%A9 HTTP/1.1\r\nHost: A.EXAMPLE\r\n\r\n",
		"GET //v1/a HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /v1/a;b=%2f HTTP/1.1\r\nHost: a.example\r\nX-Original-URL: /v2\r\n\r\n", "GET https://a.example/v1 HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"GET /v1/a HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "POST /v1/a HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nTe: trailers\r\nContent-Length: 0\r\n\r\n",
		"GET /v1/%25zz HTTP/1.0\r\nHost: a.example\r\n\r\n", "GET /v1/a?x;y&z=%zz HTTP/1.1\r\nHost: a.example\r\n\r\n", "GET /v1/a%3Fb HTTP/1.1\r\nHost: a.example\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	n := loadedNetwork(f, forwardProfile)
	access := n.Access("a.example", netip.Addr{}, 443)
	f.Fuzz(func(t *testing.T, raw []byte) {
		fw := newForwarder(t, n)
		sent, status := fw.send(t, raw)
		if sent == nil {
			if status/100 == 2 {
				t.Fatalf("%q was answered with %d without having been sent", raw, status)
			}
			return
		}
		judged, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatalf("%q was sent as %q, and net/http does not read it: %v", raw, sent, err)
		}
		r := bufio.NewReader(bytes.NewReader(sent))
		got, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("%q was sent as %q, which no host reads: %v", raw, sent, err)
		}
		if got.Method != judged.Method || got.Host != "a.example" || got.URL.RawQuery != judged.URL.RawQuery {
			t.Fatalf("%q was sent as %q", raw, sent)
		}
		path, err := profiles.CanonicalPath(rawPath(got))
		if err != nil {
			t.Fatalf("%q was sent as %q, whose path can be read in two ways: %v", raw, sent, err)
		}
		if m, denied := access.Request(got.Method, path); denied != "" || len(m) == 0 {
			t.Fatalf("%q was sent as %q, which no rule allows: %s", raw, sent, denied)
		}
		// However a server resolves the path, it stays where the rules have it.
		if clean := (&url.URL{Path: got.URL.Path}).JoinPath().Path; clean != got.URL.Path {
			t.Fatalf("%q was sent as %q, which is %q to who resolves it", raw, sent, clean)
		}
		for name := range got.Header {
			if slices.Contains([]string{"x-original-url", "x-http-method-override", "host", "transfer-encoding"}, strings.ToLower(strings.ReplaceAll(name, "_", "-"))) {
				t.Fatalf("%q was sent as %q, with the header %s", raw, sent, name)
			}
		}
		want, werr := io.ReadAll(judged.Body)
		body, err := io.ReadAll(got.Body)
		if err != nil || werr == nil && !bytes.Equal(body, want) {
			t.Fatalf("%q was sent as %q: the body is %q (%v)", raw, sent, body, err)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Fatalf("%q was sent as %q: %q is another request", raw, sent, rest)
		}
	})
}

var _ net.Conn = readerConn{}
