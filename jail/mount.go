package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// Where libcontainer leaves what the view is built from. Both are gone before the
// agent's stage exists.
const (
	setupDir = InsideDir + "/setup"
	hostTree = setupDir + "/host" // the host's whole tree
	emptyDir = setupDir + "/empty"
)

// staged is where libcontainer mounts the n-th bind that PID 1 can't make by itself
// (Plan.needsStaging).
func staged(n int) string { return setupDir + "/" + strconv.Itoa(n) }

// buildView executes the plan's mounts, in order. It runs in PID 1, after the pivot
// and before anything hostile exists; libcontainer would need 120 system calls for
// each of them, this takes five.
//
// Sources are opened beneath the host's tree without following any symlink: the
// plan holds resolved paths, so a link on the way was swapped in since
// (CVE-2021-30465, CVE-2024-45310). What was opened is compared with what the plan
// was made for, and exactly that is mounted.
func buildView(p *Plan) error {
	host, err := unix.Open(hostTree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: hostTree, Err: err}
	}
	defer unix.Close(host)
	n := 0
	for _, m := range p.Mounts {
		if m.Kind == MountProc {
			continue // libcontainer's
		}
		m.Writable = m.Writable || mutate.Off(mutate.Overlay) && m.Target == p.Workspace.Path ||
			mutate.Off(mutate.Seeds) && strings.HasPrefix(m.Target, layersDir+"/seed")
		stage := ""
		if p.needsStaging(m) {
			stage = staged(n)
			n++
		}
		if err := mountOne(m, host, stage); err != nil {
			return fmt.Errorf("mount %s (%s): %w", m.Target, m.Kind, err)
		}
	}
	return nil
}

func mountOne(m Mount, host int, stage string) error {
	switch m.Kind {
	case MountTmpfs:
		if err := ensureDir(m.Target); err != nil {
			return err
		}
		return unix.Mount("tmpfs", m.Target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, m.Options)
	case MountPts:
		// No nodev: its nodes must work.
		return unix.Mount("devpts", m.Target, "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, m.Options)
	}
	var src int
	var err error
	if stage != "" {
		src, err = unix.Open(stage, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	} else {
		src, err = unix.Openat2(host, strings.TrimPrefix(m.Source, "/"), &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
		})
	}
	if err != nil {
		if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
			return replaced(m)
		}
		return fmt.Errorf("open %s: %w", m.Source, err)
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if m.Ino != 0 && (uint64(st.Dev) != m.Dev || st.Ino != m.Ino) { //nolint:unconvert // Dev is 32 bits wide elsewhere
		return replaced(m)
	}
	if m.Rdev != 0 && (st.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(st.Rdev) != m.Rdev) { //nolint:unconvert // as above
		return fmt.Errorf("%s is not the device that it is called", m.Source)
	}
	if err := ensureTarget(m.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	if m.Kind == MountView {
		return mountView(src, m)
	}
	err = attach(src, m)
	if errors.Is(err, unix.ENOENT) && unix.Fstat(src, &st) == nil && st.Nlink == 0 {
		return replaced(m) // after it was looked at: what has no name any more can't be mounted
	}
	return err
}

// mountView shows a folder through an overlay without an upper layer, for the sake of
// its inodes (sockets.go). Such an overlay has two layers at least, so the other one
// is empty.
func mountView(src int, m Mount) error {
	empty, err := unix.Open(emptyDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: emptyDir, Err: err}
	}
	defer unix.Close(empty)
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_RDONLY)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(src, &fs); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	// A bind keeps this of the host's own mount; an overlay forgets it.
	if fs.Flags&unix.ST_NOEXEC != 0 {
		flags |= unix.MS_NOEXEC
	}
	opts := fmt.Sprintf("lowerdir=/proc/self/fd/%d:/proc/self/fd/%d,userxattr,xino=off,index=off,metacopy=off", src, empty)
	if err := unix.Mount("overlay", m.Target, "overlay", flags, opts); err != nil {
		return &LayerError{Layer: "unix sockets", Err: fmt.Errorf("%s can't be shown through an overlay, which keeps its Unix sockets from the agent: %w", m.Source, err),
			Hint: "overlayfs refuses some file systems (case-insensitive ones, more than two overlays on each other): grant single files, or a folder on another one"}
	}
	return nil
}

// attach mounts what src names at the target, with its attributes set before it
// appears in the tree.
func attach(src int, m Mount) error {
	tree, err := unix.OpenTree(src, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if m.Rdev == 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	} else {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	}
	if !m.Writable && !mutate.Off(mutate.ReadOnly) {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// ensureDir makes a mount point that lies below a fresh tmpfs; all others were made
// with the root, which is read-only by now.
func ensureDir(path string) error {
	if err := os.Mkdir(path, 0o755); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	return os.MkdirAll(path, 0o755)
}

func ensureTarget(path string, dir bool) error {
	if dir {
		return ensureDir(path)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if err := ensureDir(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// hardenProc masks what a jail's /proc must not show and write-protects the rest
// of what concerns the whole machine.
func hardenProc() error {
	null, err := openNull()
	if err != nil {
		return err
	}
	defer unix.Close(null)
	masked, readonly := maskedPaths, readonlyPaths
	if mutate.Off(mutate.Masks) {
		masked = nil
	}
	if mutate.Off(mutate.ReadOnly) {
		readonly = nil
	}
	for _, path := range masked {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			if errors.Is(err, unix.ENOENT) {
				continue // this kernel has none
			}
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "size=0k,nr_inodes=2,mode=0555")
		} else {
			err = attach(null, Mount{Target: path, Rdev: nullDevice})
		}
		if err != nil {
			return fmt.Errorf("mask %s: %w", path, err)
		}
	}
	for _, path := range readonly {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		err = attach(fd, Mount{Target: path})
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("write-protect %s: %w", path, err)
		}
	}
	// /proc/sysrq-trigger and /proc/sys refuse writes now, by trying.
	if fd, err := unix.Open("/proc/sys/kernel/hostname", unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil && len(readonly) > 0 {
		unix.Close(fd)
		return errors.New("/proc/sys can still be written to")
	}
	return nil
}

// nullDevice is the number of /dev/null, null(4).
var nullDevice = unix.Mkdev(1, 3)

// openNull opens /dev/null and makes sure that it is: a mask made of something else
// masks nothing (CVE-2025-31133).
func openNull() (int, error) {
	fd, err := unix.Open("/dev/null", unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/null", Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || uint64(st.Rdev) != nullDevice { //nolint:unconvert // Rdev is 32 bits wide elsewhere
		unix.Close(fd)
		return -1, errors.New("/dev/null is not the null device")
	}
	return fd, nil
}

// dropSetup takes the host's tree and the staging mounts out of the jail, and makes
// sure that they are gone: from here on the view is all there is.
func dropSetup(p *Plan) error {
	dirs := []string{hostTree}
	if mutate.Off(mutate.HostTree) {
		dirs = nil
	}
	for n := range p.staging() {
		dirs = append(dirs, staged(n))
	}
	dirs = append(dirs, layersDir)
	for _, dir := range dirs {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("umount %s: %w", dir, err)
		}
	}
	// libcontainer made the root read-only; it holds neither setuid files nor devices.
	root := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &root); err != nil {
		return fmt.Errorf("write-protect the root: %w", err)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s is still mounted", dir)
		}
	}
	return nil
}
