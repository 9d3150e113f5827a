package changes

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// layer builds a tree from lines of "path = content", by the path's form:
//
//	a/            a folder          a -> b     a symlink
//	a = text      a file            !a         a whiteout
//	a|            a FIFO            a/ opaque  a folder that hides the lower one
//	a %0755       the mode of what is there by then
//
// A path in double quotes may hold escapes.
func layer(t *testing.T, lines ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, line := range lines {
		name, content, isFile := strings.Cut(line, " = ")
		link, target, isLink := strings.Cut(line, " -> ")
		moded, mode, isMode := strings.Cut(line, " %")
		in := func(name string) string {
			if strings.HasPrefix(name, `"`) {
				var raw string
				if _, err := fmt.Sscanf(name, "%q", &raw); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				name = raw
			}
			full := root + "/" + name
			mkdirs(t, filepath.Dir(strings.TrimRight(full, "/")))
			return full
		}
		switch {
		case isFile:
			full := in(name)
			must(t, os.WriteFile(full, []byte(content), 0o644))
			must(t, os.Chmod(full, 0o644))
		case isLink:
			must(t, os.Symlink(target, in(link)))
		case isMode:
			var m uint32
			_, err := fmt.Sscanf(mode, "%o", &m)
			must(t, err)
			must(t, unix.Chmod(in(moded), m))
		case strings.HasSuffix(line, "/ opaque"):
			dir := in(strings.TrimSuffix(line, " opaque"))
			mkdirs(t, filepath.Clean(dir))
			setXattr(t, dir, "user.overlay.opaque", "y")
		case strings.HasSuffix(line, "/"):
			mkdirs(t, filepath.Clean(in(line)))
		case strings.HasSuffix(line, "|"):
			full := in(strings.TrimSuffix(line, "|"))
			must(t, unix.Mkfifo(full, 0o644))
			must(t, unix.Chmod(full, 0o644))
		case strings.HasPrefix(line, "!"):
			// Since Linux 5.8 anyone may make this one device (vfs_mknod).
			must(t, unix.Mknod(in(line[1:]), unix.S_IFCHR, 0))
		default:
			t.Fatalf("%q is no line of a layer", line)
		}
	}
	return root
}

// mkdirs makes folders of mode 0755 whatever the umask is.
func mkdirs(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); err == nil {
		return
	}
	mkdirs(t, filepath.Dir(dir))
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.Chmod(dir, 0o755))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func setXattr(t *testing.T, path, name, value string) {
	t.Helper()
	err := unix.Setxattr(path, name, []byte(value), 0)
	if err == unix.EOPNOTSUPP {
		t.Skipf("the file system of %s has no user.* extended attributes (tmpfs has them since Linux 6.6)", os.TempDir())
	}
	must(t, err)
}

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// changeLines renders a list for comparison.
func changeLines(c *List) []string {
	var out []string
	side := func(s *FileState) string {
		switch {
		case s == nil:
			return "nothing"
		case s.Type == TypeSymlink:
			return "symlink to " + s.Target
		case s.Type == TypeFile && s.SHA256 == "":
			return fmt.Sprintf("file %04o unhashed", s.Mode)
		case s.Type == TypeFile:
			return fmt.Sprintf("file %04o %d", s.Mode, s.Size)
		}
		return fmt.Sprintf("%s %04o", s.Type, s.Mode)
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		line := fmt.Sprintf("%s %q: %s, %s", ch.Op, ch.Path, side(ch.Before), side(ch.After))
		if ch.OverHidden {
			line += ", over hidden"
		}
		out = append(out, line)
	}
	for _, u := range c.Unread {
		out = append(out, fmt.Sprintf("unread %q", u.Path))
	}
	return out
}

