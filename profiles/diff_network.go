package profiles

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// How Diff compares networks. Of two host patterns, one lies in the other or they share
// nothing. So the patterns of both profiles cut all hosts into regions in which every
// host gets the same answer from both, and one host of each region stands for it.

// region is a set of hosts that no rule of the two profiles tells apart.
type region struct {
	pattern HostPattern // the smallest that they are in
	name    string      // one of them
	addr    netip.Addr
}

func (g region) String() string {
	switch {
	case g.pattern.Kind == HostExact || g.pattern.Kind == HostPrefix && g.pattern.Prefix.IsSingleIP():
		return g.pattern.String()
	case g.pattern.Kind == HostWildcard && g.pattern.Name == "":
		return "any name"
	case g.pattern.Kind == HostWildcard:
		return "names below " + g.pattern.Name
	}
	return "addresses in " + g.pattern.String()
}

// allRules are the rules of a network and its ceiling.
func (n *Network) allRules() []NetRule {
	rules := slices.Concat(n.Allow, n.Ask, n.Deny)
	if n.Ceiling != nil {
		rules = append(rules, n.Ceiling.allRules()...)
	}
	return rules
}

// regions cuts all hosts by the patterns of some rules.
func regions(rules []NetRule) (list []region) {
	patterns := []HostPattern{
		{Kind: HostWildcard},
		{Kind: HostPrefix, Prefix: netip.MustParsePrefix("0.0.0.0/0")},
		{Kind: HostPrefix, Prefix: netip.MustParsePrefix("::/0")},
	}
	for _, r := range rules {
		for _, h := range r.Hosts {
			if !slices.Contains(patterns, h) {
				patterns = append(patterns, h)
			}
		}
	}
	label := freshLabel(patterns)
	for _, p := range patterns {
		g := region{pattern: p}
		switch {
		case p.Kind == HostExact:
			g.name = p.Name
		case p.Kind == HostWildcard && p.Name == "":
			g.name = label + ".invalid-" + label
		case p.Kind == HostWildcard:
			g.name = label + "." + p.Name
		case p.Kind == HostPrefix:
			var ok bool
			if g.addr, ok = freeAddress(p.Prefix, patterns); !ok {
				continue // smaller patterns are about all of it
			}
		}
		list = append(list, g)
	}
	return list
}

// freshLabel is a label that no pattern has in it.
func freshLabel(patterns []HostPattern) string {
	for i := 0; ; i++ {
		label := "any" + strconv.Itoa(i)
		if !slices.ContainsFunc(patterns, func(p HostPattern) bool { return strings.Contains(p.Name, label) }) {
			return label
		}
	}
}

// freeAddress finds an address of a prefix that is in none of the smaller ones. Where
// there is one, the first of the prefix or the first behind a smaller one is.
func freeAddress(p netip.Prefix, patterns []HostPattern) (netip.Addr, bool) {
	var inner []netip.Prefix
	for _, o := range patterns {
		if o.Kind == HostPrefix && o.Prefix.Bits() > p.Bits() && p.Contains(o.Prefix.Addr()) {
			inner = append(inner, o.Prefix)
		}
	}
	candidates := []netip.Addr{p.Addr()}
	for _, o := range inner {
		if next := lastAddress(o).Next(); next.IsValid() {
			candidates = append(candidates, next)
		}
	}
	for _, a := range candidates {
		// CanonicalHost reads an IPv4-mapped address as IPv4: it is of another region.
		if p.Contains(a) && !a.Is4In6() && !slices.ContainsFunc(inner, func(o netip.Prefix) bool { return o.Contains(a) }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func lastAddress(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func (d *differ) network() {
	a, b := &d.a.Network, &d.b.Network
	rules := slices.Concat(a.allRules(), b.allRules())
	var ports []uint16
	for _, r := range rules {
		for _, p := range r.Ports {
			if !slices.Contains(ports, p) {
				ports = append(ports, p)
			}
		}
	}
	slices.Sort(ports)
	// What no rule names is refused by both, and an allow always names its ports.
	for _, g := range regions(rules) {
		for _, port := range ports {
			for _, over := range []transport{tcp, udp} {
				d.target(g, port, over)
			}
		}
		if g.addr.IsValid() {
			d.resolved(g, ports)
		}
	}
}

// target compares the answers to one region on one port.
func (d *differ) target(g region, port uint16, over transport) {
	a, b := d.a.Network.decide(over, g.name, g.addr, port), d.b.Network.decide(over, g.name, g.addr, port)
	where := fmt.Sprintf("%s on port %d", g, port)
	if over == udp {
		where += " (UDP)"
	}
	width := []Action{Deny, Ask, Allow}
	if slices.Index(width, b.Action) > slices.Index(width, a.Action) {
		said := map[Action]string{Allow: "%s may be connected to", Ask: "a person may allow %s"}[b.Action]
		d.wider(b.Rule.Origin, said, where)
		return
	}
	if b.Action == Deny {
		return
	}
	if p, ok := narrowerProtocol(a.Rule.Protocol, b.Rule.Protocol); !ok || p != b.Rule.Protocol {
		d.wider(b.Rule.Origin, "%s may be spoken to %s, not %s", b.Rule.Protocol, where, a.Rule.Protocol)
	}
	if a.Action == Allow && b.Action == Allow {
		d.access(g, port, over, where, a, b)
	}
}

// resolved compares what is denied by the address that a name resolves to.
func (d *differ) resolved(g region, ports []uint16) {
	denied := func(n *Network, port uint16) *NetRule {
		r := best(n.Deny, deniesPort, "", g.addr, port)
		if r == nil && n.Ceiling != nil {
			r = best(n.Ceiling.Deny, deniesPort, "", g.addr, port)
		}
		return r
	}
	asked := func(n *Network, port uint16) *NetRule { return best(n.Ask, allowsPort, "", g.addr, port) }
	for _, port := range ports {
		if was := denied(&d.a.Network, port); was != nil && denied(&d.b.Network, port) == nil {
			d.wider(was.Origin, "names that resolve to %s are no longer denied on port %d", g, port)
		}
		if was := asked(&d.a.Network, port); was != nil && asked(&d.b.Network, port) == nil && denied(&d.b.Network, port) == nil {
			d.wider(was.Origin, "nobody is asked about names that resolve to %s on port %d any more", g, port)
		}
	}
}
