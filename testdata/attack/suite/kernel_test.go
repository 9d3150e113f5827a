package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// The kernel tests run the built programs, as root and as an ordinary user (see
// .ci/test, which names them in the environment). Without that they are built, once.

// program gives a built program: AGENTJAIL_BIN and the like, or one that `go build`
// makes beside this test.
func program(t *testing.T, variable, name, cgo string, build ...string) string {
	t.Helper()
	if path := os.Getenv(variable); path != "" {
		return path
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("the host lacks Go to build %s with, and %s does not name it", name, variable)
	}
	built.Lock()
	defer built.Unlock()
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(test), "under-test", name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	args := append([]string{"build", "-buildvcs=false", "-trimpath", "-o", path}, build...)
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, out)
	}
	return path
}

var built sync.Mutex

const buildTags = "seccomp netgo osusergo runc_nocriu urfave_cli_no_docs"

func agentjail(t *testing.T) string {
	return program(t, "AGENTJAIL_BIN", "agentjail", "1", "-tags", buildTags, "-ldflags", "-s -w -linkmode external -extldflags -static", ".")
}

func attackProgram(t *testing.T) string {
	return program(t, "AGENTJAIL_ATTACK", "agentjail-attack", "0", "./testdata/attack")
}

// perform runs `agentjail attack` with a home of its own, and gives its report.
func perform(t *testing.T, agentjail string, env []string, args ...string) (Report, int) {
	t.Helper()
	cmd := exec.Command(agentjail, append([]string{"attack", "--program", attackProgram(t), "--json"}, args...)...)
	cmd.Dir = t.TempDir()
	// A jail's own user of the host may pass, so that a folder's mode is not what stops it.
	for _, dir := range []string{filepath.Dir(cmd.Dir), cmd.Dir} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Join(cmd.Dir, "home")
	if err := os.MkdirAll(filepath.Join(home, ".ssh"), 0o755); err != nil {
		t.Fatal(err)
	}
	runtime := filepath.Join(cmd.Dir, "run")
	if err := os.Mkdir(runtime, 0o700); err != nil {
		t.Fatal(err)
	}
	temporary := filepath.Join(cmd.Dir, "tmp")
	if err := os.Mkdir(temporary, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + runtime, "TMPDIR=" + temporary, "LANG=C.UTF-8"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && (!errors.As(err, &ee) || ee.ExitCode() != ExitEscape) {
		t.Fatalf("agentjail attack %q: %v\n%s", args, err, stderr.String())
	}
	var r Report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %q\n%s", err, stdout.String(), stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "*")); err != nil || len(left) > 0 {
		t.Errorf("the suite left %q %v", left, err)
	}
	return r, cmd.ProcessState.ExitCode()
}

// TestAttack: nothing escapes from the strict profile, and what counts most was
// meaningful here.
func TestAttack(t *testing.T) {
	r, code := perform(t, agentjail(t), nil)
	for _, x := range r.Results {
		t.Run(fmt.Sprintf("%s%d/%s", x.Group, x.Line, x.Attack), func(t *testing.T) {
			switch {
			case x.Verdict.Failed():
				t.Errorf("%s: %s (answer %q): %s", x.What, x.Verdict, x.Answer, x.Why)
			case x.Verdict == Moot:
				t.Skipf("not meaningful here: %s", x.Why)
			}
		})
	}
	if want := 0; code != want {
		t.Errorf("exit code %d, want %d", code, want)
	}
	if want := len(attacks.All()) + len(scenarios()); len(r.Results) < want {
		t.Errorf("%d results of %d attacks", len(r.Results), want)
	}
	// Attacks that are meaningful on every host on which agentjail runs. One of them that
	// is not shows a suite that has gone blind.
	for _, id := range []string{"key-direct", "beside-write", "workspace-write", "readonly-write", "denied-direct", "descriptor-inherited", "pid1-environ", "signal-host", "environment",
		"unshare-user", "int80", "af-packet-high", "tiocsti-high", "threads", "abstract-socket", "socket-outside", "shared-memory", "exec-recorded", "mount-swap",
		"metadata-aws", "private-another", "udp-dns", "dns-refused", "rebind-private", "sni-other", "host-other", "smuggle-te-cl", "path-refused",
		"secret-environment", "secret-other-host", "secret-echo-chunk", "secret-redirect", "pid-namespace-init", "trail-injection", "hand-git", "hand-shell", "direct-names", "direct-folders", "hand-kinds", "hand-conflict",
		"rule-name-case", "rule-name-idna", "rule-address", "denied-host-symlink", "program-copy", "program-memory", "ceiling-files", "ceiling-network", "seed-copy", "seed-links", "seed-denied", "seed-credentials"} {
		if !slices.ContainsFunc(r.Results, func(x Result) bool {
			return x.Attack == id && (x.Verdict == Stopped || x.Attack == "int80" && x.Verdict == Moot)
		}) {
			t.Errorf("%s was not stopped here", id)
		}
	}
}

