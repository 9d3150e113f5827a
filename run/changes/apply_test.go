package changes

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// left is what a run left, as it is read back from its state folder.
type left struct {
	list *List
	data *bytes.Reader
}

func readLeft(t *testing.T, upper, lower string) left {
	t.Helper()
	f := openDir(t, upper)
	l, err := Read(f, lower, Options{})
	must(t, err)
	var data, list bytes.Buffer
	must(t, WriteContents(&data, l, ContentOptions{}))
	must(t, l.WriteJSON(&list))
	back, err := ReadJSON(&list)
	must(t, err)
	return left{back, bytes.NewReader(data.Bytes())}
}

func openRoot(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func plan(t *testing.T, host string, l left, o ApplyOptions) *Plan {
	t.Helper()
	p, err := PlanApply(openRoot(t, host), l.list, l.data, o)
	must(t, err)
	return p
}

// outcomes is a plan for people who read a failed test.
func outcomes(p *Plan) (lines []string) {
	for i := range p.Steps {
		s := &p.Steps[i]
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s: %s", s.Outcome, s.Change.Path, strings.Join(s.Reasons, "; "))))
	}
	return lines
}

// randomRun makes a host's folder, what a run made of it, and what it left.
func randomRun(t *testing.T, seed uint64) (lower, after string, l left) {
	r := rand.New(rand.NewPCG(seed, 7))
	lower, after = t.TempDir(), t.TempDir()
	upper := t.TempDir()
	growTree(t, r, lower, 3)
	copyTree(t, lower, after)
	for range 2 + r.IntN(12) {
		mutateTree(t, r, after)
	}
	makeUpper(t, r, lower, after, upper, false)
	return lower, after, readLeft(t, upper, lower)
}

// expected is what an apply of everything makes: the tree as the jail saw it, but for
// what is never made on the host, and without setuid, setgid and sticky bits.
func expected(t *testing.T, p *Plan, lower, after string) map[string]string {
	want, before := treeSnapshot(t, after), treeSnapshot(t, lower)
	for path, s := range want {
		var mode uint32
		var kind, rest string
		if n, _ := fmt.Sscanf(s, "%s %o %s", &kind, &mode, &rest); n >= 2 && before[path] != s && (kind == "file" || kind == "folder") {
			want[path] = strings.TrimSpace(fmt.Sprintf("%s %04o %s", kind, mode&0o777, rest))
		}
	}
	for i := range p.Steps {
		s := &p.Steps[i]
		path := s.Change.Path
		switch s.Outcome {
		case OutcomeApply, OutcomeDone:
			continue
		case OutcomeRefused:
			if s.Change.After.Type != TypeFIFO {
				t.Errorf("%s is refused: %v", path, s.Reasons)
			}
		case OutcomeSkipped, OutcomeConflict: // because of a FIFO that was refused
			// Or a new folder in which there is nothing but a FIFO.
			why := strings.Join(s.Reasons, "")
			if !strings.Contains(why, "the host keeps") && (why != "nothing that is in it is applied" || !hollow(p, path)) {
				t.Errorf("%s: %s %v", path, s.Outcome, s.Reasons)
			}
		}
		delete(want, path)
		if old, ok := before[path]; ok {
			want[path] = old
		}
	}
	return want
}

// seeds gives the seeds of random trees: the first n, or with SOAK=10m (make soak) as many
// as that time lets in, from where AGENTJAIL_SEED says. What was tried is logged.
func seeds(t *testing.T, n uint64) iter.Seq[uint64] {
	text := os.Getenv("SOAK")
	return func(yield func(uint64) bool) {
		if text == "" {
			for seed := range n {
				if !yield(seed) {
					return
				}
			}
			return
		}
		long, err := time.ParseDuration(text)
		must(t, err)
		first, _ := strconv.ParseUint(os.Getenv("AGENTJAIL_SEED"), 10, 64) // 0 without it
		seed := first
		for end := time.Now().Add(long); time.Now().Before(end) && yield(seed); seed++ {
		}
		t.Logf("%d trees, from seed %d", seed-first, first)
	}
}

// hollow tells whether nothing below a folder was to be applied.
func hollow(p *Plan, folder string) bool {
	below := 0
	for i := range p.Steps {
		s := &p.Steps[i]
		if !strings.HasPrefix(s.Change.Path, folder+"/") {
			continue
		}
		if below++; s.Outcome == OutcomeApply || s.Outcome == OutcomeDone {
			return false
		}
	}
	return below > 0
}

func TestApplyMakesTheTreeThatTheJailSaw(t *testing.T) {
	for seed := range seeds(t, 40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			lower, after, l := randomRun(t, seed)
			before := treeSnapshot(t, lower)
			host := t.TempDir()
			copyTree(t, lower, host)
			p := plan(t, host, l, ApplyOptions{Conflict: ConflictSkip})
			journal := t.TempDir()
			must(t, p.Commit(journal, host))
			if diff := cmp.Diff(expected(t, p, lower, after), treeSnapshot(t, host)); diff != "" {
				t.Fatalf("the host's tree after apply (-want +got):\n%s\n%s", diff, strings.Join(outcomes(p), "\n"))
			}
			if p.Count(OutcomeApply) > 0 && (!Applied(journal) || Pending(journal)) {
				t.Error("the journal does not say that it is done")
			}

			again := plan(t, host, l, ApplyOptions{Conflict: ConflictSkip})
			if n := again.Count(OutcomeApply); n != 0 {
				t.Errorf("a second apply would do %d things:\n%s", n, strings.Join(outcomes(again), "\n"))
			}
			undo(t, host, journal)
			if diff := cmp.Diff(before, treeSnapshot(t, host)); diff != "" {
				t.Errorf("the host's tree after undo (-want +got):\n%s", diff)
			}
		})
	}
}

