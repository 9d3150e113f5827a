package netns

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// TestKernelStreams: nothing is held back, in either direction and version.
func TestKernelStreams(t *testing.T) {
	release := make(chan struct{}, 8)
	up, down := much(20_000_000), much(50_000_000)
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
			got := make([]byte, len(socketFrame()))
			io.ReadFull(rw, got)
			c.Write(frame(finText, fmt.Sprint("the same: ", bytes.Equal(got, socketFrame())), ""))
		case "/upload":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "%d %v", n, err)
		case "/download":
			io.Copy(w, io.LimitReader(zeros{}, int64(down)))
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
			if got := b.fetch(fetchArg{URL: base + "/upload", Method: "POST", Size: up, H1: h1, Header: map[string][]string{"Expect": {"100-continue"}}}); got.Body != fmt.Sprint(up, " <nil>") {
				t.Errorf("upload to %s (HTTP/1.1 %v): %+v", host, h1, got)
			}
			if got := b.fetch(fetchArg{URL: base + "/download", H1: h1}); got.Length != down || got.Err != "" {
				t.Errorf("download from %s (HTTP/1.1 %v): %d %s", host, h1, got.Length, got.Err)
			}
		}
		if got := b.do("duplex", fetchArg{URL: base + "/grpc", Method: "POST", CA: b.ca, Header: map[string][]string{"Te": {"trailers"}, "Content-Type": {"application/grpc"}}}); got != "ok echo one echo two HTTP/2.0 0" {
			t.Errorf("gRPC to %s: %q", host, got)
		}
		upgrade := func(to string) string {
			return b.do("websocket", fetchArg{Host: host + ":443", Body: "GET /socket HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: " + to + "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", Raw: socketFrame()})
		}
		if got := upgrade("websocket"); got != "ok "+strconv.Quote(string(frame(finText, "the same: true", ""))) {
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
	b.wantHTTP("the upload", func(h audit.HTTP) bool { return h.Path == "/upload" && h.BytesOut == int64(up) })
	b.wantHTTP("the socket", func(h audit.HTTP) bool {
		return h.Path == "/socket" && h.Status == 101 && h.BytesOut == int64(len(socketFrame())) && h.BytesIn == 16
	})
}

// much is how many bytes a large body has; on the emulated processor of `make vmtest`, which
// encrypts 2 MB/s, a tenth.
func much(n int) int {
	if os.Getenv("AGENTJAIL_VM") != "" {
		return n / 10
	}
	return n
}

// soon says whether text is so many seconds, less what the requests before it took.
func soon(text string, seconds int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n <= seconds && n > seconds-int(hang.Seconds())
}

// socketFrame is what the program in the jail sends over a WebSocket.
func socketFrame() []byte { return frame(finText, "frame\n\x00\x81bare\n", "abcd") }

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
		} else if want == 429 && (!soon(got.Header.Get("Retry-After"), 1800) || !strings.Contains(got.Body, "limit of 2/h requests to a.example is used up; try again in") || !strings.Contains(got.Body, "test.hcl:7")) {
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
