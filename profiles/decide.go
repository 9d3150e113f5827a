package profiles

import "net/netip"

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
// addr invalid) or by address (name empty). name must be canonical: see
// CanonicalHost.
func (n *Network) Connect(name string, addr netip.Addr, port uint16) Verdict {
	panic("the profiles helper writes this")
}

// Resolve decides whether the jail's DNS answers for a name: yes if some port of
// it may be connected to.
func (n *Network) Resolve(name string) Verdict {
	panic("the profiles helper writes this")
}
