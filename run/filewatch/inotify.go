package filewatch

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxWatches is how many folders are watched: each costs the kernel a kilobyte, and the
// user a part of fs.inotify.max_user_watches.
const maxWatches = 8192

const inMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
	unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK

// inotify watches folder by folder. What was made in a new one before its watch was set is
// found by reading the folder; what was made and removed before that is not.
type inotify struct {
	f     *os.File
	fd    int
	root  int
	tree  *tree
	moved map[uint32]departure      // by cookie: whose other half has not come
	read  map[*node]map[string]bool // names that were found by reading, and whose event may follow
	count int64                     // of what was lost
	full  bool                      // folders are not watched
}

// departure is a name that a folder lost by a rename.
type departure struct {
	from *node
	name string
	dir  bool
	at   time.Time
}

// patience is how long the other half of a rename may take: the kernel queues the two one
// after the other, and one may be read before the other is there.
const patience = 100 * time.Millisecond

var errTooMany = errors.New("the workspace has more folders than are watched, " + strconv.Itoa(maxWatches) + ", or than the kernel lets this user watch (fs.inotify.max_user_watches)")

// openInotify watches a folder, and where it is full all folders in it.
func openInotify(root int, full bool, e eyes, emit func(Change)) (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	s := &inotify{f: os.NewFile(uintptr(fd), "inotify"), fd: fd, root: root, moved: map[uint32]departure{}, read: map[*node]map[string]bool{}}
	key, err := s.add(".")
	if err != nil {
		s.f.Close()
		return nil, err
	}
	s.tree = newTree(key, e, false, emit)
	if full {
		s.watchAll()
	}
	if s.full {
		s.f.Close()
		return nil, errTooMany
	}
	return s, nil
}

func (s *inotify) file() *os.File { return s.f }

func (s *inotify) lost() int64 {
	if s.full || s.tree.full {
		return s.count + 1
	}
	return s.count
}

// add watches a folder by its path from the root. The key is that of the watch: the same
// folder has the same one wherever it is moved (inotify(7)).
func (s *inotify) add(path string) (string, error) {
	fd, err := openBeneath(s.root, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	wd, err := unix.InotifyAddWatch(s.fd, byDescriptor(fd), inMask)
	if err != nil {
		return "", os.NewSyscallError("inotify_add_watch", err)
	}
	return wdKey(int32(wd)), nil
}

func wdKey(wd int32) string { return strconv.Itoa(int(wd)) }

// watch sets the watch of a folder in a folder that is known; fresh says that there was
// none. A folder that is gone has none.
func (s *inotify) watch(p *node, name string) (n *node, fresh bool) {
	path, in := s.tree.path(p, name)
	if !in {
		return nil, false
	}
	if len(s.tree.nodes) >= maxWatches {
		s.full = true
		return nil, false
	}
	key, err := s.add(path)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.ENOMEM):
		s.full = true
		return nil, false
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		s.count++
		return nil, false
	case err != nil: // it is gone, or nobody may look into it
		return nil, false
	}
	_, known := s.tree.nodes[key]
	return s.tree.put(key, p, name), !known
}

func (s *inotify) take(buf []byte) error { return parseInotify(buf, s.event) }

// parseInotify takes apart what one read gave: struct inotify_event, each with its name
// (inotify(7)).
func parseInotify(buf []byte, event func(wd int32, mask, cookie uint32, name string)) error {
	const head = 16
	for len(buf) > 0 {
		if len(buf) < head {
			return errRecord
		}
		wd := int32(binary.NativeEndian.Uint32(buf))
		mask := binary.NativeEndian.Uint32(buf[4:])
		cookie := binary.NativeEndian.Uint32(buf[8:])
		size := int64(binary.NativeEndian.Uint32(buf[12:]))
		if size > int64(len(buf)-head) {
			return errRecord
		}
		name, _, _ := strings.Cut(string(buf[head:head+size]), "\x00")
		buf = buf[head+size:]
		event(wd, mask, cookie, name)
	}
	return nil
}

