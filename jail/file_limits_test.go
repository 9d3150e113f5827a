package jail

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

func TestFileLimits(t *testing.T) {
	now := time.Unix(1000, 0)
	rate := func(count int64, per time.Duration) profiles.FileLimit {
		return profiles.FileLimit{Action: "delete", Rate: profiles.Rate{Count: count, Per: per}, Origin: profiles.Origin{File: "x.hcl", Line: int(count)}}
	}
	l := newFileLimits([]profiles.FileLimit{rate(3, time.Second), rate(4, 0)})
	l.now = func() time.Time { return now }
	if len(l.calls) < 3 {
		t.Errorf("%d calls are known", len(l.calls))
	}
	for i, want := range []struct {
		after time.Duration
		line  int // of the limit that refuses; 0 for none
		wait  time.Duration
	}{{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 3, time.Second / 3}, {400 * time.Millisecond, 0, 0}, {0, 3, 800 * time.Millisecond / 3}, {time.Minute, 4, 0}} {
		now = now.Add(want.after)
		limit, wait := l.take()
		line := 0
		if limit != nil {
			line = limit.Origin.Line
		}
		if line != want.line || wait.Round(time.Millisecond) != want.wait.Round(time.Millisecond) {
			t.Errorf("%d: refused by line %d for %v, want %+v", i, line, wait, want)
		}
	}
	if l.allowed.Load() != 4 || l.refused != 3 {
		t.Errorf("%d let through, %d refused", l.allowed.Load(), l.refused)
	}
}

func TestPlanFileLimits(t *testing.T) {
	limit := []profiles.FileLimit{{Action: "delete", Rate: profiles.Rate{Count: 1}, Origin: profiles.Origin{File: "x.hcl", Line: 2}}}
	if names, err := planFileLimits(profiles.Files{}, []string{"io_uring_setup"}); err != nil || names != nil {
		t.Errorf("%q %v without a limit", names, err)
	}
	names, err := planFileLimits(profiles.Files{Limits: limit}, nil)
	if err != nil || !slices.Contains(names, "unlinkat") || !slices.Contains(names, "renameat2") {
		t.Errorf("%q %v", names, err)
	}
	if _, err := planFileLimits(profiles.Files{Limits: limit}, []string{"io_uring_setup"}); err == nil || !strings.Contains(err.Error(), "x.hcl:2") || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("with io_uring: %v", err)
	}
}
