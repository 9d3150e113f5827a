package jail

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// What a seccomp program says, linux/seccomp.h.
const (
	killed   = uint32(unix.SECCOMP_RET_KILL_PROCESS)
	allowed  = uint32(unix.SECCOMP_RET_ALLOW)
	notified = uint32(unix.SECCOMP_RET_USER_NOTIF)
)

func refused(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// machine runs a filter outside the kernel.
type machine struct {
	t      *testing.T
	filter filterMachine
}

func newMachine(t *testing.T, opened ...string) machine {
	t.Helper()
	prog, err := buildFilter(opened)
	if err != nil {
		t.Fatal(err)
	}
	return machineOf(t, prog)
}

func machineOf(t *testing.T, prog []unix.SockFilter) machine {
	t.Helper()
	m, err := newFilterMachine(prog)
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, m}
}

func (m machine) ask(arch uint32, nr int, args ...uint64) uint32 {
	m.t.Helper()
	var all [6]uint64
	copy(all[:], args)
	verdict, err := m.filter.verdict(arch, int32(nr), all)
	if err != nil {
		m.t.Fatal(err)
	}
	return verdict
}

func (m machine) native(nr int, args ...uint64) uint32 { return m.ask(nativeArch(), nr, args...) }

func TestFilterVerdicts(t *testing.T) {
	const high = uint64(1) << 32
	m := newMachine(t)
	for _, tt := range []struct {
		name string
		nr   int
		args []uint64
		want uint32
	}{
		{"read", unix.SYS_READ, nil, allowed},
		{"execve", unix.SYS_EXECVE, nil, notified},
		{"execveat", unix.SYS_EXECVEAT, nil, notified},
		{"ptrace", unix.SYS_PTRACE, nil, refused(unix.EPERM)},
		{"unshare", unix.SYS_UNSHARE, nil, refused(unix.EPERM)},
		{"setns", unix.SYS_SETNS, nil, refused(unix.EPERM)},
		{"mount", unix.SYS_MOUNT, nil, refused(unix.EPERM)},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, nil, refused(unix.EPERM)},
		{"clone3", unix.SYS_CLONE3, nil, refused(unix.ENOSYS)},
		{"fsopen", unix.SYS_FSOPEN, nil, refused(unix.ENOSYS)},
		{"clone of a thread", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allowed},
		{"clone of a process", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, allowed},
		{"clone NEWUSER", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, refused(unix.EPERM)},
		{"clone NEWNS", unix.SYS_CLONE, []uint64{unix.CLONE_NEWNS}, refused(unix.EPERM)},
		{"clone NEWNET, high bits set", unix.SYS_CLONE, []uint64{high | unix.CLONE_NEWNET}, refused(unix.EPERM)},
		{"personality 0", unix.SYS_PERSONALITY, []uint64{0}, allowed},
		{"personality asked", unix.SYS_PERSONALITY, []uint64{0xffffffff}, allowed},
		{"ADDR_NO_RANDOMIZE", unix.SYS_PERSONALITY, []uint64{0x40000}, refused(unix.EPERM)},
		{"AF_UNIX", unix.SYS_SOCKET, []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}, allowed},
		{"TCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK, 0}, allowed},
		{"TCP over IPv6", unix.SYS_SOCKET, []uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP}, allowed},
		{"UDP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, allowed},
		{"ICMP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, refused(unix.EPERM)},
		{"raw", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}, refused(unix.EPERM)},
		{"raw TCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_RAW | unix.SOCK_CLOEXEC, unix.IPPROTO_TCP}, refused(unix.EPERM)},
		{"SOCK_PACKET", unix.SYS_SOCKET, []uint64{unix.AF_INET, 10, 0}, refused(unix.EPERM)},
		{"MPTCP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, 262}, refused(unix.EPROTONOSUPPORT)},
		{"SCTP", unix.SYS_SOCKET, []uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP}, refused(unix.EPERM)},
		{"route netlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE}, allowed},
		{"netfilter netlink", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER}, refused(unix.EPERM)},
		{"netfilter netlink, high bits set", unix.SYS_SOCKET, []uint64{unix.AF_NETLINK, unix.SOCK_RAW, high | unix.NETLINK_NETFILTER}, refused(unix.EPERM)},
		{"AF_PACKET", unix.SYS_SOCKET, []uint64{unix.AF_PACKET, unix.SOCK_RAW, 0}, refused(unix.EAFNOSUPPORT)},
		{"AF_VSOCK", unix.SYS_SOCKET, []uint64{unix.AF_VSOCK, unix.SOCK_STREAM, 0}, refused(unix.EAFNOSUPPORT)},
		{"a family of the future", unix.SYS_SOCKET, []uint64{200, unix.SOCK_STREAM, 0}, refused(unix.EAFNOSUPPORT)},
		{"AF_PACKET, high bits set", unix.SYS_SOCKET, []uint64{high | unix.AF_PACKET, unix.SOCK_RAW, 0}, refused(unix.EAFNOSUPPORT)},
		{"socketpair", unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX, unix.SOCK_STREAM, 0}, allowed},
		{"socketpair of TIPC", unix.SYS_SOCKETPAIR, []uint64{unix.AF_TIPC, unix.SOCK_STREAM, 0}, refused(unix.EPERM)},
		{"an ioctl", unix.SYS_IOCTL, []uint64{0, unix.TCGETS}, allowed},
		{"TIOCSTI", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, refused(unix.EPERM)},
		{"TIOCSTI, high bits set", unix.SYS_IOCTL, []uint64{0, high | unix.TIOCSTI}, refused(unix.EPERM)},
		{"TIOCSTI, all high bits set", unix.SYS_IOCTL, []uint64{0, 0xffffffff<<32 | unix.TIOCSTI}, refused(unix.EPERM)},
		{"TIOCLINUX", unix.SYS_IOCTL, []uint64{0, tiocLinux}, refused(unix.EPERM)},
		{"TIOCLINUX, high bits set", unix.SYS_IOCTL, []uint64{0, high<<7 | tiocLinux}, refused(unix.EPERM)},
		{"fchmodat2", 452, nil, allowed},
		{"a call newer than libseccomp", 470, nil, refused(unix.ENOSYS)},
		{"no call", 500, nil, refused(unix.EPERM)},
		{"no call at all", 100000, nil, refused(unix.EPERM)},
	} {
		if got := m.native(tt.nr, tt.args...); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
}

