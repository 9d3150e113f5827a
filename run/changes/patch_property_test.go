package changes

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// The property that these tests hold on random trees: the list of changes is the
// difference of the trees before and after, and the patch, applied by git to a clean
// copy, makes the tree after, except for what the list says is not in the patch.

// TestPatchOfRandomLayers makes upper layers as overlayfs would, on any file system.
func TestPatchOfRandomLayers(t *testing.T) {
	needGit(t)
	for seed := range seeds(t, 100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			lower, after, upper := t.TempDir(), t.TempDir(), t.TempDir()
			growTree(t, r, lower, 3)
			copyTree(t, lower, after)
			for range 2 + r.IntN(12) {
				mutateTree(t, r, after)
			}
			makeUpper(t, r, lower, after, upper, false)
			checkChanges(t, openDir(t, upper), lower, treeSnapshot(t, after))
		})
	}
}

const overlayChildEnv = "AGENTJAIL_TEST_OVERLAY_CHILD"

// TestPatchOfRealOverlay lets a child in its own user and mount namespace change a
// mounted overlay, and reads the upper layer after the child is dead, through a
// descriptor that is then the only way to it.
func TestPatchOfRealOverlay(t *testing.T) {
	if dir := os.Getenv(overlayChildEnv); dir != "" {
		overlayChild(t, dir)
		return
	}
	needGit(t)
	for _, place := range []string{"memory", "disk"} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("%s/%d", place, seed), func(t *testing.T) {
				base := t.TempDir()
				// The overlay leaves a folder of mode 0000, which keeps t.TempDir from cleaning up.
				t.Cleanup(func() { _ = os.Chmod(base+"/mnt/layers/work/work", 0o700) })
				must(t, os.Mkdir(base+"/lower", 0o755))
				growTree(t, rand.New(rand.NewPCG(seed, 2)), base+"/lower", 3)
				upper, after := runOverlayChild(t, base, place, seed)
				checkChanges(t, upper, base+"/lower", after)
			})
		}
	}
}

func runOverlayChild(t *testing.T, base, place string, seed uint64) (upper *os.File, after map[string]string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestPatchOfRealOverlay$")
	cmd.Env = append(os.Environ(), overlayChildEnv+"="+base, "PLACE="+place, fmt.Sprintf("SEED=%d", seed))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	stdin, err := cmd.StdinPipe()
	must(t, err)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOSPC) {
			t.Skipf("the host lets this user make no user and mount namespace: %v", err)
		}
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line := make([]byte, 256)
	n, _ := stdout.Read(line)
	switch said := string(line[:n]); {
	case strings.HasPrefix(said, "ready"):
	case strings.HasPrefix(said, "lacks "):
		t.Skipf("the host %s", strings.TrimSpace(said))
	default:
		rest, _ := io.ReadAll(stdout)
		t.Fatalf("the child says %q %s %s", said, rest, stderr.String())
	}
	root := fmt.Sprintf("/proc/%d/root%s/mnt", cmd.Process.Pid, base)
	after = treeSnapshot(t, root+"/merged")
	return openDir(t, root+"/layers/upper"), after
}

// overlayChild is the child of TestPatchOfRealOverlay.
func overlayChild(t *testing.T, base string) {
	var seed uint64
	_, err := fmt.Sscan(os.Getenv("SEED"), &seed)
	must(t, err)
	m := base + "/mnt"
	must(t, os.MkdirAll(m, 0o755))
	if os.Getenv("PLACE") == "memory" {
		must(t, unix.Mount("tmpfs", m, "tmpfs", 0, "mode=0755"))
		// Without them the mount works and then a removal answers EIO.
		if err := unix.Setxattr(m, "user.test", []byte("y"), 0); err != nil {
			fmt.Printf("lacks user.* extended attributes on tmpfs, which it has since Linux 6.6: %v\n", err)
			return
		}
		must(t, unix.Removexattr(m, "user.test"))
	}
	for _, d := range []string{"/layers", "/layers/upper", "/layers/work", "/merged"} {
		must(t, os.Mkdir(m+d, 0o755))
	}
	err = unix.Mount("overlay", m+"/merged", "overlay", 0, "userxattr,lowerdir="+base+"/lower,upperdir="+m+"/layers/upper,workdir="+m+"/layers/work")
	if err != nil {
		fmt.Printf("lacks an overlay in a user namespace on this file system: %v\n", err)
		return
	}
	r := rand.New(rand.NewPCG(seed, 3))
	for range 4 + r.IntN(25) {
		mutateTree(t, r, m+"/merged")
	}
	if t.Failed() {
		return
	}
	fmt.Println("ready")
	_, _ = io.ReadAll(os.Stdin) // until the parent has seen enough
}

