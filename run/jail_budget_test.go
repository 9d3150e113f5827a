package run_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// shop is an upstream that takes money, and notes each request that reached it.
type shop struct {
	addr    string
	reached chan string

	mu  sync.Mutex
	got []string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{reached: make(chan string, 16)}
	over := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.got = append(s.got, r.URL.Path+" "+string(body))
		s.mu.Unlock()
		w.Header().Set("X-Agentjail-Budget", "payments; left=1000000") // a lie
		switch r.URL.Path {
		case "/hang":
			s.reached <- r.URL.Path
			<-over
		case "/metered":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"cost": 2.5}`)
		case "/unclear":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"cost": "a lot", "goods": "delivered"}`)
		default:
			_, _ = io.WriteString(w, "sold")
		}
	}))
	t.Cleanup(func() { close(over); srv.Close() })
	s.addr = srv.Listener.Addr().String()
	return s
}

func (s *shop) sold() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.got...)
}

// profile is a profile that buys there.
func (s *shop) profile(limits string) string {
	return fmt.Sprintf(`
network {
  allow "shop.example:80" {
    upstream = %q
    request "POST" "/pay" { spend = { payments = request.body.amount / 100 } }
    request "POST" "/hang" { spend = { payments = request.body.amount / 100 } }
    request "POST" "/metered" { spend = { payments = [5, response.body.cost] } }
    request "POST" "/unclear" { spend = { payments = [5, response.body.cost] } }
  }
}
%s
`, s.addr, limits)
}

// buy is a shell function that buys and prints status, what is left, and the answer.
const buy = `buy() {
  curl -sS -i --max-time 60 -H 'content-type: application/json' -d "{\"amount\": $2}" http://shop.example/$1 | tr -d '\r' |
    sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p; s/^X-Agentjail-Budget: /left: /p; $p'
  echo
}
`

func TestBudget(t *testing.T) {
	needTool(t, "curl")
	s := newShop(t)
	c := newCaller(t, s.profile(`
budget "payments" {
  unit    = "usd"
  each    = 20
  per_run = 30
  per_day = 100
}
on "budget" { action = "stop" }`))
	o := c.run("sh", "-c", buy+`
buy pay 1010
buy pay 2001
buy pay '"much"'
buy metered 0
buy unclear 0
cat /run/agentjail/budget.json
for f in budget.json live/budget.json live/.budget.json live/x; do echo x 2>/dev/null >/run/agentjail/$f && echo "wrote $f"; done
mv /run/agentjail/live/budget.json /run/agentjail/live/y 2>/dev/null && echo moved
cat /run/agentjail/canary 2>/dev/null && echo read the canary
grep -c payments /run/agentjail/policy.md
buy pay 1500
sleep 60
echo went on
`)
	for _, want := range []string{
		"200\nleft: payments; left=19.9; unit=usd; limit=per_run\nsold\n",
		"402\nagentjail: this would spend 20.01 usd, and the budget \"payments\" allows 20 usd at once (test.hcl:12)\n",
		"403\nagentjail: what this spends of the budget \"payments\" can't be told: ",
		"200\nleft: payments; left=17.4; unit=usd; limit=per_run\n{\"cost\": 2.5}\n",
		"502\nleft: payments; left=12.4; unit=usd; limit=per_run\nagentjail: what this has spent can't be told from the answer, so that it is not passed on: ",
		`"left": "12.4",`, `"spent": "17.6",`,
		"402\nagentjail: the budget \"payments\" has 12.4 usd of 30 usd left for this run, and this needs 15 usd; it does not refill in this run, and asking again does not help (test.hcl:12)\n",
	} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("the agent was not told %q", want)
		}
	}
	for _, bad := range []string{"1000000", "delivered", "wrote", "moved", "canary", "went on"} {
		if strings.Contains(o.stdout, bad) {
			t.Errorf("the agent saw %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", o.stdout, o.stderr)
	}
	if o.code != 143 || o.status.Reason != "budget limit" || !strings.Contains(o.stderr, "was ended: budget limit") {
		t.Errorf("exit code %d, %+v", o.code, o.status)
	}
	if got, want := strings.Join(s.sold(), ", "), `/pay {"amount": 1010}, /metered {"amount": 0}, /unclear {"amount": 0}`; got != want {
		t.Errorf("the shop got %s, want %s", got, want)
	}
	events := o.events()
	wantEvent(t, events, "the end of the budget", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && e.ClassUID == 2004 && e.Message == "budget payments per_run limit reached at 17600000 millionths of usd: stopped" && v.Rule == "test.hcl:12"
	})
	wantEvent(t, events, "the refused payment", func(v audit.View, _ audit.Event) bool {
		return v.Kind == "http" && v.Verdict == "blocked" && strings.Contains(v.Reason, "needs 15 usd")
	})
	wantEvent(t, events, "the answer that was held back", func(v audit.View, _ audit.Event) bool {
		return v.Kind == "http" && v.Verdict == "blocked" && strings.Contains(v.Reason, "can't be told from the answer")
	})

	// The next run, by another profile, has what is left of the day.
	c.setProfile(s.profile("budget \"payments\" {\n unit = \"usd\"\n per_day = 22\n}"))
	o = c.must("sh", "-c", buy+"buy pay 400\nbuy pay 100")
	if !strings.Contains(o.stdout, "200\nleft: payments; left=0.4; unit=usd; limit=per_day; refills=") || !strings.Contains(o.stdout, "402\n") {
		t.Errorf("%s", o.stdout)
	}
	events = o.events()
	wantEvent(t, events, "the warning", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && e.Message == `the budget "payments" is spent to 90 %`
	})
	wantEvent(t, events, "the refusal", func(_ audit.View, e audit.Event) bool {
		return e.ClassUID == 2004 && strings.HasSuffix(e.Message, ": refused")
	})
	if d := c.budgets()["payments"]; d.Day.Spent != "21.6" || d.Total != "21.6" || d.Unit != "usd" {
		t.Errorf("%+v", d)
	}
}

