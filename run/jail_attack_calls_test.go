package run_test

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// namespaceAttacks try to make or enter namespaces and to mount.
func namespaceAttacks() map[string]attack {
	dot := func() uintptr { return cstring(".") }
	return map[string]attack{
		"unshare a user namespace": func(attackConfig) string {
			return inThread(func() string { return call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER) })
		},
		"unshare a mount namespace": func(attackConfig) string {
			return inThread(func() string { return call(unix.SYS_UNSHARE, unix.CLONE_NEWNS) })
		},
		"unshare -Ur":               func(attackConfig) string { return command("unshare", "-Ur", "true") },
		"clone a user namespace":    func(attackConfig) string { return cloned(unix.SYS_CLONE, unix.CLONE_NEWUSER) },
		"clone a network namespace": func(attackConfig) string { return cloned(unix.SYS_CLONE, unix.CLONE_NEWNET) },
		"clone3 a user namespace":   func(attackConfig) string { return cloned(unix.SYS_CLONE3, unix.CLONE_NEWUSER) },
		"setns":                     setnsAttack,
		"mount a tmpfs":             mountAttack,
		"remount / writable":        func(attackConfig) string { return answerErr(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")) },
		"umount a mask":             func(attackConfig) string { return answerErr(unix.Unmount("/proc/kcore", unix.MNT_DETACH)) },
		"chroot":                    func(attackConfig) string { return answerErr(unix.Chroot("/")) },
		"pivot_root":                func(attackConfig) string { return answerErr(unix.PivotRoot(".", ".")) },
		"fsopen":                    func(attackConfig) string { return opening(unix.SYS_FSOPEN, cstring("tmpfs"), 0) },
		"open_tree": func(attackConfig) string {
			return opening(unix.SYS_OPEN_TREE, at(unix.AT_FDCWD), dot(), unix.OPEN_TREE_CLONE)
		},
		"move_mount":        func(attackConfig) string { return call(unix.SYS_MOVE_MOUNT, at(-1), dot(), at(-1), dot(), 0) },
		"fsconfig":          func(attackConfig) string { return call(unix.SYS_FSCONFIG, at(-1), 0, 0, 0, 0) },
		"fsmount":           func(attackConfig) string { return call(unix.SYS_FSMOUNT, at(-1), 0, 0) },
		"fspick":            func(attackConfig) string { return opening(unix.SYS_FSPICK, at(unix.AT_FDCWD), dot(), 0) },
		"mount_setattr":     func(attackConfig) string { return call(unix.SYS_MOUNT_SETATTR, at(-1), dot(), 0, 0, 0) },
		"name_to_handle_at": handleAttack,
		"open_by_handle_at": func(attackConfig) string { return call(unix.SYS_OPEN_BY_HANDLE_AT, at(unix.AT_FDCWD), 0, 0) },
	}
}

// at is a descriptor argument.
func at(fd int) uintptr { return uintptr(fd) }

// cstrings keeps what the kernel is given from being collected.
var cstrings []*byte

func cstring(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	cstrings = append(cstrings, p)
	return uintptr(unsafe.Pointer(p))
}

// inThread runs f on a thread that ends with it, since it may change the thread's
// namespaces.
func inThread(f func() string) string {
	result := make(chan string)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		result <- f()
	}()
	return <-result
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
		return answer(errno)
	})
}

func setnsAttack(attackConfig) string {
	f, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return "open: " + answerErr(err)
	}
	defer f.Close()
	return inThread(func() string { return call(unix.SYS_SETNS, f.Fd(), 0) })
}

func mountAttack(attackConfig) string {
	dir, err := os.MkdirTemp("", "mount")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
	if err == nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	return answerErr(err)
}

func handleAttack(attackConfig) string {
	_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, ".", 0)
	return answerErr(err)
}

func command(name string, args ...string) string {
	code, err := runQuiet(name, args...)
	if err != nil {
		return answerErr(err)
	}
	if code == 0 {
		return "ok"
	}
	return "exit " + strconv.Itoa(code)
}

