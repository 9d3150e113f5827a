package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

func limits(text string) string { return "limits {\n" + text + "\n}\n" }

// wantLimit makes sure that the trail has the limit, with the line that set it.
func wantLimit(t *testing.T, o *outcome, name string) {
	t.Helper()
	wantEvent(t, o.events(), "the limit "+name, func(v audit.View, e audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(string(e.Raw), name) && strings.HasPrefix(v.Rule, "test.hcl:")
	})
}

// The limits that no host can fail to enforce. Each agent would run for ever.
func TestJailLimits(t *testing.T) {
	t.Run("time", func(t *testing.T) {
		o := newCaller(t, limits("time = \"1s\"")).run("sh", "-c", `trap "" TERM HUP INT; echo begun; while :; do sleep 1; done`)
		if o.code != 124 || o.stdout != "begun\n" || o.status.Reason != "time limit" {
			t.Errorf("exit code %d, stdout %q, %+v", o.code, o.stdout, o.status)
		}
		wantLimit(t, o, "time")
	})
	t.Run("idle", func(t *testing.T) {
		o := newCaller(t, limits("idle = \"1s\"")).run("sh", "-c", "echo begun; sleep 1000")
		if o.code != 137 || o.stdout != "begun\n" || o.status.Reason != "idle limit" {
			t.Errorf("exit code %d, stdout %q, %+v", o.code, o.stdout, o.status)
		}
		wantLimit(t, o, "idle")
	})
	t.Run("idle is not busy", func(t *testing.T) {
		o := newCaller(t, limits("idle = \"3s\"")).run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 0.5; echo $i; done")
		if o.code != 0 {
			t.Errorf("an agent that speaks was ended: exit code %d, %s", o.code, o.stderr)
		}
	})
	t.Run("output", func(t *testing.T) {
		o := newCaller(t, limits("output = \"64KiB\"")).run("yes")
		if o.code == 0 || len(o.stdout) != 64<<10 || o.status.Reason != "output limit" {
			t.Errorf("exit code %d, %d bytes, %+v", o.code, len(o.stdout), o.status)
		}
		wantLimit(t, o, "output")
	})
	t.Run("open files", func(t *testing.T) {
		o := newCaller(t, limits("open_files = 32")).must("sh", "-c", `ulimit -n; ulimit -Hn; (ulimit -n 64) 2>/dev/null || echo refused
			i=3; while [ $i -lt 10 ]; do eval "exec $i</dev/null"; i=$((i+1)); done; bash -c 'for i in $(seq 10 99); do eval "exec $i</dev/null" 2>/dev/null || { echo none left at $i; exit; }; done'`)
		if !strings.HasPrefix(o.stdout, "32\n32\nrefused\nnone left at 3") {
			t.Errorf("the agent saw %q", o.stdout)
		}
	})
}

// hasCgroup says whether the host gives this user a cgroup.
func hasCgroup(t *testing.T) bool {
	t.Helper()
	return newCaller(t, limits("memory = \"512MiB\"")).run("true").code == 0
}

// needCgroup skips where the host gives this user no cgroup, after making sure that
// the refusal is one: exit code 125, the layer, the mend, and no agent.
func needCgroup(t *testing.T) {
	t.Helper()
	o := newCaller(t, limits("memory = \"512MiB\"")).run("echo", "ran")
	if o.code == 0 {
		return
	}
	if o.code != 125 || o.stdout != "" || !strings.Contains(o.stderr, "cgroup") || !strings.Contains(o.stderr, "hint:") {
		t.Fatalf("exit code %d, stdout %q, stderr %s", o.code, o.stdout, o.stderr)
	}
	why, _, _ := strings.Cut(strings.TrimPrefix(o.stderr, "agentjail: "), "\n")
	t.Skipf("the host lacks a cgroup for this user: %s", why)
}

// What takes 300 MB, in a file of the jail or in a program.
const hungryFile = "head -c 300000000 /dev/zero >/tmp/big; stat -c %s /tmp/big; ls -A /tmp"
const hungryProgram = "head -c 300000000 /dev/zero | tail -c 300000000 | wc -c; echo end"

