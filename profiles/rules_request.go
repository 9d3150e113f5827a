package profiles

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// requests reads what an allow says about the requests to its hosts.
func (d *decoder) requests(c *hcl.BodyContent, r *NetRule) bool {
	ok := true
	r.AnyRequest = true
	for _, q := range c.Blocks.OfType("request") {
		r.AnyRequest = false
		rule, fine := d.request(q)
		ok = ok && fine
		r.Requests = append(r.Requests, rule)
	}
	for _, b := range c.Blocks.OfType("fault") {
		f, fine := d.fault(b)
		ok = ok && fine
		r.Faults = append(r.Faults, f)
	}
	if a := c.Attributes["sanitize"]; a != nil {
		s, fine := d.choice(a.Expr, "kind of answer to sanitize", string(SanitizeHTML))
		r.Sanitize, ok = Sanitize(s), ok && fine
	}
	if a := c.Attributes["secret"]; a != nil {
		ok = d.bind(a, r) && ok
	}
	if a := c.Attributes["limit"]; a != nil {
		r.Limit = d.quota(a)
	}
	for _, f := range []struct {
		name string
		to   *int64
	}{{"upload", &r.Upload}, {"download", &r.Download}} {
		if a := c.Attributes[f.name]; a != nil {
			*f.to, _ = d.size(a.Expr, 1, "a host that may get or send nothing needs no allow")
		}
	}
	if a := c.Attributes["connections"]; a != nil {
		r.Connections, _ = d.integer(a.Expr, "number of connections", math.MaxInt32)
	}
	return ok
}

// quota reads a `limit`.
func (d *decoder) quota(a *hcl.Attribute) *Quota {
	t, ok := d.text(a.Expr)
	if !ok {
		return nil
	}
	rate, err := ParseRate(t.s)
	switch {
	case err != nil:
		d.wrong(t.rng, "Wrong limit", err)
		return nil
	case rate.Count == 0:
		d.fail(t.rng, "Wrong limit", fmt.Sprintf("%q allows nothing: take the rule out instead.", t.s))
		return nil
	}
	return &Quota{Rate: rate, Origin: d.origin(a.NameRange)}
}

// methodName is a method as they are all written; RFC 9110 section 9.1 has them case
// sensitive.
var methodName = lazy(`^[A-Z][A-Z0-9_-]*$`)

func (d *decoder) request(b *hcl.Block) (q RequestRule, ok bool) {
	ok = true
	c := d.content(b.Body, requestSchema())
	q.Origin = d.origin(b.DefRange)
	for m := range strings.SplitSeq(b.Labels[0], "|") {
		switch {
		case m == "CONNECT":
			d.fail(b.LabelRanges[0], "Wrong method", "CONNECT would open a connection to another host: write an allow for that host.")
			ok = false
		case m == "*" && b.Labels[0] == "*", methodName().MatchString(m):
			if !slices.Contains(q.Methods, m) {
				q.Methods = append(q.Methods, m)
			}
		default:
			d.fail(b.LabelRanges[0], "Wrong method", fmt.Sprintf("%q is no method: write for example \"GET\", \"GET|HEAD\", or \"*\" for every one. Methods are upper case.", m))
			ok = false
		}
	}
	path, err := parsePathPattern(b.Labels[1])
	if err != nil {
		d.wrong(b.LabelRanges[1], "Wrong path", err)
		ok = false
	}
	q.Path = path
	if a := c.Attributes["when"]; a != nil {
		q.When = d.condition(a)
		ok = ok && q.When != nil
	}
	if a := c.Attributes["limit"]; a != nil {
		q.Limit = d.quota(a)
	}
	if a := c.Attributes["spend"]; a != nil {
		var fine bool
		q.Spend, fine = d.spend(a)
		ok = ok && fine
	}
	if a := c.Attributes["ask"]; a != nil {
		var fine bool
		q.Ask, fine = d.boolean(a.Expr)
		ok = ok && fine
	}
	if a := c.Attributes["reason"]; a != nil {
		q.Reason, _ = d.sentenceText(a.Expr)
	}
	return q, ok
}

// forProtocol takes out of a rule what its protocol has not. A credential never goes
// over plain HTTP, and nobody looks into SSH, opaque TCP and UDP.
func (r *NetRule) forProtocol() {
	switch r.Protocol {
	case ProtocolTLS:
		return
	case ProtocolHTTP:
		r.Secrets = nil
	default:
		r.Secrets, r.Requests, r.AnyRequest, r.Provider, r.Sanitize, r.Faults = nil, nil, false, "", "", nil
	}
}

// requestProtocol reports what an allow says that none of its protocols can carry
// out, or that one of them would leave open.
func (d *decoder) requestProtocol(c *hcl.BodyContent, rules []NetRule) {
	has := func(p Protocol) bool {
		return slices.ContainsFunc(rules, func(r NetRule) bool { return r.Protocol == p })
	}
	opaque := []Protocol{ProtocolSSH, ProtocolTCP, ProtocolUDP}
	if i := slices.IndexFunc(opaque, has); i >= 0 {
		if blocks := c.Blocks.OfType("request"); len(blocks) > 0 {
			d.fail(blocks[0].DefRange, "Not HTTP", fmt.Sprintf("Request rules are for TLS and HTTP, and this rule also allows %s, where they would not hold. Put its ports into an allow of their own.", opaque[i]))
		}
		if blocks := c.Blocks.OfType("fault"); len(blocks) > 0 {
			d.fail(blocks[0].DefRange, "Not HTTP", fmt.Sprintf("Faults are for TLS and HTTP, and this rule also allows %s, where there would be none. Put its ports into an allow of their own.", opaque[i]))
		}
		if a := c.Attributes["sanitize"]; a != nil {
			d.fail(a.NameRange, "Not HTTP", fmt.Sprintf("Answers are sanitized over TLS and HTTP, and this rule also allows %s, where they would not be. Put its ports into an allow of their own.", opaque[i]))
		}
	}
	if a := c.Attributes["secret"]; a != nil && len(rules) > 0 && !has(ProtocolTLS) {
		d.fail(a.NameRange, "No TLS", "A secret is only sent over TLS, and this rule has none.")
	}
}
