package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// The gateway confines itself in two steps, both before it reads its first byte.
//
//  1. In a process that does nothing else: no_new_privs, no capability, Landlock,
//     resource limits, all on one thread, and then it executes itself once more.
//     These are attributes of threads, and Go has several before main begins; what
//     the executing thread has, every thread of the new program has.
//  2. In that program: not dumpable (an exec resets it) and seccomp, which has a
//     way to reach all threads at once.

// confinedArg is the last argument of step 2. Whoever passes it by hand skips the
// first step; step 2 makes sure of what the first one did and refuses.
const confinedArg = "confined"

// readable is what the gateway may read: what the resolver reads (resolv.conf(5),
// hosts(5), nsswitch.conf(5)) and the certificates of authorities. Nothing of it is
// private. A path that the host doesn't have is left out.
func readable() []string {
	paths := []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf",
		"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/ca-trust",
		"/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	}
	// systemd-resolved and NetworkManager replace their file by a new one: the
	// folder stands for what will be in it.
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && strings.HasPrefix(target, "/run/") {
		if dir := filepath.Dir(target); dir != "/run" {
			paths = append(paths, dir)
		}
	}
	return paths
}

// firstStep confines this thread and executes the program again. It returns only
// on an error.
func firstStep() error {
	runtime.LockOSThread() // never unlocked: the thread is good for nothing else
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := setLimits(); err != nil {
		return err
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	own, err := mappedFiles()
	if err != nil {
		return err
	}
	if err := restrictSelf(own); err != nil {
		return fmt.Errorf("landlock: %w\nhint: the gateway does not run without it; is landlock in the kernel's lsm= list?", err)
	}
	args := append(append([]string{}, os.Args...), confinedArg)
	if err := syscall.Exec("/proc/self/exe", args, os.Environ()); err != nil {
		return fmt.Errorf("execute itself once more: %w", err)
	}
	return nil
}

// setLimits bounds what the process could do to the host: no core file, which
// would hold what it relays; no file that grows; descriptors for the connections.
func setLimits() error {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	n := min(files.Max, wantedFiles)
	for _, l := range []struct {
		what  int
		value uint64
	}{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, n}} {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("set resource limit %d: %w", l.what, err)
		}
	}
	// That of locked memory is the supervisor's to set: lock.go.
	return nil
}

// dropCapabilities empties every capability set of this thread. Without the
// securebits an exec by uid 0 would fill them again: capabilities(7).
func dropCapabilities() error {
	if caps, err := capabilities(); err != nil {
		return err
	} else if caps {
		// linux/securebits.h: NOROOT, NO_SETUID_FIXUP, NO_CAP_AMBIENT_RAISE, each with
		// its lock, and the lock of KEEP_CAPS.
		const bits = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6 | 1<<7
		// EPERM: without CAP_SETPCAP neither can be done, and an exec by uid 0
		// would bring back what the bounding set leaves. The check after the exec
		// finds that.
		if err := unix.Prctl(unix.PR_SET_SECUREBITS, bits, 0, 0, 0); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set securebits: %w", err)
		}
		for c := uintptr(0); c < 64; c++ {
			err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
				break // past the kernel's last capability
			}
			if err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("clear ambient capabilities: %w", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&head, &none[0]); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

// capabilities says whether this thread has any.
func capabilities() (bool, error) {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return false, fmt.Errorf("read capabilities: %w", err)
	}
	for _, d := range data {
		if d.Effective|d.Permitted|d.Inheritable != 0 {
			return true, nil
		}
	}
	return false, nil
}

// mappedFiles is what this program is made of: its file and, where it is linked
// dynamically, its interpreter and libraries.
func mappedFiles() ([]string, error) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	files := []string{"/proc/self/exe"}
	for line := range strings.Lines(string(maps)) {
		i := strings.IndexByte(line, '/')
		if i < 0 {
			continue
		}
		if name := strings.TrimSuffix(line[i:], "\n"); !seen[name] {
			seen[name] = true
			files = append(files, name)
		}
	}
	return files, nil
}

// landlockRights is every right over files and every scope that a Landlock ABI has
// (landlock(7)), and of the rights over the network those to bind, since the
// gateway only dials.
func landlockRights(abi int) ll.RulesetAttr {
	a := ll.RulesetAttr{HandledAccessFS: 1<<13 - 1} // ABI 1: execute to make_sym
	for _, step := range []struct {
		abi              int
		fs, net, scoping uint64
	}{
		{2, ll.AccessFSRefer, 0, 0},
		{3, ll.AccessFSTruncate, 0, 0},
		{4, 0, ll.AccessNetBindTCP, 0},
		{5, ll.AccessFSIoctlDev, 0, 0},
		{6, 0, 0, ll.ScopeAbstractUnixSocket | ll.ScopeSignal},
		{9, ll.AccessFSResolveUnix, 0, 0},
	} {
		if abi >= step.abi {
			a.HandledAccessFS |= step.fs
			a.HandledAccessNet |= step.net
			a.Scoped |= step.scoping
		}
	}
	return a
}

// restrictSelf puts this thread into a Landlock domain that reads the readable
// paths and executes the program's own files, and does nothing else to any file.
//
// go-landlock's own Restrict is for a whole process. Here one thread is meant, with
// exactly the rights of the kernel's ABI, so its system calls are used.
func restrictSelf(own []string) error {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return err
	}
	attr := landlockRights(abi)
	rs, err := ll.LandlockCreateRuleset(&attr, 0)
	if err != nil {
		return fmt.Errorf("create a ruleset: %w", err)
	}
	defer unix.Close(rs)
	for _, p := range own {
		err := addRule(rs, p, ll.AccessFSExecute|ll.AccessFSReadFile)
		// EBADFD: a memfd, over which Landlock has no say. ENOENT, EACCES: the file is
		// gone from its path or behind a private folder; /proc/self/exe stands for the
		// program itself, and without a library the exec fails.
		if err != nil && !errors.Is(err, unix.EBADFD) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) {
			return err
		}
	}
	for _, p := range readable() {
		err := addRule(rs, p, ll.AccessFSReadFile|ll.AccessFSReadDir)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOTDIR) {
			return err
		}
	}
	if err := ll.LandlockRestrictSelf(rs, 0); err != nil {
		return fmt.Errorf("restrict self: %w", err)
	}
	return nil
}

func addRule(ruleset int, path string, access uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &^= ll.AccessFSReadDir // EINVAL on a file
	}
	rule := ll.PathBeneathAttr{ParentFd: fd, AllowedAccess: access}
	if err := ll.LandlockAddPathBeneathRule(ruleset, &rule, 0); err != nil {
		return fmt.Errorf("allow %s: %w", path, err)
	}
	return nil
}
