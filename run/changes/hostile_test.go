package changes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What code in the jail can leave behind to hurt whoever reads it.

// deepTree makes n folders of one name inside one another, with a file in the last.
func deepTree(t *testing.T, root, name string, n int) {
	t.Helper()
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range n {
		must(t, unix.Mkdirat(dir, name, 0o755))
		next, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		must(t, unix.Close(dir))
		dir = next
	}
	f, err := unix.Openat(dir, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	must(t, err)
	_, err = unix.Write(f, []byte("deep"))
	must(t, err)
	must(t, unix.Close(f))
	must(t, unix.Close(dir))
	// os.RemoveAll, which the test's end calls, holds a descriptor for each level.
	t.Cleanup(func() { removeDeep(t, root, name) })
}

func removeDeep(t *testing.T, root, name string) {
	t.Helper()
	for {
		// Move the grandchild up until the tree is flat.
		child, grandchild := root+"/"+name, root+"/"+name+"/"+name
		if err := os.Rename(grandchild, root+"/next"); err != nil {
			return
		}
		must(t, os.RemoveAll(child))
		must(t, os.Rename(root+"/next", child))
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(list)
}

func TestDeepTreesWithFewDescriptors(t *testing.T) {
	const depth = 4000
	upper, lower := t.TempDir(), t.TempDir()
	deepTree(t, upper, "d", depth)
	deepTree(t, lower, "d", depth)
	must(t, unix.Mknod(upper+"/x", unix.S_IFCHR, 0))
	must(t, os.Mkdir(lower+"/x", 0o755))
	deepTree(t, lower+"/x", "e", depth)
	// Two trees walk in step; the limit is what dirTree promises, and some for Go's own.
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(openDescriptors(t) + 2*(32+depth/32) + 10), Max: old.Max}))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })

	// Go's poller opens two of its own at its first use (runtime/netpoll_epoll.go).
	r, w, err := os.Pipe()
	must(t, err)
	must(t, r.Close())
	must(t, w.Close())
	up := openDir(t, upper)
	before := openDescriptors(t)
	c, err := Read(up, lower, Options{})
	must(t, err)
	if !c.Complete {
		t.Errorf("unread: %v", c.Unread[0].Reason)
	}
	// x, its 4,000 folders and the file at their end.
	if len(c.Changes) != depth+2 {
		t.Errorf("%d changes, not %d", len(c.Changes), depth+2)
	}
	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	if last := c.Changes[len(c.Changes)-1]; !strings.HasSuffix(last.Path, "/e/file") || !strings.Contains(last.Omitted, "longer than git") {
		t.Errorf("the deepest file %q is omitted for %q", filepath.Base(last.Path), last.Omitted)
	}
	if after := openDescriptors(t); after != before {
		t.Errorf("%d descriptors are left open", after-before)
	}
}

// TestClosedLevelsAreOpenedAgain goes back to names that come after a deep folder.
func TestClosedLevelsAreOpenedAgain(t *testing.T) {
	upper := t.TempDir()
	dir := upper
	for i := range 200 {
		dir += "/m"
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(dir+"/z", fmt.Append(nil, i), 0o644))
	}
	c, err := Read(openDir(t, upper), t.TempDir(), Options{})
	must(t, err)
	if len(c.Changes) != 400 || !c.Complete {
		t.Fatalf("%d changes, not 400; unread: %v", len(c.Changes), c.Unread)
	}
	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	if n := strings.Count(patch.String(), "diff --git"); n != 200 {
		t.Errorf("%d files are in the patch, not 200", n)
	}
}

