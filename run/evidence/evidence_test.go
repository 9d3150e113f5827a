package evidence

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/agentjail/agentjail/audit"
)

const secret = "correct-horse-battery-staple"

func pack(t testing.TB, size int64, fill func(w *Writer)) []byte {
	t.Helper()
	r, err := audit.NewRedactor([]string{secret})
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w, err := NewWriter(&buf, Options{Run: "r1", Now: time.Unix(1, 0), Size: size, Mask: r.Mask})
	if err != nil {
		t.Fatal(err)
	}
	fill(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The archive opens with plain tar and zstd, its hashes hold, and the secret is nowhere,
// also where it lies across the borders of what is looked at at once.
func TestPack(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 3*piece)
	for _, at := range []int{0, piece - 10, piece + overlap - 10, 2*piece - 5, len(long) - len(secret)} {
		copy(long[at:], secret)
	}
	data := pack(t, 64<<20, func(w *Writer) {
		must(t, w.Bytes("a/small", []byte("key="+secret+"\n")))
		must(t, w.Stream("a/"+secret, int64(len(long)), bytes.NewReader(long)))
		must(t, w.Stream("short", 100, strings.NewReader("abc")))
		must(t, w.Bytes("empty", nil))
	})
	l, err := List(bytes.NewReader(data))
	must(t, err)
	if !l.Whole() || len(l.Members) != 4 || l.Members[0].Masked != 1 || l.Members[1].Masked != 5 || len(l.Manifest.LeftOut) != 1 {
		t.Errorf("%+v", l)
	}
	if strings.Contains(fmt.Sprint(l), secret) {
		t.Error("the secret is in a name")
	}
	for _, tool := range []string{"tar", "zstd", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the host lacks %s", tool)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "x.tar.zst"), data, 0o600))
	// By the programs alone; what they check is their own reading of the manifest.
	out, err := exec.Command("sh", "-ec", `cd "$1"; zstd -qdc x.tar.zst | tar x; cat short | head -c3; stat -c %s short
		sed -n 's/.*"name": "\(.*\)",/\1/p; s/.*"sha256": "\(.*\)".*/\1/p' manifest.json | paste - - | awk -F'\t' 'length($2)==64 {print $2 "  " $1}' | sha256sum -c --quiet
		! grep -rF `+secret+` --exclude=x.tar.zst .`, "sh", dir).CombinedOutput()
	if err != nil || string(out) != "abc100\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPackIsBounded(t *testing.T) {
	l, err := List(bytes.NewReader(pack(t, 10, func(w *Writer) {
		must(t, w.Bytes("fits", []byte("123456")))
		must(t, w.Bytes("does not", []byte("123456")))
	})))
	must(t, err)
	if len(l.Members) != 1 || len(l.Manifest.LeftOut) != 1 || l.Manifest.LeftOut[0].Name != "does not" {
		t.Errorf("%+v", l)
	}
}

// repack changes an archive member by member.
func repack(t testing.TB, data []byte, change func(h *tar.Header, body []byte) []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(bytes.NewReader(data))
	must(t, err)
	defer z.Close()
	var out bytes.Buffer
	zw, err := zstd.NewWriter(&out)
	must(t, err)
	tr, tw := tar.NewReader(z), tar.NewWriter(zw)
	for {
		h, err := tr.Next()
		if err != nil {
			break
		}
		var body bytes.Buffer
		_, err = body.ReadFrom(tr)
		must(t, err)
		b := change(h, body.Bytes())
		if b == nil {
			continue
		}
		h.Size = int64(len(b))
		must(t, tw.WriteHeader(h))
		_, err = tw.Write(b)
		must(t, err)
	}
	must(t, tw.Close())
	must(t, zw.Close())
	return out.Bytes()
}

func TestListFindsChanges(t *testing.T) {
	data := pack(t, 1<<20, func(w *Writer) {
		must(t, w.Bytes("one", []byte("1")))
		must(t, w.Bytes("two", []byte("2")))
	})
	for name, c := range map[string]struct {
		change func(h *tar.Header, b []byte) []byte
		want   string // of the listing; "" for an error
	}{
		"an edit": {func(h *tar.Header, b []byte) []byte {
			if h.Name == "one" {
				return []byte("x")
			}
			return b
		}, "not what the manifest says"},
		"a cut": {func(h *tar.Header, b []byte) []byte {
			if h.Name == "two" {
				return nil
			}
			return b
		}, "[two]"},
		"a name": {func(h *tar.Header, b []byte) []byte {
			if h.Name == "two" {
				h.Name = "../two"
			}
			return b
		}, "does not have it"},
		"no manifest": {func(h *tar.Header, b []byte) []byte {
			if h.Name == ManifestName {
				return nil
			}
			return b
		}, ""},
	} {
		l, err := List(bytes.NewReader(repack(t, data, c.change)))
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: no error", name)
		case c.want != "" && (err != nil || l.Whole() || !strings.Contains(fmt.Sprintf("%+v", l), c.want)):
			t.Errorf("%s: %v %+v", name, err, l)
		}
	}
	if _, err := List(bytes.NewReader(data[:len(data)/2])); err == nil {
		t.Error("half an archive is listed")
	}
}

func FuzzList(f *testing.F) {
	f.Add(pack(f, 1<<20, func(w *Writer) { must(f, w.Bytes("one\x1b[2J", []byte("1"))) }))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = List(bytes.NewReader(data))
		// What zstd wraps is reached by few changes of it, so the tar is read bare too.
		if l, err := list(tar.NewReader(&limited{r: bytes.NewReader(data), left: 1 << 20})); err == nil && l.Whole() && len(l.Members) != len(l.Manifest.Files) {
			t.Errorf("%d members, %d in the manifest", len(l.Members), len(l.Manifest.Files))
		}
	})
}
