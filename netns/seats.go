package netns

import (
	"container/list"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// maxConns bounds the agent's connections at once, by what their memory may cost the
	// host: 10,752 of one rule, which has three quarters.
	maxConns = 14336

	// maxSockets bounds their sockets, of which a connection has one and, once its host
	// has been dialled, another.
	maxSockets = 2 * maxConns

	// maxSplices bounds the directions that have a pipe, of two descriptors, for
	// splice(2); the others are copied.
	maxSplices = 1024

	wantedFiles = maxSockets + 2*maxSplices + maxFlows + 256
)

// files is what the limit of open files is for. The rest is for what comes and goes:
// dials to several addresses of a name, answers of the supervisor.
type files struct{ sockets, splices, flows int }

// openFiles asks for the limit, which the gateway's own filter refuses to tell.
func openFiles() (files, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return files{}, fmt.Errorf("read the limit of open files: %w", err)
	}
	return shareFiles(l.Cur), nil
}

func shareFiles(limit uint64) files {
	if limit >= wantedFiles {
		return files{maxSockets, maxSplices, maxFlows}
	}
	n := int(limit)
	return files{max(16, (n-64)*3/4), n / 32, max(8, n/32)}
}

// count is of connections, and of the sockets that they have.
type count struct{ conns, sockets int }

var (
	agentSide = count{1, 1}
	hostSide  = count{0, 1}
)

func (c count) plus(d count) count  { return count{c.conns + d.conns, c.sockets + d.sockets} }
func (c count) minus(d count) count { return count{c.conns - d.conns, c.sockets - d.sockets} }

func (c count) exceeds(d count) bool { return c.conns > d.conns || c.sockets > d.sockets }

// seats are the places for connections at once, and for their sockets.
//
// A connection waits while it is the agent's turn and nothing is being done for it:
// it has not said what it wants yet, or lies idle between requests. Waiting costs the
// agent nothing, and could keep every place; so the one that has waited for longest
// makes way for a new one, which a server may do to an idle connection at any time
// (RFC 9112 section 9.5). What is being served is never ended for another. One rule's
// connections, and those that no rule allows, leave some places to the others'.
type seats struct {
	mu      sync.Mutex
	most    count
	share   count // of one rule
	taken   count
	byRule  map[string]*ruleSeats
	waiting list.List // of *seat, the longest first
}

// ruleSeats are those of one rule.
type ruleSeats struct {
	taken   count
	waiting list.List // of *seat, the longest first
}

// seat is one socket's place.
type seat struct {
	in     *seats
	rule   string
	size   count
	end    func()
	at     *list.Element // in waiting; nil while it is served
	atRule *list.Element // in the rule's waiting
	gone   bool          // the place is another's, or was left
}

func newSeats(most count) *seats {
	share := count{max(1, most.conns*3/4), max(1, most.sockets*3/4)}
	return &seats{most: most, share: share, byRule: map[string]*ruleSeats{}}
}

// take gives a place to a connection, which waits at first; nil where there is none.
// end ends the connection, should it have to make way.
func (s *seats) take(rule string, end func()) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.place(rule, agentSide)
	if t != nil {
		t.end = end
		t.wait()
	}
	return t
}

// takeHost gives a place to the host's side of a connection that is being served. It
// does not wait, and makes way for none.
func (s *seats) takeHost(rule string) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place(rule, hostSide)
}

func (s *seats) place(rule string, size count) *seat {
	of := s.byRule[rule]
	full := of != nil && of.taken.plus(size).exceeds(s.share)
	if full || s.taken.plus(size).exceeds(s.most) {
		longest := s.waiting.Front()
		if full {
			longest = of.waiting.Front()
		}
		if longest == nil {
			return nil
		}
		leaver := longest.Value.(*seat)
		leaver.free()
		leaver.end()
	}
	// Whoever made way may have been the rule's last.
	if of = s.byRule[rule]; of == nil {
		of = &ruleSeats{}
		s.byRule[rule] = of
	}
	s.taken, of.taken = s.taken.plus(size), of.taken.plus(size)
	return &seat{in: s, rule: rule, size: size}
}

// full says so, for the trail and for people.
func (s *seats) full() string {
	return fmt.Sprintf("there are too many connections at once already (%d in all, %d of one rule, of %d and %d sockets)",
		s.most.conns, s.share.conns, s.most.sockets, s.share.sockets)
}

// free gives the place back.
func (t *seat) free() {
	if t.gone {
		return
	}
	t.stand()
	t.gone = true
	t.in.taken = t.in.taken.minus(t.size)
	of := t.in.byRule[t.rule]
	if of.taken = of.taken.minus(t.size); of.taken == (count{}) {
		delete(t.in.byRule, t.rule)
	}
}

func (t *seat) stand() {
	if t.at != nil {
		t.in.waiting.Remove(t.at)
		t.in.byRule[t.rule].waiting.Remove(t.atRule)
		t.at, t.atRule = nil, nil
	}
}

// leave is called once the connection is over.
func (t *seat) leave() {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.free()
}

// serve says that something is being done for the connection; false where it has made
// way already.
func (t *seat) serve() bool {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.stand()
	return !t.gone
}

// waitAgain says that it is the agent's turn.
func (t *seat) waitAgain() {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.wait()
}

func (t *seat) wait() {
	if !t.gone && t.at == nil {
		t.at = t.in.waiting.PushBack(t)
		t.atRule = t.in.byRule[t.rule].waiting.PushBack(t)
	}
}

// madeWay tells whether a connection was ended for another.
func (t *seat) madeWay() bool {
	if t == nil {
		return false
	}
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	return t.gone
}
