package profiles

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const ceilingPath = "/etc/agentjail/ceiling.hcl"

func ceiling(t testing.TB, src string) *Ceiling {
	t.Helper()
	c, diags, _ := LoadCeiling(ceilingPath, []byte(src), CeilingOptions{Home: "/home/u"})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	return c
}

func capped(t testing.TB, profile, src string) *Spec {
	t.Helper()
	s := spec(t, profile)
	ceiling(t, src).Cap(s)
	return s
}

func TestCeiling(t *testing.T) {
	s := capped(t, `
workspace {
  mode = "direct"
  size = "10GiB"
}
files {
  read  = ["/opt", "/srv/a"]
  write = ["/var/tmp/x"]
  home ".npm" { from = "/opt/npm" }
  home ".other" { from = "/data/other" }
}
network {
  allow "*.example.com" {}
  allow "opaque.example" { protocol = "tcp" }
  allow "ssh.example:22" {}
  allow "elsewhere.example" {}
}
process { pass_env = ["LANG", "LC_*", "SECRET"] }
syscalls { allow = ["@ptrace", "bpf"] }
limits {
  memory  = "8GiB"
  time    = "1h"
  enforce = "best-effort"
}
approval {
  timeout = "10m"
  extend  = "30m"
}
on "limit" { action = "stop" }
`, `
workspace {
  mode = "overlay"
  size = "1GiB"
  hide = [".env"]
}
files {
  read = ["/opt/tool", "/srv", "/opt/npm"]
  deny = ["~/.ssh"]
  limit "delete" { rate = "10/m" }
}
network {
  allow "*.example.com" {
    request "GET" "/**" {}
  }
  allow "opaque.example" {}
  allow "ssh.example:22" { protocol = "tls" }
  ask "elsewhere.example" { reason = "the owner decides" }
  deny "bad.example.com" { reason = "the owner forbids it" }
}
process {
  pass_env = ["LANG", "LC_ALL"]
  exec_new = "deny"
  deny "sudo" {}
}
syscalls { allow = ["@ptrace"] }
limits {
  memory = "4GiB"
  time   = "2h"
  idle   = "5m"
}
approval { quorum = 2 }
on "limit" { action = "kill" }
on "escape" { action = "freeze" }
`)
	if s.Approval.Extend != 0 {
		t.Errorf("people may give %d ns more than the time that the ceiling has", s.Approval.Extend)
	}
	w := s.Workspace
	if w.Mode != ModeOverlay || w.Size != 1<<30 || len(w.Hide) != 1 || w.Origin.File != ceilingPath {
		t.Errorf("workspace %+v", w)
	}
	for p, want := range map[string]Action{"/opt/tool/x": Allow, "/opt/other": Deny, "/srv/a/b": Allow, "/srv/b": Deny, "/var/tmp/x/y": Deny} {
		if v := s.Files.Decide(p, OpRead); v.Action != want {
			t.Errorf("reading %s is %s: %s", p, v.Action, v.Reason)
		}
	}
	if len(s.Files.Home) != 1 || s.Files.Home[0].Path != ".npm" || len(s.Files.Limits) != 1 || len(s.Files.Deny) != 1 {
		t.Errorf("files %+v", s.Files)
	}
	for _, tt := range []struct {
		name     string
		port     uint16
		want     Action
		protocol Protocol
	}{
		{"a.example.com", 443, Allow, ProtocolTLS},
		{"bad.example.com", 443, Deny, ""},
		{"opaque.example", 443, Allow, ProtocolTLS},
		{"ssh.example", 22, Deny, ""},
		{"elsewhere.example", 443, Ask, ""},
		{"nowhere.example", 443, Deny, ""},
	} {
		v := s.Network.Connect(tt.name, netip.Addr{}, tt.port)
		if v.Action != tt.want || tt.protocol != "" && v.Rule.Protocol != tt.protocol || v.Action != Allow && v.Reason == "" {
			t.Errorf("%s is %+v", tt.name, v)
		}
	}
	a := s.Network.Access("a.example.com", netip.Addr{}, 443)
	if !a.Plaintext() || len(a.Layers()) != 2 || len(s.Network.Intercepts()) != 1 {
		t.Errorf("the ceiling's request rules are not looked at: %+v", a)
	}
	for _, tt := range []struct {
		method string
		want   Action
	}{{"GET", Allow}, {"POST", Deny}} {
		if got := s.Try(Case{Request: []string{tt.method, "https://a.example.com/x"}}); got.Action != tt.want {
			t.Errorf("%s is %+v", tt.method, got)
		}
	}
	var passed []string
	for _, p := range s.Process.PassEnv {
		passed = append(passed, p.Pattern)
	}
	if !slices.Equal(passed, []string{"LANG", "LC_ALL"}) || s.Process.ExecNew != ExecNewDeny || len(s.Process.Deny) != 1 {
		t.Errorf("process %+v", s.Process)
	}
	if s.SyscallCeiling == nil || len(*s.SyscallCeiling) != 1 {
		t.Errorf("system calls %v", s.SyscallCeiling)
	}
	l := s.Limits
	if l.Memory.Value != 4<<30 || l.Memory.Enforce != EnforceStrict || l.Memory.Origin.File != ceilingPath ||
		l.Time.Value != 3600e9 || l.Time.Enforce != EnforceStrict || l.Time.Origin.File == ceilingPath || l.Idle == nil {
		t.Errorf("limits %+v %+v %+v", l.Memory, l.Time, l.Idle)
	}
	if s.Approval.Quorum != 2 || s.Approval.Timeout != 600e9 || s.Reaction(EventLimit).Action != ReactKill || s.Reaction(EventEscape).Action != ReactFreeze {
		t.Errorf("%+v %+v", s.Approval, s.On)
	}
	if s.Ceiling == nil || s.Ceiling.Path != ceilingPath || s.Sources[len(s.Sources)-1].Path != ceilingPath {
		t.Errorf("the ceiling is not among the sources: %+v", s.Sources)
	}
	var shown strings.Builder
	if err := WriteText(&shown, s); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`(?m)^    # the ceiling denies some or all of it: /etc/agentjail/ceiling.hcl:19$`,
		`(?m)^    # the ceiling allows of it what is in: /etc/agentjail/ceiling.hcl:13$`,
		`(?m)^    # the ceiling asks about some or all of it: /etc/agentjail/ceiling.hcl:18$`,
		`(?m)^    # refused: the ceiling allows none of it$`,
		`(?m)^  memory = "4GiB" +# /etc/agentjail/ceiling.hcl:28$`,
		`(?m)^#     request "GET" "/\*\*" \{ `,
		`(?m)^#     "/opt/tool", `,
	} {
		if !regexp.MustCompile(line).MatchString(shown.String()) {
			t.Errorf("no line %s in\n%s", line, shown.String())
		}
	}
	mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": shown.String()}))
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var again Spec
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, &again, specsEqual, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-as made +through JSON:\n%s", diff)
	}
}