// checkChanges holds the property for one upper layer.
func checkChanges(t *testing.T, upper *os.File, lower string, after map[string]string) {
	t.Helper()
	before := treeSnapshot(t, lower)
	c, err := Read(upper, lower, Options{})
	must(t, err)
	if !c.Complete {
		t.Errorf("unread: %v", c.Unread)
	}
	want := map[string]audit.FileOp{}
	for p, s := range after {
		if old, ok := before[p]; !ok {
			want[p] = audit.FileCreated
		} else if old != s {
			want[p] = audit.FileModified
		}
	}
	for p := range before {
		if _, ok := after[p]; !ok {
			want[p] = audit.FileDeleted
		}
	}
	got := map[string]audit.FileOp{}
	for _, ch := range c.Changes {
		got[ch.Path] = ch.Op
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}

	var patch bytes.Buffer
	must(t, WritePatch(&patch, c, PatchOptions{}))
	expect := leaves(after)
	for _, ch := range c.Changes {
		if ch.Omitted == "" {
			continue
		}
		delete(expect, ch.Path)
		if s, ok := leaves(before)[ch.Path]; ok {
			expect[ch.Path] = s
		}
	}
	clean := t.TempDir()
	copyTree(t, lower, clean)
	if patch.Len() == 0 {
		if diff := cmp.Diff(expect, leaves(before)); diff != "" {
			t.Errorf("the patch is empty, but:\n%s", diff)
		}
		return
	}
	if out, err := gitApply(t, clean, patch.Bytes()); err != nil {
		t.Fatalf("git apply: %v: %s\n%s", err, out, patch.String())
	}
	if diff := cmp.Diff(expect, leaves(treeSnapshot(t, clean))); diff != "" {
		t.Errorf("the tree that the patch makes (-want +got):\n%s\n%s", diff, patch.String())
	}
	if out, err := gitApply(t, clean, patch.Bytes(), "-R"); err != nil {
		if strings.Contains(out, "Too many levels of symbolic links") {
			return // git looks through a symlink to itself at what it is to make in the folder that was there
		}
		t.Fatalf("git apply -R: %v: %s", err, out)
	}
	if diff := cmp.Diff(leaves(before), leaves(treeSnapshot(t, clean))); diff != "" {
		t.Errorf("the tree that the reversed patch makes (-want +got):\n%s", diff)
	}
}

// treeSnapshot describes everything in a tree.
func treeSnapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		out[path[len(root)+1:]], err = describe(path)
		return err
	}))
	return out
}

func describe(path string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	mode := st.Mode & 0o7777
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fmt.Sprintf("folder %04o", mode), nil
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return "symlink " + target, err
	case unix.S_IFREG:
		data, err := os.ReadFile(path)
		return fmt.Sprintf("file %04o %x", mode, sha256.Sum256(data)), err
	}
	return fmt.Sprintf("special %o", st.Mode), nil
}

