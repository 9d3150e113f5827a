package profiles

import (
	"net/netip"
	"testing"
)

func TestGranted(t *testing.T) {
	n := &spec(t, `network {
  allow "api.example.com" {
    request "GET" "/public/**" {}
  }
  allow "other.example.com" {}
  ask "*.example.com" {}
  ask "git.example.com:22" {}
  ask "10.0.0.0/8" { protocol = "tcp" }
  deny "bad.example.com" {}
}`).Network
	for _, c := range []struct {
		name, addr string
		port       uint16
		action     Action
		protocol   Protocol
		any        bool
	}{
		{"new.example.com", "", 443, Allow, ProtocolTLS, true},
		{"api.example.com", "", 443, Allow, ProtocolTLS, false}, // what its allow says
		{"git.example.com", "", 22, Allow, ProtocolSSH, false},
		{"git.example.com", "", 443, Allow, ProtocolTLS, true},
		{"bad.example.com", "", 443, Deny, "", false},
		{"new.example.com", "", 80, Deny, "", false},
		{"example.net", "", 443, Deny, "", false},
		{"", "10.1.2.3", 443, Allow, ProtocolTCP, false},
		{"", "11.1.2.3", 443, Deny, "", false},
		{"not a name", "", 443, Deny, "", false},
	} {
		var addr netip.Addr
		if c.addr != "" {
			addr = netip.MustParseAddr(c.addr)
		}
		before := n.Connect(c.name, addr, c.port)
		g := n.Granted(c.name, addr, c.port)
		v := g.Connect(c.name, addr, c.port)
		if v.Action != c.action || c.action == Allow && (before.Action != Ask || v.Rule.Protocol != c.protocol) {
			t.Errorf("%s%s:%d: %+v, before %+v", c.name, c.addr, c.port, v, before)
		}
		a := g.Access(c.name, addr, c.port)
		if c.any && (len(a.Rules) != 1 || !a.Rules[0].AnyRequest) {
			t.Errorf("%s: %+v", c.name, a)
		}
		if c.name == "api.example.com" && (len(a.Rules) != 1 || len(a.Rules[0].Requests) != 1) {
			t.Errorf("%s lost its request rules: %+v", c.name, a)
		}
		// It is for this connection alone.
		if n.Connect(c.name, addr, c.port).Action != before.Action {
			t.Errorf("%s: the network itself has changed", c.name)
		}
	}
	g := n.Granted("new.example.com", netip.Addr{}, 443)
	if v := g.Connect("git.example.com", netip.Addr{}, 22); v.Action != Ask {
		t.Errorf("another port's ask is gone: %+v", v)
	}
	if v := g.Connect("new.example.com", netip.MustParseAddr("10.1.2.3"), 443); v.Action != Ask {
		t.Errorf("an ask about the address that the name has is gone: %+v", v)
	}
}

// What the machine's owner wants a person to be asked is asked, and granted with the rest.
func TestGrantedUnderCeiling(t *testing.T) {
	n := &spec(t, "network {\n allow \"a.example.com\" {\n request \"GET\" \"/x\" {}\n}\n}").Network
	n.Ceiling = &spec(t, "network {\n ask \"*.example.com\" {}\n}").Network
	if v := n.Connect("a.example.com", netip.Addr{}, 443); v.Action != Ask {
		t.Fatalf("%+v", v)
	}
	g := n.Granted("a.example.com", netip.Addr{}, 443)
	if v := g.Connect("a.example.com", netip.Addr{}, 443); v.Action != Allow || v.Under == nil {
		t.Errorf("%+v", v)
	}
	if a := g.Access("a.example.com", netip.Addr{}, 443); len(a.Rules) != 1 || len(a.Rules[0].Requests) != 1 {
		t.Errorf("%+v", a)
	}
	if v := n.Granted("b.example.com", netip.Addr{}, 443).Connect("b.example.com", netip.Addr{}, 443); v.Action != Deny {
		t.Errorf("the ceiling's ask allowed what the profile does not: %+v", v)
	}
}

// What people approved for good is not asked about; what is not exactly that is.
func TestApproved(t *testing.T) {
	s := spec(t, `network {
  allow "a.example.com" { approved = true }
  allow "b.example.com" {}
  ask "*.example.com" {}
  ask "10.0.0.0/8" {}
  deny "c.example.com" {}
  allow "c.example.com" { approved = true }
}
process {
  ask "git" "push" {}
  ask "sh" {}
  deny "/usr/bin/env" {}
  approved "/usr/bin/git" "push" "origin" {}
  approved "/usr/bin/env" {}
}`)
	n := &s.Network
	for host, want := range map[string]Action{"a.example.com": Allow, "b.example.com": Ask, "c.example.com": Deny, "d.example.com": Ask} {
		if v := n.Connect(host, netip.Addr{}, 443); v.Action != want {
			t.Errorf("%s: %+v", host, v)
		}
	}
	if v := n.Connect("a.example.com", netip.MustParseAddr("10.1.1.1"), 443); v.Action != Ask {
		t.Errorf("the address of an approved name: %+v", v)
	}
	for _, c := range []struct {
		e    Exec
		want Action
	}{
		{Exec{Path: "/usr/bin/git", Resolved: "/usr/bin/git", Argv: []string{"git", "push", "origin"}}, Allow},
		{Exec{Path: "/usr/bin/git", Resolved: "/usr/bin/git", Argv: []string{"git", "push", "origin", "--force"}}, Ask},
		{Exec{Path: "/usr/bin/git", Resolved: "/usr/bin/git", Argv: []string{"git", "push"}}, Ask},
		{Exec{Path: "/usr/bin/git", Resolved: "/tmp/git", Argv: []string{"git", "push", "origin"}}, Ask},
		{Exec{Path: "/usr/bin/git", Resolved: "/usr/bin/git", Argv: []string{"git", "push", "origin"}, Own: true}, Ask},
		{Exec{Path: "/bin/sh", Resolved: "/usr/bin/git", Argv: []string{"sh", "push", "origin"}}, Allow}, // it is that file
		{Exec{Path: "/usr/bin/env", Resolved: "/usr/bin/env", Argv: []string{"env"}}, Deny},
	} {
		if v := s.Process.Start(c.e); v.Action != c.want {
			t.Errorf("%+v: %+v", c.e, v)
		}
	}
	capped := spec(t, "network {\n  allow \"a.example.com\" { approved = true }\n}").Network
	capped.Ceiling = &spec(t, "network {\n  ask \"*.example.com\" {}\n}").Network
	if v := capped.Connect("a.example.com", netip.Addr{}, 443); v.Action != Ask {
		t.Errorf("under a ceiling that asks: %+v", v)
	}
}
