package filewatch

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// layers looks into the host's folder and into the upper layer. Paths are the agent's, and
// so is what lies at them: no link is followed, and nothing outside is reached.
type layers struct {
	lower  int // -1 without one
	upper  int
	hidden func(path string) bool // what the jail does not see of the lower one
}

// beneath keeps a look-up in the folder that it begins in (openat2(2)).
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

func openBeneath(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Resolve: beneath}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, path, &how)
		// EAGAIN: something was renamed meanwhile, openat2(2).
		if err == unix.EINTR || err == unix.EAGAIN && try < 8 {
			continue
		}
		return fd, err
	}
}

func (l *layers) below(path string) kind {
	if l.lower < 0 || l.hidden(path) {
		return absent
	}
	return look(l.lower, path)
}

func (l *layers) now(path string) kind { return look(l.upper, path) }

// look says what lies at a path. What can't be seen is taken for nothing.
func look(dir int, path string) kind {
	fd, err := openBeneath(dir, path, unix.O_PATH)
	if err != nil {
		return absent
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return absent
	}
	return kindOf(&st)
}

func kindOf(st *unix.Stat_t) kind {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return file
	case unix.S_IFDIR:
		return folder
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			return whiteout
		}
	}
	return other
}

// byDescriptor names an open file to calls that take a path only.
func byDescriptor(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
