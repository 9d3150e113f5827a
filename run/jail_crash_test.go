package run_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// TestSoakKilledSupervisor kills the supervisor at many moments, spread over start-up,
// run and end. With PR_SET_PDEATHSIG and the shim's end at EOF left out, the jail's
// processes stay.
func TestSoakKilledSupervisor(t *testing.T) {
	const seed = 20240517
	times := soakCount(60, 400)
	random := rand.New(rand.NewPCG(seed, seed))
	ca := newAuthority(t)
	network := allowHost("allowed.example", ca.serve(t, "allowed.example", "127.0.0.1:0", &requests{}), ca)
	c := newCaller(t, network)
	c.ownTemp()
	c.write("lower", "x\n")
	// With a cgroup too, where this user gets one.
	limits := "limits {\n memory = \"1GiB\"\n processes = 500\n}\n"
	c.setProfile(network + limits)
	if c.run("true").code != 0 {
		limits = ""
	}
	c.setProfile(network + limits)
	// Twice as long as a run takes here and now.
	clock := time.Now()
	c.must("sh", "-c", "sleep 0.1")
	span := 2 * time.Since(clock)
	began := 0
	var killed []process
	for i := range times {
		upper := []string{"memory", "disk"}[i%2]
		c.setProfile(network + limits + fmt.Sprintf("workspace {\n upper = %q\n}\n", upper))
		ready := filepath.Join(c.dir, "tmp", "out")
		out, err := os.Create(ready)
		if err != nil {
			t.Fatal(err)
		}
		cmd := c.command(context.Background(), nil, "sh", "-c", `echo began; (setsid sh -c 'trap "" HUP TERM INT; sleep 600' &)
			echo x >lower; mkdir -p a/b; chmod 000 a/b; getent hosts allowed.example; sleep 0.1`)
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(span))))
		// Stopped first, so that what is below it can be listed before it dies.
		_ = cmd.Process.Signal(unix.SIGSTOP)
		jailed := below(t, cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		killed = append(killed, jailed...)
		out.Close()
		if data, err := os.ReadFile(ready); err == nil && strings.HasPrefix(string(data), "began") {
			began++
		}
		if err := os.Remove(ready); err != nil {
			t.Fatal(err)
		}
		if i%10 == 9 {
			// A next run clears away as `clean` does.
			c.setProfile("")
			waitGone(t, slices.DeleteFunc(slices.Clone(killed), process.starting))
			c.must("true")
			waitGone(t, killed)
			c.wantNothingLeft()
		}
	}
	t.Logf("in %d of %d runs the agent had begun", began, times)
	if began == 0 || began == times {
		t.Errorf("the agent had begun in %d of %d runs: the moments are not spread", began, times)
	}

	// One more is left for `clean`, for certain in the middle.
	l := c.start(t, "sh", "-c", "echo ready; read line")
	l.expect("ready")
	jailed := below(t, l.cmd.Process.Pid)
	if len(jailed) == 0 {
		t.Fatal("no process is below the supervisor")
	}
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait()
	waitGone(t, jailed)
	clean := exec.Command(binary(t), "clean")
	clean.Env, clean.Dir = c.env, c.workspace
	if text, err := clean.CombinedOutput(); err != nil {
		t.Fatalf("agentjail clean: %v: %s", err, text)
	}
	c.wantNothingLeft()

	// What was written of each trail holds (see audit: one write a line).
	trails := 0
	for _, id := range c.runIDs() {
		f, err := os.Open(filepath.Join(c.home, ".local/state/agentjail/runs", id, "audit.jsonl"))
		if err != nil {
			continue // killed before it was made
		}
		head, err := audit.ReadHead(audit.HeadPath(f.Name()))
		if err != nil {
			head = nil
		}
		report, err := audit.Verify(f, head)
		if err != nil || report.State == audit.Tampered {
			t.Errorf("the trail of %s is %s: %s %v", id, report.State, report.Reason, err)
		}
		f.Close()
		trails++
	}
	if trails == 0 {
		t.Error("no killed run has a trail")
	}
}

