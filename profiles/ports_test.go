package profiles

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func portsSpec(t *testing.T) *Spec {
	t.Helper()
	return mustLoad(t, "/p/child.hcl", mapOptions(map[string]string{
		"/p/child.hcl": `extends = ["./parent.hcl"]
network {
  host_port "5432" {
    reason      = "the database"
    limit       = "10/h"
    upload      = "1MiB"
    download    = "2MiB"
    connections = 3
  }
  publish "8080:3000" {}
  allow "ntp.example.com:123" { protocol = "udp" }
}
ssh_agent {
  keys   = ["me@laptop"]
  socket = "~/agent.sock"
  limit  = "20/h"
  reason = "push"
}
`,
		"/p/parent.hcl": `extends = []
network {
  host_port "5432" {}
  host_port "6379" {}
  publish "8080" {}
  publish "3000" {}
  publish "9000" {}
  deny "127.0.0.1:6379" { reason = "not the cache" }
  deny "127.0.0.1:9000" {}
}
ssh_agent {
  keys   = ["SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", "me@laptop"]
  socket = "/other"
}
`}))
}

func TestPortRules(t *testing.T) {
	s := portsSpec(t)
	child := func(line int) Origin { return Origin{"child.hcl", line} }
	parent := func(line int) Origin { return Origin{"parent.hcl", line} }
	want := Network{
		HostPorts: []PortRule{
			{Label: "5432", Host: 5432, Jail: 5432, Reason: "the database", Origin: child(3), Limit: &Quota{Rate{Count: 10, Per: 3600e9}, child(5)}, Upload: 1 << 20, Download: 2 << 20, Connections: 3},
			{Label: "6379", Host: 6379, Jail: 6379, Origin: parent(4)},
		},
		Publish: []PortRule{
			{Label: "8080:3000", Host: 8080, Jail: 3000, Origin: child(10)}, // the nearest file's, of one port
			{Label: "3000", Host: 3000, Jail: 3000, Origin: parent(6)},
			{Label: "9000", Host: 9000, Jail: 9000, Origin: parent(7)},
		},
	}
	if diff := cmp.Diff(want, Network{HostPorts: s.Network.HostPorts, Publish: s.Network.Publish}); diff != "" {
		t.Error(diff)
	}
	for port, want := range map[uint16]Action{5432: Allow, 6379: Deny, 80: Deny, 0: Deny} {
		if v := s.Network.HostPort(port); v.Action != want || want == Allow && v.Rule.Upstream != fmt.Sprintf("127.0.0.1:%d", port) {
			t.Errorf("host port %d is %+v", port, v)
		}
	}
	for port, want := range map[uint32]uint16{8080: 3000, 3000: 3000, 9000: 0, 5432: 0, 8080 + 1<<16: 0} {
		if r, ok := s.Network.Publication(port); ok != (want != 0) || r.Jail != want {
			t.Errorf("the host's port %d is %+v", port, r)
		}
	}
}

func TestTooManyPortRules(t *testing.T) {
	for _, kind := range []string{"host_port", "publish"} {
		for n, fine := range map[int]bool{maxPortRules: true, maxPortRules + 1: false} {
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, "%s \"%d\" {}\n", kind, 3000+i)
			}
			_, diags, _ := Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": "network {\n" + b.String() + "}\n"}))
			if diags.HasErrors() == fine {
				t.Errorf("%d %s: %v", n, kind, diags)
			}
		}
	}
}

// TestPortRulesUnderCeiling: the machine's owner has to allow the host's loopback.
func TestPortRulesUnderCeiling(t *testing.T) {
	n := Network{HostPorts: []PortRule{{Host: 5432, Jail: 5432}}, Publish: []PortRule{{Host: 8080, Jail: 3000}}}
	for rules, want := range map[string]Action{
		`allow "example.com" {}`: Deny,
		`deny "example.com" {}`:  Allow,
		`deny "127.0.0.0/8" {}`:  Deny,
		"allow \"127.0.0.1\" {\n protocol = \"tcp\"\n ports = [5432, 8080]\n}": Allow,
		"allow \"127.0.0.1\" {\n protocol = \"udp\"\n ports = [5432, 8080]\n}": Deny,
		"ask \"127.0.0.1\" {\n protocol = \"tcp\"\n ports = [5432, 8080]\n}":   Ask,
	} {
		n.Ceiling = network(t, rules)
		n.Ceiling.Open = len(n.Ceiling.Allow)+len(n.Ceiling.Ask) == 0
		if v := n.HostPort(5432); v.Action != want {
			t.Errorf("%s: the host's port is %+v", rules, v)
		}
		if got := n.Publications(); (len(got) == 1) != (want == Allow) {
			t.Errorf("%s: %v is published", rules, got)
		}
	}
}

func TestSSHAgent(t *testing.T) {
	const empty = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
	a := portsSpec(t).SSHAgent
	want := &SSHAgent{Keys: []Pattern{{"me@laptop", Origin{"child.hcl", 14}}, {empty, Origin{"parent.hcl", 12}}}, Socket: "/home/u/agent.sock",
		Limit: &Quota{Rate{Count: 20, Per: 3600e9}, Origin{"child.hcl", 16}}, Reason: "push", Origin: Origin{"child.hcl", 13}}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		fingerprint, comment string
		want                 bool
	}{
		{empty, "", true}, {"SHA256:x", "me@laptop", true}, {"SHA256:x", "", false}, {"SHA256:x", "me@laptop2", false},
		{"SHA256:x", empty, false}, // a comment that looks like another key's fingerprint
	} {
		if _, ok := a.Allows(tt.fingerprint, tt.comment); ok != tt.want {
			t.Errorf("%q %q: %v", tt.fingerprint, tt.comment, ok)
		}
	}
}

func TestSSHAgentUnderCeiling(t *testing.T) {
	const profile = "ssh_agent { keys = [\"one\", \"two\"] }"
	for ceiling, want := range map[string]int{
		"limits { processes = 5 }":                  2,
		"ssh_agent { keys = [\"two\", \"three\"] }": 1,
		"ssh_agent { keys = [\"three\"] }":          0,
	} {
		got := 0
		if a := capped(t, profile, ceiling).SSHAgent; a != nil {
			got = len(a.Keys)
		}
		if got != want {
			t.Errorf("%s leaves %d keys, want %d", ceiling, got, want)
		}
	}
}