// leaves reduces a snapshot to what git knows.
func leaves(s map[string]string) map[string]string {
	out := map[string]string{}
	for p, v := range s {
		if strings.HasPrefix(v, "folder") {
			continue
		}
		if strings.HasPrefix(v, "file ") {
			var mode uint32
			var sum string
			_, _ = fmt.Sscanf(v, "file %o %s", &mode, &sum)
			v = fmt.Sprintf("file executable=%t %s", mode&0o100 != 0, sum)
		}
		out[p] = v
	}
	return out
}

var treeNames = []string{"a", "b", "c", "d d", " lead", "trail ", "é", "n\nl", `q"q`, `b\s`, "t\tt", "-rf", "\xff\xfe", "a-b", "x b", ".hidden"}

func randomName(r *rand.Rand) string { return treeNames[r.IntN(len(treeNames))] }

func randomContent(r *rand.Rand) []byte {
	var b bytes.Buffer
	switch r.IntN(8) {
	case 0:
	case 1:
		for range r.IntN(400) {
			b.WriteByte(byte(r.IntN(256)))
		}
		b.WriteByte(0)
	default:
		eol := []string{"\n", "\n", "\n", "\r\n"}[r.IntN(4)]
		for range r.IntN(40) {
			fmt.Fprintf(&b, "line %d%s", r.IntN(12), eol)
		}
		if r.IntN(3) == 0 {
			b.WriteString("no newline")
		}
	}
	return b.Bytes()
}

func growTree(t *testing.T, r *rand.Rand, dir string, depth int) {
	t.Helper()
	for range r.IntN(6) {
		path := dir + "/" + randomName(r)
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch n := r.IntN(12); {
		case n < 5 && depth > 0:
			mkdirs(t, path)
			growTree(t, r, path, depth-1)
		case n == 5:
			must(t, os.Symlink([]string{"a", "../..", "/etc/passwd", "\xfe"}[r.IntN(4)], path))
		case n == 6 && r.IntN(3) == 0:
			must(t, unix.Mkfifo(path, 0o644))
		default:
			putFile(t, path, randomContent(r), []os.FileMode{0o644, 0o644, 0o755, 0o600}[r.IntN(4)])
		}
	}
}

func putFile(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
	must(t, os.Chmod(path, mode))
}

// mutateTree does one thing that a program might do.
func mutateTree(t *testing.T, r *rand.Rand, root string) {
	t.Helper()
	all := slices.Sorted(maps.Keys(treeSnapshot(t, root)))
	dirs, files := []string{root}, []string{}
	for i, p := range all {
		all[i] = root + "/" + p
		switch st, err := os.Lstat(all[i]); {
		case err != nil:
			t.Fatal(err)
		case st.IsDir():
			dirs = append(dirs, all[i])
		case st.Mode().IsRegular():
			files = append(files, all[i])
		}
	}
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	fresh := pick(dirs) + "/" + randomName(r)
	_, err := os.Lstat(fresh)
	free := err != nil
	switch n := r.IntN(16); {
	case n < 2 && free:
		putFile(t, fresh, randomContent(r), 0o644)
	case n == 2 && free:
		mkdirs(t, fresh)
		growTree(t, r, fresh, 1)
	case n == 3 && free:
		must(t, os.Symlink("somewhere", fresh))
	case n == 4 && free && r.IntN(3) == 0:
		must(t, unix.Mkfifo(fresh, 0o644))
	case n == 5 && free && len(files) > 0:
		must(t, os.Rename(pick(files), fresh))
	case n == 6 && free && len(all) > 0:
		// Renaming a folder that has a lower layer is EXDEV in an overlay.
		if err := os.Rename(pick(all), fresh); err != nil && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EINVAL) {
			t.Fatal(err)
		}
	case n < 9 && len(files) > 0: // an edit
		path := pick(files)
		data, err := os.ReadFile(path)
		must(t, err)
		lines := bytes.SplitAfter(data, []byte("\n"))
		for range 1 + r.IntN(3) {
			lines = slices.Insert(lines, r.IntN(len(lines)+1), []byte(fmt.Sprintf("edit %d\n", r.IntN(5))))
			i := r.IntN(len(lines))
			lines = slices.Delete(lines, i, i+r.IntN(2))
		}
		must(t, os.WriteFile(path, bytes.Join(lines, nil), 0o644))
	case n == 9 && len(files) > 0: // copied up, not changed
		must(t, os.Chtimes(pick(files), time.Unix(1, 0), time.Unix(1, 0)))
	case n == 10 && len(files) > 0:
		must(t, os.Chmod(pick(files), []os.FileMode{0o755, 0o644, 0o600, 0o711}[r.IntN(4)]))
	case n == 11 && len(dirs) > 1:
		must(t, os.Chmod(pick(dirs[1:]), []os.FileMode{0o755, 0o700}[r.IntN(2)]))
	case n < 14 && len(all) > 0: // something goes, and perhaps something else comes
		path := pick(all)
		must(t, os.RemoveAll(path))
		switch r.IntN(5) {
		case 0:
			putFile(t, path, randomContent(r), 0o644)
		case 1:
			mkdirs(t, path)
			growTree(t, r, path, 2)
		case 2:
			must(t, os.Symlink("a", path))
		}
	case n == 14 && len(dirs) > 1: // all but the folder goes
		path := pick(dirs[1:])
		st, err := os.Lstat(path)
		must(t, err)
		must(t, os.RemoveAll(path))
		mkdirs(t, path)
		must(t, os.Chmod(path, st.Mode()))
	case len(files) > 0:
		must(t, os.WriteFile(pick(files), randomContent(r), 0o644))
	}
}

