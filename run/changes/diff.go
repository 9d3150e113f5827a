package changes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A FileDiff is one change as people look at it.
type FileDiff struct {
	Change  *Change
	From    *Change // the deletion that this creation is a rename of
	Percent int     // how much of a renamed file stayed as it was
	Binary  bool
	Added   int    // lines
	Removed int    // lines
	Hunks   []byte // unified diff, without the lines before the first "@@"; raw bytes of the jail's
}

// DiffOptions bounds what is looked at to find renames. Zero is the default.
type DiffOptions struct {
	MaxPairs int // comparisons of a deleted file with a created one; default 10,000
}

// renamePercent is how alike two files must be to count as one that was renamed, as
// git's default is (git-diff(1), --find-renames).
const renamePercent = 50

// Diff gives the differences of a list, in its order, from the patch that was written
// with it. A rename takes the place of the creation, and its deletion is left out.
func Diff(l *List, patch io.ReaderAt, o DiffOptions) ([]FileDiff, error) {
	if o.MaxPairs == 0 {
		o.MaxPairs = 10_000
	}
	out := make([]FileDiff, len(l.Changes))
	for i := range l.Changes {
		d, err := diffOf(&l.Changes[i], patch)
		if err != nil {
			return nil, fmt.Errorf("diff of %s: %w", quoted(l.Changes[i].Path), err)
		}
		out[i] = d
	}
	gone := renames(out, o.MaxPairs)
	return slices.DeleteFunc(out, func(d FileDiff) bool { return gone[d.Change] }), nil
}

// maxDiffPart bounds a part of the patch that is shown: WritePatch writes two sides of
// at most PatchOptions.MaxFile each.
const maxDiffPart = 128 << 20

func diffOf(c *Change, patch io.ReaderAt) (FileDiff, error) {
	d := FileDiff{Change: c}
	at, size := c.Patch[0], c.Patch[1]
	if size == 0 {
		return d, nil
	}
	if at < 0 || size < 0 || size > maxDiffPart || patch == nil {
		return d, errors.New("changes.json names no part of changes.patch")
	}
	part := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(patch, at, size), part); err != nil {
		return d, err
	}
	if !bytes.HasPrefix(part, []byte("diff --git ")) {
		return d, errors.New("changes.patch is not the one of changes.json")
	}
	d.Binary = bytes.Contains(part, []byte("\nGIT binary patch\n"))
	if d.Binary {
		return d, nil
	}
	// A changed type is two parts; both have hunks.
	in := false
	for line := range bytes.Lines(part) {
		switch {
		case bytes.HasPrefix(line, []byte("diff --git ")):
			in = false
			continue
		case bytes.HasPrefix(line, []byte("@@ ")):
			in = true
		}
		if !in {
			continue
		}
		switch line[0] {
		case '+':
			d.Added++
		case '-':
			d.Removed++
		}
		d.Hunks = append(d.Hunks, line...)
	}
	return d, nil
}

// renames pairs deletions with creations, the same content first, and tells which
// deletions are then told already.
func renames(list []FileDiff, pairs int) (gone map[*Change]bool) {
	gone = map[*Change]bool{}
	var deleted, created []*FileDiff
	bySum := map[string]*FileDiff{}
	for i := range list {
		d := &list[i]
		switch c := d.Change; {
		case c.After == nil && c.Before.Type == TypeFile && c.Before.SHA256 != "" && c.Before.Size > 0:
			deleted = append(deleted, d)
			bySum[c.Before.SHA256] = d
		case c.Before == nil && c.After.Type == TypeFile && c.After.Size > 0:
			created = append(created, d)
		}
	}
	rename := func(from, to *FileDiff, percent int, hunks []byte) {
		to.From, to.Percent, to.Hunks = from.Change, percent, hunks
		to.Added, to.Removed = countSigns(hunks)
		gone[from.Change] = true
	}
	for _, d := range created {
		if from := bySum[d.Change.After.SHA256]; from != nil && !gone[from.Change] {
			rename(from, d, 100, nil)
		}
	}
	for _, d := range created {
		if d.From != nil || d.Binary || d.Hunks == nil {
			continue
		}
		now := side(d.Hunks, '+')
		var best *FileDiff
		percent := renamePercent - 1
		for _, from := range deleted {
			if gone[from.Change] || from.Binary || from.Hunks == nil || !alikeInSize(from.Change.Before.Size, d.Change.After.Size) {
				continue
			}
			if pairs--; pairs < 0 {
				return gone
			}
			p := alike(side(from.Hunks, '-'), now)
			if p > percent || p == percent && best != nil && path.Base(from.Change.Path) == path.Base(d.Change.Path) {
				best, percent = from, p
			}
		}
		if best != nil {
			hunks, _ := gitHunks(side(best.Hunks, '-'), now)
			rename(best, d, percent, hunks)
		}
	}
	return gone
}

// alikeInSize passes over pairs that can't be alike enough whatever is in them.
func alikeInSize(a, b int64) bool {
	return 100*min(a, b) >= renamePercent*max(a, b)
}

// side is the whole content of a file that was created or deleted, out of its hunk.
func side(hunks []byte, sign byte) []byte {
	var b []byte
	for line := range bytes.Lines(hunks) {
		switch {
		case line[0] == sign:
			b = append(b, line[1:]...)
		case line[0] == '\\': // "No newline at end of file", of the line before
			b = bytes.TrimSuffix(b, []byte{'\n'})
		}
	}
	return b
}

// alike is the share of the larger file's bytes that are in lines that both have.
func alike(a, b []byte) int {
	lines := map[string]int{}
	for line := range bytes.Lines(a) {
		lines[string(line)]++
	}
	common := 0
	for line := range bytes.Lines(b) {
		if lines[string(line)] > 0 {
			lines[string(line)]--
			common += len(line)
		}
	}
	return 100 * common / max(len(a), len(b), 1)
}

func countSigns(hunks []byte) (added, removed int) {
	for line := range bytes.Lines(hunks) {
		switch line[0] {
		case '+':
			added++
		case '-':
			removed++
		}
	}
	return added, removed
}

// Describe is the change in one line, without its path: what happened to what.
func (c *Change) Describe() string {
	switch {
	case c.Before == nil:
		return "new " + c.After.describe()
	case c.After == nil:
		return "deleted " + c.Before.describe()
	case c.Before.Type != c.After.Type:
		return fmt.Sprintf("%s became %s", c.Before.describe(), c.After.describe())
	}
	var parts []string
	if c.Before.Mode != c.After.Mode && c.Before.Type != TypeSymlink {
		parts = append(parts, fmt.Sprintf("mode %04o → %04o", uint32(c.Before.Mode), uint32(c.After.Mode)))
	}
	if c.Before.Target != c.After.Target {
		parts = append(parts, fmt.Sprintf("target %s → %s", quoted(c.Before.Target), quoted(c.After.Target)))
	}
	if len(parts) == 0 {
		return "changed " + c.After.describe()
	}
	return fmt.Sprintf("%s, %s", c.After.Type, strings.Join(parts, ", "))
}

func (s *FileState) describe() string {
	switch s.Type {
	case TypeSymlink:
		return "symlink to " + quoted(s.Target)
	case TypeFile:
		if s.Mode&0o7111 != 0 {
			return fmt.Sprintf("file of mode %04o", uint32(s.Mode))
		}
	}
	return s.Type
}
