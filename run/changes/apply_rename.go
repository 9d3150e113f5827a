package changes

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The operations themselves: renames between the stage and the workspace, never
// through a symlink, never over something that was not looked at.

var errMoved = errors.New("the host's file changed while the changes were applied")

// perform carries the operations out.
func (c *committer) perform() error {
	for i := range c.j.Ops {
		op := &c.j.Ops[i]
		if err := c.one(op, i); err != nil {
			return fmt.Errorf("%s: %w", quoted(op.Path), err)
		}
	}
	return nil
}

func (c *committer) one(op *operation, n int) error {
	dir, base := splitPath(op.Path)
	if err := c.tree.seek(dir); err != nil {
		return err
	}
	at, err := c.tree.dir()
	if err != nil {
		return err
	}
	switch op.Kind {
	case opRemove:
		if err := unix.Renameat2(at, base, c.stage, stagedOld(n), unix.RENAME_NOREPLACE); err != nil {
			return renameError(err)
		}
		return c.wasExpected(op, stagedOld(n))
	case opReplace:
		if err := unix.Renameat2(c.stage, stagedNew(n), at, base, unix.RENAME_EXCHANGE); err != nil {
			return renameError(err)
		}
		return c.wasExpected(op, stagedNew(n))
	case opPlace:
		if err := unix.Renameat2(c.stage, stagedNew(n), at, base, unix.RENAME_NOREPLACE); err != nil {
			return renameError(err)
		}
		return nil
	}
	return chmodFolder(c.tree, base, op.Old, op.New)
}

// wasExpected checks what has gone into the stage: it must be the file that was
// looked at when it was decided. That is asked after the rename, since before it
// somebody could still change it.
func (c *committer) wasExpected(op *operation, staged string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(c.stage, staged, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	got, want := treeEntryOf(&st), op.expect.entry
	if got.typ != want.typ || got.ino != want.ino || got.mode != want.mode || got.size != want.size {
		return fmt.Errorf("%w: %w", ErrConflict, errMoved)
	}
	if got.typ != TypeFolder {
		if got.mtime != want.mtime {
			return fmt.Errorf("%w: %w", ErrConflict, errMoved)
		}
		return nil
	}
	names, err := namesIn(c.stage, staged)
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w: %w", ErrConflict, errMoved)
	}
	return err
}

func renameError(err error) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the workspace's file system can't swap two files at once (renameat2(2)): %w\nhint: apply changes.patch with git apply instead", err)
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: %w: %w", ErrConflict, errMoved, err)
	}
	return err
}

func chmodFolder(t *dirTree, base string, old, now FileMode) error {
	at, err := t.dir()
	if err != nil {
		return err
	}
	e, ok, err := t.lstat(base)
	if err == nil && (!ok || e.typ != TypeFolder || FileMode(e.mode) != old) {
		err = fmt.Errorf("%w: %w", ErrConflict, errMoved)
	}
	if err != nil {
		return err
	}
	return t.chmod(at, base, e, uint32(now))
}

// rollBack takes operations back, the last first, as far as they were carried out.
// What is where tells how far that is: every file was in the stage, or went there.
func rollBack(root *os.File, j *journal) error {
	stage, err := unix.Openat(int(root.Fd()), j.Stage, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil // it was never made
	}
	if err != nil {
		return err
	}
	defer unix.Close(stage)
	t, err := openDirTree(root, !treeUpper, true)
	if err != nil {
		return err
	}
	defer t.close()
	var errs []error
	for i, op := range slices.Backward(j.Ops) {
		if err := takeBack(t, stage, &op, i); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", quoted(op.Path), err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	t.close()
	return removeStage(root, j.Stage)
}

func takeBack(t *dirTree, stage int, op *operation, n int) error {
	if done, err := carriedOut(stage, op, n); err != nil || !done {
		return err
	}
	dir, base := splitPath(op.Path)
	if err := t.seek(dir); err != nil {
		if missing(err) && op.Kind == opChmod {
			return nil // its folder was not made
		}
		return err
	}
	at, err := t.dir()
	if err != nil {
		return err
	}
	if op.Kind == opRemove {
		return unix.Renameat2(stage, stagedOld(n), at, base, unix.RENAME_NOREPLACE)
	}
	there, exists, err := t.lstat(base)
	switch {
	case err != nil:
		return err
	case op.Kind == opChmod:
		if exists && there.typ == TypeFolder && FileMode(there.mode) == op.New {
			return t.chmod(at, base, there, uint32(op.Old))
		}
		return nil
	case !exists || there.ino != op.Ino:
		// Somebody put something else there since; what it replaced stays in the stage.
		return errMoved
	case op.Kind == opReplace:
		return unix.Renameat2(stage, stagedNew(n), at, base, unix.RENAME_EXCHANGE)
	}
	return unix.Renameat2(at, base, stage, stagedNew(n), unix.RENAME_NOREPLACE)
}

// carriedOut tells by the stage whether an operation was done; a folder's mode tells
// that by itself.
func carriedOut(stage int, op *operation, n int) (bool, error) {
	name := stagedNew(n)
	switch op.Kind {
	case opChmod:
		return true, nil
	case opRemove:
		name = stagedOld(n)
	}
	var st unix.Stat_t
	err := unix.Fstatat(stage, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	gone := errors.Is(err, unix.ENOENT)
	if err != nil && !gone {
		return false, err
	}
	switch op.Kind {
	case opRemove:
		return !gone, nil
	case opPlace:
		return gone && op.Ino != 0, nil
	}
	return !gone && st.Ino != op.Ino, nil
}

// removeStage removes the stage and what is in it: files that were replaced or never
// placed, and empty folders.
func removeStage(root *os.File, name string) error {
	stage, err := unix.Openat(int(root.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(stage)
	names, err := namesIn(stage, ".")
	if err != nil {
		return err
	}
	for _, n := range names {
		err := unix.Unlinkat(stage, n, 0)
		if errors.Is(err, unix.EISDIR) {
			err = unix.Unlinkat(stage, n, unix.AT_REMOVEDIR)
		}
		if err != nil {
			return fmt.Errorf("%s/%s: %w", name, n, err)
		}
	}
	return unix.Unlinkat(int(root.Fd()), name, unix.AT_REMOVEDIR)
}

func namesIn(at int, name string) (names []string, err error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return f.Readdirnames(-1)
}

// missing tells whether an error says that something in a path is not there or is no
// folder.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

type sum struct{ hash.Hash }

func newSum() sum { return sum{sha256.New()} }

func (s sum) hex() string { return hex.EncodeToString(s.Sum(nil)) }

func sortChanges(list []Change) {
	slices.SortFunc(list, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
}
