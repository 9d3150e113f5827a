package run_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// hogMain takes memory in one of the ways that no heap shows, a mebibyte at a time, and
// says how much it has once it has all.
func hogMain(args []string) int {
	const all = 300
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = 1
	}
	var kept []any
	for range all {
		switch args[0] {
		case "heap":
			kept = append(kept, append([]byte(nil), block...))
		case "memfd":
			fd, err := unix.MemfdCreate("hog", 0)
			if err == nil {
				_, err = unix.Write(fd, block)
			}
			if err != nil {
				fmt.Println(err)
				return 1
			}
		case "pipes":
			var p [2]int
			if err := unix.Pipe2(p[:], unix.O_NONBLOCK); err != nil {
				fmt.Println(err)
				return 1
			}
			// Beyond a user's soft limit a new pipe holds two pages only (pipe(7)).
			_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, len(block))
			if _, err := unix.Write(p[1], block); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	fmt.Println("beyond", len(kept))
	if len(args) > 1 {
		time.Sleep(time.Hour) // what is only sampled is there to be seen
	}
	return 0
}

// hostLoad is a process of the host's beside the jail.
type hostLoad struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func newHostLoad(t *testing.T) *hostLoad {
	t.Helper()
	l := &hostLoad{t: t, cmd: exec.Command("/bin/sh", "-c", "while read line; do echo $line; /bin/true; done")}
	in, err := l.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.lines = bufio.NewScanner(out)
	stop := make(chan struct{})
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, err := fmt.Fprintln(in, i); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
	})
	return l
}

// progresses: it was not killed, and starts programs as before.
func (l *hostLoad) progresses() {
	l.t.Helper()
	for range 3 {
		if !l.lines.Scan() {
			l.t.Fatalf("the host's own load has ended: %v", l.lines.Err())
		}
	}
}

// wantReached: the limit is named at the end, in the status and in the trail.
func wantReached(t *testing.T, o *outcome, name, text string) {
	t.Helper()
	found := false
	for _, l := range o.status.Limits {
		found = found || l.Name == name && strings.Contains(l.Text, text)
	}
	if !found || !strings.Contains(o.stderr, text) {
		t.Errorf("%q is not named: %+v\n%s", text, o.status, o.stderr)
	}
	wantLimit(t, o, name)
	wantEvent(t, o.events(), "the limit at the run's end", func(v audit.View, e audit.Event) bool {
		return v.Kind == "end" && strings.Contains(string(e.Raw), text)
	})
}

const forkBomb = `bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 2; ls /proc | grep -c '^[0-9]'`

