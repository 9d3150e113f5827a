package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJailPIDOne: when the agent has its first instruction, PID 1 has all the threads that
// it will need, and none of them a capability.
func TestJailPIDOne(t *testing.T) {
	const threads = 16 // package jail, ownThreads
	c := newCaller(t, "")
	c.ownTemp()
	l := c.start(t, "sh", "-c", "echo begun; read x")
	l.expect("begun")
	pid := victims["PID 1"](below(t, l.cmd.Process.Pid))
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || pid == 0 {
		t.Fatalf("PID 1 is %d: %v", pid, err)
	}
	if len(tasks) < threads {
		t.Errorf("PID 1 has %d threads, and may need %d", len(tasks), threads)
	}
	const none = ":\t0000000000000000\n"
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CapInh" + none, "CapPrm" + none, "CapEff" + none, "CapAmb" + none, "NoNewPrivs:\t1\n"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s: no %q in\n%s", task, want, status)
			}
		}
	}
	if code := l.end(); code != 1 { // read's, at the end of its input
		t.Errorf("exit code %d: %s", code, l.stderr.String())
	}
	c.wantNothingLeft()
}
