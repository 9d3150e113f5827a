package profiles

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const spendingProfile = `
variable "fee" { default = 0.3 }
network {
  allow "api.example" {
    request "POST" "/pay" {
      spend = { payments = request.body.amount / 100 + var.fee }
    }
    request "POST" "/use" {
      spend = {
        calls    = 1
        payments = [request.body.most, response.status == 200 ? response.body.cost : 0]
      }
    }
    request "POST" "/metered" {
      spend = { payments = response.headers["x-cost"] }
    }
  }
}
budget "payments" {
  unit      = "usd"
  each      = 50.25
  per_week  = 500
  ask_above = 20
}
budget "calls" { per_run = 100 }
on "budget" { action = "stop" }
`

func amount(t *testing.T, s string) *Amount {
	t.Helper()
	a, err := ParseAmount(s)
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

func TestBudgets(t *testing.T) {
	o := mapOptions(map[string]string{"/p/b.hcl": spendingProfile})
	s := mustLoad(t, "/p/b.hcl", o)
	want := Budget{Name: "payments", Unit: "usd", Each: amount(t, "50.25"), PerWeek: amount(t, "500"), AskAbove: amount(t, "20"), Origin: Origin{"b.hcl", 19}}
	if d := cmp.Diff(want, *s.Budget("payments")); d != "" {
		t.Error(d)
	}
	if s.Reaction(EventBudget).Action != ReactStop || s.Budget("other") != nil {
		t.Errorf("%+v", s.On)
	}
	use := s.Network.Allow[0].Requests[1].Spend
	if len(use) != 2 || use[0].Budget != "calls" || use[0].Before == nil || use[0].After != nil || use[1].Before == nil || !use[1].After.ResponseBody || !use[1].Before.Body {
		t.Errorf("%+v", use)
	}
	if m := s.Network.Allow[0].Requests[2].Spend[0]; m.Before != nil || !m.After.Response || m.After.ResponseBody {
		t.Errorf("%+v", m)
	}

	// What `profile show` prints says the same again.
	var text bytes.Buffer
	if err := WriteText(&text, s); err != nil {
		t.Fatal(err)
	}
	o = mapOptions(map[string]string{"/p/b.hcl": text.String()})
	again := mustLoad(t, "/p/b.hcl", o)
	strip := func(s *Spec) any {
		var budgets []Budget
		for _, b := range s.Budgets {
			b.Origin = Origin{}
			budgets = append(budgets, b)
		}
		var sources []string
		for _, q := range s.Network.Allow[0].Requests {
			for _, x := range q.Spend {
				for _, f := range []*Formula{x.Before, x.After} {
					if f != nil {
						sources = append(sources, x.Budget+" "+f.Source)
					}
				}
			}
		}
		return []any{budgets, sources, s.Reaction(EventBudget).Action}
	}
	if d := cmp.Diff(strip(s), strip(again)); d != "" {
		t.Errorf("shown and read again: %s\n%s", d, text.String())
	}
}

// No file widens what the file that it extends allows.
func TestBudgetsNarrow(t *testing.T) {
	o := mapOptions(map[string]string{
		"/p/parent.hcl": "budget \"b\" {\n unit = \"usd\"\n each = 10\n per_run = 20\n per_day = 30\n}",
		"/p/child.hcl":  "extends = [\"./parent.hcl\"]\nbudget \"b\" {\n each = 100\n per_run = 5\n per_week = 50\n}",
		"/p/clash.hcl":  "extends = [\"./parent.hcl\"]\nbudget \"b\" {\n unit = \"eur\"\n each = 1\n}",
	})
	s := mustLoad(t, "/p/child.hcl", o)
	want := Budget{Name: "b", Unit: "usd", Each: amount(t, "10"), PerRun: amount(t, "5"), PerDay: amount(t, "30"), PerWeek: amount(t, "50"), Origin: Origin{"child.hcl", 2}}
	if d := cmp.Diff([]Budget{want}, s.Budgets); d != "" {
		t.Error(d)
	}
	if _, diags, _ := Load("/p/clash.hcl", o); len(diags) != 1 || diags[0].Summary != "Two units" {
		t.Errorf("two units give %v", diags)
	}
}

func TestBudgetCheck(t *testing.T) {
	a := func(s string) *Amount { return amount(t, s) }
	full := Budget{Name: "b", Each: a("10"), PerRun: a("30"), PerDay: a("40"), PerWeek: a("100"), AskAbove: a("8")}
	spent := func(run, day, week string) Spent { return Spent{*a(run), *a(day), *a(week)} }
	for _, c := range []struct {
		name   string
		b      Budget
		s      Spent
		amount string
		open   bool
		want   string // the limit
		left   string
	}{
		{"fits", full, Spent{}, "8", false, "", ""},
		{"nothing", full, spent("30", "40", "100"), "0", false, "", ""},
		{"more than each", full, Spent{}, "10.000001", false, LimitEach, "10"},
		{"more than a person need not see", full, Spent{}, "8.000001", false, LimitAskAbove, "8"},
		{"exactly what is left of the run", full, spent("25", "25", "25"), "5", false, "", ""},
		{"a millionth more", full, spent("25", "25", "25"), "5.000001", false, LimitPerRun, "5"},
		{"the day is tighter", full, spent("0", "39", "39"), "2", false, LimitPerDay, "1"},
		{"the week is tighter", full, spent("0", "0", "99.5"), "2", false, LimitPerWeek, "0.5"},
		{"more is spent than there is", full, spent("31", "0", "0"), "0.000001", false, LimitPerRun, "0"},
		{"open, and something is left", full, spent("29", "0", "0"), "0", true, "", ""},
		{"open, and nothing is left", full, spent("30", "0", "0"), "0", true, LimitPerRun, "0"},
		{"open, and what is set aside does not fit", full, spent("29", "0", "0"), "5", true, LimitPerRun, "1"},
		{"no limit over time", Budget{Name: "b", Each: a("1")}, spent("1000", "1000", "1000"), "1", true, "", ""},
	} {
		got := c.b.Check(c.s, *a(c.amount), c.open)
		switch {
		case c.want == "" && got != nil, c.want != "" && got == nil:
			t.Errorf("%s: %+v", c.name, got)
		case got != nil && (got.Limit != c.want || got.Left != *a(c.left)):
			t.Errorf("%s: %+v, want %s with %s left", c.name, got, c.want, c.left)
		}
	}

	at := time.Date(2026, 3, 9, 0, 0, 0, 0, time.FixedZone("", 3600))
	b := Budget{Name: "b", Unit: "usd"}
	for _, c := range []struct {
		s       Shortage
		amount  string
		refills time.Time
		want    string
	}{
		{Shortage{LimitEach, *a("10"), *a("10")}, "12", time.Time{}, `this would spend 12 usd, and the budget "b" allows 10 usd at once`},
		{Shortage{LimitPerDay, *a("10"), *a("3")}, "12", at, `the budget "b" has 3 usd of 10 usd left for this day, and this needs 12 usd; it refills at 2026-03-08T23:00:00Z`},
		{Shortage{LimitPerRun, *a("10"), 0}, "0", time.Time{}, `the budget "b" of 10 usd is used up for this run; it does not refill in this run, and asking again does not help`},
		{Shortage{LimitAskAbove, *a("1"), *a("1")}, "2", time.Time{}, `this would spend 2 usd, and of the budget "b" a person decides above 1 usd`},
	} {
		if got := b.Refused(c.s, *a(c.amount), c.refills); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	for spent, want := range map[string]int{"0": 0, "23.999999": 0, "24": 80, "26.9": 80, "27": 90, "29.999999": 90, "30": 100, "31": 100} {
		if got := (BudgetLimit{Limit: *a("30"), Spent: *a(spent)}).Level(); got != want {
			t.Errorf("%s of 30 are %d %%, want %d", spent, got, want)
		}
	}
	if got := (BudgetLimit{Limit: MaxAmount, Spent: MaxAmount - 1}).Level(); got != 90 {
		t.Errorf("the largest limit is spent to %d %%", got)
	}
	// Rounded up: of a limit of one millionth, nothing spent is no 80 %.
	if got := (BudgetLimit{Limit: 1}).Level(); got != 0 {
		t.Errorf("nothing of a millionth is %d %%", got)
	}
}

func TestSpend(t *testing.T) {
	body := func(s string) any {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		source, body string
		res          *ResponseFacts
		want         string // "": an error
	}{
		{"request.body.amount / 100", `{"amount": 1999}`, nil, "19.99"},
		{"request.body.amount / 100", `{"amount": "1999"}`, nil, "19.99"},
		{"request.body.amount * 0.07", `{"amount": 3}`, nil, "0.21"},
		{"sum", `{}`, nil, ""},
		{"1", `null`, nil, "1"},
		{"request.body.n", `{"n": "2.5"}`, nil, "2.5"},
		{"request.body.n", `{"n": 0}`, nil, "0"},
		{"request.body.n", `{"n": -1}`, nil, ""},
		{"request.body.n", `{"n": 1e13}`, nil, ""},
		{"request.body.n", `{"n": "NaN"}`, nil, ""},
		{"request.body.n", `{"n": "Inf"}`, nil, ""},
		{"request.body.n", `{"n": null}`, nil, ""},
		{"request.body.n", `{"n": [1]}`, nil, ""},
		{"request.body.n", `{"n": true}`, nil, ""},
		{"request.body.n", `{}`, nil, ""},
		{"request.body.n", `[]`, nil, ""},
		{"request.body.n", `null`, nil, ""},
		{"1 / request.body.n", `{"n": 0}`, nil, ""},
		{"-request.body.n", `{"n": 5}`, nil, ""},
		{"request.query.n", `{}`, nil, ""},
		{"response.body.cost", `{}`, nil, ""}, // there is no answer yet
		{"response.body.cost", `{}`, &ResponseFacts{Status: 200, Body: body(`{"cost": 0.5}`)}, "0.5"},
		{"response.headers[\"x-cost\"]", `{}`, &ResponseFacts{Headers: map[string]string{"x-cost": "0.125"}}, "0.125"},
		{"response.headers[\"x-cost\"]", `{}`, &ResponseFacts{}, ""},
		{"response.status == 200 ? 2 : 0", `{}`, &ResponseFacts{Status: 200}, "2"},
		{"response.status == 200 ? 2 : 0", `{}`, &ResponseFacts{Status: 402}, "0"},
		{"response.body.cost", `{}`, &ResponseFacts{Body: body(`{"cost": -0.5}`)}, ""},
	} {
		f := &Formula{Source: c.source}
		cost, err := f.Compile()
		if err != nil {
			if c.want != "" || c.source != "sum" {
				t.Errorf("%s: %v", c.source, err)
			}
			continue
		}
		got, err := cost.Amount(RequestFacts{Body: body(c.body)}, c.res)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s of %s is %s", c.source, c.body, got)
		case c.want != "" && (err != nil || got != *amount(t, c.want)):
			t.Errorf("%s of %s is %s, %v, want %s", c.source, c.body, got, err, c.want)
		}
	}
}

// Whatever the agent and the host send, a spend is an amount or an error.
func FuzzSpend(f *testing.F) {
	f.Add(`{"amount":1999,"n":3}`, "5", "0.1")
	f.Add(`{"amount":1e400,"n":"x"}`, "1e999999999", "-1")
	f.Add(`{"amount":"0x10","n":0}`, "", "NaN")
	f.Add(`{"amount":-0,"n":1e-99}`, "1e-2147483648", "9e2147483647")
	var costs []*Cost
	for _, source := range []string{"request.body.amount / 100", "request.query.q", "request.query.q * request.body.n", "request.body.amount % 7",
		"response.headers[\"x-cost\"]", "response.status == 200 ? response.body.n : request.body.amount"} {
		c, err := (&Formula{Source: source}).Compile()
		if err != nil {
			f.Fatal(err)
		}
		costs = append(costs, c)
	}
	f.Fuzz(func(t *testing.T, body, query, header string) {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var v any
		if d.Decode(&v) != nil {
			return
		}
		for _, c := range costs {
			a, err := c.Amount(RequestFacts{Body: v, Query: map[string]string{"q": query}}, &ResponseFacts{Status: 200, Headers: map[string]string{"x-cost": header}, Body: v})
			if a < 0 || a > MaxAmount || err != nil && a != 0 {
				t.Fatalf("%s is %d, %v", c.Source, int64(a), err)
			}
		}
	})
}

// Text is taken for a number where one is needed: a few bytes of the agent's must not
// become a number that takes seconds and gigabytes to compute with.
func TestHugeNumbers(t *testing.T) {
	for _, source := range []string{"request.query.q % 7", "7 % request.query.q", "request.query.q + 1", "1 - request.query.q", "request.query.q * request.query.q",
		"1 / request.query.q", `format("%d", request.query.q)`, `format("%s", request.query.q * 1)`} {
		cost, err := (&Formula{Source: source}).Compile()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"1e600000000", "1E-600000000", "1e99999", "9e646456993"} {
			a, err := cost.Amount(RequestFacts{Query: map[string]string{"q": q}}, nil)
			if err == nil || !strings.Contains(err.Error(), errExponent.Error()) {
				t.Errorf("%s of %s is %s, %v", source, q, a, err)
			}
		}
	}
	// The same holds for conditions, which are evaluated in the same place.
	test, err := (&Condition{Source: "request.query.q % 7 == 0"}).Compile()
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := test.Holds(RequestFacts{Query: map[string]string{"q": "1e600000000"}}); ok || err == nil || !strings.Contains(err.Error(), errExponent.Error()) {
		t.Errorf("holds %v: %v", ok, err)
	}
	if ok, err := test.Holds(RequestFacts{Query: map[string]string{"q": "14"}}); !ok || err != nil {
		t.Errorf("14 modulo 7: %v, %v", ok, err)
	}
}

