package netns

import (
	"fmt"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// admission is a place within a rule's counts.
type admission struct {
	up, down *byteCap
	leave    func()
}

// admit holds a connection to its rule's counts. Where requests are counted, it is
// they that use up the rule's limit and caps.
func (g *gateway) admit(c *conn) (leave func(), ok bool) {
	requests := c.verdict.Rule.Protocol == profiles.ProtocolHTTP || g.policy(c).Access(c.name, c.addr, c.port).Plaintext()
	a, reason := g.admitRules(c.verdict, c.target().host(), "connections", requests)
	if reason != "" {
		g.refuse(c, reason)
		return nil, false
	}
	c.upCap, c.downCap = a.up, a.down
	return a.leave, true
}

// admitRules is admitRule for the profile's rule and the ceiling's; requests says that
// the limit and the caps are for requests to use up.
func (g *gateway) admitRules(v profiles.Verdict, host, what string, requests bool) (admission, string) {
	all := admission{leave: func() {}}
	for _, r := range []*profiles.NetRule{v.Rule, v.Under} {
		if r == nil {
			continue
		}
		counted := *r
		if requests {
			counted.Limit, counted.Upload, counted.Download = nil, 0, 0
		}
		a, reason := g.admitRule(&counted, host, what)
		if reason != "" {
			all.leave()
			return admission{}, reason
		}
		before := all.leave
		all.leave = func() { a.leave(); before() }
		all.up, all.down = bothCaps(all.up, a.up), bothCaps(all.down, a.down)
	}
	return all, ""
}

// admitRule takes a place within a rule's counts for one host, or says why there is
// none. what is counted: "connections" or "flows".
func (g *gateway) admitRule(r *profiles.NetRule, host, what string) (a admission, reason string) {
	key := ruleKey(r, host)
	if r.Limit != nil {
		if v := g.quotas.take([]claim{{r.Limit, "host " + key}}); v.quota != nil {
			if v.first {
				g.limitHit(r.Limit.Rate.String(), r.Limit.Rate.Count, what, r.Limit.Origin, host)
			}
			return a, fmt.Sprintf("the limit of %s %s to %s is used up", r.Limit.Rate, what, host)
		}
	}
	a.up, a.down = g.quotas.cap("upload", r, host), g.quotas.cap("download", r, host)
	for _, b := range []*byteCap{a.up, a.down} {
		if b.empty() {
			g.capHit(b, host)
			return a, capReason(b, host)
		}
	}
	a.leave = func() {}
	if r.Connections == 0 {
		return a, ""
	}
	if !g.quotas.enter(key, r.Connections) {
		g.limitHit("connections", r.Connections, what, r.Origin, host)
		return a, fmt.Sprintf("there are %d %s to %s already, which is the rule's limit", r.Connections, what, host)
	}
	a.leave = func() { g.quotas.leave(key) }
	return a, ""
}

// limitHit records that a rule's limit was reached.
func (g *gateway) limitHit(limit string, value int64, unit string, rule profiles.Origin, host string) {
	g.reports(report{Limit: &audit.LimitHit{Limit: limit, Value: value, Unit: unit, Action: "refused", Rule: rule.String(), Detail: "host " + host}})
}

// capHit records once that a cap was reached.
func (g *gateway) capHit(b *byteCap, host string) {
	b = b.blame()
	if b.said.CompareAndSwap(false, true) {
		g.limitHit(b.what, b.most, "bytes", b.rule, host)
	}
}
