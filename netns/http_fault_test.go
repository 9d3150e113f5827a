package netns

import (
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// TestFaultDraw: with a seed the sequence is always the same one, each fault has its
// own, and the share is about the rate.
func TestFaultDraw(t *testing.T) {
	seed := func(n int64) *int64 { return &n }
	sequence := func(f *faults, x *profiles.Fault, n int) (s string, hits int) {
		for range n {
			if f.draw(x) {
				s += "x"
				hits++
			} else {
				s += "-"
			}
		}
		return s, hits
	}
	origin := profiles.Origin{File: "a.hcl", Line: 3}
	tenth := &profiles.Fault{Kind: profiles.FaultStatus, Rate: 0.25, Seed: seed(1), Origin: origin}
	first, _ := sequence(newFaults(), tenth, 32)
	// Written down: a profile's tests rely on it from one version to the next.
	if want := "---x-xx-x--x--------------x--xxx"; first != want {
		t.Errorf("%q, want %q", first, want)
	}
	moved := *tenth
	moved.Origin.Line = 99
	if s, _ := sequence(newFaults(), &moved, 32); s != first {
		t.Errorf("a line further down it is %q", s)
	}
	for name, other := range map[string]profiles.Fault{
		"another seed": {Kind: profiles.FaultStatus, Rate: 0.25, Seed: seed(2)},
		"another kind": {Kind: profiles.FaultReset, Rate: 0.25, Seed: seed(1)},
	} {
		if s, _ := sequence(newFaults(), &other, 32); s == first {
			t.Errorf("%s draws the same", name)
		}
	}
	// One fault's draws are not another's.
	f := newFaults()
	other := &profiles.Fault{Kind: profiles.FaultReset, Rate: 0.5, Origin: origin}
	got := ""
	for range 32 {
		s, _ := sequence(f, tenth, 1)
		got += s
		f.draw(other)
	}
	if got != first {
		t.Errorf("between another's draws: %q", got)
	}
	for _, rate := range []float64{0.01, 0.25, 0.5, 1} {
		const n = 20_000
		_, hits := sequence(newFaults(), &profiles.Fault{Kind: profiles.FaultDelay, Rate: rate, Seed: seed(3)}, n)
		if share := float64(hits) / n; share < rate-0.02 || share > rate+0.02 {
			t.Errorf("rate %v: %v of the requests", rate, share)
		}
	}
	// Without a seed, another one in each run: 64 draws that agree are no chance.
	free := &profiles.Fault{Kind: profiles.FaultStatus, Rate: 0.5}
	a, _ := sequence(newFaults(), free, 64)
	b, _ := sequence(newFaults(), free, 64)
	if a == b {
		t.Errorf("two runs without a seed drew %q", a)
	}
}
