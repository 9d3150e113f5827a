package ledger

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// book is a session, and what it told.
type book struct {
	*Session
	t       *testing.T
	now     time.Time
	store   *Store
	notices []Notice
	states  []netns.BudgetState
}

func newBook(t *testing.T, budgets ...profiles.Budget) *book {
	t.Helper()
	b := &book{t: t, now: at(t, "2026-03-10T12:00:00Z")}
	var err error
	if b.store, err = Open(filepath.Join(t.TempDir(), "budgets")); err != nil {
		t.Fatal(err)
	}
	b.store.now = func() time.Time { return b.now }
	b.again(budgets...)
	return b
}

// again begins another run.
func (b *book) again(budgets ...profiles.Budget) {
	b.t.Helper()
	var err error
	b.Session, err = NewSession(context.Background(), b.store, budgets,
		func(n Notice) { b.notices = append(b.notices, n) }, func(s []netns.BudgetState) { b.states = s })
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *book) take(name string, n profiles.Amount) (uint64, *netns.BudgetRefusal) {
	b.t.Helper()
	id, _, err := b.Reserve(context.Background(), []netns.Charge{{Budget: name, Amount: n * profiles.One}})
	var r *netns.BudgetRefusal
	if err != nil && !errors.As(err, &r) {
		b.t.Fatal(err)
	}
	return id, r
}

func (b *book) settle(id uint64, charges ...netns.Charge) {
	b.t.Helper()
	if _, err := b.Settle(context.Background(), id, charges); err != nil {
		b.t.Fatal(err)
	}
}

// spend is a request from its beginning to its end.
func (b *book) spend(name string, n profiles.Amount) {
	b.t.Helper()
	id, r := b.take(name, n)
	if r != nil {
		b.t.Fatal(r)
	}
	b.settle(id)
}

func (b *book) told() (list []string) {
	for _, n := range b.notices {
		switch {
		case n.Over:
			list = append(list, "over "+n.Amount.String())
		case n.Refused != "":
			list = append(list, "refused "+n.Limit.Name)
		default:
			list = append(list, n.Limit.Name+" "+string(rune('0'+n.Percent/10%10))+"0")
		}
	}
	b.notices = nil
	return list
}

