package changes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTakeOut: what is taken out is kept and gone; what can't be kept whole stays under
// a name that nothing reads; nothing beside it is touched.
func TestTakeOut(t *testing.T) {
	root := t.TempDir()
	write := func(name string) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	deep := strings.Repeat(strings.Repeat("d", 200)+"/", 7)
	for _, name := range []string{".a*[b]/x", ".a*[b]/sub/y", ".aXb/x", ".deep/" + deep + "x", "file"} {
		write(name)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("host"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, ".link")); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, err := Places(f, func(p string, _ bool) string {
		if strings.HasPrefix(p, ".") && !strings.HasPrefix(p, ".aXb") {
			return "hidden"
		}
		return ""
	}, nil, Limits{})
	if err != nil || len(found.Places) != 3 || found.Cut || len(found.Unread) > 0 {
		t.Fatalf("found %+v %v", found, err)
	}
	kept := t.TempDir()
	dst, err := os.OpenRoot(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	what := map[string]string{}
	for _, p := range found.Places {
		w, _, err := TakeOut(root, p, dst, ".held")
		if err != nil {
			t.Fatal(err)
		}
		what[p.Path] = w
	}
	if what[".a*[b]"] != "taken out" || what[".link"] != "taken out" || what[".deep"] != "renamed to .deep.held" {
		t.Errorf("what became of them: %q", what)
	}
	for name, want := range map[string]bool{".a*[b]": false, ".link": false, ".deep": false, ".deep.held/" + deep + "x": true, ".aXb/x": true, "file": true} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != want {
			t.Errorf("%.40s is there: %v, want %v", name, err, want)
		}
	}
	if got, err := os.ReadFile(filepath.Join(kept, ".a*[b]", "sub", "y")); err != nil || string(got) != "x" {
		t.Errorf("the copy: %q %v", got, err)
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "host" {
		t.Errorf("what the symlink leads to: %q %v", got, err)
	}
}

// TestPlacesIsBounded: a walk that is cut off says so.
func TestPlacesIsBounded(t *testing.T) {
	root := t.TempDir()
	for _, n := range []string{"a", "b", "c", ".git"} {
		if err := os.WriteFile(filepath.Join(root, n), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found, err := Places(f, func(string, bool) string { return "" }, nil, Limits{Entries: 2})
	if err != nil || !found.Cut || len(found.Unread) == 0 {
		t.Errorf("%+v %v", found, err)
	}
}
