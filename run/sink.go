package run

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/filewatch"
	"github.com/agentjail/agentjail/run/monitor"
	"github.com/agentjail/agentjail/run/react"
)

// Counts that are sums over the calls of models.
const (
	countModels   = "model"
	countTokens   = "model_tokens"
	countCost     = "model_cost_microusd"
	countUnpriced = "model_unpriced" // calls whose cost nobody knows
	countNames    = "name_blocked"   // refused in a workspace in direct mode; each is a finding too
	countInexact  = "model_inexact"  // calls whose answers did not tell all that they used
)

// counter passes records on to the trail and counts them for the run's end.
type counter struct {
	next   audit.Sink
	happen func(react.Event)                  // takes what a profile may react to; nil for nobody
	seen   atomic.Pointer[func(audit.Record)] // watches everything; nil for nobody
	mu     sync.Mutex
	counts map[string]int64
	dead   []audit.Process // that were killed since somebody asked
	lost   []audit.Process // that ended, and nobody could say how

	files atomic.Pointer[filewatch.Watch] // sees changes as they happen
}

// maxDead bounds the processes of a kind that are remembered.
const maxDead = 16

// killed are the processes that ended by SIGKILL since it was last asked, at most maxDead.
func (c *counter) killed() []audit.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := c.dead
	c.dead = nil
	return list
}

// lostEnd is the process of a number of which the trail could not say how it ended, as
// before Linux 6.15 where its parent was faster (jail/exits.go).
func (c *counter) lostEnd(pid int) (audit.Process, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range slices.Backward(c.lost) {
		if p.PID == pid {
			return p, true
		}
	}
	return audit.Process{}, false
}

// remember keeps the last maxDead.
func remember(list []audit.Process, p audit.Process) []audit.Process {
	return append(list[max(len(list)-maxDead+1, 0):], p)
}

// Emit implements audit.Sink.
func (c *counter) Emit(r audit.Record) {
	if x, ok := r.(audit.Exit); ok {
		c.mu.Lock()
		switch {
		case x.Signal == "SIGKILL":
			c.dead = remember(c.dead, x.Process)
		case x.ExitCode == -1:
			c.lost = remember(c.lost, x.Process)
		}
		c.mu.Unlock()
	}
	if name := countName(r); name != "" {
		c.mu.Lock()
		if c.counts == nil {
			c.counts = map[string]int64{}
		}
		c.counts[name]++
		if m, ok := r.(audit.ModelCall); ok {
			c.counts[countTokens] += m.Input + m.Output + m.CacheRead + m.CacheWrite
			if m.CostMicroUSD != nil {
				// A sum that stays at its end: what an agent asks for may be beyond all bounds.
				c.counts[countCost] = int64(profiles.Amount(c.counts[countCost]).Add(profiles.Amount(*m.CostMicroUSD)))
			} else {
				c.counts[countUnpriced]++
			}
			if m.Usage != "whole" {
				c.counts[countInexact]++
			}
		}
		if f, ok := r.(audit.Finding); ok && f.Event == jail.NamingEvent {
			c.counts[countNames]++
		}
		if f, ok := r.(audit.File); ok {
			c.counts["file_"+string(f.Op)]++ // what the overlay, or the folder itself, says in the end
		}
		c.mu.Unlock()
	}
	c.next.Emit(r)
	if seen := c.seen.Load(); seen != nil {
		(*seen)(r)
	}
	if c.happen != nil {
		if e, ok := react.Of(r); ok {
			c.happen(e)
		}
	}
}

// watch has f see every record from now on; nil ends that.
func (c *counter) watch(f func(audit.Record)) {
	if f == nil {
		c.seen.Store(nil)
		return
	}
	c.seen.Store(&f)
}

// progress is what the monitor looks at. What was tried counts, also where it was refused
// or failed.
func (c *counter) progress() monitor.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	tried := func(kind string) int64 { return c.counts[kind] + c.counts[kind+"_blocked"] + c.counts[kind+"_failed"] }
	files := c.files.Load().Totals()
	return monitor.Counts{Created: files.Created, Deleted: files.Deleted, Changed: files.Modified + files.Renamed, Execs: tried("exec"), Connects: tried("connect"), Requests: tried("http"), Denials: refused(c.counts),
		Tokens: c.counts[countTokens], Cost: c.counts[countCost]}
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
	case audit.ModelCall:
		return with(countModels, r.Outcome)
	case audit.ModelTool:
		return "tool"
	case audit.Signature:
		return with("signature", r.Outcome)
	case audit.Approval:
		if r.Step == audit.ApprovalAsked || r.Step == audit.ApprovalGranted {
			return "approval_" + r.Step
		}
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
	// What was seen as it happened is not what has come of it, which is "file".
	for k, v := range c.files.Load().Totals().Counts() {
		out["live_"+k] = v
	}
	return out
}

// refused is how often a policy said no.
func refused(counts map[string]int64) int64 {
	return counts["exec_blocked"] + counts["connect_blocked"] + counts["dns_blocked"] + counts["http_blocked"] + counts["signature_blocked"] + counts[countNames]
}

// modelsUsed says in a few words what models were used; nil where none was.
func modelsUsed(counts map[string]int64) *modelTotals {
	calls := counts[countModels] + counts[countModels+"_"+string(audit.Failed)] + counts[countModels+"_"+string(audit.Blocked)]
	if calls == 0 {
		return nil
	}
	return &modelTotals{Calls: calls, Tokens: counts[countTokens], CostMicroUSD: counts[countCost], Unpriced: counts[countUnpriced], Inexact: counts[countInexact], Tools: counts["tool"]}
}

// modelTotals are a run's calls of models.
type modelTotals struct {
	Calls        int64 `json:"calls"`
	Tokens       int64 `json:"tokens"`
	CostMicroUSD int64 `json:"cost_microusd"`
	Unpriced     int64 `json:"unpriced,omitempty"`
	Inexact      int64 `json:"inexact,omitempty"`
	Tools        int64 `json:"tools"`
}

// String is for the line at a run's end: what is not known is not passed off as nothing.
func (m *modelTotals) String() string {
	text := plural(int(m.Calls), "model call") + ", " + plural(int(m.Tokens), "token")
	if m.Inexact > 0 {
		text += " at least"
	}
	switch cost := m.cost(); {
	case m.Unpriced == m.Calls:
		return text + ", cost unknown"
	case m.Unpriced > 0:
		return text + ", " + strings.TrimPrefix(cost, "≥ ") + " at least"
	default:
		return text + ", " + cost
	}
}

// cost is what the calls cost, in a table's cell.
func (m *modelTotals) cost() string {
	switch {
	case m.Unpriced == m.Calls:
		return "unknown"
	case m.Unpriced > 0:
		return "≥ " + audit.Dollars(m.CostMicroUSD)
	}
	return audit.Dollars(m.CostMicroUSD)
}
