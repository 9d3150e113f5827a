package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFormatProfile(t *testing.T) {
	got, err := formatProfile([]byte("workspace {\npath=\".\"\n  mode   = \"overlay\"\n}\n"), "x.hcl")
	if err != nil || string(got) != "workspace {\n  path = \".\"\n  mode = \"overlay\"\n}\n" {
		t.Errorf("got %q, %v", got, err)
	}
	// What its words mean does not matter: a profile of a later version keeps its own.
	if _, err := formatProfile([]byte("later {\n}\n"), "x.hcl"); err != nil {
		t.Error(err)
	}
	var mistakes *diagnosticError
	if _, err := formatProfile([]byte("workspace {\n"), "-"); !errors.As(err, &mistakes) || !strings.Contains(err.Error(), "stdin.hcl line 1") {
		t.Errorf("no profile's syntax: %v", err)
	}
	// HCL's parser would end the whole program: no error, no diagnostic.
	if _, err := formatProfile([]byte("a = "+strings.Repeat("[", 1<<20)), "x.hcl"); !errors.As(err, &mistakes) {
		t.Errorf("too deep: %.80v", err)
	}
	if _, err := formatProfile([]byte("{}"), "x.json"); err == nil {
		t.Error("JSON was formatted as HCL")
	}
}

func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real", "x.hcl"), filepath.Join(dir, "x.hcl")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "new" || info.Mode().Perm() != 0o640 {
		t.Errorf("%q, mode %v, %v", data, info.Mode(), err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the symlink was replaced by a file")
	}
	entries, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(entries) != 1 {
		t.Errorf("something is left behind: %v, %v", entries, err)
	}
}

func TestParseVars(t *testing.T) {
	got, err := parseVars([]string{"a=b,c", "d=", "e=f=g"})
	if err != nil || got["a"] != "b,c" || got["d"] != "" || got["e"] != "f=g" || len(got) != 3 {
		t.Errorf("got %q, %v", got, err)
	}
	for _, bad := range []string{"a", "=b", ""} {
		if _, err := parseVars([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
