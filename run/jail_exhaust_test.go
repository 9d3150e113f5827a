package run_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
)

// busy is an agent that makes the trail grow, writes, and asks the network; its own
// failures are its own affair.
const busy = `exec 2>/dev/null
	i=0; while [ $i -lt 60 ]; do /bin/true "$i" aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done
	echo new >new; getent hosts nothing.example; exit 0`

// wantClosed: a run that the host has run out of something for was refused, or ended,
// with a sentence; or it had enough.
func wantClosed(t *testing.T, o *outcome) {
	t.Helper()
	if o.code != 0 && o.code != 125 {
		t.Errorf("exit code %d, want 0 or 125\n%s", o.code, o.stderr)
	}
	if o.code == 125 && !strings.Contains(o.stderr, "agentjail: ") {
		t.Errorf("it says nothing: %q", o.stderr)
	}
	if strings.Contains(o.stderr, "goroutine ") || strings.Contains(o.stderr, "panic:") {
		t.Errorf("it fell over:\n%s", o.stderr)
	}
	for line := range strings.Lines(o.stderr) {
		if !strings.HasPrefix(line, "agentjail: ") {
			t.Errorf("a line that is not agentjail's own: %s", line)
		}
	}
}

// inPlace runs agentjail with $0 open files at most, and says what is left of the run in
// the same place and, where it worked, what its trail is.
const inPlace = `bin=$1; shift
	(ulimit -n $0; exec "$bin" "$@"); code=$?
	"$bin" clean --dry-run; echo "code $code"
	[ $code = 125 ] || { "$bin" verify >/dev/null; echo "verify $?"; }
	exit $code`

// TestJailDiskFull: the state folder, where the trail is, or the temporary folder, is
// on a file system that is full sooner or later.
func TestJailDiskFull(t *testing.T) {
	for name, workspace := range map[string]string{"trail": `mode = "direct"`, "trail and upper layer": `upper = "disk"`} {
		t.Run(name, func(t *testing.T) {
			if f, err := jail.Probe(); err != nil || name != "trail" && !f.TmpfsXattr {
				t.Skipf("the host lacks user.* attributes on tmpfs (Linux 6.6), without which no upper layer lies on one (%v)", err)
			}
			refused, ended, worked := 0, 0, 0
			for _, size := range []string{"4k", "8k", "12k", "16k", "24k", "32k", "48k", "64k", "96k", "128k", "192k", "1m"} {
				c := newCaller(t, "workspace {\n "+workspace+"\n}\n")
				state := filepath.Join(c.home, ".local/state")
				if err := os.MkdirAll(state, 0o700); err != nil {
					t.Fatal(err)
				}
				p := place{name: size, lacks: []string{"tiny:" + state + "=" + size}}
				o := p.command(c, os.Getuid() != 0, "/bin/sh", "-c", inPlace, "1024", binary(t), "run", "--profile", c.profile, "--",
					"sh", "-c", "echo began; "+busy)
				wantClosed(t, o)
				if !strings.Contains(o.stdout, "nothing was left behind") {
					t.Errorf("with %s: something is left: %s\n%s", size, o.stdout, o.stderr)
				}
				began := strings.HasPrefix(o.stdout, "began\n")
				switch {
				case o.code == 125 && !began:
					refused++
				case o.code == 125:
					ended++
				default:
					worked++
					if !strings.Contains(o.stdout, "verify 0") {
						t.Errorf("with %s: the run worked and its trail is not whole: %s", size, o.stdout)
					}
				}
				c.wantNothingLeft()
			}
			t.Logf("%d refused, %d ended, %d worked", refused, ended, worked)
			if refused == 0 || worked == 0 {
				t.Errorf("the sizes show nothing: %d refused, %d ended, %d worked", refused, ended, worked)
			}
		})
	}
}

