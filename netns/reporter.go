package netns

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// reportDelay is how long a report may wait for others: a connection makes two, and
// waking the supervisor for each costs as much as the connection itself.
const reportDelay = time.Millisecond

// maxPending bounds what waits; beyond it whoever reports waits for the supervisor.
const maxPending = 1 << 20

// reporter sends reports to the supervisor, several in one write.
type reporter struct {
	w    io.Writer
	mu   sync.Mutex
	room *sync.Cond
	buf  bytes.Buffer
	wake chan struct{}
	quit chan struct{}
	done chan struct{}
}

func newReporter(w io.Writer) *reporter {
	r := &reporter{w: w, wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	r.room = sync.NewCond(&r.mu)
	go r.run()
	return r
}

// send queues a report. What can't be sent has no reader any more: the supervisor
// is gone, and the control socket's end of stream ends this process.
func (r *reporter) send(m report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.buf.Len() > maxPending {
		r.room.Wait()
	}
	if writeFrame(&r.buf, m, maxReport) != nil {
		return // larger than a report may be: nothing of it was written
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) run() {
	defer close(r.done)
	for {
		select {
		case <-r.wake:
			time.Sleep(reportDelay)
		case <-r.quit:
			r.flush()
			return
		}
		r.flush()
	}
}

func (r *reporter) flush() {
	r.mu.Lock()
	data := bytes.Clone(r.buf.Bytes())
	r.buf.Reset()
	r.room.Broadcast()
	r.mu.Unlock()
	if len(data) > 0 {
		_, _ = r.w.Write(data) // see send
	}
}

// close sends what is left.
func (r *reporter) close() {
	close(r.quit)
	<-r.done
}
