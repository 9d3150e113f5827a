package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"golang.org/x/sys/unix"
)

// setUpWorkspace mounts the overlay over the workspace's read-only bind and
// returns the upper layer's folder, which the supervisor reads the changes from.
// It runs in PID 1 with SYS_ADMIN and DAC_OVERRIDE, and the overlay keeps those
// credentials for its own work (work/work has mode 0).
//
//	/run/agentjail/layers (tmpfs)          workspace path
//	  store/upper, store/work  ─┐            overlay: upper
//	  middle: whiteouts, copies ┼──────────▶          middle
//	  (store: tmpfs or disk)    │                     the host's, a read-only bind
//	                            └ unmounted once the overlay holds them
func setUpWorkspace(p *Plan) (*os.File, error) {
	w := p.Workspace
	if mutate.Off(mutate.Overlay) {
		return nil, nil
	}
	switch w.Mode {
	case profiles.ModeEmpty:
		return os.OpenFile(w.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	case profiles.ModeDirect, profiles.ModeReadonly:
		if len(w.Hidden) > 0 {
			return nil, errors.New("what the workspace hides has no mask")
		}
		return nil, nil
	}
	store := filepath.Join(layersDir, "store")
	if err := os.Mkdir(store, 0o700); err != nil {
		return nil, err
	}
	if w.Upper == profiles.UpperDisk {
		store = filepath.Join(layersDir, "disk")
	} else if err := unix.Mount("tmpfs", store, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0700,size=%d,nr_inodes=%d", bytesOf(w.Size), inodes(w.Files)+ownInodes)); err != nil {
		return nil, fmt.Errorf("mount the upper layer's tmpfs: %w", err)
	}
	upper, work := filepath.Join(store, "upper"), filepath.Join(store, "work")
	// The overlay's root takes owner and mode from the upper layer's.
	if err := makeDir(upper, os.FileMode(w.Perm), int(p.IDs.AgentUID), int(p.IDs.AgentGID)); err != nil {
		return nil, err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return nil, err
	}
	if w.Upper == profiles.UpperDisk {
		if err := holdsMarks(work); err != nil {
			return nil, err
		}
	}
	lower := w.Path
	middle := filepath.Join(layersDir, "middle")
	if len(w.Hidden)+len(w.Copies) > 0 {
		if err := makeMiddle(p, middle); err != nil {
			return nil, err
		}
	}
	if err := mountOverlay(w.Path, lower, middle, upper, work, len(w.Hidden)+len(w.Copies) > 0); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// ownInodes are those of an upper layer's tmpfs that are not the agent's: its root, the
// two folders, what the overlay makes of its own (work/work, work/incompat/volatile, a
// whiteout to link to).
const ownInodes = 8

// holdsMarks tries whether a folder on disk takes the user.* attributes that the
// overlay marks its files with. Without them the overlay mounts all the same, and then
// answers EIO to the removal of a lower folder in the middle of the agent's work: a
// tmpfs before Linux 6.6, NFS, a file system mounted with nouser_xattr.
func holdsMarks(dir string) error {
	const mark = "user.agentjail"
	err := unix.Setxattr(dir, mark, []byte("y"), 0)
	if err == nil {
		err = unix.Removexattr(dir, mark)
	}
	if err != nil {
		return &LayerError{Layer: "overlay on disk", Err: fmt.Errorf("set a user.* attribute in the upper layer: %w", err),
			Hint: "put the state folder on ext4, xfs or btrfs: export XDG_STATE_HOME=/path/on/it"}
	}
	return nil
}

// mountOverlay names the layers by descriptor, so that a ":" or "," in the
// workspace's path can't split the options.
func mountOverlay(target, lower, middle, upper, work string, useMiddle bool) error {
	dirs := map[string]int{}
	name := func(path string) (string, error) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", &os.PathError{Op: "open", Path: path, Err: err}
		}
		dirs[path] = fd
		return fmt.Sprintf("/proc/self/fd/%d", fd), nil
	}
	defer func() {
		for _, fd := range dirs {
			unix.Close(fd)
		}
	}()
	l, err := name(lower)
	if err != nil {
		return err
	}
	if useMiddle {
		m, err := name(middle)
		if err != nil {
			return err
		}
		l = m + ":" + l
	}
	u, err := name(upper)
	if err != nil {
		return err
	}
	wk, err := name(work)
	if err != nil {
		return err
	}
	// userxattr: the only marks that a user namespace may write. volatile: the
	// upper layer is thrown away, so nobody waits for the disk (Linux 5.10).
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr,volatile,xino=off,index=off,metacopy=off", l, u, wk)
	err = unix.Mount("overlay", target, "overlay", unix.MS_NOSUID|unix.MS_NODEV, opts)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODEV) {
		return &LayerError{Layer: "overlay", Err: fmt.Errorf("mount: %w", err),
			Hint: `the kernel needs overlayfs in user namespaces (Linux 5.11, modprobe overlay); or say workspace { mode = "direct" }`}
	}
	if err != nil {
		return fmt.Errorf("mount the overlay on %s: %w", target, err)
	}
	return nil
}

