package jail

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

func observing(t *testing.T, opened ...string) machine {
	t.Helper()
	prog, err := observingFilter(opened, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return machineOf(t, prog)
}

// TestObservingFilter: the filter of a learning run asks the supervisor about calls that
// name files and about those that are refused, and changes nothing else; what is marked
// as not to be watched meets the ordinary filter.
func TestObservingFilter(t *testing.T) {
	for _, opened := range [][]string{nil, {"ptrace", "unshare", "socket"}} {
		plain, watching := newMachine(t, opened...), observing(t, opened...)
		for nr := range 520 {
			for _, args := range [][]uint64{nil, {0, unix.TIOCSTI}, {unix.CLONE_NEWUSER}, {unix.AF_VSOCK, 1}, {unix.AF_INET, 1, 0}, {0xffffffff}} {
				marked := make([]uint64, 6)
				copy(marked, args)
				marked[5] = unwatched
				want := plain.native(nr, args...)
				if got := watching.native(nr, marked...); got != plain.native(nr, marked...) {
					t.Errorf("call %d %v, marked: %#x, want %#x", nr, args, got, want)
				}
				_, watched := watches()[callName(int32(nr))]
				switch {
				case want == allowed && watched, want&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO && want != refused(unix.ENOSYS):
					want = notified
				}
				if got := watching.native(nr, args...); got != want {
					t.Errorf("call %d %v: %#x, want %#x", nr, args, got, want)
				}
			}
		}
		if got := watching.ask(unix.AUDIT_ARCH_I386, 5); got != killed {
			t.Errorf("a call of another architecture: %#x", got)
		}
	}
}

// TestObserverAnswers: what comes to the supervisor is answered as the ordinary filter
// answers, for every call and whatever its arguments.
func TestObserverAnswers(t *testing.T) {
	o, err := newObserver(&Plan{Syscalls: []string{"bpf"}})
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	plain := newMachine(t, "bpf")
	for nr := range int32(520) {
		for _, first := range []uint64{0, unix.AF_VSOCK, unix.CLONE_NEWUSER, 1 << 40} {
			req := &seccompNotif{id: 7, pid: uint32(os.Getpid())}
			req.data.nr, req.data.arch, req.data.args[0], req.data.args[1] = nr, nativeArch(), first, unix.TIOCSTI
			v := plain.native(int(nr), first, unix.TIOCSTI)
			want := seccompNotifResp{id: 7, error: -int32(unix.EPERM)}
			switch v & unix.SECCOMP_RET_ACTION_FULL {
			case unix.SECCOMP_RET_ALLOW:
				want = seccompNotifResp{id: 7, flags: respContinue}
			case unix.SECCOMP_RET_ERRNO:
				want.error = -int32(v & unix.SECCOMP_RET_DATA)
			}
			if got := o.answer(req, func() bool { return true }); got != want {
				t.Errorf("call %d %#x: %+v, want %+v", nr, first, got, want)
			}
		}
	}
	req := &seccompNotif{pid: uint32(os.Getpid())}
	req.data.nr, req.data.arch = unix.SYS_READ, unix.AUDIT_ARCH_I386
	if got := o.answer(req, func() bool { return true }); got.flags != 0 || got.error == 0 {
		t.Errorf("a call that the filter kills is let go on: %+v", got)
	}
	if len(o.calls) == 0 || len(o.calls) > maxCalls {
		t.Errorf("%d refused calls were noted", len(o.calls))
	}
}

func TestOpenUse(t *testing.T) {
	for flags, want := range map[uint64]Use{
		unix.O_RDONLY: UseRead, unix.O_RDONLY | unix.O_CLOEXEC: UseRead, unix.O_DIRECTORY: UseList, unix.O_PATH: UseLook, unix.O_PATH | unix.O_DIRECTORY: UseLook,
		unix.O_WRONLY: UseWrite, unix.O_RDWR: UseWrite, unix.O_RDONLY | unix.O_TRUNC: UseWrite, unix.O_WRONLY | unix.O_CREAT: UseCreate, unix.O_TMPFILE | unix.O_RDWR: UseCreate,
	} {
		if got := openUse(flags); got != want {
			t.Errorf("%#x: %s, want %s", flags, got, want)
		}
	}
}

// TestObserverLooks: the test's own process stands for the agent, its root for the
// jail's.
func TestObserverLooks(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"there", "masked", "script"} {
		text := "x"
		if f == "script" {
			text = "#! " + dir + "/interpreter -x\n"
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	plan := &Plan{Deny: []DenyMask{{Path: dir + "/masked", Origin: "x.hcl:3"}}, Landlock: LandlockPlan{Rules: []LandlockRule{{Path: dir, Rights: ll.AccessFSReadFile}}}}
	tid := os.Getpid()
	for _, tt := range []struct {
		path string
		use  Use
		want string // "" for not refused; else "here", "away" or the rule
	}{
		{dir + "/there", UseRead, ""}, {dir + "/there", UseLook, ""}, {dir, UseRead, ""}, {dir, UseList, ""},
		{dir + "/away", UseRead, "away"}, {dir + "/away/x", UseLook, "away"}, {dir + "/there/x", UseLook, "away"},
		{dir + "/link/../away", UseRead, "away"}, {dir + "/link/there", UseRead, ""},
		{dir + "/masked", UseRead, "x.hcl:3"}, {dir + "/link/masked", UseRead, "x.hcl:3"},
		{dir + "/there", UseWrite, "here"}, {dir + "/there", UseExec, "here"}, {dir + "/new", UseCreate, "away"}, {dir + "/no/new", UseCreate, "away"}, {dir + "/new/", UseCreate, "away"},
		{"/", UseList, ""},
	} {
		o, err := newObserver(plan)
		if err != nil {
			t.Fatal(err)
		}
		s, refused := o.refused(tt.path, tt.use, tid)
		got := ""
		switch {
		case refused && s.Rule != "":
			got = s.Rule
		case refused && s.Here:
			got = "here"
		case refused:
			got = "away"
		}
		if got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.use, tt.path, got, tt.want)
		}
		o.close()
	}
	// Bounded, whatever is asked for.
	o, err := newObserver(plan)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	long := string(make([]byte, maxSeen/4))
	for i := range 10 {
		o.note(Sight{Path: long + string(rune('a'+i)), Use: UseRead}, tid)
		o.note(Sight{Path: "again", Use: UseRead}, tid)
	}
	if o.left == 0 || len(o.files) > 5 || o.files[sightKey{"again", UseRead}].Count != 10 {
		t.Errorf("%d paths were kept, %d left out", len(o.files), o.left)
	}
}

func TestSocketPath(t *testing.T) {
	for text, want := range map[string]string{
		"\x01\x00/run/x.sock\x00junk": "/run/x.sock", "\x01\x00\x00abstract": "", "\x02\x00\x00\x50": "", "\x01\x00relative": "", "\x01": "", "": "", "\x01\x00/no-end": "/no-end",
	} {
		buf := append([]byte(text), make([]byte, 200)...)
		args := [6]uint64{0, uint64(uintptr(unsafe.Pointer(&buf[0]))), uint64(len(text))}
		if got := socketPath(os.Getpid(), args); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
