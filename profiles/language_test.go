package profiles

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// wholeLanguage has every block and every attribute that a profile can have; so has
// wholeJSON, in HCL's JSON syntax. TestWholeLanguage holds them to the schema.
const wholeLanguage = `
description = "everything"
extends     = []

variable "tracker" { default = "issues.example.com" }

workspace {
  path  = "/ws"
  mode  = "overlay"
  hide  = [".env"]
  size  = "1GiB"
  upper = "disk"
}

files {
  read  = ["/opt/a"]
  write = ["/var/tmp/b"]
  exec  = ["/opt/a/bin"]
  deny  = ["~/.ssh"]
  home ".npm" {
    from = "~/.npm"
    mode = "overlay"
  }
  home ".config/git" {}
  home ".app" { redact = true }
  limit "delete" { rate = "100/m" }
}

network {
  allow "api" {
    hosts       = ["api.example.com", var.tracker]
    ports       = [443]
    protocol    = "tls"
    upstream    = "127.0.0.1:8443"
    upstream_ca = "ca.pem"
    reason      = "the interface"
    secret      = [secret.a, secret.b]
    limit       = "300/m"
    upload      = "50MiB"
    download    = "2GiB"
    connections = 8
    request "GET|HEAD" "/**" {}
    request "POST" "/v1/messages" {
      when   = request.body.project == "web"
      limit  = "10/h"
      reason = "messages"
    }
  }
  ask "elsewhere" {
    hosts    = ["*.example.net"]
    ports    = [443]
    protocol = "tls"
    reason   = "a person decides"
  }
  ask "git.example.com:22" {}
  deny "gist" {
    hosts  = ["gist.github.com"]
    ports  = [443]
    reason = "exfiltration"
  }
}

secret "a" {
  env      = "A_KEY"
  variable = "KEY"
  header   = "authorization"
  format   = "Bearer %s"
  inject   = true
  optional = true
}
secret "b" {
  file  = "/run/keys/b"
  query = "key"
}
secret "c" {
  command = ["pass", "c"]
  basic   = "x-access-token"
}

process {
  pass_env = ["LANG"]
  env      = { CI = "1" }
  exec_new = "deny"
  terminal = "pass"
  deny "sudo" { reason = "no escalation" }
  ask "git" "push" {}
  ask "/usr/bin/npm" { args = ["publish"] }
  limit "curl" {
    args   = ["-s"]
    rate   = "2/m"
    reason = "no polling"
  }
}

syscalls { allow = ["@ptrace"] }

limits {
  memory     = "4GiB"
  cpus       = 2
  processes  = 512
  open_files = 4096
  time       = "1h"
  idle       = "10m"
  io_weight  = 50
  output     = "100MiB"
  enforce    = "best-effort"
}

artifacts {
  collect = ["dist/**"]
  size    = "500MiB"
}

apply {
  hold  "deploy/**" { reason = "production" }
  allow "Makefile"  { reason = "the agent keeps it" }
}

audit {
  size = "200MiB"
  otlp = "http://127.0.0.1:4318"
}

approval {
  timeout = "5m"
  notify  = ["desktop"]
  quorum  = 2
}

on "escape" { action = "freeze" }
on "anomaly" {
  command = ["logger", "anomaly"]
  webhook = "https://hooks.example.com/x"
}

test "no gists" {
  connect = "gist.github.com:443"
  expect  = "deny"
}
test "posting" {
  request = ["POST", "https://api.example.com/v1/messages"]
  headers = { Accept = "application/json" }
  body    = { project = "web" }
  expect  = "allow"
}
test "names" {
  resolve = "x.example.net"
  expect  = "ask"
}
test "files" {
  read   = "/opt/a/x"
  expect = "allow"
}
test "more files" {
  write  = "/opt/a/x"
  expect = "deny"
}
test "programs" {
  exec   = "/opt/a/bin/x"
  expect = "allow"
}
test "starts" {
  start  = ["/usr/bin/git", "push", "-f"]
  expect = "ask"
}
`

