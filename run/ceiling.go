package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// ceilingFile caps every profile on the machine. It is no flag and no variable, and
// nothing of a profile: who could name another file could name an empty one.
const ceilingFile = "/etc/agentjail/ceiling.hcl"

// maxCeiling is more than any ceiling: what is larger is not read.
const maxCeiling = 1 << 20

// loadCeiling reads the machine's ceiling; nil where there is none. Every doubt about
// it ends the run, since going on would be going on without it.
func loadCeiling(path string, uid int) (*profiles.Ceiling, error) {
	src, err := readOwners(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), mutate.Off(mutate.Ceiling):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("this machine's ceiling %s: %w\nhint: its owner must mend it; no run starts without it", path, pathCause(err))
	}
	home, err := accountHome(uid)
	if err != nil {
		return nil, fmt.Errorf("this machine's ceiling %s: %w", path, err)
	}
	c, diags, files := profiles.LoadCeiling(path, src, profiles.CeilingOptions{Home: home})
	if len(diags) == 0 {
		return c, nil
	}
	text, err := diagnosticText(diags, files)
	if err != nil {
		return nil, err
	}
	return nil, &diagnosticError{text} // a warning too: a ceiling is written once, and relied on
}

// accountHome is the home folder of the system's table of users, and of the name service
// that it stands for. $HOME is the caller's to set: with it, a ceiling's "~/.ssh" would
// be wherever he says.
func accountHome(uid int) (string, error) {
	u, err := user.LookupId(strconv.Itoa(uid))
	var unknown user.UnknownUserIdError
	switch {
	case errors.As(err, &unknown):
		return "", nil // then "~" in it is an error, and nothing else is
	case err != nil:
		return "", err
	}
	return u.HomeDir, nil
}

// readOwners reads a file that nobody but the machine's owner can have written: root's,
// writable by nobody else, in folders of which the same is true, and no symlink.
func readOwners(path string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO must not wait for its other end.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return nil, err
		}
		if err := ownersOnly(dir, info); err != nil {
			return nil, err
		}
		if dir == "/" {
			break
		}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no plain file")
	}
	if err := ownersOnly(path, info); err != nil {
		return nil, err
	}
	src, err := io.ReadAll(io.LimitReader(f, maxCeiling+1))
	if err == nil && len(src) > maxCeiling {
		err = fmt.Errorf("it is larger than %s", profiles.FormatSize(maxCeiling))
	}
	return src, err
}

// ownersOnly refuses what somebody else than root could have written. A folder that
// everybody may write to is no better for being sticky: what is not there yet can be
// made.
func ownersOnly(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return fmt.Errorf("the owner of %s is not known", path)
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symlink", path)
	case st.Uid != 0:
		return fmt.Errorf("%s belongs to uid %d, not to root", path, st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others than root (mode %04o)", path, info.Mode().Perm())
	}
	return nil
}
