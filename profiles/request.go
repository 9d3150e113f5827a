package profiles

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Access is what may be asked of one host on one port: the rules that decide it.
// They are the allows of the most specific host pattern that covers it, all of the
// same protocol; a less specific one adds nothing.
type Access struct {
	Rules []*NetRule
	Under *Access // the ceiling's, which must allow a request too; nil where it says nothing
}

// Access finds the rules for a host that Connect allows.
func (n *Network) Access(name string, addr netip.Addr, port uint16) Access {
	v := n.Connect(name, addr, port)
	if v.Action != Allow {
		return Access{}
	}
	own := n.decideBy("the profile", tcp, name, addr, port)
	a := Access{}
	for _, r := range n.access(name, addr, port, own) {
		a.Rules = append(a.Rules, r.speaking(v.Rule.Protocol))
	}
	if v.Under != nil {
		under := Access{}
		for _, r := range n.Ceiling.access(name, addr, port, Verdict{Rule: v.Under}) {
			under.Rules = append(under.Rules, r.speaking(v.Rule.Protocol))
		}
		a.Under = &under
	}
	return a
}

// Plaintext says whether the rules can only be carried out by looking into TLS.
func (a Access) Plaintext() bool {
	return slices.ContainsFunc(a.Rules, (*NetRule).plaintext) || a.Under != nil && a.Under.Plaintext()
}

func (r *NetRule) plaintext() bool {
	return r.Protocol == ProtocolTLS && (!r.AnyRequest || len(r.Secrets) > 0 || r.Limit != nil || r.Provider != "" || r.Sanitize != "" || len(r.Faults) > 0)
}

// Sanitizes says whether the host's HTML answers are sanitized: where one of its rules
// says so, another does not undo it.
func (a Access) Sanitizes() bool {
	return slices.ContainsFunc(a.Rules, func(r *NetRule) bool { return r.Sanitize == SanitizeHTML })
}

// Faults are those that a request may meet: of the rule that allows it, and where no
// request rule does, of every rule of the host.
func (a Access) Faults(m RequestMatch) (faults []*Fault) {
	for _, r := range a.Rules {
		if m.Request != nil && r != m.Rule {
			continue
		}
		for i := range r.Faults {
			faults = append(faults, &r.Faults[i])
		}
	}
	return faults
}

// Intercepts lists the allows that need the plaintext of TLS.
func (n *Network) Intercepts() (rules []*NetRule) {
	for i := range n.Allow {
		if n.Allow[i].plaintext() || n.cappedPlaintext(&n.Allow[i]) {
			rules = append(rules, &n.Allow[i])
		}
	}
	return rules
}

// Secrets names what may be put into requests to the host.
func (a Access) Secrets() (names []string) {
	for _, r := range a.Rules {
		for _, s := range r.Secrets {
			if !slices.Contains(names, s) {
				names = append(names, s)
			}
		}
	}
	return names
}

// RequestMatch is a rule that a request's method and path satisfy. Request is nil
// where the rule allows every request.
type RequestMatch struct {
	Rule    *NetRule
	Request *RequestRule
}

// Origin is the line that allows the request.
func (m RequestMatch) Origin() Origin {
	if m.Request != nil {
		return m.Request.Origin
	}
	return m.Rule.Origin
}

// Request finds the rules that a request's method and canonical path satisfy, the
// most specific first. The first whose condition holds decides; where there is none,
// the request is denied, and denied says why.
//
// Where one of the host's rules says what may be asked, what may be asked is what
// is said: an allow of the same host without request rules does not widen it.
func (a Access) Request(method, path string) (matches []RequestMatch, denied string) {
	said := false
	for _, r := range a.Rules {
		said = said || !r.AnyRequest
		for i := range r.Requests {
			if q := &r.Requests[i]; q.matches(method, path) {
				matches = append(matches, RequestMatch{r, q})
			}
		}
	}
	if !said && len(a.Rules) > 0 {
		return []RequestMatch{{Rule: a.Rules[0]}}, ""
	}
	slices.SortStableFunc(matches, func(a, b RequestMatch) int { return b.Request.specific() - a.Request.specific() })
	if len(matches) == 0 {
		return nil, a.noRequest(method, path)
	}
	return matches, ""
}

func (q *RequestRule) matches(method, path string) bool {
	for _, m := range q.Methods {
		if (m == "*" || m == method) && MatchPath(q.Path, path) {
			return true
		}
	}
	return false
}

// specific ranks rules that match the same request: by how much of the path they
// write out, then by whether they name the method, then by whether they ask for more.
func (q *RequestRule) specific() int {
	n := 8 * len(strings.ReplaceAll(q.Path, "*", ""))
	if !strings.Contains(q.Path, "**") {
		n += 4
	}
	if !slices.Contains(q.Methods, "*") {
		n += 2
	}
	if q.When != nil {
		n++
	}
	return n
}

// noRequest says what may be asked instead, as far as it helps.
func (a Access) noRequest(method, path string) string {
	var methods []string
	for _, r := range a.Rules {
		for i := range r.Requests {
			q := &r.Requests[i]
			if !MatchPath(q.Path, path) {
				continue
			}
			for _, m := range q.Methods {
				if !slices.Contains(methods, m) {
					methods = append(methods, m)
				}
			}
		}
	}
	if len(methods) > 0 {
		return fmt.Sprintf("the profile allows %s for this path, not %s", strings.Join(methods, ", "), method)
	}
	return "no request rule of this host allows " + method + " for this path"
}

// Secret finds a secret by its name; nil where there is none.
func (s *Spec) Secret(name string) *Secret {
	for i := range s.Secrets {
		if s.Secrets[i].Name == name {
			return &s.Secrets[i]
		}
	}
	return nil
}
