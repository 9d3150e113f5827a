package netns

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

// soaking says whether the long forms are asked for: make soak.
func soaking() bool { return os.Getenv("SOAK") != "" }

// held is how many connections of floods the other side has not ended.
func (b *floodBox) held() int {
	b.t.Helper()
	text := b.do("held")
	n, err := strconv.Atoi(text)
	if err != nil {
		b.t.Fatal(text)
	}
	return n
}

// fewFilesMain is a gateway that may open no more files than that.
func fewFilesMain(most string) error {
	n, err := strconv.ParseUint(most, 10, 64)
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
		return err
	}
	return GatewayMain()
}

// flooded is a box with an intercepted host to flood, another one and a relayed one.
func flooded(t *testing.T, change ...func(*Config)) *floodBox {
	o := newOrigin(t, nil, "api.example", "other.example")
	b := &floodBox{echo: echo(t)}
	b.ibox = newInterceptBox(t, o, fmt.Sprintf(`
network {
  allow "api.example" {
    request "*" "/**" {}
  }
  allow "other.example" {
    request "*" "/**" {}
  }
  allow "plain.example:80" {
    request "*" "/**" {}
  }
  allow "echo.example" {
    protocol = "tcp"
    upstream = %q
  }
}`, b.echo), nil, change...)
	b.allFine("before")
	return b
}

type floodBox struct {
	*ibox
	echo string // the relayed host's address
}

