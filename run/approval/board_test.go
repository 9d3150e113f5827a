package approval

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
)

func host(name string) Subject {
	return Subject{Kind: Connect, Key: name, What: "connect to " + name, Rule: "a.hcl:1"}
}

func spend(amount int64) Subject {
	return Subject{Kind: Spend, Key: "POST x", What: "spend", Amount: amount}
}

var alice, bob = Approver{UID: 1, Name: "alice", Channel: "control"}, Approver{UID: 1, Name: "bob", Channel: "control"}

// ask asks in the background.
func ask(t *testing.T, b *Board, s Subject) chan Decision {
	t.Helper()
	got := make(chan Decision, 1)
	go func() { got <- b.Ask(t.Context(), s) }()
	synctest.Wait()
	return got
}

func open(t *testing.T, got chan Decision) {
	t.Helper()
	synctest.Wait()
	select {
	case d := <-got:
		t.Errorf("it is decided: %+v", d)
	default:
	}
}

func decided(t *testing.T, got chan Decision, yes bool, reason string) {
	t.Helper()
	synctest.Wait()
	select {
	case d := <-got:
		if d.Yes != yes || !strings.Contains(d.Reason, reason) {
			t.Errorf("%+v, want %t %q", d, yes, reason)
		}
	default:
		t.Error("it is not decided")
	}
}

func answer(t *testing.T, b *Board, id string, a Answer) Result {
	t.Helper()
	r, err := b.Answer(id, a)
	if err != nil {
		t.Errorf("question %s: %v", id, err)
	}
	return r
}

// board makes one whose steps are noted.
func board(c Config) (*Board, *[]string) {
	steps := &[]string{}
	c.Record = func(e Event) { *steps = append(*steps, string(e.Step)+" "+e.Question.ID) }
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	return New(c), steps
}

func wantSteps(t *testing.T, got *[]string, want ...string) {
	t.Helper()
	if g, w := strings.Join(*got, ", "), strings.Join(want, ", "); g != w {
		t.Errorf("recorded: %s\nwant:     %s", g, w)
	}
}

func TestYesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{})
		got := ask(t, b, host("x"))
		open(t, got)
		answer(t, b, "1", Answer{Yes: true, Once: true, By: alice})
		decided(t, got, true, "")
		if _, err := b.Answer("1", Answer{Yes: true, By: bob}); err != ErrNotOpen {
			t.Errorf("a second answer: %v", err)
		}
		again := ask(t, b, host("x"))
		open(t, again)
		if l := b.List(); len(l.Questions) != 1 || l.Questions[0].Before != (Before{Asked: 1, Yes: 1}) {
			t.Errorf("%+v", l)
		}
		b.Close()
		decided(t, again, false, "the run ended")
		wantSteps(t, steps, "asked 1", "answered 1", "granted 1", "asked 2", "withdrawn 2")
	})
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{Timeout: time.Minute})
		got := ask(t, b, host("x"))
		time.Sleep(time.Minute - 1)
		open(t, got)
		time.Sleep(1)
		decided(t, got, false, "nobody has within 1m0s")
		if _, err := b.Answer("1", Answer{Yes: true, By: alice}); err != ErrNotOpen {
			t.Errorf("an answer that comes too late: %v", err)
		}
		decided(t, ask(t, b, host("x")), false, "nobody has within")
		wantSteps(t, steps, "asked 1", "timed out 1")
	})
}

func TestGrantExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{})
		got := ask(t, b, host("x"))
		answer(t, b, "1", Answer{Yes: true, For: 10 * time.Minute, By: alice})
		decided(t, got, true, "")
		time.Sleep(10*time.Minute - 1)
		decided(t, ask(t, b, host("x")), true, "")
		open(t, ask(t, b, host("y"))) // it is for x and nothing else
		other := host("x")
		other.Kind = Exec
		open(t, ask(t, b, other))
		time.Sleep(1)
		synctest.Wait() // the grant's own end, at the same moment
		open(t, ask(t, b, host("x")))
		wantSteps(t, steps, "asked 1", "answered 1", "granted 1", "asked 2", "asked 3", "expired 1", "asked 4")
		b.Close()
	})
}

func TestNoHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{})
		got := ask(t, b, host("x"))
		answer(t, b, "1", Answer{By: alice})
		decided(t, got, false, "a person said no")
		decided(t, ask(t, b, host("x")), false, "said no to this before")
		if err := b.Revoke("1"); err != nil {
			t.Error(err)
		}
		got = ask(t, b, host("x"))
		answer(t, b, "2", Answer{Once: true, By: alice})
		decided(t, got, false, "a person said no")
		decided(t, ask(t, b, host("x")), false, "a person said no") // what tries again at once
		time.Sleep(lately)
		open(t, ask(t, b, host("x")))
		wantSteps(t, steps, "asked 1", "answered 1", "refused 1", "expired 1", "asked 2", "answered 2", "refused 2", "asked 3")
		b.Close()
	})
}

func TestQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{Quorum: 2})
		got := ask(t, b, host("x"))
		answer(t, b, "1", Answer{Yes: true, By: alice})
		if r := answer(t, b, "1", Answer{Yes: true, For: time.Hour, By: alice}); r.Missing != 1 || r.Over {
			t.Errorf("one who answers twice: %+v", r)
		}
		open(t, got)
		answer(t, b, "1", Answer{Yes: true, For: time.Minute, By: bob})
		decided(t, got, true, "")
		time.Sleep(time.Minute) // the shorter of the two
		got = ask(t, b, host("x"))
		answer(t, b, "2", Answer{Yes: true, By: alice})
		answer(t, b, "2", Answer{By: bob})
		decided(t, got, false, "a person said no")
		// The same name of another uid, and the same one by another way, are others.
		got = ask(t, b, host("y"))
		answer(t, b, "3", Answer{Yes: true, Once: true, By: alice})
		answer(t, b, "3", Answer{Yes: true, Once: true, By: Approver{UID: 2, Name: "alice", Channel: "control"}})
		decided(t, got, true, "")
	})
}

// Two answers that differ: who said yes may still say no, and once beats for ever.
func TestQuorumChangedMind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{Quorum: 2})
		got := ask(t, b, host("x"))
		answer(t, b, "1", Answer{Yes: true, By: alice})
		answer(t, b, "1", Answer{Once: true, By: alice})
		decided(t, got, false, "a person said no")
		time.Sleep(lately)
		got = ask(t, b, host("x"))
		answer(t, b, "2", Answer{Yes: true, By: alice})
		answer(t, b, "2", Answer{Yes: true, Once: true, By: bob})
		decided(t, got, true, "")
		open(t, ask(t, b, host("x")))
		b.Close()
	})
}

func TestSameQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{})
		var all []chan Decision
		for range 100 {
			all = append(all, ask(t, b, host("x")))
		}
		l := b.List()
		if len(l.Questions) != 1 || l.Questions[0].Held != 100 {
			t.Fatalf("%+v", l)
		}
		answer(t, b, "1", Answer{Yes: true, Once: true, By: alice})
		for _, got := range all {
			decided(t, got, true, "")
		}
		wantSteps(t, steps, "asked 1", "answered 1", "granted 1")
	})
}

// A hundred spends of the same are a hundred spends: one yes is one of them.
func TestSpendsAreNotJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{})
		one, two := ask(t, b, spend(30)), ask(t, b, spend(30))
		answer(t, b, "1", Answer{Yes: true, Once: true, By: alice})
		decided(t, one, true, "")
		open(t, two)
		answer(t, b, "2", Answer{Yes: true, By: alice})
		decided(t, two, true, "")
		decided(t, ask(t, b, spend(30)), true, "")
		more := ask(t, b, spend(31)) // a grant is for no more than what was shown
		open(t, more)
		answer(t, b, "3", Answer{By: alice})
		decided(t, more, false, "")
		decided(t, ask(t, b, spend(31)), false, "said no")
		b.Close()
	})
}

// Thousands of questions: a bounded number is open, the rest is refused at once, and
// what stood there first stays where it was.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{Timeout: time.Hour})
		first := ask(t, b, host("dangerous"))
		refused := 0
		for i := range 2000 {
			select {
			case d := <-ask(t, b, host(fmt.Sprint("harmless", i))):
				if d.Yes {
					t.Fatal("a flood was granted")
				}
				refused++
			default:
			}
		}
		l := b.List()
		if len(l.Questions) != maxOpen || refused != 2000-maxOpen+1 || l.Flooded != refused || l.Questions[0].What != "connect to dangerous" {
			t.Errorf("%d open, %d refused, %d said to be, first %q", len(l.Questions), refused, l.Flooded, l.Questions[0].What)
		}
		answer(t, b, l.Questions[0].ID, Answer{By: alice})
		decided(t, first, false, "a person said no")
		b.Close()
	})
}

// One after the other is as bad as many at once.
func TestFloodInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{})
		for i := range maxFresh {
			got := ask(t, b, host(fmt.Sprint(i)))
			answer(t, b, fmt.Sprint(i+1), Answer{By: alice})
			decided(t, got, false, "")
		}
		decided(t, ask(t, b, host("more")), false, "asked 30 times in the last minute")
		time.Sleep(time.Minute)
		open(t, ask(t, b, host("more")))
		b.Close()
	})
}

func TestHeldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := board(Config{})
		for range maxHeld {
			open(t, ask(t, b, host("x")))
		}
		decided(t, ask(t, b, host("x")), false, "wait for people already")
		b.Close()
		synctest.Wait()
		if b.held != 0 {
			t.Errorf("%d held", b.held)
		}
	})
}

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, steps := board(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan Decision, 1)
		go func() { got <- b.Ask(ctx, host("x")) }()
		synctest.Wait()
		other := ask(t, b, host("x"))
		cancel()
		decided(t, got, false, "given up")
		open(t, other)
		answer(t, b, "1", Answer{Yes: true, Once: true, By: alice})
		decided(t, other, true, "")
		ctx, cancel = context.WithCancel(t.Context())
		go func() { got <- b.Ask(ctx, host("x")) }()
		synctest.Wait()
		cancel()
		decided(t, got, false, "given up")
		if _, err := b.Answer("2", Answer{Yes: true, By: alice}); err != ErrNotOpen {
			t.Error(err)
		}
		wantSteps(t, steps, "asked 1", "answered 1", "granted 1", "asked 2", "withdrawn 2")
	})
}

