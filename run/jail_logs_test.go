package run_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// follower is an `agentjail logs -f` that goes on.
type follower struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func (c *caller) follow(t *testing.T, args ...string) *follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	t.Cleanup(cancel)
	f := &follower{t: t, cmd: c.agentjail(ctx, append([]string{"logs", "-f"}, args...)...), lines: make(chan string, 1000)}
	f.cmd.Stderr = os.Stderr
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(f.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			f.lines <- s.Text()
		}
	}()
	return f
}

// wait reads until a line has the text, or the end where text is empty.
func (f *follower) wait(text string) {
	f.t.Helper()
	late := time.After(freezePatience)
	for last := ""; ; {
		select {
		case line, more := <-f.lines:
			if !more && text != "" {
				f.t.Fatalf("logs -f ended without %q; its last line is %q", text, last)
			}
			if !more || text != "" && strings.Contains(line, text) {
				return
			}
			last = line
		case <-late:
			f.t.Fatalf("logs -f did not come to %q; its last line is %q", text, last)
		}
	}
}

// logs -f shows what a run does while it does it, ends with the run, and by Ctrl-C before.
func TestJailFollow(t *testing.T) {
	c := newCaller(t, "")
	b := c.background("followed", "sh", "-c", `echo ready; while :; do sleep 0.1; done`)
	whole, interrupted := c.follow(t, "followed"), c.follow(t, "followed")
	whole.wait("exec")
	interrupted.wait("exec")
	// The run goes on, and so do both; one is told to end.
	if err := interrupted.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	interrupted.wait("")
	if code := exitOf(t, interrupted.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d after Ctrl-C", code)
	}
	select {
	case err := <-b.done:
		t.Fatalf("the run ended with who followed it: %v\n%s", err, b.stderr)
	default:
	}
	b.order(0, "stop", "followed")
	whole.wait("stop asked for by uid")
	whole.wait(" end ")
	whole.wait("")
	if code := exitOf(t, whole.cmd.Wait()); code != 0 {
		t.Errorf("exit code %d after the run's end", code)
	}
	<-b.done
}
