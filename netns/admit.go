package netns

import (
	"fmt"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// admit holds a connection to its rule's counts. Where requests are counted, it is
// they that use up the rule's limit and caps.
func (g *gateway) admit(c *conn) (leave func(), ok bool) {
	r, host := c.verdict.Rule, c.target().host()
	key := ruleKey(r, host)
	http := r.Protocol == profiles.ProtocolHTTP || g.network.Access(c.name, c.addr, c.port).Plaintext()
	if r.Limit != nil && !http {
		if v := g.quotas.take([]claim{{r.Limit, "host " + key}}); v.quota != nil {
			if v.first {
				g.limitHit(r.Limit.Rate.String(), r.Limit.Rate.Count, "connections", r.Limit.Origin, host)
			}
			g.refuse(c, fmt.Sprintf("the limit of %s connections to %s is used up", r.Limit.Rate, host))
			return nil, false
		}
	}
	if !http {
		c.upCap, c.downCap = g.quotas.cap("upload", r, host), g.quotas.cap("download", r, host)
		for _, b := range []*byteCap{c.upCap, c.downCap} {
			if b.empty() {
				g.capHit(b, host)
				g.refuse(c, capReason(b, host))
				return nil, false
			}
		}
	}
	if r.Connections == 0 {
		return func() {}, true
	}
	if !g.quotas.enter(key, r.Connections) {
		g.limitHit("connections", r.Connections, "connections", r.Origin, host)
		g.refuse(c, fmt.Sprintf("there are %d connections to %s already, which is the rule's limit", r.Connections, host))
		return nil, false
	}
	return func() { g.quotas.leave(key) }, true
}

// limitHit records that a rule's limit was reached.
func (g *gateway) limitHit(limit string, value int64, unit string, rule profiles.Origin, host string) {
	g.reports(report{Limit: &audit.LimitHit{Limit: limit, Value: value, Unit: unit, Action: "refused", Rule: rule.String(), Detail: "host " + host}})
}

// capHit records once that a cap was reached.
func (g *gateway) capHit(b *byteCap, host string) {
	if b.said.CompareAndSwap(false, true) {
		g.limitHit(b.what, b.most, "bytes", b.rule, host)
	}
}