// TestJailEndsOrphans: in the moment between libcontainer's first stage and the
// jail's PID 1 a process does not notice that its supervisor is gone; one in a hundred
// of the runs above is killed in it. A stand-in with the same marks is ended by
// `clean`, one without them is not.
func TestJailEndsOrphans(t *testing.T) {
	c := newCaller(t, "")
	c.must("true") // makes the runtime folder
	runtime := filepath.Join(c.dir, "run/agentjail")
	if os.Getuid() == 0 {
		runtime = "/run/agentjail/runs"
	}
	abandoned := filepath.Join(runtime, fmt.Sprintf("20000101-000000-%08x", os.Getpid()))
	if err := os.Mkdir(abandoned, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(abandoned) })
	// A shell of the first stage's name and arguments runs the script "init".
	if err := os.WriteFile(filepath.Join(c.workspace, "init"), []byte("printf '%s' \"$COMM\" >/proc/$$/comm; echo ready; read line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := func(comm string) (*exec.Cmd, io.Closer) {
		cmd := exec.Command("/bin/sh")
		cmd.Args = []string{filepath.Base(binary(t)), "init"}
		cmd.Dir, cmd.Env = c.workspace, []string{"COMM=" + comm}
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close() })
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		return cmd, in
	}
	orphan, word := shell("runc:[2:INIT]")
	other, _ := shell("something")
	clean := exec.Command(binary(t), "clean")
	clean.Env, clean.Dir = c.env, c.workspace
	if text, err := clean.CombinedOutput(); err != nil {
		t.Fatalf("agentjail clean: %v: %s", err, text)
	}
	word.Close() // one that lives still ends by itself now, and not by a signal
	if err := orphan.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the orphan ended with %v", err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another process was ended: %v", err)
	}
	if _, err := os.Lstat(abandoned); err == nil {
		t.Errorf("%s is left", abandoned)
	}
	_ = other.Process.Kill()
	_ = other.Wait()
}

// TestJailKilledFirstProcess: the kernel ends the jail with its PID 1, and the run
// says so.
func TestJailKilledFirstProcess(t *testing.T) {
	c := newCaller(t, "")
	c.ownTemp()
	l := c.start(t, "sh", "-c", "echo ready; read line; echo survived")
	l.expect("ready")
	jailed := below(t, l.cmd.Process.Pid)
	if err := unix.Kill(firstProcess(t, l.cmd.Process.Pid).pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, jailed) // before its stdin ends
	if code := l.end(); code != 125 || !strings.Contains(l.stderr.String(), "agentjail: ") || !strings.Contains(l.stderr.String(), "first process died") {
		t.Errorf("exit code %d, stderr %q", code, l.stderr.String())
	}
	if strings.Contains(string(l.read), "survived") {
		t.Error("the agent went on without PID 1")
	}
	c.wantNothingLeft()
}

// TestJailKilledGateway: without its gateway a jail has no network, never an open one.
func TestJailKilledGateway(t *testing.T) {
	systemTool(t, "curl")
	ca, served := newAuthority(t), &requests{}
	c := newCaller(t, allowHost("allowed.example", ca.serve(t, "allowed.example", "127.0.0.1:0", served), ca))
	l := c.start(t, "sh", "-c", `curl -sS -o /dev/null https://allowed.example/ && echo through
		read line
		curl -s --max-time 20 https://allowed.example/; echo name $?
		curl -s --max-time 20 --resolve allowed.example:443:198.18.0.1 https://allowed.example/; echo address $?`)
	l.expect("through")
	gateway := 0
	for _, p := range below(t, l.cmd.Process.Pid) {
		cmdline, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
		if args := strings.Split(string(cmdline), "\x00"); len(args) > 1 && args[1] == "gateway" {
			gateway = p.pid
		}
	}
	if gateway == 0 {
		t.Fatal("no gateway is below the supervisor")
	}
	if err := syscall.Kill(gateway, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, []process{{pid: gateway}})
	l.say("go on")
	l.expect("name 6")    // the name can't be resolved
	l.expect("address 7") // nothing listens
	if code := l.end(); code != 0 {
		t.Errorf("exit code %d: %s", code, l.stderr.String())
	}
	if n := len(served.all()); n != 1 {
		t.Errorf("%d requests came through, want 1", n)
	}
	ids := c.runIDs()
	events := readEvents(t, filepath.Join(c.home, ".local/state/agentjail/runs", ids[len(ids)-1], "audit.jsonl"))
	wantEvent(t, events, "the gateway's end", func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(v.Target, "gateway") && e.SeverityID >= 4
	})
}
