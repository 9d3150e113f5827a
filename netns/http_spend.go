package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

// budgetHeader tells the agent what is left of each budget that a request was charged
// to, so that it can plan instead of running into the end.
const budgetHeader = "X-Agentjail-Budget"

// headerValue is a budget in one line.
func (s BudgetState) headerValue() string {
	parts := []string{s.Name}
	if s.Left != nil {
		parts = append(parts, "left="+s.Left.String())
	}
	if s.Unit != "" {
		parts = append(parts, "unit="+s.Unit)
	}
	if s.Limit != "" {
		parts = append(parts, "limit="+s.Limit)
	}
	if !s.Refills.IsZero() {
		parts = append(parts, "refills="+s.Refills.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, "; ")
}

// charged notes what the answer's head will say of budgets. Called again, it replaces
// what it said of the same ones.
func (a *ask) charged(states []BudgetState) {
	for _, s := range states {
		if a.budgets == nil {
			a.budgets = map[string]string{}
		}
		a.budgets[s.Name] = s.headerValue()
	}
}

// refuseSpend answers a request that a budget has too little for, or whose ledger can't
// be used.
//
// The status is 402 (RFC 9110 section 15.5.3) and not 429: clients of model providers
// repeat a 429 by themselves, several times, and no repeating refills a budget.
func (a *ask) refuseSpend(r *http.Request, err error) bool {
	var short *BudgetRefusal
	if !errors.As(err, &short) {
		return a.deny(r, http.StatusServiceUnavailable, fmt.Sprintf("nothing may be spent: %v", err))
	}
	a.rec.Rule = short.Rule.String()
	if !short.Refills.IsZero() {
		a.w.Header().Set("Retry-After", short.Refills.UTC().Format(http.TimeFormat))
	}
	return a.deny(r, http.StatusPaymentRequired, short.Reason)
}

// spending is what a request spends by its rule.
type spending struct {
	facts   profiles.RequestFacts
	charges []Charge // before it is sent
	after   []pending
	looks   bool // at the answer's body
	taken   *reservation
	settled bool
	sent    atomic.Bool // it had a connection, and may have got to the host
}

// pending is an amount that the answer says.
type pending struct {
	budget  string
	formula *profiles.Formula
}

// errCost ends an answer whose amount can't be told. What was reserved for it counts.
type errCost struct{ error }

// compileCosts reads the amounts of all rules.
func compileCosts(s *start) (map[string]*profiles.Cost, error) {
	costs := map[string]*profiles.Cost{}
	for _, r := range s.Network.Allow {
		for _, q := range r.Requests {
			for _, x := range q.Spend {
				if !slices.ContainsFunc(s.Budgets, func(b profiles.Budget) bool { return b.Name == x.Budget }) {
					return nil, fmt.Errorf("%s: there is no budget %q", x.Origin, x.Budget)
				}
				for _, f := range []*profiles.Formula{x.Before, x.After} {
					if f == nil {
						continue
					}
					c, err := f.Compile()
					if err != nil {
						return nil, fmt.Errorf("%s: the rule's spend: %w", x.Origin, err)
					}
					costs[f.Source] = c
				}
			}
		}
	}
	return costs, nil
}

// price works out what a request spends, before anything of it is sent. What can't be
// worked out refuses it; another rule is not tried, since that one might spend nothing.
func (a *ask) price(r *http.Request) (reason string) {
	q := a.match.Request
	if q == nil || len(q.Spend) == 0 {
		return ""
	}
	if slices.ContainsFunc(q.Spend, func(s profiles.Spend) bool {
		return s.Before != nil && s.Before.Body || s.After != nil && s.After.Body
	}) {
		if a.body.load(r); a.body.err != nil {
			return "what this spends can't be told: " + a.body.err.Error()
		}
	}
	a.spend.facts = facts(r, a.x.host, a.path, a.body.value)
	for _, s := range q.Spend {
		b := a.x.g.budgets.get(s.Budget)
		if b == nil {
			return "what this spends can't be told: there is no budget " + s.Budget
		}
		c := Charge{Budget: s.Budget}
		switch {
		case s.Before != nil:
			amount, err := a.amount(s.Before, nil)
			if err != nil {
				return fmt.Sprintf("what this spends of the budget %q can't be told: %s", s.Budget, oneLine(err.Error()))
			}
			c.Amount = amount
		case b.Each != nil:
			c.Amount, c.Open = *b.Each, true
		default: // the profile's loader has refused it
			return fmt.Sprintf("what this spends of the budget %q is not bounded", s.Budget)
		}
		a.spend.charges = append(a.spend.charges, c)
		if s.After != nil {
			a.spend.after = append(a.spend.after, pending{s.Budget, s.After})
			a.spend.looks = a.spend.looks || s.After.ResponseBody
		}
	}
	return ""
}

func (a *ask) amount(f *profiles.Formula, res *profiles.ResponseFacts) (profiles.Amount, error) {
	c := a.x.g.costs[f.Source]
	if c == nil {
		return 0, errors.New("the expression is not known")
	}
	return c.Amount(a.spend.facts, res)
}

// reserve takes what a request spends.
func (a *ask) reserve(r *http.Request) bool {
	if len(a.spend.charges) == 0 {
		return true
	}
	res, err := a.x.g.budgets.reserve(r.Context(), a.spend.charges, a.purpose())
	if err != nil {
		return a.refuseSpend(r, err)
	}
	a.spend.taken = res
	a.charged(res.states)
	return true
}

// settle works out what the answer says that was spent, before the agent sees it.
func (a *ask) settle(res *http.Response) error {
	if len(a.spend.after) == 0 {
		return nil
	}
	f := profiles.ResponseFacts{Status: res.StatusCode, Headers: map[string]string{}}
	for k, v := range res.Header {
		f.Headers[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	fail := func(err error) error {
		return errCost{fmt.Errorf("what this has spent can't be told from the answer, so that it is not passed on: %s", oneLine(err.Error()))}
	}
	if a.spend.looks {
		var err error
		if f.Body, err = readAnswer(res); err != nil {
			return fail(err)
		}
	}
	var charges []Charge
	for _, p := range a.spend.after {
		amount, err := a.amount(p.formula, &f)
		if err != nil {
			return fail(err)
		}
		charges = append(charges, Charge{Budget: p.budget, Amount: amount})
	}
	a.spend.settled = true
	states, err := a.spend.taken.settle(context.WithoutCancel(res.Request.Context()), charges)
	if err != nil {
		return errCost{err}
	}
	a.charged(states)
	return nil
}

// readAnswer decodes an answer's body and leaves the same bytes in the answer. All of
// it is read before the agent gets any: what an amount is about is no stream.
func readAnswer(res *http.Response) (any, error) {
	if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode == http.StatusPartialContent {
		return nil, errors.New("the answer is no whole document")
	}
	if res.Body == nil || res.Body == http.NoBody || res.Request.Method == http.MethodHead {
		return nil, nil
	}
	body, err := decoded(res)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(body, maxJudgedBody+1))
	if err != nil {
		return nil, fmt.Errorf("the answer can't be read: %w", err)
	}
	if len(data) > maxJudgedBody {
		return nil, fmt.Errorf("the answer is larger than %s, which is more than an amount looks at", profiles.FormatSize(maxJudgedBody))
	}
	res.Body = &readBody{Reader: bytes.NewReader(data), Closer: body}
	return decodeBody(res.Header, data)
}

// spent ends a request's reservation. What never had a connection was not spent; of
// everything else what was reserved counts, whatever became of the answer.
func (a *ask) spent() {
	if a.spend.taken == nil || a.spend.settled {
		return
	}
	var charges []Charge
	if !a.spend.sent.Load() {
		for _, c := range a.spend.charges {
			charges = append(charges, Charge{Budget: c.Budget})
		}
	}
	// Nobody waits for the answer but this; an error leaves it spent.
	_, _ = a.spend.taken.settle(context.Background(), charges)
}
