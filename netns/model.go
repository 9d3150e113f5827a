package netns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/usage"
	"github.com/agentjail/agentjail/profiles"
)

// modelCall is a request to a provider of models, from before it is sent until its
// answer is over.
//
//	request ─▶ which model? ─▶ priced? ─▶ reserve ─▶ host ─▶ answer, read as it streams ─▶ settle, record
//	           └────── only where the profile has a budget for models ──────┘
type modelCall struct {
	a         *ask
	api       usage.API
	provider  profiles.Provider
	pathModel string

	asked   *usage.RequestReader // nil where the body can't be read
	request usage.Request
	held    *heldBody    // nil where nothing had to be known beforehand
	taken   *reservation // nil where the profile has no budget for models

	mu       sync.Mutex    // of asked too, where it is read as it is sent
	status   int           // the host's; 0 where it gave none
	answer   *usage.Reader // nil where there is nothing to read
	answered int64         // bytes of the answer
	socket   bool          // it is a WebSocket: each response on it is a call
}

// settleTimeout is how long the supervisor may take to take in what a call cost; the
// reservation holds until then, and for ever where it takes longer.
const settleTimeout = 10 * time.Second

// charges are the budgets that calls of models are charged to.
func (g *gateway) charges(money, tokens profiles.Amount, open bool) (list []Charge) {
	if g.budgets.get(profiles.BudgetModel) != nil {
		list = append(list, Charge{Budget: profiles.BudgetModel, Amount: money, Open: open})
	}
	if g.budgets.get(profiles.BudgetTokens) != nil {
		list = append(list, Charge{Budget: profiles.BudgetTokens, Amount: tokens, Open: open})
	}
	return list
}

// callsModel looks at a request to a provider's host, and answers it where it may not be
// made.
func (a *ask) callsModel(r *http.Request) bool {
	provider := a.x.access.Provider()
	if provider == "" {
		return true
	}
	upgrades := r.Header.Get("Upgrade") != ""
	api, cost, model := usage.Classify(r.Method, a.path, upgrades)
	budget := len(a.x.g.charges(0, 0, false)) > 0
	if what := overrides(r); budget && what != "" {
		return a.deny(r, http.StatusForbidden, what+" would make another request of this one")
	}
	switch {
	case cost == usage.Free:
		return true
	case cost == usage.Unmetered:
		if !budget || a.match.Request != nil && !strings.Contains(a.match.Request.Path, "*") {
			return true
		}
		return a.deny(r, http.StatusForbidden, "it can't be told what this request costs, and the profile has a budget for models; a request rule that writes this path out without \"*\" lets it through uncounted")
	case budget && upgrades:
		// Codex, for one, asks once more over HTTP then.
		return a.deny(r, http.StatusUpgradeRequired, "the profile has a budget for models, and what a WebSocket will cost can't be told before it is spent: ask over HTTP")
	}
	m := &modelCall{a: a, api: api, provider: provider, pathModel: model}
	if !budget {
		a.model = m
		m.listen(r)
		return true
	}
	return m.reserve(r)
}

// listen reads the request's body as it is sent.
func (m *modelCall) listen(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody || coded(r.Header) {
		return
	}
	m.asked = usage.NewRequestReader()
	r.Body = &readBody{Reader: io.TeeReader(r.Body, askedWriter{m}), Closer: r.Body}
}

// askedWriter shows a request's body to its reader. The transport may still be sending
// when the answer is over.
type askedWriter struct{ m *modelCall }

func (w askedWriter) Write(p []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.m.asked.Write(p)
}

func coded(h http.Header) bool {
	c := strings.Join(h.Values("Content-Encoding"), ",")
	return c != "" && !strings.EqualFold(c, "identity")
}

