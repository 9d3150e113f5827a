package jail

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Protected is a path of a workspace in direct mode that the agent may read and not
// write, because something on the host executes or trusts it.
type Protected struct {
	Path string `json:"path"` // relative to the workspace
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

// protect makes each protected path a read-only mount of itself, in PID 1, before the
// agent exists. A mount point can be neither removed nor renamed nor replaced in the
// mount namespace that it is in (rename(2), EBUSY), and nothing can be made in a folder
// that is one. Landlock can't say it a second time: a rule grants what is below it, and
// no rule takes away.
//
// The source is what the workspace shows already, so that the mount has its ids.
func protect(p *Plan) error {
	if len(p.Protected) == 0 {
		return nil
	}
	root, err := unix.Open(p.Workspace.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: p.Workspace.Path, Err: err}
	}
	defer unix.Close(root)
	for _, at := range p.Protected {
		if err := protectOne(root, at); err != nil {
			return fmt.Errorf("write-protect %s in the workspace: %w", at.Path, err)
		}
	}
	return nil
}

func protectOne(root int, at Protected) error {
	fd, err := unix.Openat2(root, at.Path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		return replaced(Mount{Source: at.Path})
	}
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if uint64(st.Dev) != at.Dev || st.Ino != at.Ino { //nolint:unconvert // Dev is 32 bits wide elsewhere
		return replaced(Mount{Source: at.Path})
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}