// TestCeilingAbsent: what a ceiling does not say it leaves alone, and an empty list is
// not the absence of one.
func TestCeilingAbsent(t *testing.T) {
	profile := `
files { read = ["/opt"] }
network {
  allow "a.example" {}
}
process { pass_env = ["LANG"] }
syscalls { allow = ["@ptrace"] }
`
	s := capped(t, profile, `network {
  deny "b.example" {}
}`)
	if v := s.Network.Connect("a.example", netip.Addr{}, 443); v.Action != Allow {
		t.Errorf("a ceiling of denies alone refuses: %s", v.Reason)
	}
	if s.Files.Decide("/opt/x", OpRead).Action != Allow || s.SyscallCeiling != nil || len(s.Process.PassEnv) != 1 {
		t.Error("a ceiling that says nothing of files caps them")
	}
	s = capped(t, profile, `
files { read = [] }
process { pass_env = [] }
syscalls { allow = [] }
`)
	if s.Files.Decide("/opt/x", OpRead).Action != Deny || s.SyscallCeiling == nil || len(s.Process.PassEnv) != 0 {
		t.Error("an empty list caps nothing")
	}
}

func TestCeilingWorkspace(t *testing.T) {
	w := capped(t, "", `workspace { path = "~/src" }`).Workspace
	for path, want := range map[string]bool{"/home/u/src": true, "/home/u/src/a": true, "/home/u/srcs": false, "/home/u": false, "/": false, "/etc": false} {
		if w.Lies(path) != want {
			t.Errorf("a workspace in %s: %v", path, !want)
		}
	}
	if w := spec(t, "").Workspace; !w.Lies("/etc") {
		t.Error("without a ceiling, some folder can't be the workspace")
	}
}

