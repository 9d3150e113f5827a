package filewatch

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fanotify sees every change of a file system. The marked one is not held by it: an
// unmount goes on and takes the mark away (fs/notify/mark.c, fsnotify_sb_delete).
type fanotify struct {
	f      *os.File
	root   int
	tree   *tree
	missed int64
}

// openFanotify takes over a group that PID 1 made. Its first events are of the file that
// PID 1 made, wrote and removed: they tell whether it works, and what it tells of writes.
func openFanotify(group *os.File, root int, probe string, e eyes, emit func(Change)) (*fanotify, bool, error) {
	s, err := newFanotify(group, root, e, emit)
	if err != nil {
		return nil, false, err
	}
	raw, err := group.SyscallConn()
	if err != nil {
		return nil, false, err
	}
	var made, wrote bool
	buf := make([]byte, 4096)
	var rerr error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Read(int(fd), buf)
			if n <= 0 || err != nil {
				return true
			}
			rerr = errors.Join(rerr, parseRecords(buf[:n], func(r record) {
				if r.at.name == probe && r.at.dir == s.tree.root.key {
					made = made || r.mask&unix.FAN_CREATE != 0
					wrote = wrote || r.mask&unix.FAN_CLOSE_WRITE != 0
					return
				}
				s.tree.take(r)
			}))
		}
	})
	switch {
	case errors.Join(err, rerr) != nil:
		return nil, false, errors.Join(err, rerr)
	case !made:
		return nil, false, errors.New("fanotify did not tell of a file that was made")
	}
	s.tree.writes = wrote
	return s, wrote, nil
}

// markFanotify has a group made here. What it tells of writes is not known: to try it, a
// file would have to be made through the overlay, in the jail.
func markFanotify(mark func() (*os.File, error), root int, e eyes, emit func(Change)) (*fanotify, error) {
	group, err := mark()
	if err != nil {
		return nil, err
	}
	s, err := newFanotify(group, root, e, emit)
	if err != nil {
		group.Close()
	}
	return s, err
}

func newFanotify(group *os.File, root int, e eyes, emit func(Change)) (*fanotify, error) {
	h, _, err := unix.NameToHandleAt(root, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, os.NewSyscallError("name_to_handle_at", err)
	}
	return &fanotify{f: group, root: root, tree: newTree(handleKey(h.Type(), h.Bytes()), e, false, emit)}, nil
}

func (s *fanotify) file() *os.File { return s.f }
func (s *fanotify) idle()          { s.tree.idle() }

func (s *fanotify) lost() int64 {
	if s.tree.full {
		return s.missed + 1
	}
	return s.missed
}

func (s *fanotify) take(buf []byte) error {
	return parseRecords(buf, func(r record) {
		if r.mask&unix.FAN_Q_OVERFLOW != 0 {
			s.missed++
			s.relearn()
			return
		}
		s.tree.take(r)
	})
}

// relearn finds the handles of the folders that are there, after events were lost. What
// changed in them is not told of: the run's end has it.
func (s *fanotify) relearn() {
	walk(s.root, s.tree.root, func(at int, p *node, name string) (*node, bool) {
		h, _, err := unix.NameToHandleAt(at, name, 0)
		if err != nil {
			return nil, true
		}
		known := s.tree.nodes[handleKey(h.Type(), h.Bytes())]
		n := s.tree.put(handleKey(h.Type(), h.Bytes()), p, name)
		if n != nil && known == nil {
			if path, in := s.tree.path(p, name); in {
				n.fresh = s.tree.below(p, path) != folder
			}
		}
		return n, !s.tree.full
	})
}
