package run

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// trace notes when each stage of a run was done (--trace), so that "where does the
// time go" has an answer on the user's own machine.
type trace struct {
	mu    sync.Mutex
	begun time.Time
	marks []mark
}

type mark struct {
	what string
	at   time.Duration
}

// done notes the end of a stage.
func (t *trace) done(what string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = append(t.marks, mark{what, time.Since(t.begun)})
}

// at notes a stage whose end somebody else timed.
func (t *trace) at(what string, when time.Time) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = append(t.marks, mark{what, when.Sub(t.begun)})
}

// write prints a line a stage: when it was done, and what it took.
func (t *trace) write(w io.Writer) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	// The jail's side overlaps ours.
	slices.SortStableFunc(t.marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	last := time.Duration(0)
	for _, m := range t.marks {
		if _, err := fmt.Fprintf(w, "agentjail: trace %8.2f ms  +%7.2f  %s\n", ms(m.at), ms(m.at-last), m.what); err != nil {
			return err
		}
		last = m.at
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
