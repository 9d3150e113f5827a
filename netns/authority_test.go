package netns

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

func authorityFor(t *testing.T, life time.Duration, hosts ...string) (*leaves, *x509.Certificate) {
	t.Helper()
	n := &profiles.Network{}
	for i, h := range hosts {
		r := allow(i, h, profiles.ProtocolTLS, "", 443)
		r.AnyRequest = false
		n.Allow = append(n.Allow, r)
	}
	cert, key, err := NewAuthority("run-1", n, life)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLeaves(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return l, l.ca
}

// TestAuthority: the CA vouches for the hosts of its rules and for no other.
func TestAuthority(t *testing.T) {
	for _, tt := range []struct {
		rules []string
		host  string
		want  bool
	}{
		{[]string{"api.example"}, "api.example", true},
		{[]string{"api.example"}, "other.example", false},
		{[]string{"api.example"}, "api.example.evil.test", false},
		{[]string{"api.example"}, "10.0.0.1", false},
		{[]string{"*.wild.example"}, "a.b.wild.example", true},
		{[]string{"*.wild.example"}, "wild.test", false},
		{[]string{"*"}, "any.thing", true},
		{[]string{"*"}, "10.0.0.1", false},
		{[]string{"10.0.0.0/8"}, "10.1.2.3", true},
		{[]string{"10.0.0.0/8"}, "11.1.2.3", false},
		{[]string{"10.0.0.0/8"}, "api.example", false},
		{[]string{"2001:db8::/32"}, "2001:db8::1", true},
		{[]string{"2001:db8::/32"}, "2001:db9::1", false},
	} {
		l, ca := authorityFor(t, 0, tt.rules...)
		c, err := l.get(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AddCert(ca)
		name := tt.host
		if a, err := netip.ParseAddr(name); err == nil && a.Is6() {
			name = "[" + name + "]"
		}
		_, err = c.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name})
		if (err == nil) != tt.want {
			t.Errorf("rules %v, host %s: %v", tt.rules, tt.host, err)
		}
	}
}

func TestAuthorityLife(t *testing.T) {
	l, ca := authorityFor(t, time.Hour, "a.example")
	if d := time.Until(ca.NotAfter); d < 24*time.Hour || d > 26*time.Hour {
		t.Errorf("the CA of a run of an hour lives %v", d)
	}
	c, err := l.get("a.example")
	if err != nil || c.Leaf.NotAfter.After(ca.NotAfter) {
		t.Errorf("the host's certificate outlives its CA: %v %v", c.Leaf.NotAfter, err)
	}
	if again, err := l.get("a.example"); err != nil || again != c {
		t.Errorf("the certificate is not kept: %v", err)
	}
	if !ca.MaxPathLenZero || !ca.IsCA || ca.KeyUsage != x509.KeyUsageCertSign || !ca.PermittedDNSDomainsCritical {
		t.Errorf("%+v", ca)
	}
}

func TestLeavesBounded(t *testing.T) {
	l, _ := authorityFor(t, 0, "*")
	for i := range maxLeaves + 10 {
		if _, err := l.get(fmt.Sprintf("h%d.example", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.byHost) != maxLeaves || l.used.Len() != maxLeaves || l.byHost["h0.example"] != nil || l.byHost["h20.example"] == nil {
		t.Errorf("%d certificates are kept", len(l.byHost))
	}
}

func TestNewLeavesRefuses(t *testing.T) {
	n := &profiles.Network{}
	cert, _, err := NewAuthority("a", n, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := NewAuthority("b", n, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{"another's key": {cert, other}, "no key": {cert, nil}, "no certificate": {nil, other}} {
		if _, err := newLeaves(pair[0], pair[1]); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