// TestJailFilesUsedUp starts runs that may have fewer and fewer open files.
func TestJailFilesUsedUp(t *testing.T) {
	refused, worked := 0, 0
	limits := []int{128}
	for n := 8; n < 80; n++ { // each one: which call fails depends on what the caller left open
		limits = append(limits, n)
	}
	for _, limit := range limits {
		n := strconv.Itoa(limit)
		begun := time.Now()
		c := newCaller(t, "")
		c.ownTemp()
		o := place{name: n}.command(c, os.Getuid() != 0, "/bin/sh", "-c", inPlace, n, binary(t), "run", "--profile", c.profile, "--",
			"sh", "-c", "exec 2>/dev/null; for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done; echo new >new; exit 0")
		wantClosed(t, o)
		if took := time.Since(begun); took > 5*time.Second {
			t.Logf("with %s files: it took %s\n%s", n, took, o.stderr)
		}
		if !strings.Contains(o.stdout, "nothing was left behind") {
			t.Errorf("with %s files: something is left: %s\n%s", n, o.stdout, o.stderr)
		}
		if o.code == 0 {
			worked++
		} else {
			refused++
		}
		c.wantNothingLeft()
	}
	t.Logf("%d refused, %d worked", refused, worked)
	if refused == 0 || worked == 0 {
		t.Errorf("the limits show nothing: %d refused, %d worked", refused, worked)
	}
}

// TestJailCallsFail makes single calls fail as they do on a host that has run out of
// something, for every process of the run.
func TestJailCallsFail(t *testing.T) {
	refused := 0
	for _, call := range []string{"pipe2:ENFILE", "socketpair:ENFILE", "memfd_create:ENFILE", "pidfd_open:EMFILE", "accept4:EMFILE", "mkdirat:ENOSPC", "renameat:ENOSPC", "ftruncate:ENOSPC", "fsync:EIO", "fdatasync:EIO",
		"flock:ENOLCK", "process_vm_readv:EPERM"} {
		t.Run(call, func(t *testing.T) {
			c := newCaller(t, "")
			c.ownTemp()
			o := c.lacking(false, []string{"deny:" + call}, "sh", "-c", busy)
			wantClosed(t, o)
			t.Logf("exit code %d: %.200s", o.code, o.stderr)
			if o.code == 125 {
				refused++
			}
			c.wantNothingLeft()
		})
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

// TestJailManyProcessesFewFiles: an agent can't use up the supervisor's descriptors with
// processes to watch. With mostWatched left out the gateway can't be started any more,
// and the name is asked in vain.
func TestJailManyProcessesFewFiles(t *testing.T) {
	c := newCaller(t, "")
	inner := c.command(t.Context(), []string{"--quiet"}, "sh", "-c", `i=0; while [ $i -lt 150 ]; do sleep 600 & i=$((i+1)); done
		until [ "$(ls /proc | grep -c '^[0-9]')" -gt 150 ]; do sleep 0.05; done
		getent hosts nothing.example; echo "answered $?"; echo new >new`)
	cmd := exec.CommandContext(t.Context(), "/bin/sh", append([]string{"-c", `ulimit -n 128; exec "$0" "$@"`, inner.Path}, inner.Args[1:]...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = inner.Dir, inner.Env, inner.WaitDelay
	out, err := cmd.Output()
	if code := exitOf(t, err); code != 0 || string(out) != "answered 2\n" {
		t.Fatalf("exit code %d, stdout %q", code, out)
	}
	ids := c.runIDs()
	events := readEvents(t, filepath.Join(c.home, ".local/state/agentjail/runs", ids[0], "audit.jsonl"))
	wantEvent(t, events, "the refused name", func(v audit.View, e audit.Event) bool {
		return v.Kind == "dns" && e.Query.Hostname == "nothing.example"
	})
	wantEvent(t, events, "the change", func(v audit.View, _ audit.Event) bool { return v.Kind == "file" && v.Target == "create new" })
	c.wantNothingLeft()
}
