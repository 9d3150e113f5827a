package run

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzInfo lists a run whose info somebody else wrote: nothing of it steers the terminal.
func FuzzInfo(f *testing.F) {
	f.Add([]byte(`{"id":"x","argv":["sh","\u001b[2J"],"profile":"default","started":"2026-03-04T05:06:07Z"}`))
	f.Add([]byte(`{"id":"x","name":"\u202e","started":"0001-01-01T00:00:00Z","ended":"9999-12-31T23:59:59Z","exit_code":-1}`))
	f.Add([]byte(`{"id":"../x"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseInfo(data, "x")
		if err != nil {
			return
		}
		if i.ID != "x" {
			t.Errorf("the info of run %q is taken for that of x", i.ID)
		}
		var out bytes.Buffer
		if err := writeRuns(&out, []runRow{newRunRow(i, time.Unix(0, 0))}, time.UTC); err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(out.Bytes()) {
			t.Errorf("not UTF-8: %q", out.Bytes())
		}
		for _, c := range out.String() {
			if c != '\n' && unicode.IsControl(c) {
				t.Fatalf("a control character: %q", out.String())
			}
		}
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines: %q", n, out.String())
		}
	})
}

// FuzzMountinfo reads a mount table, in which an agent of another jail may have named
// folders.
func FuzzMountinfo(f *testing.F) {
	f.Add("1 0 8:1 / / rw - ext4 /dev/vda rw\n", "x")
	f.Add("1 0 8:1 / /mnt rw - ext4 /dev/vda rw\n", "/proc/x")
	f.Fuzz(func(t *testing.T, raw, name string) {
		_, _ = readMounts([]byte(raw))
		// The kernel escapes space, tab, newline and backslash (seq_path, fs/seq_file.c).
		name = strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "\x00", "").Replace(name)
		name = strings.ReplaceAll(name, "\r", "") // which bufio.ScanLines takes off a line's end
		table := "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 8:1 / /mnt/" + name + " rw - ext4 /dev/vda rw\n"
		if chroot, masked := readMounts([]byte(table)); chroot || len(masked) != 0 {
			t.Errorf("a folder called %q: chroot %v, masked %q", name, chroot, masked)
		}
	})
}
