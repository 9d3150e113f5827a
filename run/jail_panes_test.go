package run_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pane is a terminal of tmux's with a command in it: what it shows is what a person sees,
// after every escape sequence was obeyed.
type pane struct {
	t       testing.TB
	program string
	socket  string
}

// openPane starts a command of agentjail's as the caller in a terminal of that size.
func (c *caller) openPane(width, height int, args ...string) *pane {
	c.t.Helper()
	// A folder of its own with a short name: a socket's has at most 107 bytes (unix(7)).
	dir, err := os.MkdirTemp("", "tmux")
	if err != nil {
		c.t.Fatal(err)
	}
	p := &pane{t: c.t, program: needTool(c.t, "tmux"), socket: filepath.Join(dir, "s")}
	c.t.Cleanup(func() {
		p.tmux("kill-server")
		if err := os.RemoveAll(dir); err != nil {
			c.t.Error(err)
		}
	})
	// What ended stays to be looked at, and no line of the screen is tmux's own.
	config := filepath.Join(dir, "conf")
	if err := os.WriteFile(config, []byte("set -g remain-on-exit on\nset -g status off\nset -g default-terminal screen\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	words := []string{p.program, "-u", "-S", p.socket, "-f", config, "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "env", "-i"}
	for _, kv := range c.env {
		if !strings.HasPrefix(kv, "TERM=") {
			words = append(words, kv)
		}
	}
	words = append(append(words, "TERM=screen", binary(c.t)), args...)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env, cmd.Dir = []string{"PATH=" + os.Getenv("PATH"), "SHELL=/bin/sh", "TERM=xterm", "LANG=C.UTF-8"}, c.workspace
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("tmux: %v: %s", err, out)
	}
	return p
}

// tmux gives an order to the terminal, and what it prints.
func (p *pane) tmux(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.program, append([]string{"-u", "-S", p.socket}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=xterm", "LANG=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	return out.String(), err
}

func (p *pane) must(args ...string) string {
	p.t.Helper()
	out, err := p.tmux(args...)
	if err != nil {
		p.t.Fatalf("tmux %q: %v", args, err)
	}
	return out
}

// screen is what is seen. Lines that the terminal broke are whole.
func (p *pane) screen() string {
	p.t.Helper()
	return p.must("capture-pane", "-p", "-J")
}

// until waits for a screen.
func (p *pane) until(what string, ok func(screen string) bool) string {
	p.t.Helper()
	for end := time.Now().Add(hangGuard); ; time.Sleep(20 * time.Millisecond) {
		s := p.screen()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			p.t.Fatalf("the screen does not come to show %s:\n%s", what, s)
		}
	}
}

func (p *pane) waitFor(text string) string {
	p.t.Helper()
	return p.until(fmt.Sprintf("%q", text), func(s string) bool { return strings.Contains(s, text) })
}

// asked waits for a question and the prompt under it: what is typed before that is shown is
// thrown away.
func (p *pane) asked(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("%q and a prompt", text), func(s string) bool { return prompted(s, text) })
}

func prompted(screen, question string) bool {
	i := strings.LastIndex(screen, question)
	return i >= 0 && strings.Contains(screen[i:], "leave it (l)?")
}

// keys presses keys by tmux's names.
func (p *pane) keys(keys ...string) {
	p.t.Helper()
	p.must(append([]string{"send-keys"}, keys...)...)
}

// ended waits for the command's end and gives its exit status, or its signal.
func (p *pane) ended() string {
	p.t.Helper()
	const patience = 5 * time.Second
	var dead time.Time
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		f := strings.Fields(p.must("display-message", "-p", "#{pane_dead} #{pane_dead_status}#{pane_dead_signal}"))
		switch {
		case len(f) == 0 || f[0] != "1":
			continue
		case len(f) > 1:
			return f[1]
		case dead.IsZero():
			dead = time.Now()
		case time.Since(dead) > patience:
			// The terminal is closed before tmux is told how the command ended, and now and
			// then it never is (tmux 3.3a).
			p.t.Log("tmux does not know how the command ended")
			return unknownEnd
		}
	}
	p.t.Fatalf("the command does not end:\n%s", p.screen())
	return ""
}

// unknownEnd is where tmux does not tell.
const unknownEnd = "?"

// pid is the command's process.
func (p *pane) pid() int {
	p.t.Helper()
	pid := 0
	if _, err := fmt.Sscan(p.must("display-message", "-p", "#{pane_pid}"), &pid); err != nil || pid <= 1 {
		p.t.Fatalf("the command's process is %d: %v", pid, err)
	}
	return pid
}

