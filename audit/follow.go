package audit

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Follow gives the events of a trail that is still being written, up to and with
// the one that ends the run, and looks for more every poll. It also ends when ctx
// is done, or when over says that nobody writes any more (the run crashed: no
// RunEnd will come) and what was there has been read. over may be nil.
//
// A line that is cut off while the run goes on is one that is being written; it
// is an error only after over.
func Follow(ctx context.Context, r io.Reader, poll time.Duration, over func() bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		lines := newLineReader(r)
		ticker := time.NewTicker(poll)
		defer ticker.Stop()
		ended := false
		for ctx.Err() == nil {
			e, err := lines.event(ended)
			if errors.Is(err, io.EOF) {
				if ended {
					return
				}
				// Asked before the next look at the file, so that nothing that was
				// written before it became true is missed.
				if ended = over != nil && over(); !ended {
					select {
					case <-ctx.Done():
					case <-ticker.C:
					}
				}
				continue
			}
			if !yield(e, err) || !recoverable(err) || e.EndsRun() {
				return
			}
		}
	}
}

// EndsRun says whether the event is the last one of a run.
func (e Event) EndsRun() bool { return e.ClassUID == 6002 && e.ActivityID == 4 }
