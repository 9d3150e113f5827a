package audit

import (
	"testing"
	"testing/synctest"
)

// The queue is bounded: while nobody takes, putting waits.
func TestQueueIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry entry
		room  int
	}{{"entries", entry{}, queueEntries}, {"text", entry{size: queueText / 4}, 4}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue()
				for range tt.room + 3 {
					go q.put(&tt.entry)
				}
				synctest.Wait() // all that can be done without a taker is done
				if got, _ := q.take(nil); len(got) != tt.room {
					t.Errorf("%d entries are queued, want %d", len(got), tt.room)
				}
				synctest.Wait()
				if got, _ := q.take(nil); len(got) != 3 {
					t.Errorf("then %d entries are queued, want 3", len(got))
				}
			})
		})
	}
}

// Close lets go of those who wait for room.
func TestQueueCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		refused := 0
		for range queueEntries + 1 {
			go func() {
				if !q.put(&entry{}) {
					refused++ // one at most: only then are there no others
				}
			}()
		}
		synctest.Wait()
		q.close()
		synctest.Wait()
		if got, closed := q.take(nil); len(got) != queueEntries || !closed || refused != 1 {
			t.Errorf("%d entries, closed %v, %d refused", len(got), closed, refused)
		}
	})
}
