package changes

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// ArtifactSource is the workspace as the jail saw it at the end of the run.
type ArtifactSource struct {
	Upper *os.File // the overlay's upper layer or the empty workspace's folder; nil in direct and readonly mode
	Lower string   // the host's folder, symlinks resolved; "" in empty mode
	// Hidden and TrustedXattrs are those of Options.
	Hidden        func(path string) bool
	TrustedXattrs bool
}

// ArtifactCaps bounds what is collected. Zero is none, except where a default is named.
type ArtifactCaps struct {
	Size  int64 // bytes in all
	Files int   // default 100,000
}

const artifactsMaxFiles = 100_000

// CollectArtifacts copies the regular files that a pattern matches from the workspace
// as the jail saw it into dst, under the same relative paths. Patterns are doublestar
// globs on the path relative to the workspace; none means nothing is collected.
//
// Nothing is followed, nothing but regular files is opened, and only bytes are
// copied: no owner, no extended attribute (and so no file capability), no mode bit
// beyond 0755. A name that could harm whoever looks at the folder is stored under
// another (see storedName). A symlink in dst is never followed nor replaced. What a
// cap or a reason kept out is in the manifest; only a dst that can't be written is an
// error, and the manifest then says what was copied before.
func CollectArtifacts(src ArtifactSource, patterns []profiles.Pattern, dst *os.Root, caps ArtifactCaps) (*Manifest, error) {
	c := &collector{src: src, dst: dst, left: caps.Size, files: cmp.Or(caps.Files, artifactsMaxFiles),
		dir: ".", into: dst, made: map[string]bool{".": true},
		m: &Manifest{Schema: ManifestSchema, Files: []Artifact{}, LeftOut: []LeftOut{}},
	}
	for _, p := range patterns {
		g, err := newArtifactGlob(p.Pattern)
		if err != nil {
			return c.m, fmt.Errorf("collect artifacts: %s: %w", cmp.Or(p.Origin.String(), "pattern"), err)
		}
		c.globs = append(c.globs, g)
	}
	if len(c.globs) == 0 {
		return c.m, nil
	}
	defer runtime.KeepAlive(src.Upper)
	marks, err := newOverlayMarks(src.TrustedXattrs)
	if err != nil {
		return c.m, fmt.Errorf("collect artifacts: %w", err)
	}
	c.marks = marks
	if src.Upper != nil {
		if c.upper, err = openDirTree(src.Upper, treeUpper, true); err != nil {
			return c.m, fmt.Errorf("collect artifacts: open the upper layer: %w", err)
		}
		defer c.upper.close()
	}
	if src.Lower != "" {
		// An overlay doesn't show what is mounted within its lower layer.
		if c.lower, err = openLowerTree(src.Lower, src.Upper != nil); err != nil {
			return c.m, fmt.Errorf("collect artifacts: open workspace %s: %w", src.Lower, err)
		}
		defer c.lower.close()
	}
	err = c.folder("", c.upper != nil, c.lower != nil)
	c.leaveFolder()
	for _, g := range c.globs {
		if !g.used {
			c.m.Unmatched = append(c.m.Unmatched, g.pattern)
		}
	}
	if err != nil {
		return c.m, fmt.Errorf("collect artifacts: %w", err)
	}
	return c.m, nil
}

// artifactGlob is a pattern; base is its leading part without wildcards.
type artifactGlob struct {
	pattern, base string
	used          bool
}

func newArtifactGlob(pattern string) (*artifactGlob, error) {
	clean := strings.TrimPrefix(pattern, "./")
	switch {
	case clean == "" || !doublestar.ValidatePattern(clean):
		return nil, fmt.Errorf("%q is not a glob", pattern)
	case path.IsAbs(clean):
		return nil, fmt.Errorf("%q is not relative to the workspace", pattern)
	}
	for _, part := range strings.Split(clean, "/") {
		if part == ".." {
			return nil, fmt.Errorf("%q leaves the workspace", pattern)
		}
	}
	base, _ := doublestar.SplitPattern(clean)
	if base == "." {
		base = ""
	}
	return &artifactGlob{pattern: clean, base: base}, nil
}

// below tells whether the pattern can match something under this folder, so that
// dist/** doesn't cost a walk through node_modules.
func (g *artifactGlob) below(folder string) bool {
	return folder == "" || g.base == "" ||
		folder == g.base || strings.HasPrefix(folder, g.base+"/") || strings.HasPrefix(g.base, folder+"/")
}

// collector is one collection.
type collector struct {
	src          ArtifactSource
	marks        overlayMarks
	upper, lower *dirTree
	globs        []*artifactGlob
	m            *Manifest
	dst          *os.Root
	left         int64 // bytes that may still be copied
	files        int   // files that may be copied in all
	paths        int64 // bytes of the paths in the manifest

	dir    string   // the folder of dst that the last file went to
	dirErr error    // why it can't be used
	into   *os.Root // that folder
	made   map[string]bool
}

func (c *collector) match(path string) bool {
	hit := false
	for _, g := range c.globs {
		if doublestar.MatchUnvalidated(g.pattern, path) {
			g.used, hit = true, true
		}
	}
	return hit
}

