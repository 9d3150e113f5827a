package profiles

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// Action is a verdict.
type Action string

// The verdicts. Of the rules that match, deny beats ask beats allow; what nothing
// matches is denied.
const (
	Allow Action = "allow"
	Ask   Action = "ask" // hold it until a person says yes; whoever can't ask refuses
	Deny  Action = "deny"
)

// Verdict is an action and the rule that took it.
type Verdict struct {
	Action Action   `json:"action"`
	Rule   *NetRule `json:"rule,omitempty"`   // nil where nothing matched
	Reason string   `json:"reason,omitempty"` // a sentence for the agent, without a final stop
	Under  *NetRule `json:"under,omitempty"`  // the ceiling's rule that lets it, whose counts hold too
}

// Connect decides a TCP connection to a host that was asked for by name (name set,
// addr invalid) or by address (name empty). name is made canonical first, and what
// CanonicalHost refuses is denied.
//
// With both, the name decides and the address can only make it worse: a deny that
// covers the address is a deny. That is the question to ask once a name has been
// resolved. Whether some rule names an address at all is Connect("", addr, port).
//
// Of several allows the most specific one is the verdict's rule (exact name, then
// the longest wildcard; the longest prefix), and of equals the first, so that
// protocol and upstream never depend on chance.
func (n *Network) Connect(name string, addr netip.Addr, port uint16) Verdict {
	return n.decide(tcp, name, addr, port)
}

// Datagram is Connect for a UDP datagram: the allows of UDP count, and every deny.
func (n *Network) Datagram(name string, addr netip.Addr, port uint16) Verdict {
	return n.decide(udp, name, addr, port)
}

// transport is what a rule's protocol runs over.
type transport string

const (
	tcp transport = "tcp"
	udp transport = "udp"
)

func (r *NetRule) transport() transport {
	if r.Protocol == ProtocolUDP {
		return udp
	}
	return tcp
}

// decide asks the profile and then the ceiling: the stricter verdict counts.
func (n *Network) decide(over transport, name string, addr netip.Addr, port uint16) Verdict {
	v := n.decideBy("the profile", over, name, addr, port)
	if n.Ceiling == nil || v.Action == Deny {
		return v
	}
	return v.under(n.Ceiling.decideBy("the ceiling of this machine", over, name, addr, port), port)
}

// decideBy is the verdict of one of the two; who names it.
func (n *Network) decideBy(who string, over transport, name string, addr netip.Addr, port uint16) Verdict {
	asked, target, err := canonicalTarget(name, addr)
	if err != nil {
		return Verdict{Action: Deny, Reason: err.Error()}
	}
	if port == 0 {
		return Verdict{Action: Deny, Reason: "port 0 is no port"}
	}
	if r := best(n.Deny, deniesPort, asked, target, port); r != nil && !mutate.Off(mutate.NetDeny) {
		return Verdict{Action: Deny, Rule: r, Reason: denyReason(who, r, asked, target)}
	}
	allows := func(r *NetRule, port uint16) bool { return r.transport() == over && allowsPort(r, port) }
	if r := n.asks(allows, asked, target, port); r != nil {
		return Verdict{Action: Ask, Rule: r, Reason: askReason(r, asked, target)}
	}
	if asked != "" {
		target = netip.Addr{}
	}
	if r := best(n.Allow, allows, asked, target, port); r != nil {
		if r.Inactive != "" {
			return Verdict{Action: Deny, Rule: r, Reason: r.Inactive}
		}
		return Verdict{Action: Allow, Rule: r, Reason: r.Reason}
	}
	if n.Open {
		return Verdict{Action: Allow}
	}
	return Verdict{Action: Deny, Reason: n.noRule(who, over, asked, target, port)}
}

// asks finds the ask about a host, unless people have approved the host for good. What
// they approved is the name: an ask about the address that it turns out to have holds.
func (n *Network) asks(allows func(*NetRule, uint16) bool, asked string, target netip.Addr, port uint16) *NetRule {
	r := best(n.Ask, allows, asked, target, port)
	if r == nil {
		return nil
	}
	said := target
	if asked != "" {
		said = netip.Addr{}
	}
	if best(n.Allow, func(r *NetRule, port uint16) bool { return r.Approved && allows(r, port) }, asked, said, port) == nil {
		return r
	}
	if asked == "" || !target.IsValid() {
		return nil
	}
	return best(n.Ask, allows, "", target, port)
}

