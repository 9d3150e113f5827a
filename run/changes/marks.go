package changes

import (
	"bytes"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// mark is whether a file system gives each change of a file the kernel's own time.
type mark struct{ known, works bool }

// marked tells Entry.Marked of a file of the present folder. A file of another device than
// its folder's is a mount of its own, or overlayfs's way to number files: then its folder
// says nothing of it.
func (w *placeWalk) marked(file, folder uint64) bool {
	m := w.marks[folder]
	if !m.known {
		m.known = true
		if fd, err := w.tree.dir(); err == nil {
			m.works = marksMappings(fd)
		}
		w.marks[folder] = m
	}
	return m.works && file == folder
}

// marksMappings tries on a file without a name, which nobody ever sees, whether a write
// through a shared mapping sets its ctime. It does not on a tmpfs, nor on an overlay of
// one; where there are no such files (open(2), O_TMPFILE) or the kernel can't be asked
// to fault a page in (madvise(2), since Linux 5.14), the answer is no.
func marksMappings(dir int) bool {
	const page = 4096
	fd, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, make([]byte, page), 0); err != nil {
		return false
	}
	var before, after unix.Stat_t
	if unix.Fstat(fd, &before) != nil {
		return false
	}
	// Times are those of the last tick of the clock (CONFIG_HZ): a hundred a second at least.
	for range 20 {
		var now unix.Timespec
		if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) != nil || Later(now, before.Ctim) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	m, err := unix.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return false
	}
	defer unix.Munmap(m)
	// The fault without the write: where there is no room, it is an error and no SIGBUS.
	if unix.Madvise(m, unix.MADV_POPULATE_WRITE) != nil || unix.Fstat(fd, &after) != nil {
		return false
	}
	return Later(after.Ctim, before.Ctim)
}

// Later compares two times of a file system.
func Later(a, b unix.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

// Contents gives fn the content of files that a walk has come by, as far as each is still
// the file that it was then; err is why it can't be read, and fn's false ends it. Of what
// is larger than most bytes it gets the first and an error; of a symlink nothing.
func Contents(root *os.File, list []Entry, most int64, fn func(e Entry, content []byte, err error) bool) error {
	t, err := openDirTree(root, !treeUpper, false)
	if err != nil {
		return err
	}
	defer t.close()
	for _, e := range list {
		content, err := t.content(e, most)
		if !fn(e, content, err) {
			return nil
		}
	}
	return nil
}

func (t *dirTree) content(e Entry, most int64) ([]byte, error) {
	if e.Type != TypeFile {
		return nil, nil
	}
	const head = 8000 // as much as git looks at to tell a text (xdiff-interface.c)
	limit := most + 1
	if e.Size > most {
		limit = head
	}
	dir, base := path.Split(e.Path)
	if err := t.seek(path.Clean("/" + dir)[1:]); err != nil {
		return nil, err
	}
	f, err := t.open(base, treeEntry{typ: e.Type, dev: e.Dev, ino: e.Ino})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(f, limit)); err != nil {
		return nil, err
	}
	if e.Size > most || int64(b.Len()) > most {
		return b.Bytes()[:min(b.Len(), head)], errTooLarge
	}
	return b.Bytes(), nil
}
