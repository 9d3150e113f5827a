package jail

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The host ids that a run with real privilege may claim: the container range of
// systemd (https://systemd.io/UIDS-GIDS), in steps of one user namespace's worth.
const (
	UIDFirst = 524288
	UIDLast  = 1879048191
	UIDRange = 65536
)

// Claim is a range of host uids and gids that this run alone uses. It is held by a
// lock on an open file, so that it is given back even after SIGKILL.
type Claim struct {
	Base uint32
	file *os.File
}

// ClaimUIDs takes the first free range. dir is root's own and the same for every
// run of the machine.
func ClaimUIDs(dir string) (*Claim, error) {
	if err := ownDir(dir, 0); err != nil {
		return nil, err
	}
	taken, err := subordinate("/etc/subuid", "/etc/subgid")
	if err != nil {
		return nil, err
	}
	for base := uint32(UIDFirst); base+UIDRange-1 <= UIDLast; base += UIDRange {
		if taken(base) {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, strconv.FormatUint(uint64(base), 10)), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &Claim{Base: base, file: f}, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, os.NewSyscallError("flock", err)
		}
	}
	return nil, errors.New("every range of host uids is in use\nhint: `agentjail clean` gives back what ended runs held")
}

// Release gives the range back.
func (c *Claim) Release() error {
	if c == nil || c.file == nil {
		return nil
	}
	f := c.file
	c.file = nil
	return f.Close() // closing the last descriptor drops the lock, flock(2)
}

// subordinate says which ranges /etc/subuid and /etc/subgid have given to users:
// a jail's files must not belong to somebody's containers.
func subordinate(paths ...string) (func(base uint32) bool, error) {
	type span struct{ first, last uint64 }
	var spans []span
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sc := bufio.NewScanner(f)
		for sc.Scan() {
			parts := strings.Split(sc.Text(), ":")
			if len(parts) != 3 {
				continue
			}
			first, err1 := strconv.ParseUint(parts[1], 10, 32)
			count, err2 := strconv.ParseUint(parts[2], 10, 32)
			if err1 == nil && err2 == nil && count > 0 {
				spans = append(spans, span{first, first + count - 1})
			}
		}
		f.Close()
		if err := sc.Err(); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return func(base uint32) bool {
		for _, s := range spans {
			if uint64(base) <= s.last && s.first <= uint64(base)+UIDRange-1 {
				return true
			}
		}
		return false
	}, nil
}

// ownDir makes a folder of mode 0700 (or finds it) and refuses one that somebody
// else made first (CVE-2022-31214 and its kin).
func ownDir(dir string, uid uint32) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uid || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s is not a folder that only its owner (uid %d) can write\nhint: somebody else made it; look at it, then remove it", dir, uid)
	}
	return nil
}
