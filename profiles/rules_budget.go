package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var (
	// budgetName is also the name of the ledger's file.
	budgetName = lazy(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)
	// budgetUnit stands in a header of an answer.
	budgetUnit = lazy(`^[A-Za-z][A-Za-z0-9 ./_-]{0,31}$`)
)

// BudgetName says whether a name can be a budget's.
func BudgetName(s string) bool { return budgetName().MatchString(s) }

// maxBudgets keeps what the gateway and the supervisor say to each other about them in
// one message.
const maxBudgets = 64

func (d *decoder) budget(b *hcl.Block, l *layer) {
	c := d.content(b.Body, budgetSchema())
	x := Budget{Name: b.Labels[0], Origin: d.origin(b.DefRange)}
	switch {
	case !BudgetName(x.Name):
		d.fail(b.LabelRanges[0], "Wrong budget", fmt.Sprintf("%q is no name of a budget: it begins with a letter and has at most 64 letters, digits, \"_\" and \"-\".", x.Name))
	case slices.ContainsFunc(l.budgets, func(o Budget) bool { return o.Name == x.Name }):
		d.fail(b.DefRange, "Duplicate budget", fmt.Sprintf("The budget %q already stands above: put both into one.", x.Name))
	case len(l.budgets) == maxBudgets:
		d.fail(b.DefRange, "Too many budgets", fmt.Sprintf("A profile has at most %d budgets.", maxBudgets))
	}
	if a := c.Attributes["unit"]; a != nil {
		if t, ok := d.text(a.Expr); ok {
			if !budgetUnit().MatchString(t.s) {
				d.fail(t.rng, "Wrong unit", fmt.Sprintf("%q is no unit: write for example \"usd\" or \"mails\", at most 32 letters, digits, spaces and \"./_-\", a letter first.", t.s))
			}
			x.Unit = t.s
		}
	}
	limits := false
	for _, f := range []struct {
		name string
		to   **Amount
	}{{LimitEach, &x.Each}, {LimitPerRun, &x.PerRun}, {LimitPerDay, &x.PerDay}, {LimitPerWeek, &x.PerWeek}, {LimitAskAbove, &x.AskAbove}} {
		if a := c.Attributes[f.name]; a != nil {
			limits = true
			if n, ok := d.amount(a.Expr); ok {
				*f.to = &n
			}
		}
	}
	if !limits {
		d.fail(b.DefRange, "Budget without a limit", fmt.Sprintf("This budget limits nothing: write at least one of %s.", strings.Join([]string{LimitEach, LimitPerRun, LimitPerDay, LimitPerWeek, LimitAskAbove}, ", ")))
	}
	l.budgets = append(l.budgets, x)
}

// amount reads an amount as it is written, never rounded.
func (d *decoder) amount(e hcl.Expression) (Amount, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	if v.Type() != cty.Number {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("A number without quotes is expected here, not %s: write for example 5 or 0.25.", kindOf(v)))
		return 0, false
	}
	n, exact, err := amountOf(v.AsBigFloat())
	switch {
	case err != nil:
		d.wrong(e.Range(), "Wrong amount", err)
	case !exact:
		d.fail(e.Range(), "Wrong amount", fmt.Sprintf("An amount has at most %d digits behind the point.", amountDigits))
	case n == 0:
		d.fail(e.Range(), "Wrong amount", "0 reads as \"nothing\" to some and as \"no limit\" to others. Leave it out where no limit is meant; what may never be spent needs no rule that allows it.")
	default:
		return n, true
	}
	return 0, false
}

// budgetUse is a spend of a request rule.
type budgetUse struct {
	spend Spend
	rng   hcl.Range
}

// budgetsKnown reports spends from budgets that no file of the chain has, budgets that
// are said in two units, and spends that nothing bounds while they are under way.
func (l *loader) budgetsKnown() {
	known := map[string]*Budget{}
	for _, layer := range l.layers {
		for _, b := range layer.budgets {
			first := known[b.Name]
			switch {
			case first == nil:
				known[b.Name] = new(b)
				continue
			case first.Unit != "" && b.Unit != "" && first.Unit != b.Unit:
				rng := hcl.Range{Filename: b.Origin.File, Start: hcl.Pos{Line: b.Origin.Line, Column: 1}, End: hcl.Pos{Line: b.Origin.Line, Column: 1}}
				l.fail(&rng, "Two units", fmt.Sprintf("The budget %q is in %q here and in %q at %s: a budget has one unit.", b.Name, b.Unit, first.Unit, first.Origin))
			}
			first.narrow(b)
		}
	}
	if len(known) > maxBudgets {
		l.fail(nil, "Too many budgets", fmt.Sprintf("A profile has at most %d budgets, with those of what it extends.", maxBudgets))
	}
	for _, u := range l.budgetUses {
		b := known[u.spend.Budget]
		switch {
		case b == nil:
			l.fail(u.rng.Ptr(), "Unknown budget", fmt.Sprintf("There is no budget %q.%s Write budget %q { ... } beside `network`.", u.spend.Budget, didYouMean(u.spend.Budget, slices.Sorted(maps.Keys(known))), u.spend.Budget))
		case u.spend.Before == nil && b.Each == nil:
			l.fail(u.rng.Ptr(), "Nothing set aside", fmt.Sprintf("What this spends is known only from the answer, and until then something has to be set aside, or requests at the same time would spend more than there is. Give the budget %q an `each`, which is set aside, or write a list of two: the amount by the request, and the amount by the answer.", b.Name))
		}
	}
}
