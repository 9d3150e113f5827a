package changes

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// What goes into the list of changes, within its limits.

// add puts a change into the list, unless it is none or the list is full, and
// reports its place or -1.
func (r *changeReader) add(c Change, same bool) int {
	if same || r.full {
		return -1
	}
	bytes := int64(len(c.Path))
	for _, s := range []*FileState{c.Before, c.After} {
		if s != nil {
			bytes += int64(len(s.Target))
		}
	}
	if !r.room(c.Path, bytes) {
		return -1
	}
	r.out.Changes = append(r.out.Changes, c)
	return len(r.out.Changes) - 1
}

// unread notes a path that is not compared. Notes count like changes, so that they
// are bounded too.
func (r *changeReader) unread(path, reason string) {
	r.out.Complete = false
	path = cmp.Or(path, ".")
	if !r.full && r.room(path, int64(len(path))) {
		r.out.Unread = append(r.out.Unread, Unread{path, reason})
	}
}

// room takes what one more path needs from the limits. When they are reached, the
// last note says so.
func (r *changeReader) room(path string, bytes int64) bool {
	r.paths += bytes
	if len(r.out.Changes)+len(r.out.Unread) < r.lim.Entries && r.paths <= r.lim.Paths {
		return true
	}
	r.full = true
	r.out.Complete = false
	r.out.Unread = append(r.out.Unread, Unread{path, fmt.Sprintf(
		"the list ends here: it holds at most %d paths of %d bytes in all", r.lim.Entries, r.lim.Paths)})
	return false
}

// tooLong refuses a path that is past the limit, naming its beginning.
func (r *changeReader) tooLong(path string) bool {
	if len(path) <= r.lim.Path {
		return false
	}
	r.unread(path[:min(len(path), 256)], fmt.Sprintf("a path that begins like this is longer than %d bytes", r.lim.Path))
	return true
}

// list gives the names in the folder that t is in, and whether they are all of them.
func (r *changeReader) list(t *dirTree, path string) (names []string, all bool) {
	names, more, err := t.list(r.lim.Entries)
	if err != nil {
		r.unread(path, readReason(err))
		return nil, false
	}
	if more {
		r.unread(path, fmt.Sprintf("it has more than %d entries", r.lim.Entries))
	}
	return names, !more
}

func (r *changeReader) hidden(path string) bool { return r.o.Hidden != nil && r.o.Hidden(path) }

// content fills in what lstat doesn't tell: a file's hash, a symlink's target.
func (r *changeReader) content(c *Change, t *dirTree, name string, e treeEntry, s *FileState) {
	switch s.Type {
	case TypeSymlink:
		target, err := t.readlink(name)
		if err != nil {
			r.unread(c.Path, readReason(err))
			return
		}
		s.Target = target
	case TypeFile:
		s.SHA256, s.Unhashed = r.sum(t, name, e)
	}
}

func (r *changeReader) sum(t *dirTree, name string, e treeEntry) (sum, reason string) {
	// Both limits are on the size that the file claims: it costs nothing to make a
	// sparse file of exabytes.
	if e.size > r.lim.HashFile {
		return "", fmt.Sprintf("it is larger than %d bytes", r.lim.HashFile)
	}
	if e.size > r.hashLeft {
		return "", fmt.Sprintf("%d bytes were read by then, as much as is allowed", r.lim.HashTotal-r.hashLeft)
	}
	r.hashLeft -= e.size
	open := t.open
	if t == r.upper && r.lower != nil {
		open = func(name string, e treeEntry) (*os.File, error) { return r.marks.open(t, name, e) }
	}
	f, err := open(name, e)
	if err != nil {
		return "", markReason(err)
	}
	defer f.Close()
	r.hash.Reset()
	n, err := io.Copy(r.hash, io.LimitReader(f, e.size+1))
	if err != nil {
		return "", readReason(err)
	}
	if n != e.size {
		return "", readReason(errTreeChanged)
	}
	return hex.EncodeToString(r.hash.Sum(nil)), ""
}

func markReason(err error) string {
	if errors.Is(err, errRedirect) || errors.Is(err, errMetacopy) {
		return err.Error()
	}
	return readReason(err)
}
