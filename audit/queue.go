package audit

import "sync"

// The queue holds at most this many entries and this much text, so that a flood
// from the jail costs the jail time and not the supervisor memory. The writer
// takes all of it at once, so at most twice this is in memory; an entry takes about
// 2 KiB beside its text, and a denial, which may be added to, 6 KiB.
const (
	queueEntries = 1024
	queueText    = 4 << 20
)

// A queue takes entries from any number of goroutines to the one that writes.
type queue struct {
	mu      sync.Mutex
	room    sync.Cond // signalled when entries were taken
	entries []*entry
	text    int
	closed  bool
	wake    chan struct{} // one token: there is something to take
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1)}
	q.room.L = &q.mu
	return q
}

// put waits while the queue is full. It reports false, and the entry is gone,
// only after close.
func (q *queue) put(e *entry) bool {
	q.mu.Lock()
	for !q.closed && (len(q.entries) >= queueEntries || q.text >= queueText) {
		q.room.Wait()
	}
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.entries = append(q.entries, e)
	q.text += e.size
	q.mu.Unlock()
	q.signal()
	return true
}

// take gives everything that is queued and takes an empty slice to go on with.
// closed means that nothing will follow.
func (q *queue) take(empty []*entry) (entries []*entry, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	entries, q.entries = q.entries, empty[:0]
	q.text = 0
	q.room.Broadcast()
	return entries, q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.room.Broadcast()
	q.mu.Unlock()
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // a token is there already
	}
}
