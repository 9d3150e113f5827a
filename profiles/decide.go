package profiles

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Action is a verdict.
type Action string

// The verdicts. Of the rules that match, deny beats ask beats allow; what nothing
// matches is denied.
const (
	Allow Action = "allow"
	Deny  Action = "deny"
)

// Verdict is an action and the rule that took it.
type Verdict struct {
	Action Action   `json:"action"`
	Rule   *NetRule `json:"rule,omitempty"`   // nil where nothing matched
	Reason string   `json:"reason,omitempty"` // a sentence for the agent, without a final stop
}

// Connect decides a connection to a host that was asked for by name (name set,
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
	asked, target, err := canonicalTarget(name, addr)
	if err != nil {
		return Verdict{Action: Deny, Reason: err.Error()}
	}
	if port == 0 {
		return Verdict{Action: Deny, Reason: "port 0 is no port"}
	}
	if r := best(n.Deny, deniesPort, asked, target, port); r != nil {
		return Verdict{Action: Deny, Rule: r, Reason: denyReason(r, asked, target)}
	}
	if asked != "" {
		target = netip.Addr{}
	}
	if r := best(n.Allow, allowsPort, asked, target, port); r != nil {
		return Verdict{Action: Allow, Rule: r, Reason: r.Reason}
	}
	return Verdict{Action: Deny, Reason: n.noRule(asked, target, port)}
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
	for i := range n.Allow {
		if _, ok := n.Allow[i].covers(asked, target); ok {
			for _, p := range n.Allow[i].Ports {
				ports[p] = true
			}
		}
	}
	verdict := Verdict{Action: Deny, Reason: n.noRule(asked, target, 0)}
	// Where no port is allowed, a deny of every port still explains itself better
	// than the absence of an allow.
	if r := best(n.Deny, deniesPort, asked, target, 0); r != nil {
		verdict = Verdict{Action: Deny, Rule: r, Reason: denyReason(r, asked, target)}
	}
	sorted := make([]uint16, 0, len(ports))
	for p := range ports {
		sorted = append(sorted, p)
	}
	slices.Sort(sorted)
	for _, p := range sorted {
		v := n.Connect(asked, netip.Addr{}, p)
		if v.Action == Allow {
			return v
		}
		if verdict.Rule == nil {
			verdict = v
		}
	}
	return verdict
}

// PortUse is a TCP port that some allow mentions.
type PortUse struct {
	Port      uint16     `json:"port"`
	Protocols []Protocol `json:"protocols"` // sorted, each once
	Names     bool       `json:"names"`     // some rule allows it to a name
	Addresses bool       `json:"addresses"` // some rule allows it to an address
}

// Ports lists every TCP port that some allow mentions, sorted: where the jail's
// network must listen.
func (n *Network) Ports() []PortUse {
	uses := map[uint16]*PortUse{}
	for _, r := range n.Allow {
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

// best finds the most specific rule that covers the host on the port. Port 0 is
// matched by the denies of every port alone.
func best(rules []NetRule, onPort func(*NetRule, uint16) bool, name string, addr netip.Addr, port uint16) *NetRule {
	var found *NetRule
	top := -1
	for i := range rules {
		r := &rules[i]
		if !onPort(r, port) {
			continue
		}
		if s, ok := r.covers(name, addr); ok && s > top {
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

func denyReason(r *NetRule, name string, addr netip.Addr) string {
	if r.Reason != "" {
		return r.Reason
	}
	return "the profile denies " + hostText(name, addr)
}

// noRule says why nothing matched, as far as it helps to ask for the right thing
// the next time. Port 0 stands for any.
func (n *Network) noRule(name string, addr netip.Addr, port uint16) string {
	if len(n.Allow) == 0 {
		return "the profile allows no network at all"
	}
	var ports []string
	for i := range n.Allow {
		if _, ok := n.Allow[i].covers(name, addr); !ok {
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
		return "no rule of the profile allows " + host
	}
	return fmt.Sprintf("the profile allows %s on port %s, not on %d", host, strings.Join(ports, ", "), port)
}

func hostText(name string, addr netip.Addr) string {
	if name != "" {
		return name
	}
	return addr.String()
}