// callAttacks are system calls that no agent needs.
func callAttacks() map[string]attack {
	plain := func(nr uintptr, args ...uintptr) attack {
		return func(attackConfig) string { return call(nr, args...) }
	}
	return map[string]attack{
		"an unknown system call": plain(500),
		"ptrace": func(attackConfig) string {
			pid, stop, err := sleeper()
			if err != nil {
				return err.Error()
			}
			defer stop()
			return inThread(func() string { return call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0) })
		},
		"process_vm_readv": func(attackConfig) string {
			from, to := []byte("x"), make([]byte, 1)
			_, err := unix.ProcessVMReadv(os.Getpid(), []unix.Iovec{{Base: &to[0], Len: 1}},
				[]unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&from[0])), Len: 1}}, 0)
			runtime.KeepAlive(from)
			return answerErr(err)
		},
		"pidfd_getfd": func(attackConfig) string {
			p, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				return "pidfd_open: " + answerErr(err)
			}
			defer unix.Close(p)
			return opening(unix.SYS_PIDFD_GETFD, uintptr(p), 0, 0)
		},
		"kcmp": func(attackConfig) string { p := uintptr(os.Getpid()); return call(unix.SYS_KCMP, p, p, 1) },
		"io_uring_setup": func(attackConfig) string {
			var p [120]byte
			return opening(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)))
		},
		"keyctl": plain(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, at(unix.KEY_SPEC_PROCESS_KEYRING), 1),
		"add_key": func(attackConfig) string {
			return call(unix.SYS_ADD_KEY, cstring("user"), cstring("agentjail"), cstring("x"), 1, at(unix.KEY_SPEC_PROCESS_KEYRING))
		},
		"request_key": func(attackConfig) string {
			return call(unix.SYS_REQUEST_KEY, cstring("user"), cstring("agentjail"), 0, 0)
		},
		"bpf":             bpfAttack,
		"perf_event_open": perfAttack,
		"userfaultfd":     func(attackConfig) string { return opening(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|1) }, // UFFD_USER_MODE_ONLY
		// ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC, personality(2).
		"personality":                      plain(unix.SYS_PERSONALITY, 0x0040000|0x0400000),
		"quotactl":                         plain(unix.SYS_QUOTACTL, 0, 0, 0, 0),
		"swapon":                           plain(unix.SYS_SWAPON, 0, 0),
		"acct":                             func(attackConfig) string { return call(unix.SYS_ACCT, cstring("/nonexistent/agentjail")) },
		"syslog":                           plain(unix.SYS_SYSLOG, 10, 0, 0), // SYSLOG_ACTION_SIZE_BUFFER
		"mbind":                            plain(unix.SYS_MBIND, 0, 0, 0, 0, 0, 0),
		"type into the terminal (TIOCSTI)": terminalIoctl(unix.TIOCSTI),
		"type into the terminal (TIOCSTI, high bits set)":   terminalIoctl(1<<32 | unix.TIOCSTI),
		"type into the terminal (TIOCSTI, other high bits)": terminalIoctl(0xffffffff<<32 | unix.TIOCSTI),
		"paste into the console (TIOCLINUX)":                terminalIoctl(0x541C),
		"paste into the console (TIOCLINUX, high bits set)": terminalIoctl(1<<40 | 0x541C),
	}
}

// terminalIoctl asks it of stdin, whatever that is: the filter refuses the request
// before the kernel looks at the descriptor, which would answer ENOTTY.
func terminalIoctl(request uintptr) attack {
	return func(attackConfig) string {
		c := [2]byte{'x'}
		r := call(unix.SYS_IOCTL, 0, request, uintptr(unsafe.Pointer(&c)))
		runtime.KeepAlive(&c)
		return r
	}
}