func undo(t *testing.T, host, journal string) {
	t.Helper()
	if !Applied(journal) {
		return
	}
	l, data, err := ReadUndo(journal)
	must(t, err)
	defer data.Close()
	p, err := PlanApply(openRoot(t, host), l, data, ApplyOptions{Undo: true})
	must(t, err)
	if n := p.Count(OutcomeApply); n != len(p.Steps) {
		t.Errorf("undo would not do all of it:\n%s", strings.Join(outcomes(p), "\n"))
	}
	must(t, p.Commit(t.TempDir(), host))
}

// TestApplyIsAllOrNothing stops an apply after each of its operations, as a kill
// would, and lets Recover find what it left.
func TestApplyIsAllOrNothing(t *testing.T) {
	for seed := range uint64(4) {
		lower, _, l := randomRun(t, seed)
		before := treeSnapshot(t, lower)
		for stop := 0; ; stop++ {
			host := t.TempDir()
			copyTree(t, lower, host)
			p := plan(t, host, l, ApplyOptions{Conflict: ConflictSkip})
			c := &committer{root: p.root, data: p.data, todo: p.todo()}
			must(t, c.open(host))
			journal := t.TempDir()
			must(t, c.prepare(journal))
			if stop > len(c.j.Ops) {
				c.close()
				break
			}
			for i := range c.j.Ops[:stop] {
				must(t, c.one(&c.j.Ops[i], i))
			}
			c.close()
			if !Pending(journal) {
				t.Fatal("nothing says that an apply did not end")
			}
			must(t, Recover(journal))
			if diff := cmp.Diff(before, treeSnapshot(t, host)); diff != "" {
				t.Fatalf("seed %d, stopped after %d of %d operations (-want +got):\n%s", seed, stop, len(c.j.Ops), diff)
			}
			must(t, Recover(journal)) // nothing is left to do
		}
	}
}

// TestApplyConflicts changes the host's side after the run.
func TestApplyConflicts(t *testing.T) {
	tests := []struct {
		name   string
		lower  []string
		upper  []string
		change func(host string) error
		want   []string
	}{
		{"file changed", []string{"a = 1"}, []string{"a = 2"},
			func(h string) error { return os.WriteFile(h+"/a", []byte("3"), 0o644) },
			[]string{"conflict a: the host's file changed since the run"}},
		{"file gone", []string{"a = 1"}, []string{"a = 2"},
			func(h string) error { return os.Remove(h + "/a") },
			[]string{"conflict a: the host's file is gone"}},
		{"file became a symlink", []string{"a = 1"}, []string{"a = 2"},
			func(h string) error { return errors.Join(os.Remove(h+"/a"), os.Symlink("/etc/passwd", h+"/a")) },
			[]string{"conflict a: the host's file is a symlink now"}},
		{"mode changed", []string{"a = 1"}, []string{"a = 2"},
			func(h string) error { return os.Chmod(h+"/a", 0o600) },
			[]string{"conflict a: the host's mode is 0600 now, and was 0644"}},
		{"made on both sides", nil, []string{"a = 2"},
			func(h string) error { return os.WriteFile(h+"/a", []byte("3"), 0o644) },
			[]string{"conflict a: the host has a file there, which was not there when the run began"}},
		{"made alike on both sides", nil, []string{"a = 2"},
			func(h string) error { return os.WriteFile(h+"/a", []byte("2"), 0o644) },
			[]string{"done a:"}},
		{"folder became a symlink", []string{"d/a = 1"}, []string{"d/a = 2", "d/b = 3"},
			func(h string) error {
				return errors.Join(os.Rename(h+"/d", h+"/e"), os.Symlink("e", h+"/d"))
			},
			[]string{`conflict d/a: the host's d is gone or no folder any more`, `conflict d/b: the host's d is gone or no folder any more`}},
		{"folder got something more", []string{"d/a = 1"}, []string{"!d"},
			func(h string) error { return os.WriteFile(h+"/d/new", nil, 0o644) },
			[]string{"skipped d: the host keeps d/new in it", "apply d/a:"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lower := layer(t, tt.lower...)
			l := readLeft(t, layer(t, tt.upper...), lower)
			must(t, tt.change(lower))
			p := plan(t, lower, l, ApplyOptions{})
			if diff := cmp.Diff(tt.want, outcomes(p)); diff != "" {
				t.Fatalf("(-want +got):\n%s", diff)
			}
			before := treeSnapshot(t, lower)
			err := p.Commit(t.TempDir(), lower)
			if (p.Count(OutcomeConflict) > 0) != errors.Is(err, ErrConflict) {
				t.Errorf("Commit: %v", err)
			}
			if p.Count(OutcomeConflict) > 0 {
				if diff := cmp.Diff(before, treeSnapshot(t, lower)); diff != "" {
					t.Errorf("the host's tree changed in spite of a conflict:\n%s", diff)
				}
			}
		})
	}
}

