package netns

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/sanitize"
)

const sanitizeProfile = `
network {
  allow "clean.example" { sanitize = "html" }
  allow "keyed.example" {
    sanitize = "html"
    secret   = secret.api
  }
  allow "raw.example" { limit = "1000/run" }
}
secret "api" {
  env    = "API"
  header = "x-api-key"
}
`

// TestKernelSanitize: a page comes without what its reader would not see, with a head
// that fits it; what can't be sanitized does not come; everything else is as it was.
func TestKernelSanitize(t *testing.T) {
	const page = `<!DOCTYPE html><html><head></head><body><p>seen</p><!-- HIDDEN --><p hidden>HIDDEN</p></body></html>`
	const clean = `<!DOCTYPE html><html><head></head><body><p>seen</p></body></html>`
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html")
		body := page
		switch path := r.URL.Path; {
		case path == "/validators":
			h.Set("Etag", `"abc"`)
			h.Set("Accept-Ranges", "bytes")
			h.Set("Content-Md5", "xxxx")
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
				return
			}
		case path == "/gzip":
			h.Set("Content-Encoding", "gzip")
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			io.WriteString(z, body)
			z.Close()
			body = b.String()
		case path == "/deflate":
			h.Set("Content-Encoding", "deflate")
		case path == "/latin1":
			h.Set("Content-Type", "text/html; charset=iso-8859-1")
			body = "<p>caf\xe9<!--HIDDEN-->"
		case path == "/sjis":
			h.Set("Content-Type", "text/html; charset=shift_jis")
		case path == "/range":
			if r.Header.Get("Range") != "" {
				h.Set("Content-Range", "bytes 0-9/100")
				w.WriteHeader(206)
				io.WriteString(w, "HIDDEN")
				return
			}
		case path == "/part":
			w.WriteHeader(206)
			io.WriteString(w, "HIDDEN")
			return
		case path == "/large":
			body = strings.Repeat("x", sanitize.MaxBytes) + page
		case path == "/untyped":
			h["Content-Type"] = nil
		case path == "/twice":
			h["Content-Type"] = []string{"text/plain", "TEXT/HTML"}
		case path == "/xhtml":
			h.Set("Content-Type", "application/xhtml+xml")
		case path == "/json":
			h.Set("Content-Type", "application/json")
			body = `{"a":"<!-- HIDDEN -->"}`
		case path == "/binary":
			h["Content-Type"] = nil
			body = "\x89PNG\r\n\x1a\n<!-- HIDDEN -->"
		case path == "/error":
			w.WriteHeader(500)
		case path == "/echo":
			key := r.Header.Get("X-Api-Key")
			body = "<p>" + key[:9] + "<!-- x -->" + key[9:] + "</p>"
		}
		if r.Method == "HEAD" {
			h.Set("Content-Length", fmt.Sprint(len(body)))
			return
		}
		io.WriteString(w, body)
	}, "clean.example", "keyed.example", "raw.example")
	b := newInterceptBox(t, o, sanitizeProfile, secretValues())
	for _, h1 := range []bool{true, false} {
		get := func(path string, header ...string) fetched {
			a := fetchArg{URL: "https://clean.example" + path, H1: h1, Header: map[string][]string{"Accept-Encoding": {"gzip, deflate, br"}}}
			if len(header) == 2 {
				a.Header[header[0]] = header[1:]
			}
			return b.fetch(a)
		}
		for _, path := range []string{"/", "/validators", "/gzip", "/untyped", "/twice", "/xhtml", "/range"} {
			got := get(path, "Range", "bytes=0-9")
			if got.Status != 200 || got.Body != clean || got.Err != "" {
				t.Errorf("%s (HTTP/1.1 %v): %+v", path, h1, got)
			}
			if got.Header.Get("Content-Length") != fmt.Sprint(len(clean)) || strings.Join(got.Header["Content-Type"], "|") != "text/html; charset=utf-8" || got.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s (HTTP/1.1 %v): the head does not fit: %v", path, h1, got.Header)
			}
		}
		got := get("/validators")
		if got.Header.Get("Etag") != `W/"abc"` || got.Header.Get("Accept-Ranges") != "" || got.Header.Get("Content-Md5") != "" {
			t.Errorf("validators (HTTP/1.1 %v): %v", h1, got.Header)
		}
		if got := get("/validators", "If-None-Match", `W/"abc"`); got.Status != 304 || got.Header.Get("Etag") != `W/"abc"` {
			t.Errorf("not modified (HTTP/1.1 %v): %+v", h1, got)
		}
		if got := get("/latin1"); got.Body != "<html><head></head><body><p>caf\u00e9</p></body></html>" {
			t.Errorf("latin1 (HTTP/1.1 %v): %+v", h1, got)
		}
		if got := get("/error"); got.Status != 500 || got.Body != clean {
			t.Errorf("an error's page (HTTP/1.1 %v): %+v", h1, got)
		}
		head := b.fetch(fetchArg{URL: "https://clean.example/validators", Method: "HEAD", H1: h1})
		if head.Status != 200 || head.Header.Get("Content-Length") != "" || head.Header.Get("Etag") != `W/"abc"` {
			t.Errorf("HEAD (HTTP/1.1 %v): %+v", h1, head)
		}
		for path, why := range map[string]string{"/deflate": "coded", "/sjis": "encoding \"shift_jis\"", "/part": "a part of a page", "/large": "larger than 4 MiB"} {
			got := get(path)
			if got.Status != 502 || !strings.Contains(got.Body, why) || strings.Contains(got.Body, "HIDDEN") {
				t.Errorf("%s (HTTP/1.1 %v): %d %q %s", path, h1, got.Status, clip(got.Body), got.Err)
			}
		}
		for _, path := range []string{"/json", "/binary"} {
			if got := get(path); got.Status != 200 || !strings.Contains(got.Body, "<!-- HIDDEN -->") {
				t.Errorf("%s (HTTP/1.1 %v): %+v", path, h1, got)
			}
		}
		if got := b.fetch(fetchArg{URL: "https://raw.example/", H1: h1}); got.Body != page {
			t.Errorf("a host that is not sanitized (HTTP/1.1 %v): %+v", h1, got)
		}
		// A secret that only comes together once the comment is gone.
		got = b.fetch(fetchArg{URL: "https://keyed.example/echo", H1: h1, Header: map[string][]string{"X-Api-Key": {b.holders["api"]}}})
		if strings.Contains(got.Body, secretValues()["api"]) || !strings.Contains(got.Body, b.holders["api"]) {
			t.Errorf("the secret within a comment (HTTP/1.1 %v): %+v", h1, got)
		}
	}
	b.wantHTTP("what was taken out", func(h audit.HTTP) bool {
		return h.Path == "/" && h.Host == "clean.example" && h.Sanitized != nil && *h.Sanitized == audit.Sanitized{Elements: 1, Comments: 1, Bytes: int64(len(page))}
	})
	b.wantHTTP("what can't be sanitized", func(h audit.HTTP) bool {
		return h.Path == "/large" && h.Outcome == audit.Blocked && strings.Contains(h.Reason, "sanitized")
	})
	for _, r := range b.sink.all() {
		if h, ok := r.(audit.HTTP); ok && h.Sanitized != nil && (h.Host == "raw.example" || h.Path == "/json") {
			t.Errorf("not to be sanitized: %+v", h)
		}
	}
	if kb := rss(t, gatewayPID(t)); kb > 80<<10 {
		t.Errorf("the gateway's RSS is %d KiB", kb)
	}
}
