package changes

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// A todo is one path that is to be changed on the host, and from what to what.
type todo struct {
	path   string
	before *FileState // as the host has it now
	after  *FileState
	host   *hostFile
	data   []byte // in place of the kept content
}

// committer carries a plan out.
type committer struct {
	root  *os.File
	data  io.ReaderAt
	todo  []todo
	tree  *dirTree
	stage int // descriptor of the stage
	j     journal
}

// Commit applies the plan: all of it, or nothing at all, also when it is killed
// half-way and Recover is called later. dir is an empty folder of the caller's for the
// journal; workspace is the path of the root. Where there is nothing to do, nothing is
// written. What changed on the host after PlanApply is a conflict.
func (p *Plan) Commit(dir, workspace string) (err error) {
	if err := p.Blocked(); err != nil {
		return err
	}
	c := &committer{root: p.root, data: p.data, todo: p.todo()}
	if len(c.todo) == 0 {
		return nil
	}
	if err := c.open(workspace); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	defer c.close()
	if err = c.prepare(dir); err == nil {
		err = c.perform()
	}
	if err != nil {
		back := rollBack(p.root, &c.j)
		if back == nil {
			back = removeIfThere(filepath.Join(dir, journalFile))
		} else {
			back = fmt.Errorf("and it could not be taken back whole: %w\nhint: what is missing is in %s", back, filepath.Join(workspace, c.j.Stage))
		}
		return errors.Join(fmt.Errorf("apply: %w", err), back)
	}
	if err := c.finish(dir); err != nil {
		return fmt.Errorf("apply: it is done, but %w", err)
	}
	return nil
}

func removeIfThere(name string) error {
	if err := os.Remove(name); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// todo lists what the plan's steps come to.
func (p *Plan) todo() (list []todo) {
	for i := range p.Steps {
		s := &p.Steps[i]
		c := s.Change
		switch {
		case s.Outcome == OutcomeConflict && s.Beside != "":
			list = append(list, todo{path: s.Beside, after: p.allowed(c.After), host: &hostFile{}})
		case s.Outcome != OutcomeApply:
		case c.After != nil && c.After.Type == TypeFolder && s.host.state != nil && s.host.state.Type == TypeFolder && c.Before == nil:
			// Both made it: the host's mode stays.
		default:
			t := todo{path: c.Path, before: s.host.state, after: p.allowed(c.After), host: s.host}
			if p.o.Rewrite != nil && c.After != nil && c.After.Type == TypeFile {
				if t.data = p.o.Rewrite(c); t.data != nil {
					after := *t.after
					after.Size, after.SHA256, after.At = int64(len(t.data)), sumOf(t.data), nil
					t.after = &after
				}
			}
			list = append(list, t)
		}
	}
	return list
}

func (c *committer) open(workspace string) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.root.Fd()), &st); err != nil {
		return err
	}
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	c.j = journal{Workspace: workspace, Dev: uint64(st.Dev), Ino: st.Ino, Stage: StagePrefix + hex.EncodeToString(b[:])}
	var err error
	if c.tree, err = openDirTree(c.root, !treeUpper, true); err != nil {
		return err
	}
	c.stage, err = makeStage(c.root, c.j.Stage)
	if err != nil {
		c.tree.close()
		return fmt.Errorf("make a folder in %s: %w", workspace, err)
	}
	return nil
}