// TestCeilingPrices: a profile can't stretch the ceiling's budget by calling models cheap.
func TestCeilingPrices(t *testing.T) {
	const price = "price \"*\" {\n  input = %s\n  output = %s\n}\n"
	cheap, dear := fmt.Sprintf(price, "0.001", "0.001"), fmt.Sprintf(price, "3", "15")
	const budget = "budget \"model\" {\n  unit = \"usd\"\n  per_day = 5\n}\n"
	if s := capped(t, cheap, budget); len(s.Prices) != 0 || len(s.Budgets) != 1 {
		t.Errorf("the profile's own prices stand: %+v", s.Prices)
	}
	if s := capped(t, cheap, budget+dear); len(s.Prices) != 1 || s.Prices[0].Origin.File != ceilingPath {
		t.Errorf("prices %+v", s.Prices)
	}
	if s := capped(t, cheap, "files { deny = [\"/x\"] }"); len(s.Prices) != 1 {
		t.Error("a ceiling that says nothing of money takes prices away")
	}
}

// TestCeilingFields: each part of a profile is capped, or is among those that need no
// cap. A new one is decided about here, and in Cap.
func TestCeilingFields(t *testing.T) {
	decided := []string{"Workspace", "Files", "Network", "Budgets", "Prices", "On", "Process", "Syscalls", "SyscallCeiling", "Limits", "Artifacts", "Apply", "Audit", "Approval", "SSHAgent",
		// Nothing to cap: what they are called and made of; credentials only go to hosts
		// that the ceiling lets; tests are questions.
		"Name", "Description", "Sources", "Ceiling", "Secrets", "Tests"}
	spec := reflect.TypeFor[Spec]()
	for i := range spec.NumField() {
		if f := spec.Field(i).Name; !slices.Contains(decided, f) {
			t.Errorf("nobody has decided what a ceiling does to %s", f)
		}
	}
}

// TestCeilingWords: a ceiling can't say what would not be carried out, nor take
// anything from outside.
func TestCeilingWords(t *testing.T) {
	for _, src := range []string{
		`extends = ["base"]`,
		`variable "x" { default = 1 }`,
		"secret \"x\" {\n  env = \"X\"\n  header = \"h\"\n}",
		`workspace { upper = "disk" }`,
		`workspace { path = "src" }`,
		"files {\n  home \".x\" {}\n}",
		"network {\n  allow \"x.example\" { upstream = \"127.0.0.1:1\" }\n}",
		"network {\n}",
		`process { env = { X = "1" } }`,
		"test \"x\" {\n  connect = \"x:1\"\n  expect = \"deny\"\n}",
		`audit { otlp = "http://x" }`,
		"on \"escape\" {\n  action = \"kill\"\n  command = [\"x\"]\n}",
		`files { read = [env("X")] }`,
		`files { read = [file("x")] }`,
		`files { read = ["relative"] }`,
		`nonsense {}`,
		`files { raed = [] }`,
	} {
		if _, diags, _ := LoadCeiling(ceilingPath, []byte(src), CeilingOptions{Home: "/home/u"}); !diags.HasErrors() {
			t.Errorf("a ceiling may say %s", src)
		}
	}
	if _, diags, _ := LoadCeiling(ceilingPath, []byte(`files { deny = ["~/.ssh"] }`), CeilingOptions{}); !diags.HasErrors() {
		t.Error("\"~\" means something without a home")
	}
	// Every word that a ceiling may say is a word of the language.
	known := map[string]bool{}
	walkSchema(profileSchema(), "", func(path string, _ attr) { known[path] = true })
	for _, w := range ceilingWords() {
		if !known[w] {
			t.Errorf("a ceiling may say %q, which no profile can", w)
		}
	}
}

// walkSchema calls f for every attribute of the language, by its blocks' names.
func walkSchema(s schema, prefix string, f func(path string, a attr)) {
	for _, a := range s.attrs {
		f(prefix+a.name, a)
	}
	for _, b := range s.blocks {
		walkSchema(b.body(), prefix+b.name+".", f)
	}
}