// TestUnreadableUpperLayer takes the modes away from an ordinary user; root reads
// them anyway, which is the root mode's case.
func TestUnreadableUpperLayer(t *testing.T) {
	upper := layer(t, "d/e/f = 12", "d/e/f %0000", "d/e %0000", "d %0300", "top = 1", "top %0200")
	must(t, os.Chmod(upper, 0))
	t.Cleanup(func() {
		for _, d := range []string{"", "/d", "/d/e"} {
			_ = os.Chmod(upper+d, 0o700)
		}
	})
	up := openDir(t, upper)
	c, err := Read(up, t.TempDir(), Options{})
	must(t, err)
	want := []string{
		`created "d": nothing, folder 0300`, `created "d/e": nothing, folder 0000`,
		`created "d/e/f": nothing, file 0000 2`, `created "top": nothing, file 0200 1`,
	}
	if got := changeLines(c); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes:\n%s", strings.Join(got, "\n"))
		for _, ch := range c.Changes {
			t.Logf("%s: %s", ch.Path, ch.After.Unhashed)
		}
	}
	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	if n := strings.Count(patch.String(), "new file mode 100644"); n != 2 {
		t.Errorf("%d files are in the patch, not 2:\n%s", n, patch.String())
	}
	dst, m := collect(t, ArtifactSource{Upper: up}, ArtifactCaps{Size: 100}, "**")
	if len(m.Files) != 2 || readFile(t, dst+"/d/e/f") != "12" {
		t.Errorf("artifacts: %+v", m)
	}
	// The modes are as they were.
	_ = os.Chmod(upper, 0o700)
	for path, mode := range map[string]os.FileMode{"/d": 0o300, "/top": 0o200} {
		st, err := os.Lstat(upper + path)
		must(t, err)
		if st.Mode().Perm() != mode {
			t.Errorf("%s is left with mode %o", path, st.Mode().Perm())
		}
	}
}

// TestUnreadableLowerLayer must leave the host's modes alone.
func TestUnreadableLowerLayer(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("the caller is root, from whom no mode keeps a file")
	}
	lower := layer(t, "f = 1", "f %0000", "d/x = 1", "d %0000", "g = 1", "g %0000")
	t.Cleanup(func() { _ = os.Chmod(lower+"/d", 0o700) })
	c, err := Read(openDir(t, layer(t, "f = 2", "!d", "!g")), lower, Options{})
	must(t, err)
	want := []string{
		`deleted "d": folder 0000, nothing`, `modified "f": file 0000 unhashed, file 0644 1`,
		`deleted "g": file 0000 unhashed, nothing`, `unread "d"`,
	}
	if got := changeLines(c); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes:\n%s", strings.Join(got, "\n"))
	}
	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	if patch.Len() != 0 {
		t.Errorf("the patch holds what could not be read:\n%s", patch.String())
	}
	for _, f := range []string{"/f", "/d", "/g"} {
		if st, err := os.Lstat(lower + f); err != nil || st.Mode().Perm() != 0 {
			t.Errorf("%s: mode %v, %v", f, st.Mode(), err)
		}
	}
}

func TestSparseFilesCostNothing(t *testing.T) {
	upper := layer(t, "small = 1")
	for i := range 3 {
		path := fmt.Sprintf("%s/sparse%d", upper, i)
		must(t, os.WriteFile(path, nil, 0o644))
		if err := os.Truncate(path, 10<<40); err != nil {
			t.Skipf("the file system of %s has no sparse files of 10 TiB: %v", os.TempDir(), err)
		}
	}
	up := openDir(t, upper)
	c, err := Read(up, t.TempDir(), Options{})
	must(t, err)
	must(t, WritePatch(&bytes.Buffer{}, c, PatchOptions{}))
	for _, ch := range c.Changes {
		if big := ch.Path != "small"; big != (ch.After.Unhashed != "") || big != (ch.Omitted != "") {
			t.Errorf("%s: unhashed %q, omitted %q", ch.Path, ch.After.Unhashed, ch.Omitted)
		}
	}
	_, m := collect(t, ArtifactSource{Upper: up}, ArtifactCaps{Size: 1 << 30}, "**")
	if len(m.Files) != 1 || len(m.LeftOut) != 3 {
		t.Errorf("artifacts: %+v", m)
	}
}

