package run_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// victim picks a process of a run out of those below its supervisor; 0 where there is
// none of the kind yet, or no more.
type victim func(list []process) int

func cmdlineOf(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// innerPID is a process's pid in the innermost pid namespace that it is in, and how
// many it is in (proc_pid_status(5), NSpid).
func innerPID(pid int) (inner, depth int) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "NSpid:" {
			inner, _ = strconv.Atoi(f[len(f)-1])
			return inner, len(f) - 1
		}
	}
	return 0, 0
}

// victims are the kinds of process beside the supervisor, which has a test of its own.
var victims = map[string]victim{
	// From libcontainer's first stage on.
	"PID 1": func(list []process) int {
		for _, p := range list {
			if inner, depth := innerPID(p.pid); inner == 1 && depth > 1 || p.starting() {
				return p.pid
			}
		}
		return 0
	},
	"gateway": func(list []process) int {
		for _, p := range list {
			if args := cmdlineOf(p.pid); len(args) > 1 && args[1] == "gateway" {
				return p.pid
			}
		}
		return 0
	},
	"agent": func(list []process) int {
		for _, p := range slices.Backward(list) {
			if inner, depth := innerPID(p.pid); inner > 1 && depth > 1 {
				return p.pid
			}
		}
		return 0
	},
}

// TestSoakKilledProcesses kills each other process of a run at many moments. The run
// ends by itself, says what happened, leaves nothing, and its trail is whole.
func TestSoakKilledProcesses(t *testing.T) {
	ca := newAuthority(t)
	network := allowHost("allowed.example", ca.serve(t, "allowed.example", "127.0.0.1:0", &requests{}), ca)
	for name, pick := range victims {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, network)
			c.ownTemp()
			c.write("lower", "x\n")
			// The gateway starts at the first packet and lives while the agent does.
			script := `exec 2>/dev/null; getent hosts allowed.example >/dev/null; echo began; echo x >lower
				i=0; while [ $i -lt 3 ]; do getent hosts allowed.example >/dev/null; sleep 0.02; i=$((i+1)); done; exit 0`
			clock := time.Now()
			c.must("sh", "-c", script)
			span := time.Since(clock)
			const seed = 20240823
			random := rand.New(rand.NewPCG(seed, seed))
			hit, times := 0, soakCount(12, 200)
			codes := map[int]int{}
			for range times {
				code, killed := c.killOne(t, pick, time.Duration(random.Int64N(int64(span))), script)
				codes[code]++
				if killed {
					hit++
				}
				// 137: the agent's own first process. 125: what it needed died.
				ok := code == 0 || code == 125 && name != "agent" || code == 137 && name == "agent"
				if name == "agent" && code == 125 && killed {
					ok = true // the stage, before it became the agent
				}
				if !ok {
					t.Errorf("exit code %d (killed: %v)", code, killed)
				}
			}
			c.wantNothingLeft()
			t.Logf("%d of %d were killed; exit codes %v", hit, times, codes)
			if hit == 0 {
				t.Error("none was ever there to be killed: the moments are not spread")
			}
		})
	}
}

// killOne runs a script and kills one of the run's processes after a while.
func (c *caller) killOne(t *testing.T, pick victim, after time.Duration, script string) (code int, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hangGuard)
	defer cancel()
	known := c.runIDs()
	cmd := c.command(ctx, nil, "sh", "-c", script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	jailed := below(t, cmd.Process.Pid)
	if pid := pick(jailed); pid != 0 {
		if p, err := os.FindProcess(pid); err == nil {
			killed = p.Kill() == nil
		}
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		t.Fatalf("the run did not end within %v\nstderr: %s", hangGuard, stderr.String())
	}
	waitGone(t, jailed)
	code = exitOf(t, err)
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "agentjail: ") {
			t.Errorf("a line that is not agentjail's own: %s", line)
		}
	}
	if code == 125 && stderr.Len() == 0 {
		t.Error("exit code 125 and not a word")
	}
	for _, id := range c.runIDs() {
		if slices.Contains(known, id) {
			continue
		}
		path := filepath.Join(c.home, ".local/state/agentjail/runs", id, "audit.jsonl")
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		head, err := audit.ReadHead(audit.HeadPath(path))
		if err != nil {
			t.Error(err)
		}
		if report, err := audit.Verify(f, head); err != nil || report.State != audit.Sealed {
			t.Errorf("the trail is %s: %s %v", report.State, report.Reason, err)
		}
		f.Close()
	}
	return code, killed
}
