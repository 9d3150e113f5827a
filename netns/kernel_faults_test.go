package netns

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

const faultsProfile = `
network {
  allow "status.example" {
    fault "status" {
      rate   = 1
      status = 503
      body   = "{\"error\":\"overloaded\"}"
    }
  }
  allow "reset.example" {
    fault "reset" { rate = 1 }
  }
  allow "cut.example" {
    fault "truncate" {
      rate  = 1
      after = "10B"
    }
  }
  allow "slow.example" {
    fault "delay" {
      rate  = 1
      delay = "1ms"
    }
    fault "status" {
      rate   = 0.5
      seed   = 1
      status = 500
    }
  }
  allow "fine.example" { limit = "1000/run" }
  allow "reset.example:80" {
    fault "reset" { rate = 1 }
  }
}
`

// TestKernelFaults: what the profile makes fail fails in its way, in both versions of
// HTTP, is recorded, and nothing else fails.
func TestKernelFaults(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body := "this answer is longer than ten bytes"
		if r.URL.Path == "/short" {
			body = "short"
		}
		if r.URL.Path != "/stream" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		io.WriteString(w, body)
	}, "status.example", "reset.example", "cut.example", "slow.example", "fine.example")
	b := newInterceptBox(t, o, faultsProfile, nil)
	for _, h1 := range []bool{true, false} {
		get := func(url string) fetched { return b.fetch(fetchArg{URL: "https://" + url, H1: h1}) }
		before := len(o.got())
		if got := get("status.example/"); got.Status != 503 || got.Body != `{"error":"overloaded"}` || got.Header.Get("Content-Type") != "application/json" || got.Err != "" {
			t.Errorf("status (HTTP/1.1 %v): %+v", h1, got)
		}
		if got := get("reset.example/"); got.Err == "" || got.Status != 0 {
			t.Errorf("reset (HTTP/1.1 %v): %+v", h1, got)
		}
		if n := len(o.got()); n != before {
			t.Errorf("the host got %d requests that the gateway answered", n-before)
		}
		for _, path := range []string{"/", "/stream"} {
			if got := get("cut.example" + path); got.Status != 200 || got.Body != "this answe" || got.Err == "" {
				t.Errorf("cut%s (HTTP/1.1 %v): %+v", path, h1, got)
			}
		}
		if got := get("cut.example/short"); got.Body != "short" || got.Err != "" {
			t.Errorf("shorter than the cut (HTTP/1.1 %v): %+v", h1, got)
		}
		if got := get("fine.example/"); got.Status != 200 || got.Err != "" || got.Length != 36 {
			t.Errorf("a host without faults (HTTP/1.1 %v): %+v", h1, got)
		}
	}
	said := ""
	for range 16 {
		switch got := b.fetch(fetchArg{URL: "https://slow.example/"}); got.Status {
		case 200:
			said += "-"
		case 500:
			said += "x"
		}
	}
	// The seed's sequence at twice the rate of TestFaultDraw.
	if want := "---xxxx-x--x-x--"; said != want {
		t.Errorf("the seed drew %q, want %q", said, want)
	}
	b.want("ECONNRESET", "http", "http://reset.example/")

	record := func(what string, pred func(audit.HTTP) bool) { t.Helper(); b.wantHTTP(what, pred) }
	record("the status", func(h audit.HTTP) bool {
		return h.Fault == "status 503 (test.hcl:5)" && h.Status == 503 && h.Outcome == audit.Failed && h.Rule == "test.hcl:5"
	})
	record("the reset", func(h audit.HTTP) bool { return h.Fault == "reset (test.hcl:12)" && h.Outcome == audit.Failed })
	record("the reset over plain HTTP", func(h audit.HTTP) bool { return h.Fault == "reset (test.hcl:33)" && h.Scheme == "http" })
	record("the cut", func(h audit.HTTP) bool {
		return h.Fault == "truncate 10B (test.hcl:15)" && h.Outcome == audit.Failed && h.BytesIn == 10
	})
	record("the delay", func(h audit.HTTP) bool {
		return h.Fault == "delay 1ms (test.hcl:21)" && h.Outcome == audit.Allowed && h.Status == 200
	})
	record("the delay and the status", func(h audit.HTTP) bool {
		return h.Fault == "delay 1ms (test.hcl:21), status 500 (test.hcl:25)" && h.Outcome == audit.Failed
	})
	for _, r := range b.sink.all() {
		h, ok := r.(audit.HTTP)
		if ok && h.Fault != "" && (h.Host == "fine.example" || strings.HasSuffix(h.Path, "/short")) {
			t.Errorf("a fault where there was none: %+v", h)
		}
	}
}