// TestApplyLateConflict changes the host's file after it was looked at: Commit finds
// that and takes back what it had done by then.
func TestApplyLateConflict(t *testing.T) {
	for _, late := range []func(host string) error{
		func(h string) error { return os.WriteFile(h+"/m", []byte("later"), 0o644) },
		func(h string) error { return os.WriteFile(h+"/new", []byte("later"), 0o644) },
		func(h string) error { return os.Remove(h + "/m") },
		func(h string) error { return os.WriteFile(h+"/gone/more", []byte("later"), 0o644) },
		func(h string) error { return errors.Join(os.RemoveAll(h+"/z"), os.Symlink("/etc", h+"/z")) },
	} {
		lower := layer(t, "m = 1", "gone/x = 1", "z/y = 1", "b = 1")
		l := readLeft(t, layer(t, "m = 2", "!gone", "new = 1", "z/y = 2", "z/deep = 1", "b = 2"), lower)
		p := plan(t, lower, l, ApplyOptions{})
		must(t, late(lower))
		before := treeSnapshot(t, lower)
		if err := p.Commit(t.TempDir(), lower); err == nil {
			t.Error("a change after the plan was not found")
		}
		if diff := cmp.Diff(before, treeSnapshot(t, lower)); diff != "" {
			t.Errorf("it was not taken back (-want +got):\n%s", diff)
		}
	}
}

func TestApplyKeepBoth(t *testing.T) {
	lower := layer(t, "a = 1", "b = 1")
	l := readLeft(t, layer(t, "a = 2", "!b"), lower)
	must(t, os.WriteFile(lower+"/a", []byte("mine"), 0o644))
	must(t, os.WriteFile(lower+"/b", []byte("mine"), 0o644))
	p := plan(t, lower, l, ApplyOptions{Conflict: ConflictKeepBoth, Suffix: ".jail"})
	journal := t.TempDir()
	must(t, p.Commit(journal, lower))
	got := treeSnapshot(t, lower)
	for path, want := range map[string]string{"a": "mine", "b": "mine", "a.jail": "2"} {
		if readFile(t, filepath.Join(lower, path)) != want {
			t.Errorf("%s is not %q: %v", path, want, got)
		}
	}
	undo(t, lower, journal)
	if _, err := os.Lstat(lower + "/a.jail"); !os.IsNotExist(err) {
		t.Errorf("undo left the file beside: %v", err)
	}
}

