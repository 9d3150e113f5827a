package netns

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// slowLedger answers when it is let, and notes what it was asked.
type slowLedger struct {
	mu    sync.Mutex
	asked [][]Charge
	let   chan struct{} // nil: at once
	err   error
}

func (l *slowLedger) Reserve(ctx context.Context, charges []Charge) (uint64, []BudgetState, error) {
	l.mu.Lock()
	l.asked = append(l.asked, charges)
	n := uint64(len(l.asked))
	l.mu.Unlock()
	if l.let != nil && charges[0].Budget == "slow" {
		select {
		case <-l.let:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
	return n, []BudgetState{{Name: charges[0].Budget, Left: &charges[0].Amount}}, l.err
}

func (l *slowLedger) Settle(_ context.Context, id uint64, _ []Charge) ([]BudgetState, error) {
	if id > 1000 {
		return nil, ErrNotReserved
	}
	return nil, nil
}

// dialogue connects a gateway's questions with a supervisor's answers.
type dialogue struct {
	budgets *budgets
	answers *answers
	ours    net.Conn
	served  chan error // the supervisor's side, then the gateway's
	records chan audit.Record
}

type sinkFunc func(audit.Record)

func (f sinkFunc) Emit(r audit.Record) { f(r) }

func newDialogue(t *testing.T, l Ledger) *dialogue {
	t.Helper()
	ours, theirs := net.Pipe()
	k := &dialogue{ours: ours, served: make(chan error, 2), records: make(chan audit.Record, 16)}
	all := []profiles.Budget{{Name: "slow"}, {Name: "fast"}}
	reports := newReporter(theirs)
	k.budgets = &budgets{questions: newQuestions(reports.send), all: all}
	k.answers = newAnswers(l, all, sinkFunc(func(r audit.Record) { k.records <- r }), ours)
	s := &Supervisor{cfg: Config{Sink: k.answers.sink}}
	reports.send(report{Ready: &ready{}})
	go func() {
		err := s.reports(ours, k.answers)
		if bad := k.answers.close(); bad != nil {
			err = bad
		}
		ours.Close()
		k.served <- err
	}()
	go func() {
		k.served <- k.budgets.questions.serve(theirs)
		reports.close()
		theirs.Close()
	}()
	t.Cleanup(func() {
		ours.Close()
		for range 2 {
			select {
			case <-k.served:
			case <-time.After(hang):
				t.Error("a side does not end")
			}
		}
	})
	return k
}

// hang ends what would wait for ever; no result depends on it.
const hang = 30 * time.Second

func TestQuestions(t *testing.T) {
	ctx := context.Background()
	t.Run("one that waits keeps no other waiting", func(t *testing.T) {
		l := &slowLedger{let: make(chan struct{})}
		k := newDialogue(t, l)
		var slow atomic.Int64
		var wait sync.WaitGroup
		for range 20 {
			wait.Go(func() {
				if _, err := k.budgets.reserve(ctx, []Charge{{Budget: "slow", Amount: 1}}, purpose{}); err != nil {
					t.Error(err)
				}
				slow.Add(1)
			})
		}
		for i := range 50 {
			res, err := k.budgets.reserve(ctx, []Charge{{Budget: "fast", Amount: profiles.Amount(i)}}, purpose{})
			if err != nil || *res.states[0].Left != profiles.Amount(i) {
				t.Fatalf("%+v, %v: another question's answer?", res, err)
			}
			if _, err := res.settle(ctx, nil); err != nil {
				t.Fatal(err)
			}
		}
		if slow.Load() != 0 {
			t.Error("a question was answered before it was")
		}
		close(l.let)
		wait.Wait()
	})
	t.Run("the supervisor is gone", func(t *testing.T) {
		l := &slowLedger{let: make(chan struct{})}
		k := newDialogue(t, l)
		got := make(chan error, 1)
		go func() {
			_, err := k.budgets.reserve(ctx, []Charge{{Budget: "slow"}}, purpose{})
			got <- err
		}()
		for asked := 0; asked == 0; {
			l.mu.Lock()
			asked = len(l.asked)
			l.mu.Unlock()
		}
		k.ours.Close()
		select {
		case err := <-got:
			if !errors.Is(err, errNoSupervisor) {
				t.Error(err)
			}
		case <-time.After(hang):
			t.Fatal("who asked waits for ever")
		}
		if _, err := k.budgets.reserve(ctx, []Charge{{Budget: "fast"}}, purpose{}); !errors.Is(err, errNoSupervisor) {
			t.Errorf("a question to nobody: %v", err)
		}
		close(l.let)
	})
	t.Run("a ledger that can't be used", func(t *testing.T) {
		k := newDialogue(t, &slowLedger{err: errors.New("/home/u/.local/state: no space left on device")})
		_, err := k.budgets.reserve(ctx, []Charge{{Budget: "fast"}}, purpose{})
		if err == nil || strings.Contains(err.Error(), "/home") {
			t.Errorf("the gateway is told %v", err)
		}
		f, ok := (<-k.records).(audit.Finding)
		if !ok || !strings.Contains(f.Detail, "/home/u/.local/state") {
			t.Errorf("%+v", f)
		}
	})
	t.Run("a refusal", func(t *testing.T) {
		want := &BudgetRefusal{Budget: "fast", Reason: "used up", Refills: time.Unix(1000, 0).UTC()}
		k := newDialogue(t, &slowLedger{err: want})
		_, err := k.budgets.reserve(ctx, []Charge{{Budget: "fast"}}, purpose{})
		var r *BudgetRefusal
		if !errors.As(err, &r) || *r != *want {
			t.Errorf("%+v", err)
		}
	})
	t.Run("an answer to nothing ends the gateway", func(t *testing.T) {
		q := newQuestions(func(report) {})
		r, w := io.Pipe()
		go func() {
			_ = writeFrame(w, answer{ID: 7}, maxReport)
			w.Close()
		}()
		if err := q.serve(r); err == nil {
			t.Error("it is taken")
		}
		if !q.over() {
			t.Error("whoever asks would wait")
		}
	})
}

// What an honest gateway does not ask ends the network.
func TestDishonestQuestions(t *testing.T) {
	three := []Charge{{Budget: "slow"}, {Budget: "fast"}, {Budget: "slow"}}
	for name, q := range map[string]question{
		"nothing":              {},
		"two at once":          {Reserve: &reserveQuestion{Charges: three[:1]}, Settle: &settleQuestion{}},
		"no budget":            {Reserve: &reserveQuestion{}},
		"a budget of its own":  {Reserve: &reserveQuestion{Charges: []Charge{{Budget: "other"}}}},
		"a path":               {Reserve: &reserveQuestion{Charges: []Charge{{Budget: "../../x"}}}},
		"more than there are":  {Reserve: &reserveQuestion{Charges: three}},
		"one twice":            {Reserve: &reserveQuestion{Charges: []Charge{{Budget: "slow"}, {Budget: "slow"}}}},
		"less than nothing":    {Reserve: &reserveQuestion{Charges: []Charge{{Budget: "fast", Amount: -1}}}},
		"more than an amount":  {Reserve: &reserveQuestion{Charges: []Charge{{Budget: "fast", Amount: profiles.MaxAmount + 1}}}},
		"settled with less":    {Settle: &settleQuestion{1, []Charge{{Budget: "fast", Amount: -1}}}},
		"settled with nothing": {Settle: &settleQuestion{1, []Charge{{Budget: "fast", Open: true}}}},
		"what no rule asks":    {Permit: &purpose{Name: "x.example", Port: 443}},
		"a permit and more":    {Permit: &purpose{Name: "x.example", Port: 443}, Settle: &settleQuestion{}},
		"another's":            {Settle: &settleQuestion{1001, nil}},
	} {
		k := newDialogue(t, &slowLedger{})
		k.budgets.questions.post(q, waiting{make(chan answer, 1), make(chan struct{}, 1)})
		select {
		case err := <-k.served:
			k.served <- err
			if _, rerr := k.budgets.reserve(context.Background(), []Charge{{Budget: "fast"}}, purpose{}); rerr == nil {
				t.Errorf("%s: the gateway goes on (%v)", name, err)
			}
		case <-time.After(hang):
			t.Fatalf("%s: it is answered", name)
		}
	}
	// Two questions with one id, and one within a report.
	a := newAnswers(&slowLedger{let: make(chan struct{})}, []profiles.Budget{{Name: "slow"}}, sinkFunc(func(audit.Record) {}), discard{})
	defer a.cancel()
	q := report{Question: &question{ID: 1, Reserve: &reserveQuestion{Charges: []Charge{{Budget: "slow"}}}}}
	if err := a.take(q); err != nil {
		t.Fatal(err)
	}
	if err := a.take(q); err == nil {
		t.Error("an open id is taken again")
	}
	q.DNS = &audit.DNS{}
	if err := a.take(q); err == nil {
		t.Error("a question with a report is taken")
	}
	if _, err := (report{Question: q.Question, DNS: q.DNS}).record(); err == nil {
		t.Error("a report with a question is taken")
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// checkingLedger fails where it is asked what no profile says.
type checkingLedger struct{ t *testing.T }

func (l checkingLedger) see(charges []Charge) {
	for i, c := range charges {
		if c.Budget != "slow" && c.Budget != "fast" || c.Amount < 0 || c.Amount > profiles.MaxAmount || i > 0 && charges[0].Budget == c.Budget {
			l.t.Errorf("the ledger is asked for %+v", charges)
		}
	}
}

func (l checkingLedger) Reserve(_ context.Context, charges []Charge) (uint64, []BudgetState, error) {
	l.see(charges)
	return 1, nil, nil
}

func (l checkingLedger) Settle(_ context.Context, _ uint64, charges []Charge) ([]BudgetState, error) {
	l.see(charges)
	return nil, nil
}

// Whatever a gateway that was taken over asks, the ledger is asked for what the profile
// has or not at all.
func FuzzQuestion(f *testing.F) {
	for _, s := range []string{`{"id":1,"reserve":{"charges":[{"budget":"fast","amount":"5"}]}}`, `{"settle":{"reservation":1,"charges":[]}}`,
		`{"reserve":{"charges":[{"budget":"x","amount":"-1"},{}]}}`, `{"reserve":null,"settle":{}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var q question
		if json.Unmarshal(data, &q) != nil {
			return
		}
		a := newAnswers(checkingLedger{t}, []profiles.Budget{{Name: "slow"}, {Name: "fast"}}, sinkFunc(func(audit.Record) {}), discard{})
		_ = a.take(report{Question: &q})
		_ = a.close()
	})
}