func TestJailCgroupLimits(t *testing.T) {
	needCgroup(t)
	t.Run("memory of a program", func(t *testing.T) {
		o := newCaller(t, limits("memory = \"64MiB\"")).run("sh", "-c", hungryProgram)
		if strings.Contains(o.stdout, "300000000") {
			t.Errorf("a program had 300 MB under a limit of 64 MiB: exit code %d, %q", o.code, o.stdout)
		}
	})
	t.Run("memory in files", func(t *testing.T) {
		o := newCaller(t, limits("memory = \"64MiB\"")).run("sh", "-c", hungryFile)
		if strings.Contains(o.stdout, "300000000") {
			t.Errorf("a tmpfs had 300 MB under a limit of 64 MiB: exit code %d, %q", o.code, o.stdout)
		}
	})
	t.Run("without the limit both work", func(t *testing.T) {
		o := newCaller(t, limits("memory = \"2GiB\"")).run("sh", "-c", hungryProgram+"; "+hungryFile)
		if strings.Count(o.stdout, "300000000") != 2 {
			t.Errorf("exit code %d, %q, %s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("processes", func(t *testing.T) {
		o := newCaller(t, limits("processes = 20")).run("bash", "-c", `for i in $(seq 40); do sleep 3 & done 2>&1 | grep -c "Resource temporarily unavailable"; echo end`)
		if strings.HasPrefix(o.stdout, "0\n") || !strings.Contains(o.stdout+o.stderr, "temporarily unavailable") && !strings.HasSuffix(o.stdout, "end\n") {
			t.Errorf("40 processes under a limit of 20: exit code %d, stdout %q, stderr %s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("what the kernel was told", func(t *testing.T) {
		c := newCaller(t, limits("memory = \"256MiB\"\n processes = 100\n cpus = 0.5"))
		l := c.start(t, "sh", "-c", "echo ready; read line; sleep 0.1")
		l.expect("ready")
		all := below(t, l.cmd.Process.Pid)
		first := firstProcess(t, l.cmd.Process.Pid)
		values := cgroupValues(t, first.pid)
		for name, want := range map[string]string{"memory": "268435456", "pids": "116" /* and PID 1's threads */, "cpu": "50000"} {
			if values[name] != want {
				t.Errorf("the cgroup's %s is %q, want %s", name, values[name], want)
			}
		}
		// Nothing of the jail is outside of it.
		own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", first.pid))
		if err != nil {
			t.Fatal(err)
		}
		inside := 0
		for _, p := range all {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid))
			if err == nil && string(data) == string(own) {
				inside++
			}
		}
		if inside < 2 {
			t.Errorf("%d processes are in the jail's cgroup, want PID 1 and the agent's", inside)
		}
		l.say("end")
		if code := l.end(); code != 0 {
			t.Errorf("exit code %d: %s", code, l.stderr.String())
		}
	})
}

// cgroupValues reads a process's limits, of cgroup v1 (memory.limit_in_bytes ...) or
// v2 (memory.max ...).
func cgroupValues(t *testing.T, pid int) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	read := func(name, file string) {
		if data, err := os.ReadFile(file); err == nil {
			fields := strings.Fields(string(data))
			if len(fields) > 0 {
				values[name] = fields[0]
			}
		}
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // cgroups(7): id, controllers, path
		if len(parts) != 3 {
			continue
		}
		for _, controller := range strings.Split(parts[1], ",") {
			dir := filepath.Join("/sys/fs/cgroup", controller, parts[2])
			switch controller {
			case "memory":
				read("memory", filepath.Join(dir, "memory.limit_in_bytes"))
			case "pids":
				read("pids", filepath.Join(dir, "pids.max"))
			case "cpu":
				read("cpu", filepath.Join(dir, "cpu.cfs_quota_us"))
			case "":
				if _, err := os.Stat(filepath.Join(dir, "memory.max")); err == nil {
					read("memory", filepath.Join(dir, "memory.max"))
					read("pids", filepath.Join(dir, "pids.max"))
					read("cpu", filepath.Join(dir, "cpu.max"))
				}
			}
		}
	}
	return values
}

// TestJailBestEffortLimits: where no cgroup is, other means stand in, and the trail's
// first event says so.
func TestJailBestEffortLimits(t *testing.T) {
	best := func(text string) string { return limits(text + "\n enforce = \"best-effort\"") }
	o := newCaller(t, best("memory = \"1GiB\"\n processes = 60")).must("sh", "-c", "ulimit -u 2>/dev/null || bash -c 'ulimit -u'")
	if o.stdout != "60\n" {
		t.Errorf("the limit of processes is %q, want 60", o.stdout)
	}
	first := string(o.events()[0].Raw)
	degraded := strings.Contains(first, "limit memory") && strings.Contains(first, "degraded")
	stands := newCaller(t, limits("memory = \"512MiB\"")).run("true").code != 0
	if degraded != stands {
		t.Errorf("the first event says degraded: %v; the host gives no cgroup: %v", degraded, stands)
	}
	t.Run("processes", func(t *testing.T) {
		o := newCaller(t, best("processes = 20")).run("bash", "-c", `for i in $(seq 40); do sleep 3 & done; wait`)
		if !strings.Contains(o.stderr, "temporarily unavailable") {
			t.Errorf("40 processes under a limit of 20: exit code %d, stdout %q, stderr %s", o.code, o.stdout, o.stderr)
		}
	})
	t.Run("memory", func(t *testing.T) {
		if !stands {
			return // with a cgroup it is the strict limit, which is tested above
		}
		// Held until somebody ends it: what is sampled is there to be seen.
		o := newCaller(t, best("memory = \"64MiB\"\n time = \"60s\"")).run("sh", "-c", "head -c 300000000 /dev/zero | tail -c 300000000 | sleep 100")
		if o.code == 0 || o.code == 124 {
			t.Errorf("300 MB under a limit of 64 MiB: exit code %d, %+v", o.code, o.status)
		}
	})
	t.Run("cpus", func(t *testing.T) {
		o := newCaller(t, best("cpus = 1")).must("nproc")
		n, err := strconv.Atoi(strings.TrimSpace(o.stdout))
		if err != nil || stands && n != 1 {
			t.Errorf("the agent sees %q CPUs, want 1", o.stdout)
		}
	})
}

// cgroupDirs are the folders of a process's cgroups that may have a controller: v1's of
// that name, and v2's (cgroups(7)).
func cgroupDirs(t *testing.T, pid int, controller string) (dirs []string) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && (parts[1] == "" || slices.Contains(strings.Split(parts[1], ","), controller)) {
			dirs = append(dirs, filepath.Join("/sys/fs/cgroup", strings.Split(parts[1], ",")[0], parts[2]))
		}
	}
	return dirs
}
