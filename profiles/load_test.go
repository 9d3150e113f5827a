package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const fullProfile = `# web.hcl
description = "our web app."
extends     = ["./common.hcl", "offline-tools"]

variable "tracker" { default = "issues.example.com" }
variable "port"    { default = 8443 }

workspace {
  path  = "."
  mode  = "direct"
  upper = "disk"
  hide  = [
    ".env",
    "secrets/**",
  ]
  size = "1GiB"
}

files {
  read  = ["/opt/toolchain", "~/notes"]
  write = ["/var/tmp/build"]
  exec  = concat(["/opt/toolchain/bin"], ["/opt/x"])
  deny  = ["~/.config/app"]
}

network {
  allow "api.example.com" {}

  allow "tracker" {
    hosts  = [
      var.tracker,
      "*.tracker.example:${var.port}",
    ]
    reason = "issues"
  }

  allow "mixed" {
    hosts = ["mixed.example"]
    ports = [443, 80, 22, 8080]
  }

  allow "stand-in.example" {
    upstream    = "127.0.0.1:9443"
    upstream_ca = "ca.pem"
  }

  deny "gist.example.com" { reason = "exfiltration" }
}

process {
  pass_env = ["TERM"]
  env      = { CI = 1, DEBUG = true, WHO = upper(env("WHO")), NOTE = file("note.txt") }
}

syscalls { allow = ["@ptrace"] }

limits {
  time       = "1h"
  open_files = 1024
}

limits {
  memory  = "4GiB"
  cpus    = 1.5
  enforce = "best-effort"
}

artifacts {
  collect = ["dist/**"]
  size    = "0"
}

audit { size = "10MiB" }
`

func fullOptions() Options {
	o := mapOptions(map[string]string{
		"/p/web.hcl":  fullProfile,
		"/p/note.txt": "a note",
		"/p/common.hcl": `description = "common"
extends = []
files { read = ["/srv/common", "/opt/toolchain"] }
process { env = { CI = "0", FROM = "common" } }
limits {
  time      = "2h"
  processes = 64
}
artifacts { collect = ["*.log"] }
`,
		"/etc/agentjail/profiles/offline-tools.hcl": `extends = []
network {
  deny "*.tools.example" {}
}
workspace {
  mode = "readonly"
}
`,
	})
	o.Dirs = []string{"/home/u/.config/agentjail/profiles", "/etc/agentjail/profiles"}
	o.Env = func(name string) (string, bool) { return map[string]string{"WHO": "me"}[name], name == "WHO" }
	return o
}

func at(file string, line int) Origin { return Origin{File: file, Line: line} }

func exact(name string) []HostPattern { return []HostPattern{{Kind: HostExact, Name: name}} }