func TestReadChanges(t *testing.T) {
	hidden := func(names ...string) Options {
		return Options{Hidden: func(p string) bool {
			for _, n := range names {
				if p == n {
					return true
				}
			}
			return false
		}}
	}
	tests := []struct {
		name         string
		lower, upper []string
		o            Options
		want         []string
	}{
		{name: "nothing"},
		{
			name:  "files",
			lower: []string{"same = x", "mod = a", "gone = 12", "mode = x", "keep = x"},
			upper: []string{"same = x", "mod = b", "!gone", "mode = x", "mode %0755", "new/a = 1", "!never"},
			want: []string{
				`deleted "gone": file 0644 2, nothing`,
				`modified "mod": file 0644 1, file 0644 1`,
				`modified "mode": file 0644 1, file 0755 1`,
				`created "new": nothing, folder 0755`,
				`created "new/a": nothing, file 0644 1`,
			},
		},
		{
			name:  "folders",
			lower: []string{"touched/a = 1", "moded/", "gone/a = 1", "gone/b/c = 1", "gone/e/"},
			upper: []string{"touched/", "moded/", "moded %0700", "!gone"},
			want: []string{
				`deleted "gone": folder 0755, nothing`,
				`deleted "gone/a": file 0644 1, nothing`,
				`deleted "gone/b": folder 0755, nothing`,
				`deleted "gone/b/c": file 0644 1, nothing`,
				`deleted "gone/e": folder 0755, nothing`,
				`modified "moded": folder 0755, folder 0700`,
			},
		},
		{
			name:  "opaque, also below",
			lower: []string{"d/same = 1", "d/old = 1", "d/sub/old = 1", "d/sub/same = 1", "d/x/y = 1"},
			upper: []string{"d/ opaque", "d/same = 1", "d/sub/same = 1", "d/new = 1"},
			want: []string{
				`created "d/new": nothing, file 0644 1`,
				`deleted "d/old": file 0644 1, nothing`,
				`deleted "d/sub/old": file 0644 1, nothing`,
				`deleted "d/x": folder 0755, nothing`,
				`deleted "d/x/y": file 0644 1, nothing`,
			},
		},
		{
			name:  "types",
			lower: []string{"f = 1", "d/a = 1", "l -> a", "same -> a", "p|", "q|"},
			upper: []string{"f/x = 1", "d = 1", "l -> b", "same -> a", "p = 1", "q|"},
			want: []string{
				`modified "d": folder 0755, file 0644 1`,
				`deleted "d/a": file 0644 1, nothing`,
				`modified "f": file 0644 1, folder 0755`,
				`created "f/x": nothing, file 0644 1`,
				`modified "l": symlink to a, symlink to b`,
				`modified "p": fifo 0644, file 0644 1`,
			},
		},
		{
			name:  "sorted by path, not by folder",
			upper: []string{"a/b = 1", "a-b = 1", `"\xff\n" = 1`},
			want: []string{
				`created "a": nothing, folder 0755`, `created "a-b": nothing, file 0644 1`,
				`created "a/b": nothing, file 0644 1`, `created "\xff\n": nothing, file 0644 1`,
			},
		},
		{
			name:  "hidden",
			lower: []string{".env = secret", "s/key = 1", "d/.env = 1", "d/a = 1", "o/x = 1", "o/.env = 1"},
			upper: []string{".env = mine", "s/new = 1", "!d", "o/ opaque"},
			o:     hidden(".env", "s", "d/.env", "o/.env"),
			want: []string{
				`created ".env": nothing, file 0644 4, over hidden`,
				`deleted "d": folder 0755, nothing`,
				`deleted "d/a": file 0644 1, nothing`,
				`deleted "o/x": file 0644 1, nothing`,
				`created "s": nothing, folder 0755, over hidden`,
				`created "s/new": nothing, file 0644 1, over hidden`,
			},
		},
		{
			name:  "ignored",
			lower: []string{"d/a = 1", "d/cache/x = 1", "cache/x = 1"},
			upper: []string{"cache/x = 2", "!d"},
			o:     Options{Ignore: func(p string) bool { return filepath.Base(p) == "cache" }},
			want:  []string{`deleted "d": folder 0755, nothing`, `deleted "d/a": file 0644 1, nothing`},
		},
		{
			name:  "symlinks are not followed",
			lower: []string{"d/passwd = 1", "l -> /etc"},
			upper: []string{"d -> /etc", "l/passwd = 1"},
			want: []string{
				`modified "d": folder 0755, symlink to /etc`,
				`deleted "d/passwd": file 0644 1, nothing`,
				`modified "l": symlink to /etc, folder 0755`,
				`created "l/passwd": nothing, file 0644 1`,
			},
		},
		{
			name:  "content over the limit is a change",
			lower: []string{"big = 12345", "small = 1"},
			upper: []string{"big = 12345", "small = 1"},
			o:     Options{Limits: Limits{HashFile: 4}},
			want:  []string{`modified "big": file 0644 unhashed, file 0644 unhashed`},
		},
		{
			name:  "content over the limit in all is a change",
			lower: []string{"a = 123", "b = 123"},
			upper: []string{"a = 123", "b = 123"},
			o:     Options{Limits: Limits{HashTotal: 8}},
			want:  []string{`modified "b": file 0644 unhashed, file 0644 unhashed`},
		},
		{
			name:  "a list over its limit says so",
			upper: []string{"a = 1", "b = 1", "c = 1", "d = 1"},
			o:     Options{Limits: Limits{Entries: 2}},
			want:  []string{`created "a": nothing, file 0644 1`, `unread "."`, `unread "b"`},
		},
		{
			name:  "too deep, too long",
			lower: []string{"gone/a/b/c/d = 1"},
			upper: []string{"a/b/c/d = 1", "x/longlonglong = 1", "!gone"},
			o:     Options{Limits: Limits{Depth: 2, Path: 10}},
			want: []string{
				`created "a": nothing, folder 0755`, `created "a/b": nothing, folder 0755`, `created "a/b/c": nothing, folder 0755`,
				`deleted "gone": folder 0755, nothing`, `deleted "gone/a": folder 0755, nothing`, `deleted "gone/a/b": folder 0755, nothing`,
				`created "x": nothing, folder 0755`,
				`unread "a/b/c"`, `unread "gone/a/b"`, `unread "x/longlonglong"`,
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			upper := openDir(t, layer(t, tt.upper...))
			got, err := Read(upper, layer(t, tt.lower...), tt.o)
			must(t, err)
			if diff := cmp.Diff(tt.want, changeLines(got)); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if got.Complete != (len(got.Unread) == 0) {
				t.Errorf("complete is %t with %d unread", got.Complete, len(got.Unread))
			}
		})
	}
}

