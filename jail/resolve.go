package jail

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Lookup says what lies at a path of the host, its links resolved.
func Lookup(path string) (Place, error) { return resolve(path) }

func resolve(path string) (Place, error) { return sights{}.resolve(path) }

// sights is what lies at paths, each looked at once: the patterns of a profile share most
// of the folders on their way. What a plan says of a file is compared with the file
// itself when it is mounted, so that nothing depends on its being what it was.
type sights map[string]sight

type sight struct {
	stat   unix.Stat_t
	target string // of a symlink
	err    error
}

func (s sights) look(path string) (*unix.Stat_t, string, error) {
	seen, ok := s[path]
	if !ok {
		seen = lookAt(path)
		s[path] = seen
	}
	return &seen.stat, seen.target, seen.err
}

func lookAt(path string) (seen sight) {
	if err := unix.Lstat(path, &seen.stat); err != nil {
		seen.err = &os.PathError{Op: "lstat", Path: path, Err: err}
		return seen
	}
	if seen.stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		seen.target, seen.err = os.Readlink(path)
	}
	return seen
}

// resolve follows a path link by link and notes each, so that the jail can have
// the same links (/bin → usr/bin, /etc/localtime → /usr/share/zoneinfo/...).
func (s sights) resolve(path string) (Place, error) {
	const maxLinks = 40 // the kernel's own limit, path_resolution(7)
	place := Place{Path: path}
	rest := strings.Split(strings.Trim(filepath.Clean(path), "/"), "/")
	real := "/"
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, part)
		st, target, err := s.look(next)
		if err != nil {
			return place, err
		}
		if target == "" {
			folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
			place.Private = place.Private || st.Mode&0o001 == 0 && (folder || len(rest) > 0)
			real = next
			continue
		}
		if links++; links > maxLinks {
			return place, &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
		}
		place.Links = append(place.Links, Link{Path: next, Target: target})
		rest = append(strings.Split(target, "/"), rest...)
		if filepath.IsAbs(target) {
			real = "/"
		}
	}
	place.Real = real
	st, _, err := s.look(real)
	if err != nil {
		return place, err
	}
	place.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	place.Socket = st.Mode&unix.S_IFMT == unix.S_IFSOCK
	place.Perm = st.Mode & 0o7777
	place.Private = place.Private || st.Mode&0o004 == 0
	place.Owner = Owner{UID: st.Uid, GID: st.Gid}
	place.Dev, place.Ino = uint64(st.Dev), st.Ino //nolint:unconvert // Dev is 32 bits wide elsewhere
	return place, nil
}