// TestLoad holds everything that a profile can say against the Spec that it gives.
func TestLoad(t *testing.T) {
	got, diags, _ := Load("/p/web.hcl", fullOptions())
	if len(diags) != 0 {
		t.Fatal(diags)
	}
	w := func(line int) Origin { return at("web.hcl", line) }
	want := &Spec{
		Name: "web", Description: "our web app",
		Workspace: Workspace{
			Path: "/ws", Mode: ModeDirect, Upper: UpperDisk, Size: 1 << 30, Files: defaultWorkspaceFiles, Origin: w(8),
			Hide: []Pattern{{".env", w(13)}, {"secrets/**", w(14)}},
		},
		Files: Files{
			Read:  []Pattern{{"/opt/toolchain", w(20)}, {"/home/u/notes", w(20)}, {"/srv/common", at("common.hcl", 3)}},
			Write: []Pattern{{"/var/tmp/build", w(21)}},
			Exec:  []Pattern{{"/opt/toolchain/bin", w(22)}, {"/opt/x", w(22)}},
			Deny:  []Pattern{{"/home/u/.config/app", w(23)}},
			Home:  []HomeSeed{}, Limits: []FileLimit{},
		},
		Network: Network{
			Allow: []NetRule{
				{Label: "api.example.com", Hosts: exact("api.example.com"), Ports: []uint16{443}, Protocol: ProtocolTLS, AnyRequest: true, Origin: w(27)},
				{Label: "tracker", Hosts: exact("issues.example.com"), Ports: []uint16{443}, Protocol: ProtocolTLS, AnyRequest: true, Reason: "issues", Origin: w(31)},
				{Label: "tracker", Hosts: []HostPattern{{Kind: HostWildcard, Name: "tracker.example"}}, Ports: []uint16{8443}, Protocol: ProtocolTLS, AnyRequest: true, Reason: "issues", Origin: w(32)},
				{Label: "mixed", Hosts: exact("mixed.example"), Ports: []uint16{443, 8080}, Protocol: ProtocolTLS, AnyRequest: true, Origin: w(38)},
				{Label: "mixed", Hosts: exact("mixed.example"), Ports: []uint16{80}, Protocol: ProtocolHTTP, AnyRequest: true, Origin: w(38)},
				{Label: "mixed", Hosts: exact("mixed.example"), Ports: []uint16{22}, Protocol: ProtocolSSH, Origin: w(38)},
				{Label: "stand-in.example", Hosts: exact("stand-in.example"), Ports: []uint16{443}, Protocol: ProtocolTLS, AnyRequest: true, Upstream: "127.0.0.1:9443", UpstreamCA: "/p/ca.pem", Origin: w(42)},
			},
			Ask: []NetRule{}, HostPorts: []PortRule{}, Publish: []PortRule{},
			Deny: []NetRule{
				{Label: "gist.example.com", Hosts: exact("gist.example.com"), Ports: []uint16{}, Reason: "exfiltration", Origin: w(47)},
				{Label: "*.tools.example", Hosts: []HostPattern{{Kind: HostWildcard, Name: "tools.example"}}, Ports: []uint16{}, Origin: at("offline-tools.hcl", 3)},
			},
		},
		Secrets: []Secret{},
		Budgets: []Budget{},
		Prices:  []Price{},
		On:      []On{},
		Process: Process{
			PassEnv: []Pattern{{"TERM", w(51)}},
			Env: []EnvVar{
				{"CI", "1", w(52)}, {"DEBUG", "true", w(52)}, {"FROM", "common", at("common.hcl", 4)},
				{"NOTE", "a note", w(52)}, {"WHO", "ME", w(52)},
			},
			Deny: []ExecRule{}, Ask: []ExecRule{}, Limit: []ExecRule{}, Approved: []ExecRule{}, ExecNew: ExecNewAllow, Terminal: TerminalFilter,
		},
		Syscalls: []Syscall{{"@ptrace", w(55)}},
		Limits: Limits{
			Time:      &Limit{3600e9, EnforceStrict, w(58)},
			OpenFiles: &Limit{1024, EnforceStrict, w(59)},
			Memory:    &Limit{4 << 30, EnforceBestEffort, w(63)},
			CPUs:      &Limit{1500, EnforceBestEffort, w(64)},
			Processes: &Limit{64, EnforceStrict, at("common.hcl", 7)},
		},
		Apply:     Apply{Hold: []HandOff{}, Allow: []HandOff{}},
		Artifacts: Artifacts{Size: 0, Origin: w(68), Collect: []Pattern{{"dist/**", w(69)}, {"*.log", at("common.hcl", 9)}}},
		Audit:     Audit{Size: 10 << 20, Origin: w(73)},
		Approval:  Approval{Timeout: 120e9, Notify: []string{}, Quorum: 1},
		Tests:     []Case{},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Spec{}, "Sources"), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	sum := sha256.Sum256([]byte(fullProfile))
	var names []string
	for _, s := range got.Sources {
		names = append(names, s.File+" "+s.Path)
	}
	if want := []string{"web.hcl /p/web.hcl", "common.hcl /p/common.hcl", "offline-tools.hcl /etc/agentjail/profiles/offline-tools.hcl"}; !slices.Equal(names, want) {
		t.Errorf("sources %q, want %q", names, want)
	}
	if got.Sources[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the profile's hash is %s", got.Sources[0].SHA256)
	}
}

func mustLoad(t testing.TB, name string, o Options) *Spec {
	t.Helper()
	s, diags, _ := Load(name, o)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return s
}