func TestReadChangesOfAnEmptyWorkspace(t *testing.T) {
	// With no layer below, nothing is a mark of an overlay's: the jail could have
	// made each of them.
	root := layer(t, "a/ opaque", "a/b = 1", "!white")
	setXattr(t, root+"/a", "user.overlay.redirect", "/etc")
	got, err := Read(openDir(t, root), "", Options{})
	must(t, err)
	want := []string{
		`created "a": nothing, folder 0755`, `created "a/b": nothing, file 0644 1`, `created "white": nothing, device 0000`,
	}
	if diff := cmp.Diff(want, changeLines(got)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

func TestReadChangesOverlayAttributes(t *testing.T) {
	t.Run("whiteouts that are files", func(t *testing.T) {
		upper := layer(t, "d/gone = ", "d/empty = ", "d/full = 1", "e/gone = ")
		setXattr(t, upper+"/d", "user.overlay.opaque", "x")
		for _, f := range []string{"d/gone", "d/full", "e/gone"} {
			setXattr(t, upper+"/"+f, "user.overlay.whiteout", "")
		}
		// The mark counts only on an empty file in a folder that announces it.
		got, err := Read(openDir(t, upper), layer(t, "d/gone = 1", "d/empty = ", "d/kept = 1", "d/full = 2", "e/gone = 1"), Options{})
		must(t, err)
		want := []string{
			`modified "d/full": file 0644 1, file 0644 1`,
			`deleted "d/gone": file 0644 1, nothing`,
			`modified "e/gone": file 0644 1, file 0644 0`,
		}
		if diff := cmp.Diff(want, changeLines(got)); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
	t.Run("redirect is refused", func(t *testing.T) {
		upper := layer(t, "d/a = 1", "e = 1")
		setXattr(t, upper+"/d", "user.overlay.redirect", "/other")
		got, err := Read(openDir(t, upper), layer(t, "other/a = 2"), Options{})
		must(t, err)
		want := []string{`created "d": nothing, folder 0755`, `created "e": nothing, file 0644 1`, `unread "d"`}
		if diff := cmp.Diff(want, changeLines(got)); diff != "" || got.Complete {
			t.Errorf("complete %t, changes (-want +got):\n%s", got.Complete, diff)
		}
	})
	t.Run("metacopy is refused", func(t *testing.T) {
		upper := layer(t, "a = 1")
		setXattr(t, upper+"/a", "user.overlay.metacopy", "")
		got, err := Read(openDir(t, upper), layer(t, "a = 1"), Options{})
		must(t, err)
		want := []string{`modified "a": file 0644 1, file 0644 unhashed`}
		if diff := cmp.Diff(want, changeLines(got)); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}

func TestReadChangesRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(nil, dir, Options{}); err == nil {
		t.Error("no upper layer: no error")
	}
	if _, err := Read(openDir(t, dir), dir+"/none", Options{}); err == nil || !strings.Contains(err.Error(), dir+"/none") {
		t.Errorf("no such workspace: %v", err)
	}
	must(t, os.Symlink("/", dir+"/link"))
	if _, err := Read(openDir(t, dir), dir+"/link", Options{}); err == nil {
		t.Error("a workspace that is a symlink: no error")
	}
	f, err := os.Open(layer(t, "f = 1") + "/f")
	must(t, err)
	defer f.Close()
	if _, err := Read(f, dir, Options{}); err == nil {
		t.Error("an upper layer that is a file: no error")
	}
}

func TestChangesJSON(t *testing.T) {
	upper := layer(t, `"bad\xff\\" = 1`, "l -> plain", `"new\nline <&>" = 1`, "m = 22", "m %0755")
	must(t, os.Symlink("to\xfe", upper+"/badlink"))
	c, err := Read(openDir(t, upper), layer(t, "m = 1", "d/x = 1"), Options{})
	must(t, err)
	c.Unread = append(c.Unread, Unread{"u\xff", "because"})
	c.Complete = false
	c.MarkArtifacts(&Manifest{Files: []Artifact{{Path: "m"}, {Path: "l"}}})
	var buf bytes.Buffer
	must(t, c.WriteJSON(&buf))
	for _, want := range []string{
		`"path":"bad\\xff\\\\","path_base64":"YmFk/1w="`, `"target":"to\\xfe","target_base64":"dG/+"`,
		`"counts":{"created":4,"deleted":0,"modified":1}`, `"complete":false`, `"path":"m","op":"modified"`, `"mode":"0755"`,
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("changes.json has no %s:\n%s", want, buf.String())
		}
	}
	back, err := ReadJSON(&buf)
	must(t, err)
	if diff := cmp.Diff(changeLines(c), changeLines(back)); diff != "" {
		t.Errorf("after a round trip (-want +got):\n%s", diff)
	}
	for i := range back.Changes {
		if ch := back.Changes[i]; ch.Artifact != (ch.Path == "m") {
			t.Errorf("%q: artifact is %t", ch.Path, ch.Artifact)
		}
	}
	if _, err := ReadJSON(strings.NewReader(`{"schema":99}`)); err == nil {
		t.Error("another schema: no error")
	}
	if c, err := ReadJSON(strings.NewReader(`{"schema":1}`)); err != nil || c.Complete {
		t.Errorf("a document without \"complete\" is taken as complete (%v)", err)
	}
}

func TestChangesRecords(t *testing.T) {
	c, err := Read(openDir(t, layer(t, `"a\xff" = 12`, "!gone")), layer(t, "gone = 1"), Options{})
	must(t, err)
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	want := []audit.Record{
		audit.File{Op: audit.FileCreated, Path: `a\xff`, Type: "file", Size: 2, Mode: 0o644, SHA256: sum("12")},
		audit.File{Op: audit.FileDeleted, Path: "gone", Type: "file", Size: 1, Mode: 0o644, SHA256: sum("1")},
	}
	if diff := cmp.Diff(want, c.Records()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func FuzzJSONName(f *testing.F) {
	for _, s := range []string{"", "a", "a\xff", `\x41`, "\xff\\x41", "ü\xc3", "\ufffd", "a\x00\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		c := Change{Op: audit.FileCreated, Path: name, After: &FileState{Type: TypeSymlink, Target: name}}
		b, err := c.MarshalJSON()
		must(t, err)
		var back Change
		must(t, back.UnmarshalJSON(b))
		if back.Path != name || back.After.Target != name {
			t.Errorf("%q became %q and %q", name, back.Path, back.After.Target)
		}
	})
}
