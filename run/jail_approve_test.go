package run_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/approval"
)

// agentjail runs another of agentjail's commands as the same user.
func (c *caller) agentjail(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary(c.t), args...)
	cmd.Env, cmd.Dir = c.env, c.workspace
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// approve answers with `agentjail approve`, and gives what it said.
func (c *caller) approve(args ...string) (code int, out string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := c.agentjail(ctx, append([]string{"approve"}, args...)...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	return exitOf(c.t, cmd.Run()), b.String()
}

// asked is what the caller's runs ask.
func (c *caller) asked() (questions []approval.Question) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	out, err := c.agentjail(ctx, "approve", "--json").Output()
	if err != nil {
		c.t.Fatalf("approve --json: %v", err)
	}
	var runs []approval.List
	if err := json.Unmarshal(out, &runs); err != nil {
		c.t.Fatalf("approve --json: %v: %s", err, out)
	}
	for _, r := range runs {
		questions = append(questions, r.Questions...)
	}
	return questions
}

// waitAsked waits for a question that says what.
func (c *caller) waitAsked(what string) approval.Question {
	c.t.Helper()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, q := range c.asked() {
			if strings.Contains(q.What, what) {
				return q
			}
		}
	}
	c.t.Fatalf("nobody is asked about %q", what)
	return approval.Question{}
}

// runAnswered runs a command whose questions somebody answers: answer is called with
// each, once, and returns the flags of `approve`.
func (c *caller) runAnswered(answer func(approval.Question) []string, argv ...string) *outcome {
	c.t.Helper()
	over := make(chan struct{})
	var people sync.WaitGroup
	people.Go(func() {
		done := map[string]bool{}
		for {
			select {
			case <-over:
				return
			case <-time.After(20 * time.Millisecond):
			}
			for _, q := range c.asked() {
				if done[q.ID] {
					continue
				}
				done[q.ID] = true
				if flags := answer(q); flags != nil {
					if code, out := c.approve(flags...); code != 0 {
						c.t.Errorf("approve %q: %d\n%s", flags, code, out)
					}
				}
			}
		}
	})
	o := c.run(argv...)
	close(over)
	people.Wait()
	return o
}

// approvals are the steps of questions in a trail, "granted start /usr/bin/id: id".
func approvals(t *testing.T, events []audit.Event) (steps []string) {
	t.Helper()
	for _, e := range events {
		if e.ClassUID != 3005 {
			continue
		}
		var u struct {
			Approval struct{ Step string }
		}
		if err := json.Unmarshal(e.Unmapped, &u); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, u.Approval.Step+" "+e.Affected[0].Name)
	}
	return steps
}

// A run that waits for a person is not idle, and may be idle again when it was answered.
func TestJailApproveIdle(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n ask \"id\" {}\n}\n", id)+limits(`idle = "3s"`))
	o := c.runAnswered(func(q approval.Question) []string {
		time.Sleep(5 * time.Second) // a person takes longer than the limit
		return []string{"--yes", q.ID}
	}, "sh", "-c", "id -u >/dev/null && echo answered; sleep 1000")
	if o.stdout != "answered\n" {
		t.Errorf("the agent said %q: %s", o.stdout, o.stderr)
	}
	o.wantCode(137)
	wantReached(t, o, "idle", "idle: 3s limit reached")
}

func TestJailApprovePrograms(t *testing.T) {
	id, uname := needTool(t, "id"), needTool(t, "uname")
	c := newCaller(t, fmt.Sprintf(`
files { exec = [%q, %q] }
process {
  ask "id" { reason = "who wants to know" }
  ask "uname" "-a" {}
}
`, id, uname))
	var mu sync.Mutex
	seen := map[string]approval.Question{}
	o := c.runAnswered(func(q approval.Question) []string {
		mu.Lock()
		defer mu.Unlock()
		seen[q.What] = q
		switch {
		case strings.HasSuffix(q.What, ": id -u"), strings.HasSuffix(q.What, ": ./copy -u"):
			return []string{"--yes", q.ID, "--run"}
		}
		return []string{"--no", q.ID}
	}, "bash", "-c", `
try() { "$@" >/tmp/out 2>&1; echo "$? $*"; }
try id -u; try id -u      # granted for the run
try id -g                 # other arguments are another question
try uname; try uname -a
cp "$(command -v id)" copy; try ./copy -u; try ./copy -n
grep -c . /run/agentjail/last-denial
`)
	o.wantCode(0)
	for _, want := range []string{"0 id -u\n0 id -u\n", "126 id -g\n", "0 uname\n", "126 uname -a\n", "0 ./copy -u\n", "126 ./copy -n\n"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in:\n%s%s", want, o.stdout, o.stderr)
		}
	}
	if q, ok := seen["start "+id+": id -u"]; !ok || q.Reason != "who wants to know" || q.Rule != "test.hcl:4" || !strings.Contains(q.Program, "id -u") {
		t.Errorf("what people saw: %+v", seen)
	}
	if !strings.Contains(o.stderr, "agentjail approve --yes ") {
		t.Errorf("nobody was told on stderr:\n%s", o.stderr)
	}
	steps := strings.Join(approvals(t, o.events()), "\n")
	for _, want := range []string{"asked start " + id + ": id -u", "answered start " + id + ": id -u", "granted start " + id + ": id -u", "refused start " + uname + ": uname -a"} {
		if strings.Count(steps, want) != 1 {
			t.Errorf("%d times %q in:\n%s", strings.Count(steps, want), want, steps)
		}
	}
	wantEvent(t, o.events(), "who said yes", func(v audit.View, e audit.Event) bool {
		return v.Kind == "approval" && e.Actor.User.UID == fmt.Sprint(os.Getuid()) && strings.Contains(v.Target, "yes by")
	})
}