func (b *book) wantTold(what string, want ...string) {
	b.t.Helper()
	if got := strings.Join(b.told(), ", "); got != strings.Join(want, ", ") {
		b.t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func limit(n profiles.Amount) *profiles.Amount { return new(n * profiles.One) }

func TestSession(t *testing.T) {
	b := newBook(t, profiles.Budget{Name: "pay", Unit: "usd", Each: limit(50), PerRun: limit(100), PerDay: limit(150)})
	b.spend("pay", 50)
	b.wantTold("half")
	b.spend("pay", 30)
	b.wantTold("80", "per_run 80")
	b.spend("pay", 15)
	b.wantTold("95", "per_run 90")
	if _, r := b.take("pay", 6); r == nil || !strings.Contains(r.Reason, "5 usd of 100 usd left for this run") {
		t.Errorf("%+v", r)
	}
	b.wantTold("too much", "refused per_run")
	if _, r := b.take("pay", 6); r == nil {
		t.Error("too much is granted the second time")
	}
	if _, r := b.take("pay", 51); r == nil || !strings.Contains(r.Reason, "allows 50 usd at once") {
		t.Errorf("%+v", r)
	}
	b.wantTold("again, and too much at once")
	b.spend("pay", 5)
	b.wantTold("all of it", "per_run 00") // 100
	if got := b.states[0]; *got.Left != 0 || got.Limit != "per_run" || !got.Refills.IsZero() || len(got.Limits) != 2 {
		t.Errorf("%+v", got)
	}

	// Another run of the day has what the day has left.
	b.again(profiles.Budget{Name: "pay", Unit: "usd", PerRun: limit(100), PerDay: limit(150)})
	if got := b.States()[0]; *got.Left != 50*profiles.One || got.Limit != "per_day" || !got.Refills.Equal(at(t, "2026-03-11T00:00:00Z")) {
		t.Errorf("%+v", got)
	}
	b.spend("pay", 40)
	b.wantTold("140 of the day's 150", "per_day 90")
	// Another profile has its own limits on the same account.
	b.again(profiles.Budget{Name: "pay", Unit: "usd", PerWeek: limit(141)})
	if _, r := b.take("pay", 2); r == nil || !strings.Contains(r.Reason, "refills at 2026-03-16T00:00:00Z") {
		t.Errorf("%+v", r)
	}
	b.wantTold("the week", "refused per_week")
	b.now = at(t, "2026-03-16T00:00:00Z")
	b.spend("pay", 140)
	b.now = at(t, "2026-03-15T00:00:00Z") // the clock is put back
	if _, r := b.take("pay", 2); r == nil {
		t.Error("a clock that was put back refills the week")
	}
}

func TestSettle(t *testing.T) {
	ctx := context.Background()
	b := newBook(t, profiles.Budget{Name: "pay", Each: limit(50), PerRun: limit(100)}, profiles.Budget{Name: "tokens", PerRun: limit(1000)})
	first, _ := b.take("pay", 50)
	second, _ := b.take("pay", 50)
	b.wantTold("what is set aside warns nobody")
	// What is under way may come back: no end of the budget, and the agent is told.
	if _, r := b.take("pay", 1); r == nil || !strings.Contains(r.Reason, "100 are set aside") {
		t.Errorf("%+v", r)
	}
	b.wantTold("a refusal while more is set aside")
	b.settle(first, netns.Charge{Budget: "pay", Amount: 10 * profiles.One})
	b.settle(second, netns.Charge{Budget: "pay", Amount: 60 * profiles.One})
	b.wantTold("10 of 50, 60 of 50", "over 60")
	if got := *b.states[0].Left; got != 30*profiles.One {
		t.Errorf("%s left, want 30", got)
	}
	third, _ := b.take("pay", 30)
	b.settle(third, netns.Charge{Budget: "pay"})
	if got := *b.states[0].Left; got != 30*profiles.One {
		t.Errorf("%s left after nothing was spent, want 30", got)
	}

	// Only what was reserved, once, and of the budgets it was reserved of.
	for name, try := range map[string]func() error{
		"twice":          func() error { _, err := b.Settle(ctx, third, nil); return err },
		"never reserved": func() error { _, err := b.Settle(ctx, 99, nil); return err },
		"another budget": func() error {
			id, _ := b.take("pay", 1)
			_, err := b.Settle(ctx, id, []netns.Charge{{Budget: "tokens"}})
			return err
		},
		"no budget": func() error {
			id, _ := b.take("pay", 1)
			_, err := b.Settle(ctx, id, []netns.Charge{{Budget: "x"}})
			return err
		},
		"less than nothing": func() error {
			id, _ := b.take("pay", 1)
			_, err := b.Settle(ctx, id, []netns.Charge{{Budget: "pay", Amount: -1}})
			return err
		},
		"less than nothing taken": func() error { _, _, err := b.Reserve(ctx, []netns.Charge{{Budget: "pay", Amount: -1}}); return err },
	} {
		if err := try(); !errors.Is(err, netns.ErrNotReserved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// All or nothing.
	before := *b.States()[0].Left
	if _, _, err := b.Reserve(ctx, []netns.Charge{{Budget: "pay", Amount: profiles.One}, {Budget: "tokens", Amount: 1001 * profiles.One}}); err == nil {
		t.Error("more tokens than there are")
	}
	if got := *b.States()[0].Left; got != before {
		t.Errorf("a refused reservation took %s", before.Sub(got))
	}
	// An open charge wants something to be left, and may then be more than that.
	id, _, err := b.Reserve(ctx, []netns.Charge{{Budget: "tokens", Open: true}})
	if err != nil {
		t.Fatal(err)
	}
	b.told()
	b.settle(id, netns.Charge{Budget: "tokens", Amount: 1200 * profiles.One})
	b.wantTold("more tokens than there were", "per_run 00")
	if _, _, err := b.Reserve(ctx, []netns.Charge{{Budget: "tokens", Open: true}}); err == nil {
		t.Error("nothing is left, and it is granted")
	}
}