// makeMiddle fills the layer between the host's files and the agent's: a whiteout
// for each hidden path (none of them costs a mount, and they don't show up as the
// agent's deletions), and a copy of each file whose owner has no id in the jail.
func makeMiddle(p *Plan, middle string) error {
	if err := makeDir(middle, os.FileMode(p.Workspace.Perm), int(p.IDs.AgentUID), int(p.IDs.AgentGID)); err != nil {
		return err
	}
	lower, err := os.OpenRoot(p.Workspace.Path)
	if err != nil {
		return err
	}
	defer lower.Close()
	to, err := os.OpenRoot(middle)
	if err != nil {
		return err
	}
	defer to.Close()
	for _, c := range p.Workspace.Copies {
		if err := copyIn(lower, to, c, p.IDs); err != nil {
			return fmt.Errorf("copy %s for the overlay: %w", c.Path, err)
		}
	}
	for _, h := range p.Workspace.Hidden {
		if err := parents(lower, to, filepath.Dir(h), p.IDs); err != nil {
			return fmt.Errorf("hide %s: %w", h, err)
		}
		// A whiteout, character device 0:0: the one device that mknod makes without
		// CAP_MKNOD over the initial namespace (Linux 5.8).
		dir, err := to.OpenFile(filepath.Dir(h), unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return fmt.Errorf("hide %s: %w", h, err)
		}
		err = unix.Mknodat(int(dir.Fd()), filepath.Base(h), unix.S_IFCHR, 0)
		dir.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("hide %s: %w", h, err)
		}
	}
	return nil
}

// parents makes a folder's chain in the middle layer with the modes of the lower
// one: a merged folder takes them from its topmost layer.
func parents(lower, to *os.Root, dir string, ids IDPlan) error {
	if dir == "." {
		return nil
	}
	if _, err := to.Lstat(dir); err == nil {
		return nil
	}
	if err := parents(lower, to, filepath.Dir(dir), ids); err != nil {
		return err
	}
	info, err := lower.Lstat(dir)
	if err != nil {
		return err
	}
	if err := to.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := to.Chmod(dir, info.Mode().Perm()); err != nil {
		return err
	}
	return to.Lchown(dir, int(ids.AgentUID), int(ids.AgentGID))
}

func copyIn(lower, to *os.Root, c Copy, ids IDPlan) error {
	if c.Dir {
		return parents(lower, to, c.Path, ids)
	}
	if err := parents(lower, to, filepath.Dir(c.Path), ids); err != nil {
		return err
	}
	info, err := lower.Lstat(c.Path)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := lower.Readlink(c.Path)
		if err != nil {
			return err
		}
		if err := to.Symlink(target, c.Path); err != nil {
			return err
		}
		return to.Lchown(c.Path, int(ids.AgentUID), int(ids.AgentGID))
	}
	src, err := lower.Open(c.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := to.OpenFile(c.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := dst.ReadFrom(src); err != nil {
		dst.Close()
		return err
	}
	if err := dst.Close(); err != nil {
		return err
	}
	if err := to.Chmod(c.Path, info.Mode().Perm()); err != nil {
		return err
	}
	if err := to.Chtimes(c.Path, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return to.Lchown(c.Path, int(ids.AgentUID), int(ids.AgentGID))
}

func makeDir(path string, perm os.FileMode, uid, gid int) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(path, perm); err != nil {
		return err
	}
	return os.Lchown(path, uid, gid)
}

// maskDenied covers what the profile denies with an empty, unreadable folder or
// file, on top of everything that was mounted before.
func maskDenied(p *Plan) error {
	if mutate.Off(mutate.Denied) {
		return nil
	}
	for _, d := range p.Deny {
		var st unix.Stat_t
		if err := unix.Lstat(d.Path, &st); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // gone since the plan was made, or below a fresh mount
			}
			return fmt.Errorf("deny %s (%s): %w", d.Path, d.Origin, err)
		}
		var err error
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = unix.Mount("tmpfs", d.Path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "mode=0000,size=4k")
		} else {
			err = unix.Mount("/dev/null", d.Path, "", unix.MS_BIND, "")
		}
		if err != nil {
			return fmt.Errorf("deny %s (%s): %w", d.Path, d.Origin, err)
		}
	}
	return nil
}
