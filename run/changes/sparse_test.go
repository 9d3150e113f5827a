package changes

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSparseFile(t *testing.T) {
	const hole = 64 << 20
	for name, content := range map[string]func() io.Reader{
		"empty":  func() io.Reader { return bytes.NewReader(nil) },
		"short":  func() io.Reader { return bytes.NewReader([]byte("\x00a\x00")) },
		"a hole": func() io.Reader { return io.LimitReader(zeroReader{}, hole) },
		"a hole with shore": func() io.Reader {
			return io.MultiReader(bytes.NewReader([]byte("begin")), io.LimitReader(zeroReader{}, hole), bytes.NewReader([]byte("end")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			f, err := os.Create(path)
			must(t, err)
			defer f.Close()
			s := &sparseFile{file: f}
			want, err := io.Copy(s, content())
			must(t, err)
			must(t, s.Close())
			got, err := os.Open(path)
			must(t, err)
			defer got.Close()
			if !sameContent(t, got, content()) {
				t.Error("the file has other content than was written")
			}
			var st unix.Stat_t
			must(t, unix.Fstat(int(got.Fd()), &st))
			if st.Size != want || st.Blocks*512 > 1<<20 {
				t.Errorf("%d bytes take %d of the disk", st.Size, st.Blocks*512)
			}
		})
	}
}

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func sameContent(t *testing.T, x, y io.Reader) bool {
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, xerr := io.ReadFull(x, a)
		m, yerr := io.ReadFull(y, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false
		}
		if xerr != nil || yerr != nil {
			return xerr != nil && yerr != nil
		}
	}
}
