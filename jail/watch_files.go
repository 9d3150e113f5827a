package jail

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// What is asked of fanotify(7): of files their coming, going and new names, and that they
// were closed after they were open for writing. Each single write would be an event.
//
// FAN_RENAME, and the handle of what an event is about, are of Linux 5.17. The queue has
// its ordinary bound (16,384 events, fs.fanotify.max_queued_events), and its memory is the
// jail's own: what makes the group pays for it (fs/notify/fanotify/fanotify.c).
const (
	fanFlags = unix.FAN_CLASS_NOTIF | unix.FAN_REPORT_DFID_NAME_TARGET | unix.FAN_NONBLOCK | unix.FAN_CLOEXEC
	fanMask  = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_RENAME | unix.FAN_CLOSE_WRITE | unix.FAN_ONDIR
)

// MarkFiles makes a fanotify group that tells of all changes in the file system of an open
// folder. It takes CAP_SYS_ADMIN in the user namespace that owns the file system (since
// Linux 6.16; in the initial one before), and in that of the caller: PID 1 has both, the
// supervisor has them as root only.
func MarkFiles(dir *os.File) (*os.File, error) {
	fd, err := unix.FanotifyInit(fanFlags, unix.O_RDONLY)
	if err != nil {
		return nil, os.NewSyscallError("fanotify_init", err)
	}
	group := os.NewFile(uintptr(fd), "fanotify")
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, fanMask, int(dir.Fd()), ""); err != nil {
		group.Close()
		return nil, os.NewSyscallError("fanotify_mark", err)
	}
	return group, nil
}

// AloneInMemory says whether the upper layer's file system is a tmpfs that holds nothing
// but it and the overlay's work folder. One on disk is the host's.
func (w WorkspacePlan) AloneInMemory() bool {
	return w.Mode == profiles.ModeEmpty || w.Mode == profiles.ModeOverlay && w.Upper == profiles.UpperMemory
}

// FileProbe is the name of the file by which PID 1 tries the group.
func (p *Plan) FileProbe() string { return ".agentjail-" + p.ID }

// watchFiles makes the group that the supervisor reads; nil where there is none to be had:
// it is about seeing, and nothing depends on it. A file that is made, written and removed
// in the workspace tells the supervisor whether it works, and whether this kernel tells of
// writes to an overlay's files at all.
func watchFiles(p *Plan, upper *os.File) *os.File {
	if upper == nil || !p.Workspace.AloneInMemory() || mutate.Off(mutate.FileWatch) {
		return nil
	}
	group, err := MarkFiles(upper)
	if err != nil {
		return nil
	}
	path := filepath.Join(p.Workspace.Path, p.FileProbe())
	if fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600); err == nil {
		unix.Close(fd)
		_ = unix.Unlink(path)
	}
	return group
}
