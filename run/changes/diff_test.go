package changes

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func diffs(t *testing.T, lower, upper string) []FileDiff {
	t.Helper()
	l, err := Read(openDir(t, upper), lower, Options{})
	must(t, err)
	var patch, list bytes.Buffer
	must(t, WritePatch(&patch, l, PatchOptions{}))
	must(t, l.WriteJSON(&list))
	back, err := ReadJSON(&list)
	must(t, err)
	d, err := Diff(back, bytes.NewReader(patch.Bytes()), DiffOptions{})
	must(t, err)
	return d
}

func diffLinesOf(list []FileDiff) (out []string) {
	for _, d := range list {
		line := fmt.Sprintf("%s: %s +%d -%d", d.Change.Path, d.Change.Describe(), d.Added, d.Removed)
		if d.From != nil {
			line += fmt.Sprintf(" from %s %d%%", d.From.Path, d.Percent)
		}
		if d.Binary {
			line += " binary"
		}
		out = append(out, line)
	}
	return out
}

func TestDiff(t *testing.T) {
	long := strings.Repeat("line of text\n", 3) + "a\nb\nc\nd\n"
	lower := layer(t, "mod = a\nb\n", "old = "+long, "same = "+long+"x\n", "gone = 1\n", "mode = x", "bin = a\x00b", "type = t\n", "link -> a")
	upper := layer(t, "mod = a\nc\nd\n", "!old", "new = "+long+"more\n", "!same", "moved = "+long+"x\n", "!gone", "mode = x", "mode %0755", "bin = a\x00c", "type -> /etc", "sub/fresh = q\nr", "pipe|", "link -> b")
	got := diffLinesOf(diffs(t, lower, upper))
	want := []string{
		"bin: changed file +0 -0 binary",
		"gone: deleted file +0 -1",
		"link: symlink, target a → b +1 -1",
		"mod: changed file +2 -1",
		"mode: file, mode 0644 → 0755 +0 -0",
		"moved: new file +0 -0 from same 100%",
		"new: new file +1 -0 from old 90%",
		"pipe: new fifo +0 -0",
		"sub: new folder +0 -0",
		"sub/fresh: new file +2 -0",
		"type: file became symlink to /etc +1 -1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDiffRefusesAnotherPatch(t *testing.T) {
	for _, p := range [][2]int64{{0, 1 << 40}, {-1, 3}, {0, -1}, {0, 4}, {2, 3}} {
		l := &List{Changes: []Change{{Path: "a", After: &FileState{Type: TypeFile}, Patch: p}}}
		if _, err := Diff(l, strings.NewReader("not a patch"), DiffOptions{}); err == nil {
			t.Errorf("%v was read out of a text that is no patch", p)
		}
	}
}

// FuzzDiff: whatever the two files in the state folder say, a diff is an error or ends.
func FuzzDiff(f *testing.F) {
	f.Add([]byte(`{"schema":1,"complete":true,"changes":[{"path":"a","op":"created","after":{"type":"file","mode":"0644","size":1},"patch":[0,60]}]}`), []byte("diff --git a/a b/a\n--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n"))
	f.Fuzz(func(t *testing.T, list, patch []byte) {
		l, err := ReadJSON(bytes.NewReader(list))
		if err != nil {
			return
		}
		d, err := Diff(l, bytes.NewReader(patch), DiffOptions{})
		if err == nil {
			diffLinesOf(d)
		}
	})
}

// FuzzHunks: all hunks make the new text, none the old one.
func FuzzHunks(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("a\nx\nc\ny"))
	f.Fuzz(func(t *testing.T, old, now []byte) {
		h, text := Hunks(old, now)
		if !text {
			return
		}
		n := 0
		if got := TakeHunks(old, now, func(int) bool { n++; return true }); !bytes.Equal(got, now) || n != len(h) {
			t.Errorf("all hunks make %q", got)
		}
		if got := TakeHunks(old, now, func(int) bool { return false }); !bytes.Equal(got, old) {
			t.Errorf("no hunk makes %q", got)
		}
	})
}