// What only the jail may suffer from, each by its own limit.
func TestJailHogs(t *testing.T) {
	canary := newHostLoad(t)
	try := func(name, profile string, argv []string, check func(*testing.T, *outcome)) {
		t.Run(name, func(t *testing.T) {
			c := newCaller(t, fmt.Sprintf("files { exec = [%q] }\n", self(t))+profile)
			o := c.run(argv...)
			check(t, o)
			canary.progresses()
			c.wantNothingLeft()
		})
	}
	sh := func(script string) []string { return []string{"/bin/bash", "-c", script} }
	if upperOnDisk(t) {
		// Nothing in the kernel holds it there: it is looked at, and ends the run. What ends
		// by itself before that is told of.
		for name, tt := range map[string]struct{ profile, script, text string }{
			"workspace size":  {"workspace { size = \"4MiB\" }\n", "head -c 20000000 /dev/zero >f", "workspace size: 4MiB limit reached"},
			"workspace files": {"workspace { files = 50 }\n", "for i in $(seq 200); do : >f$i; done", "workspace files: 50 limit reached"},
		} {
			try(name+" on disk", tt.profile, sh(tt.script+"; sleep 1000"), func(t *testing.T, o *outcome) {
				o.wantCode(137)
				wantReached(t, o, name, tt.text)
			})
			try(name+" on disk, at the end", tt.profile, sh(tt.script), func(t *testing.T, o *outcome) {
				if !strings.Contains(o.stderr, tt.text) {
					t.Errorf("%q is not named:\n%s", tt.text, o.stderr)
				}
			})
		}
	} else {
		try("disk", "workspace { size = \"4MiB\" }\n", sh("head -c 20000000 /dev/zero >f; stat -c %s f"), func(t *testing.T, o *outcome) {
			o.wantCode(0)
			if o.stdout != "4194304\n" {
				t.Errorf("%q bytes of 4 MiB", o.stdout)
			}
			wantReached(t, o, "workspace size", "workspace size: 4MiB limit reached")
		})
		try("inodes", "workspace { files = 50 }\n", sh("for i in $(seq 200); do : >f$i; done 2>/dev/null; ls | wc -l; for i in $(seq 200); do : >/tmp/f$i; done 2>/dev/null; ls /tmp | wc -l"), func(t *testing.T, o *outcome) {
			o.wantCode(0)
			var work, tmp int
			if _, err := fmt.Sscan(o.stdout, &work, &tmp); err != nil || work < 40 || work > 60 || tmp < 40 || tmp > 60 {
				t.Errorf("%q files, of 50 each", o.stdout)
			}
			wantReached(t, o, "workspace files", "workspace files: 50 limit reached")
		})
		try("sparse", "workspace { size = \"4MiB\" }\n", sh("truncate -s 1T f && head -c 20000000 /dev/zero >>f; du -k f | cut -f1"), func(t *testing.T, o *outcome) {
			var kib int
			if _, err := fmt.Sscan(o.stdout, &kib); err != nil || kib > 4<<10 {
				t.Errorf("%q KiB of 4 MiB", o.stdout)
			}
		})
	}
	try("output", limits(`output = "64KiB"`), []string{"yes"}, func(t *testing.T, o *outcome) {
		if o.code != 137 || len(o.stdout) != 64<<10 {
			t.Errorf("exit code %d, %d bytes", o.code, len(o.stdout))
		}
		wantReached(t, o, "output", "output: 64KiB limit reached")
	})
	try("idle", limits(`idle = "1s"`), []string{"sleep", "1000"}, func(t *testing.T, o *outcome) {
		o.wantCode(137)
		wantReached(t, o, "idle", "idle: 1s limit reached")
	})
	try("time", limits(`time = "1s"`), sh("while :; do :; done"), func(t *testing.T, o *outcome) {
		o.wantCode(124)
		wantReached(t, o, "time", "time: 1s limit reached")
	})
	if !hasCgroup(t) {
		try("fork bomb, best effort", limits("processes = 40\n enforce = \"best-effort\""), sh(forkBomb), wantFewProcesses)
		for _, hog := range []string{"heap", "memfd"} {
			try(hog+", best effort", limits("memory = \"64MiB\"\n enforce = \"best-effort\""), []string{self(t), helperArg, "hog", hog, "stay"}, func(t *testing.T, o *outcome) {
				o.wantCode(137)
				wantReached(t, o, "memory", "memory: 64MiB limit reached")
			})
		}
		try("tmpfs, best effort", limits("memory = \"64MiB\"\n enforce = \"best-effort\""), sh("head -c 300000000 /dev/zero >/tmp/f; sleep 1000"), func(t *testing.T, o *outcome) {
			o.wantCode(137)
			wantReached(t, o, "memory", "memory: 64MiB limit reached")
		})
		t.Run("pipes, cpus", needCgroup) // nothing stands in: the skip says what the host lacks
		return
	}
	try("fork bomb", limits("processes = 40"), sh(forkBomb), func(t *testing.T, o *outcome) {
		wantFewProcesses(t, o)
		wantReached(t, o, "processes", "processes: 40 limit reached")
	})
	for _, hog := range []string{"heap", "memfd", "pipes"} {
		try(hog, limits("memory = \"64MiB\""), []string{self(t), helperArg, "hog", hog}, func(t *testing.T, o *outcome) {
			if strings.Contains(o.stdout, "beyond") || o.code == 0 {
				t.Errorf("300 MiB of 64: exit code %d, %q", o.code, o.stdout)
			}
			// An ordinary user's pipes are bounded before (pipe-user-pages-soft).
			if hog == "pipes" && os.Getuid() != 0 && o.code == 1 {
				return
			}
			o.wantCode(137)
			if o.status.Reason != "memory limit" {
				t.Errorf("the run ended of %q", o.status.Reason)
			}
			wantReached(t, o, "memory", "memory: 64MiB limit reached by "+filepath.Base(self(t))+" (pid ")
		})
	}
	try("tmpfs", limits("memory = \"64MiB\""), sh("head -c 300000000 /dev/zero >/tmp/f; stat -c 'beyond %s' /tmp/f"), func(t *testing.T, o *outcome) {
		if strings.Contains(o.stdout, "beyond 300000000") {
			t.Errorf("300 MB of 64 MiB: exit code %d, %q", o.code, o.stdout)
		}
		if os.Getuid() != 0 && o.code == 125 && strings.Contains(o.stderr, "out of memory?") {
			return // PID 1 was killed with the rest, and systemd removed the scope that counts at once
		}
		wantReached(t, o, "memory", "memory: 64MiB limit reached")
	})
	t.Run("cpus", func(t *testing.T) {
		c := newCaller(t, limits("cpus = 0.2\n time = \"100s\""))
		l := c.start(t, "/bin/sh", "-c", "echo ready; while :; do :; done")
		l.expect("ready")
		first := firstProcess(t, l.cmd.Process.Pid)
		throttled := func() bool {
			for _, dir := range cgroupDirs(t, first.pid, "cpu") {
				data, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
				_, after, ok := strings.Cut(string(data), "nr_throttled ")
				if err == nil && ok && !strings.HasPrefix(after, "0\n") {
					return true
				}
			}
			return false
		}
		// The kernel's own count of how often it made the jail wait.
		for end := time.Now().Add(time.Minute); !throttled(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("a jail that spins was not throttled within a minute")
			}
		}
		canary.progresses()
		if err := l.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := l.end(); code != 143 {
			t.Errorf("exit code %d: %s", code, l.stderr.String())
		}
	})
}

// upperOnDisk says whether the upper layer of a workspace lies on disk unless a profile
// says otherwise, as before Linux 6.6 for an ordinary user.
func upperOnDisk(t *testing.T) bool {
	t.Helper()
	o := newCaller(t, "").runWith([]string{"--dry-run"}, "true")
	var plan jail.Plan
	if err := json.Unmarshal([]byte(o.stdout), &plan); err != nil {
		t.Fatalf("%v: %s", err, o.stderr)
	}
	return plan.Workspace.Upper == profiles.UpperDisk
}

func wantFewProcesses(t *testing.T, o *outcome) {
	t.Helper()
	var n int
	if o.code == 0 {
		if _, err := fmt.Sscan(o.stdout, &n); err != nil || n > 60 {
			t.Errorf("%q processes of 40", o.stdout)
		}
	}
}