// FuzzCeiling: whatever a profile and a ceiling say, what may be done under both is
// exactly what each of them alone lets. The Spec is asked again after a round trip
// through JSON, as the gateway gets it.
func FuzzCeiling(f *testing.F) {
	for seed := range uint64(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		profile, limit := randomRules(r), randomRules(r)
		own, theirs := spec(t, profile), spec(t, limit)
		both := capped(t, profile, limit)
		b, err := json.Marshal(both)
		if err != nil {
			t.Fatal(err)
		}
		both = &Spec{}
		if err := json.Unmarshal(b, both); err != nil {
			t.Fatal(err)
		}
		report := func(what string, got, want any) {
			t.Helper()
			t.Fatalf("%s: %v, want %v\nprofile:\n%s\nceiling:\n%s", what, got, want, profile, limit)
		}
		for range 60 {
			name, addr, port := randomTarget(r)
			a, b := own.Network.Connect(name, addr, port), theirs.Network.Connect(name, addr, port)
			want := stricter(a.Action, b.Action)
			if want != Deny {
				if _, ok := narrowerProtocol(a.Rule.Protocol, b.Rule.Protocol); !ok {
					want = Deny
				}
			}
			if len(theirs.Network.Allow)+len(theirs.Network.Ask) == 0 && (b.Action != Deny || b.Rule == nil) {
				want = a.Action // the ceiling only denies
			}
			got := both.Network.Connect(name, addr, port)
			if got.Action != want {
				report(fmt.Sprintf("%s %v port %d", name, addr, port), got, want)
			}
			method, path := pick(r, "GET", "POST"), pick(r, "/a", "/a/b", "/b", "/b/c")
			if got.Action == Allow {
				wantRequest := requestAllowed(own, name, addr, port, method, path, got.Rule.Protocol) &&
					(both.Network.Ceiling == nil || both.Network.Ceiling.Open || requestAllowed(theirs, name, addr, port, method, path, got.Rule.Protocol))
				gotRequest := true
				for _, layer := range both.Network.Access(name, addr, port).Layers() {
					_, denied := layer.Request(method, path)
					gotRequest = gotRequest && denied == ""
				}
				if opaque := got.Rule.Protocol == ProtocolTCP || got.Rule.Protocol == ProtocolSSH; !opaque && gotRequest != wantRequest {
					report(fmt.Sprintf("%s %s%s on port %d", method, name, path, port), gotRequest, wantRequest)
				}
			}
			p := randomPath(r)
			for _, op := range []Op{OpRead, OpWrite, OpExec} {
				wantFile := own.Files.Decide(p, op).Action == Allow && both.Files.Ceiling.letsAll(p, op) && !matches(theirs.Files.Deny, p)
				if got := both.Files.Decide(p, op); (got.Action == Allow) != wantFile {
					report(fmt.Sprintf("%s %s", op, p), got, wantFile)
				}
			}
			env := pick(r, "LANG", "LC_ALL", "LC_X", "L", "HOME", "SECRET")
			_, ownPasses := own.Process.Passes(env)
			_, theirsPasses := theirs.Process.Passes(env)
			if _, got := both.Process.Passes(env); got != (ownPasses && theirsPasses) {
				report("passing "+env, got, ownPasses && theirsPasses)
			}
		}
	})
}

// letsAll is what FilesCeiling.lets must say, written another way.
func (c *FilesCeiling) letsAll(p string, op Op) bool {
	if c == nil {
		return true
	}
	may := func(lists ...*[]Pattern) bool {
		for _, l := range lists {
			if l != nil && matches(*l, p) {
				return true
			}
		}
		return false
	}
	if c.Read != nil && !may(c.Read, c.Write, c.Exec) {
		return false
	}
	if op == OpWrite && c.Write != nil {
		return may(c.Write)
	}
	return op != OpExec || c.Exec == nil || may(c.Exec)
}

func matches(list []Pattern, p string) bool { _, ok := matchAny(list, p); return ok }

