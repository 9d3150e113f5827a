package netns

import (
	"math"
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

// bucket is a token bucket: full at first, and filled again evenly. One of a whole run
// is never filled again.
type bucket struct {
	tokens float64
	filled time.Time
	hit    bool // it was found empty since it last had a token
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
		b := q.fill(c, now)
		if b.tokens < 1 {
			v := verdictQuota{quota: c.quota, first: !b.hit}
			b.hit = true
			if r := c.quota.Rate; r.Per > 0 {
				missing := (1 - b.tokens) * float64(r.Per) / float64(r.Count)
				v.wait = time.Duration(math.Ceil(missing))
			}
			return v
		}
	}
	for _, c := range claims {
		b := q.buckets[c.key]
		b.tokens--
		b.hit = false
	}
	return verdictQuota{}
}

func (q *quotas) fill(c claim, now time.Time) *bucket {
	r := c.quota.Rate
	b := q.buckets[c.key]
	if b == nil {
		b = &bucket{tokens: float64(r.Count), filled: now}
		q.buckets[c.key] = b
	}
	if r.Per > 0 {
		b.tokens = min(float64(r.Count), b.tokens+float64(r.Count)*float64(now.Sub(b.filled))/float64(r.Per))
	}
	b.filled = now
	return b
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

func (c *byteCap) empty() bool { return c != nil && c.left.Load() <= 0 }

// ruleKey tells a rule's counts for one host from all others.
func ruleKey(r *profiles.NetRule, host string) string {
	return r.Origin.String() + " " + r.Label + " " + host
}

// claims are the quotas that a request of a matching rule uses.
func claims(m profiles.RequestMatch, host string) (list []claim) {
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
