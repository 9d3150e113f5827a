package run

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles/mutate"
	"github.com/agentjail/agentjail/run/changes"
)

// Of what is not there when a run in direct mode begins the kernel can keep a few folders
// from being made, without a race: an empty one is made in the host's own folder and is a
// read-only mount of itself in the jail, like what was there. It is removed when the run
// ends. Only for folders, which mean nothing while they are empty, and only for those that
// something on the host reads by itself (gate.Early).

// earlyFolders is what a run's state folder says of them, so that they can be removed
// where the run was killed.
type earlyFolders struct {
	Workspace string        `json:"workspace"`
	Ino       uint64        `json:"ino"`    // of the workspace
	Prefix    string        `json:"prefix"` // of the names that they are made by
	Names     []string      `json:"names"`
	Made      []earlyFolder `json:"made,omitempty"` // by the same numbers; before they have their names
}

// earlyFolder is one of them: nothing else has its inode number and its birth.
type earlyFolder struct {
	Ino  uint64              `json:"ino"`
	Born unix.StatxTimestamp `json:"born"`
	dev  uint64
}

// first is the name that one is made by.
func (e *earlyFolders) first(i int) string { return fmt.Sprintf("%s-%d", e.Prefix, i) }

// holdEarly makes the folders of a workspace that are missing, and protects them. What
// keeps it from making them is told and no error: the agent is asked for each name anyway.
func (s *session) holdEarly(workspace string) error {
	if s.opt.DryRun || mutate.Off(mutate.Early) {
		return nil
	}
	s.stack.push("remove the empty folders of the workspace", func() error {
		_, err := removeEarly(s.state)
		return err
	})
	root, err := unix.Open(workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: workspace, Err: err}
	}
	defer unix.Close(root)
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	e := earlyFolders{Workspace: workspace, Ino: st.Ino, Prefix: ".agentjail-early-" + s.id}
	for _, name := range s.direct.gate.Early() {
		var at unix.Stat_t
		if errors.Is(unix.Fstatat(root, name, &at, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT) {
			e.Names = append(e.Names, name)
		}
	}
	if len(e.Names) == 0 {
		return nil
	}
	if err := writeEarly(s.state, &e); err != nil {
		return err
	}
	for i := range e.Names {
		made, err := makeEarly(root, e.first(i), &st)
		if err != nil {
			s.direct.notEarly = err
			break
		}
		e.Made = append(e.Made, made)
	}
	if err := writeEarly(s.state, &e); err != nil {
		return err
	}
	for i, made := range e.Made {
		if err := unix.Renameat2(root, e.first(i), root, e.Names[i], unix.RENAME_NOREPLACE); err != nil {
			if !errors.Is(err, unix.EEXIST) { // somebody has just made it
				s.direct.notEarly = cmp.Or(s.direct.notEarly, error(os.NewSyscallError("renameat2", err)))
			}
			continue
		}
		s.direct.early = append(s.direct.early, e.Names[i])
		s.direct.protected = append(s.direct.protected, jail.Protected{Path: e.Names[i], Dev: made.dev, Ino: made.Ino})
		s.direct.before[[2]uint64{made.dev, made.Ino}] = identity(changes.Place{Type: changes.TypeFolder})
	}
	return nil
}

// makeEarly makes one, which has the owner of the workspace.
func makeEarly(root int, name string, workspace *unix.Stat_t) (e earlyFolder, err error) {
	if err := unix.Mkdirat(root, name, 0o700); err != nil {
		return e, os.NewSyscallError("mkdirat", err)
	}
	fd, err := unix.Openat(root, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return e, os.NewSyscallError("openat", err)
	}
	defer unix.Close(fd)
	if os.Geteuid() == 0 && workspace.Uid != 0 {
		if err := unix.Fchown(fd, int(workspace.Uid), int(workspace.Gid)); err != nil {
			return e, os.NewSyscallError("fchown", err)
		}
	}
	return lookEarly(fd, "")
}