func (s *inotify) event(wd int32, mask, cookie uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		s.count++
		s.watchAll()
		return
	}
	n := s.tree.nodes[wdKey(wd)]
	if mask&unix.IN_IGNORED != 0 {
		s.tree.drop(n)
		delete(s.read, n)
		return
	}
	if n == nil || name == "" {
		return
	}
	dir := mask&unix.IN_ISDIR != 0
	switch {
	case mask&unix.IN_CREATE != 0:
		if s.wasRead(n, name) {
			return
		}
		if dir {
			s.folder(n, name, s.tree.created)
		} else {
			s.tree.created(n, name, "", false)
		}
	case mask&unix.IN_CLOSE_WRITE != 0:
		s.tree.written(n, name)
	case mask&unix.IN_DELETE != 0:
		delete(s.read[n], name)
		key := ""
		if c := n.folders[name]; dir && c != nil {
			key = c.key
		}
		s.tree.deleted(n, name, key, dir)
	case mask&unix.IN_MOVED_FROM != 0:
		delete(s.read[n], name)
		s.moved[cookie] = departure{n, name, dir, time.Now()}
	case mask&unix.IN_MOVED_TO != 0:
		s.arrived(n, name, cookie, dir)
	}
}

// arrived joins the two halves of a rename. The first may be missing: it was in a folder
// that is not watched, as the overlay's own is.
func (s *inotify) arrived(to *node, name string, cookie uint32, dir bool) {
	d, known := s.moved[cookie]
	delete(s.moved, cookie)
	if !known && s.wasRead(to, name) {
		return
	}
	if !dir {
		s.tree.renamed(d.from, d.name, to, name, "", false)
		return
	}
	key, fresh := "", false
	if n, isNew := s.watch(to, name); n != nil {
		key, fresh = n.key, isNew
	}
	s.tree.renamed(d.from, d.name, to, name, key, true)
	if n := s.tree.nodes[key]; n != nil && fresh {
		s.scan(n)
	}
}

// folder watches a new folder, tells of it, and then of what is in it already.
func (s *inotify) folder(p *node, name string, tell func(p *node, name, key string, dir bool)) {
	key := ""
	n, fresh := s.watch(p, name)
	if n != nil {
		key = n.key
	}
	tell(p, name, key, true)
	if n != nil && fresh {
		s.scan(n)
	}
}

// scan tells of what a folder has, the folders below it too. Files of the overlay's layer
// are judged as if they had been moved there: they may be copies and whiteouts.
func (s *inotify) scan(top *node) {
	left := maxWalked
	for todo := []*node{top}; len(todo) > 0; {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		path, in := s.tree.path(n.parent, n.name)
		if !in {
			continue
		}
		fd, err := openBeneath(s.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil { // as above
			continue
		}
		dir := os.NewFile(uintptr(fd), path)
		entries, err := dir.ReadDir(left)
		dir.Close()
		if err != nil && len(entries) == 0 {
			continue
		}
		names := map[string]bool{}
		s.read[n] = names
		for _, e := range entries {
			left--
			names[e.Name()] = true
			if !e.IsDir() {
				s.tree.renamed(nil, "", n, e.Name(), "", false)
				continue
			}
			key, fresh := "", false
			if c, isNew := s.watch(n, e.Name()); c != nil {
				key, fresh = c.key, isNew
			}
			s.tree.renamed(nil, "", n, e.Name(), key, true)
			if c := s.tree.nodes[key]; c != nil && fresh {
				todo = append(todo, c)
			}
		}
		if left <= 0 {
			s.count++
			return
		}
	}
}

// wasRead says whether a name was found by reading, and that it is told of.
func (s *inotify) wasRead(n *node, name string) bool {
	if !s.read[n][name] {
		return false
	}
	delete(s.read[n], name)
	return true
}

// idle comes when the queue is empty: no event is left of what was found by reading, and
// the other half of a rename that is old does not come any more.
func (s *inotify) idle() {
	now := time.Now()
	for cookie, d := range s.moved {
		if now.Sub(d.at) < patience {
			continue
		}
		delete(s.moved, cookie)
		key := ""
		if c := d.from.folders[d.name]; d.dir && c != nil {
			key = c.key
			wd, _ := strconv.Atoi(key)
			_, _ = unix.InotifyRmWatch(s.fd, uint32(wd))
		}
		s.tree.renamed(d.from, d.name, nil, "", key, d.dir)
	}
	clear(s.read)
	s.tree.idle()
}

// watchAll watches the folders that are there and are not watched yet.
func (s *inotify) watchAll() {
	walk(s.root, s.tree.root, func(_ int, p *node, name string) (*node, bool) {
		n, _ := s.watch(p, name)
		return n, !s.full
	})
}
