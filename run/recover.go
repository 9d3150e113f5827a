package run

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// Files in a run's runtime folder: the path of its state folder, and its cgroups'.
const (
	fileState   = "state"
	fileCgroups = "cgroups"
)

// startLock is held shared while a run makes its folder and takes its own lock,
// and exclusively by recovery: so recovery never sees a folder whose run has not
// come as far as its lock.
const startLock = ".start"

// prepareDirs makes the folders that all runs share.
func prepareDirs(d Dirs, uid int) error {
	if uid == 0 {
		// The jail's own user passes through to its root folder.
		if err := makePrivate(filepath.Dir(d.Runtime), uid, 0o011); err != nil {
			return fmt.Errorf("runtime folder: %w", err)
		}
	}
	if err := makePrivate(d.Runtime, uid, 0o011); err != nil {
		return fmt.Errorf("runtime folder: %w", err)
	}
	if err := os.MkdirAll(d.State, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// makeRuntime makes a run's runtime folder and takes its lock.
func makeRuntime(d Dirs, runtime, state string) (*os.File, error) {
	start, err := os.OpenFile(filepath.Join(d.Runtime, startLock), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	defer start.Close()
	if err := flock(start, unix.LOCK_SH); err != nil {
		return nil, err
	}
	// 0711: in root mode the jail's user must come to its root folder.
	if err := os.Mkdir(runtime, 0o711); err != nil {
		return nil, fmt.Errorf("runtime folder: %w", err)
	}
	held, err := fillRuntime(runtime, state)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("runtime folder: %w\nhint: is %s full?", err, d.Runtime), unmake(runtime, fileLock, fileState))
	}
	return held, nil
}

// unmake removes a folder that was just made, with the files of these names that are
// in it. Unlike os.RemoveAll it opens nothing, since what failed may be an open.
func unmake(dir string, files ...string) error {
	var errs []error
	for _, name := range files {
		if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.Remove(dir))...)
}

func fillRuntime(runtime, state string) (*os.File, error) {
	if err := os.Chmod(runtime, 0o711); err != nil { // whatever the umask is
		return nil, err
	}
	held, err := lock(filepath.Join(runtime, fileLock))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(runtime, fileState), []byte(state), 0o600); err != nil {
		held.Close()
		return nil, err
	}
	return held, nil
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return os.NewSyscallError("flock", err)
		}
	}
}

// recoverRuns removes what runs left whose supervisor is dead: their processes died
// with it, or are killed here (killOrphans), so this is their folders and cgroups. It
// says what it removed.
func recoverRuns(d Dirs, uid int) (removed []string, err error) {
	start, err := os.OpenFile(filepath.Join(d.Runtime, startLock), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer start.Close()
	if err := flock(start, unix.LOCK_EX); err != nil {
		return nil, err
	}
	dirs, err := abandoned(d)
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, nil
	}
	errs := []error{killOrphans(uid)}
	for _, dir := range dirs {
		early, err := removeRuntime(d, dir)
		removed = append(removed, early...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
			continue
		}
		removed = append(removed, dir)
	}
	return removed, errors.Join(errs...)
}

// removeRuntime gives the folders that it removed from a workspace in direct mode.
func removeRuntime(d Dirs, dir string) (early []string, err error) {
	paths, err := cgroupsOf(dir)
	if err != nil {
		return nil, err
	}
	// Its processes are gone, so its cgroups are empty, but for one thing.
	if err := endFrozen(paths); err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := cgroups.RemovePath(path); err != nil {
			return nil, err
		}
	}
	// An upper layer on disk lies in the state folder, which the runtime folder names.
	// That one is only ours to write; still, nothing but a run's folder of the same id
	// is believed. It need not be below d.State: root's runtime folder is one for all,
	// its state folder depends on HOME.
	if state, err := os.ReadFile(filepath.Join(dir, fileState)); err == nil {
		path := filepath.Clean(string(state))
		if strings.HasSuffix(path, filepath.Join("/", filepath.Base(d.State), "runs", filepath.Base(dir))) {
			if err := removeTree(filepath.Join(path, dirUpper)); err != nil {
				return nil, err
			}
			if early, err = removeEarly(path); err != nil {
				return early, err
			}
		}
	}
	return early, removeTree(dir)
}

// cgroupsOf are the cgroups of a run by its runtime folder. A run that was killed
// while it started did not come to write them down, and they are looked for by name.
func cgroupsOf(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileCgroups))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(data) > 0 { // else it was killed between making the file and filling it
		return slices.DeleteFunc(strings.Split(string(data), "\n"), func(path string) bool {
			// Not one that we make.
			return !strings.HasPrefix(path, "/sys/fs/cgroup/") || !strings.Contains(filepath.Base(path), "agentjail")
		}), nil
	}
	var found []string
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile, or not ours to look into
		}
		if e.IsDir() && strings.TrimSuffix(e.Name(), ".scope") == "agentjail-"+filepath.Base(dir) {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

// removeTree removes a tree that the jail's user may have made: it never follows a
// symlink, opens up folders without permission, and is not stopped by depth.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// Mode 000 folders of our own uid (rootless); os.Root keeps the walk inside.
	root, rerr := os.OpenRoot(dir)
	if rerr != nil {
		return errors.Join(err, rerr)
	}
	openUp(root, ".")
	root.Close()
	return os.RemoveAll(dir)
}

func openUp(root *os.Root, name string) {
	// Failures show in the removal that follows.
	_ = root.Chmod(name, 0o700)
	f, err := root.Open(name)
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(-1)
	f.Close()
	for _, e := range entries {
		if e.IsDir() {
			openUp(root, filepath.Join(name, e.Name()))
		}
	}
}

// leftovers looks for what a run must not leave; it is what the wipe record calls
// gone.
func leftovers(runtime string, cgroupPaths []string) (gone, left []string) {
	note := func(what string, there bool) {
		if there {
			left = append(left, what)
		} else {
			gone = append(gone, what)
		}
	}
	_, err := os.Lstat(filepath.Join(runtime, "jail"))
	note("root folder", err == nil)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	note("mounts", err != nil || strings.Contains(string(mounts), runtime+"/"))
	note("cgroups", slices.ContainsFunc(cgroupPaths, func(p string) bool { _, err := os.Lstat(p); return err == nil }))
	return gone, left
}

// treeSize is how many bytes a tree holds on disk; it stops counting beyond limit.
// It never follows a symlink, and what it can't read it does not count.
func treeSize(dir string, limit int64) int64 {
	total, _ := treeUse(dir, limit, math.MaxInt64)
	return total
}

// treeUse says in how many files and folders too, and stops beyond either limit.
func treeUse(dir string, limit, most int64) (total, files int64) {
	// WalkDir hands out its own errors and goes on; a vanished file is no matter.
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			total += st.Blocks * 512 // stat(2): in units of 512 bytes
		}
		if files++; total > limit || files > most {
			return fs.SkipAll
		}
		return nil
	})
	return total, files
}
