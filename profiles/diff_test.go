package profiles

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func diffTexts(a, b *Spec) (texts []string) {
	for _, w := range Diff(a, b) {
		texts = append(texts, w.Text)
	}
	return texts
}

func TestDiff(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		want       []string // nil: b is not wider
	}{
		{"more hosts", `network {
  allow "a.example" {}
}`, `network {
  allow "*.example" {}
  allow "10.0.0.0/8" { ports = [5432] }
}`, []string{"names below example on port 443 may be connected to", "addresses in 10.0.0.0/8 on port 5432 may be connected to"}},
		{"fewer hosts", `network {
  allow "*.example" {}
}`, `network {
  allow "a.example" {}
  ask "b.example" {}
}`, nil},
		{"a deny less", `network {
  allow "*" {}
  deny "gist.example" {}
  deny "10.0.0.0/8" {}
}`, `network {
  allow "*" {}
}`, []string{"gist.example on port 443 may be connected to", "names that resolve to addresses in 10.0.0.0/8 are no longer denied on port 443"}},
		{"asked no more", `network {
  ask "a.example" {}
}`, `network {
  allow "a.example" {}
}`, []string{"a.example on port 443 may be connected to"}},
		{"another protocol", `network {
  allow "a.example" {}
}`, `network {
  allow "a.example" { protocol = "tcp" }
}`, []string{"tcp may be spoken to a.example on port 443, not tls"}},
		{"more requests", `network {
  allow "a.example" {
    request "GET" "/v1/**" {}
    request "POST" "/v1/x" { when = request.body.a == 1 }
  }
}`, `network {
  allow "a.example" {
    request "GET" "/v1/x/*" {}
    request "GET|PUT" "/v1/y" {}
    request "POST" "/v1/x" {}
  }
}`, []string{"PUT /v1/y may be asked of a.example on port 443 as it may not be before", "POST /v1/x may be asked of a.example on port 443 as it may not be before"}},
		{"every request", `network {
  allow "a.example" {
    request "GET" "/**" {}
  }
}`, `network {
  allow "a.example" {}
}`, []string{"every request may be made of a.example on port 443"}},
		{"one limit for two", `network {
  allow "a.example" {
    request "GET" "/**" { limit = "10/h" }
  }
}`, `network {
  allow "a.example" {
    request "GET" "/a" { limit = "10/h" }
    request "GET" "/b" { limit = "10/h" }
  }
}`, []string{"GET /b may be asked of a.example on port 443 as it may not be before"}},
		{"counts", `network {
  allow "a.example" {
    upload      = "1MiB"
    connections = 2
    limit       = "10/m"
  }
}`, `network {
  allow "a.example" {
    upload      = "2MiB"
    connections = 3
    limit       = "700/h"
  }
}`, []string{"there may be more than 2 connections to a.example on port 443", "more than 1MiB may be uploaded to a.example on port 443", "a.example on port 443 may be asked more often than 10/m"}},
		{"smaller counts", `network {
  allow "a.example" { limit = "10/m" }
}`, `network {
  allow "a.example" { limit = "10/run" }
}`, nil},
		{"a secret", `secret "x" {
  env    = "X"
  header = "a"
}
network {
  allow "a.example" { upstream = "127.0.0.1:1" }
}`, `secret "x" {
  env    = "X"
  header = "b"
}
network {
  allow "a.example" { secret = secret.x }
}`, []string{`the secret "x" may go to a.example on port 443`, "what is asked of a.example on port 443 goes to the host itself, vouched for by the host's roots", `the secret "x" is another one, or goes to another place in requests`}},
		{"files", `files {
  read = ["/opt", "/srv/*/public"]
  deny = ["/opt/secret", "/elsewhere"]
  limit "delete" { rate = "10/m" }
}`, `files {
  read  = ["/opt/a/*.txt", "/srv/x/public/y", "/data"]
  write = ["/opt/w"]
  home ".npm" { from = "/opt/npm" }
}`, []string{"the agent may read /data", "the agent may write /opt/w", "the home folder begins with .npm, from /opt/npm", `the limit of 10/m on the action "delete" no longer holds`}},
		{"a file deny less", `files {
  read = ["/opt"]
  deny = ["/opt/secret", "/opt/**/*.pem"]
}`, `files { read = ["/opt"] }`, []string{"/opt/secret is no longer denied", "/opt/**/*.pem is no longer denied"}},
		{"workspace", `workspace { hide = [".env"] }`, `workspace {
  mode = "direct"
  size = "3GiB"
}`, []string{"the workspace is direct, not overlay", "the agent may add 3GiB to the workspace, not 2GiB", ".env of the workspace is no longer hidden"}},
		{"process", `process {
  pass_env = ["LC_*"]
  exec_new = "deny"
  deny "sudo" {}
  ask "git" "push" {}
  limit "curl" { rate = "2/m" }
}`, `process {
  pass_env = ["LC_ALL", "HOME"]
  terminal = "pass"
  env      = { A = "1" }
  ask "sudo" {}
  deny "git" {}
  limit "curl" { rate = "3/m" }
}`, []string{"the variable HOME is passed on", `the variable A is set to "1"`, "the program sudo is no longer denied", "the limit of 2/m on the program curl no longer holds", "programs that the agent wrote: allow, not deny", "what the agent writes reaches the caller's terminal as it is"}},
		{"limits", `limits {
  time = "1h"
  idle = "5m"
  memory = "1GiB"
}`, `limits {
  time    = "2h"
  memory  = "1GiB"
  enforce = "best-effort"
}`, []string{"the limit memory holds only as well as the host can", "the limit time is 2h, not 1h", "the limit idle = 5m no longer holds"}},
		{"more time", `limits { time = "1h" }`, `limits { time = "1h" }
approval { extend = "30m" }`, []string{"people may give the run 30m more time at once, not 0s"}},
		{"more", `workspace { files = 10 }
limits { io_weight = 50 }`, `workspace { files = 11 }
limits { io_weight = 51 }`, []string{"the agent may add 11 files to the workspace, not 10", "the limit io_weight is 51, not 50"}},
		{"the rest", `on "escape" { action = "kill" }
approval { quorum = 2 }
apply {
  hold "deploy/**" {}
}
artifacts { collect = ["dist"] }`, `syscalls { allow = ["@ptrace"] }
artifacts {
  collect = ["dist/x", "*.log"]
  size    = "1GiB"
}
audit { otlp = "http://x.example" }
apply {
  allow "Makefile" { reason = "x" }
}
on "limit" {
  action  = "stop"
  command = ["logger"]
  webhook = "https://x.example/h"
}`, []string{"the system call @ptrace is opened", "*.log is handed over as an artifact", "artifacts may have 1GiB, not 500MiB", "deploy/** is no longer held back from the host", "Makefile reaches the host though it may be executed there", "the trail is sent to http://x.example", "1 must approve, not 2",
			`on "escape" the run is only to log, not to kill`, `on "limit" the host runs logger`, `on "limit" the event is sent to https://x.example/h`}},
	} {
		a, b := spec(t, tt.a), spec(t, tt.b)
		if got := diffTexts(a, b); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
		for _, s := range []*Spec{a, b} {
			if got := diffTexts(s, s); len(got) > 0 {
				t.Errorf("%s: a profile is wider than itself: %q", tt.name, got)
			}
		}
	}
	// A ceiling that is another one, and what the language learns later.
	a, b := capped(t, `files { read = ["/opt"] }`, `files { read = ["/opt/a"] }`), spec(t, `files { read = ["/opt"] }`)
	if got := diffTexts(a, b); !slices.Equal(got, []string{"another ceiling caps the files"}) {
		t.Errorf("without the ceiling: %q", got)
	}
	type later struct{ Known, New []string }
	d := &differ{said: map[Widening]bool{}}
	d.unknownFields("x", reflect.ValueOf(later{New: []string{"a"}}), reflect.ValueOf(later{Known: []string{"z"}, New: []string{"b"}}), Origin{}, "Known")
	if len(d.found) != 1 {
		t.Errorf("what is not known is passed over: %v", d.found)
	}
}

