package run

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/changes"
)

// TestClockStepped: a clock that was set back is found, one that was set forward, or a
// machine that slept, is none of it.
func TestClockStepped(t *testing.T) {
	at := func(wall, boot int64) clockAt { return clockAt{unix.Timespec{Sec: wall}, unix.Timespec{Sec: boot}} }
	for _, tt := range []struct {
		wall, boot int64
		want       bool
	}{{1010, 60, false}, {1009, 60, true}, {900, 60, true}, {5000, 60, false}, {1000, 50, false}} {
		if got := at(1000, 50).stepped(at(tt.wall, tt.boot)); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestDirectCollects: a file is looked into if its ctime is of the run, if its file system
// does not keep that time, and if the clock was set back; what a rule is about comes first.
func TestDirectCollects(t *testing.T) {
	g, err := guardDirect(&profiles.Spec{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	began := g.was.clock
	entry := func(name string, after int64, marked bool) changes.Entry {
		return changes.Entry{Path: name, Type: changes.TypeFile, Changed: unix.Timespec{Sec: began.wall.Sec + after, Nsec: began.wall.Nsec}, Marked: func() bool { return marked }}
	}
	later := began
	later.wall.Sec, later.boot.Sec = later.wall.Sec+60, later.boot.Sec+60
	back := later
	back.wall.Sec -= 30
	for _, tt := range []struct {
		e           changes.Entry
		now         clockAt
		first, rest int
	}{
		{entry("a.txt", -1, true), later, 0, 0},
		{entry("a.txt", 0, true), later, 0, 1},
		{entry("a.txt", 5, true), later, 0, 1},
		{entry("a.go", 5, true), later, 1, 0},
		{entry("a.txt", -1, false), later, 0, 1},
		{entry("a.txt", -1, true), back, 0, 1},
	} {
		c, see := g.collect(tt.now)
		see(tt.e)
		if len(c.first) != tt.first || len(c.rest) != tt.rest || c.unlooked != 0 {
			t.Errorf("%s at %d: %d first, %d others, %d not looked into", tt.e.Path, tt.e.Changed.Sec-began.wall.Sec, len(c.first), len(c.rest), c.unlooked)
		}
	}
	c, see := g.collect(later)
	for range maxLookedInto + 7 {
		see(entry("a.txt", 5, true))
	}
	if see(entry("z.go", 5, true)); len(c.first) != 1 || len(c.rest) != maxLookedInto || c.unlooked != 7 {
		t.Errorf("%d first, %d others, %d not looked into", len(c.first), len(c.rest), c.unlooked)
	}
}