func TestBudgetCeiling(t *testing.T) {
	s := spec(t, "budget \"b\" {\n unit = \"usd\"\n per_run = 20\n per_day = 30\n}")
	c := ceiling(t, "budget \"b\" {\n unit = \"usd\"\n per_run = 5\n per_day = 100\n each = 1\n}\nbudget \"model\" { per_day = 7 }")
	if err := c.CheckBudgets(s); err != nil {
		t.Fatal(err)
	}
	c.Cap(s)
	want := []Budget{
		{Name: "b", Unit: "usd", Each: amount(t, "1"), PerRun: amount(t, "5"), PerDay: amount(t, "30"), Origin: Origin{ceilingPath, 1}},
		{Name: "model", PerDay: amount(t, "7"), Origin: Origin{ceilingPath, 7}},
	}
	if d := cmp.Diff(want, s.Budgets); d != "" {
		t.Error(d)
	}
	if err := ceiling(t, "budget \"b\" {\n unit = \"eur\"\n per_run = 1\n}").CheckBudgets(s); err == nil || !strings.Contains(err.Error(), `in "usd", and in "eur"`) {
		t.Errorf("two units: %v", err)
	}
	if _, diags, _ := LoadCeiling(ceilingPath, []byte("network {\n allow \"x.example\" {\n request \"GET\" \"/\" { spend = { b = 1 } }\n }\n}\nbudget \"b\" { each = 1 }"), CeilingOptions{}); !diags.HasErrors() {
		t.Error("a ceiling spends")
	}
}
