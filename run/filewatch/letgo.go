package filewatch

import (
	"os"

	"golang.org/x/sys/unix"
)

// letGo closes a group of fanotify's or inotify's without waiting for its end. Its last
// close waits until every processor has let go of the marks, which takes some 20 ms
// (fs/notify/mark.c, fsnotify_wait_marks_destroyed, an SRCU grace period): half as long as
// a short run takes as a whole, and an exit of the process would wait for it, too.
//
// So the last close is left to the kernel: the group is put into a message of a socket pair
// that is in that message itself. Once nobody else has the pair, the kernel's collector of
// such cycles closes all three, since Linux 6.10 in a worker of its own (net/unix/garbage.c,
// unix(7)); before, in our close. It looks when a Unix socket is released, which is what the
// last two lines are for. Where one of the steps is refused, the close waits.
func letGo(group *os.File) {
	defer group.Close()
	raw, err := group.SyscallConn()
	if err != nil {
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.Sendmsg(pair[0], []byte{0}, unix.UnixRights(int(fd), pair[0], pair[1]), nil, 0)
	})
	unix.Close(pair[0])
	unix.Close(pair[1])
	group.Close()
	if other, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		unix.Close(other)
	}
}
