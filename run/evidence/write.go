package evidence

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// ManifestName is the last member's.
const ManifestName = "manifest.json"

// manifestVersion is of the manifest's form.
const manifestVersion = 1

// File is one member as the manifest has it.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Masked int    `json:"masked,omitempty"` // places that were overwritten
}

// LeftOut is what is not in an archive, and why.
type LeftOut struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Manifest is what an archive says of itself.
type Manifest struct {
	Version int       `json:"version"`
	Run     string    `json:"run"`
	Created time.Time `json:"created"`
	Files   []File    `json:"files"`
	LeftOut []LeftOut `json:"left_out"`
}

// Options say how an archive is written.
type Options struct {
	Run  string
	Now  time.Time
	Size int64 // the most that all members may have together
	Mask func([]byte) int
}

// maxMembers bounds an archive, and maxLeftOut what it lists as left out.
const (
	maxMembers = 100_000
	maxLeftOut = 1000
)

// overlap is how much of a member is looked at again with what follows it: a credential
// that lies across the border of two pieces is shorter.
const (
	piece   = 1 << 20
	overlap = 64 << 10
)

// Writer writes an archive.
type Writer struct {
	o    Options
	z    *zstd.Encoder
	t    *tar.Writer
	m    Manifest
	left int64
	buf  []byte
}

// NewWriter begins an archive.
func NewWriter(w io.Writer, o Options) (*Writer, error) {
	// One goroutine: the machine's other work goes on.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return nil, err
	}
	return &Writer{o: o, z: z, t: tar.NewWriter(z), left: o.Size, buf: make([]byte, piece+overlap),
		m: Manifest{Version: manifestVersion, Run: o.Run, Created: o.Now.UTC(), Files: []File{}, LeftOut: []LeftOut{}}}, nil
}

// Skip notes that something is not in the archive.
func (w *Writer) Skip(name, why string) {
	if len(w.m.LeftOut) < maxLeftOut {
		w.m.LeftOut = append(w.m.LeftOut, LeftOut{w.clean(name), w.clean(why)})
	}
}

func (w *Writer) clean(s string) string {
	b := []byte(s)
	w.o.Mask(b)
	return string(bytes.ToValidUTF8(b, []byte("\ufffd")))
}

// Bytes adds a member.
func (w *Writer) Bytes(name string, data []byte) error {
	return w.Stream(name, int64(len(data)), bytes.NewReader(data))
}

// JSON adds a member.
func (w *Writer) JSON(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return w.Bytes(name, append(data, '\n'))
}

// Stream adds a member of a size that is known; where r has less of it, the rest is
// zeros, and the manifest says so. An error is the archive's own.
func (w *Writer) Stream(name string, size int64, r io.Reader) error {
	name = w.clean(name)
	if size > w.left || len(w.m.Files) >= maxMembers {
		w.Skip(name, fmt.Sprintf("the archive is full: %d bytes", size))
		return nil
	}
	w.left -= size
	if err := w.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.m.Created.Truncate(time.Second), Format: tar.FormatPAX}); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	sum := sha256.New()
	f := File{Name: name, Size: size}
	short := false
	put := func(p []byte) error {
		sum.Write(p)
		_, err := w.t.Write(p)
		return err
	}
	kept := 0 // bytes at the buffer's start that are masked already and not written yet
	for done := int64(0); done < size || kept > 0; {
		want := int(min(int64(len(w.buf)-kept), size-done))
		n := 0
		if !short {
			var err error
			if n, err = io.ReadFull(r, w.buf[kept:kept+want]); err != nil {
				short = n < want
			}
		}
		clear(w.buf[kept+n : kept+want])
		done += int64(want)
		have := kept + want
		// A hole has nothing to mask, and agents make large ones.
		if !blank(w.buf[:have]) {
			f.Masked += w.o.Mask(w.buf[:have])
		}
		ready := have
		if done < size {
			ready = max(have-overlap, 0)
		}
		if err := put(w.buf[:ready]); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		kept = copy(w.buf, w.buf[ready:have])
	}
	if short {
		w.Skip(name, "its end could not be read, and is zeros")
	}
	f.SHA256 = hex.EncodeToString(sum.Sum(nil))
	w.m.Files = append(w.m.Files, f)
	return nil
}

// blank says whether there is nothing but zeros: each byte is as the one before it.
func blank(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

// Close writes the manifest and ends the archive; what it was written to stays open.
func (w *Writer) Close() error {
	data, err := json.MarshalIndent(w.m, "", "  ")
	if err == nil {
		data = append(data, '\n')
		err = w.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: ManifestName, Size: int64(len(data)), Mode: 0o600, ModTime: w.m.Created.Truncate(time.Second), Format: tar.FormatPAX})
	}
	if err == nil {
		_, err = w.t.Write(data)
	}
	return errors.Join(err, w.t.Close(), w.z.Close())
}