// lookEarly looks at what is there; an error that it is no folder is ENOTDIR.
func lookEarly(dir int, name string) (e earlyFolder, err error) {
	var st unix.Statx_t
	if err := unix.Statx(dir, name, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st); err != nil {
		return e, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return e, unix.ENOTDIR
	}
	return earlyFolder{Ino: st.Ino, Born: st.Btime, dev: unix.Mkdev(st.Dev_major, st.Dev_minor)}, nil
}

func writeEarly(state string, e *earlyFolders) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	// Beside and renamed: what was written before is not lost with half of it.
	tmp := filepath.Join(state, "."+fileEarly)
	err = os.WriteFile(tmp, data, 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(state, fileEarly))
	}
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// removeEarly removes the folders that a run made in its workspace, and says which: those
// that are still the same and empty. What the host put something into is the host's.
func removeEarly(state string) (removed []string, err error) {
	e, err := readEarly(state)
	if err != nil || e == nil {
		return nil, err
	}
	if removed, err = e.remove(false); err != nil {
		return removed, fmt.Errorf("the empty folders of %s: %w", e.Workspace, err)
	}
	return removed, os.Remove(filepath.Join(state, fileEarly))
}

// readEarly gives nil where there is no record. One that can't be read names nothing: a power
// cut emptied it, and nobody knows which they were.
func readEarly(state string) (*earlyFolders, error) {
	data, err := os.ReadFile(filepath.Join(state, fileEarly))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var e earlyFolders
	if json.Unmarshal(data, &e) != nil {
		return &earlyFolders{}, nil
	}
	return &e, nil
}

// remove only says which it would remove where it is not done (dryRun).
func (e *earlyFolders) remove(dryRun bool) (removed []string, err error) {
	root, err := unix.Open(e.Workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) // "" is ENOENT
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	defer unix.Close(root)
	if at, err := lookEarly(root, ""); err != nil || at.Ino != e.Ino {
		return nil, err // another folder has that name now
	}
	var errs []error
	for i, name := range e.Names {
		for _, name := range []string{e.first(i), name} {
			if !isPlain(name) {
				continue
			}
			at, err := lookEarly(root, name)
			switch {
			case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
				continue
			case err != nil:
				errs = append(errs, fmt.Errorf("%s: %w", shown(name), err))
				continue
			case i < len(e.Made) && (at.Ino != e.Made[i].Ino || at.Born != e.Made[i].Born):
				continue
			case i >= len(e.Made) && name != e.first(i): // it never had this name
				continue
			}
			if dryRun {
				if list, err := os.ReadDir(filepath.Join(e.Workspace, name)); err == nil && len(list) == 0 {
					removed = append(removed, filepath.Join(e.Workspace, name))
				}
				continue
			}
			switch err := unix.Unlinkat(root, name, unix.AT_REMOVEDIR); {
			case err == nil:
				removed = append(removed, filepath.Join(e.Workspace, name))
			case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST), errors.Is(err, unix.ENOENT):
			default:
				errs = append(errs, fmt.Errorf("%s: %w", shown(name), err))
			}
		}
	}
	return removed, errors.Join(errs...)
}

// isPlain: what is read from a file names nothing but a dot folder of the workspace.
func isPlain(name string) bool {
	return len(name) > 2 && name[0] == '.' && !strings.Contains(name, "/") && name != ".."
}

// strayEarly lists the state folders of runs that do not go on and have left such folders.
func strayEarly(d Dirs) ([]string, error) {
	ids, err := runFolders(d)
	if err != nil {
		return nil, err
	}
	for i, id := range ids {
		ids[i] = filepath.Join(d.State, "runs", id)
	}
	return slices.DeleteFunc(ids, func(dir string) bool {
		_, err := os.Lstat(filepath.Join(dir, fileEarly))
		return err != nil || locked(filepath.Join(dir, fileLock))
	}), nil
}
