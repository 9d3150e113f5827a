package changes

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// dirTree walks a tree that somebody hostile may have made. It opens one name at a
// time beneath the folder that it is in, follows no symlink, opens nothing but
// folders and regular files, and holds few descriptors however deep the tree is.
type dirTree struct {
	levels  []treeLevel // the root, then one for each folder down to the present one
	resolve uint64
	unlock  bool
}

type treeLevel struct {
	name     string
	fd       int // -1 while it is closed to save descriptors
	dev, ino uint64
	relock   bool // the folder's mode was widened to read it; mode is what it was
	mode     uint32
}

// treeEntry is what lstat says of one name.
type treeEntry struct {
	typ      string
	mode     uint32 // permission bits, setuid, setgid, sticky
	size     int64
	dev, ino uint64
	rdev     uint64
	uid, gid uint32
	mtime    unix.Timespec
	ctime    unix.Timespec
}

var (
	errTreeChanged = errors.New("it changed while it was read")
	errNotRegular  = errors.New("it is not a regular file")
)

// treeWindow is how many of the deepest levels stay open, and how far apart those
// above them are that stay open too. With changesMaxDepth it bounds the descriptors
// of one tree to 32 + 8192/32 = 288; two trees fit into the usual limit of 1024.
const treeWindow = 32

// treeUpper says that a tree is the run's own upper layer, which goes away after
// the run: a folder or file that its own mode keeps us from reading may be unlocked
// for a moment. The host's files are never touched.
const treeUpper = true

// openDirTree starts a walk at root, which may be an O_PATH descriptor and stays the
// caller's. With oneMount, what is mounted within the tree is not entered.
func openDirTree(root *os.File, upper, oneMount bool) (*dirTree, error) {
	t := &dirTree{unlock: upper}
	// openat2(2). For the single names that are opened here O_NOFOLLOW would do;
	// the kernel's own promise costs nothing and also holds for "." and "..".
	t.resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS
	if oneMount {
		t.resolve |= unix.RESOLVE_NO_XDEV
	}
	at := int(root.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, err
	}
	e := treeEntryOf(&st)
	if e.typ != TypeFolder {
		return nil, unix.ENOTDIR
	}
	l := treeLevel{dev: e.dev, ino: e.ino, mode: e.mode}
	if t.unlock && e.mode&0o500 != 0o500 {
		l.relock = chmodDescriptor(at, e.mode|0o700) == nil
	}
	fd, err := t.openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	l.fd = fd
	t.levels = append(t.levels, l)
	return t, nil
}

// openLowerTree starts a walk of a folder of the host's, as the caller resolved it.
func openLowerTree(path string, oneMount bool) (*dirTree, error) {
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return openDirTree(f, !treeUpper, oneMount)
}

func (t *dirTree) close() {
	for len(t.levels) > 0 {
		t.leave()
	}
}

// depth is the number of folders below the root.
func (t *dirTree) depth() int { return len(t.levels) - 1 }

// path is where the walk is, "" at the root.
func (t *dirTree) path() string {
	names := make([]string, 0, len(t.levels))
	for _, l := range t.levels[1:] {
		names = append(names, l.name)
	}
	return strings.Join(names, "/")
}

// dir is a descriptor of the present folder, opened again if it was closed on the
// way down. The tree is not trusted to be the same then: the inode must be.
func (t *dirTree) dir() (int, error) {
	last := len(t.levels) - 1
	open := last
	for t.levels[open].fd < 0 {
		open-- // the root is never closed
	}
	for ; open < last; open++ {
		next := &t.levels[open+1]
		fd, err := t.openDir(t.levels[open].fd, next.name, next.dev, next.ino)
		if err != nil {
			return -1, err
		}
		next.fd = fd
	}
	return t.levels[last].fd, nil
}

