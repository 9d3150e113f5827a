package run_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// floodMain writes so many bytes to stdout that any other order or loss shows.
func floodMain(args []string) int {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return 1
	}
	if _, err := io.Copy(os.Stdout, pattern(n)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// digestMain prints the SHA-256 of its stdin.
func digestMain([]string) int {
	h := sha256.New()
	n, err := io.Copy(h, os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("%d %x\n", n, h.Sum(nil))
	return 0
}

// descriptorsMain lists what it was given, before the Go runtime opens anything.
func descriptorsMain([]string) int {
	for fd := range 1024 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		if err != nil {
			target = err.Error()
		}
		fmt.Printf("%d %s\n", fd, target)
	}
	return 0
}

// pattern is n bytes without a period that a buffer could have.
func pattern(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		x := uint64(88172645463325252) // xorshift64, Marsaglia 2003
		buf := make([]byte, 64<<10)
		for n > 0 {
			for i := 0; i < len(buf); i += 8 {
				x ^= x << 13
				x ^= x >> 7
				x ^= x << 17
				for j := range 8 {
					buf[i+j] = byte(x >> (8 * j))
				}
			}
			m, err := w.Write(buf[:min(n, len(buf))])
			if n -= m; err != nil {
				return
			}
		}
		w.Close()
	}()
	return r
}

func patternSum(t *testing.T, n int) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, pattern(n)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// execSelf is a profile in which this test binary can be run.
func execSelf(t testing.TB) string {
	return fmt.Sprintf("files {\n exec = [%q]\n}\n", self(t))
}

func TestJailStreams(t *testing.T) {
	t.Run("stdin, stdout and stderr", func(t *testing.T) {
		c := newCaller(t, "")
		c.stdin = strings.NewReader("in\n")
		o := c.runWith([]string{"--quiet"}, "sh", "-c", "cat; echo err >&2; test -t 0 || test -t 1 || echo pipes")
		o.wantCode(0)
		if o.stdout != "in\npipes\n" || o.stderr != "err\n" {
			t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
		}
	})
	t.Run("stdin closed", func(t *testing.T) {
		c := newCaller(t, "")
		cmd := c.command(t.Context(), []string{"--quiet"}, "sh", "-c", "cat; echo done")
		closed := exec.Command("sh", "-c", `exec "$@" <&-`, "sh", cmd.Path)
		closed.Args = append(closed.Args, cmd.Args[1:]...)
		closed.Dir, closed.Env = cmd.Dir, cmd.Env
		out, err := closed.CombinedOutput()
		if err != nil || string(out) != "done\n" {
			t.Errorf("%q %v", out, err)
		}
	})
	t.Run("the reader goes away", func(t *testing.T) {
		c := newCaller(t, "")
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		cmd := c.command(ctx, []string{"--quiet"}, "yes")
		piped := exec.CommandContext(ctx, "bash", "-c", `"$@" | head -1; echo ${PIPESTATUS[0]}`, "bash", cmd.Path)
		piped.Args = append(piped.Args, cmd.Args[1:]...)
		piped.Dir, piped.Env = cmd.Dir, cmd.Env
		out, err := piped.Output()
		// 141 is 128 + SIGPIPE, as without a jail.
		if err != nil || string(out) != "y\n141\n" {
			t.Errorf("%q %v", out, err)
		}
	})
	t.Run("stderr closed or full", func(t *testing.T) {
		for _, where := range []string{"2>&-", "2>/dev/full"} {
			c := newCaller(t, "")
			cmd := c.command(t.Context(), nil, "sh", "-c", "exit 7")
			closed := exec.Command("sh", "-c", `exec "$@" `+where, "sh", cmd.Path)
			closed.Args = append(closed.Args, cmd.Args[1:]...)
			closed.Dir, closed.Env = cmd.Dir, cmd.Env
			if code := exitOf(t, closed.Run()); code != 7 {
				t.Errorf("%s: exit code %d, want the agent's 7", where, code)
			}
		}
	})
	t.Run("a descendant keeps stdout", func(t *testing.T) {
		o := newCaller(t, "").run("sh", "-c", "sleep 1000 & echo done")
		if o.code != 0 || o.stdout != "done\n" {
			t.Errorf("exit code %d, stdout %q", o.code, o.stdout)
		}
	})
	t.Run("100 MB out", func(t *testing.T) {
		const n = 100_000_000
		c := newCaller(t, execSelf(t))
		cmd := c.command(t.Context(), []string{"--quiet"}, self(t), helperArg, "flood", strconv.Itoa(n))
		h := sha256.New()
		var stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = h, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, stderr.String())
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != patternSum(t, n) {
			t.Error("what came out is not what was written")
		}
	})
	t.Run("50 MB in", func(t *testing.T) {
		const n = 50_000_000
		c := newCaller(t, execSelf(t))
		c.stdin = pattern(n)
		o := c.must(self(t), helperArg, "digest")
		if want := fmt.Sprintf("%d %s\n", n, patternSum(t, n)); o.stdout != want {
			t.Errorf("the agent read %q, want %q", o.stdout, want)
		}
	})
}

func TestJailExitCodes(t *testing.T) {
	c := newCaller(t, "")
	c.write("data", "not a program\n")
	for _, tt := range []struct {
		argv   []string
		code   int
		reason string
		says   string
	}{
		{[]string{"true"}, 0, "exited", ""},
		{[]string{"sh", "-c", "exit 7"}, 7, "exited", ""},
		{[]string{"sh", "-c", "exit 125"}, 125, "exited", ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 143, "signal", ""},
		{[]string{"sh", "-c", "kill -KILL $$"}, 137, "signal", ""},
		{[]string{"./data"}, 126, "", "can't be executed"},
		{[]string{"/usr"}, 126, "", "folder"},
		{[]string{"no-such-program"}, 127, "", "not found"},
		{[]string{"/no/such/program"}, 127, "", "not found"},
	} {
		t.Run(strings.Join(tt.argv, " "), func(t *testing.T) {
			o := c.run(tt.argv...)
			o.t = t
			o.wantCode(tt.code)
			if !strings.Contains(o.stderr, tt.says) {
				t.Errorf("stderr says nothing of %q: %s", tt.says, o.stderr)
			}
			if o.status.RunID != "" && (o.status.ExitCode != tt.code || tt.reason != "" && o.status.Reason != tt.reason) {
				t.Errorf("--status-fd says %+v, want %d %q", o.status, tt.code, tt.reason)
			}
			if tt.reason != "" && o.status.RunID == "" {
				t.Error("--status-fd says nothing")
			}
		})
	}
	t.Run("a profile with a mistake", func(t *testing.T) {
		c := newCaller(t, "netwrok {}\n")
		if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "network") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
}

// TestJailDescriptors gives agentjail descriptors of the host's, as a careless shell
// or editor would. They have three chances to be closed: Go's exec of libcontainer's
// first stage, close-on-exec of PID 1's own, and the stage's close_range.
func TestJailDescriptors(t *testing.T) {
	c := newCaller(t, execSelf(t))
	for _, path := range []string{c.home, filepath.Join(c.dir, "test.hcl")} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c.extra = append(c.extra, f)
	}
	o := c.must(self(t), helperArg, "descriptors")
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != 3 {
		t.Errorf("the agent holds:\n%s", o.stdout)
	}
	for i, l := range lines[:min(len(lines), 3)] {
		if !strings.HasPrefix(l, strconv.Itoa(i)+" pipe:") {
			t.Errorf("descriptor %d is %q, want a pipe", i, l)
		}
	}
}
