package run_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// The jail tests drive the built binary from outside, as a user would, and look at
// three things: what the program in the jail was answered, what became of the
// host's canaries, and what the trail says. They run as root and again as an
// ordinary user (see .ci/test); as which is not theirs to choose.

// builtBinary is the agentjail under test: AGENTJAIL_BIN, or built once.
var builtBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("AGENTJAIL_BIN"); path != "" {
		return filepath.Abs(path)
	}
	// Beside the test binary, in the folder that `go test` removes at its end.
	test, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(test), "agentjail-under-test", "agentjail")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-tags", "seccomp netgo osusergo runc_nocriu",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", path, "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func binary(t testing.TB) string {
	t.Helper()
	path, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// hangGuard ends what would otherwise hang the suite. No test depends on it.
var hangGuard = func() time.Duration {
	if os.Getenv("AGENTJAIL_VM") != "" {
		return 5 * time.Minute // an emulated processor, of a busy host
	}
	return 2 * time.Minute
}()

// soakGuard is that of one run in the long form.
const soakGuard = time.Hour

// caller is a user of agentjail with a home, a workspace and an environment of its
// own, so that a test neither sees nor leaves anything of the machine's user.
type caller struct {
	t         testing.TB
	dir       string // everything below is in it
	home      string
	workspace string
	profile   string // path
	env       []string
	extra     []*os.File // inherited by agentjail as descriptors 4 and up
	stdin     io.Reader
	cwd       string   // the workspace unless set
	flags     []string // of run, of what goes on in the background
	lacks     []string // of the host that runs are given, as withoutMain has them; root only
	program   string   // instead of the binary under test
}

func newCaller(t testing.TB, profile string) *caller {
	t.Helper()
	dir := t.TempDir()
	c := &caller{t: t, dir: dir, home: filepath.Join(dir, "home"), workspace: filepath.Join(dir, "work")}
	for _, d := range []string{c.home, c.workspace, filepath.Join(dir, "run")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.home, "LANG=C.UTF-8", "TERM=xterm", "TMPDIR=" + os.TempDir(),
		// Read by ordinary users only; root's runs are all under /run.
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "run")}
	// Where the test's user has a systemd of their own it gives the run its cgroup. Its bus
	// lies in the folder that is another one here.
	if bus := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); bus != "" {
		c.env = append(c.env, "DBUS_SESSION_BUS_ADDRESS="+bus)
	}
	c.setProfile(profile)
	return c
}

