package profiles

import (
	"net/netip"
	"slices"
)

// Granted is the network as it is for one connection that a person has allowed: what is
// asked about this host on this port is not asked any more, in the ceiling neither. Where
// an allow is about the host too, it says what may be done there; where none is, the ask
// is the allow.
//
// Denies stay what they are, and so do asks about anything else: the address that a name
// turns out to have may be such a thing.
func (n *Network) Granted(name string, addr netip.Addr, port uint16) *Network {
	asked, target, err := canonicalTarget(name, addr)
	if err != nil || port == 0 {
		return n // which decides as before, and that is no allow
	}
	if asked != "" {
		target = netip.Addr{}
	}
	about := func(r NetRule) bool {
		_, covers := r.covers(asked, target)
		return covers && allowsPort(&r, port)
	}
	g := *n
	if r := best(n.Ask, allowsPort, asked, target, port); r != nil {
		g.Ask = slices.DeleteFunc(slices.Clone(n.Ask), about)
		allows := func(r *NetRule, port uint16) bool { return r.transport() == tcp && allowsPort(r, port) }
		if best(n.Allow, allows, asked, target, port) == nil {
			allow := *r
			allow.Ports, allow.AnyRequest = []uint16{port}, true
			allow.forProtocol()
			g.Allow = append(slices.Clone(n.Allow), allow)
		}
	}
	if n.Ceiling != nil {
		g.Ceiling = n.Ceiling.Granted(name, addr, port)
	}
	return &g
}
