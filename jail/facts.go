package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentjail/agentjail/profiles"
	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"
)

// Facts is what planning must know of the host's file system. It is plain data,
// so that a plan can be made of a host that never was.
type Facts struct {
	Paths     map[string][]Place `json:"paths"` // what each pattern of the profile stands for
	Workspace Place              `json:"workspace"`
	Hidden    []string           `json:"hidden"`
	Seeds     map[string]Place   `json:"seeds"`   // what each seed of the home folder stands for
	Foreign   []Copy             `json:"foreign"` // see Copy
	Sockets   []string           `json:"sockets"` // of the host, in folders that are shown as they are

	Programs map[string][]Place `json:"programs,omitempty"` // what each program of `process { deny }` is on the host
}

// Place is one existing path of the host.
type Place struct {
	Path   string `json:"path"`  // as the pattern names it, links unresolved
	Real   string `json:"real"`  // links resolved
	Links  []Link `json:"links"` // every symlink on the way from Path to Real
	Dir    bool   `json:"dir"`
	Socket bool   `json:"socket,omitempty"`
	Covers bool   `json:"covers,omitempty"` // something else is mounted below it
	Perm   uint32 `json:"perm"`
	Owner  Owner  `json:"owner"`
	// Other users of the host can't read it, or can't come to it.
	Private bool   `json:"private,omitempty"`
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
}

// maxExpansion bounds what one pattern may stand for: each is a mount.
const maxExpansion = 1000

// Look gathers the facts for a profile. A pattern that matches nothing is no
// error: /lib64 and /opt/toolchain need not exist everywhere.
func Look(s *profiles.Spec) (Facts, error) {
	f := Facts{Paths: map[string][]Place{}}
	for _, p := range systemReads {
		places, err := expand(p)
		if err != nil {
			return f, err
		}
		f.Paths[p] = places
	}
	for _, list := range [][]profiles.Pattern{s.Files.Read, s.Files.Write, s.Files.Exec, s.Files.Deny, s.Files.Ceiling.Patterns()} {
		for _, p := range list {
			if _, done := f.Paths[p.Pattern]; done {
				continue
			}
			places, err := expand(p.Pattern)
			if err != nil {
				return f, fmt.Errorf("%s: %w", p.Origin, err)
			}
			f.Paths[p.Pattern] = places
		}
	}
	if err := f.lookForSeeds(s); err != nil {
		return f, err
	}
	if err := f.lookForPrograms(s.Process); err != nil {
		return f, err
	}
	var err error
	if f.Workspace, err = resolve(s.Workspace.Path); err != nil {
		return f, fmt.Errorf("workspace %s: %w", s.Workspace.Path, unwrapPath(err))
	}
	if !f.Workspace.Dir {
		return f, fmt.Errorf("workspace %s is not a folder", s.Workspace.Path)
	}
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return f, err
	}
	f.markCovers(mountinfo)
	return f, f.lookForSockets(s)
}

func hasMeta(pattern string) bool { return strings.ContainsAny(pattern, "*?[{") }

func expand(pattern string) ([]Place, error) {
	paths := []string{pattern}
	if hasMeta(pattern) {
		// WithNoFollow: a symlink below the pattern's fixed part is a place of its
		// own, not a way into another tree.
		found, err := doublestar.FilepathGlob(pattern, doublestar.WithNoFollow())
		if err != nil {
			return nil, fmt.Errorf("files pattern %q: %w", pattern, err)
		}
		if len(found) > maxExpansion {
			return nil, fmt.Errorf("files pattern %q stands for %d paths, and each is a mount\nhint: name the folder that holds them", pattern, len(found))
		}
		paths = found
	}
	var places []Place
	for _, path := range paths {
		p, err := resolve(path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR):
			// What the caller can't reach, the jail can't either.
			continue
		case err != nil:
			return nil, err
		}
		places = append(places, p)
	}
	return places, nil
}

// Lookup says what lies at a path of the host, its links resolved.
func Lookup(path string) (Place, error) { return resolve(path) }

// resolve follows a path link by link and notes each, so that the jail can have
// the same links (/bin → usr/bin, /etc/localtime → /usr/share/zoneinfo/...).
func resolve(path string) (Place, error) {
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
		info, err := os.Lstat(next)
		if err != nil {
			return place, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			place.Private = place.Private || info.Mode().Perm()&0o001 == 0 && (info.IsDir() || len(rest) > 0)
			real = next
			continue
		}
		if links++; links > maxLinks {
			return place, &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return place, err
		}
		place.Links = append(place.Links, Link{Path: next, Target: target})
		rest = append(strings.Split(target, "/"), rest...)
		if filepath.IsAbs(target) {
			real = "/"
		}
	}
	place.Real = real
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return place, &os.PathError{Op: "stat", Path: real, Err: err}
	}
	place.Dir = st.Mode&unix.S_IFMT == unix.S_IFDIR
	place.Socket = st.Mode&unix.S_IFMT == unix.S_IFSOCK
	place.Perm = st.Mode & 0o7777
	place.Private = place.Private || st.Mode&0o004 == 0
	place.Owner = Owner{UID: st.Uid, GID: st.Gid}
	place.Dev, place.Ino = uint64(st.Dev), st.Ino //nolint:unconvert // Dev is 32 bits wide elsewhere
	return place, nil
}

func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
