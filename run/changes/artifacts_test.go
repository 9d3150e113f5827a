package changes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

func globs(patterns ...string) []profiles.Pattern {
	var out []profiles.Pattern
	for i, p := range patterns {
		out = append(out, profiles.Pattern{Pattern: p, Origin: profiles.Origin{File: "x.hcl", Line: i + 1}})
	}
	return out
}

func collect(t *testing.T, src ArtifactSource, caps ArtifactCaps, patterns ...string) (dir string, m *Manifest) {
	t.Helper()
	dir = t.TempDir()
	m, err := collectInto(t, dir, src, caps, patterns...)
	must(t, err)
	return dir, m
}

func collectInto(t *testing.T, dir string, src ArtifactSource, caps ArtifactCaps, patterns ...string) (*Manifest, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer root.Close()
	return CollectArtifacts(src, globs(patterns...), root, caps)
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// manifestLines renders a manifest for comparison.
func manifestLines(m *Manifest) []string {
	var out []string
	for _, f := range m.Files {
		line := fmt.Sprintf("%q %04o %d", f.Path, f.Mode, f.Size)
		if f.Stored != "" {
			line += " as " + f.Stored
		}
		out = append(out, line)
	}
	for _, l := range m.LeftOut {
		out = append(out, strings.TrimSpace(fmt.Sprintf("left out %q %s %s", l.Path, l.Type, l.Target)))
	}
	for _, p := range m.Unmatched {
		out = append(out, "unmatched "+p)
	}
	return out
}

func TestCollectArtifacts(t *testing.T) {
	lower := []string{
		"dist/old.js = old", "dist/gone.js = gone", "dist/same.js = same", "dist/sub/deep.txt = deep",
		"opaque/a = a", "opaque/b = b", ".env = secret", "top.log = log", "src/x.log = x", "dist/link -> /etc/passwd",
	}
	upper := []string{
		"dist/old.js = new!", "!dist/gone.js", "dist/made.sh = sh", "dist/made.sh %6777", "opaque/ opaque", "opaque/b = B",
		"dist/pipe|",
	}
	big := ArtifactCaps{Size: 1000}
	hidden := func(p string) bool { return p == ".env" }
	tests := []struct {
		name     string
		patterns []string
		caps     ArtifactCaps
		direct   bool
		want     []string
	}{
		{name: "no pattern, nothing", caps: big},
		{name: "a folder", patterns: []string{"dist/**"}, caps: big, want: []string{
			`"dist/made.sh" 0755 2`, `"dist/old.js" 0644 4`, `"dist/same.js" 0644 4`, `"dist/sub/deep.txt" 0644 4`,
			`left out "dist/link" symlink /etc/passwd`, `left out "dist/pipe" fifo`}},
		{name: "the host's folder", patterns: []string{"dist/*.js"}, caps: big, direct: true, want: []string{
			`"dist/gone.js" 0644 4`, `"dist/old.js" 0644 3`, `"dist/same.js" 0644 4`}},
		{name: "opaque", patterns: []string{"opaque/*"}, caps: big, want: []string{`"opaque/b" 0644 1`}},
		{name: "one level", patterns: []string{"*.log", "./src/*.log"}, caps: big, want: []string{`"src/x.log" 0644 1`, `"top.log" 0644 3`}},
		{name: "hidden", patterns: []string{"**/.env", ".env"}, caps: big, want: []string{`unmatched **/.env`, `unmatched .env`}},
		{name: "hidden, direct", patterns: []string{".env"}, caps: big, direct: true, want: []string{`unmatched .env`}},
		{name: "a folder's name is not its content", patterns: []string{"dist"}, caps: big, want: []string{`unmatched dist`}},
		{name: "no size, nothing", patterns: []string{"*.log"}, want: []string{`left out "top.log" file`}},
		{name: "size", patterns: []string{"dist/*.js", "opaque/*"}, caps: ArtifactCaps{Size: 6}, want: []string{
			`"dist/old.js" 0644 4`, `"opaque/b" 0644 1`, `left out "dist/same.js" file`}},
		{name: "number", patterns: []string{"dist/*.js", "opaque/*"}, caps: ArtifactCaps{Size: 100, Files: 2}, want: []string{
			`"dist/old.js" 0644 4`, `"dist/same.js" 0644 4`, `left out "opaque/b" file`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := ArtifactSource{Lower: layer(t, lower...), Hidden: hidden}
			if !tt.direct {
				src.Upper = openDir(t, layer(t, upper...))
			}
			dir, m := collect(t, src, tt.caps, tt.patterns...)
			if diff := cmp.Diff(tt.want, manifestLines(m)); diff != "" {
				t.Errorf("manifest (-want +got):\n%s", diff)
			}
			var size int64
			stored := map[string]string{}
			for p, s := range treeSnapshot(t, dir) {
				if !strings.HasPrefix(s, "folder") {
					stored[p] = s
				}
			}
			for _, f := range m.Files {
				size += f.Size
				if want := fmt.Sprintf("file %04o %s", f.Mode, f.SHA256); stored[f.Path] != want {
					t.Errorf("%s is stored as %q, not %q", f.Path, stored[f.Path], want)
				}
			}
			if len(stored) != len(m.Files) || size != m.Size {
				t.Errorf("%d files are stored, %d are in the manifest; size %d, not %d", len(stored), len(m.Files), size, m.Size)
			}
		})
	}
}

func TestCollectArtifactsRefusesPatterns(t *testing.T) {
	for _, p := range []string{"/etc/passwd", "../x", "a/../../b", "", "[a", "./"} {
		_, err := collectInto(t, t.TempDir(), ArtifactSource{Lower: t.TempDir()}, ArtifactCaps{Size: 10}, p)
		if err == nil || !strings.Contains(err.Error(), "x.hcl:1") {
			t.Errorf("pattern %q: %v", p, err)
		}
	}
}

func TestCollectArtifactsNeverLeavesItsFolder(t *testing.T) {
	base := layer(t, "outside/victim = precious", "dst/other/", "dst/taken/x = mine", "dst/old = old")
	dst := base + "/dst"
	must(t, os.Symlink("../outside", dst+"/out"))
	must(t, os.Symlink("other", dst+"/in"))
	must(t, os.Symlink("../outside/victim", dst+"/file"))
	must(t, os.Symlink("old", dst+"/file2"))
	src := ArtifactSource{Lower: layer(t, "out/victim = evil", "out/new = evil", "in/new = evil", "file = evil", "file2 = evil",
		"taken = evil", "old = new", "fine/a = a", "old2/x = x")}
	must(t, os.WriteFile(dst+"/old2", []byte("file"), 0o644))
	m, err := collectInto(t, dst, src, ArtifactCaps{Size: 1000}, "**")
	must(t, err)
	want := []string{`"fine/a" 0644 1`, `"old" 0644 3`,
		`left out "file" file`, `left out "file2" file`, `left out "in/new" file`, `left out "old2/x" file`,
		`left out "out/new" file`, `left out "out/victim" file`, `left out "taken" file`}
	if diff := cmp.Diff(want, manifestLines(m)); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
	for path, content := range map[string]string{"outside/victim": "precious", "dst/old": "new", "dst/taken/x": "mine", "dst/old2": "file"} {
		if got := readFile(t, base+"/"+path); got != content {
			t.Errorf("%s holds %q", path, got)
		}
	}
	for _, path := range []string{"outside/new", "dst/other/new"} {
		if _, err := os.Lstat(base + "/" + path); err == nil {
			t.Errorf("%s was made through a symlink", path)
		}
	}
}

func TestCollectArtifactsHardLinkIsNotWrittenThrough(t *testing.T) {
	base := layer(t, "victim = precious", "dst/")
	must(t, os.Link(base+"/victim", base+"/dst/a"))
	_, err := collectInto(t, base+"/dst", ArtifactSource{Lower: layer(t, "a = evil")}, ArtifactCaps{Size: 100}, "a")
	must(t, err)
	if got := readFile(t, base+"/victim"); got != "precious" {
		t.Errorf("the other link holds %q", got)
	}
}

func TestCollectArtifactsDropsAttributes(t *testing.T) {
	lower := layer(t, "a = 1")
	setXattr(t, lower+"/a", "user.note", "x")
	dir, _ := collect(t, ArtifactSource{Lower: lower}, ArtifactCaps{Size: 10}, "a")
	if n, err := unix.Listxattr(dir+"/a", nil); err != nil || n != 0 {
		t.Errorf("%d bytes of attributes were copied (%v)", n, err)
	}
}

func TestCollectArtifactsNames(t *testing.T) {
	lower := t.TempDir()
	names := []string{"-rf", "new\nline", "esc\x1b]52;c;x\a", "bad\xff", "rtl\u202etxt", strings.Repeat("\x01", 255), "ok name", "100%", "a%0Ab", "a\nb", "HEAD", "é"}
	for _, n := range names {
		must(t, os.WriteFile(lower+"/"+n, []byte(n), 0o644))
	}
	must(t, os.MkdirAll(lower+"/.git/hooks", 0o755))
	must(t, os.WriteFile(lower+"/.git/config", []byte("[core]\n\tfsmonitor = evil\n"), 0o644))
	dir, m := collect(t, ArtifactSource{Lower: lower}, ArtifactCaps{Size: 10000}, "**")
	if len(m.Files) != len(names)+1 || len(m.LeftOut) != 0 {
		t.Fatalf("manifest: %v", manifestLines(m))
	}
	for _, f := range m.Files {
		stored := f.Path
		if f.Stored != "" {
			stored = f.Stored
		}
		if f.Path != ".git/config" {
			if got := readFile(t, dir+"/"+stored); got != f.Path {
				t.Errorf("%q holds %q", stored, got)
			}
		}
	}
	for p := range treeSnapshot(t, dir) {
		if b := filepath.Base(p); strings.HasPrefix(b, "-") || strings.ContainsFunc(b, func(r rune) bool { return r < ' ' || r == '\u202e' }) || b == ".git" || b == "HEAD" {
			t.Errorf("%q is in the artifacts folder", p)
		}
	}
}

func TestStoredName(t *testing.T) {
	long := strings.Repeat("x", 255)
	tests := map[string]string{
		"a/b.txt": "a/b.txt", "-rf/-x": "%2Drf/%2Dx", "a-b": "a-b", "a\nb": "a%0Ab", "a%0Ab": "a%250Ab", "50%": "50%", "%zz": "%zz", "%~": "%25~",
		"\xff": "%FF", "ü": "ü", "\u202e": "%E2%80%AE", "\u0085": "%C2%85", ".git/HEAD": "%2Egit/%48EAD", ".GIT": "%2EGIT", "manifest.json": "%6Danifest.json", "a/manifest.json": "a/manifest.json", ".gitignore": ".gitignore", long: long,
	}
	for in, want := range tests {
		if got, ok := storedName(in); got != want || !ok {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	a, _ := storedName(strings.Repeat("\x01", 254) + "a")
	b, _ := storedName(strings.Repeat("\x01", 254) + "b")
	if a == b || len(a) > maxStoredName {
		t.Errorf("long names become %q and %q", a, b)
	}
	if back, _ := storedName(a); back == a {
		t.Errorf("a name that looks shortened, %q, is kept as it is", a)
	}
	if _, ok := storedName(strings.Repeat("x/", 600) + "x"); ok {
		t.Error("a path of 1,200 bytes is kept")
	}
}

func FuzzStoredName(f *testing.F) {
	for _, s := range []string{"a", "-", "%41", "A%", "\xff", ".git", "x%~y"} {
		f.Add(s, s+"\n")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if bad := func(s string) bool { return s == "" || len(s) > 255 || strings.ContainsAny(s, "/\x00") }; bad(a) || bad(b) {
			return
		}
		x, y := storedPart(a, false), storedPart(b, false)
		if (x == y) != (a == b) {
			t.Errorf("%q and %q are stored as %q and %q", a, b, x, y)
		}
		if x == "" || x[0] == '-' || len(x) > maxStoredName || strings.ContainsAny(x, "/\x00\n\x1b\x7f") || IsDotGit(x) {
			t.Errorf("%q is stored as %q", a, x)
		}
	})
}

func TestManifestJSON(t *testing.T) {
	m := &Manifest{Schema: ManifestSchema, Size: 3,
		Files:   []Artifact{{Path: "a\xff", Stored: "a%FF", Size: 3, Mode: 0o755, SHA256: "00"}},
		LeftOut: []LeftOut{{Path: "l\xfe", Type: TypeSymlink, Target: "/x\xfd", Reason: "why"}}}
	b, err := json.Marshal(m)
	must(t, err)
	for _, want := range []string{`"path":"a\\xff","path_base64":"Yf8="`, `"mode":"0755"`, `"target":"/x\\xfd"`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("manifest.json has no %s: %s", want, b)
		}
	}
	var back Manifest
	must(t, json.Unmarshal(b, &back))
	if diff := cmp.Diff(m, &back); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
}
