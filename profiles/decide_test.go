package profiles

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// network loads the rules of one network block, on no other profile.
func network(t testing.TB, rules string) *Network {
	t.Helper()
	spec, diags, _ := Load("/p/test.hcl", mapOptions(map[string]string{"/p/test.hcl": "extends = []\nnetwork {\n" + rules + "\n}\n"}))
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return &spec.Network
}

const decideRules = `
allow "api.example.com" {}
allow "*.example.com" { ports = [443, 8443] }
allow "*.deep.example.com" { protocol = "tcp" }
allow "git.example.org:22" {}
allow "www.example.org:80" {}
allow "10.20.0.0/16" {
  ports    = [5432]
  protocol = "tcp"
}
allow "10.20.30.0/24" {
  ports    = [5432]
  protocol = "tls"
}
allow "2001:db8::/32" { reason = "documentation." }
allow "192.0.2.7:8080" { protocol = "http" }
deny "gist.example.com" { reason = "exfiltration." }
deny "*.secret.example.com" {}
deny "old.example.com:8443" {}
deny "10.20.99.0/24" {}
`

func TestConnect(t *testing.T) {
	n := network(t, decideRules)
	for _, c := range []struct {
		name, addr string
		port       uint16
		want       Action
		rule       string // label
		protocol   Protocol
		reason     string
	}{
		{"api.example.com", "", 443, Allow, "api.example.com", ProtocolTLS, ""},
		{"API.example.com.", "", 443, Allow, "api.example.com", ProtocolTLS, ""},
		{"api.example.com", "", 8443, Allow, "*.example.com", ProtocolTLS, ""},
		{"api.example.com", "", 80, Deny, "", "", "the profile allows api.example.com on port 443, 8443, not on 80"},
		{"a.b.example.com", "", 443, Allow, "*.example.com", ProtocolTLS, ""},
		{"a.deep.example.com", "", 443, Allow, "*.deep.example.com", ProtocolTCP, ""},
		{"a.deep.example.com", "", 8443, Allow, "*.example.com", ProtocolTLS, ""},
		{"deep.example.com", "", 443, Allow, "*.example.com", ProtocolTLS, ""},
		{"example.com", "", 443, Deny, "", "", "no rule of the profile allows example.com"},
		{"notexample.com", "", 443, Deny, "", "", "no rule of the profile allows notexample.com"},
		{"api.example.com.evil.example", "", 443, Deny, "", "", "no rule of the profile allows api.example.com.evil.example"},
		{"git.example.org", "", 22, Allow, "git.example.org:22", ProtocolSSH, ""},
		{"www.example.org", "", 80, Allow, "www.example.org:80", ProtocolHTTP, ""},
		{"gist.example.com", "", 443, Deny, "gist.example.com", "", "exfiltration"},
		{"gist.example.com", "", 1, Deny, "gist.example.com", "", "exfiltration"},
		{"x.secret.example.com", "", 443, Deny, "*.secret.example.com", "", "the profile denies x.secret.example.com"},
		{"secret.example.com", "", 443, Allow, "*.example.com", ProtocolTLS, ""},
		{"old.example.com", "", 443, Allow, "*.example.com", ProtocolTLS, ""},
		{"old.example.com", "", 8443, Deny, "old.example.com:8443", "", "the profile denies old.example.com"},
		{"", "10.20.1.1", 5432, Allow, "10.20.0.0/16", ProtocolTCP, ""},
		{"", "::ffff:10.20.1.1", 5432, Allow, "10.20.0.0/16", ProtocolTCP, ""},
		{"10.20.1.1", "", 5432, Allow, "10.20.0.0/16", ProtocolTCP, ""},
		{"", "10.20.30.1", 5432, Allow, "10.20.30.0/24", ProtocolTLS, ""},
		{"", "10.20.99.1", 5432, Deny, "10.20.99.0/24", "", "the profile denies 10.20.99.1"},
		{"", "10.21.1.1", 5432, Deny, "", "", "no rule of the profile allows 10.21.1.1"},
		{"", "2001:db8::1", 443, Allow, "2001:db8::/32", ProtocolTLS, "documentation"},
		{"", "192.0.2.7", 8080, Allow, "192.0.2.7:8080", ProtocolHTTP, ""},
		{"", "192.0.2.8", 8080, Deny, "", "", "no rule of the profile allows 192.0.2.8"},

		// Both: the name decides, the address can only make it worse.
		{"api.example.com", "203.0.113.1", 443, Allow, "api.example.com", ProtocolTLS, ""},
		{"api.example.com", "10.20.99.1", 443, Deny, "10.20.99.0/24", "", "the profile denies api.example.com"},
		{"other.example", "10.20.1.1", 5432, Deny, "", "", "no rule of the profile allows other.example"},

		// What is no host, no port, or two hosts at once.
		{"", "", 443, Deny, "", "", "neither a name nor an address was asked for"},
		{"api.example.com", "", 0, Deny, "", "", "port 0 is no port"},
		{"", "fe80::1%eth0", 443, Deny, "", "", "address fe80::1%eth0 has a zone identifier"},
		{"10.20.1.1", "10.20.1.2", 5432, Deny, "", "", "address 10.20.1.2 was asked for under the name 10.20.1.1"},
		{"api.example.com\x00", "", 443, Deny, "", "", `host "api.example.com\x00" has a space or control character in it`},
	} {
		var addr netip.Addr
		if c.addr != "" {
			addr = netip.MustParseAddr(c.addr)
		}
		v := n.Connect(c.name, addr, c.port)
		rule, protocol := "", Protocol("")
		if v.Rule != nil {
			rule, protocol = v.Rule.Label, v.Rule.Protocol
		}
		if v.Action != c.want || rule != c.rule || protocol != c.protocol || v.Reason != c.reason {
			t.Errorf("Connect(%q, %s, %d) = %s by %q (%s): %q", c.name, c.addr, c.port, v.Action, rule, protocol, v.Reason)
		}
	}
}