// Two people at terminals of their own: both have to say yes, one who is killed in the
// middle harms nobody, and a question that is answered elsewhere leaves the screen free
// for the next one.
func TestJailApprovePanes(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval {\n  timeout = \"10m\"\n  quorum  = 2\n}", id))
	open := func(name string) *pane {
		p := c.openPane(100, 30, "approve", "--as", name)
		p.waitFor("waiting for questions")
		return p
	}
	ann, bob := open("ann"), open("bob")
	agent := openConsole(t, c, "bash", "-c", `for o in -u -g -n -G; do id $o >/dev/null 2>&1; echo "$o: $?"; done`)
	ends := func(what string) string { return ": id " + what + "\n" }

	// One yes is none.
	ann.asked("2 people must say yes")
	bob.asked("2 people must say yes")
	ann.keys("y", "Enter")
	ann.waitFor("noted, 1 more must say yes: start " + id + ends("-u"))
	if s := agent.screen(); strings.Contains(s, "-u:") {
		t.Errorf("one yes of two was enough:\n%s", s)
	}
	bob.keys("y", "Enter")
	bob.waitFor("allowed this once")
	agent.waitFor("-u: 0")

	// One is killed with the question before him. The others go on.
	ann.asked(ends("-g"))
	bob.asked(ends("-g"))
	if err := syscall.Kill(ann.pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ann.ended()
	bob.keys("y", "Enter")
	bob.waitFor("noted, 1 more must say yes: start " + id + ends("-g"))
	carol := open("carol")
	carol.asked("answer    yes by bob")
	carol.keys("y", "Enter")
	agent.waitFor("-g: 0")

	// One no is enough, and bob's prompt goes by itself.
	bob.asked(ends("-n"))
	carol.asked(ends("-n"))
	carol.keys("n", "Enter")
	agent.waitFor("-n: 126")
	bob.waitFor("it is open no more")
	bob.asked(ends("-G"))
	carol.asked(ends("-G"))
	for _, p := range []*pane{bob, carol} {
		p.keys("y", "Enter")
	}
	agent.waitFor("-G: 0")
	agent.end(0)
	for _, p := range []*pane{bob, carol} {
		p.keys("C-c")
		p.ended()
	}
}

// A question that nobody answers in time is refused, and its prompt goes by itself.
func TestJailApproveLate(t *testing.T) {
	id := needTool(t, "id")
	c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\nprocess {\n  ask \"id\" {}\n}\napproval { timeout = \"3s\" }", id))
	person := c.openPane(100, 30, "approve")
	person.waitFor("waiting for questions")
	// A busy machine may take all of its time to show one; then the next one is seen.
	b := c.background("late", "bash", "-c", "echo ready; for i in {1..40}; do id $i; done")
	person.waitFor("it is open no more: somebody answered it, or nobody in time")
	b.order(0, "kill", "late")
	steps := strings.Join(approvals(t, readEvents(t, filepath.Join(b.state(), "audit.jsonl"))), "\n")
	if !strings.Contains(steps, "timed out start "+id+": id 1") || strings.Contains(steps, "granted") {
		t.Errorf("the trail has:\n%s", steps)
	}
}

// What people see of runs that go on: on a small and on a large screen, when it changes
// its size, with names that want to be obeyed; and the terminal afterwards.
func TestJailTop(t *testing.T) {
	c := newCaller(t, "")
	b := c.background("evil \u202eNAME", "bash", "-c", `exec -a $'\e[2J\e]0;title\a' bash -c $'echo ready; : \e[31m; while :; do sleep 1; done'`)
	top := c.openPane(80, 24, "top")
	fits := func(width int) func(string) bool {
		return func(s string) bool {
			lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
			return strings.HasPrefix(s, "agentjail: 1 running\n") && len(lines) == 3 && !slices.ContainsFunc(lines, func(l string) bool { return len([]rune(l)) > width })
		}
	}
	short := b.id[strings.LastIndexByte(b.id, '-')+1:]
	small := top.until("the run on 80 columns", func(s string) bool {
		return fits(80)(s) && strings.Contains(s, "running") && strings.Contains(s, short)
	})
	for _, want := range []string{`"evil \u202eNAME"`, "DENY", "MEM"} {
		if !strings.Contains(small, want) {
			t.Errorf("80 columns have no %s:\n%s", want, small)
		}
	}
	top.must("resize-window", "-x", "240", "-y", "50")
	large := top.until("the run on 240 columns", func(s string) bool { return fits(240)(s) && strings.Contains(s, b.id) })
	for _, want := range []string{"TOKENS", "COMMAND", `\e[2J`} {
		if !strings.Contains(large, want) {
			t.Errorf("240 columns have no %s:\n%s", want, large)
		}
	}
	top.must("resize-window", "-x", "40", "-y", "10")
	top.until("the run on 40 columns", func(s string) bool { return fits(40)(s) && strings.Contains(s, short) })
	b.order(0, "freeze", short)
	top.must("resize-window", "-x", "80", "-y", "24")
	top.waitFor(" frozen ")
	top.keys("x", "Up", "Escape") // that mean nothing
	b.order(0, "kill", short)
	top.until("no run", func(s string) bool { return strings.TrimSpace(s) == "agentjail: 0 running" })
	top.keys("q")
	if code := top.ended(); code != "0" && code != unknownEnd {
		t.Errorf("q ended it with %s", code)
	}
	// The other screen is gone with it.
	if s := top.screen(); strings.Contains(s, "agentjail") {
		t.Errorf("it left on the screen:\n%s", s)
	}
	if f := strings.TrimSpace(top.must("display-message", "-p", "#{alternate_on}")); f != "0" {
		t.Errorf("the other screen is %s", f)
	}
}
