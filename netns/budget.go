package netns

import (
	"context"
	"errors"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

// Charge is an amount of one budget. Open says that it is not known yet what it will
// be: Amount is then what is set aside for it (0 where nothing can be said), and there
// must be something left at all.
type Charge struct {
	Budget string          `json:"budget"`
	Amount profiles.Amount `json:"amount"`
	Open   bool            `json:"open,omitempty"`

	// Approved says that a person has allowed more than ask_above. It is the
	// supervisor's word alone, and never comes from the gateway.
	Approved bool `json:"-"`
}

// BudgetState is what the agent may know of a budget.
type BudgetState struct {
	Name     string           `json:"name"`
	Unit     string           `json:"unit,omitempty"`
	Left     *profiles.Amount `json:"left,omitempty"`   // of the tightest limit over time; nil where there is none
	Limit    string           `json:"limit,omitempty"`  // that limit's name
	Refills  time.Time        `json:"refills,omitzero"` // when it begins anew; zero: not in this run
	Each     *profiles.Amount `json:"each,omitempty"`   // the most of one spend
	Limits   []LimitState     `json:"limits,omitempty"` // all limits over time
	AskAbove *profiles.Amount `json:"ask_above,omitempty"`
}

// LimitState is one limit of a budget over time.
type LimitState struct {
	profiles.BudgetLimit
	Left    profiles.Amount `json:"left"`
	Refills time.Time       `json:"refills,omitzero"`
}

// BudgetRefusal says why an amount was not reserved.
type BudgetRefusal struct {
	Budget  string          `json:"budget"`
	Reason  string          `json:"reason"` // a sentence for the agent
	Rule    profiles.Origin `json:"rule"`
	Refills time.Time       `json:"refills,omitzero"`
	Ask     bool            `json:"-"` // a person may still allow it
}

func (r *BudgetRefusal) Error() string { return r.Reason }

// Ledger keeps what is spent of a run's budgets. It is the supervisor's side's, which
// answers the gateway's questions by it.
type Ledger interface {
	// Reserve takes all amounts, or none and returns a *BudgetRefusal. Any other error
	// says that the ledger can't be used; nothing may be spent then.
	Reserve(ctx context.Context, charges []Charge) (id uint64, states []BudgetState, err error)

	// Settle puts what was really spent in the place of what a reservation took.
	// Budgets that it does not name keep what was reserved. ErrNotReserved says that
	// there is no such reservation, or not of such a budget.
	Settle(ctx context.Context, id uint64, charges []Charge) ([]BudgetState, error)
}

// ErrNotReserved is what a Ledger says to a settlement of what was never reserved.
var ErrNotReserved = errors.New("nothing was reserved under this number, or not of this budget")

// budgets is the gateway's part: it asks, and knows nothing by itself.
//
// Use it in two steps around whatever costs something:
//
//	res, err := g.budgets.reserve(ctx, []Charge{{Budget: "model", Open: true}, {Budget: "tokens", Open: true}}, a.purpose())
//	if err != nil { a.refuseSpend(r, err); return }   // 402 with the reason; nothing was sent
//	... the call, whose usage is read as it streams ...
//	err = res.settle(ctx, []Charge{{Budget: "model", Amount: cost}, {Budget: "tokens", Amount: tokens}})
//
// An open charge is refused where nothing is left; where the most that a call can cost
// is known beforehand (max_tokens), say it as Amount, and calls at the same time can't
// overspend together. What is never settled counts as spent with its Amount. settle may
// be called from any goroutine, once; where it comes after the request's context has
// ended use context.WithoutCancel. Amounts are in the budget's own unit
// (profiles.Amount: millionths; 1200 tokens are 1200 * profiles.One).
type budgets struct {
	questions *questions
	all       []profiles.Budget
}

// get finds a budget of the profile; nil where it has none of this name, and nothing
// is counted.
func (b *budgets) get(name string) *profiles.Budget {
	for i := range b.all {
		if b.all[i].Name == name {
			return &b.all[i]
		}
	}
	return nil
}

// reservation is what one request took of its budgets.
type reservation struct {
	b      *budgets
	id     uint64
	states []BudgetState // after it was made
}

// reserve takes amounts of budgets before anything is spent: all of them or, with an
// error, none. A *BudgetRefusal says which budget is short. It does not give up when the
// agent does: what was taken would then be nobody's.
func (b *budgets) reserve(ctx context.Context, charges []Charge, what purpose) (*reservation, error) {
	a, err := b.questions.ask(context.WithoutCancel(ctx), question{Reserve: &reserveQuestion{Charges: charges, For: what}})
	if err != nil {
		return nil, err
	}
	if a.Refused != nil {
		return nil, a.Refused
	}
	return &reservation{b: b, id: a.Reservation, states: a.Budgets}, nil
}

// settle says what was really spent of some of a reservation's budgets: less, and the
// rest is free again, or more.
func (r *reservation) settle(ctx context.Context, charges []Charge) ([]BudgetState, error) {
	what := question{Settle: &settleQuestion{Reservation: r.id, Charges: charges}}
	if r.b.questions.over() {
		// The run ends, and with it this request: the supervisor still takes it in, but
		// says no more.
		r.b.questions.post(what, waiting{})
		return nil, errNoSupervisor
	}
	a, err := r.b.questions.ask(ctx, what)
	return a.Budgets, err
}
