package netns

import (
	"container/list"
	"sync"
)

// seats are the places for the agent's connections at once.
//
// A connection waits while it is the agent's turn and nothing is being done for it:
// it has not said what it wants yet, or lies idle between requests. Waiting costs the
// agent nothing, and could keep every place; so the one that has waited for longest
// makes way for a new one, which a server may do to an idle connection at any time
// (RFC 9112 section 9.5). What is being served is never ended for another. One rule's
// connections, and those that no rule allows, leave some places to the others'.
type seats struct {
	mu      sync.Mutex
	most    int
	share   int // of one rule
	taken   int
	byRule  map[string]int
	waiting *list.List // of *seat, the longest first
}

// seat is one connection's place.
type seat struct {
	in   *seats
	rule string
	end  func()
	at   *list.Element // in waiting; nil while it is served
	gone bool          // the place is another's, or was left
}

func newSeats(most int) *seats {
	return &seats{most: most, share: max(1, most*3/4), byRule: map[string]int{}, waiting: list.New()}
}

// take gives a place to a connection, which waits at first; nil where there is none.
// end ends the connection, should it have to make way.
func (s *seats) take(rule string, end func()) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	var leaver *seat
	switch {
	case s.byRule[rule] >= s.share:
		if leaver = s.longest(rule); leaver == nil {
			return nil
		}
	case s.taken >= s.most:
		if leaver = s.longest(""); leaver == nil {
			return nil
		}
	}
	if leaver != nil {
		leaver.free()
		leaver.end()
	}
	t := &seat{in: s, rule: rule, end: end}
	t.at = s.waiting.PushBack(t)
	s.taken++
	s.byRule[rule]++
	return t
}

// longest is who has waited for longest, of one rule or of all.
func (s *seats) longest(rule string) *seat {
	for e := s.waiting.Front(); e != nil; e = e.Next() {
		if t := e.Value.(*seat); rule == "" || t.rule == rule {
			return t
		}
	}
	return nil
}

// free gives the place back.
func (t *seat) free() {
	if t.gone {
		return
	}
	t.gone = true
	t.in.taken--
	if t.in.byRule[t.rule]--; t.in.byRule[t.rule] == 0 {
		delete(t.in.byRule, t.rule)
	}
	t.stand()
}

func (t *seat) stand() {
	if t.at != nil {
		t.in.waiting.Remove(t.at)
		t.at = nil
	}
}

// leave is called once the connection is over.
func (t *seat) leave() {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.free()
}

// serve says that something is being done for the connection.
func (t *seat) serve() {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	t.stand()
}

// wait says that it is the agent's turn.
func (t *seat) wait() {
	t.in.mu.Lock()
	defer t.in.mu.Unlock()
	if !t.gone && t.at == nil {
		t.at = t.in.waiting.PushBack(t)
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