// file deals with something that is no folder, in the tree that the jail saw it in.
// An error means that dst can't take any more.
func (c *collector) file(path, name string, t *dirTree, e treeEntry) error {
	if !c.match(path) {
		return nil
	}
	out := LeftOut{Path: path, Type: e.typ}
	switch {
	case e.typ == TypeSymlink:
		target, err := t.readlink(name)
		if err != nil {
			out.Reason = readReason(err)
		} else {
			out.Target, out.Reason = target, "a symlink is not made"
		}
	case e.typ != TypeFile:
		out.Reason = "only regular files are copied"
	case c.paths+int64(len(path)) > maxArtifactPaths:
		out.Reason = fmt.Sprintf("the paths of the files collected are %d bytes in all, which is the most", maxArtifactPaths)
	case len(c.m.Files) >= c.files:
		out.Reason = fmt.Sprintf("%d files are collected, which is the most", c.files)
	case e.size > c.left:
		c.m.NoRoom++
		out.Reason = fmt.Sprintf("its %d bytes are more than is left of the size cap", e.size)
	}
	stored, ok := storedName(path)
	if out.Reason == "" && !ok {
		out.Reason = fmt.Sprintf("its path is longer than %d bytes", maxStoredPath)
	}
	if out.Reason != "" {
		c.leaveOut(out)
		return nil
	}
	open := t.open
	if t == c.upper && c.lower != nil {
		open = func(name string, e treeEntry) (*os.File, error) { return c.marks.open(t, name, e) }
	}
	in, err := open(name, e)
	if err != nil {
		out.Reason = markReason(err)
		c.leaveOut(out)
		return nil
	}
	defer in.Close()
	a := Artifact{Path: path, Mode: FileMode(e.mode&0o755 | 0o600)}
	if stored != path {
		a.Stored = stored
	}
	reason, err := c.copy(&a, stored, in, e.size)
	if err != nil {
		return err
	}
	if reason != "" {
		out.Reason = reason
		c.leaveOut(out)
		return nil
	}
	c.paths += int64(len(path))
	c.left -= a.Size
	c.m.Size += a.Size
	c.m.Files = append(c.m.Files, a)
	return nil
}

// copy writes one file. The reason is one that concerns this file alone.
func (c *collector) copy(a *Artifact, stored string, in io.Reader, size int64) (reason string, err error) {
	if err := c.enterFolder(path.Dir(stored)); err != nil {
		return targetReason(err)
	}
	name := path.Base(stored)
	st, err := c.into.Lstat(name)
	switch {
	case err == nil && !st.Mode().IsRegular():
		return "there is something else of this name in the artifacts folder", nil
	case err == nil: // of an earlier run into the same folder
		if err := c.into.Remove(name); err != nil {
			return "", err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return targetReason(err)
	}
	out, err := c.into.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return targetReason(err)
	}
	sum := sha256.New()
	sparse := &sparseFile{file: out}
	n, err := io.Copy(io.MultiWriter(sparse, sum), io.LimitReader(in, size+1))
	if err == nil {
		err = sparse.Close()
	}
	if err == nil && n != size {
		err = errTreeChanged
	}
	if err == nil {
		err = out.Chmod(fs.FileMode(a.Mode))
	}
	err = errors.Join(err, out.Close())
	if err != nil {
		err = errors.Join(err, c.into.Remove(name))
		if errors.Is(err, errTreeChanged) {
			return errTreeChanged.Error(), nil
		}
		return targetReason(err)
	}
	a.Size, a.SHA256 = n, hex.EncodeToString(sum.Sum(nil))
	return "", nil
}

var errTargetTaken = errors.New("something that is no folder is in its way in the artifacts folder")

// enterFolder makes the folders down to dir and goes there. os.Root lets no symlink
// lead out of dst; one that leads elsewhere within it is refused too.
func (c *collector) enterFolder(dir string) error {
	if dir == c.dir {
		return c.dirErr
	}
	c.leaveFolder()
	c.dir, c.dirErr = dir, c.makeFolder(dir)
	if c.dirErr == nil && dir != "." {
		var into *os.Root
		if into, c.dirErr = c.dst.OpenRoot(dir); c.dirErr == nil {
			c.into = into
		}
	}
	return c.dirErr
}

func (c *collector) leaveFolder() {
	if c.into != c.dst {
		_ = c.into.Close()
	}
	c.dir, c.dirErr, c.into = ".", nil, c.dst
}

func (c *collector) makeFolder(dir string) error {
	for end := 0; end < len(dir); {
		if i := strings.IndexByte(dir[end+1:], '/'); i >= 0 {
			end += 1 + i
		} else {
			end = len(dir)
		}
		if c.made[dir[:end]] {
			continue
		}
		st, err := c.dst.Lstat(dir[:end])
		if errors.Is(err, fs.ErrNotExist) {
			err = c.dst.Mkdir(dir[:end], 0o755)
		} else if err == nil && !st.IsDir() {
			err = errTargetTaken
		}
		if err != nil {
			return err
		}
		c.made[dir[:end]] = true
	}
	return nil
}

// targetReason parts what concerns one file, which the file system of dst can't
// hold, from what concerns all that follow, as a full disk.
func targetReason(err error) (string, error) {
	if errors.Is(err, errTargetTaken) {
		return err.Error(), nil
	}
	for _, own := range []error{unix.ENAMETOOLONG, unix.EILSEQ, unix.EINVAL, unix.EFBIG, unix.ELOOP} {
		if errors.Is(err, own) {
			return fmt.Sprintf("the artifacts folder cannot hold it: %v", own), nil
		}
	}
	return "", err
}
