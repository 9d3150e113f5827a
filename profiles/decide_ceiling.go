package profiles

import (
	"fmt"
	"net/netip"
	"slices"
)

// How a profile's verdicts and its ceiling's become one. Nothing is computed about
// patterns: each target is decided by both, so that what comes out is neither wider nor
// narrower than what both let.

// under joins a verdict that is not Deny with the ceiling's on the same target.
func (v Verdict) under(c Verdict, port uint16) Verdict {
	if c.Action == Deny || c.Rule == nil {
		if c.Action == Deny {
			return c
		}
		return v // a ceiling that only denies, and not this
	}
	protocol, ok := narrowerProtocol(v.Rule.Protocol, c.Rule.Protocol)
	if !ok {
		return Verdict{Action: Deny, Rule: c.Rule, Reason: fmt.Sprintf("the ceiling of this machine allows %s on port %d, not %s", c.Rule.Protocol, port, v.Rule.Protocol)}
	}
	if v.Action == Allow && c.Action == Ask {
		return c
	}
	v.Rule, v.Under = v.Rule.speaking(protocol), c.Rule
	return v
}

// narrowerProtocol is what two rules for one host both let be spoken. TCP that nobody
// looks into may be anything that runs over it.
func narrowerProtocol(a, b Protocol) (Protocol, bool) {
	switch {
	case a == b:
		return a, true
	case a == ProtocolTCP && b != ProtocolUDP:
		return b, true
	case b == ProtocolTCP && a != ProtocolUDP:
		return a, true
	}
	return "", false
}

// speaking is the rule with a narrower protocol. Where nobody was to look into the
// requests before, the rule has nothing to say about them.
func (r *NetRule) speaking(p Protocol) *NetRule {
	if r.Protocol == p {
		return r
	}
	narrowed := *r
	narrowed.Protocol, narrowed.AnyRequest = p, true
	narrowed.forProtocol()
	return &narrowed
}

// access finds the rules of one of the two for a host on a port.
func (n *Network) access(name string, addr netip.Addr, port uint16, v Verdict) (rules []*NetRule) {
	if v.Rule == nil {
		return nil
	}
	name, addr, err := canonicalTarget(name, addr)
	if err != nil {
		return nil
	}
	if name != "" {
		addr = netip.Addr{}
	}
	top, _ := v.Rule.covers(name, addr)
	for i := range n.Allow {
		r := &n.Allow[i]
		s, ok := r.covers(name, addr)
		if ok && s == top && allowsPort(r, port) && r.Protocol == v.Rule.Protocol {
			rules = append(rules, r)
		}
	}
	return rules
}

// Layers are the rules that each have to let a request: the profile's, and the
// ceiling's where it has some.
func (a Access) Layers() []Access {
	if a.Under == nil {
		return []Access{a}
	}
	return []Access{{Rules: a.Rules}, *a.Under}
}

// cappedPlaintext says whether the ceiling wants the plaintext of TLS of some host that
// a rule is about.
func (n *Network) cappedPlaintext(r *NetRule) bool {
	if n.Ceiling == nil || r.Protocol != ProtocolTLS && r.Protocol != ProtocolTCP {
		return false
	}
	return slices.ContainsFunc(n.Ceiling.Allow, func(c NetRule) bool {
		return c.plaintext() && c.overlaps(r)
	})
}

// overlaps says whether two rules are about some host in common.
func (r *NetRule) overlaps(o *NetRule) bool {
	return slices.ContainsFunc(r.Hosts, func(a HostPattern) bool {
		return slices.ContainsFunc(o.Hosts, func(b HostPattern) bool { return a.covers(b) || b.covers(a) })
	})
}

// covers says whether a pattern is about every host that another one is about. Of two
// host patterns, one covers the other or they share nothing.
func (p HostPattern) covers(o HostPattern) bool {
	switch {
	case p.Kind == HostPrefix || o.Kind == HostPrefix:
		return p.Kind == o.Kind && p.Prefix.Bits() <= o.Prefix.Bits() && p.Prefix.Contains(o.Prefix.Addr())
	case p.Kind == HostWildcard && p.Name == "":
		return true
	case o.Kind == HostWildcard && p.Kind == HostWildcard:
		return o.Name != "" && (p.Name == o.Name || len(o.Name) > len(p.Name) && o.Name[len(o.Name)-len(p.Name)-1:] == "."+p.Name)
	case o.Kind == HostWildcard:
		return false
	}
	_, ok := p.match(o.Name, netip.Addr{})
	return ok
}
