package netns

import (
	"slices"
	"testing"
)

func TestSeats(t *testing.T) {
	s := newSeats(8) // 6 of one rule
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
	a[1].wait() // between two requests: it waits anew, behind the others
	if take("a") == nil || !slices.Equal(ended, []int{2}) {
		t.Fatalf("ended %v, want the one that waited for longest", ended)
	}
	if !a[2].madeWay() || a[3].madeWay() {
		t.Error("the wrong one knows that it made way")
	}
	a[2].leave() // its goroutine comes to its end: the place is another's by now
	b1, b2 := take("b"), take("b")
	if b1 == nil || b2 == nil || s.taken != 8 || !slices.Equal(ended, []int{2}) {
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
	if s.taken != 7 || take("c") == nil {
		t.Errorf("%d taken after one left", s.taken)
	}
	b1.wait() // it is over
	b1.serve()
	if s.waiting.Len() != 1 || s.byRule["a"]+s.byRule["b"]+s.byRule["c"] != s.taken {
		t.Errorf("%d wait, by rule %v of %d", s.waiting.Len(), s.byRule, s.taken)
	}
}

// TestSeatsShare: connections that are being served leave places to other rules.
func TestSeatsShare(t *testing.T) {
	s := newSeats(100)
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