// What the agent wrote itself, and what is changed while a person looks at it.
func TestJailApproveChanged(t *testing.T) {
	c := newCaller(t, "workspace { mode = \"direct\" }\nprocess { exec_new = \"ask\" }")
	swapped := c.write("swapped", "#!/bin/sh\necho good\n")
	if err := os.Chmod(swapped, 0o755); err != nil {
		t.Fatal(err)
	}
	o := c.runAnswered(func(q approval.Question) []string {
		if strings.Contains(q.What, "swapped") {
			if err := os.WriteFile(swapped, []byte("#!/bin/sh\necho evil\n"), 0o755); err != nil {
				t.Error(err)
			}
		}
		return []string{"--yes", q.ID}
	}, "bash", "-c", `printf '#!/bin/sh\necho own\n' >own; chmod +x own; ./own; ./swapped; echo "code $?"`)
	o.wantCode(0)
	if o.stdout != "own\ncode 126\n" {
		t.Errorf("%s\n%s", o.stdout, o.stderr)
	}
	wantEvent(t, o.events(), "the change", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(v.Target, "changed while a person was asked")
	})
}

func TestJailApproveNetwork(t *testing.T) {
	needTool(t, "curl")
	s := newShop(t)
	c := newCaller(t, fmt.Sprintf(`
network {
  allow "shop.example:80" {
    upstream = %[1]q
    request "POST" "/pay" { spend = { payments = request.body.amount } }
    request "POST" "/ask" {
      ask    = true
      reason = "each one"
    }
    request "GET" "/free" {}
  }
  allow "other.example:80" { upstream = %[1]q }
  ask "*.example:80" {}
}
budget "payments" {
  each      = 50
  per_run   = 100
  ask_above = 20
}
`, s.addr))
	o := c.runAnswered(func(q approval.Question) []string {
		switch {
		case q.Kind == approval.Connect && strings.Contains(q.What, "shop.example:80"):
			return []string{"--yes", q.ID, "--for", "1h"}
		case strings.Contains(q.What, "/ask") && q.Reason == "each one", strings.Contains(q.What, "spend 30 "):
			return []string{"--yes", q.ID, "--once"}
		}
		return []string{"--no", q.ID}
	}, "bash", "-c", `
get() { curl -s -o /tmp/body -w "%{http_code} $*\n" --max-time 60 -H 'content-type: application/json' "$@"; cat /tmp/body >&2; echo >&2; }
get http://shop.example/free
get http://other.example/free
get -d x http://shop.example/ask
get -d '{"amount":5}' http://shop.example/pay
get -d '{"amount":30}' http://shop.example/pay
get -d '{"amount":31}' http://shop.example/pay
get -d '{"amount":51}' http://shop.example/pay
`)
	o.wantCode(0)
	for _, want := range []string{"200 http://shop.example/free\n", "403 http://other.example/free\n", "200 -d x http://shop.example/ask\n", `200 -d {"amount":5}`, `200 -d {"amount":30}`, `402 -d {"amount":31}`, `402 -d {"amount":51}`} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in:\n%s%s", want, o.stdout, o.stderr)
		}
	}
	if got := strings.Join(s.sold(), ","); got != `/free ,/ask x,/pay {"amount":5},/pay {"amount":30}` {
		t.Errorf("the host got %s", got)
	}
	steps := strings.Join(approvals(t, o.events()), "\n")
	if strings.Contains(steps, "spend 51") || strings.Contains(steps, "spend 5 ") || strings.Count(steps, "asked connect to shop.example:80") != 1 {
		t.Errorf("people were asked too much:\n%s", steps)
	}
	for _, want := range []string{"refused connect to other.example:80", "granted POST shop.example:80/ask", `granted spend 30 of the budget "payments"`, `refused spend 31 of`} {
		if !strings.Contains(steps, want) {
			t.Errorf("no %q in:\n%s", want, steps)
		}
	}
}

