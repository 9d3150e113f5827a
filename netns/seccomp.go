package netns

import (
	"fmt"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// gatewayCalls is what the Go runtime and package net need once the gateway runs.
// No program is executed, no process made, no socket bound or listened on, no file
// opened but what Landlock lets through.
//
// Anything else answers EPERM, not a kill: a new version of the runtime that tries
// something harmless then goes without it, and the call is refused in both cases.
func gatewayCalls() []string {
	return []string{
		// memory
		"brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "mincore", "mlock", "mlockall",
		// threads and signals
		"exit", "exit_group", "futex", "get_robust_list", "getpid", "gettid", "membarrier",
		"nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "restart_syscall", "rseq",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "sched_getaffinity", "sched_yield",
		"set_robust_list", "set_tid_address", "sigaltstack", "tgkill", "getrandom", "uname",
		"getuid", "geteuid", "getgid", "getegid",
		// waiting
		"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "poll", "ppoll",
		// descriptors
		"close", "dup", "dup3", "fcntl", "fstat", "lseek", "pipe2", "read", "readv", "write", "writev", "splice",
		// the resolver's files; Landlock says which
		"openat", "newfstatat", "fstatat64", "statx", "getdents64", "readlinkat", "pread64",
		// sockets, beside socket itself
		"accept4", "connect", "getpeername", "getsockname", "getsockopt", "recvfrom", "recvmsg", "sendmsg", "sendto",
		"setsockopt", "shutdown",
	}
}

// loadSeccomp puts every thread under the filter. libseccomp refuses any other ABI
// of the machine (i386, x32) by its bad-architecture action.
func loadSeccomp() error {
	f, err := libseccomp.NewFilter(libseccomp.ActErrno.SetReturnCode(int16(unix.EPERM)))
	if err != nil {
		return err
	}
	defer f.Release()
	if err := f.SetBadArchAction(libseccomp.ActKillProcess); err != nil {
		return err
	}
	for _, name := range gatewayCalls() {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			continue // another architecture's call
		}
		if err := f.AddRule(call, libseccomp.ActAllow); err != nil {
			return fmt.Errorf("allow %s: %w", name, err)
		}
	}
	if err := allowSockets(f); err != nil {
		return err
	}
	if err := allowThreads(f); err != nil {
		return err
	}
	if err := allowOwnLimits(f); err != nil {
		return err
	}
	return f.Load()
}

// allowSockets opens stream and datagram sockets over IP, of TCP and UDP only: MPTCP
// and SCTP pass by Landlock's rules.
func allowSockets(f *libseccomp.ScmpFilter) error {
	call, err := libseccomp.GetSyscallFromName("socket")
	if err != nil {
		return err
	}
	const typeMask = 0xf // SOCK_TYPE_MASK: what is left are SOCK_CLOEXEC and SOCK_NONBLOCK
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []struct {
			typ    uint64
			protos []uint64
		}{
			{unix.SOCK_STREAM, []uint64{0, unix.IPPROTO_TCP}},
			{unix.SOCK_DGRAM, []uint64{0, unix.IPPROTO_UDP}},
		} {
			for _, proto := range typ.protos {
				err := f.AddRuleConditional(call, libseccomp.ActAllow, []libseccomp.ScmpCondition{
					{Argument: 0, Op: libseccomp.CompareEqual, Operand1: family},
					{Argument: 1, Op: libseccomp.CompareMaskedEqual, Operand1: typeMask, Operand2: typ.typ},
					{Argument: 2, Op: libseccomp.CompareEqual, Operand1: proto},
				})
				if err != nil {
					return fmt.Errorf("allow socket: %w", err)
				}
			}
		}
	}
	return nil
}

// allowOwnLimits lets the process read its own resource limits, and set none:
// prlimit(0, resource, NULL, old).
func allowOwnLimits(f *libseccomp.ScmpFilter) error {
	call, err := libseccomp.GetSyscallFromName("prlimit64")
	if err != nil {
		return err
	}
	err = f.AddRuleConditional(call, libseccomp.ActAllow, []libseccomp.ScmpCondition{
		{Argument: 0, Op: libseccomp.CompareEqual, Operand1: 0},
		{Argument: 2, Op: libseccomp.CompareEqual, Operand1: 0},
	})
	if err != nil {
		return fmt.Errorf("allow prlimit64: %w", err)
	}
	return nil
}

// allowThreads lets clone make threads, never processes. The flags of clone3 are in
// memory, where a filter can't look; with ENOSYS libcs fall back to clone.
func allowThreads(f *libseccomp.ScmpFilter) error {
	clone, err := libseccomp.GetSyscallFromName("clone")
	if err != nil {
		return err
	}
	// The flags are clone's first argument on every architecture but s390 (clone(2)).
	err = f.AddRuleConditional(clone, libseccomp.ActAllow, []libseccomp.ScmpCondition{
		{Argument: 0, Op: libseccomp.CompareMaskedEqual, Operand1: unix.CLONE_THREAD, Operand2: unix.CLONE_THREAD},
	})
	if err != nil {
		return fmt.Errorf("allow clone: %w", err)
	}
	clone3, err := libseccomp.GetSyscallFromName("clone3")
	if err != nil {
		return err
	}
	if err := f.AddRule(clone3, libseccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))); err != nil {
		return fmt.Errorf("refuse clone3: %w", err)
	}
	return nil
}
