package netns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

func TestDestinations(t *testing.T) {
	n := &profiles.Network{
		Allow: []profiles.NetRule{
			allow(1, "name.example", profiles.ProtocolTLS, "", 443),
			allow(2, "0.0.0.0/0", profiles.ProtocolTLS, "", 443),
			allow(3, "::/0", profiles.ProtocolTLS, "", 443),
			allow(4, "10.20.0.0/16", profiles.ProtocolTLS, "", 443, 5432),
			allow(5, "127.0.0.1", profiles.ProtocolTLS, "", 443),
			allow(6, "169.254.0.0/16", profiles.ProtocolTLS, "", 443),
			allow(7, "93.184.216.2", profiles.ProtocolTLS, "", 443),
			allow(8, "*", profiles.ProtocolTLS, "", 8443),
		},
		Deny: []profiles.NetRule{allow(9, "93.184.216.66", "", "")},
	}
	host := map[string]bool{"127.0.0.1": true, "10.20.0.5": true, "93.184.216.1": true, "93.184.216.2": true}
	d := destinations{network: n, specials: specials(), isHost: func(a netip.Addr) (bool, error) { return host[a.String()], nil }}
	tests := []struct {
		what, name, addrs string
		port              uint16
		want              string // "" where it is dialled
	}{
		{"public", "name.example", "93.184.216.34 2606:2800:220:1::1", 443, ""},
		{"loopback that a rule names", "name.example", "127.0.0.1", 443, ""},
		{"loopback on a port that it doesn't", "x.example", "127.0.0.1", 8443, "loopback"},
		{"another loopback", "name.example", "127.0.0.2", 443, "loopback"},
		{"IPv6 loopback", "name.example", "::1", 443, "loopback"},
		{"mapped loopback", "name.example", "::ffff:127.0.0.3", 443, "loopback"},
		{"unspecified", "name.example", "0.0.0.0", 443, "unspecified"},
		{"IPv6 unspecified", "name.example", "::", 443, "unspecified"},
		{"private that a rule names", "name.example", "10.20.9.9", 443, ""},
		{"private that it doesn't", "name.example", "10.21.0.1", 443, "private"},
		{"mixed answer", "name.example", "93.184.216.34 192.168.1.1", 443, "private"},
		{"carrier-grade NAT", "name.example", "100.64.0.1", 443, "carrier"},
		{"link-local that a rule names", "name.example", "169.254.1.1", 443, ""},
		{"metadata inside of it", "name.example", "169.254.169.254", 443, "metadata"},
		{"container metadata", "name.example", "169.254.170.2", 443, "metadata"},
		{"IPv6 metadata", "name.example", "fd00:ec2::254", 443, "metadata"},
		{"mapped metadata", "name.example", "::ffff:169.254.169.254", 443, "metadata"},
		{"Azure's wire server", "name.example", "168.63.129.16", 443, "metadata"},
		{"unique local", "name.example", "fd12::1", 443, "private"},
		{"IPv6 link-local", "name.example", "fe80::1", 443, "link-local"},
		{"multicast", "name.example", "224.0.0.1", 443, "multicast"},
		{"IPv6 multicast", "name.example", "ff02::1", 443, "multicast"},
		{"broadcast", "name.example", "255.255.255.255", 443, "broadcast"},
		{"the pool itself", "name.example", "198.18.0.1", 443, "benchmarking"},
		{"NAT64", "name.example", "64:ff9b::7f00:1", 443, "NAT64"},
		{"local NAT64", "name.example", "64:ff9b:1::7f00:1", 443, "NAT64"},
		{"6to4", "name.example", "2002:7f00:1::1", 443, "6to4"},
		{"Teredo", "name.example", "2001:0:7f00:1::1", 443, "Teredo"},
		{"IPv4-compatible", "name.example", "::7f00:1", 443, "IPv4-compatible"},
		{"documentation", "name.example", "2001:db8::1", 443, "documentation"},
		{"unassigned", "name.example", "9000::1", 443, "not global"},
		{"the host's public address", "name.example", "93.184.216.1", 443, "host itself"},
		{"the host's private one under a wide rule", "", "10.20.0.5", 443, "host itself"},
		{"the host's address that a rule names", "", "93.184.216.2", 443, ""},
		{"an address that a rule denies", "name.example", "93.184.216.66", 443, "denied"},
		{"nothing", "name.example", "", 443, "has no address"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			var addrs []netip.Addr
			for _, a := range strings.Fields(tt.addrs) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			err := d.check(tt.name, addrs, tt.port)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := d.checkOne("name.example", netip.MustParseAddr("fe80::1%eth0"), 443); err == nil {
		t.Error("a zone identifier passed")
	}
}

func TestRoutes(t *testing.T) {
	r, err := openRoutes()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for a, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "8.8.8.8": false, "2001:4860:4860::8888": false} {
		if got, err := r.isHost(netip.MustParseAddr(a)); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", a, got, err, want)
		}
	}
}