// makeUpper makes the upper layer that turns lower into after, with folders opaque
// and unchanged files copied up at random.
func makeUpper(t *testing.T, r *rand.Rand, lower, after, upper string, opaque bool) {
	t.Helper()
	names := map[string]bool{}
	for _, dir := range []string{lower, after} {
		list, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
		for _, e := range list {
			names[e.Name()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		l, a, u := lower+"/"+name, after+"/"+name, upper+"/"+name
		lst, lerr := os.Lstat(l)
		ast, aerr := os.Lstat(a)
		switch {
		case aerr != nil:
			if !opaque {
				must(t, unix.Mknod(u, unix.S_IFCHR, 0))
			}
		case ast.IsDir():
			must(t, os.Mkdir(u, 0o700))
			merged := lerr == nil && lst.IsDir() && !opaque
			if merged && r.IntN(4) == 0 {
				setXattr(t, u, "user.overlay.opaque", "y")
				merged = false
			}
			from := l
			if lerr != nil || !lst.IsDir() {
				from = "/nonexistent"
			}
			makeUpper(t, r, from, a, u, !merged)
			must(t, os.Chmod(u, ast.Mode()))
		case opaque || lerr != nil || !sameLeaf(t, l, a) || r.IntN(3) == 0:
			copyLeaf(t, a, u)
		}
	}
}

func sameLeaf(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := describe(a)
	must(t, err)
	two, err := describe(b)
	must(t, err)
	return one == two
}

func copyLeaf(t *testing.T, from, to string) {
	t.Helper()
	st, err := os.Lstat(from)
	must(t, err)
	switch {
	case st.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(from)
		must(t, err)
		must(t, os.Symlink(target, to))
	case st.Mode().IsRegular():
		data, err := os.ReadFile(from)
		must(t, err)
		putFile(t, to, data, st.Mode())
	default:
		must(t, unix.Mkfifo(to, 0o644))
		must(t, os.Chmod(to, st.Mode().Perm()))
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	list, err := os.ReadDir(from)
	must(t, err)
	for _, e := range list {
		a, b := from+"/"+e.Name(), to+"/"+e.Name()
		if !e.IsDir() {
			copyLeaf(t, a, b)
			continue
		}
		must(t, os.Mkdir(b, 0o700))
		copyTree(t, a, b)
		st, err := os.Lstat(a)
		must(t, err)
		must(t, os.Chmod(b, st.Mode()))
	}
}