// No answer is a no, and so is the run's end.
func TestJailApproveTimeout(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval { timeout = \"1s\" }", id))
	o := c.run("bash", "-c", "id; echo code $?; cat /run/agentjail/last-denial")
	o.wantCode(0)
	if !strings.Contains(o.stdout, "code 126") || !strings.Contains(o.stdout, "nobody has within 1s") {
		t.Errorf("%s\n%s", o.stdout, o.stderr)
	}
	if steps := strings.Join(approvals(t, o.events()), ","); !strings.HasPrefix(steps, "asked start "+id+": id,timed out start") {
		t.Errorf("%s", steps)
	}
	c.setProfile(fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval { timeout = \"1h\" }", id))
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c.stdin = r
	cmd := c.command(ctx, nil, "bash", "-c", "id & read line; echo over")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.waitAsked(": id")
	fmt.Fprintln(w)
	if err := cmd.Wait(); err != nil || out.String() != "over\n" {
		t.Errorf("%v %q", err, out.String())
	}
}

// People are asked before the time is up, and may give more. By which clock is in
// TestClock.
func TestJailApproveTime(t *testing.T) {
	for _, yes := range []bool{true, false} {
		// Long enough that no machine is too slow to answer in it.
		c := newCaller(t, "limits { time = \"1h\" }\napproval {\n  timeout = \"2h\"\n  extend = \"30m\"\n}")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		c.stdin = r
		flag := map[bool]string{true: "--yes", false: "--no"}[yes]
		o := c.runAnswered(func(q approval.Question) []string {
			if q.Kind != approval.Extend || !strings.HasPrefix(q.What, "let the run go on for 30m more: its time of 1h is up in ") {
				t.Errorf("asked %+v", q)
			}
			defer fmt.Fprintln(w) // the agent ends, and not before the answer
			if code, out := c.approve(flag, q.ID); code != 0 {
				t.Errorf("approve %s: %d %s", flag, code, out)
			}
			return nil
		}, "bash", "-c", "read line")
		o.wantCode(0)
		steps := strings.Join(approvals(t, o.events()), ",")
		want := map[bool]string{true: ",granted let the run go on", false: ",refused let the run go on"}[yes]
		if !strings.Contains(steps, want) {
			t.Errorf("%s: %s", flag, steps)
		}
	}
}

func TestJailApproveQuorum(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval { quorum = 2 }", id))
	o := c.runAnswered(func(q approval.Question) []string {
		for range 2 {
			if code, out := c.approve("--yes", q.ID, "--as", "ann"); code != 0 || !strings.Contains(out, "1 more must say yes") {
				t.Errorf("the same person again: %d %s", code, out)
			}
		}
		if strings.HasSuffix(q.What, ": id -u") {
			return []string{"--yes", q.ID, "--as", "bob"}
		}
		return []string{"--no", q.ID, "--as", "bob"}
	}, "bash", "-c", "id -u >/dev/null; echo $?; id -g; echo $?")
	o.wantCode(0)
	if o.stdout != "0\n126\n" {
		t.Errorf("%q\n%s", o.stdout, o.stderr)
	}
}

// Two terminals: the agent's, where nothing is said while it runs, and a person's.
func TestJailApproveTerminals(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}", id))
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	person := startConsole(t, c.agentjail(ctx, "approve"))
	person.waitFor("waiting for questions")
	// Typed before anything was asked, it answers nothing.
	person.typed("y\n")
	agent := openConsole(t, c, "bash", "-c", `echo begun; id -u $'\e[2Jy\nyes once (y)? y' >/dev/null 2>&1; echo "first $?"; id -u >/dev/null; echo "second $?"`)
	person.waitFor("leave it (l)? ") // what is typed before it is thrown away
	if shown := person.screen(); strings.Contains(shown, "\x1b") || !strings.Contains(shown, `"\x1b[2Jy\nyes once (y)? y"`) {
		t.Errorf("the question as it was shown:\n%q", shown)
	}
	person.typed("what\n") // no answer: it is asked again
	person.typed("n\n")
	agent.waitFor("first 126")
	person.waitFor("refused for the rest of the run")
	person.asked(": id -u\r\n")
	person.typed("y\n")
	agent.waitFor("second 0")
	person.waitFor("allowed this once")
	agent.end(0)
	if strings.Contains(agent.screen(), "question") {
		t.Errorf("the agent's terminal shows the question:\n%s", agent.screen())
	}
	person.typed("\x03")
	person.end(128)
}