var specsEqual = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestJSONRoundTrip(t *testing.T) {
	for _, s := range []*Spec{mustLoad(t, "/p/web.hcl", fullOptions()), mustLoad(t, "offline", mapOptions(nil)), requestSpec(t), faultSpec(t), portsSpec(t)} {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "null") {
			t.Errorf("%s: a list is null instead of empty: %s", s.Name, b)
		}
		back := &Spec{}
		if err := json.Unmarshal(b, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, back, specsEqual); diff != "" {
			t.Errorf("%s: -before +after:\n%s", s.Name, diff)
		}
	}
}

// TestWriteText: what `profile show` prints is itself a profile, with the same rules.
func TestWriteText(t *testing.T) {
	o := fullOptions()
	o.Home = "/home/a*b"
	for _, s := range []*Spec{mustLoad(t, "/p/web.hcl", o), mustLoad(t, "offline", o), mustLoad(t, "default", o), requestSpec(t), faultSpec(t), portsSpec(t)} {
		s.Process.Env = append(s.Process.Env, EnvVar{Name: "ZZ", Value: "a ${b} %{c} \"quoted\"\n\\end"})
		var out strings.Builder
		if err := WriteText(&out, s); err != nil {
			t.Fatal(err)
		}
		if s.Name == "web" {
			for _, line := range []string{`"/home/a\\*b/notes",                                # web.hcl:20`, "# common.hcl:7", "# offline-tools.hcl:3"} {
				if !strings.Contains(out.String(), line) {
					t.Errorf("%q is not in\n%s", line, out.String())
				}
			}
		}
		again, diags, files := Load("/p/again.hcl", mapOptions(map[string]string{"/p/again.hcl": out.String()}))
		if diags.HasErrors() {
			var msg strings.Builder
			if err := Render(&msg, diags, files, 0, false); err != nil {
				t.Fatal(err)
			}
			t.Fatalf("%s\n%s", msg.String(), out.String())
		}
		ignore := cmp.Options{specsEqual, cmpopts.IgnoreFields(Spec{}, "Sources", "Name"), cmpopts.IgnoreTypes(Origin{})}
		if diff := cmp.Diff(s, again, ignore); diff != "" {
			t.Errorf("%s: -before +after:\n%s", s.Name, diff)
		}
	}
}

func TestJSONSyntax(t *testing.T) {
	s := mustLoad(t, "/p/x.json", mapOptions(map[string]string{"/p/x.json": `{
  "//": "a comment",
  "extends": [],
  "variable": {"host": {"default": "a.example"}},
  "workspace": {"mode": "empty", "hide": [".env"]},
  "network": {
    "allow": {"${not a template}": {"hosts": ["${var.host}",
      "b.example:22"]}},
    "deny": {"c.example": {}}
  },
  "process": {"env": {"CI": "1"}},
  "limits": [{"time": "1h"}, {"cpus": 2, "enforce": "best-effort"}]
}`}))
	want := []NetRule{
		{Label: "${not a template}", Hosts: exact("a.example"), Ports: []uint16{443}, Protocol: ProtocolTLS, AnyRequest: true, Origin: at("x.json", 7)},
		{Label: "${not a template}", Hosts: exact("b.example"), Ports: []uint16{22}, Protocol: ProtocolSSH, Origin: at("x.json", 8)},
	}
	if diff := cmp.Diff(want, s.Network.Allow, specsEqual); diff != "" {
		t.Error(diff)
	}
	if s.Name != "x" || s.Workspace.Mode != ModeEmpty || len(s.Network.Deny) != 1 || s.Limits.CPUs.Enforce != EnforceBestEffort || s.Limits.Time.Enforce != EnforceStrict {
		t.Errorf("%+v", s)
	}
	if diff := cmp.Diff([]EnvVar{{"CI", "1", at("x.json", 11)}}, s.Process.Env); diff != "" {
		t.Error(diff)
	}
}