func TestResolve(t *testing.T) {
	n := network(t, decideRules+`
allow "ports.example.net" { ports = [1, 2] }
deny  "ports.example.net:1" {}
allow "closed.example.net" { ports = [1, 2] }
deny  "closed.example.net:1" { reason = "one" }
deny  "closed.example.net:2" { reason = "two" }
deny  "refused.example.net" { reason = "named" }
`)
	for _, c := range []struct {
		name   string
		want   Action
		reason string
	}{
		{"api.example.com", Allow, ""},
		{"git.example.org", Allow, ""},
		{"old.example.com", Allow, ""},
		{"gist.example.com", Deny, "exfiltration"},
		{"example.com", Deny, "no rule of the profile allows example.com"},
		{"ports.example.net", Allow, ""},
		{"closed.example.net", Deny, "one"},
		{"refused.example.net", Deny, "named"},
		{"10.20.1.1", Deny, "10.20.1.1 is an address, not a name"},
		{"a b", Deny, `host "a b" has a space or control character in it`},
	} {
		if v := n.Resolve(c.name); v.Action != c.want || v.Reason != c.reason {
			t.Errorf("Resolve(%q) = %s, %q; want %s, %q", c.name, v.Action, v.Reason, c.want, c.reason)
		}
	}
}

func TestEmptyNetwork(t *testing.T) {
	for what, n := range map[string]*Network{
		"nothing":       {},
		"no ports":      {Allow: []NetRule{{Hosts: []HostPattern{{Kind: HostWildcard}}, Protocol: ProtocolTCP}}},
		"no hosts":      {Allow: []NetRule{{Ports: []uint16{443}, Protocol: ProtocolTCP}}},
		"no kind":       {Allow: []NetRule{{Hosts: []HostPattern{{Name: "example.com"}}, Ports: []uint16{443}}}},
		"no name":       {Allow: []NetRule{{Hosts: []HostPattern{{Kind: HostExact}}, Ports: []uint16{443}}}},
		"no prefix":     {Allow: []NetRule{{Hosts: []HostPattern{{Kind: HostPrefix}}, Ports: []uint16{443}}}},
		"all is denied": {Allow: network(t, `allow "*" {}`).Allow, Deny: network(t, `deny "*" {}`).Deny},
	} {
		if v := n.Connect("example.com", netip.Addr{}, 443); v.Action != Deny || v.Reason == "" {
			t.Errorf("%s: example.com is %s: %q", what, v.Action, v.Reason)
		}
		if v := n.Connect("", netip.MustParseAddr("192.0.2.1"), 443); v.Action != Deny || v.Reason == "" {
			t.Errorf("%s: 192.0.2.1 is %s: %q", what, v.Action, v.Reason)
		}
		if v := n.Resolve("example.com"); v.Action != Deny || v.Reason == "" {
			t.Errorf("%s: the name example.com is %s: %q", what, v.Action, v.Reason)
		}
	}
}

