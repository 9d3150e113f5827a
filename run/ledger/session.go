package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// maxOpen bounds the reservations of one run that are not settled yet. What is only
// ever reserved is settled at once, so that these are requests under way.
const maxOpen = 16 << 10

// Notice says that a limit came near its end, or was too small for what was asked.
type Notice struct {
	Budget  profiles.Budget
	Limit   profiles.BudgetLimit
	Percent int    // 80, 90 or 100, of what is spent; 0 in a refusal
	Refused string // why an amount was refused; "" where none was
	Over    bool   // more was spent at once than the budget's `each`
	Amount  profiles.Amount
}

// Reached says whether the budget has come to its end: nothing is left of a limit over
// time, or too little for what was asked.
func (n Notice) Reached() bool {
	return n.Percent == 100 || n.Refused != ""
}

// Session is one run's use of its budgets. It implements netns.Ledger.
type Session struct {
	store   *Store
	budgets []profiles.Budget
	notice  func(Notice)
	changed func([]netns.BudgetState)

	turn   chan struct{} // holds one token: whose turn it is to touch what is below
	run    map[string]profiles.Amount
	seen   map[string]*Account // each budget's, as it was last written or read
	states map[string]netns.BudgetState
	warned map[warning]bool
	open   map[uint64]map[string]hold
	last   uint64
}

// warning is one that is given once.
type warning struct {
	budget, limit string
	from          time.Time // of the day or week
	percent       int
	refused       bool
}

