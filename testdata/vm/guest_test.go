// Package vm holds what `make vmtest` tests in its virtual machine beside the kernel
// tests of the other packages: what differs on Debian 12's kernel, and what only a
// machine with systemd gives, as root, in a user's own service and in a login.
// It never runs anywhere else: without AGENTJAIL_VM each test says so and skips.
package vm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// guest is a caller of agentjail with a workspace.
type guest struct {
	t    *testing.T
	work string
	env  []string
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	if os.Getenv("AGENTJAIL_VM") == "" {
		t.Skip("the host lacks the virtual machine of make vmtest")
	}
	g := &guest{t: t, work: filepath.Join(t.TempDir(), "work"), env: os.Environ()}
	g.tree(g.work)
	return g
}

// tree makes a workspace that gives an overlay something to do.
func (g *guest) tree(dir string) {
	g.t.Helper()
	for name, content := range map[string]string{"file": "old\n", "sub/deep/file": "deep\n", "other/file": "other\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			g.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			g.t.Fatal(err)
		}
	}
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

func (g *guest) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Getenv("AGENTJAIL_BIN"), args...)
	cmd.Dir, cmd.Env = g.work, g.env
	return cmd
}

func (g *guest) agentjail(args ...string) result {
	g.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := g.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		g.t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// profile is the path of a profile that adds text to the default one.
func (g *guest) profile(text string) string {
	g.t.Helper()
	path := filepath.Join(filepath.Dir(g.work), "test.hcl")
	if err := os.WriteFile(path, []byte("extends = [\"default\"]\n"+text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return path
}

func (g *guest) want(r result, code int) {
	g.t.Helper()
	if r.code != code {
		g.t.Fatalf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.stdout, r.stderr)
	}
}

// noUserAttributes is a new folder on a tmpfs, which has no user.* attributes before
// Linux 6.6.
func (g *guest) noUserAttributes() string {
	g.t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "agentjail-test-")
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The machine is the one that it is meant to be: else all the rest shows nothing.
func TestMachine(t *testing.T) {
	g := newGuest(t)
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	if release := unix.ByteSliceToString(uts.Release[:]); !strings.HasPrefix(release, "6.1.") {
		t.Errorf("the kernel is %s, not Debian 12's", release)
	}
	if abi, err := ll.LandlockGetABIVersion(); err != nil || abi != 2 {
		t.Errorf("Landlock's ABI is %d (%v), want 2", abi, err)
	}
	if err := unix.Setxattr(g.noUserAttributes(), "user.test", []byte("y"), 0); err != unix.EOPNOTSUPP {
		t.Errorf("user.* attributes on tmpfs answer %v, want EOPNOTSUPP", err)
	}
	if name, err := os.ReadFile("/proc/1/comm"); err != nil || string(name) != "systemd\n" {
		t.Errorf("pid 1 is %q (%v)", name, err)
	}
	cgroup, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.HasPrefix(string(cgroup), "0::/") {
		t.Errorf("cgroups are not v2 alone: %q (%v)", cgroup, err)
	}
	if os.Getuid() != 0 && !strings.Contains(string(cgroup), "/user.slice/") {
		t.Errorf("the user's processes are in no session: %q", cgroup)
	}
}

type diagnosis struct {
	Runs    bool   `json:"default_run"`
	Refusal string `json:"refusal"`
	Layers  []struct{ Name, State, Detail string }
}

func (g *guest) doctor() (int, diagnosis) {
	g.t.Helper()
	r := g.agentjail("doctor", "--json")
	var d diagnosis
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil {
		g.t.Fatalf("doctor said %q\n%s", r.stdout, r.stderr)
	}
	return r.code, d
}

// Doctor finds every layer, and the two that this kernel has in part.
func TestDoctor(t *testing.T) {
	g := newGuest(t)
	code, d := g.doctor()
	if code != 0 || !d.Runs {
		t.Errorf("exit code %d, %s", code, d.Refusal)
	}
	for _, l := range d.Layers {
		want := "works"
		if l.Name == "landlock" || l.Name == "overlay" {
			want = "degraded"
		}
		if l.State != want {
			t.Errorf("%s is %s, want %s: %s", l.Name, l.State, want, l.Detail)
		}
	}
}

// The upper layer lies on disk here; removing and replacing folders of the lower one
// is what an overlay on the wrong file system fails at.
func TestOverlayOnDisk(t *testing.T) {
	g := newGuest(t)
	out := filepath.Join(filepath.Dir(g.work), "out")
	g.want(g.agentjail("run", "--artifacts", out, "--", "sh", "-ec",
		"rm -r sub; mkdir sub; echo new >sub/new; mv other moved; echo more >>file; chmod 600 file; ls -R >/dev/null"), 0)
	data, err := os.ReadFile(filepath.Join(out, "changes.json"))
	if err != nil {
		t.Fatal(err)
	}
	var changes struct {
		Complete bool
		Changes  []struct{ Path, Op string }
	}
	if err := json.Unmarshal(data, &changes); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes.Changes {
		got = append(got, c.Op+" "+c.Path)
	}
	want := []string{"modified file", "created moved", "created moved/file", "deleted other", "deleted other/file",
		"deleted sub/deep", "deleted sub/deep/file", "created sub/new"}
	if !changes.Complete || !slices.Equal(got, want) {
		t.Errorf("complete %v, changes\n%q, want\n%q", changes.Complete, got, want)
	}
	if data, err := os.ReadFile(filepath.Join(g.work, "sub", "deep", "file")); err != nil || string(data) != "deep\n" {
		t.Errorf("the host's file holds %q %v", data, err)
	}
}

// A state folder that can't hold the upper layer is found before the agent is.
func TestStateFolderWithoutAttributes(t *testing.T) {
	g := newGuest(t)
	g.env = append(g.env, "XDG_STATE_HOME="+g.noUserAttributes())
	r := g.agentjail("run", "--", "echo", "the agent ran")
	if r.code != 125 || r.stdout != "" || !strings.Contains(r.stderr, "overlay on disk") || !strings.Contains(r.stderr, "XDG_STATE_HOME") {
		t.Errorf("exit code %d, stdout %q\n%s", r.code, r.stdout, r.stderr)
	}
	if code, d := g.doctor(); code != 1 || d.Runs || !strings.Contains(d.Refusal, "overlay on disk") {
		t.Errorf("doctor: exit code %d, %+v", code, d)
	}
}

// tmpfs can't be idmapped before Linux 6.3, which only root's runs need.
func TestWorkspaceOnTmpfs(t *testing.T) {
	g := newGuest(t)
	g.work = filepath.Join(g.noUserAttributes(), "work")
	g.tree(g.work)
	r := g.agentjail("run", "--", "sh", "-ec", "rm -r sub; mkdir sub; cat file")
	if os.Getuid() != 0 {
		g.want(r, 0)
		return
	}
	if r.code != 125 || !strings.Contains(r.stderr, "idmapped mount") || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
}

// cgroups are those of our runs that there are: agentjail-ID as root, and
// agentjail-ID.scope of a user's systemd.
func cgroups(t *testing.T) []string {
	t.Helper()
	ours := regexp.MustCompile(`^agentjail-\d{8}-`)
	var found []string
	// A cgroup may go while it is walked over.
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && ours.MatchString(e.Name()) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// wait waits for what another process does in its own time; a hang ends the suite.
func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 600 {
		if done() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("waited a minute for: %s", what)
}

// Limits hold as root, and as a user through systemd's delegation.
func TestLimits(t *testing.T) {
	const python = "/usr/bin/python3"
	for _, tt := range []struct {
		name, limit string
		argv        []string
		good        func(r result) bool
	}{
		{"memory", `memory = "64MiB"`, []string{python, "-c", "x = bytearray(200 << 20); print('beyond')"},
			func(r result) bool { return r.code == 137 && r.stdout == "" }},
		{"memory, within", `memory = "64MiB"`, []string{python, "-c", "x = bytearray(20 << 20); print('within')"},
			func(r result) bool { return r.code == 0 && r.stdout == "within\n" }},
		{"processes", "processes = 20", []string{"sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 60 & done; echo beyond"},
			func(r result) bool { return r.code == 2 && r.stdout == "" }},
		{"processes, within", "processes = 20", []string{"sh", "-c", "for i in 1 2 3; do sleep 1 & done; wait; echo within"},
			func(r result) bool { return r.code == 0 && r.stdout == "within\n" }},
		// Twice as much as it may have would be within the measurement's error.
		{"cpus", "cpus = 0.25", []string{python, "-c", "import time\nend = time.time() + 4\nbegun = time.process_time()\nwhile time.time() < end: pass\nprint(time.process_time() - begun < 2)"},
			func(r result) bool { return r.code == 0 && r.stdout == "True\n" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuest(t)
			profile := g.profile("limits {\n  " + tt.limit + "\n  enforce = \"strict\"\n}\n")
			r := g.agentjail(append([]string{"run", "-p", profile, "--"}, tt.argv...)...)
			if !tt.good(r) {
				t.Errorf("exit code %d, stdout %q\n%s", r.code, r.stdout, r.stderr)
			}
			// systemd removes a scope in its own time.
			wait(t, "the end of the run's cgroup", func() bool { return len(cgroups(t)) == 0 })
		})
	}
}

// The trail's first event says what this kernel is too old for.
func TestTrailNamesWhatIsMissing(t *testing.T) {
	g := newGuest(t)
	g.want(g.agentjail("run", "--name", "trail", "--", "true"), 0)
	r := g.agentjail("logs", "--json", "trail")
	g.want(r, 0)
	first, _, _ := strings.Cut(r.stdout, "\n")
	for _, text := range []string{`"degraded"`, "this kernel is too old for: truncate (Linux 6.2)", "overlay disk"} {
		if !strings.Contains(first, text) {
			t.Errorf("the first event does not say %q:\n%s", text, first)
		}
	}
	g.want(g.agentjail("verify", "trail"), 0)
}

// After SIGKILL to the supervisor the jail is gone, and clean removes the upper layer
// on disk and the cgroup.
func TestSupervisorKilled(t *testing.T) {
	g := newGuest(t)
	state := filepath.Join(filepath.Dir(g.work), "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	g.env = append(g.env, "XDG_STATE_HOME="+state)
	cmd := g.command("run", "-p", g.profile("limits { memory = \"64MiB\" }\n"), "--", "sh", "-c", "echo x >new; echo started; exec sleep 4711")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, len("started\n"))
	if n, err := stdout.Read(line); string(line[:n]) != "started\n" {
		t.Fatalf("the agent said %q %v", line[:n], err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	wait(t, "the agent's end", func() bool { return exec.Command("pgrep", "-f", "^sleep 4711$").Run() != nil })
	r := g.agentjail("clean")
	g.want(r, 0)
	if !strings.Contains(r.stdout, "removed ") {
		t.Errorf("clean said %q", r.stdout)
	}
	left, err := filepath.Glob(filepath.Join(state, "agentjail", "runs", "*", "upper"))
	if err != nil || len(left) > 0 {
		t.Errorf("upper layers are left: %q %v", left, err)
	}
	wait(t, "the end of the run's cgroup", func() bool { return len(cgroups(t)) == 0 })
}

// The demo's hostile script gets nothing, here either.
func TestDemo(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "testdata", "demo"), os.DirFS(filepath.Join(here, "..", "demo"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(os.Getenv("AGENTJAIL_BIN"), filepath.Join(dir, "agentjail")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "testdata/demo/run.sh")
	cmd.Dir, cmd.Env = dir, g.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
