package profiles

import (
	"fmt"
	"strings"
	"time"
)

// Budget is what may be spent of something, in the unit that its author chose. A nil
// limit is none. "model" (money) and "tokens" are spent by what `provider` reads; every
// other by the `spend` of request rules.
//
// A budget is its user's, by its name: profiles that name the same one spend from the
// same, each within its own limits.
type Budget struct {
	Name     string  `json:"name"`
	Unit     string  `json:"unit,omitempty"`
	Each     *Amount `json:"each,omitempty"`      // one spend
	PerRun   *Amount `json:"per_run,omitempty"`   // one run
	PerDay   *Amount `json:"per_day,omitempty"`   // all runs of a day, UTC
	PerWeek  *Amount `json:"per_week,omitempty"`  // all runs of a week, from Monday 00:00 UTC
	AskAbove *Amount `json:"ask_above,omitempty"` // one spend above it is for a person to decide
	Origin   Origin  `json:"origin"`
}

// Spent is what was spent of a budget.
type Spent struct{ Run, Day, Week Amount }

// The names of a budget's limits, as the language has them.
const (
	LimitEach     = "each"
	LimitPerRun   = "per_run"
	LimitPerDay   = "per_day"
	LimitPerWeek  = "per_week"
	LimitAskAbove = "ask_above"
)

// BudgetLimit is one limit over time, and what is spent of it.
type BudgetLimit struct {
	Name  string `json:"name"` // per_run, per_day, per_week
	Limit Amount `json:"limit"`
	Spent Amount `json:"spent"`
}

// Left is what may still be spent.
func (l BudgetLimit) Left() Amount { return l.Limit.Sub(l.Spent) }

// Limits are the budget's limits over time.
func (b *Budget) Limits(s Spent) (list []BudgetLimit) {
	for _, l := range []struct {
		name  string
		limit *Amount
		spent Amount
	}{{LimitPerRun, b.PerRun, s.Run}, {LimitPerDay, b.PerDay, s.Day}, {LimitPerWeek, b.PerWeek, s.Week}} {
		if l.limit != nil {
			list = append(list, BudgetLimit{l.name, *l.limit, l.spent})
		}
	}
	return list
}

// Tightest is the limit of which the least is left; nil where there is none.
func (b *Budget) Tightest(s Spent) *BudgetLimit {
	var found *BudgetLimit
	for _, l := range b.Limits(s) {
		if found == nil || l.Left() < found.Left() {
			found = &l
		}
	}
	return found
}

// Shortage is the limit that keeps an amount from being spent.
type Shortage struct {
	Limit string `json:"limit"` // its name
	Most  Amount `json:"most"`
	Left  Amount `json:"left"`
}

// Check decides whether an amount may be spent after what was spent already; nil if it
// may. open says that the amount is not known yet: then something has to be left.
func (b *Budget) Check(s Spent, amount Amount, open bool) *Shortage {
	if b.Each != nil && amount > *b.Each {
		return &Shortage{LimitEach, *b.Each, *b.Each}
	}
	if l := b.Tightest(s); l != nil && (amount > l.Left() || open && l.Left() == 0) {
		return &Shortage{l.Name, l.Limit, l.Left()}
	}
	// The last one: nobody is asked about what could not be spent anyway.
	if b.AskAbove != nil && amount > *b.AskAbove {
		return &Shortage{LimitAskAbove, *b.AskAbove, *b.AskAbove}
	}
	return nil
}

// Warnings are the shares of a limit, in percent, that a warning is given at.
func Warnings() []int { return []int{80, 90, 100} }

// Level is the highest of the Warnings that what is spent of a limit has come to; 0 for
// none.
func (l BudgetLimit) Level() (percent int) {
	for _, p := range Warnings() {
		if l.Spent >= share(l.Limit, p) {
			percent = p
		}
	}
	return percent
}

// share is a part of an amount, rounded up. Divided first, since a hundred times the
// largest amount is no int64.
func share(a Amount, percent int) Amount {
	p := Amount(percent)
	return a/100*p + (a%100*p+99)/100
}

// String is the budget on one line, "each 50, per_week 500 usd".
func (b *Budget) String() string {
	var parts []string
	for _, l := range []struct {
		name  string
		limit *Amount
	}{{LimitEach, b.Each}, {LimitPerRun, b.PerRun}, {LimitPerDay, b.PerDay}, {LimitPerWeek, b.PerWeek}, {LimitAskAbove, b.AskAbove}} {
		if l.limit != nil {
			parts = append(parts, l.name+" "+l.limit.String())
		}
	}
	return strings.TrimSpace(strings.Join(parts, ", ") + " " + b.Unit)
}

// AmountText is an amount with its unit.
func (b *Budget) AmountText(a Amount) string {
	if b.Unit == "" {
		return a.String()
	}
	return a.String() + " " + b.Unit
}

// Refused says in a sentence why an amount could not be spent, and when there is more.
func (b *Budget) Refused(s Shortage, amount Amount, refills time.Time) string {
	name, most := fmt.Sprintf("the budget %q", b.Name), b.AmountText(s.Most)
	switch s.Limit {
	case LimitEach:
		return fmt.Sprintf("this would spend %s, and %s allows %s at once", b.AmountText(amount), name, most)
	case LimitAskAbove:
		return fmt.Sprintf("this would spend %s, and of %s a person decides above %s", b.AmountText(amount), name, most)
	}
	text := fmt.Sprintf("%s has %s of %s left", name, b.AmountText(s.Left), most)
	if s.Left == 0 {
		text = fmt.Sprintf("%s of %s is used up", name, most)
	}
	text += " for this " + map[string]string{LimitPerRun: "run", LimitPerDay: "day", LimitPerWeek: "week"}[s.Limit]
	if amount > 0 {
		text += fmt.Sprintf(", and this needs %s", b.AmountText(amount))
	}
	if refills.IsZero() {
		return text + "; it does not refill in this run, and asking again does not help"
	}
	return text + "; it refills at " + refills.UTC().Format(time.RFC3339)
}

// narrow takes over what is stricter in another block about the same budget, so that
// no file that a profile extends can be widened by the one that extends it.
func (b *Budget) narrow(o Budget) (changed bool) {
	for _, l := range []struct{ to, from **Amount }{
		{&b.Each, &o.Each}, {&b.PerRun, &o.PerRun}, {&b.PerDay, &o.PerDay}, {&b.PerWeek, &o.PerWeek}, {&b.AskAbove, &o.AskAbove},
	} {
		if *l.from != nil && (*l.to == nil || **l.from < **l.to) {
			*l.to, changed = *l.from, true
		}
	}
	if b.Unit == "" {
		b.Unit = o.Unit
	}
	return changed
}

// Budget finds a budget by its name; nil where there is none.
func (s *Spec) Budget(name string) *Budget {
	for i := range s.Budgets {
		if s.Budgets[i].Name == name {
			return &s.Budgets[i]
		}
	}
	return nil
}