func TestFind(t *testing.T) {
	files := map[string]string{
		"/u/web.hcl":     `description = "user's web"`,
		"/m/web.hcl":     `description = "machine's web"`,
		"/m/only.hcl":    `description = "machine's only"`,
		"/u/default.hcl": "extends = [\"default\"]\ndescription = \"user's default\"\nsyscalls { allow = [\"u\"] }",
		"/m/default.hcl": "extends = [\"default\"]\nsyscalls { allow = [\"m\"] }",
		"/u/base.hcl":    `syscalls { allow = ["shadow"] }`,
		"/ws/web.hcl":    `description = "here"`,
		"/ws/web":        `description = "not this"`,
		"/home/u/h.hcl":  `description = "home"`,
	}
	o := mapOptions(files)
	o.Dirs = []string{"/u", "/m"}
	for name, want := range map[string]string{
		"web":          "user's web",
		"only":         "machine's only",
		"web.hcl":      "here",
		"./web.hcl":    "here",
		"/m/web.hcl":   "machine's web",
		"~/h.hcl":      "home",
		"../m/web.hcl": "machine's web",
		"default":      "user's default",
	} {
		s, diags, _ := Load(name, o)
		if diags.HasErrors() {
			t.Errorf("%s: %v", name, diags)
			continue
		}
		if s.Description != want {
			t.Errorf("%s is %q, want %q", name, s.Description, want)
		}
	}

	// A profile that shadows another one extends the one behind it, each once, down to
	// the built-in one; and a base of the user's own is under nothing that does not ask
	// for it.
	s := mustLoad(t, "default", o)
	var paths, calls []string
	for _, src := range s.Sources {
		paths = append(paths, src.File+" "+src.Path)
	}
	for _, c := range s.Syscalls {
		calls = append(calls, c.Name+" "+c.Origin.String())
	}
	if want := []string{"default.hcl /u/default.hcl", "m/default.hcl /m/default.hcl", "builtin/default.hcl built-in", "base.hcl built-in"}; !slices.Equal(paths, want) {
		t.Errorf("sources %q, want %q", paths, want)
	}
	if want := []string{"u default.hcl:3", "m m/default.hcl:2"}; !slices.Equal(calls, want) {
		t.Errorf("system calls %q, want %q", calls, want)
	}

	var listed []string
	o.ListDir = func(dir string) (names []string) {
		for p := range files {
			if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
				names = append(names, rest)
			}
		}
		slices.Sort(names)
		return names
	}
	for _, l := range List(o) {
		if l.Builtin && !slices.Contains([]string{"base", "default", "offline"}, l.Name) {
			continue // the others are all alike
		}
		listed = append(listed, fmt.Sprintf("%s %s %v", l.Name, l.Path, l.Hidden))
	}
	if want := []string{
		"base /u/base.hcl false", "base built-in true",
		"default /u/default.hcl false", "default /m/default.hcl true", "default built-in true",
		"offline built-in false", "only /m/only.hcl false", "web /u/web.hcl false", "web /m/web.hcl true",
	}; !slices.Equal(listed, want) {
		t.Errorf("listed %q, want %q", listed, want)
	}
}

// TestUnreadable: a profile that is there and can't be read is an error, never a
// reason to take another one of that name.
func TestUnreadable(t *testing.T) {
	o := mapOptions(map[string]string{"/m/default.hcl": ""})
	o.Dirs = []string{"/u", "/m"}
	read := o.ReadFile
	o.ReadFile = func(p string) ([]byte, error) {
		if p == "/u/default.hcl" {
			return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrPermission}
		}
		return read(p)
	}
	if _, diags, _ := Load("default", o); !diags.HasErrors() || diags[0].Summary != "Unreadable profile" {
		t.Errorf("the diagnostics are %v", diags)
	}
	o.ReadFile = func(string) ([]byte, error) { return make([]byte, maxSource+1), nil }
	if _, diags, _ := Load("default", o); !diags.HasErrors() || diags[0].Summary != "Unreadable profile" {
		t.Errorf("a profile that is too large gives %v", diags)
	}
	if _, diags, _ := Load("./x.hcl", Options{Cwd: "/ws"}); !diags.HasErrors() {
		t.Error("a file is read without a way to read files")
	}
	if _, diags, _ := Load("x\n", mapOptions(nil)); !diags.HasErrors() {
		t.Error("a name with a line break is a profile")
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		mustLoad(b, "default", mapOptions(nil))
	}
}
