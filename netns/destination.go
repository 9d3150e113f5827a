package netns

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// special is a range of addresses that a name must not lead to by itself.
type special struct {
	prefix netip.Prefix
	what   string
}

// specials are the ranges of IANA's special-purpose registries (RFC 6890 and the
// registries' present state), and the addresses where clouds answer for the
// machine itself. The narrow ones come first: the first match names the range.
func specials() []special {
	table := []struct{ prefix, what string }{
		// Instance metadata: AWS, GCP, Azure and others; AWS ECS and EKS; Alibaba
		// Cloud; Azure's wire server; AWS over IPv6; GCP over IPv6.
		{"169.254.169.254/32", "cloud metadata"},
		{"169.254.170.2/32", "cloud metadata"},
		{"169.254.170.23/32", "cloud metadata"},
		{"100.100.100.200/32", "cloud metadata"},
		{"168.63.129.16/32", "cloud metadata"},
		{"fd00:ec2::254/128", "cloud metadata"},
		{"fd00:ec2::23/128", "cloud metadata"},
		{"fd20:ce::254/128", "cloud metadata"},

		{"0.0.0.0/8", "unspecified"},             // RFC 1122
		{"127.0.0.0/8", "loopback"},              // RFC 1122
		{"10.0.0.0/8", "private"},                // RFC 1918
		{"172.16.0.0/12", "private"},             // RFC 1918
		{"192.168.0.0/16", "private"},            // RFC 1918
		{"100.64.0.0/10", "carrier-grade NAT"},   // RFC 6598
		{"169.254.0.0/16", "link-local"},         // RFC 3927
		{"192.0.0.0/24", "protocol assignments"}, // RFC 6890
		{"192.0.2.0/24", "documentation"},        // RFC 5737
		{"198.51.100.0/24", "documentation"},     // RFC 5737
		{"203.0.113.0/24", "documentation"},      // RFC 5737
		{"192.88.99.0/24", "6to4 relay"},         // RFC 7526
		{"198.18.0.0/15", "benchmarking"},        // RFC 2544; the pool's own range
		{"224.0.0.0/4", "multicast"},             // RFC 5771
		{"240.0.0.0/4", "reserved or broadcast"}, // RFC 1112, RFC 919
		{"::/128", "unspecified"},                // RFC 4291
		{"::1/128", "loopback"},                  // RFC 4291
		{"::ffff:0:0/96", "IPv4-mapped"},         // RFC 4291; unmapped before it gets here
		{"::/96", "IPv4-compatible"},             // RFC 4291, deprecated
		{"64:ff9b::/96", "NAT64"},                // RFC 6052: an IPv4 address is inside
		{"64:ff9b:1::/48", "NAT64"},              // RFC 8215
		{"100::/64", "discard"},                  // RFC 6666
		{"2001::/32", "Teredo"},                  // RFC 4380: an IPv4 address is inside
		{"2001:db8::/32", "documentation"},       // RFC 3849
		{"2001::/23", "protocol assignments"},    // RFC 2928
		{"2002::/16", "6to4"},                    // RFC 3056: an IPv4 address is inside
		{"3fff::/20", "documentation"},           // RFC 9637
		{"5f00::/16", "segment routing"},         // RFC 9602
		{"fc00::/7", "private"},                  // RFC 4193
		{"fe80::/10", "link-local"},              // RFC 4291
		{"fec0::/10", "site-local"},              // RFC 3879, deprecated
		{"ff00::/8", "multicast"},                // RFC 4291
		{"::/3", "not global unicast"},           // only 2000::/3 is assigned as such
		{"4000::/2", "not global unicast"},       //
		{"8000::/1", "not global unicast"},       //
	}
	out := make([]special, len(table))
	for i, t := range table {
		out[i] = special{netip.MustParsePrefix(t.prefix), t.what}
	}
	return out
}

// SpecialRange says what kind of address one is that no name may lead to by itself; ""
// for any other.
func SpecialRange(a netip.Addr) string {
	a = a.Unmap()
	for _, s := range specials() {
		if s.prefix.Contains(a) {
			return s.what
		}
	}
	return ""
}

// destinations judges the addresses that the gateway is about to dial.
type destinations struct {
	network  *profiles.Network
	udp      bool // datagrams are to go there, not a connection
	specials []special
	isHost   func(netip.Addr) (bool, error) // the host's own addresses
}

// check judges every address that a name resolved to (or the one that was asked
// for by address; name is empty then). One that is refused refuses them all: an
// answer that mixes public and private ones is somebody's try, and dialling the
// rest would only hide it.
func (d *destinations) check(name string, addrs []netip.Addr, port uint16) error {
	if mutate.Off(mutate.Addresses) {
		return nil
	}
	if len(addrs) == 0 {
		return fmt.Errorf("%s has no address", name)
	}
	for _, a := range addrs {
		if err := d.checkOne(name, a, port); err != nil {
			return err
		}
	}
	return nil
}

func (d *destinations) checkOne(name string, a netip.Addr, port uint16) error {
	what := a.String()
	if name != "" {
		what = fmt.Sprintf("%s, to which %s resolves,", a, name)
	}
	if a.Zone() != "" {
		return refusal{fmt.Sprintf("%s has a zone identifier", what)}
	}
	a = a.Unmap()
	decide := d.network.Connect
	if d.udp {
		decide = d.network.Datagram
	}
	if v := decide(name, a, port); v.Action != profiles.Allow {
		if v.Rule != nil {
			return refusal{fmt.Sprintf("%s is denied: %s", what, v.Reason)}
		}
		return refusal{fmt.Sprintf("%s is not allowed: %s", what, v.Reason)}
	}
	i := slices.IndexFunc(d.specials, func(s special) bool { return s.prefix.Contains(a) })
	if i >= 0 && !d.named(a, port, d.specials[i].prefix) {
		return refusal{fmt.Sprintf("%s is a %s address, which no rule names", what, d.specials[i].what)}
	}
	if i >= 0 && d.specials[i].what == "loopback" {
		return nil // named as loopback, which is the host's own
	}
	own, err := d.isHost(a)
	if err != nil {
		return fmt.Errorf("find out whether %s is the host's own: %w", a, err)
	}
	if own && !d.named(a, port, netip.PrefixFrom(a, a.BitLen())) {
		return refusal{fmt.Sprintf("%s is an address of the host itself, which no rule names", what)}
	}
	return nil
}

// named says whether an allow names an address of a special range: it must lie
// within that range. A rule for 0.0.0.0/0 means the Internet, not the host's
// loopback; one for 10.0.0.0/8 means private addresses.
func (d *destinations) named(a netip.Addr, port uint16, within netip.Prefix) bool {
	for _, r := range d.network.Allow {
		if !slices.Contains(r.Ports, port) || (r.Protocol == profiles.ProtocolUDP) != d.udp {
			continue
		}
		for _, h := range r.Hosts {
			if h.Kind == profiles.HostPrefix && h.Prefix.Contains(a) &&
				h.Prefix.Bits() >= within.Bits() && within.Contains(h.Prefix.Addr()) {
				return true
			}
		}
	}
	return false
}

// refusal is an error that is a policy's decision and no failure.
type refusal struct{ reason string }

func (r refusal) Error() string { return r.reason }