// TestAttackProfiles: profiles that give more are attacked with what they give.
func TestAttackProfiles(t *testing.T) {
	find := func(r Report, id string) Result {
		i := slices.IndexFunc(r.Results, func(x Result) bool { return x.Attack == id })
		if i < 0 {
			t.Fatalf("there is no result of %s", id)
		}
		return r.Results[i]
	}
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "given.hcl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("a profile that opens a call", func(t *testing.T) {
		r, _ := perform(t, agentjail(t), nil, "--profile", write(`syscalls { allow = ["@ptrace"] }`), "--attack", "ptrace", "--attack", "keyctl")
		if x := find(r, "ptrace"); x.Verdict != Moot || !strings.Contains(x.Why, "opens ptrace") {
			t.Errorf("%+v", x)
		}
		if x := find(r, "keyctl"); x.Verdict == Escaped {
			t.Errorf("%+v", x)
		}
	})
	t.Run("a profile that gives everything in the suite's reach", func(t *testing.T) {
		dir := t.TempDir()
		r, code := perform(t, agentjail(t), []string{"TMPDIR=" + dir}, "--profile", write(fmt.Sprintf("files { write = [%q] }\n", dir)), "--attack", "key-direct", "--attack", "beside-write")
		for _, id := range []string{"key-direct", "beside-write"} {
			if x := find(r, id); x.Verdict != Escaped || code != ExitEscape {
				t.Errorf("exit code %d, %+v", code, x)
			}
		}
	})
	t.Run("a workspace of the host's own", func(t *testing.T) {
		r, code := perform(t, agentjail(t), nil, "--profile", write(`workspace { mode = "direct" }`), "--attack", "workspace-write", "--attack", "beside-write")
		if x := find(r, "workspace-write"); x.Verdict != Moot {
			t.Errorf("%+v", x)
		}
		if x := find(r, "beside-write"); x.Verdict != Stopped || code != 0 {
			t.Errorf("%+v", x)
		}
	})
	t.Run("offline", func(t *testing.T) {
		r, _ := perform(t, agentjail(t), nil, "--profile", "offline", "--attack", "path-refused", "--attack", "secret-other-host", "--attack", "dns-refused", "--attack", "secret-echo-body")
		for _, x := range r.Results {
			if x.Verdict != Stopped {
				t.Errorf("%+v", x)
			}
		}
	})
	// What a profile can give away: files, variables, hosts and credentials. One with a
	// key of its own, one with several that may be missing, one that puts keys into
	// everything, one with a wildcard.
	for _, name := range []string{"claude-code", "opencode", "git", "node"} {
		t.Run(name, func(t *testing.T) {
			r, code := perform(t, agentjail(t), []string{"ANTHROPIC_API_KEY=sk-ant-api03-abcdefghijklmnopqrstuvwxyz", "GITHUB_TOKEN=ghp_abcdefghijklmnopqrstuvwxyz0123456789"}, "--profile", name,
				"--attack", "key-direct", "--attack", "beside-write", "--attack", "environment", "--attack", "dns-refused", "--attack", "private-another",
				"--attack", "path-refused", "--attack", "secret-environment", "--attack", "secret-other-host", "--attack", "secret-echo-body")
			if code != 0 || len(r.Results) < 9 {
				t.Errorf("exit code %d, %d results", code, len(r.Results))
			}
			for _, x := range r.Results {
				if x.Verdict != Stopped {
					t.Errorf("%+v", x)
				}
			}
		})
	}
}
