package changes

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// How a dirTree opens and reads single names.

// open opens the regular file that lstat has shown. O_NONBLOCK: should a FIFO have
// taken its place, the open returns at once, and the inode check refuses it.
func (t *dirTree) open(name string, e treeEntry) (*os.File, error) {
	f, _, err := t.openMarked(name, e, "")
	return f, err
}

// openMarked also tells whether the file has an attribute. That can't be asked later:
// unlike reading, it needs the permission at that moment (xattr(7)).
func (t *dirTree) openMarked(name string, e treeEntry, attr string) (f *os.File, marked bool, err error) {
	if e.typ != TypeFile {
		return nil, false, errNotRegular
	}
	dir, err := t.dir()
	if err != nil {
		return nil, false, err
	}
	if t.unlock && e.mode&0o400 == 0 && t.chmod(dir, name, e, e.mode|0o400) == nil {
		defer func() { _ = t.chmod(dir, name, e, e.mode) }()
	}
	fd, err := t.openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, false, err
	}
	err = sameInode(fd, unix.S_IFREG, e.dev, e.ino)
	if err == nil && attr != "" {
		marked, err = hasXattr(fd, attr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, false, err
	}
	return os.NewFile(uintptr(fd), name), marked, nil
}

func (t *dirTree) readlink(name string) (string, error) {
	dir, err := t.dir()
	if err != nil {
		return "", err
	}
	// A target is at most PATH_MAX bytes with its NUL (path_resolution(7)), so that
	// a full buffer means a file system that doesn't keep to it.
	buf := make([]byte, unix.PathMax+1)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	if n == len(buf) {
		return "", unix.ENAMETOOLONG
	}
	return string(buf[:n]), nil
}

// xattr reads an attribute of the present folder; "" is also what isn't there.
func (t *dirTree) xattr(attr string) (string, error) {
	fd, err := t.dir()
	if err != nil {
		return "", err
	}
	var buf [256]byte
	n, err := unix.Fgetxattr(fd, attr, buf[:])
	switch err {
	case nil:
		return string(buf[:n]), nil
	case unix.ENODATA, unix.EOPNOTSUPP:
		return "", nil
	case unix.ERANGE: // longer than any value that means something here
		return "(long)", nil
	}
	return "", err
}

// hasXattr asks for the size only: the attributes it is used for may be empty.
func hasXattr(fd int, attr string) (bool, error) {
	switch _, err := unix.Fgetxattr(fd, attr, nil); err {
	case nil:
		return true, nil
	case unix.ENODATA, unix.EOPNOTSUPP:
		return false, nil
	default:
		return false, err
	}
}

func (t *dirTree) openDir(at int, name string, dev, ino uint64) (int, error) {
	fd, err := t.openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if err := sameInode(fd, unix.S_IFDIR, dev, ino); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (t *dirTree) openat(at int, name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Resolve: t.resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(at, name, &how)
		// EAGAIN: a rename or mount elsewhere kept the kernel from being sure that
		// the path stays beneath (openat2(2)).
		if err == unix.EINTR || (err == unix.EAGAIN && try < 64) {
			continue
		}
		return fd, err
	}
}

// chmod changes the mode of exactly the inode that lstat has shown. fchmodat(2)
// would follow a symlink, and fchmodat2(2) is new in Linux 6.6.
func (t *dirTree) chmod(at int, name string, e treeEntry, mode uint32) error {
	fd, err := t.openat(at, name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	typ := uint32(unix.S_IFREG)
	if e.typ == TypeFolder {
		typ = unix.S_IFDIR
	}
	if err := sameInode(fd, typ, e.dev, e.ino); err != nil {
		return err
	}
	return chmodDescriptor(fd, mode)
}

// chmodDescriptor is fchmod for an O_PATH descriptor, which fchmod(2) refuses.
func chmodDescriptor(fd int, mode uint32) error {
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// sameInode compares the type too: the number of a file that was removed is soon
// given to another.
func sameInode(fd int, typ uint32, dev, ino uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != typ || uint64(st.Dev) != dev || st.Ino != ino {
		return errTreeChanged
	}
	return nil
}