// Resolve decides whether the jail's DNS answers for a name: yes if some port of
// it may be connected to.
func (n *Network) Resolve(name string) Verdict {
	asked, target, err := canonicalTarget(name, netip.Addr{})
	if err != nil {
		return Verdict{Action: Deny, Reason: err.Error()}
	}
	if target.IsValid() {
		return Verdict{Action: Deny, Reason: fmt.Sprintf("%s is an address, not a name", target)}
	}
	ports := map[uint16]bool{}
	for _, r := range slices.Concat(n.Allow, n.Ask) {
		if _, ok := r.covers(asked, target); ok {
			for _, p := range r.Ports {
				ports[p] = true
			}
		}
	}
	verdict := Verdict{Action: Deny, Reason: n.noRule("the profile", tcp, asked, target, 0)}
	// Where no port is allowed, a deny of every port still explains itself better
	// than the absence of an allow.
	if r := best(n.Deny, deniesPort, asked, target, 0); r != nil {
		verdict = Verdict{Action: Deny, Rule: r, Reason: denyReason("the profile", r, asked, target)}
	}
	sorted := make([]uint16, 0, len(ports))
	for p := range ports {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	for _, p := range sorted {
		for _, over := range []transport{tcp, udp} {
			v := n.decide(over, asked, netip.Addr{}, p)
			if v.Action == Allow {
				return v
			}
			if verdict.Rule == nil || v.Action == Ask && verdict.Action == Deny {
				verdict = v
			}
		}
	}
	return verdict
}

// PortUse is a TCP port that some allow or ask mentions.
type PortUse struct {
	Port      uint16     `json:"port"`
	Protocols []Protocol `json:"protocols"` // sorted, each once
	Names     bool       `json:"names"`     // some rule allows it to a name
	Addresses bool       `json:"addresses"` // some rule allows it to an address
}

// Ports lists every TCP port that some allow or ask mentions, sorted: where the
// jail's network must listen.
func (n *Network) Ports() []PortUse {
	uses := map[uint16]*PortUse{}
	for _, r := range slices.Concat(n.Allow, n.Ask) {
		if r.transport() != tcp {
			continue
		}
		for _, port := range r.Ports {
			u := uses[port]
			if u == nil {
				u = &PortUse{Port: port}
				uses[port] = u
			}
			if !slices.Contains(u.Protocols, r.Protocol) {
				u.Protocols = append(u.Protocols, r.Protocol)
			}
			for _, h := range r.Hosts {
				u.Names = u.Names || h.Kind != HostPrefix
				u.Addresses = u.Addresses || h.Kind == HostPrefix
			}
		}
	}
	list := make([]PortUse, 0, len(uses))
	for _, u := range uses {
		slices.Sort(u.Protocols)
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b PortUse) int { return int(a.Port) - int(b.Port) })
	return list
}

// canonicalTarget makes what was asked for canonical, so that no caller's spelling
// reaches a rule.
func canonicalTarget(name string, addr netip.Addr) (string, netip.Addr, error) {
	if addr.IsValid() && addr.Zone() != "" {
		return "", netip.Addr{}, fmt.Errorf("address %s has a zone identifier", addr)
	}
	addr = addr.Unmap()
	if name == "" {
		if !addr.IsValid() {
			return "", netip.Addr{}, fmt.Errorf("neither a name nor an address was asked for")
		}
		return "", addr, nil
	}
	asked, literal, err := CanonicalHost(name)
	if err != nil {
		return "", netip.Addr{}, err
	}
	if !literal.IsValid() {
		return asked, addr, nil
	}
	if addr.IsValid() && addr != literal {
		return "", netip.Addr{}, fmt.Errorf("address %s was asked for under the name %s", addr, literal)
	}
	return "", literal, nil
}

// An empty list of ports means none to an allow and every one to a deny, so that
// what is left out of a Spec never opens anything.
func allowsPort(r *NetRule, port uint16) bool { return slices.Contains(r.Ports, port) }

func deniesPort(r *NetRule, port uint16) bool {
	return len(r.Ports) == 0 || slices.Contains(r.Ports, port)
}

// best finds the most specific rule that covers the host on the port, of equals the
// first that is in force. Port 0 is matched by the denies of every port alone.
func best(rules []NetRule, onPort func(*NetRule, uint16) bool, name string, addr netip.Addr, port uint16) *NetRule {
	var found *NetRule
	top := -1
	for i := range rules {
		r := &rules[i]
		if !onPort(r, port) {
			continue
		}
		if s, ok := r.covers(name, addr); ok && (s > top || s == top && found.Inactive != "" && r.Inactive == "") {
			found, top = r, s
		}
	}
	return found
}

func (r *NetRule) covers(name string, addr netip.Addr) (specific int, ok bool) {
	specific = -1
	for _, h := range r.Hosts {
		if s, match := h.match(name, addr); match && s > specific {
			specific = s
		}
	}
	return specific, specific >= 0
}

func askReason(r *NetRule, name string, addr netip.Addr) string {
	if r.Reason != "" {
		return r.Reason
	}
	return "a person must allow " + hostText(name, addr)
}

func denyReason(who string, r *NetRule, name string, addr netip.Addr) string {
	if r.Reason != "" {
		return r.Reason
	}
	return who + " denies " + hostText(name, addr)
}

// noRule says why nothing matched, as far as it helps to ask for the right thing
// the next time. Port 0 stands for any.
func (n *Network) noRule(who string, over transport, name string, addr netip.Addr, port uint16) string {
	if len(n.Allow)+len(n.Ask) == 0 {
		return who + " allows no network at all"
	}
	var ports []string
	for i := range n.Allow {
		if _, ok := n.Allow[i].covers(name, addr); !ok || port != 0 && n.Allow[i].transport() != over {
			continue
		}
		for _, p := range n.Allow[i].Ports {
			if s := strconv.Itoa(int(p)); !slices.Contains(ports, s) {
				ports = append(ports, s)
			}
		}
	}
	host := hostText(name, addr)
	if len(ports) == 0 || port == 0 {
		if over == udp {
			return "no rule of " + who + " allows UDP to " + host
		}
		return "no rule of " + who + " allows " + host
	}
	if over == udp {
		return fmt.Sprintf("%s allows UDP to %s on port %s, not on %d", who, host, strings.Join(ports, ", "), port)
	}
	return fmt.Sprintf("%s allows %s on port %s, not on %d", who, host, strings.Join(ports, ", "), port)
}

func hostText(name string, addr netip.Addr) string {
	if name != "" {
		return name
	}
	return addr.String()
}