// TestFilterKillsForeignABIs: whatever the number, also those of harmless calls.
func TestFilterKillsForeignABIs(t *testing.T) {
	m := newMachine(t)
	const x32 = 0x40000000 // __X32_SYSCALL_BIT
	for nr := range 600 {
		if got := m.ask(unix.AUDIT_ARCH_I386, nr, 0, unix.TIOCSTI); got != killed {
			t.Fatalf("i386 call %d: %#x, want a kill", nr, got)
		}
		if runtime.GOARCH != "amd64" {
			continue
		}
		if got := m.native(x32 | nr); got != killed {
			t.Fatalf("x32 call %d: %#x, want a kill", nr, got)
		}
	}
}

// TestFilterDefault: of all numbers, the ones that may do something are those of the
// lists and no others.
func TestFilterDefault(t *testing.T) {
	m := newMachine(t)
	open := 0
	for nr := range 1024 {
		switch got := m.native(nr); got {
		case allowed, notified:
			open++
		case refused(unix.EPERM), refused(unix.ENOSYS), refused(unix.EAFNOSUPPORT):
		default:
			t.Errorf("call %d: %#x", nr, got)
		}
	}
	// clone, personality and socket are allowed by arguments, which are 0 here; some
	// names do not exist on every architecture.
	if most := len(allowedCalls) + len(notifiedCalls) + 3; open == 0 || open > most {
		t.Errorf("%d calls are open, at most %d are listed", open, most)
	}
}

// TestFilterOpened: what a profile opens is open, and nothing beside it.
func TestFilterOpened(t *testing.T) {
	for _, group := range SyscallGroups() {
		t.Run(group, func(t *testing.T) {
			names, err := openedCalls([]profiles.Syscall{{Name: group}}, knownCall)
			if err != nil {
				t.Fatal(err)
			}
			base, m := newMachine(t), newMachine(t, names...)
			var opened []int
			for nr := range 1024 {
				if base.native(nr, unix.CLONE_NEWUSER) != m.native(nr, unix.CLONE_NEWUSER) {
					opened = append(opened, nr)
				}
			}
			for _, nr := range opened {
				if got := m.native(nr, unix.CLONE_NEWUSER); got != allowed {
					t.Errorf("call %d: %#x, want it allowed", nr, got)
				}
			}
			if len(opened) == 0 || len(opened) > len(names) {
				t.Errorf("calls %v are opened by %q", opened, names)
			}
		})
	}
	m := newMachine(t, "ptrace")
	if got := m.native(unix.SYS_PTRACE); got != allowed {
		t.Errorf("ptrace: %#x", got)
	}
	for _, nr := range []int{unix.SYS_UNSHARE, unix.SYS_MOUNT, unix.SYS_PROCESS_VM_READV} {
		if got := m.native(nr); got != refused(unix.EPERM) {
			t.Errorf("with ptrace opened, call %d: %#x", nr, got)
		}
	}
}

func TestOpenedCalls(t *testing.T) {
	known := func(name string) bool { return name == "ptrace" || name == "bpf" }
	call := func(names ...string) (list []profiles.Syscall) {
		for _, n := range names {
			list = append(list, profiles.Syscall{Name: n, Origin: profiles.Origin{File: "x.hcl", Line: 3}})
		}
		return list
	}
	for _, tt := range []struct {
		in   []string
		want []string
		err  bool
	}{
		{nil, []string{}, false},
		{[]string{"ptrace", "ptrace", "bpf"}, []string{"bpf", "ptrace"}, false},
		{[]string{"@bpf"}, []string{"bpf"}, false},
		{[]string{"@ptrace", "bpf"}, []string{"bpf", "kcmp", "process_vm_readv", "process_vm_writev", "ptrace"}, false},
		{[]string{"mseal"}, []string{"mseal"}, false}, // known by number
		{[]string{"@nothing"}, nil, true},
		{[]string{"ptracee"}, nil, true},
		{[]string{""}, nil, true},
		{[]string{"@"}, nil, true},
	} {
		got, err := openedCalls(call(tt.in...), known)
		if (err != nil) != tt.err || err == nil && !slices.Equal(got, tt.want) {
			t.Errorf("openedCalls(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}
