package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// makeRootfs makes the scratch folder that becomes the jail's root: its symlinks,
// generated files, and a mount point for each mount, all made before any mount so
// that nothing is ever created on the host through one. The root is mounted
// read-only.
func makeRootfs(p *Plan, cabundle string) (err error) {
	if err := os.Mkdir(p.Rootfs, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(p.Rootfs)
	if err != nil {
		return err
	}
	defer root.Close()
	// Shallow links first: /lib64 → usr/lib64 before what lies below.
	for _, l := range p.Links {
		name := rel(l.Path)
		if err := mkdirAll(root, filepath.Dir(name)); err != nil {
			return err
		}
		if err := root.Symlink(l.Target, name); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, dir := range []string{"dev", "proc", "sys", "run", "var/tmp", "root"} {
		if err := mkdirAll(root, dir); err != nil {
			return err
		}
	}
	for _, f := range p.Files {
		name := rel(f.Path)
		if err := mkdirAll(root, filepath.Dir(name)); err != nil {
			return err
		}
		if err := root.WriteFile(name, []byte(f.Content), fs.FileMode(f.Mode)); err != nil {
			return err
		}
	}
	if cabundle != "" {
		path := filepath.Join(filepath.Dir(p.Rootfs), "ca-certificates.crt")
		if err := os.WriteFile(path, []byte(cabundle), 0o644); err != nil {
			return err
		}
	}
	if err := mkdirAll(root, rel(p.Workspace.Path)); err != nil {
		return err
	}
	if p.Rootless {
		return nil
	}
	// libcontainer makes mount points as uid 0 of the outer namespace.
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, int(p.IDs.HostUID), int(p.IDs.HostGID))
	})
}

func rel(path string) string {
	r := strings.TrimPrefix(filepath.Clean(path), "/")
	if r == "" {
		return "."
	}
	return r
}

// mkdirAll is os.Root.MkdirAll with modes that the umask can't narrow: the jail's
// user is another one.
func mkdirAll(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if info, err := root.Stat(name); err == nil {
		if info.IsDir() {
			return nil
		}
		return fmt.Errorf("the jail's /%s would be a file and a folder", name)
	}
	if err := mkdirAll(root, filepath.Dir(name)); err != nil {
		return err
	}
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return root.Chmod(name, 0o755)
}