const wholeJSON = `{
  "description": "everything",
  "extends": [],
  "variable": {"tracker": {"default": "issues.example.com"}},
  "workspace": {"path": "/ws", "mode": "overlay", "hide": [".env"], "size": "1GiB", "upper": "disk"},
  "files": {
    "read": ["/opt/a"], "write": ["/var/tmp/b"], "exec": ["/opt/a/bin"], "deny": ["~/.ssh"],
    "home": {".npm": {"from": "~/.npm", "mode": "overlay"}, ".config/git": {}, ".app": {"redact": true}},
    "limit": {"delete": {"rate": "100/m"}}
  },
  "network": {
    "allow": {"api": {
      "hosts": ["api.example.com", "${var.tracker}"], "ports": [443], "protocol": "tls",
      "upstream": "127.0.0.1:8443", "upstream_ca": "ca.pem", "reason": "the interface",
      "secret": ["secret.a", "secret.b"], "limit": "300/m", "upload": "50MiB", "download": "2GiB", "connections": 8,
      "request": [
        {"GET|HEAD": {"/**": {}}},
        {"POST": {"/v1/messages": {"when": "${request.body.project == \"web\"}", "limit": "10/h", "reason": "messages"}}}
      ]
    }},
    "ask": [
      {"elsewhere": {"hosts": ["*.example.net"], "ports": [443], "protocol": "tls", "reason": "a person decides"}},
      {"git.example.com:22": {}}
    ],
    "deny": {"gist": {"hosts": ["gist.github.com"], "ports": [443], "reason": "exfiltration"}}
  },
  "secret": {
    "a": {"env": "A_KEY", "variable": "KEY", "header": "authorization", "format": "Bearer %s", "inject": true, "optional": true},
    "b": {"file": "/run/keys/b", "query": "key"},
    "c": {"command": ["pass", "c"], "basic": "x-access-token"}
  },
  "process": {
    "pass_env": ["LANG"], "env": {"CI": "1"}, "exec_new": "deny", "terminal": "pass",
    "deny": {"sudo": {"reason": "no escalation"}},
    "ask": {"git": {"args": ["push"]}, "/usr/bin/npm": {"args": ["publish"]}},
    "limit": {"curl": {"args": ["-s"], "rate": "2/m", "reason": "no polling"}}
  },
  "syscalls": {"allow": ["@ptrace"]},
  "limits": {"memory": "4GiB", "cpus": 2, "processes": 512, "open_files": 4096, "time": "1h", "idle": "10m", "output": "100MiB", "io_weight": 50, "enforce": "best-effort"},
  "artifacts": {"collect": ["dist/**"], "size": "500MiB"},
  "apply": {"hold": {"deploy/**": {"reason": "production"}}, "allow": {"Makefile": {"reason": "the agent keeps it"}}},
  "audit": {"size": "200MiB", "otlp": "http://127.0.0.1:4318"},
  "approval": {"timeout": "5m", "notify": ["desktop"], "quorum": 2},
  "on": {
    "escape": {"action": "freeze"},
    "anomaly": {"command": ["logger", "anomaly"], "webhook": "https://hooks.example.com/x"}
  },
  "test": {
    "no gists": {"connect": "gist.github.com:443", "expect": "deny"},
    "posting": {"request": ["POST", "https://api.example.com/v1/messages"], "headers": {"Accept": "application/json"}, "body": {"project": "web"}, "expect": "allow"},
    "names": {"resolve": "x.example.net", "expect": "ask"},
    "files": {"read": "/opt/a/x", "expect": "allow"},
    "more files": {"write": "/opt/a/x", "expect": "deny"},
    "programs": {"exec": "/opt/a/bin/x", "expect": "allow"},
    "starts": {"start": ["/usr/bin/git", "push", "-f"], "expect": "ask"}
  }
}`

// TestWholeLanguage: the native and the JSON form of a profile that says everything
// give the same Spec, its tests get the answers that they expect, and it survives
// being written and read again.
func TestWholeLanguage(t *testing.T) {
	native := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": wholeLanguage}))
	inJSON := mustLoad(t, "/p/x.json", mapOptions(map[string]string{"/p/x.json": wholeJSON}))
	same := cmp.Options{specsEqual, cmpopts.IgnoreFields(Spec{}, "Sources"), cmpopts.IgnoreTypes(Origin{})}
	if diff := cmp.Diff(native, inJSON, same); diff != "" {
		t.Errorf("-native +json:\n%s", diff)
	}
	if len(native.Tests) != 7 {
		t.Fatalf("there are %d tests", len(native.Tests))
	}
	for _, x := range native.Tests {
		if a := native.Try(x); !a.OK() {
			t.Errorf("%s is %s: %s", x.Name, a.Action, a.Reason)
		}
	}
	var out strings.Builder
	if err := WriteText(&out, native); err != nil {
		t.Fatal(err)
	}
	again := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": out.String()}))
	if diff := cmp.Diff(native, again, same); diff != "" {
		t.Errorf("-as loaded +as written:\n%s", diff)
	}
}

