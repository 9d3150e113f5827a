package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// Bounds of what the scan may find: the copies lie in memory before the agent
// starts, and each hidden path is an inode there.
const (
	maxCopies  = 20_000
	maxCopied  = 256 << 20 // bytes
	maxHidden  = 200_000
	maxMasked  = 5_000 // a mount each
	maxScanned = 5_000_000
)

// Scan walks the workspace once, for what must be known before it is mounted: paths that
// the profile hides, and in an overlay files whose owner has no id in the jail, which it
// could not copy up (EOVERFLOW in the middle of the agent's work).
func (f *Facts) Scan(s *profiles.Spec, features Features, caller Owner) error {
	sc := scanner{facts: f, work: &s.Workspace, mapped: func(o Owner) bool { return o == caller }}
	switch w := s.Workspace; {
	case w.Mode == profiles.ModeOverlay:
	case masksHidden(w.Mode) && len(w.Hide) > 0:
		sc.masks = true
	default:
		return nil
	}
	if features.Privileged {
		owner := f.Workspace.Owner
		sc.mapped = func(o Owner) bool {
			return (o.UID < UIDRange || o.UID == owner.UID) && (o.GID < UIDRange || o.GID == owner.GID)
		}
	}
	dev := f.Workspace.Dev
	fd, err := unix.Open(f.Workspace.Real, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("workspace %s: %w", f.Workspace.Real, err)
	}
	return sc.folder(os.NewFile(uintptr(fd), f.Workspace.Real), ".", dev)
}

// masksHidden says whether what is hidden has a mask over it: where the agent works on
// the host's own files there is no layer that could be without them.
func masksHidden(m profiles.Mode) bool {
	return m == profiles.ModeDirect || m == profiles.ModeReadonly
}

type scanner struct {
	masks   bool // look for what is hidden, and for nothing else
	facts   *Facts
	work    *profiles.Workspace
	mapped  func(Owner) bool
	scanned int
	bytes   int64
}

// folder owns dir and closes it.
func (s *scanner) folder(dir *os.File, rel string, dev uint64) error {
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(512)
		for _, name := range names {
			if err := s.entry(dir, name, filepath.Join(rel, name), dev); err != nil {
				return err
			}
		}
		if err != nil {
			// The end, or a folder that can't be listed; then the jail can't either.
			return nil
		}
	}
}

func (s *scanner) entry(dir *os.File, name, rel string, dev uint64) error {
	if s.scanned++; s.scanned > maxScanned {
		return fmt.Errorf("workspace %s holds more than %d files\nhint: choose a smaller folder, or workspace { mode = \"direct\" }", s.facts.Workspace.Real, maxScanned)
	}
	if len(s.work.Hide) > 0 {
		if _, hidden := s.work.Hides(rel); hidden {
			return s.hide(dir, name, rel)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil // gone meanwhile
		}
		return fmt.Errorf("workspace %s: %s: %w", s.facts.Workspace.Real, rel, err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if uint64(st.Dev) != dev && !s.masks { //nolint:unconvert // Dev is 32 bits wide elsewhere
		return nil // another file system: an overlay does not show it
	}
	if !s.masks && !s.mapped(Owner{UID: st.Uid, GID: st.Gid}) {
		if err := s.foreign(dir, name, rel, &st, isDir); err != nil {
			return err
		}
	}
	if !isDir {
		return nil
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil // can't be entered by the caller, so not by the agent
	}
	return s.folder(os.NewFile(uintptr(fd), name), rel, dev)
}

// hide notes what must not exist in the jail. No mask can lie over a symlink: what it
// leads to is hidden by its own name, or it is not.
func (s *scanner) hide(dir *os.File, name, rel string) error {
	limit, hint := maxHidden, "hide the folder that holds them"
	if s.masks {
		limit, hint = maxMasked, `hide the folder that holds them, or say mode = "overlay"`
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return nil
		}
	}
	if len(s.facts.Hidden) >= limit {
		return fmt.Errorf("workspace { hide } stands for more than %d paths\nhint: %s", limit, hint)
	}
	s.facts.Hidden = append(s.facts.Hidden, rel)
	return nil
}

// foreign notes what the middle layer must hold. What the caller can't read is
// left: the agent can't read it either, and a write fails as it would for the
// caller.
func (s *scanner) foreign(dir *os.File, name, rel string, st *unix.Stat_t, isDir bool) error {
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFDIR && kind != unix.S_IFLNK {
		return nil
	}
	if kind != unix.S_IFLNK && unix.Faccessat(int(dir.Fd()), name, unix.R_OK, unix.AT_EACCESS) != nil {
		return nil
	}
	if kind == unix.S_IFREG {
		s.bytes += st.Size
	}
	if len(s.facts.Foreign) >= maxCopies || s.bytes > maxCopied {
		return fmt.Errorf("workspace %s holds more than %d files or %s of another user or group, and the overlay can't copy those up (the first is %s)\nhint: chown them to yourself and your own group, or say workspace { mode = \"direct\" }",
			s.facts.Workspace.Real, maxCopies, profiles.FormatSize(maxCopied), s.facts.Foreign[0].Path)
	}
	s.facts.Foreign = append(s.facts.Foreign, Copy{Path: rel, Dir: isDir})
	return nil
}
