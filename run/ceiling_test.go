package run

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadOwners: a ceiling counts only where nobody but root can have written it.
func TestReadOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		// An ordinary user's file is refused for its owner, whatever its mode is.
		path := filepath.Join(t.TempDir(), "ceiling.hcl")
		if err := os.WriteFile(path, []byte("files {}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadCeiling(path, os.Geteuid()); err == nil || !strings.Contains(err.Error(), "not to root") {
			t.Errorf("a user's own file is a ceiling: %v", err)
		}
		return
	}
	// Below /root, since a folder that others may write to is refused, as /tmp is.
	dir, err := os.MkdirTemp("/root", "ceiling")
	if err != nil {
		t.Skipf("no folder below which only root can write: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "ceiling.hcl")
	write := func(src string, mode os.FileMode) {
		t.Helper()
		os.Remove(path)
		if err := errors.Join(os.WriteFile(path, []byte(src), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := loadCeiling(path, 0); c != nil || err != nil {
		t.Errorf("no ceiling is %v, %v", c, err)
	}
	write("files { read = [] }", 0o644)
	if c, err := loadCeiling(path, 0); c == nil || err != nil {
		t.Fatalf("a good ceiling is %v, %v", c, err)
	}
	refused := func(why string) {
		t.Helper()
		if c, err := loadCeiling(path, 0); err == nil || c != nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, %v; want one that says %q", c, err, why)
		}
	}
	write("files { raed = [] }", 0o644)
	refused(`Did you mean "read"?`)
	for _, mode := range []os.FileMode{0o664, 0o646} {
		write("files { read = [] }", mode)
		refused("can be written by others")
	}
	write("files { read = [] }", 0o644)
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	refused("belongs to uid 12345")
	write("files { read = [] }", 0o644)
	for _, mode := range []os.FileMode{0o775, 0o777 | os.ModeSticky} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		refused("can be written by others")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
		t.Fatal(err)
	}
	refused("too many levels of symbolic links")
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	refused("no plain file")
	write(strings.Repeat("#", maxCeiling+1), 0o644)
	refused("larger than")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadCeiling(filepath.Join(path, "x"), 0); err == nil {
		t.Error("a ceiling below a file is no ceiling at all")
	}
}

func TestAccountHome(t *testing.T) {
	t.Setenv("HOME", "/somewhere/else")
	home, err := accountHome(0)
	if err != nil || home != "/root" {
		t.Errorf("root's home is %q, %v", home, err)
	}
	if home, err := accountHome(4_000_000); home != "" || err != nil {
		t.Errorf("nobody's home is %q, %v", home, err)
	}
}