// NewSession begins a run. It fails where some budget's account can't be used, so that
// this is known before anything has started. notice and changed are called with each
// notice and after each change, one at a time.
func NewSession(ctx context.Context, store *Store, budgets []profiles.Budget, notice func(Notice), changed func([]netns.BudgetState)) (*Session, error) {
	s := &Session{store: store, budgets: budgets, notice: notice, changed: changed, turn: make(chan struct{}, 1),
		run: map[string]profiles.Amount{}, seen: map[string]*Account{}, states: map[string]netns.BudgetState{}, warned: map[warning]bool{}, open: map[uint64]map[string]hold{}}
	// Written, too: a folder that can't be written to is found now.
	err := store.update(ctx, budgets, func(accounts []*Account) error {
		for i, a := range accounts {
			s.note(&budgets[i], a)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.turn <- struct{}{}
	return s, nil
}

// States are all budgets' states, in the profile's order.
func (s *Session) States() []netns.BudgetState {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	return s.list()
}

func (s *Session) list() (list []netns.BudgetState) {
	for _, b := range s.budgets {
		list = append(list, s.states[b.Name])
	}
	return list
}

func (s *Session) spent(a *Account) profiles.Spent {
	return profiles.Spent{Run: s.run[a.Name], Day: a.Day.Spent, Week: a.Week.Spent}
}

// refills is when a limit begins anew; the zero time where it does not in this run.
func refills(limit string, a *Account) time.Time {
	switch limit {
	case profiles.LimitPerDay:
		return a.DayEnds()
	case profiles.LimitPerWeek:
		return a.WeekEnds()
	}
	return time.Time{}
}

func (s *Session) state(b *profiles.Budget, a *Account) netns.BudgetState {
	spent := s.spent(a)
	st := netns.BudgetState{Name: b.Name, Unit: b.Unit, Each: b.Each, AskAbove: b.AskAbove}
	if l := b.Tightest(spent); l != nil {
		st.Left, st.Limit, st.Refills = new(l.Left()), l.Name, refills(l.Name, a)
	}
	for _, l := range b.Limits(spent) {
		st.Limits = append(st.Limits, netns.LimitState{BudgetLimit: l, Left: l.Left(), Refills: refills(l.Name, a)})
	}
	return st
}

// chosen are the budgets of some charges.
func (s *Session) chosen(charges []netns.Charge) ([]profiles.Budget, error) {
	list := make([]profiles.Budget, len(charges))
	for i, c := range charges {
		j := slices.IndexFunc(s.budgets, func(b profiles.Budget) bool { return b.Name == c.Budget })
		if j < 0 || c.Amount < 0 || c.Amount > profiles.MaxAmount {
			return nil, netns.ErrNotReserved
		}
		list[i] = s.budgets[j]
	}
	return list, nil
}

// begin waits for this session's turn.
func (s *Session) begin(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Session) end() { s.turn <- struct{}{} }

// Reserve implements netns.Ledger.
func (s *Session) Reserve(ctx context.Context, charges []netns.Charge) (uint64, []netns.BudgetState, error) {
	budgets, err := s.chosen(charges)
	if err != nil {
		return 0, nil, err
	}
	if err := s.begin(ctx); err != nil {
		return 0, nil, err
	}
	defer s.end()
	if len(s.open) >= maxOpen {
		return 0, nil, fmt.Errorf("%d reservations are open already", len(s.open))
	}
	holds := map[string]hold{}
	var notices []Notice
	err = s.store.update(ctx, budgets, func(accounts []*Account) error {
		for i, a := range accounts {
			b, c := &budgets[i], charges[i]
			limits := *b
			if c.Approved {
				limits.AskAbove = nil
			}
			if short := limits.Check(s.spent(a), c.Amount, c.Open); short != nil {
				r, n := s.refusal(b, a, c, *short)
				notices = append(notices, n...)
				s.note(b, a)
				return r
			}
		}
		for i, a := range accounts {
			holds[a.Name] = a.take(charges[i].Amount)
			s.run[a.Name] = s.run[a.Name].Add(charges[i].Amount)
			s.note(&budgets[i], a)
		}
		return nil
	})
	s.tell(notices)
	if err != nil {
		return 0, nil, err
	}
	s.last++
	s.open[s.last] = holds
	return s.last, s.of(budgets), nil
}

// refusal says why a charge is refused. What this run has set aside for requests under
// way may be given back, so that it takes a refusal beyond that for the budget to be at
// its end.
func (s *Session) refusal(b *profiles.Budget, a *Account, c netns.Charge, short profiles.Shortage) (*netns.BudgetRefusal, []Notice) {
	r := &netns.BudgetRefusal{Budget: b.Name, Rule: b.Origin, Refills: refills(short.Limit, a)}
	r.Reason = b.Refused(short, c.Amount, r.Refills)
	var limit *profiles.BudgetLimit
	for _, l := range b.Limits(s.spent(a)) {
		if l.Name == short.Limit {
			limit = &l
		}
	}
	r.Ask = short.Limit == profiles.LimitAskAbove
	if limit == nil {
		return r, nil // one spend that is too large is no end of the budget
	}
	if held := s.held(b.Name); held > 0 && c.Amount <= short.Left.Add(held) {
		r.Reason += fmt.Sprintf("; %s are set aside for requests under way, and what these do not spend is free again", b.AmountText(held))
		return r, nil
	}
	n := Notice{Budget: *b, Limit: *limit, Refused: r.Reason, Amount: c.Amount}
	if !s.first(n, a) {
		return r, nil
	}
	return r, []Notice{n}
}

// held is what is set aside of a budget in this run.
func (s *Session) held(name string) (sum profiles.Amount) {
	for _, holds := range s.open {
		sum = sum.Add(holds[name].amount)
	}
	return sum
}

// Settle implements netns.Ledger.
func (s *Session) Settle(ctx context.Context, id uint64, charges []netns.Charge) ([]netns.BudgetState, error) {
	budgets, err := s.chosen(charges)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	holds, ok := s.open[id]
	if !ok {
		return nil, netns.ErrNotReserved
	}
	for _, c := range charges {
		if _, ok := holds[c.Budget]; !ok {
			return nil, netns.ErrNotReserved
		}
	}
	delete(s.open, id)
	var notices []Notice
	if len(charges) > 0 { // else what was reserved is what was spent
		err = s.store.update(ctx, budgets, func(accounts []*Account) error {
			for i, a := range accounts {
				notices = append(notices, s.correct(&budgets[i], a, holds[a.Name], charges[i].Amount)...)
			}
			return nil
		})
	}
	for i := range s.budgets {
		if _, ok := holds[s.budgets[i].Name]; ok {
			notices = append(notices, s.levels(&s.budgets[i])...)
		}
	}
	s.tell(notices)
	if err != nil {
		return nil, err
	}
	return s.of(budgets), nil
}

// correct counts what was really spent.
func (s *Session) correct(b *profiles.Budget, a *Account, h hold, actual profiles.Amount) []Notice {
	a.correct(h, actual)
	s.run[a.Name] = s.run[a.Name].Sub(h.amount).Add(actual)
	s.note(b, a)
	if b.Each != nil && actual > *b.Each {
		return []Notice{{Budget: *b, Over: true, Amount: actual}}
	}
	return nil
}

// note remembers an account, and what the agent is told of it.
func (s *Session) note(b *profiles.Budget, a *Account) {
	s.seen[a.Name], s.states[a.Name] = new(*a), s.state(b, a)
}

// levels are the warnings that a budget is due, each once. They are given when a
// request is over, so that nothing that is only set aside ends a run, and no run is
// ended before its last request was answered.
func (s *Session) levels(b *profiles.Budget) (notices []Notice) {
	a := s.seen[b.Name]
	for _, l := range b.Limits(s.spent(a)) {
		n := Notice{Budget: *b, Limit: l, Percent: l.Level()}
		if n.Percent > 0 && s.first(n, a) {
			notices = append(notices, n)
		}
	}
	return notices
}

// first says whether a notice is new in its day or week. A refusal is one for each
// limit: that it is asked again and again is in the trail of the requests.
func (s *Session) first(n Notice, a *Account) bool {
	w := warning{budget: n.Budget.Name, limit: n.Limit.Name, percent: n.Percent, refused: n.Refused != ""}
	switch n.Limit.Name {
	case profiles.LimitPerDay:
		w.from = a.Day.From
	case profiles.LimitPerWeek:
		w.from = a.Week.From
	}
	if s.warned[w] {
		return false
	}
	s.warned[w] = true
	return true
}

// tell passes notices on, also where the accounts could not be written: the run's own
// count has moved on.
func (s *Session) tell(notices []Notice) {
	for _, n := range notices {
		s.notice(n)
	}
	s.changed(s.list())
}

func (s *Session) of(budgets []profiles.Budget) (list []netns.BudgetState) {
	for _, b := range budgets {
		list = append(list, s.states[b.Name])
	}
	return list
}
