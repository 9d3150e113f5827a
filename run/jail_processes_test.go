package run_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// process is a pid of one life: pids come again, start times with them don't.
type process struct {
	pid   int
	start string // of /proc/PID/stat, in clock ticks since the boot
}

func (p process) alive() bool {
	q, _, ok := readStat(p.pid)
	return ok && q.start == p.start
}

// starting says whether it is of libcontainer's part of a start, which does not
// notice that its supervisor is gone; the next run or `clean` ends it.
func (p process) starting() bool {
	cmdline, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
	return err == nil && (strings.HasSuffix(string(cmdline), "\x00init\x00") || string(cmdline) == "runc\x00--help\x00")
}

// readStat reads what /proc/PID/stat says (proc_pid_stat(5)); a zombie counts as gone.
func readStat(pid int) (p process, parent int, ok bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, 0, false
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return p, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return process{pid, fields[19]}, parent, err == nil
}

// below lists every process below one, the nearest first.
func below(t testing.TB, pid int) []process {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	children := map[int][]process{}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			if p, parent, ok := readStat(n); ok {
				children[parent] = append(children[parent], p)
			}
		}
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found
}

// waitGone waits until the kernel has ended processes.
func waitGone(t testing.TB, list []process) {
	t.Helper()
	for end := time.Now().Add(hangGuard / 4); ; time.Sleep(2 * time.Millisecond) {
		var left []string
		for _, p := range list {
			if p.alive() {
				cmdline, _ := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
				left = append(left, strconv.Itoa(p.pid)+" "+strings.ReplaceAll(string(cmdline), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("processes are left: %q", left)
		}
	}
}

// firstProcess finds a jail's PID 1 among the supervisor's descendants.
func firstProcess(t testing.TB, supervisor int) process {
	t.Helper()
	for _, p := range below(t, supervisor) {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			// Of more than one pid namespace, and 1 in the innermost.
			if f := strings.Fields(line); len(f) > 2 && f[0] == "NSpid:" && f[len(f)-1] == "1" {
				return p
			}
		}
	}
	t.Fatal("the jail's PID 1 is not among the supervisor's processes")
	return process{}
}

// live is a run in progress whose agent talks with the test over its stdin and stdout.
type live struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.Reader
	stderr bytes.Buffer
	read   []byte
}

// start begins a run; the agent's script prints lines and waits for lines.
func (c *caller) start(t *testing.T, argv ...string) *live {
	t.Helper()
	l := &live{t: t}
	l.cmd = c.command(t.Context(), []string{"--quiet"}, argv...)
	var err error
	if l.in, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if l.out, err = l.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	l.cmd.Stderr = &l.stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return l
}

// expect reads until a line has come.
func (l *live) expect(line string) {
	l.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains("\n"+string(l.read), "\n"+line+"\n") {
		n, err := l.out.Read(buf)
		l.read = append(l.read, buf[:n]...)
		if err != nil {
			_ = l.cmd.Wait()
			l.t.Fatalf("the agent said %q and %v, not %q; stderr: %s", l.read, err, line, l.stderr.String())
		}
	}
}

func (l *live) say(line string) {
	l.t.Helper()
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		l.t.Fatal(err)
	}
}

// end closes the agent's stdin and waits for the run.
func (l *live) end() int {
	l.t.Helper()
	l.in.Close()
	rest, _ := io.ReadAll(l.out)
	l.read = append(l.read, rest...)
	return exitOf(l.t, l.cmd.Wait())
}

// runIDs are the runs that a caller ever made.
func (c *caller) runIDs() []string {
	c.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/runs/*"))
	if err != nil {
		c.t.Fatal(err)
	}
	ids := make([]string, len(dirs))
	for i, d := range dirs {
		ids[i] = filepath.Base(d)
	}
	return ids
}

// wantNothingLeft looks for whatever the caller's runs could have left: runtime
// folders, mounts, cgroups, upper layers, temporary files, locks.
func (c *caller) wantNothingLeft() {
	c.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	ids := c.runIDs()
	patterns := []string{"/run/agentjail/runs/", filepath.Join(c.dir, "run/agentjail") + "/"}
	for _, id := range ids {
		for _, p := range patterns {
			if _, err := os.Lstat(p + id); err == nil {
				c.t.Errorf("%s%s is left", p, id)
			}
		}
		if strings.Contains(string(mounts), id) {
			c.t.Errorf("a mount of run %s is left", id)
		}
		if _, err := os.Lstat(filepath.Join(c.home, ".local/state/agentjail/runs", id, "upper")); err == nil {
			c.t.Errorf("the upper layer of run %s is left", id)
		}
	}
	ours := map[string]bool{}
	for _, id := range ids {
		ours[id] = true
	}
	// The hierarchy is a few hundred folders, of whatever version.
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // another run's, gone meanwhile
		}
		if _, id, ok := strings.Cut(d.Name(), "agentjail-"); ok && ours[strings.TrimSuffix(id, ".scope")] {
			c.t.Errorf("the cgroup %s is left", path)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(c.dir, "tmp"), filepath.Join(c.dir, "run/agentjail")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") { // the lock that all runs share
				c.t.Errorf("%s is left in %s", e.Name(), dir)
			}
		}
	}
}

// ownTemp gives the caller's runs a temporary folder of their own.
func (c *caller) ownTemp() {
	c.t.Helper()
	dir := filepath.Join(c.dir, "tmp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	c.env = append(c.env, "TMPDIR="+dir)
}