func (c *caller) setProfile(text string) {
	c.t.Helper()
	c.profile = filepath.Join(c.dir, "test.hcl")
	if err := os.WriteFile(c.profile, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// write puts a file into the workspace.
func (c *caller) write(name, content string) string {
	c.t.Helper()
	path := filepath.Join(c.workspace, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// runStatus is what --status-fd says.
type runStatus struct {
	RunID     string `json:"run_id"`
	ExitCode  int    `json:"exit_code"`
	Signal    string `json:"signal"`
	Reason    string `json:"reason"`
	Changes   int    `json:"changes"`
	Refused   int64  `json:"refused"`
	Audit     string `json:"audit"`
	State     string `json:"state"`
	Artifacts string `json:"artifacts"`
	Flagged   []struct {
		Path string
		Why  []string
	} `json:"flagged"`
	Unlooked int `json:"unlooked"`
	Limits   []struct{ Name, Text, Action string }
	Error    string `json:"error"`
}

// outcome is one finished run.
type outcome struct {
	t              testing.TB
	code           int
	stdout, stderr string
	status         runStatus // zero where the run did not come as far as its end
}

// command is `agentjail run` with the caller's profile and environment, not started.
func (c *caller) command(ctx context.Context, flags []string, argv ...string) *exec.Cmd {
	args := append([]string{"run", "--profile", c.profile}, flags...)
	program := c.program
	if program == "" {
		program = binary(c.t)
	}
	args = append([]string{program}, append(append(args, "--"), argv...)...)
	if len(c.lacks) > 0 {
		args = slices.Concat([]string{self(c.t), helperArg, "without"}, c.lacks, []string{"--"}, args)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if len(c.lacks) > 0 {
		// Go makes every mount of a namespace that it unshares private.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	cmd.Env, cmd.Dir, cmd.Stdin = c.env, c.workspace, c.stdin
	if c.cwd != "" {
		cmd.Dir = c.cwd
	}
	// A grandchild that keeps our pipes open must not keep Wait for ever.
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a command in the jail to its end.
func (c *caller) run(argv ...string) *outcome {
	c.t.Helper()
	return c.runWith(nil, argv...)
}

func (c *caller) runWith(flags []string, argv ...string) *outcome {
	c.t.Helper()
	guard := hangGuard
	if soakFor(c.t) > 0 {
		guard = soakGuard
	}
	ctx, cancel := context.WithTimeout(context.Background(), guard)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	cmd := c.command(ctx, append([]string{"--status-fd", "3"}, flags...), argv...)
	cmd.ExtraFiles = append([]*os.File{w}, c.extra...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	w.Close()
	if ctx.Err() != nil {
		c.t.Fatalf("agentjail run -- %q did not end within %v\nstderr: %s", argv, guard, stderr.String())
	}
	o := &outcome{t: c.t, stdout: stdout.String(), stderr: stderr.String(), code: exitOf(c.t, err)}
	data, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &o.status); err != nil {
			c.t.Fatalf("--status-fd wrote %q: %v", data, err)
		}
	}
	return o
}

// exitOf is a command's exit code as a shell gives it.
func exitOf(t testing.TB, err error) int {
	t.Helper()
	var ee *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		if ee.ExitCode() < 0 {
			return 128 // killed by a signal, never agentjail's own doing
		}
		return ee.ExitCode()
	}
	t.Fatal(err)
	return 0
}

// must runs a command whose failure makes the rest of the test meaningless.
func (c *caller) must(argv ...string) *outcome {
	c.t.Helper()
	o := c.run(argv...)
	o.wantCode(0)
	return o
}

func (o *outcome) wantCode(code int) {
	o.t.Helper()
	if o.code != code {
		o.t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.code, code, clip(o.stdout), clip(o.stderr))
	}
}

func clip(s string) string {
	if len(s) > 4000 {
		return s[:4000] + "..."
	}
	return s
}

// events reads the run's trail and fails where it is not whole and sealed.
func (o *outcome) events() []audit.Event {
	o.t.Helper()
	if o.status.Audit == "" {
		o.t.Fatalf("the run says no trail\nstderr: %s", o.stderr)
	}
	head, err := audit.ReadHead(audit.HeadPath(o.status.Audit))
	if err != nil {
		o.t.Fatal(err)
	}
	f, err := os.Open(o.status.Audit)
	if err != nil {
		o.t.Fatal(err)
	}
	defer f.Close()
	report, err := audit.Verifier{Head: head, RunID: o.status.RunID}.Verify(f)
	if err != nil || report.State != audit.Sealed {
		o.t.Errorf("the trail is %s: %s %v", report.State, report.Reason, err)
	}
	return readEvents(o.t, o.status.Audit)
}

func readEvents(t testing.TB, path string) []audit.Event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var events []audit.Event
	for e, err := range audit.Read(f) {
		if err != nil {
			t.Errorf("%s: %v", path, err)
			break
		}
		events = append(events, e)
	}
	return events
}

// wantEvent fails unless an event of the trail satisfies pred.
func wantEvent(t testing.TB, events []audit.Event, what string, pred func(audit.View, audit.Event) bool) {
	t.Helper()
	for _, e := range events {
		if pred(e.View(), e) {
			return
		}
	}
	var b strings.Builder
	for _, e := range events {
		if err := audit.Render(&b, e, audit.Style{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("the trail has no record of %s:\n%s", what, clip(b.String()))
}

// canary is a host's file that must be the same after a run.
type canary struct {
	path, content string
	info          os.FileInfo
}

func newCanary(t testing.TB, path, content string) canary {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return canary{path, content, info}
}

func (c canary) check(t testing.TB) {
	t.Helper()
	data, err := os.ReadFile(c.path)
	if err != nil || string(data) != c.content {
		t.Errorf("the host's %s was changed: %q %v", c.path, data, err)
		return
	}
	info, err := os.Lstat(c.path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != c.info.Mode() || !info.ModTime().Equal(c.info.ModTime()) || !os.SameFile(info, c.info) {
		t.Errorf("the host's %s has other attributes: %v %v, were %v %v", c.path, info.Mode(), info.ModTime(), c.info.Mode(), c.info.ModTime())
	}
}

// needTool skips where the host lacks a program, and names it.
func needTool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("the host lacks %s", name)
	}
	return path
}

// self is the path of this test binary, which is also the program that attacks
// from inside the jail (see jail_helper_test.go).
func self(t testing.TB) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
