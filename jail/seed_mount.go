package jail

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// setUpSeeds fills the fresh home folder. It runs in PID 1 after the view was built,
// while the binds of the host's files are still there.
func setUpSeeds(p *Plan) (left []LeftOut, err error) {
	if len(p.Seeds) == 0 {
		return nil, nil
	}
	home, err := os.OpenRoot(AgentHome)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	for i, s := range p.Seeds {
		out, err := setUpSeed(p, home, i, s)
		if err != nil {
			var le *LayerError
			if errors.As(err, &le) {
				return nil, err
			}
			return nil, fmt.Errorf("seed %s (%s): %w", s.Target, s.Origin, err)
		}
		left = append(left, out...)
	}
	return bounded(left), nil
}

func setUpSeed(p *Plan, home *os.Root, n int, s SeedPlan) (left []LeftOut, err error) {
	if s.Mode != profiles.SeedCopy || mutate.Off(mutate.Seeds) {
		return nil, mountSeed(p, home, n, s)
	}
	rel, err := filepath.Rel(AgentHome, s.Target)
	if err != nil {
		return nil, err
	}
	if err := seedParents(home, filepath.Dir(rel), p.IDs); err != nil {
		return nil, err
	}
	c := seedCopy{to: home, ids: p.IDs, skip: s.Skip, redact: s.Redact, origin: s.Origin}
	err = c.copy(s.Lower, rel)
	return c.left, err
}

// mountSeed shows a seed without copying it.
func mountSeed(p *Plan, home *os.Root, n int, s SeedPlan) error {
	rel, err := filepath.Rel(AgentHome, s.Target)
	if err != nil {
		return err
	}
	if err := seedParents(home, filepath.Dir(rel), p.IDs); err != nil {
		return err
	}
	src, err := unix.Open(s.Lower, unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: s.Lower, Err: err}
	}
	defer unix.Close(src)
	if !s.Dir {
		f, err := home.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return attach(src, Mount{Target: s.Target})
	}
	if err := home.Mkdir(rel, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if mutate.Off(mutate.Seeds) {
		return attach(src, Mount{Target: s.Target, Writable: true})
	}
	if s.Mode == profiles.SeedReadonly {
		// Through an overlay, so that the host's sockets in it can't be connected to.
		return mountView(src, Mount{Source: s.Lower, Target: s.Target})
	}
	store := fmt.Sprintf("%s/seedstore%d", layersDir, n)
	if err := os.Mkdir(store, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", store, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=0700,size=50%%,nr_inodes=%d", inodes(p.Workspace.Files)+ownInodes)); err != nil {
		return fmt.Errorf("mount the upper layer's tmpfs: %w", err)
	}
	upper, work := filepath.Join(store, "upper"), filepath.Join(store, "work")
	if err := makeDir(upper, os.FileMode(s.Perm), int(p.IDs.AgentUID), int(p.IDs.AgentGID)); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	return mountOverlay(s.Target, s.Lower, "", upper, work, false)
}

// seedParents makes the folders above a seed, the agent's own.
func seedParents(home *os.Root, dir string, ids IDPlan) error {
	if dir == "." {
		return nil
	}
	if info, err := home.Lstat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is no folder: another seed is there", dir)
		}
		return nil
	}
	if err := seedParents(home, filepath.Dir(dir), ids); err != nil {
		return err
	}
	if err := home.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return home.Lchown(dir, int(ids.AgentUID), int(ids.AgentGID))
}

// seedCopy copies plain files, folders and symlinks, which it does not follow; of the
// rest (sockets, FIFOs, devices) a copy would be something else.
type seedCopy struct {
	to    *os.Root
	ids   IDPlan
	skip  []string
	files int
	bytes int64

	redact bool
	origin string
	left   []LeftOut
}

func (c *seedCopy) copy(lower, rel string) error {
	info, err := os.Lstat(lower)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		from, err := os.OpenRoot(filepath.Dir(lower))
		if err != nil {
			return err
		}
		defer from.Close()
		return c.entry(from, filepath.Base(lower), rel, info)
	}
	from, err := os.OpenRoot(lower)
	if err != nil {
		return err
	}
	defer from.Close()
	return c.folder(from, ".", rel, info)
}

// folder copies what is in a folder; from is the seed's root and name relative to it.
func (c *seedCopy) folder(from *os.Root, name, rel string, info fs.FileInfo) error {
	if err := c.to.Mkdir(rel, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := from.Open(name)
	if err != nil {
		return err
	}
	entries, err := d.ReadDir(-1)
	d.Close()
	if err != nil {
		return err
	}
	for _, e := range entries {
		inner := filepath.Join(name, e.Name())
		if c.skips(inner) {
			continue
		}
		info, err := from.Lstat(inner)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return err
		}
		if err := c.entry(from, inner, filepath.Join(rel, e.Name()), info); err != nil {
			return err
		}
	}
	return c.own(rel, info)
}

func (c *seedCopy) skips(name string) bool {
	for _, s := range c.skip {
		if name == s || strings.HasPrefix(name, s+"/") {
			return true
		}
	}
	return false
}

func (c *seedCopy) entry(from *os.Root, name, rel string, info fs.FileInfo) error {
	if c.files++; c.files > maxSeedFiles {
		return fmt.Errorf("it has more than %d files\nhint: say mode = \"overlay\", which copies none", maxSeedFiles)
	}
	switch {
	case info.IsDir():
		return c.folder(from, name, rel, info)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := from.Readlink(name)
		if err != nil {
			return err
		}
		if mutate.Off(mutate.SeedLinks) && filepath.IsAbs(target) {
			if data, err := os.ReadFile(hostTree + target); err == nil {
				return c.to.WriteFile(rel, data, 0o644)
			}
		}
		if err := c.to.Symlink(target, rel); err != nil {
			return err
		}
		return c.to.Lchown(rel, int(c.ids.AgentUID), int(c.ids.AgentGID))
	case !info.Mode().IsRegular():
		return nil
	}
	if c.bytes += info.Size(); c.bytes > maxSeedBytes {
		return fmt.Errorf("it has more than %s\nhint: say mode = \"overlay\", which copies nothing", profiles.FormatSize(maxSeedBytes))
	}
	src, err := from.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return nil // the caller can't read it, so the agent can't either
	}
	if err != nil {
		return err
	}
	defer src.Close()
	if c.redact {
		return c.redacted(src, rel, info)
	}
	dst, err := c.to.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	// No more than was counted: the file may grow meanwhile.
	_, err = io.CopyN(dst, src, info.Size())
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return c.own(rel, info)
}

func (c *seedCopy) own(rel string, info fs.FileInfo) error {
	if err := c.to.Chmod(rel, info.Mode().Perm()); err != nil {
		return err
	}
	if err := c.to.Chtimes(rel, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return c.to.Lchown(rel, int(c.ids.AgentUID), int(c.ids.AgentGID))
}
