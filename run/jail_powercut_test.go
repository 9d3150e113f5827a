package run_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// damage is what a power cut or a broken disk does to a file.
type damage struct {
	name string
	do   func(r *rand.Rand, data []byte) []byte // nil removes it
}

var damages = []damage{
	{"cut off", func(r *rand.Rand, data []byte) []byte { return data[:r.IntN(len(data))] }},
	{"empty", func(*rand.Rand, []byte) []byte { return []byte{} }},
	// Blocks that were allocated and never written.
	{"zeros to the end", func(r *rand.Rand, data []byte) []byte {
		clear(data[r.IntN(len(data)):])
		return data
	}},
	{"other bytes in the middle", func(r *rand.Rand, data []byte) []byte {
		at := r.IntN(len(data))
		for i := at; i < min(at+1+r.IntN(64), len(data)); i++ {
			data[i] = byte(r.Uint32())
		}
		return data
	}},
	{"a flipped bit", func(r *rand.Rand, data []byte) []byte {
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		return data
	}},
	{"gone", func(*rand.Rand, []byte) []byte { return nil }},
}

// TestSoakPowerCut damages each file of the state folder in turn. No command may fall
// over it, believe it, or be silent about it; and the next run works.
func TestSoakPowerCut(t *testing.T) {
	c := newCaller(t, "")
	c.write("file", "x\n")
	whole := c.must("sh", "-c", "echo changed >file; echo new >new; getent hosts nothing.example || true").status.RunID
	// Killed, with an upper layer on disk; and the machine is booted anew, so that its
	// runtime folder is gone.
	c.setProfile("workspace {\n upper = \"disk\"\n}\n")
	l := c.start(t, "sh", "-c", "echo x >file; echo ready; read line")
	l.expect("ready")
	jailed := below(t, l.cmd.Process.Pid)
	_ = l.cmd.Process.Kill()
	_ = l.cmd.Wait()
	waitGone(t, jailed)
	ids := c.runIDs()
	crashed := ids[slices.IndexFunc(ids, func(id string) bool { return id != whole })]
	for _, dir := range []string{"/run/agentjail/runs", filepath.Join(c.dir, "run/agentjail")} {
		if err := os.RemoveAll(filepath.Join(dir, crashed)); err != nil {
			t.Fatal(err)
		}
	}
	state := filepath.Join(c.home, ".local/state/agentjail")
	// What an overlay leaves can't be copied by an ordinary user (its work folder has
	// mode 000); each copy gets one of its own.
	upper := filepath.Join(state, "runs", crashed, "upper")
	if _, err := os.Lstat(upper); err != nil {
		t.Fatal(err)
	}
	openFolders(upper)
	if err := os.RemoveAll(upper); err != nil {
		t.Fatal(err)
	}
	files := stateFiles(t, state)
	if len(files) < 10 {
		t.Fatalf("the state folder holds %q", files)
	}
	c.setProfile("")
	p := powerCut{caller: c, whole: whole, crashed: crashed, template: state}
	const seed = 20240611
	random := rand.New(rand.NewPCG(seed, seed))
	for round := range soakCount(1, 20) {
		for _, file := range files {
			for _, d := range damages {
				p.try(t, random, file, d)
			}
		}
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// openFolders lets its owner into every folder of a tree.
func openFolders(dir string) {
	_ = os.Chmod(dir, 0o700)
	entries, _ := os.ReadDir(dir) // what can't be opened shows when it is removed
	for _, e := range entries {
		if e.IsDir() {
			openFolders(filepath.Join(dir, e.Name()))
		}
	}
}

// stateFiles lists what can be damaged, without what the agent itself made.
func stateFiles(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && e.Name() == "upper" {
			return fs.SkipDir
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			rel, _ := filepath.Rel(dir, path)
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

type powerCut struct {
	*caller
	whole, crashed string // runs
	template       string // the state folder as it was
}

// try damages one file in a copy of the state folder, and runs every command that
// reads it.
func (p powerCut) try(t *testing.T, random *rand.Rand, file string, d damage) {
	t.Helper()
	home := filepath.Join(p.dir, "copy")
	state := filepath.Join(home, "agentjail")
	if err := os.CopyFS(state, os.DirFS(p.template)); err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(state, "runs", p.crashed, "upper")
	if err := errors.Join(os.MkdirAll(filepath.Join(upper, "locked", "in"), 0o700), os.Chmod(filepath.Join(upper, "locked"), 0)); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	defer openFolders(upper)
	path := filepath.Join(state, file)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := d.do(random, bytes.Clone(was))
	if now == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, now, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	damaged := !bytes.Equal(was, now)
	run, name := p.whole, filepath.Base(file)
	if strings.Contains(file, p.crashed) {
		run = p.crashed
	}
	note := func(o *outcome, format string) {
		t.Errorf("%s of %s: %s\nexit code %d\nstdout: %s\nstderr: %s", d.name, file, format, o.code, clip(o.stdout), clip(o.stderr))
	}
	ask := func(args ...string) *outcome {
		t.Helper()
		o := p.agentjail(t, home, args...)
		if !slices.Contains([]int{0, 1, 2, 125}, o.code) || strings.Contains(o.stderr, "goroutine ") {
			note(o, strings.Join(args, " ")+" fell over")
		}
		for line := range strings.Lines(o.stderr) {
			if !strings.HasPrefix(line, "agentjail: ") {
				note(o, "a line that is not agentjail's own")
			}
		}
		return o
	}

	list := ask("runs", "--json")
	var rows []struct{ ID string }
	if err := json.Unmarshal([]byte(list.stdout), &rows); err != nil {
		note(list, "runs --json: "+err.Error())
	}
	listed := slices.ContainsFunc(rows, func(r struct{ ID string }) bool { return r.ID == run })
	if !listed && name == "run.json" && now != nil && !strings.Contains(list.stderr, run) {
		note(list, "the run is not listed, and nothing says why")
	}
	if !listed && name != "run.json" {
		note(list, "the run is not listed")
	}
	ask("logs", run)
	trail := filepath.Join(state, "runs", run, "audit.jsonl")
	if strings.HasSuffix(trail, "/"+file) && now != nil {
		ask("logs", "--json", trail)
	}
	verdict := ask("verify", trail)
	switch {
	case name == "audit.jsonl" && damaged && (verdict.code == 0 || verdict.stdout+verdict.stderr == ""):
		note(verdict, "a damaged trail is taken for whole")
	case name == "audit.head" && damaged && verdict.code == 0 && !sameHead(was, now):
		note(verdict, "a damaged head is taken for whole")
	case run == p.whole && !strings.HasPrefix(name, "audit.") && verdict.code != 0:
		note(verdict, "the trail is whole")
	}

	before := stateFiles(t, state)
	cleaned := ask("clean")
	if _, err := os.Lstat(upper); err == nil {
		note(cleaned, "the upper layer is left")
	}
	if after := stateFiles(t, state); !slices.Equal(before, after) {
		note(cleaned, "clean removed more than an upper layer")
	}
	if name == "binary.sha256" || random.IntN(16) == 0 {
		p.next(t, home)
	}
}

// sameHead says whether two heads say the same: white space, and the two fields that
// only tell a reader more, are no lie about the trail.
func sameHead(a, b []byte) bool {
	clean := func(data []byte) string {
		var m map[string]any
		if json.Unmarshal(data, &m) != nil {
			return string(data)
		}
		delete(m, "time")
		delete(m, "lost")
		out, _ := json.Marshal(m)
		return string(out)
	}
	return clean(a) == clean(b)
}

func (p powerCut) agentjail(t *testing.T, home string, args ...string) *outcome {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary(t), args...)
	cmd.Env, cmd.Dir = append(slices.Clone(p.env), "XDG_STATE_HOME="+home), p.workspace
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return &outcome{t: t, code: exitOf(t, err), stdout: stdout.String(), stderr: stderr.String()}
}

// next runs a jail on the damaged state folder: it works, and its trail has this
// binary's hash, whatever is kept of it.
func (p powerCut) next(t *testing.T, home string) {
	t.Helper()
	o := p.agentjail(t, home, "run", "--profile", p.profile, "--name", "next", "--", "true")
	o.wantCode(0)
	first, _, _ := strings.Cut(p.agentjail(t, home, "logs", "--json", "next").stdout, "\n")
	if !strings.Contains(first, binaryHash(t)) {
		t.Errorf("the trail's first event has not this binary's hash %s:\n%s", binaryHash(t), first)
	}
}

func binaryHash(t *testing.T) string {
	t.Helper()
	f, err := os.Open(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
