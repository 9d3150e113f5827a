package jail

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// tree makes files (a name that ends in / is a folder, "a -> b" a link) in a fresh
// folder, which it returns without links in its path.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		name, target, link := strings.Cut(n, " -> ")
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case link:
			err = os.Symlink(strings.ReplaceAll(target, "DIR", dir), path)
		case strings.HasSuffix(n, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestResolve(t *testing.T) {
	dir := tree(t, "real/file", "link -> real", "absolute -> DIR/real", "chain -> link", "up -> real/../real/file",
		"loop -> pool", "pool -> loop", "dangling -> nowhere", "deep/in/er -> ../../link")
	for _, tt := range []struct {
		path, real string
		links      []string // names of the links on the way
	}{
		{"real/file", "real/file", nil},
		{"link/file", "real/file", []string{"link"}},
		{"absolute/file", "real/file", []string{"absolute"}},
		{"chain", "real", []string{"chain", "link"}},
		{"up", "real/file", []string{"up"}},
		{"deep/in/er/file", "real/file", []string{"deep/in/er", "link"}},
		{"real/./../link//file", "real/file", []string{"link"}},
	} {
		p, err := resolve(dir + "/" + tt.path)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		var links []string
		for _, l := range p.Links {
			rel, err := filepath.Rel(dir, l.Path)
			if err != nil {
				t.Fatal(err)
			}
			links = append(links, rel)
		}
		info, err := os.Stat(filepath.Join(dir, tt.path))
		if err != nil {
			t.Fatal(err)
		}
		if p.Real != filepath.Join(dir, tt.real) || !slices.Equal(links, tt.links) || p.Dir != info.IsDir() {
			t.Errorf("%s: %+v, want %s through %q", tt.path, p, tt.real, tt.links)
		}
	}
	for path, want := range map[string]error{"loop": unix.ELOOP, "dangling": unix.ENOENT, "missing": unix.ENOENT, "real/file/below": unix.ENOTDIR} {
		if p, err := resolve(filepath.Join(dir, path)); !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", path, p, err, want)
		}
	}
}

func TestResolvePrivate(t *testing.T) {
	dir := tree(t, "open/file", "closed/file", "open/secret", "open/list/file", "link -> closed")
	for name, mode := range map[string]os.FileMode{"closed": 0o700, "open/secret": 0o600, "open/list": 0o751} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	// Where the test's own folder is closed to others, everything in it is.
	base, err := resolve(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"open": false, "open/file": false, "closed": true, "closed/file": true, "open/secret": true,
		"open/list": true, "open/list/file": false, "link/file": true,
	} {
		p, err := resolve(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if want := want || base.Private; p.Private != want {
			t.Errorf("%s: private is %v, want %v", name, p.Private, want)
		}
	}
}

func TestExpand(t *testing.T) {
	dir := tree(t, "a.txt", "b.txt", "sub/c.txt", "sub/d.bin", "other/", "into -> sub", "gone -> nowhere")
	many := filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range maxExpansion + 1 {
		if err := os.WriteFile(filepath.Join(many, string(rune('a'+i%26))+strings.Repeat("x", i/26)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string][]string{
		"*.txt":      {"a.txt", "b.txt"},
		"sub/*":      {"sub/c.txt", "sub/d.bin"},
		"sub/{c,z}*": {"sub/c.txt"},
		"a.txt":      {"a.txt"},
		"missing":    nil,
		"missing/*":  nil,
		"gone":       nil,
		"a.txt/x":    nil,
		"**/c.txt":   {"sub/c.txt"}, // not through the link as well
	} {
		places, err := sights{}.expand(filepath.Join(dir, pattern))
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		var got []string
		for _, p := range places {
			rel, err := filepath.Rel(dir, p.Path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rel)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s stands for %q, want %q", pattern, got, want)
		}
	}
	if places, err := (sights{}).expand(many + "/*"); err == nil {
		t.Errorf("%d places came of one pattern", len(places))
	}
}

func TestLook(t *testing.T) {
	dir := tree(t, "work/", "file")
	s := &profiles.Spec{Workspace: profiles.Workspace{Path: filepath.Join(dir, "work")},
		Files: profiles.Files{Read: []profiles.Pattern{{Pattern: dir + "/file"}}, Deny: []profiles.Pattern{{Pattern: dir + "/none"}}}}
	f, err := Look(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Paths[dir+"/file"]) != 1 || len(f.Paths[dir+"/none"]) != 0 || f.Workspace.Real != dir+"/work" {
		t.Errorf("%+v", f)
	}
	for _, path := range []string{"missing", "file"} {
		s.Workspace.Path = filepath.Join(dir, path)
		if _, err := Look(s); err == nil {
			t.Errorf("the workspace %s is no folder, and was taken", path)
		}
	}
}

func TestScan(t *testing.T) {
	dir := tree(t, "file", ".env", "sub/key.pem", "sub/file", "secrets/a", "secrets/b/c", "link -> file")
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	s := &profiles.Spec{Workspace: profiles.Workspace{Path: dir, Mode: profiles.ModeOverlay,
		Hide: []profiles.Pattern{{Pattern: ".env"}, {Pattern: "secrets"}, {Pattern: "**/*.pem"}}}}
	look := func(caller Owner) Facts {
		t.Helper()
		f, err := Look(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Scan(s, Features{}, caller); err != nil {
			t.Fatal(err)
		}
		slices.Sort(f.Hidden)
		slices.SortFunc(f.Foreign, func(a, b Copy) int { return strings.Compare(a.Path, b.Path) })
		return f
	}
	f := look(Owner{st.Uid, st.Gid})
	if want := []string{".env", "secrets", "sub/key.pem"}; !slices.Equal(f.Hidden, want) || len(f.Foreign) != 0 {
		t.Errorf("hidden %q, foreign %v, want %q and none", f.Hidden, f.Foreign, want)
	}
	// To somebody of another group each file is foreign, but not what is hidden.
	f = look(Owner{st.Uid, st.Gid + 1})
	if want := []Copy{{"file", false}, {"link", false}, {"sub", true}, {"sub/file", false}}; !reflect.DeepEqual(f.Foreign, want) {
		t.Errorf("foreign %v, want %v", f.Foreign, want)
	}
	// Where the workspace is the host's own, nothing is copied up, and masks hide.
	if err := os.Symlink("file", filepath.Join(dir, "link.pem")); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[profiles.Mode][]string{profiles.ModeDirect: {".env", "secrets", "sub/key.pem"}, profiles.ModeReadonly: {".env", "secrets", "sub/key.pem"}, profiles.ModeEmpty: nil} {
		s.Workspace.Mode = mode
		if f = look(Owner{}); !slices.Equal(f.Hidden, want) || len(f.Foreign) != 0 {
			t.Errorf("%s: hidden %q, foreign %v, want %q and none", mode, f.Hidden, f.Foreign, want)
		}
	}
}
