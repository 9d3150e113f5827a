package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// SeedPlan is one thing that the agent's home folder begins with. PID 1 takes it from a
// read-only bind of the host's (Lower), so that no mode of it reaches the host's files.
type SeedPlan struct {
	Target string            `json:"target"` // in the jail, below AgentHome
	Lower  string            `json:"lower"`  // where the host's is bound while the view is built
	Mode   profiles.SeedMode `json:"mode"`
	Dir    bool              `json:"dir,omitempty"`
	Perm   uint32            `json:"perm"`
	Redact bool              `json:"redact,omitempty"`
	Skip   []string          `json:"skip,omitempty"` // relative paths that a copy leaves out: the profile denies them
	Origin string            `json:"origin,omitempty"`
}

// Bounds of a copy, which lies in memory before the agent starts.
const (
	maxSeedFiles = 20_000
	maxSeedBytes = 256 << 20
)

// lookForSeeds finds what the profile's seeds stand for. One that is not there seeds
// nothing: ~/.npm need not exist everywhere.
func (f *Facts) lookForSeeds(s *profiles.Spec, seen sights) error {
	f.Seeds = map[string]Place{}
	for _, h := range s.Files.Home {
		place, err := seen.resolve(h.From)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOTDIR):
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", h.Origin, err)
		}
		f.Seeds[h.From] = place
	}
	return nil
}

// seeds plans the home folder. What the profile denies is not in it, by whatever name
// it would be there.
func (v *view) seeds(files profiles.Files) error {
	homes := slices.Clone(files.Home)
	slices.SortStableFunc(homes, func(a, b profiles.HomeSeed) int { return depth(a.Path) - depth(b.Path) })
	for _, h := range homes {
		place, ok := v.facts.Seeds[h.From]
		if !ok {
			continue
		}
		switch {
		case place.Socket:
			return fmt.Errorf("%s: %s is a Unix socket, which can't be a seed", h.Origin, h.From)
		case place.Real == "/" || within(place.Real, "/proc") || within(place.Real, "/sys") || within(place.Real, "/dev"):
			return fmt.Errorf("%s: %s can't be a seed of the home folder", h.Origin, h.From)
		case place.Dir && place.Covers && h.Mode != profiles.SeedCopy:
			return fmt.Errorf("%s: %s has another file system mounted in it, which the kernel lets no overlay look behind\nhint: say mode = \"copy\"", h.Origin, h.From)
		}
		// What the profile names may be a link: the ceiling is asked about what it leads to.
		if c := v.capped(files.Ceiling, grant{place: place, access: accessRead}); len(c) == 0 || c[0].place.Real != place.Real {
			continue
		}
		denied, skip := v.deniedIn(files.Deny, place.Real)
		if mutate.Off(mutate.Denied) {
			denied, skip = false, nil
		}
		if denied {
			continue
		}
		seed := SeedPlan{Target: path.Join(AgentHome, h.Path), Lower: layersDir + "/seed" + strconv.Itoa(len(v.plan.Seeds)),
			Mode: h.Mode, Dir: place.Dir, Perm: place.Perm & 0o777, Redact: h.Redact, Skip: skip, Origin: h.Origin.String()}
		if !place.Dir && seed.Mode == profiles.SeedOverlay {
			seed.Mode = profiles.SeedCopy // of one file it is the same
		}
		if seed.Mode == profiles.SeedOverlay && !v.features.TmpfsXattr {
			return &LayerError{Layer: "overlay", Err: fmt.Errorf("%s: this kernel's tmpfs can't hold an overlay's upper layer in a user namespace (before Linux 6.6)", h.Origin),
				Hint: `say mode = "copy" or mode = "readonly" in the home block`}
		}
		bind := Mount{Kind: MountBind, Source: place.Real, Target: seed.Lower, Dev: place.Dev, Ino: place.Ino, File: !place.Dir, Private: place.Private, Origin: seed.Origin}
		if v.features.Privileged {
			bind.IDMap = &place.Owner
		}
		v.mount(bind)
		v.plan.Seeds = append(v.plan.Seeds, seed)
		if seed.Mode == profiles.SeedCopy {
			continue
		}
		for _, rel := range skip {
			v.plan.Deny = append(v.plan.Deny, DenyMask{Path: path.Join(seed.Target, rel), Origin: seed.Origin})
		}
	}
	return nil
}

// deniedIn says whether a path is denied, or else what below it is, relative to it. What
// the profile hides in the workspace is not to be had by a seed that is made of it either.
func (v *view) deniedIn(deny []profiles.Pattern, real string) (all bool, below []string) {
	for _, hidden := range v.facts.Hidden {
		place := filepath.Join(v.facts.Workspace.Real, hidden)
		switch {
		case within(real, place):
			return true, nil
		case within(place, real):
			if rel, err := filepath.Rel(real, place); err == nil {
				below = append(below, rel)
			}
		}
	}
	for _, p := range deny {
		for _, place := range v.facts.Paths[p.Pattern] {
			switch {
			case within(real, place.Real):
				return true, nil
			case within(place.Real, real):
				if rel, err := filepath.Rel(real, place.Real); err == nil && !slices.Contains(below, rel) {
					below = append(below, rel)
				}
			}
		}
	}
	return false, below
}