// FuzzDiff: where one profile lets something that the other one does not, Diff says
// something; and of a profile and itself it says nothing.
func FuzzDiff(f *testing.F) {
	for seed := range uint64(150) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		srcA := randomRules(r)
		srcB := randomChange(r, srcA)
		a, b := spec(t, srcA), spec(t, srcB)
		if got := diffTexts(a, a); len(got) > 0 {
			t.Fatalf("a profile is wider than itself: %q\n%s", got, srcA)
		}
		got := diffTexts(a, b)
		for range 80 {
			what := widerTarget(r, a, b)
			if what != "" && len(got) == 0 {
				t.Fatalf("nothing is said of %s\nbefore:\n%s\nafter:\n%s", what, srcA, srcB)
			}
		}
	})
}

// randomChange takes lines out of a profile, or takes another one: what is left is
// narrower, wider or neither.
func randomChange(r *rand.Rand, src string) string {
	if r.IntN(3) == 0 {
		return randomRules(r)
	}
	var kept []string
	lines := strings.Split(src, "\n")
	for _, l := range lines {
		if r.IntN(6) == 0 && (strings.Contains(l, "request ") || strings.Contains(l, " = [\"")) {
			continue
		}
		kept = append(kept, l)
	}
	return strings.Join(kept, "\n")
}