func TestAsk(t *testing.T) {
	n := spec(t, `network {
  allow "api.example" {}
  allow "*.allowed.example" {}
  ask "*.allowed.example" { reason = "a person decides" }
  ask "10.0.0.0/8" { ports = [5432] }
  ask "asked.example:22" {}
  deny "bad.allowed.example" {}
}`).Network
	for _, tt := range []struct {
		name string
		addr string
		port uint16
		want Action
	}{
		{"api.example", "", 443, Allow},
		{"API.EXAMPLE.", "", 443, Allow},
		{"x.allowed.example", "", 443, Ask},
		{"X.Allowed.Example.", "", 443, Ask},
		{"x.allowed.example", "", 80, Deny},
		{"bad.allowed.example", "", 443, Deny},
		{"asked.example", "", 22, Ask},
		{"asked.example", "", 443, Deny},
		{"", "10.1.1.1", 5432, Ask},
		{"", "::ffff:10.1.1.1", 5432, Ask},
		{"", "11.1.1.1", 5432, Deny},
		{"api.example", "10.1.1.1", 443, Allow},
	} {
		var addr netip.Addr
		if tt.addr != "" {
			addr = netip.MustParseAddr(tt.addr)
		}
		if v := n.Connect(tt.name, addr, tt.port); v.Action != tt.want {
			t.Errorf("%s %s port %d is %s (%s), want %s", tt.name, tt.addr, tt.port, v.Action, v.Reason, tt.want)
		}
	}
	if v := n.Resolve("x.allowed.example"); v.Action != Ask || v.Reason != "a person decides" {
		t.Errorf("resolving is %+v", v)
	}
	// Whoever does not know of ask finds no rule to go by.
	if a := n.Access("x.allowed.example", netip.Addr{}, 443); len(a.Rules) != 0 {
		t.Errorf("what must be asked is allowed by %v", a.Rules)
	}
	if !slices.ContainsFunc(n.Ports(), func(u PortUse) bool { return u.Port == 5432 && u.Addresses }) {
		t.Error("nobody listens where a person is asked")
	}
}

func TestStart(t *testing.T) {
	p := spec(t, `process {
  deny "sudo" { reason = "no escalation" }
  deny "/usr/bin/su" {}
  ask "git" "push" {}
  deny "git" "push" "--force" {}
  limit "curl" { rate = "2/m" }
  limit "curl" "-s" { rate = "1/m" }
}`).Process
	for _, tt := range []struct {
		e      Exec
		want   Action
		limits int
	}{
		{Exec{"/usr/bin/env", "/usr/bin/env", []string{"env"}, nil, false}, Allow, 0},
		{Exec{"/usr/bin/sudo", "/usr/bin/sudo", []string{"sudo"}, nil, false}, Deny, 0},
		// By the file behind a link, by the link's name, by the name that it goes by.
		{Exec{"/tmp/x", "/usr/bin/sudo", []string{"x"}, nil, false}, Deny, 0},
		{Exec{"/tmp/sudo", "/usr/bin/doas", []string{"x"}, nil, false}, Deny, 0},
		{Exec{"/bin/busybox", "/bin/busybox", []string{"sudo"}, nil, false}, Deny, 0},
		// Other spellings of one path.
		{Exec{"/usr/bin/../bin/su", "/usr/bin/su", []string{"su"}, nil, false}, Deny, 0},
		{Exec{"/usr//bin/su", "/x", nil, nil, false}, Deny, 0},
		{Exec{"/opt/su", "/opt/su", []string{"su"}, nil, false}, Allow, 0},
		{Exec{"/usr/bin/git", "/usr/bin/git", []string{"git", "push"}, nil, false}, Ask, 0},
		{Exec{"/usr/bin/git", "/usr/bin/git", []string{"git", "push", "origin"}, nil, false}, Ask, 0},
		{Exec{"/usr/bin/git", "/usr/bin/git", []string{"git", "push", "--force"}, nil, false}, Deny, 0},
		{Exec{"/usr/bin/git", "/usr/bin/git", []string{"git", "pull"}, nil, false}, Allow, 0},
		{Exec{"/usr/bin/git", "/usr/bin/git", []string{"git"}, nil, false}, Allow, 0},
		{Exec{"/usr/bin/curl", "/usr/bin/curl", []string{"curl", "-s", "x"}, nil, false}, Allow, 2},
		{Exec{"/usr/bin/curl", "/usr/bin/curl", []string{"curl", "x"}, nil, false}, Allow, 1},
		// A hard link or a copy, which the supervisor knows by its file.
		{Exec{"/w/x", "/w/x", []string{"x"}, []string{"/usr/bin/su"}, false}, Deny, 0},
		{Exec{"/w/x", "/w/x", []string{"x"}, []string{"curl", "git"}, false}, Allow, 1},
		{Exec{}, Allow, 0},
	} {
		v := p.Start(tt.e)
		if v.Action != tt.want || len(v.Limits) != tt.limits || (v.Action != Allow) != (v.Rule != nil && v.Reason != "") {
			t.Errorf("%+v is %+v", tt.e, v)
		}
	}
}