func bpfAttack(attackConfig) string {
	// BPF_MAP_CREATE of an array, bpf(2): type, key size, value size, entries.
	attr := [18]uint32{2, 4, 4, 1}
	return opening(unix.SYS_BPF, 0, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

func perfAttack(attackConfig) string {
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_TASK_CLOCK,
		Bits: unix.PerfBitExcludeKernel | unix.PerfBitExcludeHv}
	attr.Size = uint32(unsafe.Sizeof(attr))
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	return answerErr(err)
}

// socketAttacks open sockets of families and protocols that the jail does not give.
func socketAttacks() map[string]attack {
	socket := func(family, typ, proto uintptr) attack {
		return func(attackConfig) string { return opening(unix.SYS_SOCKET, family, typ|unix.SOCK_CLOEXEC, proto) }
	}
	dial := func(network, host string) attack {
		return func(c attackConfig) string {
			conn, err := net.Dial(network, net.JoinHostPort(host, strconv.Itoa(c.Port)))
			if err == nil {
				// UDP says what became of it at the next call.
				if _, err = conn.Write([]byte("attack")); err == nil && network == "udp" {
					_, err = conn.Write([]byte("attack"))
				}
				conn.Close()
			}
			return answerErr(err)
		}
	}
	return map[string]attack{
		"a raw IPv4 socket":         socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		"a raw IPv6 socket":         socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
		"a ping socket":             socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
		"an MPTCP socket":           socket(unix.AF_INET, unix.SOCK_STREAM, 262),
		"an SCTP socket":            socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		"a UDP-Lite socket":         socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
		"AF_PACKET":                 socket(unix.AF_PACKET, unix.SOCK_RAW, 0),
		"AF_ALG":                    socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		"AF_VSOCK":                  socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		"AF_KEY":                    socket(unix.AF_KEY, unix.SOCK_RAW, 2),
		"AF_RXRPC":                  socket(unix.AF_RXRPC, unix.SOCK_DGRAM, unix.AF_INET),
		"AF_TIPC":                   socket(unix.AF_TIPC, unix.SOCK_STREAM, 0),
		"AF_XDP":                    socket(unix.AF_XDP, unix.SOCK_RAW, 0),
		"AF_PACKET with a high bit": socket(1<<32|unix.AF_PACKET, unix.SOCK_RAW, 0),
		"netlink: netfilter":        socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
		"netlink: xfrm":             socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM),
		"netlink: kobject":          socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT),
		"netlink: generic":          socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC),
		"netlink: sock_diag":        socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG),
		"netlink: audit":            socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
		"the host's loopback (TCP)": dial("tcp", "127.0.0.1"),
		"the host's loopback (UDP)": dial("udp", "127.0.0.1"),
		"the host's loopback (::1)": dial("tcp", "::1"),
		"the host by 0.0.0.0":       dial("tcp", "0.0.0.0"),
	}
}

// abiAttacks make calls through another ABI than the native one.
func abiAttacks() map[string]attack {
	return map[string]attack{
		"int 0x80":    func(attackConfig) string { return child("attack-one", "int80") },
		"the x32 bit": func(attackConfig) string { return child("attack-one", "x32") },
	}
}

// int80 makes a system call of the i386 ABI from 64-bit code: getpid, number 20.
func int80() string {
	if runtime.GOARCH != "amd64" {
		return "not an amd64 machine"
	}
	code := []byte{
		0xb8, 20, 0, 0, 0, // mov $20, %eax
		0xcd, 0x80, //        int $0x80
		0xc3, //              ret
	}
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return "mmap: " + answerErr(err)
	}
	copy(page, code)
	// A func value points to a word that points to the code; the result is in AX both
	// for the kernel and for Go's own convention.
	entry := &page[0]
	value := &entry
	f := *(*func() int)(unsafe.Pointer(&value))
	if pid := f(); pid != os.Getpid() {
		return "pid " + strconv.Itoa(pid)
	}
	return "ok"
}