// widerTarget tries something at random and says what b lets and a does not.
func widerTarget(r *rand.Rand, a, b *Spec) string {
	width := []Action{Deny, Ask, Allow}
	more := func(x, y Action) bool { return slices.Index(width, y) > slices.Index(width, x) }
	name, addr, port := randomTarget(r)
	if name != "" && r.IntN(2) == 0 {
		addr = netip.MustParseAddr(pick(r, "10.1.1.1", "10.9.9.9", "192.0.2.1"))
	}
	va, vb := a.Network.Connect(name, addr, port), b.Network.Connect(name, addr, port)
	if more(va.Action, vb.Action) {
		return fmt.Sprintf("%s %v port %d", name, addr, port)
	}
	method, path := pick(r, "GET", "POST", "PUT"), pick(r, "/a", "/a/b", "/b", "/b/c", "/")
	if va.Action == Allow && vb.Action == Allow && va.Rule.spoken() && vb.Rule.spoken() {
		if !requestAllowed(a, name, netip.Addr{}, port, method, path, vb.Rule.Protocol) && name != "" && requestAllowed(b, name, netip.Addr{}, port, method, path, vb.Rule.Protocol) {
			return fmt.Sprintf("%s %s of %s port %d", method, path, name, port)
		}
	}
	p := randomPath(r)
	for _, op := range []Op{OpRead, OpWrite, OpExec} {
		if more(a.Files.Decide(p, op).Action, b.Files.Decide(p, op).Action) {
			return fmt.Sprintf("%s %s", op, p)
		}
	}
	env := pick(r, "LANG", "LC_ALL", "LC_X", "L", "HOME", "SECRET")
	_, was := a.Process.Passes(env)
	if _, is := b.Process.Passes(env); is && !was {
		return "passing " + env
	}
	return ""
}

// FuzzCovers: a pattern that covers another one matches whatever that one matches.
func FuzzCovers(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		words := func(list ...string) string {
			var s []string
			for range 1 + r.IntN(4) {
				s = append(s, pick(r, list...))
			}
			return "/" + strings.Join(s, "/")
		}
		p, q := words("a", "b", "*", "a*", "**", "[ab]", "{a,b}", "a/b"), words("a", "b", "*", "a*", "**", "[ab]", "{a,b}", "?")
		rp, rq := words("a", "b", "*", "a*", "**", "a%2fb", "*%2f*"), words("a", "b", "*", "a*", "**", "a%2fb", "*b")
		for range 30 {
			x := words("a", "b", "ab", "c", "a%2fb")
			if globCovers(p, q) && covers(q, x) && !covers(p, x) {
				t.Fatalf("%s covers %s, and not %s", p, q, x)
			}
			if apart(p, q) && covers(q, x) && covers(p, x) {
				t.Fatalf("%s and %s are apart, and both match %s", p, q, x)
			}
			if pathCovers(rp, rq) && MatchPath(rq, x) && !MatchPath(rp, x) {
				t.Fatalf("%s covers %s, and not %s", rp, rq, x)
			}
		}
	})
}
