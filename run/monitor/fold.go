package monitor

import (
	"time"

	"github.com/agentjail/agentjail/audit"
)

// Counts are what a run did so far, counted from its records. They only grow.
type Counts struct {
	Execs    int64 `json:"execs"`
	Connects int64 `json:"connects"`
	Requests int64 `json:"requests"`
	Denials  int64 `json:"denials"`
	Tokens   int64 `json:"tokens"`
	Cost     int64 `json:"cost_microusd"`

	// Files of the workspace, seen as they were made, deleted, written or renamed.
	Created int64 `json:"created,omitempty"`
	Deleted int64 `json:"deleted,omitempty"`
	Changed int64 `json:"changed,omitempty"`
}

// Minus is what was added since.
func (c Counts) Minus(o Counts) Counts {
	return Counts{c.Execs - o.Execs, c.Connects - o.Connects, c.Requests - o.Requests, c.Denials - o.Denials, c.Tokens - o.Tokens, c.Cost - o.Cost,
		c.Created - o.Created, c.Deleted - o.Deleted, c.Changed - o.Changed}
}

// Usage is what a run's processes hold and have used at one moment.
type Usage struct {
	CPU       time.Duration `json:"cpu"` // since the run's start
	Memory    int64         `json:"memory"`
	Processes int64         `json:"processes"`
	Network   int64         `json:"network"` // bytes since the run's start
	Source    string        `json:"source"`  // what told it
}

// Sample is one look at a run.
type Sample struct {
	At     time.Time
	Usage  Usage
	Counts Counts
}

// stepAt is how long the steps of a timeline are at a run's age: what lately happened
// is worth a closer look than an hour of a long run is.
func stepAt(age time.Duration) time.Duration {
	switch {
	case age < 5*time.Minute:
		return time.Second
	case age < time.Hour:
		return 5 * time.Second
	}
	return 30 * time.Second
}

// eventSpan is how much of a timeline one event has: what a crash can lose of it.
const eventSpan = time.Minute

// Fold makes a timeline of samples, in events of a bounded number.
type Fold struct {
	begun time.Time
	event audit.Resources // that is being filled
	until time.Time       // the end of the step that is being filled
	last  Sample          // the one before
	base  Sample          // at the start of the step
	most  audit.Point     // what the step's samples saw of what does not add up
	some  bool            // the step has a sample
}

// NewFold begins a timeline with its first sample.
func NewFold(first Sample) *Fold {
	f := &Fold{begun: first.At, last: first}
	f.begin(first)
	return f
}

func (f *Fold) begin(s Sample) {
	f.event = audit.Resources{Start: s.At, Step: stepAt(s.At.Sub(f.begun)), Source: s.Usage.Source}
	f.open(s.At, s)
}

func (f *Fold) open(at time.Time, s Sample) {
	f.until, f.base, f.most, f.some = at.Add(f.event.Step), s, audit.Point{}, false
}

// Add takes the next sample, and gives an event where one is full. Should the clock
// jump or the machine have slept, the steps in between are left out with the events'
// start and end: nothing is invented for them.
func (f *Fold) Add(s Sample) (full *audit.Resources) {
	if s.At.Before(f.last.At) {
		return nil // the clock was set back: wait until it has caught up
	}
	if s.At.Sub(f.last.At) > eventSpan {
		full = f.End()
		f.last = s
		f.begin(s)
		return full
	}
	f.some = true
	f.most.Memory = max(f.most.Memory, s.Usage.Memory)
	f.most.Processes = max(f.most.Processes, s.Usage.Processes)
	f.last = s
	if s.At.Before(f.until) {
		return nil
	}
	f.close(s)
	// A sample that came late ends the steps that it passed over: they have nothing, since
	// what happened was counted in the one before it.
	for !s.At.Before(f.until.Add(f.event.Step)) {
		f.event.Points = append(f.event.Points, audit.Point{Memory: s.Usage.Memory, Processes: s.Usage.Processes})
		f.until = f.until.Add(f.event.Step)
	}
	if f.until.Sub(f.event.Start) < eventSpan {
		f.open(f.until, s)
		return nil
	}
	e := f.event
	e.End = f.until
	next := s
	next.At = f.until
	f.begin(next)
	return &e
}

// close ends a step with the sample that reached its end.
func (f *Fold) close(s Sample) {
	did := s.Counts.Minus(f.base.Counts)
	p := f.most
	p.CPU = max(s.Usage.CPU-f.base.Usage.CPU, 0)
	p.Network = max(s.Usage.Network-f.base.Usage.Network, 0)
	p.Execs, p.Connects, p.Requests, p.Denials, p.Tokens, p.Cost = did.Execs, did.Connects, did.Requests, did.Denials, did.Tokens, did.Cost
	f.event.Points = append(f.event.Points, p)
}

// End gives what there is of the last event; nil where that is nothing.
func (f *Fold) End() *audit.Resources {
	if f.some {
		f.close(f.last)
		f.some = false
	}
	if len(f.event.Points) == 0 {
		return nil
	}
	e := f.event
	e.End = f.last.At
	f.event.Points = nil
	return &e
}
