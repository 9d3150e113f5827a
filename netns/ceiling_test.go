package netns

import (
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// TestBothCaps: bytes count for the profile's cap and for the ceiling's, and the one
// that is used up is the one that is blamed.
func TestBothCaps(t *testing.T) {
	q := newQuotas()
	own := q.cap("upload", &profiles.NetRule{Upload: 1000, Label: "own"}, "h")
	under := q.cap("upload", &profiles.NetRule{Upload: 300, Label: "ceiling"}, "h")
	if bothCaps(nil, nil) != nil || bothCaps(own, nil) != own || bothCaps(nil, under) != under {
		t.Error("one cap is not itself")
	}
	// Another rule of the profile does not fill the ceiling's cap again.
	other := q.cap("upload", &profiles.NetRule{Upload: 1000, Label: "other"}, "h")
	if got := bothCaps(own, under).reserve(200); got != 200 {
		t.Errorf("%d of 200", got)
	}
	both := bothCaps(other, under)
	if got := both.reserve(200); got != 100 {
		t.Errorf("%d of what is left, 100", got)
	}
	if !both.empty() || both.blame() != under || own.empty() {
		t.Error("the ceiling's cap is not what is used up")
	}
}

// TestAdmitUnderCeiling: a connection takes a place in both rules' counts, and gives
// back what it took where the other one has none.
func TestAdmitUnderCeiling(t *testing.T) {
	g := &gateway{quotas: newQuotas(), reports: func(report) {}}
	v := profiles.Verdict{Rule: &profiles.NetRule{Label: "own", Connections: 5}, Under: &profiles.NetRule{Label: "ceiling", Connections: 1}}
	first, reason := g.admitRules(v, "h", "connections", false)
	if reason != "" {
		t.Fatal(reason)
	}
	for range 10 { // more often than the profile's rule has places
		if _, reason := g.admitRules(v, "h", "connections", false); reason == "" {
			t.Fatal("the ceiling's count does not hold")
		}
	}
	first.leave()
	if _, reason := g.admitRules(v, "h", "connections", false); reason != "" {
		t.Errorf("places were not given back: %s", reason)
	}
}
