package jail

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestNamingFilter: the filter of direct mode asks about calls that give names, of open and
// openat only where they create, and is the ordinary one for all others; no other mode's is
// changed by it.
func TestNamingFilter(t *testing.T) {
	compile := func(naming bool, opened, watched []string) machine {
		prog, err := compileFilter(opened, watched, naming)
		if err != nil {
			t.Fatal(err)
		}
		return machineOf(t, prog)
	}
	for _, opened := range [][]string{nil, {"openat", "rename", "ptrace"}} {
		plain, asking := compile(false, opened, nil), compile(true, opened, nil)
		for nr := range 520 {
			name := callName(int32(nr))
			for _, args := range [][]uint64{nil, {0, unix.O_CREAT}, {0, 0, unix.O_CREAT}, {0, 1<<40 | unix.O_CREAT | unix.O_EXCL, 1<<40 | unix.O_CREAT | unix.O_TRUNC}, {0, unix.O_TMPFILE | unix.O_RDWR, unix.O_TMPFILE | unix.O_RDWR}, {0, unix.TIOCSTI}} {
				want := plain.native(nr, args...)
				if slices.Contains(namingCalls, name) {
					want = notified
					if i, ok := createFlag[name]; ok && (int(i) >= len(args) || args[i]&unix.O_CREAT == 0) {
						want = allowed
					}
				}
				if got := asking.native(nr, args...); got != want {
					t.Errorf("%s %#x: %#x, want %#x", name, args, got, want)
				}
			}
		}
		if got := asking.ask(unix.AUDIT_ARCH_I386, 5); got != killed {
			t.Errorf("a call of another architecture: %#x", got)
		}
	}
	// With a limit of deletions, and in a learning run.
	if got := compile(true, nil, deleteCalls).native(unix.SYS_UNLINKAT); got != notified {
		t.Errorf("unlinkat with a limit: %#x", got)
	}
	prog, err := observingFilter(nil, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	watching := machineOf(t, prog)
	for _, args := range [][]uint64{{0, 0, 0}, {0, 0, unix.O_CREAT}, {0, 0, unix.O_CREAT, 0, 0, unwatched}} {
		if got := watching.native(unix.SYS_OPENAT, args...); got != notified {
			t.Errorf("openat %#x in a learning run: %#x", args, got)
		}
	}
}

// TestSeekerWalk: a path is walked to what the kernel finds by it, and fails as there.
func TestSeekerWalk(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("a/b/c", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("a/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "a/b", "abs": dir + "/a", "up": "../" + filepath.Base(dir) + "/./a//b", "loop": "loop", "two": "link/../b/", "nowhere": "no/such", "a/b/proc": "/proc/self/cwd", "a/b/fd": "/dev/fd/", "tofile": "a/file", "root": "/"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	held, err := unix.Open("a/b", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	for _, path := range []string{".", "/", "//", "a", "a/", "./a//b/../b/c/", "link", "link/..", "abs/b", "up/c", "two", "two/c/../../b/proc/a", "root/proc/self/cwd/link", "loop", "loop/x", "nowhere", "nowhere/..", "a/file", "a/file/", "a/file/x", "tofile/..", "no", "no/x",
		"/proc/self", "/proc/self/cwd", "/proc/thread-self/cwd/a", "/proc/self/root/" + dir + "/link", "/proc/mounts/..", "/proc/net", "/proc/self/exe", "/proc/self/exe/..", "/proc/self/fd/0x", "/proc/self/no", "/proc/no", "a/b/proc/link/c", "/../../" + dir, "..", "../../../../../../../../../..",
		fmt.Sprintf("a/b/fd/%d/c", held), fmt.Sprintf("/proc/self/fd/%d", held), fmt.Sprintf("/proc/%d/cwd", os.Getpid()), "/dev/fd", strings.Repeat("a/../", 500) + "link", "a/" + strings.Repeat("x", 300)} {
		s := newSeeker(unix.Gettid())
		at, errno := s.own("/cwd")
		if errno != 0 {
			t.Fatal(errno)
		}
		fd, errno := s.walk(at, path)
		want, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch {
		case err != nil:
			if errno != err {
				t.Errorf("%s: %v, want %v", path, errno, err)
			}
		case errno != 0:
			t.Errorf("%s: %v", path, errno)
		case !sameFolder(fd, want):
			got, _ := pathOf(fd)
			t.Errorf("%s leads to %s", path, got)
		}
		if err == nil {
			unix.Close(want)
		}
		s.close()
	}
}

// TestNamerLooks: the test's own process stands for the agent.
func TestNamerLooks(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, d := range []string{"ws/sub/deep", "ws/moved/in", "out"} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"out/link": "../ws/sub", "ws/dangling": "sub/new", "out/chain": "../ws/dangling", "ws/loop": "loop", "ws/here": "sub/deep"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("ws/there", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, d := range []string{"ws", "ws/sub", "out", "ws/there"} {
		fd, err := unix.Open(d, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	ws, sub, out, file := uint64(fds[0]), uint64(fds[1]), uint64(fds[2]), uint64(fds[3])
	const create, cwd = unix.O_CREAT | unix.O_WRONLY, ^uint64(99)
	var keep [][]byte // what the calls' arguments point at
	at := func(s string) uint64 {
		b := append([]byte(s), 0)
		keep = append(keep, b)
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	how := func(flags, resolve uint64) uint64 {
		var b []byte
		for _, v := range []uint64{flags, 0, resolve} {
			b = binary.NativeEndian.AppendUint64(b, v)
		}
		keep = append(keep, b)
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	sock := func(s string) (addr, size uint64) {
		b := append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), s...)
		keep = append(keep, b)
		return uint64(uintptr(unsafe.Pointer(&b[0]))), uint64(len(b))
	}
	bound, boundSize := sock("ws/sock")
	abstract, abstractSize := sock("\x00ws/sock")
	long := strings.Repeat("x/", maxPath)
	for _, tt := range []struct {
		call string
		args [6]uint64
		want string // the names that are judged, "dir" before those of folders
		err  unix.Errno
	}{
		{"openat", [6]uint64{cwd, at("ws/new"), create}, "new", 0},
		{"openat", [6]uint64{cwd, at("ws/new"), unix.O_WRONLY}, "", 0},
		{"openat", [6]uint64{ws, at("new"), create}, "new", 0},
		{"openat", [6]uint64{1<<32 | ws, at("sub//new/"), create}, "sub/new", 0},
		{"openat", [6]uint64{sub, at("../new"), create}, "new", 0},
		{"openat", [6]uint64{sub, at("../../out/new"), create}, "", 0},
		{"openat", [6]uint64{out, at("link/new"), create}, "sub/new", 0},
		{"openat", [6]uint64{out, at(dir + "/ws/new"), create}, "new", 0},
		{"openat", [6]uint64{99999, at(dir + "/ws/new"), create}, "new", 0},
		{"openat", [6]uint64{99999, at("new"), create}, "", unix.EBADF},
		{"openat", [6]uint64{file, at("new"), create}, "", unix.ENOTDIR},
		{"openat", [6]uint64{cwd, at("/proc/self/cwd/ws/new"), create}, "new", 0},
		{"openat", [6]uint64{cwd, at("ws/dangling"), create}, "sub/new", 0},
		{"openat", [6]uint64{cwd, at("out/chain"), create}, "sub/new", 0},
		{"openat", [6]uint64{cwd, at("ws/dangling"), create | unix.O_EXCL}, "dangling", 0},
		{"openat", [6]uint64{cwd, at("ws/dangling"), create | unix.O_NOFOLLOW}, "dangling", 0},
		{"openat", [6]uint64{cwd, at("ws/loop"), create}, "", unix.ELOOP},
		{"openat", [6]uint64{cwd, at("ws/there"), create}, "there", 0},
		{"openat", [6]uint64{cwd, at("ws/no/new"), create}, "", unix.ENOENT},
		{"openat", [6]uint64{cwd, at("ws/there/new"), create}, "", unix.ENOTDIR},
		{"openat", [6]uint64{cwd, at("ws/.."), create}, "", 0},
		{"openat", [6]uint64{cwd, at("ws/sub/."), create}, "", 0},
		{"openat", [6]uint64{cwd, at(""), create}, "", 0},
		{"openat", [6]uint64{cwd, at("/"), create}, "", 0},
		{"openat", [6]uint64{cwd, at(fmt.Sprintf("/proc/self/fd/%d", file)), create}, "", 0},
		{"openat", [6]uint64{cwd, 0, create}, "", unix.EFAULT},
		{"openat", [6]uint64{cwd, 1 << 20, create}, "", unix.EFAULT},
		{"openat", [6]uint64{cwd, at(long), create}, "", unix.ENAMETOOLONG},
		{"open", [6]uint64{at("ws/new"), create}, "new", 0},
		{"open", [6]uint64{at("ws/new"), 0}, "", 0},
		{"creat", [6]uint64{at("ws/new")}, "new", 0},
		{"openat2", [6]uint64{ws, at("new"), how(create, 0), 24}, "new", 0},
		{"openat2", [6]uint64{ws, at("new"), how(0, 0), 24}, "", 0},
		{"openat2", [6]uint64{ws, at("new"), how(create, 0), 16}, "", unix.EINVAL},
		{"openat2", [6]uint64{ws, at("new"), 8, 24}, "", unix.EFAULT},
		{"openat2", [6]uint64{sub, at("/../../deep/new"), how(create, unix.RESOLVE_IN_ROOT), 24}, "sub/deep/new", 0},
		{"openat2", [6]uint64{ws, at("dangling"), how(create, unix.RESOLVE_IN_ROOT), 24}, "sub/new", 0},
		{"mkdir", [6]uint64{at("ws/new//")}, "dir new", 0},
		{"mkdirat", [6]uint64{sub, at("new")}, "dir sub/new", 0},
		{"mkdirat", [6]uint64{ws, at("dangling")}, "dir dangling", 0},
		{"mknod", [6]uint64{at("ws/new")}, "new", 0},
		{"mknodat", [6]uint64{sub, at("new")}, "sub/new", 0},
		{"symlink", [6]uint64{at("x"), at("ws/new")}, "new", 0},
		{"symlinkat", [6]uint64{at("x"), sub, at("new")}, "sub/new", 0},
		{"link", [6]uint64{at("ws/there"), at("ws/new")}, "new", 0},
		{"linkat", [6]uint64{ws, at("there"), sub, at("new")}, "sub/new", 0},
		{"rename", [6]uint64{at("ws/there"), at("ws/new")}, "new", 0},
		{"rename", [6]uint64{at("ws/no"), at("ws/new")}, "", unix.ENOENT},
		{"rename", [6]uint64{at("ws/moved"), at("ws/sub/new")}, "dir moved>sub/new", 0},
		{"rename", [6]uint64{at("ws/here"), at("ws/sub/new")}, "sub/new", 0},
		{"rename", [6]uint64{at("ws/there"), at("out/new")}, "", 0},
		{"renameat", [6]uint64{ws, at("moved/in"), sub, at("new")}, "dir moved/in>sub/new", 0},
		{"renameat2", [6]uint64{ws, at("moved"), sub, at("new"), unix.RENAME_NOREPLACE}, "dir moved>sub/new", 0},
		{"renameat2", [6]uint64{ws, at("moved"), ws, at("there"), unix.RENAME_EXCHANGE}, "dir moved>there, moved", 0},
		{"bind", [6]uint64{0, bound, boundSize}, "sock", 0},
		{"bind", [6]uint64{0, abstract, abstractSize}, "", 0},
		{"bind", [6]uint64{0, bound, 2}, "", 0},
		{"bind", [6]uint64{0, 8, 16}, "", unix.EFAULT},
	} {
		var asked []string
		w := newNamer(filepath.Join(dir, "ws"), func(n Naming) string {
			text := n.Path
			if n.From != "" {
				text = n.From + ">" + text
				if n.Source == nil {
					t.Errorf("%s: the folder that is moved is not open", text)
				}
			}
			if n.Dir {
				text = "dir " + text
			}
			asked = append(asked, text)
			return ""
		})
		m := w.look(unix.Gettid(), tt.call, tt.args)
		if got := strings.Join(asked, ", "); got != tt.want || m.errno != tt.err || m.why != "" {
			t.Errorf("%s %#x: judged %q, %v; want %q, %v", tt.call, tt.args, got, m.errno, tt.want, tt.err)
		}
	}
	// What the judge says no to is refused, but what is there already.
	w := newNamer(filepath.Join(dir, "ws"), func(Naming) string { return "no" })
	for path, want := range map[string]unix.Errno{"ws/new": unix.EPERM, "ws/there": 0, "ws/dangling": unix.EPERM, "out/new": 0} {
		if m := w.look(unix.Gettid(), "openat", [6]uint64{cwd, at(path), create}); m.errno != want || (want != 0) != (m.why == "no") {
			t.Errorf("%s: %+v", path, m)
		}
	}
	if m := w.look(unix.Gettid(), "rename", [6]uint64{at("ws/moved"), at("ws/there")}); m.errno != unix.EPERM || m.path != "there" {
		t.Errorf("a rename onto what is there: %+v", m)
	}
	_ = keep
}

// TestNamerDeep: where the kernel gives no path, being too long, nothing gets a name in the
// workspace, and everything outside.
func TestNamerDeep(t *testing.T) {
	dir := t.TempDir()
	name := strings.Repeat("x", 200)
	for _, top := range []string{"ws", "out"} {
		if err := os.Mkdir(filepath.Join(dir, top), 0o700); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(filepath.Join(dir, top), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if err := unix.Mkdirat(fd, name, 0o700); err != nil {
				t.Fatal(err)
			}
			next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(fd)
			fd = next
		}
		path := append([]byte("new"), 0)
		w := newNamer(filepath.Join(dir, "ws"), func(Naming) string { return "no" })
		m := w.look(unix.Gettid(), "mkdirat", [6]uint64{uint64(fd), uint64(uintptr(unsafe.Pointer(&path[0])))})
		if want := map[string]unix.Errno{"ws": unix.ENAMETOOLONG, "out": 0}[top]; m.errno != want {
			t.Errorf("%s: %v, want %v", top, m.errno, want)
		}
		unix.Close(fd)
	}
}
