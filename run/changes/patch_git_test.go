package changes

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGitQuote(t *testing.T) {
	// The right side is what git 2.39 prints, but for "a /b", which it can't read back.
	tests := map[string]string{
		"plain": "plain", "with space": "with space", "a'b*?": "a'b*?",
		"a /b": `"a /b"`, `q"q`: `"q\"q"`, `b\b`: `"b\\b"`, "t\tn\nr\r": `"t\tn\nr\r"`, "\a\b\v\f": `"\a\b\v\f"`,
		"ü": `"\303\274"`, "\x01\x7f\xff": `"\001\177\377"`,
	}
	for in, want := range tests {
		if got := gitQuote(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestGitPatch(t *testing.T) {
	file := func(s string) *gitBlob { return newGitBlob(gitFile, []byte(s)) }
	lines := func(from, to int) string {
		var sb strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintln(&sb, i)
		}
		return sb.String()
	}
	tests := []struct {
		name, path string
		old, now   *gitBlob
		want       string
	}{
		{"new", "a b", nil, file("x\n"), "diff --git a/a b b/a b\nnew file mode 100644\n" +
			"index 0000000000000000000000000000000000000000..587be6b4c3f93f93c489c0111bba5596147a26cb\n" +
			"--- /dev/null\n+++ b/a b\t\n@@ -0,0 +1 @@\n+x\n"},
		{"new and empty", "e", nil, file(""), "diff --git a/e b/e\nnew file mode 100644\n" +
			"index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n"},
		{"gone", "a", file("x"), nil, "diff --git a/a b/a\ndeleted file mode 100644\n" +
			"index c1b0730e0133447badcfd47fd144e254807b06e1..0000000000000000000000000000000000000000\n" +
			"--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\\ No newline at end of file\n"},
		{"mode", "a", file("x"), newGitBlob(gitExecutable, []byte("x")),
			"diff --git a/a b/a\nold mode 100644\nnew mode 100755\n"},
		{"retargeted", "l", newGitBlob(gitSymlink, []byte("a")), newGitBlob(gitSymlink, []byte("b")),
			"diff --git a/l b/l\nindex 2e65efe2a145dda7ee51d1741299f848e5bf752e..63d8dbd40c23542e740659a7168a0ce3138ea748 120000\n" +
				"--- a/l\n+++ b/l\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"},
		{"context", "a", file(lines(1, 20)), file(lines(1, 4) + "x\n" + lines(6, 11) + "y\n" + lines(13, 20)),
			"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -2,14 +2,14 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n 9\n 10\n 11\n-12\n+y\n 13\n 14\n 15\n"},
		{"two hunks", "a", file(lines(1, 20)), file(lines(1, 4) + "x\n" + lines(6, 12) + lines(14, 20)),
			"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -10,7 +10,6 @@\n 10\n 11\n 12\n-13\n 14\n 15\n 16\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(gitPatch(tt.path, tt.old, tt.now))
			if !strings.Contains(tt.want, "index ") { // the other cases test the ids
				got = dropIndex(got)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
		})
	}
}

func dropIndex(patch string) string {
	var out []string
	for _, l := range strings.Split(patch, "\n") {
		if !strings.HasPrefix(l, "index ") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestGitPatchOfTypeChangeIsTwoParts(t *testing.T) {
	got := string(gitPatch("a", newGitBlob(gitFile, []byte("x\n")), newGitBlob(gitSymlink, []byte("b"))))
	gone, made := strings.Index(got, "deleted file mode 100644"), strings.Index(got, "new file mode 120000")
	if gone < 0 || made < gone || strings.Count(got, "diff --git") != 2 {
		t.Errorf("a file that became a symlink:\n%s", got)
	}
}

func TestGitRefuses(t *testing.T) {
	for _, p := range []string{".git", "a/.git/config", ".GIT/x", ".g\u200cit/x", "git~1", "GIT~1/x", ".git . .", ".git::$INDEX_ALLOCATION/x", `a\.git\b`} {
		if !gitRefuses(p, false) {
			t.Errorf("%q is not refused", p)
		}
	}
	for _, p := range []string{".gitignore", "git", ".github/x", "a.git/x", ".gitmodules", "x/.gitattributes"} {
		if gitRefuses(p, false) {
			t.Errorf("%q is refused", p)
		}
	}
	for _, p := range []string{".gitmodules", "a/.GITMODULES ", "gitmod~1"} {
		if !gitRefuses(p, true) {
			t.Errorf("a symlink %q is not refused", p)
		}
	}
}

// TestGitRefusesWhatGitRefuses asks git itself.
func TestGitRefusesWhatGitRefuses(t *testing.T) {
	needGit(t)
	refused := 0
	for _, mode := range []uint32{gitFile, gitSymlink} {
		for _, p := range []string{".git", "d/.GIT/config", "GIT~1", ".git. .", ".git::x/y", `d\.git\x`, ".gitmodules", "gitmod~2", ".GITmodules.", "d/gi7eba~1"} {
			out, err := gitApply(t, t.TempDir(), gitPatch(p, nil, newGitBlob(mode, []byte("x"))))
			if err != nil && !strings.Contains(out, "invalid path") {
				t.Fatalf("%q: git apply: %s", p, out)
			}
			if err != nil {
				refused++
				if !gitRefuses(p, mode == gitSymlink) {
					t.Errorf("git refuses %q with mode %o, gitRefuses doesn't: %s", p, mode, out)
				}
			}
		}
	}
	if refused < 6 {
		t.Errorf("git refuses %d of these paths only: the test asks it nothing", refused)
	}
	t.Logf("git refuses %d", refused)
}

func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
}

// gitApply runs git apply in a folder of no repository, with no configuration.
func gitApply(t *testing.T, dir string, patch []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"apply", "--whitespace=nowarn"}, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CEILING_DIRECTORIES=" + dir, "LC_ALL=C"}
	cmd.Stdin = bytes.NewReader(patch)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// applyDiff rebuilds b from a and what diffLines says.
func applyDiff(a, b []int, removed, added []bool) (kept, made []int) {
	for i, l := range a {
		if !removed[i] {
			kept = append(kept, l)
		}
	}
	for i, l := range b {
		if !added[i] {
			made = append(made, l)
		}
	}
	return kept, made
}

func TestDiffLinesIsShortest(t *testing.T) {
	// Against the length of the longest common subsequence by dynamic programming,
	// on every pair of short sequences over three symbols.
	var all [][]int
	for n := 0; n <= 5; n++ {
		for v := range pow(3, n) {
			s := make([]int, n)
			for i := range s {
				s[i] = v % 3
				v /= 3
			}
			all = append(all, s)
		}
	}
	for _, a := range all {
		for _, b := range all {
			removed, added := diffLines(a, b)
			kept, made := applyDiff(a, b, removed, added)
			if !slices.Equal(kept, made) {
				t.Fatalf("%v to %v: keeps %v and %v", a, b, kept, made)
			}
			if want := lcs(a, b); len(kept) != want {
				t.Fatalf("%v to %v: keeps %d lines, %d are common", a, b, len(kept), want)
			}
		}
	}
}

func pow(base, n int) int {
	r := 1
	for range n {
		r *= base
	}
	return r
}

func lcs(a, b []int) int {
	row := make([]int, len(b)+1)
	for _, x := range a {
		diag := 0
		for j, y := range b {
			up := row[j+1]
			switch {
			case x == y:
				row[j+1] = diag + 1
			case row[j] > up:
				row[j+1] = row[j]
			}
			diag = up
		}
	}
	return row[len(b)]
}

func FuzzDiffLines(f *testing.F) {
	f.Add([]byte("abcabba"), []byte("cbabac"))
	f.Add(bytes.Repeat([]byte("ab"), 900), bytes.Repeat([]byte("ba"), 700))
	f.Add(bytes.Repeat([]byte("abcd"), 600), bytes.Repeat([]byte("dbca"), 600)) // over diffMaxCost
	f.Fuzz(func(t *testing.T, x, y []byte) {
		nums := func(s []byte) []int {
			n := make([]int, len(s))
			for i := range s {
				n[i] = int(s[i])
			}
			return n
		}
		a, b := nums(x), nums(y)
		removed, added := diffLines(a, b)
		kept, made := applyDiff(a, b, removed, added)
		if !slices.Equal(kept, made) {
			t.Errorf("keeps %v and %v", kept, made)
		}
	})
}

// FuzzGitHunks applies the hunks as patch(1) would.
func FuzzGitHunks(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("a\nx\nc"))
	f.Add([]byte(""), []byte("\n"))
	f.Add([]byte("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), []byte("x\n2\n3\n4\n5\n6\n7\n8\ny"))
	f.Add([]byte("-- a\n++ b\n@@ -1 +1 @@\n\\ No newline"), []byte("\r\n\r"))
	f.Fuzz(func(t *testing.T, old, now []byte) {
		hunks, text := gitHunks(old, now)
		if !text {
			if !bytes.Contains(append(bytes.Clone(old), now...), []byte{0}) {
				t.Fatal("text is taken for binary")
			}
			return
		}
		got, err := applyHunks(old, hunks)
		if err != nil {
			t.Fatalf("%v in\n%s", err, hunks)
		}
		if !bytes.Equal(got, now) {
			t.Errorf("the hunks make %q of %q, not %q:\n%s", got, old, now, hunks)
		}
	})
}

func applyHunks(old, hunks []byte) ([]byte, error) {
	a := splitLines(old)
	var out []byte
	at := 0
	var aLeft, bLeft int
	lines := splitLines(hunks)
	for n := 0; n < len(lines); n++ {
		line := lines[n]
		if aLeft == 0 && bLeft == 0 {
			var as, bs string
			if _, err := fmt.Sscanf(string(line), "@@ -%s +%s @@\n", &as, &bs); err != nil {
				return nil, fmt.Errorf("no hunk header: %q", line)
			}
			from, count := hunkNumbers(as)
			if count > 0 {
				from--
			}
			if from < at {
				return nil, fmt.Errorf("hunks overlap at line %d", from)
			}
			for ; at < from; at++ {
				out = append(out, a[at]...)
			}
			aLeft = count
			_, bLeft = hunkNumbers(bs)
			continue
		}
		body := line[1:]
		if n+1 < len(lines) && bytes.HasPrefix(lines[n+1], []byte(`\ No newline`)) {
			body = bytes.TrimSuffix(body, []byte("\n"))
			n++
		}
		if line[0] != '+' {
			if !bytes.Equal(a[at], body) {
				return nil, fmt.Errorf("line %d is %q, not %q", at+1, a[at], body)
			}
			at, aLeft = at+1, aLeft-1
		}
		if line[0] != '-' {
			out = append(out, body...)
			bLeft--
		}
	}
	for ; at < len(a); at++ {
		out = append(out, a[at]...)
	}
	return out, nil
}

func hunkNumbers(s string) (from, count int) {
	f, c, ok := strings.Cut(s, ",")
	from, _ = strconv.Atoi(f)
	count = 1
	if ok {
		count, _ = strconv.Atoi(c)
	}
	return from, count
}

func TestNewGitBlob(t *testing.T) {
	needGit(t)
	data := []byte("some\x00content")
	cmd := exec.Command("git", "hash-object", "--stdin")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	must(t, err)
	got := newGitBlob(gitFile, data).id
	if _, err := hex.DecodeString(got); err != nil || got != strings.TrimSpace(string(out)) {
		t.Errorf("blob id %s, git says %s", got, out)
	}
}
