package netns

import (
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
)

const (
	// maxAskers bounds the connections whose programs are remembered; more than can be
	// open at once.
	maxAskers = 8192

	// askerPatience is how long a record waits for its program to be looked for. The errand
	// for it was sent before the record, so it is due, and how long all of them may take is
	// bounded by the namer: this is for a machine that is busy with something else.
	askerPatience = time.Second

	// askerBurst and a thirtieth of the time (whoPart) bound the waits of all records: a
	// gateway that was taken over can name errands that it never sent, and no record, nor the
	// run's end, is to wait for those.
	askerBurst = 3 * time.Second
)

// askers remembers which program is behind a connection, by the gateway's number of
// it. What was looked for and not found is remembered too, as nobody.
type askers struct {
	mu    sync.Mutex
	known *sync.Cond
	by    map[uint64]audit.Process
	order []uint64 // a ring, so that the oldest one goes first
	next  int
	waits *share
}

func newAskers() *askers {
	a := &askers{by: map[uint64]audit.Process{}, waits: newShare(whoPart, askerBurst, time.Now())}
	a.known = sync.NewCond(&a.mu)
	return a
}

func (a *askers) put(id uint64, p audit.Process) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.by[id]; !ok {
		if len(a.order) < maxAskers {
			a.order = append(a.order, id)
		} else {
			delete(a.by, a.order[a.next])
			a.order[a.next] = id
			a.next = (a.next + 1) % maxAskers
		}
	}
	a.by[id] = p
	a.known.Broadcast()
}

// get is the program behind a connection. One that is being looked for is waited for a
// moment.
func (a *askers) get(id uint64, sought bool) audit.Process {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.by[id]; ok || !sought {
		return p
	}
	began := time.Now()
	if !a.waits.may(began) {
		return audit.Process{}
	}
	patience := min(askerPatience, a.waits.left)
	defer func() { a.waits.spend(time.Since(began)) }()
	end := began.Add(patience)
	timer := time.AfterFunc(patience, a.known.Broadcast)
	defer timer.Stop()
	for {
		p, ok := a.by[id]
		if ok || !time.Now().Before(end) {
			return p
		}
		a.known.Wait()
	}
}

// share is a part of the time: what spends it may go on as long as it took no more
// than that part in the long run, and no more than burst at once.
type share struct {
	part  float64
	burst time.Duration

	left time.Duration
	last time.Time
}

func newShare(part float64, burst time.Duration, now time.Time) *share {
	return &share{part: part, burst: burst, left: burst, last: now}
}

// may says whether there is something left.
func (s *share) may(now time.Time) bool {
	s.left = min(s.burst, s.left+time.Duration(s.part*float64(now.Sub(s.last))))
	s.last = now
	return s.left > 0
}

func (s *share) spend(d time.Duration) { s.left -= d }
