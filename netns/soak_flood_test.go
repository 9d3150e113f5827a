package netns

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// soaking says whether the long forms are asked for: make soak.
func soaking() bool { return os.Getenv("SOAK") != "" }

// flooded is a box with an intercepted host to flood, another one and a relayed one.
func flooded(t *testing.T) *ibox {
	o := newOrigin(t, nil, "api.example", "other.example")
	b := newInterceptBox(t, o, fmt.Sprintf(`
network {
  allow "api.example" {
    request "*" "/**" {}
  }
  allow "other.example" {
    request "*" "/**" {}
  }
  allow "echo.example" {
    protocol = "tcp"
    upstream = %q
  }
}`, echo(t)), nil)
	b.allFine("before")
	return b
}

// allFine makes a request to each host, over new connections.
func (b *ibox) allFine(when string) {
	b.t.Helper()
	for _, host := range []string{"api.example", "other.example"} {
		if got := b.fetch(fetchArg{URL: "https://" + host + "/x"}); got.Status != 200 {
			b.t.Errorf("%s: %s: %d %s", when, host, got.Status, got.Err)
		}
	}
	if got := b.do("tcp", "echo.example:443"); got != "ok hello\n" {
		b.t.Errorf("%s: echo.example: %q", when, got)
	}
}

// flood opens connections of a kind at once and keeps them.
func (b *ibox) flood(host, kind string, count int) map[string]int {
	b.t.Helper()
	results := map[string]int{}
	text := b.do("flood", floodArg{To: host + ":443", Count: count, Kind: kind})
	if err := json.Unmarshal([]byte(text), &results); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	return results
}

// mostConns is how many sockets a test's process may open.
func mostConns(t *testing.T, want int) int {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return min(want, int(l.Max)-256)
}

// TestKernelFlood: more connections than there are places, and slow ones of every
// kind, all kept open: each host goes on being served, the flooded one too.
//
// With seats.take refusing where it ends the longest waiting, 395 of them and all
// that comes after are reset.
func TestKernelFlood(t *testing.T) {
	b := flooded(t)
	pid := gatewayPID(t)
	before := rss(t, pid)
	silent := mostConns(t, 4500)
	if got := b.flood("api.example", "silent", silent); got["ok"] != silent {
		t.Errorf("%d connections that say nothing: %v", silent, got)
	}
	b.allFine("beside silent connections")
	// Slow-loris in each phase, half-open, and gone at once.
	for _, kind := range []string{"hello", "head", "h2", "half", "reset", "idle"} {
		if got := b.flood("api.example", kind, 40); got["ok"] != 40 {
			t.Errorf("%s: %v", kind, got)
		}
	}
	b.allFine("beside slow connections")
	if after := rss(t, pid); after > before+80<<10 {
		t.Errorf("the gateway grew from %d to %d KiB", before, after)
	}
	b.sink.wait(t, "a connection that made way", func(r audit.Record) bool {
		c, ok := r.(audit.Connect)
		return ok && c.Outcome == audit.Blocked && c.Name == "api.example" && c.Rule != "" && len(c.Reason) > 0
	})
}

// TestSoakFlood has, of each kind, 10,000 connections and 500 slow ones at once; 200
// and 20 where it is not asked for its long form.
func TestSoakFlood(t *testing.T) {
	count, some := 200, 20
	if soaking() {
		count, some = mostConns(t, 10_000), 500
	}
	b := flooded(t)
	pid := gatewayPID(t)
	first := rss(t, pid)
	most := 0
	for _, kind := range []string{"silent", "hello", "head", "body", "idle", "h2", "half", "reset", "echo"} {
		host := "api.example"
		if kind == "echo" {
			host = "echo.example"
		}
		slow := b.flood("api.example", "head", some)
		got := b.flood(host, kind, count)
		peak := rss(t, pid)
		most = max(most, peak)
		t.Logf("%d %s to %s: %v; %d slow: %v; the gateway's RSS %d MiB", count, kind, host, got, some, slow, peak>>10)
		// What is served is not ended for another; then the flooded host alone is full.
		full := soaking() && (kind == "body" || kind == "echo")
		if !full && (got["ok"] != count || slow["ok"] != some) {
			t.Errorf("%s: %v, %v", kind, got, slow)
		}
		if full && got["ok"] < 1000 {
			t.Errorf("%s: %v", kind, got)
		}
		for _, other := range slices.DeleteFunc([]string{"other.example", "api.example"}, func(h string) bool { return full && h == host }) {
			if got := b.fetch(fetchArg{URL: "https://" + other + "/x"}); got.Status != http.StatusOK {
				t.Errorf("%s: %s: %d %s", kind, other, got.Status, got.Err)
			}
		}
		b.do("release")
	}
	b.want("ok hello", "tcp", "echo.example:443")
	t.Logf("the gateway's RSS was %d MiB at first, %d at most and is %d at the end", first>>10, most>>10, rss(t, pid)>>10)
	if most > 400<<10 {
		t.Errorf("the gateway took %d MiB", most>>10)
	}
}

// TestSoakLargeBodies moves bodies of 2 GB (100 MB in its short form) through
// intercepted hosts, of which one has a secret to be looked for in every byte.
func TestSoakLargeBodies(t *testing.T) {
	size := 100_000_000
	switch {
	case soaking():
		size = 2_000_000_000
	case os.Getenv("AGENTJAIL_VM") != "": // an emulated processor encrypts some 2 MB/s
		size = 10_000_000
	}
	o := newOrigin(t, largeOrigin, "api.example", "plain.example")
	b := newInterceptBox(t, o, `
network {
  allow "api.example" {
    secret = secret.key
    request "*" "/**" {}
  }
  allow "plain.example" {
    request "*" "/**" {}
  }
}
secret "key" {
  env    = "KEY"
  header = "x-api-key"
}`, map[string]string{"key": apiKey})
	for _, host := range []string{"api.example", "plain.example"} {
		b.fetch(fetchArg{URL: "https://" + host + "/download?10000000", Discard: true}) // its buffers are made
	}
	pid := gatewayPID(t)
	before := rss(t, pid)
	for _, host := range []string{"api.example", "plain.example"} {
		for _, h1 := range []bool{true, false} {
			if got := b.fetch(fetchArg{URL: "https://" + host + "/download?" + strconv.Itoa(size), H1: h1, Discard: true}); got.Length != size || got.Err != "" {
				t.Errorf("download from %s (HTTP/1.1 %v): %d %s", host, h1, got.Length, got.Err)
			}
			if got := b.fetch(fetchArg{URL: "https://" + host + "/upload", Method: "POST", Size: size, H1: h1}); got.Body != strconv.Itoa(size) {
				t.Errorf("upload to %s (HTTP/1.1 %v): %q %s", host, h1, got.Body, got.Err)
			}
		}
	}
	peak := peakRSS(t, pid)
	t.Logf("8 bodies of %d bytes: the gateway's RSS was %d KiB before and %d at most", size, before, peak)
	if peak > before+30<<10 {
		t.Errorf("the gateway grew from %d to %d KiB", before, peak)
	}
}

// largeOrigin sends as many bytes as the query says, or counts what it gets.
func largeOrigin(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/upload" {
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil {
			fmt.Fprint(w, n)
		}
		return
	}
	n, err := strconv.ParseInt(r.URL.RawQuery, 10, 64)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	_, _ = io.Copy(w, io.LimitReader(zeros{}, n)) // the client tells what it got
}

// peakRSS is the most that a process ever had, in KiB.
func peakRSS(t *testing.T, pid int) int { return statusKiB(t, pid, "VmHWM:") }
