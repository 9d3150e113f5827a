package profiles

import (
	stdjson "encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Answer is what a profile says to a Case.
type Answer struct {
	Case   Case   `json:"case"`
	Action Action `json:"action"`
	Rule   Origin `json:"rule"`             // zero where no rule decided
	Reason string `json:"reason,omitempty"` // a sentence, without a final stop
}

// OK says whether the answer is the one that was expected.
func (a Answer) OK() bool { return a.Action == a.Case.Expect }

// Try asks the profile. It takes every decision by the same functions as a run.
func (s *Spec) Try(x Case) Answer {
	a := Answer{Case: x, Action: Deny}
	fileOp := func(p string, op Op) {
		v := s.Files.Decide(p, op)
		a.Action, a.Rule, a.Reason = v.Action, v.Rule.Origin, v.Reason
	}
	network := func(v Verdict) {
		a.Action, a.Reason = v.Action, v.Reason
		if v.Rule != nil {
			a.Rule = v.Rule.Origin
		}
	}
	switch {
	case x.Connect != "":
		host, port, err := parseTestTarget(x.Connect)
		if err != nil {
			a.Reason = err.Error()
			return a
		}
		network(s.Network.Connect(host, netip.Addr{}, port))
	case x.Resolve != "":
		network(s.Network.Resolve(x.Resolve))
	case len(x.Request) > 0:
		s.tryRequest(x, &a)
	case x.Read != "":
		fileOp(x.Read, OpRead)
	case x.Write != "":
		fileOp(x.Write, OpWrite)
	case x.Exec != "":
		fileOp(x.Exec, OpExec)
	case len(x.Start) > 0:
		v := s.Process.Start(Exec{Path: x.Start[0], Resolved: x.Start[0], Argv: x.Start})
		a.Action, a.Reason = v.Action, v.Reason
		if v.Rule != nil {
			a.Rule = v.Rule.Origin
		}
	}
	return a
}

// tryRequest decides a request as the gateway does: the connection, then the path's
// one spelling, then the request rules and their conditions.
func (s *Spec) tryRequest(x Case, a *Answer) {
	u, err := parseTestRequest(x.Request)
	if err != nil {
		a.Reason = err.Error()
		return
	}
	port, protocol := uint16(443), ProtocolTLS
	if u.Scheme == "http" {
		port, protocol = 80, ProtocolHTTP
	}
	if p := u.Port(); p != "" {
		if port, err = parsePort(p); err != nil {
			a.Reason = err.Error()
			return
		}
	}
	host := u.Hostname()
	v := s.Network.Connect(host, netip.Addr{}, port)
	a.Action, a.Reason = v.Action, v.Reason
	if v.Rule != nil {
		a.Rule = v.Rule.Origin
	}
	if v.Action == Deny {
		return
	}
	if v.Rule.Protocol != protocol && v.Rule.Protocol != ProtocolTCP {
		a.Action, a.Reason = Deny, fmt.Sprintf("the rule is for %s", v.Rule.Protocol)
		return
	}
	if v.Action == Ask || v.Rule.Protocol == ProtocolTCP { // nobody looks into opaque TCP
		return
	}
	raw := u.EscapedPath()
	if raw == "" {
		raw = "/"
	}
	path, err := CanonicalPath(raw)
	if err != nil {
		a.Action, a.Reason = Deny, err.Error()
		return
	}
	facts, err := x.facts(host, path, u)
	if err != nil {
		a.Action, a.Reason = Deny, err.Error()
		return
	}
	s.judgeRequest(s.Network.Access(host, netip.Addr{}, port), facts, a)
}

// judgeRequest tries the rules that match until one's condition holds, of the profile
// and then of the ceiling.
func (s *Spec) judgeRequest(access Access, f RequestFacts, a *Answer) {
	for i, layer := range access.Layers() {
		answer := *a
		layer.judge(f, &answer)
		if answer.Action == Deny {
			*a = answer
			return
		}
		if i == 0 || answer.Action == Ask && a.Action == Allow {
			*a = answer
		}
	}
}

func (l Access) judge(f RequestFacts, a *Answer) {
	matches, denied := l.Request(f.Method, f.Path)
	a.Action, a.Reason = Deny, denied
	for _, m := range matches {
		a.Rule = m.Origin()
		if m.Request == nil || m.Request.When == nil {
			a.Action, a.Reason = Allow, m.Rule.Reason
			m.ask(a)
			return
		}
		test, err := m.Request.When.Compile()
		holds := false
		if err == nil {
			holds, err = test.Holds(f)
		}
		if holds {
			a.Action, a.Reason = Allow, m.Request.Reason
			m.ask(a)
			return
		}
		a.Reason = "the condition of " + m.Request.Origin.String() + " does not hold"
		if err != nil {
			a.Reason += " (" + err.Error() + ")"
		}
	}
}

// ask turns an allow into an ask where the request rule says so.
func (m RequestMatch) ask(a *Answer) {
	if m.Request != nil && m.Request.Ask {
		a.Action = Ask
	}
}

// facts are the request as a condition sees it.
func (x Case) facts(host, path string, u *url.URL) (RequestFacts, error) {
	f := RequestFacts{Method: x.Request[0], Host: host, Path: path, Query: map[string]string{}, Headers: x.Headers}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return f, fmt.Errorf("the query can't be read")
	}
	for k, v := range query {
		f.Query[k] = v[0]
	}
	if len(x.Body) > 0 {
		d := stdjson.NewDecoder(strings.NewReader(string(x.Body)))
		d.UseNumber()
		if err := d.Decode(&f.Body); err != nil {
			return f, fmt.Errorf("the body is no JSON: %w", err)
		}
	}
	return f, nil
}
