package attacks

import (
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused is what the filter's default action answers.
func refused() []Stop { return []Stop{by(Seccomp, "EPERM")} }

// missing is what the filter answers for calls that a libc falls back from.
func missing() []Stop { return []Stop{by(Seccomp, "ENOSYS")} }

// namespaces are attacks that make or enter namespaces, or mount.
func namespaces() []Attack {
	dot := func() uintptr { return cstring(".") }
	make := func(id string, line int, what, class string, without Without, stops []Stop, calls []string, try func(*Target) string) Attack {
		return Attack{ID: id, Line: line, What: what, Class: class, Without: without, Stopped: stops, Calls: calls, Try: try}
	}
	const userns, mounts = "a new user namespace: the way to most kernel bugs of the last years", "CVE-2021-41133, CVE-2022-0185"
	return []Attack{
		make("unshare-user", 25, "unshare a user namespace", userns, Plain|Nested, refused(), []string{"unshare"},
			func(*Target) string {
				return inThread(func() string { return call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER) })
			}),
		make("unshare-mount", 25, "unshare a mount namespace", userns, Nested, refused(), []string{"unshare"},
			func(*Target) string {
				return inThread(func() string { return call(unix.SYS_UNSHARE, unix.CLONE_NEWNS) })
			}),
		make("unshare-program", 25, "unshare -Ur", userns, Plain|Nested, []Stop{by(Seccomp, "exit 1"), by(FileView, "absent")}, []string{"unshare"},
			func(*Target) string { return command("unshare", "-Ur", "true") }),
		make("clone-user", 25, "clone a process in a user namespace", userns, Plain|Nested, refused(), []string{"clone"},
			func(*Target) string { return cloned(unix.SYS_CLONE, unix.CLONE_NEWUSER) }),
		make("clone-net", 25, "clone a process in a network namespace", userns, Nested, refused(), []string{"clone"},
			func(*Target) string { return cloned(unix.SYS_CLONE, unix.CLONE_NEWNET) }),
		make("clone3-user", 25, "clone3 a process in a user namespace", userns, Plain|Nested, missing(), []string{"clone3"},
			func(*Target) string { return cloned(unix.SYS_CLONE3, unix.CLONE_NEWUSER) }),
		make("setns", 25, "enter a namespace", userns, Nested, refused(), []string{"setns"},
			func(*Target) string {
				f, err := os.Open("/proc/self/ns/net")
				if err != nil {
					return answer(err)
				}
				defer f.Close()
				return inThread(func() string { return call(unix.SYS_SETNS, f.Fd(), 0) })
			}),
		make("mount", 26, "mount a tmpfs", mounts, Nested, refused(), []string{"mount"}, mountAttack),
		make("remount-root", 26, "make / writable", mounts, Looked, refused(), []string{"mount"},
			func(*Target) string { return answer(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")) }),
		make("fsopen", 26, "fsopen", mounts, Nested, missing(), []string{"fsopen"},
			func(*Target) string { return opening(unix.SYS_FSOPEN, cstring("tmpfs"), 0) }),
		make("open-tree", 26, "open_tree with a clone", mounts, Nested, missing(), []string{"open_tree"},
			func(*Target) string {
				return opening(unix.SYS_OPEN_TREE, at(unix.AT_FDCWD), dot(), unix.OPEN_TREE_CLONE)
			}),
		make("move-mount", 26, "move_mount", mounts, Nested, missing(), []string{"move_mount"},
			func(*Target) string { return call(unix.SYS_MOVE_MOUNT, at(-1), dot(), at(-1), dot(), 0) }),
		make("fsconfig", 26, "fsconfig", mounts, Nested, missing(), []string{"fsconfig"},
			func(*Target) string { return call(unix.SYS_FSCONFIG, at(-1), 0, 0, 0, 0) }),
		make("fsmount", 26, "fsmount", mounts, Nested, missing(), []string{"fsmount"},
			func(*Target) string { return call(unix.SYS_FSMOUNT, at(-1), 0, 0) }),
		make("fspick", 26, "fspick", mounts, Nested, missing(), []string{"fspick"},
			func(*Target) string { return opening(unix.SYS_FSPICK, at(unix.AT_FDCWD), dot(), 0) }),
		make("mount-setattr", 26, "mount_setattr", mounts, Nested, missing(), []string{"mount_setattr"},
			func(*Target) string { return call(unix.SYS_MOUNT_SETATTR, at(-1), dot(), 0, 0, 0) }),
		make("umount-mask", 23, "take a mask off /proc", "a mask that comes off", Nested, refused(), []string{"umount2"},
			func(*Target) string { return answer(unix.Unmount("/proc/kcore", unix.MNT_DETACH)) }),
		make("chroot", 23, "chroot", "CVE-2018-15664: a root of one's own", Nested, refused(), []string{"chroot"},
			func(*Target) string { return answer(unix.Chroot("/")) }),
		make("pivot-root", 23, "pivot_root", "a root of one's own", Nested, refused(), []string{"pivot_root"},
			func(*Target) string { return answer(unix.PivotRoot(".", ".")) }),
		make("name-to-handle", 22, "name_to_handle_at", "CVE-2014-3519", Plain|Nested, refused(), []string{"name_to_handle_at"},
			func(*Target) string { _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, ".", 0); return answer(err) }),
		// An empty handle: EFAULT where the call is let through.
		make("open-by-handle", 22, "open_by_handle_at", "CVE-2014-3519", Nested, refused(), []string{"open_by_handle_at"},
			func(*Target) string { return call(unix.SYS_OPEN_BY_HANDLE_AT, at(unix.AT_FDCWD), 0, 0) }),
	}
}

// cloned forks with namespace flags; a child that comes to be ends at once.
func cloned(nr uintptr, flags uintptr) string {
	return inThread(func() string {
		var pid uintptr
		var errno unix.Errno
		if nr == unix.SYS_CLONE3 {
			// struct clone_args, clone(2): flags first, exit_signal fifth.
			args := [11]uint64{0: uint64(flags), 4: uint64(unix.SIGCHLD)}
			pid, _, errno = unix.RawSyscall(nr, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
		} else {
			pid, _, errno = unix.RawSyscall6(nr, flags|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		}
		if errno == 0 && pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
		if errno == 0 {
			_, _ = unix.Wait4(int(pid), nil, 0, nil)
		}
		return name(errno)
	})
}

func mountAttack(*Target) string {
	return in(func(dir string) string {
		err := unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		if err == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		return answer(err)
	})
}

// calls are system calls that no agent needs.
func calls() []Attack {
	make := func(id string, line int, class string, calls []string, try func(*Target) string) Attack {
		return Attack{ID: strings.ReplaceAll(id, "_", "-"), Line: line, What: "call " + id, Class: class, Without: Plain | Nested, Stopped: refused(), Calls: calls, Try: try}
	}
	named := func(name string, line int, class string, try func(*Target) string) Attack {
		return make(name, line, class, []string{name}, try)
	}
	plain := func(nr uintptr, args ...uintptr) func(*Target) string {
		return func(*Target) string { return call(nr, args...) }
	}
	const kernelBugs = "a part of the kernel that many of its bugs were in"
	list := []Attack{
		named("keyctl", 27, "CVE-2016-0728: keys of other programs", plain(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, at(unix.KEY_SPEC_PROCESS_KEYRING), 1)),
		named("add_key", 27, "CVE-2016-0728", func(*Target) string {
			return call(unix.SYS_ADD_KEY, cstring("user"), cstring("agentjail"), cstring("x"), 1, at(unix.KEY_SPEC_PROCESS_KEYRING))
		}),
		{ID: "request-key", Line: 27, What: "find a key of the caller's session", Class: "keys of other programs", Without: Plain, Stopped: refused(), Calls: []string{"request_key"},
			Try: func(t *Target) string { return call(unix.SYS_REQUEST_KEY, cstring("user"), cstring(t.KeyName), 0, 0) }},
		named("bpf", 27, kernelBugs, bpfAttack),
		named("perf_event_open", 27, kernelBugs, perfAttack),
		named("userfaultfd", 27, "a thread of the kernel that is held", func(*Target) string { return opening(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }), // UFFD_USER_MODE_ONLY
		// EPERM without the privilege, which the filter answers too: only the nested trial,
		// where the kernel looks at the arguments, tells them apart.
		named("kexec_load", 27, "another kernel", plain(unix.SYS_KEXEC_LOAD, 0, 0, 0, 1<<31)),
		named("io_uring_setup", 28, "sockets and files that no filter sees", func(*Target) string {
			var p [120]byte
			return opening(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)))
		}),
		named("ptrace", 32, "another process's memory", func(*Target) string {
			pid, stop, err := holder(nil)
			if err != nil {
				return answer(err)
			}
			defer stop()
			return inThread(func() string { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0) })
		}),
		named("process_vm_readv", 32, "another process's memory", func(*Target) string {
			from, to := []byte("x"), []byte{0}
			_, err := unix.ProcessVMReadv(os.Getpid(), []unix.Iovec{{Base: &to[0], Len: 1}}, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&from[0])), Len: 1}}, 0)
			runtime.KeepAlive(from)
			return answer(err)
		}),
		named("pidfd_getfd", 32, "another process's descriptors", func(*Target) string {
			p, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				return answer(err)
			}
			defer unix.Close(p)
			return opening(unix.SYS_PIDFD_GETFD, uintptr(p), 0, 0)
		}),
		named("kcmp", 32, "where the kernel keeps things", func(*Target) string { p := uintptr(os.Getpid()); return call(unix.SYS_KCMP, p, p, 1) }),
		// ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC, personality(2).
		named("personality", 33, "address randomisation off, data executable", plain(unix.SYS_PERSONALITY, 0x0040000|0x0400000)),
		named("syslog", 18, "the kernel's log", plain(unix.SYS_SYSLOG, 10, 0, 0)), // SYSLOG_ACTION_SIZE_BUFFER
		named("mbind", 27, kernelBugs, plain(unix.SYS_MBIND, 0, 0, 0, 0, 0, 0)),
		{ID: "unknown-call", Line: 27, What: "call what this kernel or filter does not know", Class: "what comes with the next kernel", Without: Plain | Nested, Stopped: refused(), Try: plain(500)},
	}
	for id, args := range map[string]struct {
		nr   uintptr
		args []uintptr
	}{"quotactl": {unix.SYS_QUOTACTL, []uintptr{0, 0, 0, 0}}, "swapon": {unix.SYS_SWAPON, []uintptr{0, 0}}, "init_module": {unix.SYS_INIT_MODULE, []uintptr{0, 0, 0}}} {
		a := named(id, 27, "a change of the machine", plain(args.nr, args.args...))
		a.Without = Nested
		list = append(list, a)
	}
	const typing = "CVE-2017-5226, CVE-2019-10063, CVE-2023-28100"
	for id, request := range map[string]uintptr{"tiocsti": unix.TIOCSTI, "tiocsti-high": 1<<32 | unix.TIOCSTI, "tiocsti-high-all": 0xffffffff<<32 | unix.TIOCSTI,
		"tioclinux": 0x541C, "tioclinux-high": 1<<40 | 0x541C} { // TIOCLINUX, ioctl_console(2)
		list = append(list, Attack{ID: id, Line: 29, What: "type into the terminal, request " + sprint("%#x", request), Class: typing, Without: Plain | Nested, Stopped: refused(),
			// The filter refuses the request before the kernel looks at the descriptor, which
			// would answer ENOTTY.
			Try: func(*Target) string {
				c := [2]byte{'x'}
				r := call(unix.SYS_IOCTL, 0, request, uintptr(unsafe.Pointer(&c)))
				runtime.KeepAlive(&c)
				return r
			}})
	}
	return append(list, Attack{ID: "terminal-write", Line: 29, What: "write to a terminal of the host", Class: "CVE-2017-5226", Without: Plain,
		Try:     func(t *Target) string { return writeMark(t, t.Terminal) },
		Stopped: []Stop{gone(), by(Landlock, "EACCES"), by(FileView, "EIO", "ENXIO")}})
}

func bpfAttack(*Target) string {
	// BPF_MAP_CREATE of an array, bpf(2): type, key size, value size, entries.
	attr := [18]uint32{2, 4, 4, 1}
	return opening(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

func perfAttack(*Target) string {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK, Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return answer(err)
}