func makeStage(root *os.File, name string) (int, error) {
	if err := unix.Mkdirat(int(root.Fd()), name, 0o700); err != nil {
		return -1, err
	}
	at, err := unix.Openat(int(root.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	// A default list of the folder's may have taken rights away (acl(5)).
	if err := chmodDescriptor(at, 0o700); err != nil {
		return -1, err
	}
	return unix.Openat(int(root.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func (c *committer) close() {
	c.tree.close()
	_ = unix.Close(c.stage)
}

// prepare stages every new file, keeps every old one, and writes the journal.
func (c *committer) prepare(dir string) error {
	if err := c.order(); err != nil {
		return err
	}
	if err := c.keepOld(dir); err != nil {
		return fmt.Errorf("keep what is replaced, for undo: %w", err)
	}
	// Everything that the journal speaks of is on the disk before the journal is.
	if err := c.sync(); err != nil {
		return err
	}
	return c.j.write(dir)
}

// order makes the operations: first what goes, the deepest first; then what comes, a
// folder before what is in it; then the modes of folders, as one may shut its owner out.
func (c *committer) order() error {
	for i := len(c.todo) - 1; i >= 0; i-- {
		t := &c.todo[i]
		if t.before != nil && (t.after == nil || t.after.Type != t.before.Type) {
			c.j.Ops = append(c.j.Ops, operation{Kind: opRemove, Path: t.path, expect: t.host})
		}
	}
	for i := range c.todo {
		t := &c.todo[i]
		if t.after == nil {
			continue
		}
		op := operation{Kind: opPlace, Path: t.path}
		if t.before != nil && t.before.Type == t.after.Type {
			if t.after.Type == TypeFolder {
				continue
			}
			op.Kind, op.expect = opReplace, t.host
		}
		var err error
		if op.Ino, err = c.stageNew(t, len(c.j.Ops)); err != nil {
			return fmt.Errorf("%s: %w", quoted(t.path), err)
		}
		c.j.Ops = append(c.j.Ops, op)
	}
	for i := len(c.todo) - 1; i >= 0; i-- {
		t := &c.todo[i]
		if t.after == nil || t.after.Type != TypeFolder {
			continue
		}
		old := t.after.Mode | 0o700
		if t.before != nil && t.before.Type == TypeFolder {
			old = t.before.Mode
		}
		if old != t.after.Mode {
			c.j.Ops = append(c.j.Ops, operation{Kind: opChmod, Path: t.path, Old: old, New: t.after.Mode})
		}
	}
	return nil
}

func stagedNew(n int) string { return "n" + strconv.Itoa(n) }
func stagedOld(n int) string { return "b" + strconv.Itoa(n) }

// stageNew makes a new file in the stage, whole and with its owner and mode.
func (c *committer) stageNew(t *todo, n int) (ino uint64, err error) {
	name := stagedNew(n)
	uid, gid, err := c.owner(t)
	if err != nil {
		return 0, err
	}
	switch t.after.Type {
	case TypeFolder:
		err = unix.Mkdirat(c.stage, name, 0o700)
	case TypeSymlink:
		if err = unix.Symlinkat(t.after.Target, c.stage, name); err == nil {
			err = chownAt(c.stage, name, uid, gid)
		}
	case TypeFIFO:
		if err = unix.Mkfifoat(c.stage, name, 0o600); err == nil {
			if err = chownAt(c.stage, name, uid, gid); err == nil {
				err = unix.Fchmodat(c.stage, name, uint32(t.after.Mode), 0)
			}
		}
	case TypeFile:
		return c.stageFile(t, name, uid, gid)
	}
	if err == nil && t.after.Type == TypeFolder {
		if err = chownAt(c.stage, name, uid, gid); err == nil {
			err = unix.Fchmodat(c.stage, name, uint32(t.after.Mode|0o700), 0)
		}
	}
	if err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = unix.Fstatat(c.stage, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st.Ino, err
}

func (c *committer) stageFile(t *todo, name string, uid, gid int) (ino uint64, err error) {
	fd, err := unix.Openat(c.stage, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, f.Close()) }()
	if t.data != nil {
		_, err = f.Write(t.data)
	} else {
		err = t.after.content(f, c.data)
	}
	if err != nil {
		return 0, err
	}
	// The owner first: chown(2) takes setuid bits off, of which there are none here.
	if uid >= 0 {
		if err := f.Chown(uid, gid); err != nil {
			return 0, err
		}
	}
	// Before the mode, of which the group's bits are the mask of a list (acl(5)).
	if err := c.keepAttributes(t, fd); err != nil {
		return 0, err
	}
	if err := unix.Fchmod(fd, uint32(t.after.Mode)); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Ino, err
}

// keepAttributes gives a new file those of the one whose place it takes, or, where it
// comes back, those that it had.
func (c *committer) keepAttributes(t *todo, fd int) error {
	switch {
	case t.after.Attributes != nil:
		return setAttributes(fd, t.after.Attributes)
	case t.before == nil || t.before.Type != TypeFile:
		return nil
	}
	attrs, err := c.hostAttributes(t.path, t.host)
	if err != nil {
		return err
	}
	return setAttributes(fd, attrs)
}

// owner is who a new file belongs to: whom the one that it replaces belonged to, or
// else whom its folder does, so that what root applies in a user's folder is the
// user's. -1 is the caller; only root can give a file away (chown(2)).
func (c *committer) owner(t *todo) (uid, gid int, err error) {
	if os.Geteuid() != 0 {
		return -1, -1, nil
	}
	if t.host.state != nil && t.host.state.Type == t.after.Type {
		return int(t.host.entry.uid), int(t.host.entry.gid), nil
	}
	// What will be made belongs to whom the folder above belongs that is there.
	dir := parentOf(t.path)
	if t.host.obstacle != "" {
		dir = parentOf(t.host.obstacle)
	}
	if err := c.tree.seek(dir); err != nil {
		return 0, 0, err
	}
	at, err := c.tree.dir()
	if err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	err = unix.Fstat(at, &st)
	return int(st.Uid), int(st.Gid), err
}

func chownAt(dir int, name string, uid, gid int) error {
	if uid < 0 {
		return nil
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// foreign tells whether replacing a file would change whom it belongs to.
func (p *Plan) foreign(c *Change, h *hostFile) string {
	if h.state == nil || os.Geteuid() == 0 || c.After == nil || h.state.Type != c.After.Type || c.After.Type == TypeFolder {
		return ""
	}
	if int(h.entry.uid) != os.Geteuid() {
		return fmt.Sprintf("the host's file belongs to another user (uid %d)", h.entry.uid)
	}
	return ""
}

// keepOld writes the list that takes all of it back, with its contents.
func (c *committer) keepOld(dir string) error {
	undo := &List{Complete: true}
	for i := range c.todo {
		t := &c.todo[i]
		before := t.before
		if before != nil {
			b := *before
			b.At = nil
			if b.Type == TypeFile {
				var err error
				if b.Attributes, err = c.hostAttributes(t.path, t.host); err != nil {
					return fmt.Errorf("%s: %w", quoted(t.path), err)
				}
			}
			before = &b
		}
		undo.Changes = append(undo.Changes, Change{Op: opBetween(t.after, before), Path: t.path, Before: t.after, After: before})
	}
	sortChanges(undo.Changes)
	err := createFile(filepath.Join(dir, undoData), func(w io.Writer) error {
		return writeContents(w, c.tree, undo.Changes, ContentOptions{MaxTotal: 1 << 62})
	})
	if err != nil {
		return err
	}
	for i := range undo.Changes {
		if why := undo.Changes[i].Unkept; why != "" {
			return fmt.Errorf("%s: %s", quoted(undo.Changes[i].Path), why)
		}
	}
	return createFile(filepath.Join(dir, undoList), undo.WriteJSON)
}

func opBetween(before, after *FileState) audit.FileOp {
	switch {
	case before == nil:
		return audit.FileCreated
	case after == nil:
		return audit.FileDeleted
	}
	return audit.FileModified
}

func createFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// finish makes it final: the old files go.
func (c *committer) finish(dir string) error {
	if err := c.sync(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, journalFile), filepath.Join(dir, doneFile)); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return removeStage(c.root, c.j.Stage)
}

// syncEach is how many files are written to the disk one by one; for more it is
// quicker to write out the whole file system, with what other programs have dirty.
const syncEach = 64

// sync brings the stage and the folders that operations change to the disk.
func (c *committer) sync() error {
	if len(c.j.Ops) > syncEach {
		return os.NewSyscallError("syncfs", unix.Syncfs(c.stage))
	}
	names, err := namesIn(c.stage, ".")
	if err != nil {
		return err
	}
	for _, n := range names {
		// A symlink has nothing but its folder's entry, and a FIFO would block.
		fd, err := unix.Openat(c.stage, n, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		err = unix.Fsync(fd)
		_ = unix.Close(fd)
		if err != nil && !errors.Is(err, unix.EINVAL) { // of a FIFO
			return os.NewSyscallError("fsync", err)
		}
	}
	dirs := map[string]bool{}
	for i := range c.j.Ops {
		dir := parentOf(c.j.Ops[i].Path)
		if dirs[dir] || c.tree.seek(dir) != nil { // one that is to be made, or is gone
			continue
		}
		dirs[dir] = true
		at, err := c.tree.dir()
		if err == nil {
			err = unix.Fsync(at)
		}
		if err != nil {
			return os.NewSyscallError("fsync", err)
		}
	}
	return os.NewSyscallError("fsync", unix.Fsync(c.stage))
}

func sumOf(b []byte) string {
	s := newSum()
	_, _ = io.Copy(s, bytes.NewReader(b))
	return s.hex()
}
