package monitor

import (
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// Ten hours of samples: a bounded number of events, without a gap, that add up to what
// happened.
func TestFold(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(i int) Sample {
		n := int64(i)
		return Sample{At: start.Add(time.Duration(i) * time.Second), Usage: Usage{CPU: time.Duration(n) * time.Second / 2, Memory: n % 100, Processes: n % 7, Network: 3 * n, Source: "proc"},
			Counts: Counts{Execs: n, Connects: 2 * n, Requests: 3 * n, Denials: 4 * n, Tokens: 5 * n, Cost: 6 * n}}
	}
	f := NewFold(at(0))
	var events []audit.Resources
	const end = 36_001
	for i := 1; i <= end; i++ {
		if e := f.Add(at(i)); e != nil {
			events = append(events, *e)
		}
	}
	if e := f.End(); e != nil {
		events = append(events, *e)
	}
	if f.End() != nil {
		t.Error("it ended twice")
	}
	if len(events) > 610 {
		t.Errorf("%d events", len(events))
	}
	var sum audit.Point
	next, points := start, 0
	for _, e := range events {
		if !e.Start.Equal(next) {
			t.Fatalf("a gap: %v, want %v", e.Start, next)
		}
		next = e.End
		points += len(e.Points)
		if got := e.End.Sub(e.Start); got > time.Duration(len(e.Points))*e.Step || got <= time.Duration(len(e.Points)-1)*e.Step {
			t.Errorf("%d steps of %v take %v", len(e.Points), e.Step, got)
		}
		for _, p := range e.Points {
			sum.CPU += p.CPU
			sum.Network += p.Network
			sum.Execs += p.Execs
			sum.Connects += p.Connects
			sum.Requests += p.Requests
			sum.Denials += p.Denials
			sum.Tokens += p.Tokens
			sum.Cost += p.Cost
			sum.Memory = max(sum.Memory, p.Memory)
		}
	}
	want := audit.Point{CPU: end * time.Second / 2, Memory: 99, Network: 3 * end, Execs: end, Connects: 2 * end, Requests: 3 * end, Denials: 4 * end, Tokens: 5 * end, Cost: 6 * end}
	if sum != want {
		t.Errorf("the sum is %+v, want %+v", sum, want)
	}
	if points > 300+660+1081 || points < 300+660+1079 {
		t.Errorf("%d steps", points)
	}
	if !next.Equal(start.Add(end * time.Second)) {
		t.Errorf("it ends at %v", next)
	}
}

// Samples that are late, a clock that is set back, a machine that slept.
func TestFoldOddTimes(t *testing.T) {
	start := time.Unix(1000, 0)
	f := NewFold(Sample{At: start})
	total := int64(0)
	count := func(e *audit.Resources) {
		if e == nil {
			return
		}
		for _, p := range e.Points {
			total += p.Execs
		}
	}
	n := int64(0)
	for _, at := range []time.Duration{500, 900, 4200, 4300, 100, 9000, 10_000_000, 10_001_000} {
		n++
		count(f.Add(Sample{At: start.Add(at * time.Millisecond), Counts: Counts{Execs: n}}))
	}
	count(f.End())
	// What is counted while the machine slept belongs to no step.
	if total != n-1 {
		t.Errorf("%d of %d", total, n)
	}
}