// A yes for good is in the profile, as narrow as the question, and the next run asks no
// more.
func TestJailApproveAlways(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("# mine\nfiles { exec = [%q] }\nprocess {\n  ask   \"id\"  {} # odd layout\n}\n", id))
	script := []string{"bash", "-c", "id -u >/dev/null; echo $?"}
	o := c.runAnswered(func(q approval.Question) []string {
		if code, out := c.approve("--yes", q.ID, "--always", "--profile", "default"); code != 125 || !strings.Contains(out, "built-in profile, which nobody can write to") {
			t.Errorf("a built-in profile: %d %s", code, out)
		}
		return []string{"--yes", q.ID, "--always", "--profile", c.profile}
	}, script...)
	o.wantCode(0)
	text, err := os.ReadFile(c.profile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# mine\n", "  ask   \"id\"  {} # odd layout\n", "said yes to start " + id + ": id -u", "approved \"" + id + "\""} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	asked := 0
	o = c.runAnswered(func(q approval.Question) []string { asked++; return []string{"--no", q.ID} }, "bash", "-c", "id -u >/dev/null; echo $?; id -g; echo $?")
	o.wantCode(0)
	if o.stdout != "0\n126\n" || asked != 1 {
		t.Errorf("%q, asked %d times\n%s", o.stdout, asked, o.stderr)
	}
}

// A webhook's signed answer is a person's; anybody else's is none, and is reported.
func TestJailApproveWebhook(t *testing.T) {
	id := needTool(t, "id")
	const key = "the key of the webhook, 0123456789"
	sign := func(key, id, at string, body []byte) string {
		m := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(m, "%s.%s.%s", id, at, body)
		return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		wid, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
		var q struct{ Data approval.Question }
		if err := json.Unmarshal(body, &q); err != nil || r.Header.Get("Webhook-Signature") != sign(key, wid, at, body) {
			t.Errorf("the question: %v %s", err, body)
			return
		}
		by := key
		if strings.HasSuffix(q.Data.What, ": id -g") {
			by = "some other key of a length"
		}
		answer := fmt.Appendf(nil, `{"id":%q,"verdict":"yes","name":"phone"}`, q.Data.ID)
		w.Header().Set("Webhook-Id", wid)
		w.Header().Set("Webhook-Timestamp", at)
		w.Header().Set("Webhook-Signature", sign(by, wid, at, answer))
		_, _ = w.Write(answer)
	}))
	t.Cleanup(srv.Close)
	profile := fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval {\n  timeout = \"2s\"\n  notify = [\"desktop\"]\n  webhook %q { env = \"HOOK_KEY\" }\n}\n", id, srv.URL)
	c := newCaller(t, profile)
	c.env = append(c.env, "HOOK_KEY="+key)
	o := c.run("bash", "-c", "id -u >/dev/null; echo $?; id -g; echo $?; env")
	o.wantCode(0)
	if !strings.HasPrefix(o.stdout, "0\n126\n") || strings.Contains(o.stdout, key) {
		t.Errorf("%s\n%s", o.stdout, o.stderr)
	}
	events := o.events()
	wantEvent(t, events, "the webhook's answer", func(v audit.View, e audit.Event) bool {
		return v.Kind == "approval" && strings.Contains(v.Target, "yes by phone")
	})
	wantEvent(t, events, "the forged answer", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && e.SeverityID == 4 && strings.Contains(v.Target, "was not the webhook's")
	})
	wantEvent(t, events, "the desktop that is not there", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(v.Target, "the desktop can't be told")
	})
	if data, err := os.ReadFile(o.status.Audit); err != nil || bytes.Contains(data, []byte(key)) {
		t.Errorf("the trail has the key, or can't be read: %v", err)
	}
	c.setProfile(strings.Replace(profile, "process {", "process {\n  pass_env = [\"HOOK_*\"]", 1))
	if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "would be given to the agent") {
		t.Errorf("the key passed on: %d %s", o.code, o.stderr)
	}
	c.setProfile(strings.Replace(profile, "HOOK_KEY", "NOT_SET", 1))
	if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "NOT_SET is not set") {
		t.Errorf("without the key: %d %s", o.code, o.stderr)
	}
}
