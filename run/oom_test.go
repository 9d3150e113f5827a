package run

import (
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// TestVictims: whatever is looked at first, the kernel's count or a process's end.
func TestVictims(t *testing.T) {
	const agent, child = 2, 7
	type look struct {
		kills int64
		ended []int
	}
	for _, tt := range []struct {
		name  string
		looks []look
		want  bool
	}{
		{"nobody", []look{{0, nil}}, false},
		{"killed by somebody else", []look{{0, []int{agent}}}, false},
		{"count and end at once", []look{{1, []int{agent}}}, true},
		{"at once, and looked at again", []look{{1, []int{agent}}, {1, nil}}, true},
		{"the end not told yet", []look{{1, nil}}, true},
		{"the end long after", []look{{1, nil}, {1, nil}, {1, nil}, {1, []int{agent}}, {1, nil}}, true},
		{"a child before", []look{{1, []int{child}}, {2, []int{agent}}, {2, nil}}, true},
		{"a child of the same look, the end not told yet", []look{{2, []int{child}}}, true},
		{"with a child that somebody else killed", []look{{1, []int{child, agent}}, {1, nil}}, true},
		{"a child, and then the agent by somebody else", []look{{1, nil}, {1, []int{child}}, {1, []int{agent}}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var v victims
			for _, l := range tt.looks {
				var ended []audit.Process
				for _, pid := range l.ended {
					ended = append(ended, audit.Process{PID: pid})
				}
				v.note(l.kills, ended)
			}
			if got := v.has(agent); got != tt.want {
				t.Errorf("killed for want of memory: %v", got)
			}
		})
	}
}

// noTrail keeps nothing.
type noTrail struct{}

func (noTrail) Emit(audit.Record) {}

// TestLostEnd: an end that nobody could tell the status of is found by its number, the
// last one of that number, and is none of the killed.
func TestLostEnd(t *testing.T) {
	c := counter{next: noTrail{}}
	ended := func(pid int, name string, code int) {
		c.Emit(audit.Exit{Process: audit.Process{PID: pid, Name: name}, ExitCode: code})
	}
	ended(1, "forgotten", -1)
	for range maxDead {
		ended(2, "one", -1)
	}
	ended(2, "two", -1)
	ended(3, "known", 1)
	for pid, want := range map[int]string{1: "", 2: "two", 3: ""} {
		if p, ok := c.lostEnd(pid); p.Name != want || ok != (want != "") {
			t.Errorf("%d: %+v %v, want %q", pid, p, ok, want)
		}
	}
	if list := c.killed(); len(list) > 0 {
		t.Errorf("killed: %+v", list)
	}
}