// TestNothingIsOpenedButFilesAndFolders would hang on a FIFO that it opened: without
// O_NONBLOCK an open waits for a writer for ever.
func TestNothingIsOpenedButFilesAndFolders(t *testing.T) {
	upper, lower := layer(t, "p|", "q = 1", "d/p|"), layer(t, "p = 1", "q|", "d/p|", "gone|")
	must(t, unix.Mknod(upper+"/gone", unix.S_IFCHR, 0))
	must(t, unix.Mknod(upper+"/sock", unix.S_IFSOCK|0o644, 0))
	up := openDir(t, upper)
	c, err := Read(up, lower, Options{})
	must(t, err)
	want := []string{
		`deleted "gone": fifo 0644, nothing`, `modified "p": file 0644 1, fifo 0644`,
		`modified "q": fifo 0644, file 0644 1`, `created "sock": nothing, socket 0644`,
	}
	if got := changeLines(c); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("changes:\n%s", strings.Join(got, "\n"))
	}
	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	if patch.Len() != 0 {
		t.Errorf("the patch holds what git can't:\n%s", patch.String())
	}
	_, m := collect(t, ArtifactSource{Upper: up, Lower: lower}, ArtifactCaps{Size: 100}, "**")
	if len(m.Files) != 1 || m.Files[0].Path != "q" || len(m.LeftOut) != 3 {
		t.Errorf("artifacts: %+v", m)
	}
}

// TestEntryThatChangesItsType swaps a file for a FIFO and a symlink between lstat and
// open, as a process that is still alive could.
func TestEntryThatChangesItsType(t *testing.T) {
	root := layer(t, "f = 1", "d/x = 1")
	tree, err := openDirTree(openDir(t, root), treeUpper, true)
	must(t, err)
	defer tree.close()
	file, _, err := tree.lstat("f")
	must(t, err)
	dir, _, err := tree.lstat("d")
	must(t, err)
	must(t, os.Remove(root+"/f"))
	must(t, unix.Mkfifo(root+"/f", 0o644))
	if f, err := tree.open("f", file); err == nil {
		t.Errorf("opened a FIFO as %s", f.Name())
	}
	must(t, os.Remove(root+"/f"))
	must(t, os.Symlink("/etc/passwd", root+"/f"))
	if f, err := tree.open("f", file); err == nil {
		t.Errorf("followed a symlink: %s", f.Name())
	}
	must(t, os.Rename(root+"/d", root+"/e"))
	must(t, os.Symlink("/etc", root+"/d"))
	if err := tree.enter("d", dir); err == nil {
		t.Error("followed a symlink to a folder")
	}
	must(t, os.Remove(root+"/d"))
	must(t, os.Mkdir(root+"/d", 0o755))
	if err := tree.enter("d", dir); err == nil {
		t.Error("entered another folder of the same name")
	}
	for _, name := range []string{"..", "../..", "/etc"} {
		if err := tree.enter(name, dir); err == nil {
			t.Errorf("entered %s", name)
		}
	}
}

func TestPatchMemoryIsBounded(t *testing.T) {
	upper := t.TempDir()
	must(t, os.WriteFile(upper+"/big", bytes.Repeat([]byte("x\n"), 4<<20), 0o644))
	must(t, os.WriteFile(upper+"/small", []byte("x\n"), 0o644))
	c, err := Read(openDir(t, upper), t.TempDir(), Options{})
	must(t, err)
	var patch bytes.Buffer
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	must(t, WritePatch(&patch, c, PatchOptions{MaxFile: 1 << 20}))
	runtime.ReadMemStats(&b)
	if got := b.TotalAlloc - a.TotalAlloc; got > 1<<20 {
		t.Errorf("leaving a file of 8 MiB out took %d bytes of memory", got)
	}
	if c.Changes[0].Omitted == "" || c.Changes[1].Omitted != "" || !strings.Contains(patch.String(), "+++ b/small") {
		t.Errorf("omitted %q and %q", c.Changes[0].Omitted, c.Changes[1].Omitted)
	}
}