// TestWildcardIsNames: "*" is every name and no address.
func TestWildcardIsNames(t *testing.T) {
	n := network(t, `allow "*" {}`)
	if v := n.Connect("anything.example", netip.Addr{}, 443); v.Action != Allow {
		t.Errorf("a name is %s", v.Action)
	}
	for _, a := range []string{"192.0.2.1", "127.0.0.1", "::1"} {
		if v := n.Connect("", netip.MustParseAddr(a), 443); v.Action != Deny {
			t.Errorf("%s is %s", a, v.Action)
		}
	}
}

func TestPorts(t *testing.T) {
	got := network(t, decideRules).Ports()
	want := []PortUse{
		{22, []Protocol{ProtocolSSH}, true, false},
		{80, []Protocol{ProtocolHTTP}, true, false},
		{443, []Protocol{ProtocolTCP, ProtocolTLS}, true, true},
		{5432, []Protocol{ProtocolTCP, ProtocolTLS}, false, true},
		{8080, []Protocol{ProtocolHTTP}, false, true},
		{8443, []Protocol{ProtocolTLS}, true, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := new(Network).Ports(); len(got) != 0 {
		t.Errorf("no rule, and the ports %v", got)
	}
}

// FuzzConnect: two spellings of one host get one verdict, and a deny that is added
// never turns a deny into an allow.
func FuzzConnect(f *testing.F) {
	for _, s := range []string{"api.example.com", "gist.example.com", "10.20.1.1", "x.secret.example.com", "a.deep.example.com", "BÜCHER.example"} {
		f.Add(s, uint16(443), "*.example.com")
		f.Add(s, uint16(5432), "10.0.0.0/8")
	}
	n := network(f, decideRules)
	f.Fuzz(func(t *testing.T, s string, port uint16, deny string) {
		v := n.Connect(s, netip.Addr{}, port)
		for _, other := range []string{strings.ToUpper(s), strings.ToLower(s), s + "."} {
			name, addr, err := CanonicalHost(s)
			name2, addr2, err2 := CanonicalHost(other)
			if err != nil || err2 != nil || name != name2 || addr != addr2 {
				continue
			}
			if v2 := n.Connect(other, netip.Addr{}, port); v2.Action != v.Action || v2.Rule != v.Rule {
				t.Fatalf("%q is %v and %q is %v", s, v, other, v2)
			}
		}
		if name, addr, err := CanonicalHost(s); err == nil {
			if v2 := n.Connect(name, addr, port); v2.Action != v.Action || v2.Rule != v.Rule {
				t.Fatalf("%q is %v and its canonical form %v", s, v, v2)
			}
			if name != "" && v.Action == Allow && n.Resolve(s).Action != Allow {
				t.Fatalf("%q may be connected to and not resolved", s)
			}
		} else if v.Action != Deny {
			t.Fatalf("%q is no host and is allowed", s)
		}
		p, denyPort, err := ParseHostPattern(deny)
		if err != nil {
			return
		}
		rule := NetRule{Label: deny, Hosts: []HostPattern{p}}
		if denyPort != 0 {
			rule.Ports = []uint16{denyPort}
		}
		more := &Network{Allow: n.Allow, Deny: append([]NetRule{rule}, n.Deny...)}
		if v.Action == Deny && more.Connect(s, netip.Addr{}, port).Action != Deny {
			t.Fatalf("denying %q allows %q", deny, s)
		}
	})
}

// TestDatagram: a rule is of one transport, and a deny of both.
func TestDatagram(t *testing.T) {
	n := network(t, `
allow "ntp.example.com:123" { protocol = "udp" }
allow "web.example.com" {}
allow "10.20.0.0/16" {
  ports    = [53]
  protocol = "udp"
}
allow "10.20.0.0/16" {
  ports    = [443]
  protocol = "tcp"
}
deny "10.20.99.0/24" {}
`)
	for _, tt := range []struct {
		over       string
		name, addr string
		port       uint16
		want       Action
		reason     string
	}{
		{"udp", "ntp.example.com", "", 123, Allow, ""},
		{"tcp", "ntp.example.com", "", 123, Deny, "no rule of the profile allows ntp.example.com"},
		{"udp", "ntp.example.com", "", 124, Deny, "the profile allows UDP to ntp.example.com on port 123, not on 124"},
		{"udp", "web.example.com", "", 443, Deny, "no rule of the profile allows UDP to web.example.com"}, // QUIC
		{"tcp", "web.example.com", "", 443, Allow, ""},
		{"udp", "", "10.20.1.1", 53, Allow, ""},
		{"tcp", "", "10.20.1.1", 53, Deny, "the profile allows 10.20.1.1 on port 443, not on 53"},
		{"udp", "", "10.20.1.1", 443, Deny, "the profile allows UDP to 10.20.1.1 on port 53, not on 443"},
		{"udp", "", "10.20.99.1", 53, Deny, "the profile denies 10.20.99.1"},
	} {
		decide := n.Connect
		if tt.over == "udp" {
			decide = n.Datagram
		}
		var addr netip.Addr
		if tt.addr != "" {
			addr = netip.MustParseAddr(tt.addr)
		}
		if v := decide(tt.name, addr, tt.port); v.Action != tt.want || v.Reason != tt.reason {
			t.Errorf("%s %s%s:%d is %s (%s), want %s (%s)", tt.over, tt.name, tt.addr, tt.port, v.Action, v.Reason, tt.want, tt.reason)
		}
	}
	if v := n.Resolve("ntp.example.com"); v.Action != Allow {
		t.Errorf("a name that is allowed for UDP alone does not resolve: %s", v.Reason)
	}
	for _, u := range n.Ports() {
		if u.Port == 123 || u.Port == 53 {
			t.Errorf("a UDP port is among the TCP ones: %v", u)
		}
	}
}

func TestTooManyUDPPorts(t *testing.T) {
	load := func(n int) error {
		var ports []string
		for i := range n {
			ports = append(ports, strconv.Itoa(5000+i))
		}
		_, diags, _ := Load("/p/test.hcl", mapOptions(map[string]string{"/p/test.hcl": "network {\n allow \"a.example\" {\n protocol = \"udp\"\n ports = [" + strings.Join(ports, ",") + "]\n }\n}\n"}))
		if diags.HasErrors() {
			return diags
		}
		return nil
	}
	if err := load(MaxUDPPorts); err != nil {
		t.Error(err)
	}
	if err := load(MaxUDPPorts + 1); err == nil || !strings.Contains(err.Error(), "more than 32 different UDP ports") {
		t.Errorf("one too many: %v", err)
	}
}
