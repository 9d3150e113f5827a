package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// answers answers the gateway's questions, each in a goroutine of its own, since one
// may wait for a person while others are answered at once.
//
// The gateway may have been taken over. Its questions are of bounded size and number
// (more than maxQuestions wait in the socket), name only budgets that the profile has,
// with amounts that are none below zero, and settle only what it has reserved itself. A question
// that an honest gateway would not ask ends the gateway, and with it the network.
type answers struct {
	ledger  Ledger
	budgets []profiles.Budget
	sink    audit.Sink

	asks asks // how people are asked

	ctx    context.Context // ends with the gateway
	cancel context.CancelFunc
	slots  chan struct{}
	asked  chan struct{} // the places of what people answer, as in questions
	wait   sync.WaitGroup
	abort  func() // ends the connection

	mu   sync.Mutex // of w and open
	w    io.Writer
	open map[uint64]bool
	bad  error // the first question that was no honest one's
}

func newAnswers(l Ledger, b []profiles.Budget, sink audit.Sink, w io.WriteCloser) *answers {
	a := &answers{ledger: l, budgets: b, sink: sink, abort: func() { w.Close() }, slots: make(chan struct{}, maxQuestions), asked: make(chan struct{}, maxPermits), w: w, open: map[uint64]bool{}}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.asks.ctx, a.asks.cancel = context.WithCancel(a.ctx)
	return a
}

// take checks a question and has it answered.
func (a *answers) take(m report) error {
	q := *m.Question
	m.Question = nil
	if m != (report{}) {
		return errors.New("a question and a report are one message")
	}
	if err := a.check(q); err != nil {
		return err
	}
	slots := a.slots
	if q.Permit != nil {
		slots = a.asked
		if len(slots) == cap(slots) { // nobody else takes one
			return fmt.Errorf("more than %d connections and requests wait for people", cap(slots))
		}
	}
	slots <- struct{}{}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.bad != nil:
		<-slots
		return a.bad
	case a.open[q.ID]:
		<-slots
		return fmt.Errorf("question %d is open already", q.ID)
	}
	a.open[q.ID] = true
	a.wait.Go(func() {
		got, err := a.answer(q)
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, q.ID)
		if err != nil {
			a.bad = errors.Join(a.bad, err)
			a.abort()
			<-slots
			return
		}
		got.ID = q.ID
		<-slots // before the gateway knows that there is a place
		// A gateway that has gone reads no answer.
		_ = writeFrame(a.w, got, maxReport)
	})
	return nil
}

// check refuses what an honest gateway does not ask.
func (a *answers) check(q question) error {
	charges, least := []Charge(nil), 0
	switch {
	case q.Permit != nil && q.Reserve == nil && q.Settle == nil:
		return a.asks.check(*q.Permit)
	case q.Reserve != nil && q.Settle == nil && q.Permit == nil:
		charges, least = q.Reserve.Charges, 1
	case q.Settle != nil && q.Reserve == nil && q.Permit == nil:
		charges = q.Settle.Charges
	default:
		return errors.New("it is no single question")
	}
	if a.ledger == nil || len(charges) < least || len(charges) > len(a.budgets) {
		return fmt.Errorf("it is about %d budgets, and the profile has %d", len(charges), len(a.budgets))
	}
	for i, c := range charges {
		switch {
		case !slices.ContainsFunc(a.budgets, func(b profiles.Budget) bool { return b.Name == c.Budget }):
			return fmt.Errorf("the profile has no budget %q", clip(c.Budget))
		case c.Amount < 0 || c.Amount > profiles.MaxAmount:
			return fmt.Errorf("the amount %d of the budget %q is none", int64(c.Amount), c.Budget)
		case slices.ContainsFunc(charges[:i], func(o Charge) bool { return o.Budget == c.Budget }):
			return fmt.Errorf("the budget %q is there twice", c.Budget)
		case c.Open && q.Settle != nil:
			return fmt.Errorf("the budget %q is settled without an amount", c.Budget)
		}
	}
	return nil
}

// answer asks the ledger. An error is for a question that an honest gateway would not
// have asked.
func (a *answers) answer(q question) (got answer, err error) {
	switch {
	case q.Permit != nil:
		got.Permit = a.asks.permit(*q.Permit)
		return got, nil
	case q.Reserve != nil:
		got.Reservation, got.Budgets, err = a.reserve(*q.Reserve)
	case q.Settle != nil:
		got.Budgets, err = a.ledger.Settle(a.ctx, q.Settle.Reservation, q.Settle.Charges)
	}
	var r *BudgetRefusal
	switch {
	case err == nil:
		return got, nil
	case errors.As(err, &r):
		return answer{Refused: r}, nil
	case errors.Is(err, ErrNotReserved):
		return answer{}, err
	}
	// The gateway passes what it is told on to the agent, which the host's paths are
	// not for: they are in the trail.
	a.sink.Emit(audit.Finding{Title: "a budget's ledger can't be used", Detail: clip(err.Error()), Severity: "high", Outcome: audit.Failed})
	return answer{Error: "the ledger of the budgets can't be used, and nothing is spent without it"}, nil
}

// reserve asks the ledger, and people about what it says is theirs to decide.
func (a *answers) reserve(q reserveQuestion) (id uint64, states []BudgetState, err error) {
	charges := slices.Clone(q.Charges)
	for {
		id, states, err = a.ledger.Reserve(a.ctx, charges)
		var short *BudgetRefusal
		if !errors.As(err, &short) || !short.Ask {
			return id, states, err
		}
		i := slices.IndexFunc(charges, func(c Charge) bool { return c.Budget == short.Budget && !c.Approved })
		if i < 0 {
			return id, states, err
		}
		j := slices.IndexFunc(a.budgets, func(b profiles.Budget) bool { return b.Name == short.Budget })
		if j < 0 {
			return id, states, err
		}
		if p := a.asks.spend(q.For, a.budgets[j], charges[i].Amount); !p.Yes {
			short.Reason += ": " + p.Reason
			return id, states, err
		}
		charges[i].Approved = true
	}
}

// close waits for what is being answered, and returns what was asked and should not
// have been. What waits longer than the gateway itself may take to end is told to give
// up.
func (a *answers) close() error {
	a.asks.cancel() // people are asked nothing more
	over := make(chan struct{})
	go func() {
		a.wait.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(closeTimeout):
	}
	a.cancel()
	<-over
	return a.bad // nobody else is left who writes it
}
