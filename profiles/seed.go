package profiles

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// SeedMode is how a seed of the home folder is made.
type SeedMode string

// The modes of a seed. None of them lets the agent change what is on the host.
const (
	SeedCopy     SeedMode = "copy"     // copied at the start
	SeedOverlay  SeedMode = "overlay"  // the host's below, changes in memory
	SeedReadonly SeedMode = "readonly" // the host's
)

// HomeSeed is one `home` block of `files`. Files.Deny holds for what is in it.
type HomeSeed struct {
	Path   string   `json:"path"` // relative to the agent's home folder, clean, without ".."
	From   string   `json:"from"` // absolute and clean; symlinks are the caller's to resolve
	Mode   SeedMode `json:"mode"`
	Redact bool     `json:"redact,omitempty"` // copied without what looks like a credential
	Origin Origin   `json:"origin"`
}

// FileLimit is one `limit` block of `files`.
type FileLimit struct {
	Action string `json:"action"` // "delete"
	Rate   Rate   `json:"rate"`
	Origin Origin `json:"origin"`
}

// fileDelete is the one action with files that is counted.
const fileDelete = "delete"

func (d *decoder) homeSeed(b *hcl.Block, l *layer) {
	c := d.content(b.Body, homeSchema())
	place := text{b.Labels[0], b.LabelRanges[0]}
	seed := HomeSeed{Path: filepath.Clean(place.s), From: filepath.Join("~", place.s), Mode: SeedReadonly, Origin: d.origin(b.DefRange)}
	if err := checkSeedPath(place.s); err != nil {
		d.wrong(place.rng, "Wrong path", err)
		return
	}
	from, ok := text{seed.From, place.rng}, true
	if a := c.Attributes["from"]; a != nil {
		from, ok = d.text(a.Expr)
	}
	if ok {
		p, err := absolutePath(from.s, d.home, filepath.Dir(d.file.path))
		switch {
		case err != nil:
			d.wrong(from.rng, "Wrong path", err)
		case d.file.builtin && !filepath.IsAbs(p):
			d.fail(from.rng, "Wrong path", "A built-in profile lies in no folder: write a path from \"/\" or from \"~/\".")
		}
		seed.From = p
	}
	if a := c.Attributes["mode"]; a != nil {
		if s, ok := d.choice(a.Expr, "mode of a seed", string(SeedCopy), string(SeedOverlay), string(SeedReadonly)); ok {
			seed.Mode = SeedMode(s)
		}
	}
	if a := c.Attributes["redact"]; a != nil {
		seed.Redact, _ = d.boolean(a.Expr)
		switch {
		case seed.Redact && c.Attributes["mode"] == nil:
			seed.Mode = SeedCopy
		case seed.Redact && seed.Mode != SeedCopy:
			d.fail(a.NameRange, "Not a copy", fmt.Sprintf("Only a copy can be without something: with the mode %q the agent reads your own files. Write mode = \"copy\".", seed.Mode))
		}
	}
	if i := slices.IndexFunc(l.files.Home, func(h HomeSeed) bool { return h.Path == seed.Path }); i >= 0 {
		d.fail(b.DefRange, "Duplicate seed", fmt.Sprintf("The seed of %q already stands in line %d.", seed.Path, l.files.Home[i].Origin.Line))
		return
	}
	l.files.Home = append(l.files.Home, seed)
}

func checkSeedPath(s string) error {
	if s == "" {
		return fmt.Errorf("path is empty: write the place in the home folder, for example \".npm\"")
	}
	if err := checkPathBytes(s); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(s, "~") || strings.HasPrefix(s, "/"):
		return fmt.Errorf("path %q is absolute: the label is relative to the home folder, for example \".npm\", and `from` says what is shown there", s)
	case !filepath.IsLocal(s) || strings.Contains(s, ".."):
		return fmt.Errorf("path %q leads out of the home folder", s)
	case filepath.Clean(s) == ".":
		return fmt.Errorf("path %q is the home folder itself: name what is in it", s)
	}
	return nil
}

func (d *decoder) fileLimit(b *hcl.Block, l *layer) {
	c := d.content(b.Body, fileLimitSchema())
	if b.Labels[0] != fileDelete {
		d.fail(b.LabelRanges[0], "Unknown action", fmt.Sprintf("%q is nothing that can be counted; the one action is %q.%s", b.Labels[0], fileDelete, didYouMean(b.Labels[0], []string{fileDelete})))
		return
	}
	if r := d.mustRate(b, c); r != nil {
		l.files.Limits = append(l.files.Limits, FileLimit{fileDelete, *r, d.origin(b.DefRange)})
	}
}
