package netns

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

// quotas counts what rules limit, for the whole run: by the rule's line and the host,
// so that a rule that is about several hosts limits each.
type quotas struct {
	now func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
	bytes   map[string]*byteCap
	conns   map[string]int64
}

func newQuotas() *quotas {
	return &quotas{now: time.Now, buckets: map[string]*bucket{}, bytes: map[string]*byteCap{}, conns: map[string]int64{}}
}

// bucket is what is left of one quota.
type bucket struct {
	profiles.Bucket
	hit bool // it was found empty since it last had a token
}

// claim is one use of a quota.
type claim struct {
	quota *profiles.Quota
	key   string
}

// verdict of a claim.
type verdictQuota struct {
	quota *profiles.Quota // that is used up; nil if none is
	wait  time.Duration   // until there is a token; 0: never in this run
	first bool            // it was not known to be used up
}

// take takes one token of each quota, or of none where one is used up.
func (q *quotas) take(claims []claim) verdictQuota {
	if len(claims) == 0 {
		return verdictQuota{}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for _, c := range claims {
		b := q.buckets[c.key]
		if b == nil {
			b = &bucket{}
			q.buckets[c.key] = b
		}
		if ok, wait := b.Fill(c.quota.Rate, now); !ok {
			v := verdictQuota{quota: c.quota, first: !b.hit, wait: wait}
			b.hit = true
			return v
		}
	}
	for _, c := range claims {
		b := q.buckets[c.key]
		b.Take()
		b.hit = false
	}
	return verdictQuota{}
}

// enter counts a connection in, if there may be one more.
func (q *quotas) enter(key string, most int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conns[key] >= most {
		return false
	}
	q.conns[key]++
	return true
}

func (q *quotas) leave(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.conns[key]--; q.conns[key] <= 0 {
		delete(q.conns, key)
	}
}

// byteCap is what is left of a number of bytes. A nil one has no end.
type byteCap struct {
	left atomic.Int64
	most int64
	what string // "upload" or "download"
	rule profiles.Origin
	said atomic.Bool

	parts []*byteCap // of a cap that is two: the profile's and the ceiling's
}

// bothCaps is one cap that holds as long as both do.
func bothCaps(a, b *byteCap) *byteCap {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return &byteCap{parts: []*byteCap{a, b}}
}

// blame is the cap that is used up, of one that is two.
func (c *byteCap) blame() *byteCap {
	for _, p := range c.parts {
		if p.empty() {
			return p
		}
	}
	if len(c.parts) > 0 {
		return c.parts[0]
	}
	return c
}

// cap is the cap of a rule and host; nil where the rule has none.
func (q *quotas) cap(what string, r *profiles.NetRule, host string) *byteCap {
	most := r.Upload
	if what == "download" {
		most = r.Download
	}
	if most <= 0 {
		return nil
	}
	key := what + " " + ruleKey(r, host)
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.bytes[key]
	if c == nil {
		c = &byteCap{most: most, what: what, rule: r.Origin}
		c.left.Store(most)
		q.bytes[key] = c
	}
	return c
}

// reserve takes up to n bytes and says how many it got. Who gets less than he asked for
// ends: what was left is used up with it.
func (c *byteCap) reserve(n int64) int64 {
	if c == nil {
		return n
	}
	if len(c.parts) > 0 {
		got := n
		for _, p := range c.parts {
			got = min(got, p.reserve(n))
		}
		return got
	}
	for {
		left := c.left.Load()
		got := min(n, left)
		if got <= 0 {
			return 0
		}
		if c.left.CompareAndSwap(left, left-got) {
			return got
		}
	}
}

func (c *byteCap) empty() bool {
	switch {
	case c == nil:
		return false
	case len(c.parts) > 0:
		return c.blame().empty()
	}
	return c.left.Load() <= 0
}

// ruleKey tells a rule's counts for one host from all others.
func ruleKey(r *profiles.NetRule, host string) string {
	return r.Origin.String() + " " + r.Label + " " + host
}

// claims are the quotas that a request of a matching rule uses.
func claims(m profiles.RequestMatch, host string) (list []claim) {
	if m.Rule == nil {
		return nil
	}
	if m.Rule.Limit != nil {
		list = append(list, claim{m.Rule.Limit, "host " + ruleKey(m.Rule, host)})
	}
	if m.Request != nil && m.Request.Limit != nil {
		key := "request " + m.Request.Origin.String() + " " + m.Request.Path
		for _, method := range m.Request.Methods {
			key += " " + method
		}
		list = append(list, claim{m.Request.Limit, key + " " + host})
	}
	return list
}