// allFine makes a request to each host, over new connections.
func (b *floodBox) allFine(when string) {
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
func (b *floodBox) flood(to, kind string, count int) map[string]int {
	b.t.Helper()
	results := map[string]int{}
	text := b.do("flood", floodArg{To: to, Count: count, Kind: kind})
	if err := json.Unmarshal([]byte(text), &results); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	return results
}

// TestKernelFlood: more connections than there are places, and slow ones of every
// kind, all kept open: each host goes on being served, the flooded one too. What is
// relayed makes way for nothing, and leaves places to the other hosts.
//
// The gateway may open 4096 files, so that it has places for 3024 sockets, 2268 of one
// rule. With seats.place refusing where it ends the longest waiting, 333 of the silent
// connections and all that comes after are reset; with no share of a rule, so is what
// goes to the other hosts.
func TestKernelFlood(t *testing.T) {
	b := flooded(t, func(c *Config) { c.Exe, c.Args = "/proc/self/exe", []string{GatewayArg, "files", "4096"} })
	pid := gatewayPID(t)
	before := rss(t, pid)
	const silent = 2600
	if got := b.flood("api.example:443", "silent", silent); got["ok"] != silent {
		t.Errorf("%d connections that say nothing: %v", silent, got)
	}
	b.allFine("beside silent connections")
	// Slow-loris in each phase, half-open, and gone at once.
	for _, kind := range []string{"hello", "head", "h2", "half", "reset", "idle"} {
		if got := b.flood("api.example:443", kind, 40); got["ok"] != 40 {
			t.Errorf("%s: %v", kind, got)
		}
	}
	b.allFine("beside slow connections")
	if after := rss(t, pid); after > before+64<<10 {
		t.Errorf("the gateway grew from %d to %d KiB", before, after)
	}
	b.sink.wait(t, "a connection that made way", func(r audit.Record) bool {
		c, ok := r.(audit.Connect)
		return ok && c.Outcome == audit.Blocked && c.Name == "api.example" && c.Rule != "" && strings.Contains(c.Reason, "made way")
	})
	b.do("release")
	b.nothingLeft("silent connections")

	const relayed, most = 1300, 2268 / 2
	got := b.flood("echo.example:443", "echo", relayed)
	if got["ok"] < most*9/10 || got["ok"] > most || got["ok"]+got["ECONNRESET"] != relayed || b.held() != got["ok"] {
		t.Errorf("%d connections to a relayed host: %v, of which %d are held; there are places for %d", relayed, got, b.held(), most)
	}
	for _, host := range []string{"api.example", "other.example"} {
		if got := b.fetch(fetchArg{URL: "https://" + host + "/x"}); got.Status != http.StatusOK {
			t.Errorf("%s beside a full host: %d %s", host, got.Status, got.Err)
		}
	}
	b.sink.wait(t, "a connection without a place", func(r audit.Record) bool {
		c, ok := r.(audit.Connect)
		return ok && c.Outcome == audit.Blocked && c.Name == "echo.example" && strings.Contains(c.Reason, "too many")
	})
	b.do("release")
	b.nothingLeft("relayed connections")
	b.allFine("after the floods")
}

// floodKiB is what the gateway may take for each connection of a flood, at most; see
// the figures in docs/testing.md.
const floodKiB = 80

// TestSoakFlood has 10,000 connections of each kind, and 500 more whose requests do not
// end, at once, or as many as there are places for where the limit of open files is
// lower; 200 and 20 in its short form. All are held, another host is served meanwhile,
// the gateway's memory is bounded, and nothing is left.
//
// With 512 KiB for strictFirst, the gateway takes more than it may beside idle
// connections; with gateway.hangUp not closing, descriptors are left.
func TestSoakFlood(t *testing.T) {
	count, slow, requests := 200, 20, 5
	switch {
	case soaking():
		count, slow, requests = 10_000, 500, 200
	case os.Getenv("AGENTJAIL_VM") != "": // the gateway waits for half a minute at most
		count, slow = 40, 10
	}
	b := flooded(t)
	pid := gatewayPID(t)
	first, most, open := rss(t, pid), 0, descriptors(pid)
	quiet := b.timed(requests)
	t.Logf("the limit of open files is %d; the gateway's RSS is %d MiB; a request takes %v, at the 99th percentile %v", fileLimit(t), first>>10, quiet.P50, quiet.P99)
	for _, f := range []struct {
		kind, to string
		sockets  int // of the gateway's, for each
	}{
		{"echo", "echo.example:443", 2},  // relayed
		{"silent", "api.example:443", 1}, // before its ClientHello
		{"hello", "api.example:443", 1},
		{"body", "api.example:443", 1}, // the host's side is streams of a few connections
		{"kept", "api.example:443", 1},
		{"h2", "api.example:443", 1},
		{"plain", "plain.example:80", 1},
	} {
		what, n := f.kind+" to "+f.to, places(t, f.sockets, count, slow)
		began := time.Now()
		if got := b.flood(f.to, f.kind, n); got["ok"] != n {
			t.Errorf("%d %s: %v", n, what, got)
		}
		// A machine that takes minutes for them may be too slow for the gateway's
		// timeouts; where there is no place, more of them end as many others.
		for range 3 {
			if held := b.held(); held < n {
				b.flood(f.to, f.kind, n-held)
			}
		}
		// The last: such a one is ended after half a minute.
		if got := b.flood("api.example:443", "head", slow); got["ok"] != slow {
			t.Errorf("%d slow: %v", slow, got)
		}
		if held := b.held(); held != n+slow {
			t.Errorf("%s: %d of %d and %d slow ones are held, %v after the first began (the gateway waits for %v)", what, held, n, slow, time.Since(began), helloTimeout)
		}
		took := time.Since(began)
		peak, meanwhile := rss(t, pid), b.timed(requests)
		peak = max(peak, rss(t, pid))
		most = max(most, peak)
		t.Logf("%d %s and %d slow, in %.1f s: RSS %d MiB, %d KiB each; a request meanwhile takes %v, at the 99th percentile %v",
			n, what, slow, took.Seconds(), peak>>10, max(0, peak-first)/(n+slow), meanwhile.P50, meanwhile.P99)
		if peak > first+(n+slow)*floodKiB+32<<10 {
			t.Errorf("%s: the gateway grew from %d to %d MiB", what, first>>10, peak>>10)
		}
		b.do("release")
		b.nothingLeft(what)
		// Idle sides of hosts are few: those of HTTP/2.
		if left := descriptors(pid); left > open+n/2 {
			t.Errorf("%s: the gateway had %d descriptors and has %d", what, open, left)
		}
	}
	b.allFine("after the floods")
	t.Logf("the gateway's RSS was %d MiB at first, %d at most and is %d at the end", first>>10, most>>10, rss(t, pid)>>10)
}

// descriptors is how many a process has, which for a gateway root alone may see
// (proc_pid_fd(5)); for anybody else 0. Others see its sockets: nothingLeft.
func descriptors(pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(list)
}

// fileLimit is how many files a test's process may open, and the gateway.
func fileLimit(t *testing.T) uint64 {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	return l.Max
}

// places is how many connections the gateway must hold for one rule beside the slow
// ones: those asked for, or what the limit of open files has room for.
func places(t *testing.T, sockets, want, slow int) int {
	t.Helper()
	limit := fileLimit(t)
	share := newSeats(count{maxConns, shareFiles(limit).sockets}).share
	const hosts = 300 // sides of requests
	room := min(share.conns, (share.sockets-hosts)/sockets, int(limit)-256) - slow
	if room < 10 {
		t.Skipf("the limit of open files, %d, leaves no room for %d slow connections and ten others of one rule", limit, slow)
	}
	return min(want, room)
}

// timed makes requests to a host that is not flooded.
func (b *floodBox) timed(n int) (out timing) {
	b.t.Helper()
	text := b.do("timed", fetchArg{URL: "https://other.example/x", Method: "GET", Count: n, CA: b.ca})
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		b.t.Fatalf("%s: %v", text, err)
	}
	if out.Fine != n {
		b.t.Errorf("%d of %d requests to another host were answered; the last other: %s", out.Fine, n, out.Err)
	}
	return out
}

// nothingLeft waits until the gateway has closed both sides of what was flooded.
func (b *floodBox) nothingLeft(what string) {
	b.t.Helper()
	_, echo, _ := net.SplitHostPort(b.echo)
	inside, outside := "", -1
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		inside = b.do("served", "443")
		var err error
		if outside, err = tcpSockets("remote", echo); err != nil {
			b.t.Fatal(err)
		}
		if inside == "0" && outside == 0 {
			return
		}
	}
	b.t.Errorf("%s: a minute after its end the gateway has %s sockets in the jail and %d to the relayed host", what, inside, outside)
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