// FuzzStart: however a path is spelled, it gets one verdict; and a rule about fewer
// arguments holds for more of them.
func FuzzStart(f *testing.F) {
	f.Add("/usr/bin/sudo", "x", uint8(3))
	f.Add("/bin/git", "push", uint8(7))
	f.Add("relative", "", uint8(0))
	p := spec(f, `process {
  deny "sudo" {}
  deny "/usr/bin/su" {}
  ask "git" "push" {}
  limit "curl" { rate = "1/m" }
}`).Process
	f.Fuzz(func(t *testing.T, path, arg string, how uint8) {
		spelled := path
		for i, other := range []string{"//", "/./", "/x/../"} {
			if how>>i&1 == 1 {
				spelled = strings.ReplaceAll(spelled, "/", other)
			}
		}
		same := func(a, b Exec) {
			va, vb := p.Start(a), p.Start(b)
			if va.Action != vb.Action || len(va.Limits) != len(vb.Limits) {
				t.Fatalf("%+v is %+v, %+v is %+v", a, va, b, vb)
			}
		}
		argv := []string{"name", arg}
		same(Exec{Path: path, Argv: argv}, Exec{Path: spelled, Argv: argv})
		same(Exec{Resolved: path, Argv: argv}, Exec{Resolved: spelled, Argv: argv})
		same(Exec{Argv: []string{path, arg}}, Exec{Argv: []string{spelled, arg}})
		fewer, more := p.Start(Exec{Path: path, Argv: argv}), p.Start(Exec{Path: path, Argv: append(argv, "more")})
		if fewer.Action != more.Action {
			t.Fatalf("%s %s is %s, and with one argument more %s", path, arg, fewer.Action, more.Action)
		}
	})
}

func TestTry(t *testing.T) {
	s := mustLoad(t, "/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": wholeLanguage}))
	s.Network.Allow = append(s.Network.Allow, spec(t, "network {\n  allow \"opaque.example\" { protocol = \"tcp\" }\n}").Network.Allow...)
	for _, tt := range []struct {
		x    Case
		want Action
	}{
		{Case{Request: []string{"GET", "https://api.example.com/a/b?x=1"}}, Allow},
		{Case{Request: []string{"GET", "https://API.example.com"}}, Allow},
		{Case{Request: []string{"GET", "http://api.example.com/"}}, Deny},
		{Case{Request: []string{"GET", "https://api.example.com:8443/"}}, Deny},
		{Case{Request: []string{"GET", "https://api.example.com/a/%2e%2e/b"}}, Deny},
		{Case{Request: []string{"DELETE", "https://api.example.com/a"}}, Deny},
		{Case{Request: []string{"POST", "https://api.example.com/v1/messages"}, Body: []byte(`{"project":"other"}`)}, Deny},
		{Case{Request: []string{"POST", "https://api.example.com/v1/messages"}}, Deny},
		{Case{Request: []string{"GET", "https://x.example.net/"}}, Ask},
		{Case{Request: []string{"GET", "https://opaque.example/"}}, Allow},
		{Case{Connect: "api.example.com:443"}, Allow},
		{Case{Connect: "0x7f.1:443"}, Deny},
		{Case{Connect: "gist.github.com.:443"}, Deny},
		{Case{Read: "/home/u/.ssh/id"}, Deny},
		{Case{}, Deny},
	} {
		if a := s.Try(tt.x); a.Action != tt.want || a.Action == Deny && a.Reason == "" && tt.x.Connect+tt.x.Read != "" {
			t.Errorf("%+v is %+v", tt.x, a)
		}
	}
}

func TestGivenVariables(t *testing.T) {
	o := mapOptions(map[string]string{"/p/x.hcl": "variable \"host-name\" {}\nnetwork {\n  allow \"h\" { hosts = [var.host-name] }\n}"})
	env := map[string]string{"AGENTJAIL_VAR_host_name": "env.example", "AGENTJAIL_VAR_other": "for another profile"}
	o.Env = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	if s := mustLoad(t, "/p/x.hcl", o); s.Network.Allow[0].Hosts[0].Name != "env.example" {
		t.Errorf("the environment gives %v", s.Network.Allow[0].Hosts)
	}
	o.Vars = map[string]string{"host-name": "flag.example"}
	if s := mustLoad(t, "/p/x.hcl", o); s.Network.Allow[0].Hosts[0].Name != "flag.example" {
		t.Errorf("the command line gives %v", s.Network.Allow[0].Hosts)
	}
}
