package changes

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
)

// PatchOptions bounds changes.patch. Zero is the default.
type PatchOptions struct {
	MaxFile  int64 // bytes of a file on either side; default 16 MiB
	MaxTotal int64 // bytes of the patch; default 256 MiB (git apply takes less than 1 GiB)
}

// WritePatch writes the changes as a patch that `git apply` takes in the workspace's
// folder, binary files and symlinks included, and notes in c for each change why it
// is not in the patch, where it isn't. It must be called on the result of
// Read, before WriteJSON, with the upper layer still open.
//
// One change is in memory at a time, so that the need for memory is a small multiple
// of MaxFile. A file that is only removed may be larger: its removal then can't be
// reversed with git apply -R. Should the host's folder change meanwhile, what changed
// is left out, and the patch may not apply. The error is w's, or that a layer can't
// be opened at all.
func WritePatch(w io.Writer, c *List, o PatchOptions) error {
	if c.source.upper == nil {
		return errors.New("write patch: the list of changes has no sources")
	}
	defer runtime.KeepAlive(c.source.upper)
	p := &patcher{maxFile: cmp.Or(o.MaxFile, 16<<20), left: cmp.Or(o.MaxTotal, 256<<20)}
	var err error
	if p.upper, err = openDirTree(c.source.upper, treeUpper, true); err != nil {
		return fmt.Errorf("write patch: open the upper layer: %w", err)
	}
	defer p.upper.close()
	if c.source.lower != "" {
		if p.lower, err = openLowerTree(c.source.lower, true); err != nil {
			return fmt.Errorf("write patch: open workspace %s: %w", c.source.lower, err)
		}
		defer p.lower.close()
	}
	steps := planPatch(c.Changes, p.maxFile)
	p.reserve(c.Changes, steps)
	at := int64(0)
	for i := range c.Changes {
		ch, step := &c.Changes[i], steps[i]
		ch.Omitted = step.reason
		if step.reason != "" || (!step.old && !step.now) {
			continue
		}
		part, reason := p.change(ch, step)
		if reason != "" {
			ch.Omitted = reason
			continue
		}
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write patch: %w", err)
		}
		ch.Patch = [2]int64{at, int64(len(part))}
		at += int64(len(part))
	}
	return nil
}

// patcher is one patch being written.
type patcher struct {
	upper, lower *dirTree
	maxFile      int64
	left         int64 // bytes that the patch may still grow by, the reserve taken off
}

// removalBytes bounds a removal in its short form: each name four times, each byte
// of it an octal escape at worst, and the fixed lines.
func removalBytes(path string) int64 { return 2*(4*int64(len(path))+4) + 256 }

// reserve sets room aside for every removal in its short form, since what is created
// may depend on it. What has none from the start is left out, with all that follows.
func (p *patcher) reserve(list []Change, steps []patchStep) {
	for i := range list {
		if steps[i].old && steps[i].reason == "" && removes(&list[i]) {
			p.left -= removalBytes(list[i].Path)
		}
	}
	if p.left >= 0 {
		return
	}
	for i := range steps {
		if steps[i].old || steps[i].now {
			steps[i] = patchStep{reason: "the removals alone are more than the patch may hold"}
		}
	}
}

// change makes the part of the patch for one change, or says why there is none.
func (p *patcher) change(c *Change, step patchStep) (part []byte, reason string) {
	var old, now *gitBlob
	if step.now {
		if now, reason = p.load(p.upper, c.Path, c.After); reason != "" {
			return nil, reason
		}
	}
	gone := step.old && removes(c)
	if step.old {
		if gone && c.Before.Size > p.maxFile {
			old, reason = p.removal(c)
		} else {
			old, reason = p.load(p.lower, c.Path, c.Before)
		}
		if reason != "" {
			return nil, reason
		}
	}
	if gone {
		p.left += removalBytes(c.Path)
	}
	part = gitPatch(c.Path, old, now)
	if int64(len(part)) > p.left && gone && now == nil {
		old.bare, old.data = true, nil
		part = gitPatch(c.Path, old, nil)
	}
	if int64(len(part)) > p.left {
		return nil, "the patch would be larger than it may be"
	}
	p.left -= int64(len(part))
	return part, ""
}

// load reads one side and makes sure that it is what the list of changes says.
func (p *patcher) load(t *dirTree, name string, s *FileState) (*gitBlob, string) {
	if s.Type == TypeSymlink {
		return newGitBlob(gitSymlink, []byte(s.Target)), ""
	}
	var buf bytes.Buffer
	sum := sha256.New()
	if reason := copyContent(io.MultiWriter(&buf, sum), t, name, s); reason != "" {
		return nil, reason
	}
	if s.SHA256 != "" && hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		return nil, errTreeChanged.Error()
	}
	return newGitBlob(gitMode(s), buf.Bytes()), ""
}

// removal is the old side of a file that is too large to be in the patch.
func (p *patcher) removal(c *Change) (*gitBlob, string) {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", c.Before.Size)
	if reason := copyContent(h, p.lower, c.Path, c.Before); reason != "" {
		return nil, reason
	}
	return &gitBlob{mode: gitMode(c.Before), id: hex.EncodeToString(h.Sum(nil)), bare: true}, ""
}

// copyContent writes the content of a file that the list of changes names, if it is
// still of the size that the list says.
func copyContent(w io.Writer, t *dirTree, name string, s *FileState) (reason string) {
	dir, base := path.Split(name)
	if err := t.seek(path.Clean("/" + dir)[1:]); err != nil {
		return readReason(err)
	}
	e, ok, err := t.lstat(base)
	if err != nil {
		return readReason(err)
	}
	if !ok || e.typ != TypeFile || e.size != s.Size {
		return errTreeChanged.Error()
	}
	f, err := t.open(base, e)
	if err != nil {
		return readReason(err)
	}
	defer f.Close()
	n, err := io.Copy(w, io.LimitReader(f, s.Size+1))
	if err != nil {
		return readReason(err)
	}
	if n != s.Size {
		return errTreeChanged.Error()
	}
	return ""
}