func TestApplySelectionAndGate(t *testing.T) {
	lower := layer(t, "src/a = 1", "old/x = 1", "old/y = 1")
	l := readLeft(t, layer(t, "src/a = 2", "new/deep/f = 1", "new/g = 1", "hold/h = 1", "!old"), lower)
	gate := func(c *Change, old, now func() ([]byte, error)) []string {
		if strings.HasPrefix(c.Path, "hold/") || c.Path == "old/x" {
			return []string{"it is held"}
		}
		return nil
	}
	tests := []struct {
		name string
		o    ApplyOptions
		want []string
	}{
		{"a file takes its folders with it", ApplyOptions{Selected: func(p string) bool { return p == "new/deep/f" }},
			[]string{"apply new", "apply new/deep", "apply new/deep/f"}},
		{"a folder whose content is held is not made", ApplyOptions{Gate: gate},
			[]string{"apply new", "apply new/deep", "apply new/deep/f", "apply new/g", "apply old/y", "apply src/a", "held hold/h", "held old/x", "skipped hold", "skipped old"}},
		{"what is named passes", ApplyOptions{Gate: gate, Named: func(p string) bool { return p == "hold/h" }, Selected: func(p string) bool { return p == "hold/h" }},
			[]string{"apply hold", "apply hold/h"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := plan(t, lower, l, tt.o)
			var got []string
			for _, s := range p.Steps {
				if s.Outcome == OutcomeSkipped && slices.Contains(s.Reasons, "it was not asked for") {
					continue
				}
				got = append(got, string(s.Outcome)+" "+s.Change.Path)
			}
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestApplyRefusesAForgedList: what is written follows a file in the state folder.
func TestApplyRefusesAForgedList(t *testing.T) {
	host := t.TempDir()
	for _, path := range []string{"", "..", "../x", "/x", "a/../x", "a//b", "./a", "a/", "a\x00b"} {
		l := &List{Complete: true, Changes: []Change{{Op: audit.FileCreated, Path: path, After: &FileState{Type: TypeFolder, Mode: 0o755}}}}
		if _, err := PlanApply(openRoot(t, host), l, nil, ApplyOptions{}); err == nil {
			t.Errorf("the path %q was taken", path)
		}
	}
	lower := layer(t, "a = 1")
	l := readLeft(t, layer(t, "a = 2"), lower)
	l.list.Changes[0].After.SHA256 = strings.Repeat("0", 64)
	p := plan(t, lower, l, ApplyOptions{})
	if err := p.Commit(t.TempDir(), lower); err == nil || readFile(t, lower+"/a") != "1" {
		t.Errorf("a content that is not what the list says was applied: %v", err)
	}
	assertNoStage(t, lower)
}

func assertNoStage(t *testing.T, dir string) {
	t.Helper()
	if found, _ := filepath.Glob(dir + "/" + StagePrefix + "*"); len(found) > 0 {
		t.Errorf("left behind: %v", found)
	}
}

// TestApplyDeep is a tree whose paths are longer than the kernel takes at once, with names
// of any bytes: some 4,000 folders deep, a file here and there changed, made or removed.
func TestApplyDeep(t *testing.T) {
	for seed := range seeds(t, 1) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			lower, upper := t.TempDir(), t.TempDir()
			name := []string{"d", "\xff", "\u00e9", "n\nl"}[r.IntN(4)]
			depth := 3900 + r.IntN(200)
			deepTree(t, upper, name, depth)
			deepTree(t, lower, name, r.IntN(depth))
			for range r.IntN(8) {
				at := strings.Repeat("/"+name, r.IntN(1000/len(name))) + "/" + randomName(r) + "-"
				putFile(t, upper+at, randomContent(r), 0o644)
				if at = filepath.Dir(lower+at) + "/" + filepath.Base(at); r.IntN(2) == 0 && exists(filepath.Dir(at)) {
					putFile(t, at, randomContent(r), 0o644)
				}
			}
			before := deepSnapshot(t, lower)
			l := readLeft(t, upper, lower)
			p := plan(t, lower, l, ApplyOptions{})
			journal := t.TempDir()
			must(t, p.Commit(journal, lower))
			again := plan(t, lower, l, ApplyOptions{})
			if again.Count(OutcomeDone) != len(l.list.Changes) || len(l.list.Changes) == 0 {
				t.Errorf("%d of %d were applied", again.Count(OutcomeDone), len(l.list.Changes))
			}
			after, want := deepSnapshot(t, lower), deepSnapshot(t, upper)
			for path, s := range want { // the upper layer has all of the jail's but what only the host has
				if after[path] != s {
					t.Fatalf("%q is %q, want %q", clipped(path), after[path], s)
				}
			}
			undo(t, lower, journal)
			if diff := cmp.Diff(before, deepSnapshot(t, lower)); diff != "" {
				t.Errorf("the tree after undo (-want +got):\n%.2000s", diff)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func clipped(path string) string { return path[max(0, len(path)-60):] }

// deepSnapshot is treeSnapshot for trees with longer paths than a call takes.
func deepSnapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	tree, err := openLowerTree(root, true)
	must(t, err)
	defer tree.close()
	var walk func(path string)
	walk = func(path string) {
		names, _, err := tree.list(1 << 20)
		must(t, err)
		for _, name := range names {
			e, _, err := tree.lstat(name)
			must(t, err)
			at := joinPath(path, name)
			out[at] = fmt.Sprintf("%s %04o", e.typ, e.mode)
			switch e.typ {
			case TypeFile:
				sum, err := hashFile(tree, name, e)
				must(t, err)
				out[at] += " " + sum
			case TypeFolder:
				must(t, tree.enter(name, e))
				walk(at)
				tree.leave()
			}
		}
	}
	walk("")
	return out
}
