package run

import (
	"sync"

	"github.com/agentjail/agentjail/audit"
)

// counter passes records on to the trail and counts them for the run's end.
type counter struct {
	next   audit.Sink
	mu     sync.Mutex
	counts map[string]int64
}

// Emit implements audit.Sink.
func (c *counter) Emit(r audit.Record) {
	if name := countName(r); name != "" {
		c.mu.Lock()
		if c.counts == nil {
			c.counts = map[string]int64{}
		}
		c.counts[name]++
		c.mu.Unlock()
	}
	c.next.Emit(r)
}

func countName(r audit.Record) string {
	with := func(name string, o audit.Outcome) string {
		if o == audit.Allowed || o == "" {
			return name
		}
		return name + "_" + string(o)
	}
	switch r := r.(type) {
	case audit.Exec:
		return with("exec", r.Outcome)
	case audit.Connect:
		return with("connect", r.Outcome)
	case audit.DNS:
		return with("dns", r.Outcome)
	case audit.HTTP:
		return with("http", r.Outcome)
	case audit.File:
		return "file"
	case audit.LimitHit:
		return "limit"
	case audit.Finding:
		return "finding"
	}
	return ""
}

// totals is a copy of the counts.
func (c *counter) totals() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]int64, len(c.counts))
	for k, v := range c.counts {
		out[k] = v
	}
	return out
}

// refused is how often a policy said no.
func refused(counts map[string]int64) int64 {
	return counts["exec_blocked"] + counts["connect_blocked"] + counts["dns_blocked"] + counts["http_blocked"]
}
