package run_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// mutatedBinary is AGENTJAIL_MUTATE_BIN, or is built once.
var mutatedBinary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("AGENTJAIL_MUTATE_BIN"); path != "" {
		return filepath.Abs(path)
	}
	test, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(test), "agentjail-under-test", "agentjail-mutate")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-tags", "seccomp netgo osusergo runc_nocriu mutate",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", path, "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// without has the caller's runs lack layers (package mutate).
func (c *caller) without(layers string) {
	c.t.Helper()
	path, err := mutatedBinary()
	if err != nil {
		c.t.Fatal(err)
	}
	c.program, c.env = path, append(c.env, "AGENTJAIL_MUTATE="+layers)
}

// trail is that of the caller's only run.
func (c *caller) trail() string {
	return filepath.Join(c.home, ".local/state/agentjail/runs", c.runIDs()[0], "audit.jsonl")
}

// found are the paths of a workspace whose names end in a suffix.
func (c *caller) found(suffix string) (names []string) {
	c.t.Helper()
	err := filepath.WalkDir(c.workspace, func(path string, e fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, suffix) {
			rel, _ := filepath.Rel(c.workspace, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return names
}

// named runs the helper that gives names in a workspace that is made for it, and gives its
// answers; the run goes on.
func named(t *testing.T, c *caller) (*live, map[string][2]string) {
	t.Helper()
	c.setProfile(direct("files { exec = [\"" + self(t) + "\"] }\n"))
	c.write("sub/x", "x\n")
	c.write("there.mk", "x\n")
	c.write("there.ok", "x\n")
	if err := os.Symlink(".", filepath.Join(c.workspace, "here")); err != nil {
		t.Fatal(err)
	}
	l := c.start(t, self(t), helperArg, "names")
	l.expect("tried")
	text, _, _ := strings.Cut(string(l.read), "\n")
	var answers map[string][2]string
	if err := json.Unmarshal([]byte(text), &answers); err != nil || len(answers) < 30 {
		t.Fatalf("the helper said %q: %v", text, err)
	}
	return l, answers
}

// TestJailDirectNames: a name that the gate protects can't be given, by any call and
// whatever way leads to it, so that the host never has it; every other can.
func TestJailDirectNames(t *testing.T) {
	c := newCaller(t, "")
	l, answers := named(t, c)
	for way, got := range answers {
		if want := [2]string{"EPERM", "done"}; got != want {
			t.Errorf("%s: %q, want %q", way, got, want)
		}
	}
	// While the run goes on.
	if got := c.found(".mk"); !slices.Equal(got, []string{"there.mk"}) {
		t.Errorf("on the host during the run: %q", got)
	}
	if got := c.found(".ok"); len(got) < len(answers) {
		t.Errorf("of %d ordinary names the host has %q", len(answers), got)
	}
	if code := l.end(); code != 0 {
		t.Fatalf("exit code %d: %s", code, &l.stderr)
	}
	if i, err := os.ReadFile(filepath.Join(filepath.Dir(c.trail()), "run.json")); err != nil || !strings.Contains(string(i), fmt.Sprintf("\"refused\": %d,", len(answers))) {
		t.Errorf("of %d refusals the run says: %s %v", len(answers), i, err)
	}
	events := readEvents(t, c.trail())
	for way := range answers {
		name := way + ".mk"
		switch way {
		case "openat-dirfd", "mkdirat-slash", "renameat", "proc-fd", "openat2-in-root":
			name = "sub/" + name
		case "exchange":
			name = "from-exchange.mk.x"
		}
		if way == "exchange" {
			continue // which of its two names is refused first is nobody's business
		}
		wantEvent(t, events, name, func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && v.Verdict == "blocked" && v.Target == "refused in the host's own folder: "+name
		})
	}
}

// TestJailDirectNamesUnasked: with nobody asked, all of them are made, are on the host
// meanwhile and are taken out at the end. So the test above can fail.
func TestJailDirectNamesUnasked(t *testing.T) {
	c := newCaller(t, "")
	c.without("naming")
	l, answers := named(t, c)
	for way, got := range answers {
		want := [2]string{"done", "done"}
		if way == "exchange" { // with a mount point
			want[0] = "EBUSY"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", way, got, want)
		}
	}
	if got := c.found(".mk"); len(got) < len(answers) {
		t.Errorf("on the host during the run: %q", got)
	}
	if code := l.end(); code != 0 {
		t.Fatalf("exit code %d: %s", code, &l.stderr)
	}
	if got := c.found(".mk"); !slices.Equal(got, []string{"there.mk"}) {
		t.Errorf("on the host after the run: %q", got)
	}
}

// TestJailDirectEarly: the folders that something on the host reads by itself can't be made
// by anybody in the jail, whoever wins a race; what else is won is taken out at the end.
func TestJailDirectEarly(t *testing.T) {
	c := newCaller(t, direct("files { exec = [\""+self(t)+"\"] }\n"))
	at := filepath.Join(c.workspace, ".vscode")
	l := c.start(t, self(t), helperArg, "namesrace")
	l.expect("tried")
	if !strings.Contains(string(l.read), "inside 0\n") {
		t.Errorf("the agent says %q", l.read)
	}
	if names, err := os.ReadDir(at); err != nil || len(names) > 0 {
		t.Errorf(".vscode on the host during the run: %v %v", names, err)
	}
	won := strings.Contains(string(l.read), "won true")
	if _, err := os.Lstat(filepath.Join(c.workspace, "race.mk")); won != (err == nil) {
		t.Errorf("race.mk during the run: %v; the agent says %q", err, l.read)
	}
	if code := l.end(); code != 0 {
		t.Fatalf("exit code %d: %s", code, &l.stderr)
	}
	for _, name := range []string{"race.mk", ".vscode", "gone", ".claude"} {
		if _, err := os.Lstat(filepath.Join(c.workspace, name)); !os.IsNotExist(err) {
			t.Errorf("%s is on the host after the run: %v", name, err)
		}
	}
	if won {
		wantEvent(t, readEvents(t, c.trail()), "what was made all the same", func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && v.Target == "made by the agent in the host's own folder: race.mk"
		})
	}
	t.Logf("the race for race.mk was won: %v", won)
}

// TestJailDirectEarlyAlone: they hold where nobody is asked, and without them nobody but
// who is asked does.
func TestJailDirectEarlyAlone(t *testing.T) {
	const script = `exec 2>/dev/null; mkdir .zed && echo made; echo x >.vscode/x && echo wrote; mv .idea gone && echo moved; rmdir .claude && echo removed; true`
	for layers, want := range map[string]string{"naming": "", "early": "", "naming,early": "made\n"} {
		c := newCaller(t, direct(""))
		c.without(layers)
		o := c.must("sh", "-c", script)
		if o.stdout != want {
			t.Errorf("without %s the agent could: %q, want %q", layers, o.stdout, want)
		}
		if names, err := os.ReadDir(c.workspace); err != nil || len(names) > 0 {
			t.Errorf("without %s the workspace has afterwards: %v %v", layers, names, err)
		}
	}
}

// TestJailDirectEarlyProfile: what the profile allows has no such folder; what is there
// stays as it is, and what the host puts into one stays too.
func TestJailDirectEarlyProfile(t *testing.T) {
	c := newCaller(t, direct("apply {\n allow \".zed/**\" { reason = \"x\" }\n}\n"))
	c.write(".idea/x", "x\n")
	l := c.start(t, "sh", "-c", "mkdir .zed && echo x >.zed/x; echo ready; read line; true")
	l.expect("ready")
	for name, want := range map[string]string{".idea": "x", ".zed": "x", ".vscode": ""} {
		entries, err := os.ReadDir(filepath.Join(c.workspace, name))
		got := ""
		for _, e := range entries {
			got += e.Name()
		}
		if err != nil || got != want {
			t.Errorf("%s during the run: %q %v", name, got, err)
		}
	}
	// It has the workspace's owner.
	var a, b unix.Stat_t
	if err := unix.Stat(c.workspace, &a); err != nil {
		t.Fatal(err)
	}
	if err := unix.Stat(filepath.Join(c.workspace, ".vscode"), &b); err != nil || a.Uid != b.Uid || a.Gid != b.Gid {
		t.Errorf("owners %d:%d and %d:%d, %v", a.Uid, a.Gid, b.Uid, b.Gid, err)
	}
	c.write(".vscode/settings.json", "{}\n")
	if code := l.end(); code != 0 {
		t.Fatalf("exit code %d: %s", code, &l.stderr)
	}
	var got []string
	entries, err := os.ReadDir(c.workspace)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if want := []string{".idea", ".vscode", ".zed"}; !slices.Equal(got, want) {
		t.Errorf("the workspace has %q afterwards, want %q", got, want)
	}
	if data, err := os.ReadFile(filepath.Join(c.workspace, ".vscode/settings.json")); err != nil || string(data) != "{}\n" {
		t.Errorf("what the host made: %q %v", data, err)
	}
}

// TestJailDirectEarlyCrash: the folders of a run that was killed go with the next one, or
// with clean; what is not empty stays.
func TestJailDirectEarlyCrash(t *testing.T) {
	for _, how := range []string{"run", "clean"} {
		c := newCaller(t, direct(""))
		l := c.start(t, "sh", "-c", "echo ready; read line")
		l.expect("ready")
		c.write(".claude/mine", "x\n")
		jailed := below(t, l.cmd.Process.Pid)
		_ = l.cmd.Process.Kill()
		_ = l.cmd.Wait()
		waitGone(t, jailed)
		if _, err := os.Lstat(filepath.Join(c.workspace, ".vscode")); err != nil && os.Getuid() != 0 {
			t.Fatalf("after the kill: %v", err)
		}
		// Root's runs are all in one place, where any other run may have cleared up already.
		alone := os.Getuid() != 0
		text, err := c.agentjail(t.Context(), "clean", "--dry-run").CombinedOutput()
		if err != nil || alone && !strings.Contains(string(text), "would remove "+c.workspace+"/.vscode\n") || strings.Contains(string(text), "/.claude\n") {
			t.Errorf("clean --dry-run: %v: %s", err, text)
		}
		if how == "run" {
			c.setProfile("workspace { mode = \"readonly\" }")
			c.must("true")
		} else if text, err := c.agentjail(t.Context(), "clean").CombinedOutput(); err != nil || alone && !strings.Contains(string(text), "removed "+c.workspace+"/.vscode\n") {
			t.Errorf("clean: %v: %s", err, text)
		}
		var got []string
		entries, err := os.ReadDir(c.workspace)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if want := []string{".claude"}; !slices.Equal(got, want) {
			t.Errorf("after %s the workspace has %q, want %q", how, got, want)
		}
		c.wantNothingLeft()
	}
}

// TestJailDirectEarlyKills: whenever it was killed, nothing of a run stays in the workspace
// once there was another.
func TestJailDirectEarlyKills(t *testing.T) {
	c := newCaller(t, direct(""))
	began := time.Now()
	c.must("true")
	span := time.Since(began)
	const times = 24
	half := 0
	for i := range times {
		cmd := c.command(t.Context(), nil, "sh", "-c", "sleep 600")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(span * time.Duration(i) / times)
		_ = cmd.Process.Signal(unix.SIGSTOP) // so that what is below it can be listed
		jailed := below(t, cmd.Process.Pid)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		waitGone(t, slices.DeleteFunc(slices.Clone(jailed), process.starting)) // those wait for clean
		if names, err := os.ReadDir(c.workspace); err != nil {
			t.Fatal(err)
		} else if len(names) > 0 {
			half++
		}
		if text, err := c.agentjail(t.Context(), "clean").CombinedOutput(); err != nil {
			t.Errorf("clean: %v: %s", err, text)
		}
		if names, err := os.ReadDir(c.workspace); err != nil || len(names) > 0 {
			t.Errorf("killed after %v, the workspace has %v (%v)", span*time.Duration(i)/times, names, err)
		}
	}
	if half == 0 {
		t.Error("it was never killed while the folders were there")
	}
	t.Logf("in %d of %d runs there were some", half, times)
}

// TestJailDirectWork: what people do in a workspace still works.
func TestJailDirectWork(t *testing.T) {
	c := newCaller(t, direct("apply {\n allow \".git/**\" { reason = \"x\" }\n allow \"node_modules/**\" { reason = \"x\" }\n allow \"venv/**\" { reason = \"x\" }\n}\n"))
	git := needTool(t, "git")
	for _, args := range [][]string{{"init", "-q"}, {"config", "user.name", "x"}, {"config", "user.email", "x@example.org"}} {
		cmd := exec.Command(git, args...)
		cmd.Dir, cmd.Env = c.workspace, c.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	c.write("Makefile", "all: out/x.o\nout/x.o: x.c\n\tmkdir -p out; cp x.c out/x.o\n")
	c.write("x.c", "int x;\n")
	o := c.must("sh", "-c", `set -e
git status --short
git add -A; git commit -qm first; git checkout -qb other; echo more >>x.c; git commit -qam second; git checkout -q -; git merge -q other; git gc -q; git stash list; git log --oneline | wc -l
command -v make >/dev/null && make -s || { mkdir out; cp x.c out/x.o; }
mkdir -p node_modules/.a-x/bin node_modules/@s/b; echo '{}' >node_modules/.a-x/package.json; mv node_modules/.a-x node_modules/a; ln -s ../a/package.json node_modules/@s/b/package.json
mkdir -p venv/bin venv/lib; echo x >venv/bin/activate; ln -s /usr/bin/python3 venv/bin/python3; echo x >venv/pyvenv.cfg
mkdir -p src/a; echo x >src/a/tmp.1; mv src/a/tmp.1 src/a/x; mv src/a src/b; ln src/b/x src/b/y; ln -s b src/c; echo y >src/c/z; mkfifo src/p; rm -r src/b/x; cp -r src/b src/d
echo x >/tmp/Makefile; mkdir ~/.vscode; cat </dev/null >/dev/null`)
	if want := "?? Makefile\n?? x.c\n2\n"; o.stdout != want {
		t.Errorf("it said %q, want %q\n%s", o.stdout, want, o.stderr)
	}
	for _, name := range []string{"out/x.o", "node_modules/a/package.json", "venv/bin/activate", "venv/pyvenv.cfg", "src/d/z"} {
		if _, err := os.Lstat(filepath.Join(c.workspace, name)); err != nil {
			t.Error(err)
		}
	}
	for _, e := range o.events() {
		if v := e.View(); v.Kind == "finding" && v.Verdict == "blocked" {
			t.Errorf("ordinary work was refused: %s", e.Raw)
		}
	}
}
