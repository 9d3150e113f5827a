package changes

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// omittedPaths lists what a patch leaves out.
func omittedPaths(c *List) []string {
	out := []string{}
	for _, ch := range c.Changes {
		if ch.Omitted != "" {
			out = append(out, ch.Path)
		}
	}
	return out
}

// applied writes the patch, lets git apply it to a copy of lower, and gives the tree's
// files, the symlinks' targets and the other leaves' types.
func applied(t *testing.T, c *List, lower string, o PatchOptions) (leaf map[string]string, patch []byte) {
	t.Helper()
	needGit(t)
	var buf bytes.Buffer
	must(t, WritePatch(&buf, c, o))
	clean := t.TempDir()
	copyTree(t, lower, clean)
	if buf.Len() > 0 {
		if out, err := gitApply(t, clean, buf.Bytes()); err != nil {
			t.Fatalf("git apply: %s\n%s", out, buf.String())
		}
	}
	leaf = map[string]string{}
	for p, s := range leaves(treeSnapshot(t, clean)) {
		if strings.HasPrefix(s, "file") {
			s = readFile(t, clean+"/"+p)
		}
		leaf[p] = s
	}
	return leaf, buf.Bytes()
}

func TestPatchLeavesOutWhatGitCannotApply(t *testing.T) {
	tests := []struct {
		name         string
		lower, upper []string
		hidden       string
		omitted      []string
		want         map[string]string
	}{
		{
			name:  "a FIFO in the way of a folder",
			lower: []string{"p|"}, upper: []string{"p/x/y = 1", "q = 1"},
			omitted: []string{"p", "p/x/y"},
			want:    map[string]string{"p": "special 10644", "q": "1"},
		},
		{
			name:  "an empty folder in the way of a file",
			lower: []string{"d/a = 1", "d/empty/"}, upper: []string{"d = 1"},
			omitted: []string{"d", "d/empty"},
			want:    map[string]string{},
		},
		{
			name:  "a hidden file in the way of a file",
			lower: []string{"d/a = 1", "d/.env = secret"}, upper: []string{"d = 1"},
			hidden: "d/.env", omitted: []string{"d"},
			want: map[string]string{"d/.env": "secret"},
		},
		{
			name:  "over what was hidden",
			lower: []string{".env = secret"}, upper: []string{".env = mine", "a = 1"},
			hidden: ".env", omitted: []string{".env"},
			want: map[string]string{".env": "secret", "a": "1"},
		},
		{
			name:  "below what was hidden",
			lower: []string{"s/a = secret"}, upper: []string{"s/a = mine", "a = 1"},
			hidden: "s", omitted: []string{"s", "s/a"},
			want: map[string]string{"s/a": "secret", "a": "1"},
		},
		{
			name:  "within .git",
			lower: []string{".git/config = 1", "a = 1"}, upper: []string{".git/config = 2", "sub/.GIT/hooks/x = 1", "a = 2"},
			omitted: []string{".git/config", "sub/.GIT/hooks/x"},
			want:    map[string]string{".git/config": "1", "a": "2"},
		},
		{
			name:  "a folder for an empty folder, a file for an empty folder",
			lower: []string{"d/", "f/"}, upper: []string{"d/e/", "f = 1"},
			omitted: []string{"d/e"},
			want:    map[string]string{"f": "1"},
		},
		{
			name:  "modes that git does not know",
			lower: []string{"a = 1", "b = 1", "d/"}, upper: []string{"a = 1", "a %0600", "b = 2", "b %0600", "d/", "d %0700"},
			omitted: []string{"a", "d"},
			want:    map[string]string{"a": "1", "b": "2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lower := layer(t, tt.lower...)
			c, err := Read(openDir(t, layer(t, tt.upper...)), lower, Options{Hidden: func(p string) bool { return p == tt.hidden }})
			must(t, err)
			got, _ := applied(t, c, lower, PatchOptions{})
			if diff := cmp.Diff(tt.omitted, omittedPaths(c)); diff != "" {
				t.Errorf("omitted (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("after git apply (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchOfBigFiles(t *testing.T) {
	big := strings.Repeat("a line\n", 1000)
	lower := layer(t, "gone = "+big, "link = "+big, "mod = "+big, "keep = 1")
	upper := layer(t, "!gone", "link -> keep", "mod = 1", "new = "+big, "keep = 2")
	c, err := Read(openDir(t, upper), lower, Options{})
	must(t, err)
	got, patch := applied(t, c, lower, PatchOptions{MaxFile: 6999})
	if diff := cmp.Diff(map[string]string{"link": "symlink keep", "mod": big, "keep": "2"}, got); diff != "" {
		t.Errorf("after git apply (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"mod", "new"}, omittedPaths(c)); diff != "" {
		t.Errorf("omitted (-want +got):\n%s", diff)
	}
	if bytes.Contains(patch, []byte("a line")) {
		t.Errorf("the patch holds a file that is too large:\n%.1000s", patch)
	}
}

func TestPatchStaysWithinItsSize(t *testing.T) {
	text := strings.Repeat("0123456789abcde\n", 64)
	lower := layer(t, "a/gone = "+text, "b/gone = "+text, "f = "+text)
	upper := layer(t, "!a", "!b", "c = "+text, "d = 1\n", "f/x = 1\n")
	up := openDir(t, upper)
	for _, tt := range []struct {
		max     int64
		omitted []string
		want    map[string]string
	}{
		{100_000, []string{}, map[string]string{"c": text, "d": "1\n", "f/x": "1\n"}},
		// The removals always have room in their short form, whatever comes before them.
		{1700, []string{"c"}, map[string]string{"d": "1\n", "f/x": "1\n"}},
		{500, []string{"a/gone", "b/gone", "c", "d", "f", "f/x"}, map[string]string{"a/gone": text, "b/gone": text, "f": text}},
	} {
		c, err := Read(up, lower, Options{})
		must(t, err)
		got, patch := applied(t, c, lower, PatchOptions{MaxTotal: tt.max})
		if int64(len(patch)) > tt.max {
			t.Errorf("limit %d: the patch has %d bytes", tt.max, len(patch))
		}
		leftOut := omittedPaths(c)
		if !cmp.Equal(tt.want, got) || !cmp.Equal(tt.omitted, slices.DeleteFunc(leftOut, func(p string) bool { return p == "a" || p == "b" })) {
			t.Errorf("limit %d: omitted %q, the tree has %v", tt.max, leftOut, got)
		}
	}
}

func TestPatchHoldsWhatTheListSays(t *testing.T) {
	lower, upper := layer(t, "mod = 1", "gone = 1", "grown = 1"), layer(t, "mod = 2", "new = 1", "!gone", "grown = 2", "ok = 1")
	c, err := Read(openDir(t, upper), lower, Options{})
	must(t, err)
	// Someone on the host edits the files meanwhile.
	for _, path := range []string{lower + "/mod", lower + "/gone", upper + "/new"} {
		must(t, os.WriteFile(path, []byte("X"), 0o644))
	}
	must(t, os.WriteFile(lower+"/grown", []byte("12"), 0o644))
	got, _ := applied(t, c, lower, PatchOptions{})
	if diff := cmp.Diff(map[string]string{"mod": "X", "gone": "X", "grown": "12", "ok": "1"}, got); diff != "" {
		t.Errorf("after git apply (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gone", "grown", "mod", "new"}, omittedPaths(c)); diff != "" {
		t.Errorf("omitted (-want +got):\n%s", diff)
	}
}

func TestWritePatchErrors(t *testing.T) {
	if err := WritePatch(&bytes.Buffer{}, &List{}, PatchOptions{}); err == nil {
		t.Error("a list without sources: no error")
	}
	c, err := Read(openDir(t, layer(t, "a = 1")), "", Options{})
	must(t, err)
	if err := WritePatch(fullWriter{}, c, PatchOptions{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if err := c.WriteJSON(fullWriter{}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, unix.ENOSPC }

const namespaceEnv = "AGENTJAIL_TEST_NAMESPACE"

// inNamespace runs the test that calls it again, as root of a user and mount
// namespace of its own, and reports there that it is so.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(namespaceEnv) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), namespaceEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("the host lets this user make no user and mount namespace: %v", err)
	}
	if err != nil {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
	return false
}

// TestMountsWithinTheWorkspace: an overlay shows what lies under a mount in its lower
// layer; what is mounted there the jail never saw, and it may be anything.
func TestMountsWithinTheWorkspace(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	lower, upper := layer(t, "d/m/", "e/m/", "d/a = 1"), layer(t, "!d", "e/m/x = 1")
	for _, dir := range []string{lower + "/d/m", lower + "/e/m"} {
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
		must(t, os.WriteFile(dir+"/secret", []byte("1"), 0o644))
	}
	up := openDir(t, upper)
	c, err := Read(up, lower, Options{})
	must(t, err)
	if c.Complete || len(c.Unread) != 2 {
		t.Errorf("unread: %v", c.Unread)
	}
	for _, ch := range c.Changes {
		if strings.HasSuffix(ch.Path, "secret") {
			t.Errorf("%s was read", ch.Path)
		}
	}
	src := ArtifactSource{Upper: openDir(t, layer(t)), Lower: lower}
	if _, m := collect(t, src, ArtifactCaps{Size: 100}, "**/secret"); len(m.Files) != 0 {
		t.Errorf("collected %v", manifestLines(m))
	}
	// A direct workspace is bound with what is mounted in it.
	src.Upper = nil
	if _, m := collect(t, src, ArtifactCaps{Size: 100}, "**/secret"); len(m.Files) != 2 {
		t.Errorf("of the host's own folder, collected %v", manifestLines(m))
	}
}
