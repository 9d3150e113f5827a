package changes

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// changes.data holds the content of every file that the jail created or changed, one
// behind the other and each only once: what the patch can't hold is there too, and no
// name of the jail's is a name on the host's disk.

// ContentOptions bounds changes.data. Zero is the default.
type ContentOptions struct {
	MaxTotal int64 // bytes; default 2 GiB
}

// WriteContents writes the contents that apply needs and notes in l where each is, or
// why it isn't there. Like WritePatch it wants the result of Read, the upper layer
// still open, and comes before WriteJSON. The error is w's, or that the upper layer
// can't be opened.
func WriteContents(w io.Writer, l *List, o ContentOptions) error {
	if l.source.upper == nil {
		return errors.New("write contents: the list of changes has no sources")
	}
	defer runtime.KeepAlive(l.source.upper)
	t, err := openDirTree(l.source.upper, treeUpper, true)
	if err != nil {
		return fmt.Errorf("write contents: open the upper layer: %w", err)
	}
	defer t.close()
	return writeContents(w, t, l.Changes, o)
}

// writeContents packs the after sides of some changes out of one tree.
func writeContents(w io.Writer, t *dirTree, list []Change, o ContentOptions) error {
	out := bufio.NewWriterSize(w, 64<<10)
	left, at := cmp.Or(o.MaxTotal, 2<<30), int64(0)
	known := map[string]int64{} // by SHA-256
	for i := range list {
		c := &list[i]
		if c.After == nil || c.After.Type != TypeFile {
			continue
		}
		if c.After.Unhashed != "" {
			c.Unkept = "its content was not read: " + c.After.Unhashed
			continue
		}
		if have, ok := known[c.After.SHA256]; ok {
			c.After.At = &have
			continue
		}
		if c.After.Size > left {
			c.Unkept = fmt.Sprintf("its %d bytes are more than is left of the %d that are kept of a run", c.After.Size, cmp.Or(o.MaxTotal, 2<<30))
			continue
		}
		n := &counter{w: out}
		sum := sha256.New()
		reason := copyContent(io.MultiWriter(n, sum), t, c.Path, c.After)
		if n.err != nil {
			return fmt.Errorf("write contents: %w", n.err)
		}
		if reason == "" && hex.EncodeToString(sum.Sum(nil)) != c.After.SHA256 {
			reason = errTreeChanged.Error()
		}
		if reason != "" {
			c.Unkept = reason
		} else {
			c.After.At = new(at)
			known[c.After.SHA256] = at
		}
		at, left = at+n.n, left-n.n
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write contents: %w", err)
	}
	return nil
}

// counter tells what was written, and the writer's errors from the reader's.
type counter struct {
	w   io.Writer
	n   int64
	err error
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		c.err = err
	}
	return n, err
}

// content writes a kept content, if it is what the list of changes says.
func (s *FileState) content(w io.Writer, data io.ReaderAt) error {
	if s.At == nil || *s.At < 0 || s.Size < 0 || data == nil {
		return errors.New("its content was not kept")
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), io.NewSectionReader(data, *s.At, s.Size))
	if err != nil {
		return err
	}
	if n != s.Size || hex.EncodeToString(sum.Sum(nil)) != s.SHA256 {
		return errors.New("its kept content is not what the list of changes says\nhint: changes.data or changes.json was changed after the run")
	}
	return nil
}
