package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
)

// landlockRight is one thing that Landlock can refuse, by what happens when it is
// tried without the right (landlock(7)).
type landlockRight struct {
	what   string
	abi    int
	kernel string
	fs     uint64
	scoped uint64
	try    func(l *landlockTry) error // nil: it was possible
}

var landlockRights = []landlockRight{
	{"files", 1, "5.13", 1<<13 - 1, 0, func(l *landlockTry) error { return opens(filepath.Join(l.dir, "out")) }},
	{"rename across folders", 2, "5.19", ll.AccessFSRefer, 0, func(l *landlockTry) error {
		return os.Rename(filepath.Join(l.dir, "a", "file"), filepath.Join(l.dir, "b", "file"))
	}},
	{"truncate", 3, "6.2", ll.AccessFSTruncate, 0, func(l *landlockTry) error { return os.Truncate(filepath.Join(l.dir, "a", "file"), 0) }},
	{"device ioctl", 5, "6.10", ll.AccessFSIoctlDev, 0, func(l *landlockTry) error {
		f, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
		if err != nil {
			return nil // the rule is for this very file: nothing was shown
		}
		defer f.Close()
		_, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		if errors.Is(err, unix.ENOTTY) {
			return nil // the device was asked
		}
		return err
	}},
	{"abstract sockets", 6, "6.12", 0, ll.ScopeAbstractUnixSocket, func(l *landlockTry) error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil
		}
		defer unix.Close(fd)
		return unix.Connect(fd, l.peer)
	}},
	{"signals", 6, "6.12", 0, ll.ScopeSignal, func(*landlockTry) error { return unix.Kill(os.Getppid(), 0) }},
}

type landlockTry struct {
	dir  string
	peer unix.Sockaddr // an abstract socket outside the domain
}

func opens(path string) error {
	f, err := os.Open(path)
	if err == nil {
		f.Close()
	}
	return err
}

// probeLandlock puts its thread into a Landlock domain with every right that the
// kernel claims to have, and tries each of them. The process is thrown away after.
func probeLandlock(dir string) (string, error) {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return "", fmt.Errorf("landlock_create_ruleset: %w", err)
	}
	l := &landlockTry{dir: dir}
	for _, d := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return "", err
		}
	}
	for _, f := range []string{"out", "a/file"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			return "", err
		}
	}
	outside, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	defer unix.Close(outside)
	// An empty name: the kernel picks an abstract one (autobind, unix(7)).
	if err := unix.Bind(outside, &unix.SockaddrUnix{}); err != nil {
		return "", os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(outside, 1); err != nil {
		return "", os.NewSyscallError("listen", err)
	}
	if l.peer, err = unix.Getsockname(outside); err != nil {
		return "", os.NewSyscallError("getsockname", err)
	}
	if err := enterDomain(abi, dir); err != nil {
		return "", err
	}
	if err := opens(filepath.Join(dir, "a", "file")); err != nil {
		return "", fmt.Errorf("a file that a rule allows: %w", pathCause(err))
	}
	var has, lacks []string
	for _, r := range landlockRights {
		switch refused := r.try(l); {
		case abi < r.abi:
			lacks = append(lacks, r.what+" (Linux "+r.kernel+")")
		case refused == nil:
			return "", fmt.Errorf("this kernel says that it can refuse %s (ABI %d) and does not", r.what, abi)
		default:
			has = append(has, r.what)
		}
	}
	return landlockDetail(abi, has, lacks), nil
}

// landlockLacks stands in a probe's detail before what the kernel is too old for.
const landlockLacks = "; this kernel is too old for: "

func landlockDetail(abi int, has, lacks []string) string {
	detail := fmt.Sprintf("ABI %d; refuses %s", abi, strings.Join(has, ", "))
	if len(lacks) > 0 {
		detail += landlockLacks + strings.Join(lacks, ", ")
	}
	return detail
}

// enterDomain restricts this thread: below dir's folders everything but what is to be
// tried, elsewhere nothing.
func enterDomain(abi int, dir string) error {
	attr := ll.RulesetAttr{}
	for _, r := range landlockRights {
		if abi >= r.abi {
			attr.HandledAccessFS |= r.fs
			attr.Scoped |= r.scoped
		}
	}
	ruleset, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return fmt.Errorf("landlock_create_ruleset: %w", err)
	}
	defer unix.Close(ruleset)
	const folder = 1<<13 - 1
	for path, rights := range map[string]uint64{
		filepath.Join(dir, "a"): folder, filepath.Join(dir, "b"): folder,
		"/dev/null": ll.AccessFSReadFile | ll.AccessFSWriteFile,
	} {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: path, Err: err}
		}
		err = ll.LandlockAddPathBeneathRule(ruleset, &ll.PathBeneathAttr{AllowedAccess: rights & attr.HandledAccessFS, ParentFd: fd}, 0)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("landlock_add_rule: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := ll.LandlockRestrictSelf(ruleset, 0); err != nil {
		return fmt.Errorf("landlock_restrict_self: %w", err)
	}
	return nil
}

// noSuchCall is far beyond the last system call: without a filter it answers ENOSYS,
// under an allowlist what the list answers to the rest.
const noSuchCall = 4000

// Of linux/seccomp.h, Linux 6.6: the supervisor is woken on the agent's CPU.
const (
	seccompSetFlags = 0x40082104 // SECCOMP_IOCTL_NOTIF_SET_FLAGS
	seccompSyncWake = 1          // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
)

// probeSeccomp loads a jail's own filter on its thread and sees that it holds.
func probeSeccomp(string) (string, error) {
	filter, _, err := jail.FilterFor(nil)
	if err != nil {
		return "", err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return "", fmt.Errorf("no_new_privs: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return "", fmt.Errorf("seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER): %w", errno)
	}
	if _, _, errno := unix.RawSyscall(noSuchCall, 0, 0, 0); errno != unix.EPERM {
		return "", fmt.Errorf("the filter was loaded and is not in force: a call that it does not allow answered %v", errno)
	}
	detail := fmt.Sprintf("allowlist of %d instructions, exec notified", len(filter))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, seccompSetFlags, seccompSyncWake); errno != 0 {
		detail += "; without synchronous wake-up (Linux 6.6), so each exec costs some 50 µs more"
	}
	return detail, nil
}