// What waits for people, and what only asks them.
func TestHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Timeout: time.Minute})
		if b.Holds() {
			t.Error("nothing was asked")
		}
		ask(t, b, Subject{Kind: Extend, Key: "time"})
		if b.Holds() {
			t.Error("nothing waits for more time")
		}
		got := ask(t, b, host("a"))
		if !b.Holds() {
			t.Error("a connection waits")
		}
		time.Sleep(2 * time.Minute)
		decided(t, got, false, "")
		if b.Holds() {
			t.Error("nobody waits any more")
		}
	})
}

func TestScope(t *testing.T) {
	b, _ := board(Config{})
	for _, a := range []Answer{{Yes: true, Once: true, For: 1}, {Yes: true, For: -1}} {
		if _, err := b.Answer("1", a); err != ErrScope {
			t.Errorf("%+v: %v", a, err)
		}
	}
}

// Whatever happens in whatever order: nothing passes that nobody said yes to, the bounds
// hold, and in the end nobody is held.
func TestProperty(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			quorum := 1 + r.IntN(3)
			said := map[string]map[string]bool{} // approvers of each question that said yes
			no := map[string]bool{}
			b := New(Config{Timeout: time.Minute, Quorum: quorum, Record: func(e Event) {
				switch {
				case e.Step == Answered && e.Answer.Yes:
					if said[e.Question.ID] == nil {
						said[e.Question.ID] = map[string]bool{}
					}
					said[e.Question.ID][e.Answer.By.Name] = true
				case e.Step == Answered:
					no[e.Question.ID] = true
				}
			}})
			ctx, cancel := context.WithCancel(t.Context())
			var all []chan Decision
			for range 400 {
				switch r.IntN(4) {
				case 0, 1:
					got := make(chan Decision, 1)
					s := Subject{Kind: Connect, Key: fmt.Sprint(r.IntN(8))}
					if r.IntN(4) == 0 {
						s.Amount = int64(1 + r.IntN(3))
					}
					go func() { got <- b.Ask(ctx, s) }()
					all = append(all, got)
				case 2:
					if q := b.List().Questions; len(q) > 0 {
						a := Answer{Yes: r.IntN(3) > 0, By: Approver{Name: fmt.Sprint(r.IntN(4)), Channel: "control"}}
						switch r.IntN(3) {
						case 0:
							a.Once = true
						case 1:
							a.For = time.Duration(1+r.IntN(100)) * time.Second
						}
						if _, err := b.Answer(q[r.IntN(len(q))].ID, a); err != nil {
							t.Error(err)
						}
					}
				case 3:
					time.Sleep(time.Duration(r.IntN(20)) * time.Second)
				}
				synctest.Wait()
				if l := b.List(); len(l.Questions) > maxOpen || b.held > maxHeld {
					t.Fatalf("%d open, %d held", len(l.Questions), b.held)
				}
			}
			if seed%2 == 0 {
				b.Close()
			}
			cancel()
			synctest.Wait()
			for _, got := range all {
				d := <-got
				if d.Yes && (len(said[d.ID]) < quorum || no[d.ID]) {
					t.Errorf("seed %d: question %s passed with %d of %d, no %t", seed, d.ID, len(said[d.ID]), quorum, no[d.ID])
				}
			}
			if b.held != 0 || len(b.open) != 0 {
				t.Errorf("seed %d: %d held, %d open", seed, b.held, len(b.open))
			}
			b.Close() // the grants' timers
		})
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"a\nAllow? [y] y\x1b[2J":       `a\nAllow? [y] y\x1b[2J`,
		"abc\u202etxt.exe":             `abc\u202etxt.exe`,
		"ex\u0430mple.com":             `ex\u0430mple.com`,
		"\xff\x00":                     `\xff\x00`,
		`say "hi" \n`:                  `say "hi" \\n`,
		strings.Repeat("x", 1000):      strings.Repeat("x", maxWord) + "... (1000 bytes)",
		"\u2028\u200b\u00a0\t\r\u009b": `\u2028\u200b\u00a0\t\r\u009b`,
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	if got := Words([]string{"git", "commit -m", "", "a\nb", "--x=é"}); got != `git "commit -m" "" "a\nb" "--x=\u00e9"` {
		t.Error(got)
	}
	if got := Words(make([]string, 1000)); !strings.HasSuffix(got, "and 984 more arguments") {
		t.Error(got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[31m\u202e\n", "b")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, got := range []string{Text(a), Words([]string{a, b}), Program{PID: 1, Path: a, Argv: []string{b, a}}.String()} {
			if len(got) > maxLine+8 && len(got) > 4*maxWord+32 {
				t.Errorf("%d bytes", len(got))
			}
			for _, r := range got {
				if r > unicode.MaxASCII || !unicode.IsPrint(r) {
					t.Errorf("%q: %q", got, r)
				}
			}
		}
	})
}
