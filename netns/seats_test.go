package netns

import (
	"slices"
	"testing"
)

func TestSeats(t *testing.T) {
	s := newSeats(count{8, 16}) // 6 of one rule
	var ended []int
	next := 0
	take := func(rule string) *seat {
		n := next
		next++
		return s.take(rule, func() { ended = append(ended, n) })
	}
	var a []*seat
	for range 6 {
		a = append(a, take("a"))
	}
	a[0].serve()
	a[1].serve()
	a[1].waitAgain() // between two requests: it waits anew, behind the others
	if take("a") == nil || !slices.Equal(ended, []int{2}) {
		t.Fatalf("ended %v, want the one that waited for longest", ended)
	}
	if !a[2].madeWay() || a[3].madeWay() {
		t.Error("the wrong one knows that it made way")
	}
	a[2].leave() // its goroutine comes to its end: the place is another's by now
	b1, b2 := take("b"), take("b")
	if b1 == nil || b2 == nil || s.taken.conns != 8 || !slices.Equal(ended, []int{2}) {
		t.Fatalf("another rule's: %v %v, %d taken, ended %v", b1, b2, s.taken, ended)
	}
	if take("b") == nil || !slices.Equal(ended, []int{2, 3}) { // all are taken
		t.Errorf("ended %v", ended)
	}
	for e := s.waiting.Front(); e != nil; e = s.waiting.Front() {
		e.Value.(*seat).serve()
	}
	if take("a") != nil || take("c") != nil || len(ended) != 2 {
		t.Errorf("what is being served was ended: %v", ended)
	}
	b1.leave()
	b1.leave()
	if s.taken.conns != 7 || take("c") == nil {
		t.Errorf("%d taken after one left", s.taken)
	}
	b1.waitAgain() // it is over
	b1.serve()
	if got := s.counted(t); s.waiting.Len() != 1 || got != s.taken {
		t.Errorf("%d wait, %d by rule of %d", s.waiting.Len(), got, s.taken)
	}
}

// counted adds up what the rules have, and checks that each one's waiting are in the
// list of all.
func (s *seats) counted(t *testing.T) count {
	t.Helper()
	taken, waiting := count{}, 0
	for rule, of := range s.byRule {
		taken = taken.plus(of.taken)
		waiting += of.waiting.Len()
		if of.taken == (count{}) {
			t.Errorf("rule %s has no place, and is kept", rule)
		}
	}
	if waiting != s.waiting.Len() {
		t.Errorf("%d wait by rule, %d in all", waiting, s.waiting.Len())
	}
	return taken
}

// TestSeatsHostSide: the host's side of a connection has a place as well, for which
// one that waits makes way, and which makes way for none.
func TestSeatsHostSide(t *testing.T) {
	s := newSeats(count{8, 12}) // 6 of one rule, and 9 sockets
	ended := 0
	for range 6 {
		s.take("a", func() { ended++ })
	}
	host := s.takeHost("a")
	if host == nil || s.takeHost("a") == nil || s.takeHost("a") == nil || ended != 0 || s.counted(t) != (count{6, 9}) {
		t.Fatalf("%v, ended %d, %v", host, ended, s.counted(t))
	}
	for i := range 6 {
		if s.takeHost("a") == nil || ended != i+1 {
			t.Fatalf("host's side %d: %d ended", i, ended)
		}
	}
	if s.takeHost("a") != nil || s.take("a", nil) != nil || s.counted(t) != (count{0, 9}) {
		t.Errorf("one rule has %v", s.counted(t))
	}
	for range 3 {
		if s.takeHost("b") == nil {
			t.Error("another rule has not three")
		}
	}
	if s.takeHost("b") != nil {
		t.Error("there are more sockets than places")
	}
	host.leave()
	host.leave()
	if s.takeHost("b") == nil || s.counted(t) != (count{0, 12}) || s.taken != s.counted(t) {
		t.Errorf("%v taken, %v by rule", s.taken, s.counted(t))
	}
}

// TestShareFiles: what is opened stays within the limit, whatever that is.
func TestShareFiles(t *testing.T) {
	for _, limit := range []uint64{256, 1024, 4096, 20_000, wantedFiles - 1, wantedFiles, 1 << 20} {
		f := shareFiles(limit)
		if need := f.sockets + 2*f.splices + f.flows + 64; uint64(need) > limit || f.sockets > maxSockets {
			t.Errorf("of %d: %+v", limit, f)
		}
	}
	if shareFiles(wantedFiles).flows != maxFlows || maxConns*3/4 < 10_500 || maxSockets*3/4 < 2*10_500 {
		t.Error("one rule's share is less than 10,500 connections, each with its host's side")
	}
}

// TestSeatsShare: connections that are being served leave places to other rules.
func TestSeatsShare(t *testing.T) {
	s := newSeats(count{100, 200})
	for i := range 75 {
		c := s.take("a", func() { t.Errorf("connection %d was ended", i) })
		if c == nil {
			t.Fatalf("connection %d got no place", i)
		}
		c.serve()
	}
	if s.take("a", nil) != nil {
		t.Error("one rule has all places")
	}
	if s.take("b", func() {}) == nil {
		t.Error("another rule has none")
	}
}
