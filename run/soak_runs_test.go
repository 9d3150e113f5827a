package run_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSoakManyRuns: many runs in a row leave their own records and nothing else behind,
// also nothing that this test does not know of: the host has as many processes, mounts
// and cgroups as before.
func TestSoakManyRuns(t *testing.T) {
	runs := soakCount(200, 10_000)
	before := hostCounts(t)
	c := newCaller(t, "")
	c.ownTemp()
	c.write("file", "x\n")
	perRun := 0
	for i := range runs {
		o := c.must("sh", "-c", "echo y >file; getent hosts nothing.example; echo "+strconv.Itoa(i))
		if o.stdout != strconv.Itoa(i)+"\n" {
			t.Fatalf("run %d printed %q", i, o.stdout)
		}
		files := countFiles(t, filepath.Join(c.home, ".local/state/agentjail/runs", o.status.RunID))
		if perRun == 0 {
			perRun = files
		}
		if files != perRun {
			t.Fatalf("run %d left %d files, the first one %d", i, files, perRun)
		}
	}
	if n := len(c.runIDs()); n != runs {
		t.Errorf("%d runs are listed, want %d", n, runs)
	}
	if below := below(t, os.Getpid()); len(below) != 0 {
		t.Errorf("processes are left: %+v", below)
	}
	c.wantNothingLeft()
	// The host does other things, too, and may be done with them in a while; one left in
	// four runs is a leak.
	var after map[string]int
	for end := time.Now().Add(hangGuard / 4); ; time.Sleep(100 * time.Millisecond) {
		var left []string
		after = hostCounts(t)
		for what, n := range after {
			if n-before[what] > max(runs/4, 10) {
				left = append(left, fmt.Sprintf("%d %s more", n-before[what], what))
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("after %d runs the host has %q than before", runs, left)
			break
		}
	}
	t.Logf("%d runs; before %v, after %v", runs, before, after)
}

// hostCounts counts what a run could leave.
func hostCounts(t *testing.T) map[string]int {
	t.Helper()
	counts := map[string]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			counts["processes"]++
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	counts["mounts"] = bytes.Count(mounts, []byte("\n"))
	_ = filepath.WalkDir("/sys/fs/cgroup", func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			counts["cgroups"]++
		}
		return nil // another's, gone meanwhile
	})
	return counts
}

func countFiles(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	if err := filepath.Walk(dir, func(_ string, _ os.FileInfo, err error) error { n++; return err }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestJailSupervisorDoesNotGrow looks at the supervisor and PID 1 after a thousand
// programs and after three times as many: descriptors, threads, memory.
func TestJailSupervisorDoesNotGrow(t *testing.T) {
	c := newCaller(t, "")
	l := c.start(t, "sh", "-c", `round() { i=0; while [ $i -lt $1 ]; do /bin/true; (exit 0) & getent hosts no$i.example; i=$((i+1)); done; wait; }
		round 500; echo warm; read line; round 1000; echo done; read line`)
	l.expect("warm")
	pids := map[string]int{"supervisor": l.cmd.Process.Pid, "PID 1": firstProcess(t, l.cmd.Process.Pid).pid}
	before := map[string]usage{}
	for name, pid := range pids {
		before[name] = usageOf(t, pid)
	}
	l.say("on")
	l.expect("done")
	for name, pid := range pids {
		b, a := before[name], usageOf(t, pid)
		// The descriptors of the last programs go when their ends have been looked at.
		for end := time.Now().Add(hangGuard); a.files > b.files+3 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			a = usageOf(t, pid)
		}
		// A garbage collector's heap may double once; 1,000 leaks of 8 KiB would show.
		if a.files > b.files+3 || a.threads > b.threads+3 || a.rss > b.rss+8<<10 {
			t.Errorf("the %s grew from %+v to %+v", name, b, a)
		}
		t.Logf("%s: %+v, then %+v", name, b, a)
	}
	if code := l.end(); code != 0 && code != 1 {
		t.Errorf("exit code %d: %s", code, l.stderr.String())
	}
}

type usage struct {
	files, threads int
	rss, fromFiles int // KiB
}

func usageOf(t *testing.T, pid int) usage {
	t.Helper()
	u := usage{files: -1}
	// PID 1's descriptors are not an ordinary user's to list.
	if entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		u.files = len(entries)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		f := strings.Fields(string(line))
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "Threads:":
			u.threads = n
		case "VmRSS:":
			u.rss = n
		case "RssFile:":
			u.fromFiles = n
		}
	}
	return u
}

// TestSoakManyAtOnce: nothing that runs share gets into another's way.
func TestSoakManyAtOnce(t *testing.T) {
	runs := soakCount(20, 100)
	callers := make([]*caller, runs)
	for i := range callers {
		callers[i] = newCaller(t, "")
		callers[i].write("file", strconv.Itoa(i)+"\n")
	}
	var wg sync.WaitGroup
	for i, c := range callers {
		wg.Go(func() {
			o := c.run("sh", "-c", "cat file; echo changed >file; sleep 0.3; cat file")
			if want := strconv.Itoa(i) + "\nchanged\n"; o.code != 0 || o.stdout != want || o.status.Changes != 1 {
				t.Errorf("run %d: exit code %d, stdout %q, %d changes, stderr %s", i, o.code, o.stdout, o.status.Changes, o.stderr)
			}
		})
	}
	wg.Wait()
	for i, c := range callers {
		if data, err := os.ReadFile(filepath.Join(c.workspace, "file")); err != nil || string(data) != strconv.Itoa(i)+"\n" {
			t.Errorf("the host's file of run %d is %q %v", i, data, err)
		}
		c.wantNothingLeft()
	}
}
