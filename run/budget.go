package run

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/ledger"
	"github.com/agentjail/agentjail/run/react"
)

// budgetFile is where the agent reads what is left.
const budgetFile = jail.InsideDir + "/budget.json"

// budgetsDir is where all of a user's runs keep what they spend.
func budgetsDir(d Dirs) string { return filepath.Join(d.State, "budgets") }

// openBudgets finds out, before anything is started, that what is spent can be
// written down. It gives the file that the agent reads it from; none where the
// profile has no budget.
func (s *session) openBudgets() ([]jail.File, error) {
	if len(s.spec.Budgets) == 0 {
		return nil, nil
	}
	var states []netns.BudgetState
	if !s.opt.DryRun {
		store, err := ledger.Open(budgetsDir(s.dirs))
		if err != nil {
			return nil, err
		}
		if s.ledger, err = ledger.NewSession(context.Background(), store, s.spec.Budgets, s.budgetNotice, s.budgetChanged); err != nil {
			return nil, err
		}
		states = s.ledger.States()
	}
	text, err := budgetText(states)
	if err != nil {
		return nil, err
	}
	return []jail.File{{Path: budgetFile, Content: string(text), Live: true}}, nil
}

// budgetText is what budget.json says.
func budgetText(states []netns.BudgetState) ([]byte, error) {
	if states == nil {
		states = []netns.BudgetState{}
	}
	text, err := json.MarshalIndent(struct {
		Budgets []netns.BudgetState `json:"budgets"`
	}{states}, "", "  ")
	return append(text, '\n'), err
}

// gatewayLedger is the ledger as the gateway's side takes it: nil and no nil in an
// interface where there is none.
func (s *session) gatewayLedger() netns.Ledger {
	if s.ledger == nil {
		return nil
	}
	return s.ledger
}

// budgetChanged tells the agent what is left. It is called by one at a time.
func (s *session) budgetChanged(states []netns.BudgetState) {
	text, err := budgetText(states)
	if err == nil {
		err = s.jail.Replace(budgetFile, text)
	}
	if err != nil && !s.budgetStale {
		s.budgetStale = true // once: each request would say the same
		s.sink.Emit(audit.Finding{Title: "the agent can't be told what is left of its budgets", Detail: err.Error(), Severity: "low", Outcome: audit.Failed})
	}
}

// budgetNotice records that a budget comes to its end, and at the end has done what the
// profile says.
func (s *session) budgetNotice(n ledger.Notice) {
	b := &n.Budget
	if n.Over {
		s.sink.Emit(audit.Finding{
			Title:    fmt.Sprintf("more was spent at once than the budget %q allows", b.Name),
			Detail:   fmt.Sprintf("%s were spent, as the answer said; each is %s", b.AmountText(n.Amount), b.AmountText(*b.Each)),
			Severity: "medium", Outcome: audit.Allowed, Rule: b.Origin.String()})
		return
	}
	if !n.Reached() {
		s.sink.Emit(audit.Finding{
			Title:    fmt.Sprintf("the budget %q is spent to %d %%", b.Name, n.Percent),
			Detail:   fmt.Sprintf("%s of %s (%s)", b.AmountText(n.Limit.Spent), b.AmountText(n.Limit.Limit), n.Limit.Name),
			Severity: "low", Outcome: audit.Allowed, Rule: b.Origin.String()})
		return
	}
	on := s.spec.Reaction(profiles.EventBudget)
	hit := audit.LimitHit{Limit: fmt.Sprintf("budget %s %s", b.Name, n.Limit.Name), Rule: b.Origin.String(), Detail: n.Refused}
	hit.Value, hit.Unit = wholeAmount(n.Limit.Spent, b.Unit)
	switch {
	case on.Action == profiles.ReactStop:
		hit.Action = "stopped"
	case on.Action == profiles.ReactKill:
		hit.Action = "killed"
	case on.Action != profiles.ReactLog:
		hit.Action = "held"
	case n.Refused != "":
		hit.Action = "refused"
	default:
		hit.Action = "logged"
	}
	if hit.Detail == "" {
		hit.Detail = fmt.Sprintf("%s of %s are spent", b.AmountText(n.Limit.Spent), b.AmountText(n.Limit.Limit))
	}
	s.sink.Emit(hit)
	s.react.Happened(react.Event{Kind: profiles.EventBudget, Title: fmt.Sprintf("the budget %q is spent", b.Name), Detail: hit.Detail, Rule: hit.Rule,
		Limit: &react.Limit{Name: hit.Limit, Value: hit.Value, Unit: hit.Unit}})
}

// wholeAmount is an amount as a whole number, for records that have no other.
func wholeAmount(a profiles.Amount, unit string) (int64, string) {
	if a%profiles.One == 0 {
		return int64(a / profiles.One), unit
	}
	if unit == "" {
		return int64(a), "millionths"
	}
	return int64(a), "millionths of " + unit
}

// budgetsUsed is what is spent of each limit when the run ends.
func (s *session) budgetsUsed() (list []audit.BudgetUse) {
	if s.ledger == nil {
		return nil
	}
	for _, b := range s.ledger.States() {
		for _, l := range b.Limits {
			list = append(list, audit.BudgetUse{Name: b.Name, Limit: l.Name, Unit: b.Unit, Spent: int64(l.Spent), Of: int64(l.Limit)})
		}
	}
	return list
}