func stricter(a, b Action) Action {
	order := []Action{Allow, Ask, Deny}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

func requestAllowed(s *Spec, name string, addr netip.Addr, port uint16, method, path string, p Protocol) bool {
	a := s.Network.Access(name, addr, port)
	if len(a.Rules) == 0 {
		return false
	}
	if a.Rules[0].Protocol == ProtocolTCP && p != ProtocolTCP {
		return true // nobody looked into it
	}
	_, denied := a.Request(method, path)
	return denied == ""
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// randomRules is a small profile out of few words, so that what two of them say meets.
func randomRules(r *rand.Rand) string {
	var b strings.Builder
	hosts := []string{"*", "*.example", "*.a.example", "a.example", "b.a.example", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "2001:db8::/32"}
	fmt.Fprintf(&b, "network {\n  deny \"never.example\" {}\n")
	for range r.IntN(6) {
		switch kind := pick(r, "allow", "allow", "allow", "ask", "deny"); kind {
		case "allow":
			fmt.Fprintf(&b, "  allow %q {\n    ports = [%d]\n", pick(r, hosts...), pick(r, 443, 22, 80))
			protocol := pick(r, "tls", "tls", "tcp", "ssh", "http")
			fmt.Fprintf(&b, "    protocol = %q\n", protocol)
			for range r.IntN(3) {
				if protocol == "tls" || protocol == "http" {
					fmt.Fprintf(&b, "    request %q %q {}\n", pick(r, "GET", "POST", "*"), pick(r, "/**", "/a", "/a/*", "/b/**"))
				}
			}
			b.WriteString("  }\n")
		default:
			fmt.Fprintf(&b, "  %s %q {\n    ports = [%d]\n  }\n", kind, pick(r, hosts...), pick(r, 443, 22, 80))
		}
	}
	b.WriteString("}\nfiles {\n")
	paths := []string{"/opt", "/opt/a", "/opt/*/b", "/srv/**", "/srv/x*", "/opt/{a,c}/d", "/opt/a/[bc]", "/"}
	for _, list := range []string{"read", "write", "exec", "deny"} {
		if r.IntN(2) == 0 {
			var items []string
			for range r.IntN(3) {
				items = append(items, fmt.Sprintf("%q", pick(r, paths...)))
			}
			fmt.Fprintf(&b, "  %s = [%s]\n", list, strings.Join(items, ", "))
		}
	}
	b.WriteString("}\nprocess {\n")
	var names []string
	for range r.IntN(4) {
		names = append(names, fmt.Sprintf("%q", pick(r, "LANG", "LC_*", "LC_ALL", "L*", "SECRET", "HOME")))
	}
	fmt.Fprintf(&b, "  pass_env = [%s]\n}\n", strings.Join(names, ", "))
	return b.String()
}

func randomTarget(r *rand.Rand) (string, netip.Addr, uint16) {
	port := pick[uint16](r, 443, 22, 80, 8080)
	if r.IntN(3) == 0 {
		return "", netip.MustParseAddr(pick(r, "10.1.1.1", "10.1.2.3", "10.9.9.9", "11.0.0.1", "2001:db8::1", "::ffff:10.1.1.1")), port
	}
	return pick(r, "a.example", "A.EXAMPLE.", "b.a.example", "c.b.a.example", "example", "x.example", "never.example", "other.test"), netip.Addr{}, port
}

func randomPath(r *rand.Rand) string {
	return pick(r, "/", "/opt", "/opt/a", "/opt/a/b", "/opt/x/b", "/opt/x/c", "/opt/c/d", "/srv", "/srv/x1", "/srv/y/z", "/etc/passwd")
}

// TestCeilingTerminal: a ceiling takes away, and gives nothing.
func TestCeilingTerminal(t *testing.T) {
	for _, tt := range []struct {
		profile, ceiling string
		want             Terminal
	}{
		{"pass", "filter", TerminalFilter},
		{"pass", "pass", TerminalPass},
		{"filter", "pass", TerminalFilter},
	} {
		s := capped(t, `process { terminal = "`+tt.profile+`" }`, `process { terminal = "`+tt.ceiling+`" }`)
		if s.Process.Terminal != tt.want {
			t.Errorf("%s under a ceiling of %s is %s", tt.profile, tt.ceiling, s.Process.Terminal)
		}
	}
	if s := capped(t, `process { terminal = "pass" }`, `limits { time = "1h" }`); s.Process.Terminal != TerminalPass {
		t.Errorf("a ceiling that says nothing of it: %s", s.Process.Terminal)
	}
}
