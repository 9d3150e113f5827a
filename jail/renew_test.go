package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRenew: a plan follows a file that was replaced by another one, and nothing else.
func TestRenew(t *testing.T) {
	// What a bind of a file is planned as, and what lies there when PID 1 looks.
	write := func(mode os.FileMode) func(string) error {
		return func(path string) error {
			// Beside it first, so that the inode is another one.
			if err := os.WriteFile(path+".new", []byte("new"), mode); err != nil {
				return err
			}
			if err := os.Chmod(path+".new", mode); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}
	}
	instead := func(make func(string) error) func(string) error {
		return func(path string) error { return errors.Join(os.Remove(path), make(path)) }
	}
	for _, tt := range []struct {
		name   string
		change func(path string) error
		plan   func(*Mount)
		renew  bool
	}{
		{"another file", write(0o644), nil, true},
		{"a symlink to a file", instead(func(p string) error { return os.Symlink("/etc/hostname", p) }), nil, false},
		{"a folder", instead(func(p string) error { return os.Mkdir(p, 0o755) }), nil, false},
		{"a pipe", instead(func(p string) error { return unix.Mkfifo(p, 0o644) }), nil, false},
		{"nothing", os.Remove, nil, false},
		{"a file that has another name", func(p string) error { return errors.Join(write(0o644)(p), os.Link(p, p+".link")) }, nil, false},
		{"a program", write(0o755), nil, false},
		{"a private file", write(0o600), nil, false},
		{"a file that is written", write(0o644), func(m *Mount) { m.Writable = true }, false},
		{"a folder that was", write(0o644), func(m *Mount) { m.File = false }, false},
		{"a file with another owner inside", write(0o644), func(m *Mount) { m.IDMap = &Owner{1, 1} }, false},
		{"a file with its owner inside", write(0o644), func(m *Mount) { m.IDMap = &Owner{uint32(os.Getuid()), uint32(os.Getgid())} }, true},
		{"a file that is shown elsewhere", write(0o644), func(m *Mount) { m.Target = "/elsewhere" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Not in TMPDIR, which may be private, and all that is in it with it.
			made, err := os.MkdirTemp("/tmp", "renew")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(made) })
			dir, err := filepath.EvalSymlinks(made)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
			was, err := resolve(path)
			if err != nil {
				t.Fatal(err)
			}
			p := &Plan{Mounts: []Mount{{Kind: MountBind, Source: "/other"}, {Kind: MountBind, Source: path, Target: path, File: true, Private: was.Private, Dev: was.Dev, Ino: was.Ino}}}
			if tt.plan != nil {
				tt.plan(&p.Mounts[1])
			}
			if err := tt.change(path); err != nil {
				t.Fatal(err)
			}
			if got := p.renew(fmt.Errorf("mount: %w", replaced(p.Mounts[1]))); got != tt.renew {
				t.Errorf("renewed: %v, want %v", got, tt.renew)
			}
			now, err := resolve(path)
			if follows := err == nil && p.Mounts[1].Ino == now.Ino && now.Ino != was.Ino; follows != tt.renew {
				t.Errorf("the plan has inode %d, was %d, the file has %d (%v)", p.Mounts[1].Ino, was.Ino, now.Ino, err)
			}
		})
	}
	if (&Plan{}).renew(replaced(Mount{Source: "/not/in/it"})) || (&Plan{}).renew(errors.New("something else")) {
		t.Error("a plan is renewed that has nothing of it")
	}
}
