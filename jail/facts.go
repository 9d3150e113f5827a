package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	seen := sights{}
	for _, p := range systemReads {
		places, err := seen.expand(p)
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
			places, err := seen.expand(p.Pattern)
			if err != nil {
				return f, fmt.Errorf("%s: %w", p.Origin, err)
			}
			f.Paths[p.Pattern] = places
		}
	}
	if err := f.lookForSeeds(s, seen); err != nil {
		return f, err
	}
	if err := f.lookForPrograms(s.Process, seen); err != nil {
		return f, err
	}
	var err error
	if f.Workspace, err = seen.resolve(s.Workspace.Path); err != nil {
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

// expand finds what a pattern stands for.
func (s sights) expand(pattern string) ([]Place, error) {
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
		p, err := s.resolve(path)
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

func unwrapPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