// enter goes down into a folder that lstat has shown.
func (t *dirTree) enter(name string, e treeEntry) error {
	dir, err := t.dir()
	if err != nil {
		return err
	}
	l := treeLevel{name: name, dev: e.dev, ino: e.ino, mode: e.mode}
	if t.unlock && e.mode&0o500 != 0o500 {
		l.relock = t.chmod(dir, name, e, e.mode|0o700) == nil
	}
	if l.fd, err = t.openDir(dir, name, e.dev, e.ino); err != nil {
		if l.relock {
			_ = t.chmod(dir, name, e, e.mode)
		}
		return err
	}
	t.levels = append(t.levels, l)
	if i := len(t.levels) - 1 - treeWindow; i > 0 && i%treeWindow != 0 && t.levels[i].fd >= 0 {
		_ = unix.Close(t.levels[i].fd)
		t.levels[i].fd = -1
	}
	return nil
}

// leave goes up again.
func (t *dirTree) leave() {
	last := len(t.levels) - 1
	l := t.levels[last]
	if l.relock {
		if fd, err := t.dir(); err == nil {
			_ = unix.Fchmod(fd, l.mode)
			l.fd = fd
		}
	}
	if l.fd >= 0 {
		_ = unix.Close(l.fd)
	}
	t.levels = t.levels[:last]
}

// seek goes to the folder of this path, from wherever the walk is.
func (t *dirTree) seek(path string) error {
	var names []string
	if path != "" {
		names = strings.Split(path, "/")
	}
	same := 0
	for same < len(names) && same < t.depth() && t.levels[same+1].name == names[same] {
		same++
	}
	for t.depth() > same {
		t.leave()
	}
	for _, name := range names[same:] {
		e, ok, err := t.lstat(name)
		if err != nil {
			return err
		}
		if !ok {
			return unix.ENOENT
		}
		if e.typ != TypeFolder {
			return unix.ENOTDIR
		}
		if err := t.enter(name, e); err != nil {
			return err
		}
	}
	return nil
}

// list gives the names in the present folder, sorted, at most limit of them; more
// says that there are others.
func (t *dirTree) list(limit int) (names []string, more bool, err error) {
	fd, err := t.dir()
	if err != nil {
		return nil, false, err
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, false, err
	}
	buf := make([]byte, 32<<10)
	for len(names) <= limit {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	if len(names) > limit {
		return names[:limit], true, nil
	}
	return names, false, nil
}

func (t *dirTree) lstat(name string) (e treeEntry, ok bool, err error) {
	fd, err := t.dir()
	if err != nil {
		return e, false, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if err == unix.ENOENT {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	return treeEntryOf(&st), true, nil
}

func treeEntryOf(st *unix.Stat_t) treeEntry {
	e := treeEntry{mode: st.Mode & 0o7777, size: st.Size, dev: uint64(st.Dev), ino: st.Ino, uid: st.Uid, gid: st.Gid, mtime: st.Mtim, ctime: st.Ctim}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.typ = TypeFile
	case unix.S_IFDIR:
		e.typ, e.size = TypeFolder, 0 // a folder's size is the file system's business
	case unix.S_IFLNK:
		e.typ = TypeSymlink
	case unix.S_IFIFO:
		e.typ = TypeFIFO
	case unix.S_IFSOCK:
		e.typ = TypeSocket
	default:
		e.typ, e.rdev = TypeDevice, uint64(st.Rdev)
		if st.Mode&unix.S_IFMT == unix.S_IFCHR {
			e.rdev |= 1 << 63 // tells a character device from a block device of the same number
		}
	}
	return e
}

// whiteoutDevice is what treeEntryOf makes of a character device 0:0, which is how
// overlayfs marks what was deleted (Documentation/filesystems/overlayfs.rst).
const whiteoutDevice = 1 << 63

// readReason says in a few words why something could not be read.
func readReason(err error) string {
	switch {
	case errors.Is(err, unix.EXDEV):
		return "something else is mounted there, which the jail did not see"
	case errors.Is(err, unix.ELOOP):
		return "it became a symlink while it was read"
	}
	return fmt.Sprintf("it cannot be read: %v", err)
}