func TestBudgetKill(t *testing.T) {
	needTool(t, "curl")
	s := newShop(t)
	c := newCaller(t, s.profile("budget \"payments\" { per_run = 1 }\non \"budget\" { action = \"kill\" }"))
	o := c.run("sh", "-c", buy+"trap '' TERM\nbuy pay 100\nwhile :; do sleep 60; done")
	if o.code != 137 || o.status.Reason != "budget limit" {
		t.Errorf("exit code %d, %+v", o.code, o.status)
	}
	if got := s.sold(); len(got) != 1 {
		t.Errorf("the shop got %q", got)
	}
}

// What was reserved when agentjail was killed is spent.
func TestBudgetCrash(t *testing.T) {
	needTool(t, "curl")
	s := newShop(t)
	c := newCaller(t, s.profile("budget \"payments\" { per_day = 10 }"))
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := c.command(ctx, nil, "sh", "-c", buy+"buy hang 700")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.reached:
	case <-ctx.Done():
		t.Fatal("the payment does not arrive")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if d := c.budgets()["payments"]; d.Day.Spent != "7" {
		t.Errorf("%+v", d)
	}
	o := c.must("sh", "-c", buy+"buy pay 400\nbuy pay 300")
	if !strings.Contains(o.stdout, "402\n") || !strings.Contains(o.stdout, "200\nleft: payments; left=0;") {
		t.Errorf("%s", o.stdout)
	}
}

type listedBudget struct {
	Name, Unit, Total string
	Day               struct {
		Spent string
		Ends  time.Time
	}
}

// budgets is what `agentjail budget` lists.
func (c *caller) budgets() map[string]listedBudget {
	c.t.Helper()
	cmd := exec.Command(binary(c.t), "budget", "--json")
	cmd.Env = c.env
	out, err := cmd.Output()
	var list []listedBudget
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err != nil {
		c.t.Fatalf("%s: %v", out, err)
	}
	m := map[string]listedBudget{}
	for _, b := range list {
		m[b.Name] = b
	}
	return m
}