// reserve finds out which model is asked, and takes what the call may cost out of the
// budgets before anything is sent.
func (m *modelCall) reserve(r *http.Request) bool {
	a, g := m.a, m.a.x.g
	if r.Body == nil {
		r.Body = http.NoBody
	}
	m.held = &heldBody{pool: &g.held}
	a.model = m // from here on finish gives back what is held
	err := m.held.fill(r.Body)
	if err == nil {
		m.asked, err = m.held.read(r.Header)
	}
	switch {
	case errors.Is(err, errHeldTooMuch):
		a.w.Header().Set("Retry-After", "1")
		return a.deny(r, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, errHeldTooLarge):
		return a.deny(r, http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, errHeldCoding):
		return a.deny(r, http.StatusUnsupportedMediaType, err.Error())
	case err != nil:
		a.unread(r, err)
		return false
	}
	r.Body = &readBody{Reader: m.held.reader(), Closer: r.Body}
	m.request = m.asked.Result(m.pathModel)
	if reason := m.unaccountable(); reason != "" {
		return a.deny(r, http.StatusForbidden, reason)
	}
	money, tokens, _ := m.cost(m.most(usage.Tokens{}), "")
	m.taken, err = g.budgets.reserve(r.Context(), g.charges(money, amountOfTokens(tokens), true), a.purpose())
	if err != nil {
		return a.refuseSpend(r, err)
	}
	a.charged(m.taken.states)
	return true
}

// unaccountable says why it can't be known what a call will cost; "" where it can.
func (m *modelCall) unaccountable() string {
	q, money := m.request, m.a.x.g.budgets.get(profiles.BudgetModel) != nil
	const budget = "the profile has a budget for models, and "
	switch {
	case q.Unclear != "":
		return budget + q.Unclear
	case q.Background:
		return budget + "the answer of a request in the background does not say what it costs"
	case money && q.Dearer != "":
		return budget + fmt.Sprintf("%s asks for another tier than the standard one, whose price is not known", q.Dearer)
	case money && profiles.FindPrice(m.a.x.g.prices, q.Model, 0) == nil:
		return budget + fmt.Sprintf("the price of the model %q is not known; price %q { ... } in the profile says it", clip(q.Model), clip(q.Model))
	}
	return ""
}

// bytesPerToken is how many bytes of text make a token: about four in English prose,
// three in code and in most other scripts.
const bytesPerToken = 3

// maxOutput is more than any call gives: what a request says is the agent's to say.
const maxOutput = 1_000_000_000

// most is what a call may use beyond what was seen: it is reserved before the call, and
// charged where the answer does not tell what it used. The output is bounded by the
// request's own limit where it has one. The input is an estimate of its texts; what
// images and files will count is not known beforehand.
func (m *modelCall) most(seen usage.Tokens) usage.Tokens {
	t := seen
	if t.Prompt() == 0 {
		t.Input = (m.request.Text + bytesPerToken - 1) / bytesPerToken
	}
	output := (m.answered + bytesPerToken - 1) / bytesPerToken
	if m.request.MaxOutput > 0 {
		output = min(m.request.MaxOutput*m.request.Choices, maxOutput)
	}
	t.Output = max(t.Output, output)
	return t
}

// cost is what tokens cost. Where the answer names another model than the request, the
// dearer one counts. known is false where neither has a price.
func (m *modelCall) cost(t usage.Tokens, answered string) (money profiles.Amount, tokens int64, known bool) {
	used := profiles.UsedTokens(t)
	for _, model := range []string{m.request.Model, answered} {
		if p := profiles.FindPrice(m.a.x.g.prices, model, t.Prompt()); p != nil {
			money, known = max(money, p.Cost(used)), true
		}
	}
	return money, t.Total(), known
}

func amountOfTokens(n int64) profiles.Amount {
	return profiles.Amount(min(n, int64(profiles.MaxAmount/profiles.One))) * profiles.One
}

// answers notes that the host has answered.
func (m *modelCall) answers(status int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status = status
}

// watch reads the answer as it passes. It changes no byte of it but that it comes
// without content coding.
func (m *modelCall) watch(res *http.Response) error {
	if res.StatusCode >= 400 || res.Body == nil || res.Body == http.NoBody {
		return nil
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil // see listenTo
	}
	body, err := decoded(res)
	if err != nil {
		if m.taken != nil {
			return fmt.Errorf("what the call costs can't be read: %w", err)
		}
		return nil
	}
	m.mu.Lock()
	m.answer = usage.NewReader(m.api)
	m.mu.Unlock()
	res.Body = &meteredBody{body, m}
	return nil
}

