package profiles

import (
	"reflect"
	"slices"
)

// How Diff compares what two profiles say about hosts that both allow.

// access compares what may be asked of a region that both allow, how often, with which
// credentials, and where it really goes.
func (d *differ) access(g region, port uint16, over transport, where string, va, vb Verdict) {
	a, b := Access{Rules: []*NetRule{va.Rule}}, Access{Rules: []*NetRule{vb.Rule}}
	if over == tcp {
		a, b = d.a.Network.Access(g.name, g.addr, port), d.b.Network.Access(g.name, g.addr, port)
	}
	if !sameLayers(a.Under, b.Under) {
		d.wider(vb.Rule.Origin, "another ceiling caps %s", where)
	}
	d.requests(a, b, where)
	d.counts(a, b, where)
	for _, r := range b.Rules {
		for _, s := range r.Secrets {
			if !slices.Contains(a.Secrets(), s) {
				d.wider(r.Origin, "the secret %q may go to %s", s, where)
			}
		}
		if va.Rule.Upstream != r.Upstream || va.Rule.UpstreamCA != r.UpstreamCA {
			d.wider(r.Origin, "what is asked of %s goes to %s, vouched for by %s", where, orElse(r.Upstream, "the host itself"), orElse(r.UpstreamCA, "the host's roots"))
		}
		if !slices.ContainsFunc(a.Rules, func(o *NetRule) bool { return r.sameRest(o) }) {
			d.wider(r.Origin, "the rule for %s says something else about it, and may let more through", where)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func sameLayers(a, b *Access) bool {
	if a == nil || b == nil {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// sameRest compares the fields of a rule that nothing here knows.
func (r *NetRule) sameRest(o *NetRule) bool {
	bare := func(r NetRule) reflect.Value {
		r.Label, r.Hosts, r.Ports, r.Protocol, r.Upstream, r.UpstreamCA, r.Reason = "", nil, nil, "", "", "", ""
		r.AnyRequest, r.Requests, r.Secrets, r.Limit = false, nil, nil, nil
		r.Upload, r.Download, r.Connections = 0, 0, 0
		return reflect.ValueOf(r)
	}
	return sameButOrigins(bare(*r), bare(*o))
}

// requests compares the requests that may be made.
func (d *differ) requests(a, b Access, where string) {
	if a.free() {
		return
	}
	if b.free() {
		d.wider(b.Rules[0].Origin, "every request may be made of %s", where)
		return
	}
	used := map[*RequestRule]*RequestRule{}
	for _, r := range b.Rules {
		for i := range r.Requests {
			q := &r.Requests[i]
			for _, m := range q.Methods {
				if !a.coversRequest(m, q, used) {
					d.wider(q.Origin, "%s %s may be asked of %s as it may not be before", m, q.Path, where)
				}
			}
		}
	}
}

// spoken says whether somebody looks into what is spoken under the rule.
func (r *NetRule) spoken() bool { return r.Protocol == ProtocolTLS || r.Protocol == ProtocolHTTP }

// coversRequest finds a rule that lets everything that another one lets with a method.
// A limit of it counts for one other rule only: two that share it would have it twice.
func (a Access) coversRequest(method string, q *RequestRule, used map[*RequestRule]*RequestRule) bool {
	for _, r := range a.Rules {
		for i := range r.Requests {
			o := &r.Requests[i]
			covers := (slices.Contains(o.Methods, method) || slices.Contains(o.Methods, "*")) && pathCovers(o.Path, q.Path) &&
				(o.When == nil || q.When != nil && o.When.Source == q.When.Source) && o.sameRest(q)
			if !covers {
				continue
			}
			if o.Limit == nil {
				return true
			}
			if q.Limit != nil && q.Limit.Rate.within(o.Limit.Rate) && (used[o] == nil || used[o] == q) {
				used[o] = q
				return true
			}
		}
	}
	return false
}

func (q *RequestRule) sameRest(o *RequestRule) bool {
	bare := func(q RequestRule) reflect.Value {
		q.Methods, q.Path, q.When, q.Limit, q.Reason = nil, "", nil, nil, ""
		return reflect.ValueOf(q)
	}
	return sameButOrigins(bare(*q), bare(*o))
}

// counts compares how often and how much. Connections count for the first rule, the
// rest for the rule that lets a request, or for the first where every request is let.
func (d *differ) counts(a, b Access, where string) {
	if most := a.Rules[0].Connections; most != 0 && (b.Rules[0].Connections == 0 || b.Rules[0].Connections > most) {
		d.wider(b.Rules[0].Origin, "there may be more than %d connections to %s", most, where)
	}
	if a.free() {
		a.Rules = a.Rules[:1]
	}
	if b.free() {
		b.Rules = b.Rules[:1]
	}
	// Rule by rule where they are about the same requests, else each against all.
	pairs := len(a.Rules) == len(b.Rules)
	for i := range b.Rules {
		pairs = pairs && (Access{Rules: a.Rules[i : i+1]}).coversAll(Access{Rules: b.Rules[i : i+1]})
	}
	for i, r := range b.Rules {
		against := a.Rules
		if pairs {
			against = a.Rules[i : i+1]
		}
		for _, o := range against {
			more := len(b.Rules) > len(a.Rules) // each rule counts for itself
			size := func(was, is int64) bool { return was != 0 && (is == 0 || is > was || more) }
			if size(o.Upload, r.Upload) {
				d.wider(r.Origin, "more than %s may be uploaded to %s", FormatSize(o.Upload), where)
			}
			if size(o.Download, r.Download) {
				d.wider(r.Origin, "more than %s may be downloaded from %s", FormatSize(o.Download), where)
			}
			if o.Limit != nil && (r.Limit == nil || !r.Limit.Rate.within(o.Limit.Rate) || more) {
				d.wider(r.Origin, "%s may be asked more often than %s", where, o.Limit.Rate)
			}
		}
	}
}

// free says whether every request may be made.
func (a Access) free() bool {
	return !slices.ContainsFunc(a.Rules, func(r *NetRule) bool { return !r.AnyRequest && r.spoken() })
}

func (a Access) coversAll(b Access) bool {
	if a.free() || b.free() {
		return a.free()
	}
	for _, r := range b.Rules {
		for i := range r.Requests {
			for _, m := range r.Requests[i].Methods {
				if !a.coversRequest(m, &r.Requests[i], map[*RequestRule]*RequestRule{}) {
					return false
				}
			}
		}
	}
	return true
}

// secrets reports credentials that are other ones under the same name.
func (d *differ) secrets() {
	for _, s := range d.b.Secrets {
		was := d.a.Secret(s.Name)
		if was != nil {
			s.Optional = was.Optional // without it less is let, never more
		}
		if was != nil && !sameButOrigins(reflect.ValueOf(*was), reflect.ValueOf(s)) {
			d.wider(s.Origin, "the secret %q is another one, or goes to another place in requests", s.Name)
		}
	}
}