// meteredBody shows an answer to its reader as it passes.
type meteredBody struct {
	io.ReadCloser
	m *modelCall
}

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.m.saw(p[:n])
	return n, err
}

func (m *modelCall) saw(p []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answered += int64(len(p))
	_, _ = m.answer.Write(p) // it never fails
}

// listenTo reads the responses on a WebSocket. There is none where the profile has a
// budget for models.
func (m *modelCall) listenTo() *usage.SocketReader {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.socket = true
	call := m.call() // the request's record is another goroutine's from now on
	return usage.NewSocketReader(func(r usage.Result) {
		counted, estimated := r.Tokens, r.Seen != usage.Whole
		if estimated {
			counted = m.most(r.Tokens)
		}
		m.report(call, r, counted, estimated)
	})
}

// finish settles and records a call once its answer is over, however it ended.
func (m *modelCall) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil {
		m.held.release()
	}
	a := m.a
	if m.asked != nil && m.held == nil {
		m.request = m.asked.Result(m.pathModel)
	}
	answer := usage.Result{Seen: usage.Unknown}
	if m.answer != nil {
		answer = m.answer.Result()
	}
	counted, estimated := answer.Tokens, false
	switch {
	case m.status == 0 && a.sent.Load() == 0, m.status >= 400, m.status == 0 && a.rec.Outcome == audit.Blocked:
		// Nothing was sent, or the host refused it, which no provider charges for, or it
		// was cut off here before all of it was sent. A host that answers before it has the
		// body, of which nothing may have been read yet, has answered.
		counted = usage.Tokens{}
	case answer.Seen != usage.Whole:
		counted, estimated = m.most(answer.Tokens), true
	}
	if m.socket {
		return
	}
	money, tokens, _ := m.cost(counted, answer.Model)
	m.settle(money, tokens)
	if a.sent.Load() > 0 || m.status != 0 {
		m.report(m.call(), answer, counted, estimated)
	}
}

// call is what is known of a call by its request.
func (m *modelCall) call() audit.ModelCall {
	rec := &m.a.rec
	return audit.ModelCall{ID: rec.ID, Provider: string(m.provider), Model: validText(m.request.Model), Host: rec.Host, Port: rec.Port, Path: rec.Path,
		Status: m.status, Outcome: rec.Outcome, Rule: rec.Rule, Reason: rec.Reason}
}

// report puts a call and the tools that the model asked for into the trail.
func (m *modelCall) report(call audit.ModelCall, answer usage.Result, counted usage.Tokens, estimated bool) {
	call.Model = cmp.Or(answer.Model, call.Model)
	call.Usage, call.Tools, call.Estimated = string(answer.Seen), int64(len(answer.Tools)+answer.ToolsBeyond), estimated
	t := answer.Tokens
	call.Input, call.Output, call.CacheRead, call.CacheWrite, call.CacheWriteLong = t.Input, t.Output, t.CacheRead, t.CacheWrite, t.CacheWriteLong
	if cost, _, known := m.cost(counted, answer.Model); known {
		call.CostMicroUSD = new(int64(cost))
	}
	reports := m.a.x.g.reports
	reports(report{Model: &call})
	for _, t := range answer.Tools {
		reports(report{Tool: &audit.ModelTool{ID: call.ID, Provider: call.Provider, Model: call.Model, Host: call.Host, Port: call.Port,
			Name: validText(t.Name), Digest: t.Digest, Rule: call.Rule}})
	}
}

// settle says what was spent. What can't be said stays spent as it was reserved.
func (m *modelCall) settle(money profiles.Amount, tokens int64) {
	if m.taken == nil {
		return
	}
	// The request's own context may have ended with the agent's connection.
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	g := m.a.x.g
	if _, err := m.taken.settle(ctx, g.charges(money, amountOfTokens(tokens), false)); err != nil && !errors.Is(err, errNoSupervisor) {
		g.reports(report{Finding: &audit.Finding{Title: "a call of a model could not be settled", Detail: validText(err.Error()) + "; what was reserved for it counts as spent",
			Severity: "medium", Outcome: audit.Failed, Rule: m.a.rec.Rule}})
	}
}
