package jail

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Namespace flags of clone(2). CLONE_NEWTIME (0x80) is not among them: in clone it
// lies in the exit signal's byte and the kernel ignores it.
const cloneNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// knownCall says whether libseccomp knows a call's name.
func knownCall(name string) bool {
	_, err := seccomp.GetSyscallFromName(name)
	return err == nil
}

// buildFilter makes the BPF program of the agent's seccomp filter, for the native
// ABI only: a call through a foreign one (int 0x80, x32) kills the process.
func buildFilter(opened []string) ([]unix.SockFilter, error) {
	return compileFilter(opened, nil, false)
}

// compileFilter sends the watched calls to the supervisor where they would be allowed, and
// with naming also those that give a name to something.
func compileFilter(opened, watched []string, naming bool) ([]unix.SockFilter, error) {
	if prog := readyFilter(opened, watched, naming); prog != nil {
		return prog, nil
	}
	return makeFilter(opened, watched, naming)
}

// makeFilter has libseccomp make the program.
func makeFilter(opened, watched []string, naming bool) ([]unix.SockFilter, error) {
	if prog := mutatedFilter(); prog != nil {
		return prog, nil
	}
	opened = mutatedCalls(opened)
	f, err := seccomp.NewFilter(seccomp.ActErrno.SetReturnCode(int16(unix.EPERM)))
	if err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	defer f.Release()
	foreign := seccomp.ActKillProcess
	if mutate.Off(mutate.ForeignABI) {
		foreign = seccomp.ActAllow
	}
	if err := f.SetBadArchAction(foreign); err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	// A binary tree over the call numbers (libseccomp ≥ 2.5); a linear list of 300
	// comparisons would be paid by each system call.
	if err := f.SetOptimize(2); err != nil {
		return nil, fmt.Errorf("libseccomp: %w", err)
	}
	b := ruleBuilder{filter: f, opened: opened, watched: watched, naming: naming}
	b.plain()
	b.conditional()
	b.sockets()
	if b.err != nil {
		return nil, b.err
	}
	prog, err := export(f)
	if err != nil {
		return nil, err
	}
	if mutate.Off(mutate.Ioctl) {
		return prog, nil
	}
	return append(ioctlPrefix(), prog...), nil
}

type ruleBuilder struct {
	filter *seccomp.ScmpFilter
	opened []string
	// watched go to the supervisor instead of being allowed; for limits of files, and in a
	// learning run.
	watched []string
	naming  bool // so do namingCalls
	err     error
}

// add gives one call one action. A name that does not exist on this architecture
// is passed over: what can't be called needs no rule.
func (b *ruleBuilder) add(name string, action seccomp.ScmpAction, conds ...seccomp.ScmpCondition) {
	if b.err != nil {
		return
	}
	call, err := seccomp.GetSyscallFromName(name)
	if err != nil {
		n, ok := numberedCalls[name]
		if !ok {
			return
		}
		call = seccomp.ScmpSyscall(n)
	}
	if call < 0 { // libseccomp's number for "not on this architecture"
		return
	}
	if len(conds) == 0 {
		err = b.filter.AddRule(call, action)
	} else {
		err = b.filter.AddRuleConditional(call, action, conds)
	}
	if err != nil {
		b.err = fmt.Errorf("libseccomp: rule for %s: %w", name, err)
	}
}

func (b *ruleBuilder) plain() {
	for _, name := range slices.Concat(allowedCalls, b.opened) {
		if slices.Contains(b.watched, name) {
			b.add(name, seccomp.ActNotify)
			continue
		}
		if b.naming && slices.Contains(namingCalls, name) {
			b.named(name)
			continue
		}
		b.add(name, seccomp.ActAllow)
	}
	notify := seccomp.ActNotify
	if mutate.Off(mutate.Exec) {
		notify = seccomp.ActAllow
	}
	for _, name := range notifiedCalls {
		b.add(name, notify)
	}
	enosys := seccomp.ActErrno.SetReturnCode(int16(unix.ENOSYS))
	for _, name := range absentCalls {
		if !slices.Contains(b.opened, name) {
			b.add(name, enosys)
		}
	}
	named := map[int]bool{}
	for name, n := range numberedCalls {
		named[n] = slices.Contains(allowedCalls, name) || slices.Contains(b.opened, name)
	}
	for n := absentFrom; n <= absentTo && b.err == nil; n++ {
		if named[n] {
			continue
		}
		if err := b.filter.AddRule(seccomp.ScmpSyscall(n), enosys); err != nil {
			b.err = fmt.Errorf("libseccomp: rule for call %d: %w", n, err)
		}
	}
}

// named has a call asked about that gives a name: where only a flag makes it do so, only
// with that flag.
func (b *ruleBuilder) named(name string) {
	flags, ok := createFlag[name]
	if !ok {
		b.add(name, seccomp.ActNotify)
		return
	}
	creates := func(v uint64) seccomp.ScmpCondition {
		return seccomp.ScmpCondition{Argument: flags, Op: seccomp.CompareMaskedEqual, Operand1: unix.O_CREAT, Operand2: v}
	}
	b.add(name, seccomp.ActNotify, creates(unix.O_CREAT))
	b.add(name, seccomp.ActAllow, creates(0))
}

func (b *ruleBuilder) conditional() {
	if !slices.Contains(b.opened, "clone") {
		b.add("clone", seccomp.ActAllow, seccomp.ScmpCondition{
			Argument: 0, Op: seccomp.CompareMaskedEqual, Operand1: cloneNamespaces, Operand2: 0,
		})
	}
	if !slices.Contains(b.opened, "personality") {
		// PER_LINUX, and 0xffffffff, which only asks. Anything else could switch
		// off address randomisation or make data executable.
		for _, persona := range []uint64{0, 0xffffffff} {
			b.add("personality", seccomp.ActAllow, equal(0, persona))
		}
	}
}

// sockets allows AF_UNIX, TCP and UDP over IPv4 and IPv6, and route netlink (Go
// and glibc list addresses with it). Other families answer EAFNOSUPPORT, as a
// kernel without them would: AF_ALG (CVE-2026-31431), AF_VSOCK (CVE-2025-21756),
// AF_RXRPC, AF_PACKET (CVE-2020-14386). Raw sockets, SCTP and MPTCP answer EPERM
// or EPROTONOSUPPORT: Landlock's TCP rules don't see MPTCP and SCTP.
func (b *ruleBuilder) sockets() {
	if slices.Contains(b.opened, "socket") {
		return
	}
	const (
		typeMask = 0xf // socket(2): the rest are SOCK_NONBLOCK and SOCK_CLOEXEC
		mptcp    = 262 // IPPROTO_MPTCP
	)
	sockType := func(t uint64) seccomp.ScmpCondition {
		return seccomp.ScmpCondition{Argument: 1, Op: seccomp.CompareMaskedEqual, Operand1: typeMask, Operand2: t}
	}
	b.add("socket", seccomp.ActAllow, equal(0, unix.AF_UNIX))
	b.add("socketpair", seccomp.ActAllow, equal(0, unix.AF_UNIX))
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, proto := range []uint64{0, unix.IPPROTO_TCP} {
			b.add("socket", seccomp.ActAllow, equal(0, family), sockType(unix.SOCK_STREAM), equal(2, proto))
		}
		for _, proto := range []uint64{0, unix.IPPROTO_UDP} {
			b.add("socket", seccomp.ActAllow, equal(0, family), sockType(unix.SOCK_DGRAM), equal(2, proto))
		}
		b.add("socket", seccomp.ActErrno.SetReturnCode(int16(unix.EPROTONOSUPPORT)), equal(0, family), sockType(unix.SOCK_STREAM), equal(2, mptcp))
	}
	b.add("socket", seccomp.ActAllow, equal(0, unix.AF_NETLINK), equal(2, unix.NETLINK_ROUTE))
	eaf := seccomp.ActErrno.SetReturnCode(int16(unix.EAFNOSUPPORT))
	for family := uint64(0); family < unix.AF_NETLINK; family++ {
		if family != unix.AF_UNIX && family != unix.AF_INET && family != unix.AF_INET6 {
			b.add("socket", eaf, equal(0, family))
		}
	}
	b.add("socket", eaf, seccomp.ScmpCondition{Argument: 0, Op: seccomp.CompareGreater, Operand1: unix.AF_NETLINK})
}

func equal(arg uint, value uint64) seccomp.ScmpCondition {
	return seccomp.ScmpCondition{Argument: arg, Op: seccomp.CompareEqual, Operand1: value}
}

// export reads the compiled program out of libseccomp. libseccomp 2.5 can write
// it to a descriptor only, so a memfd takes it.
func export(f *seccomp.ScmpFilter) ([]unix.SockFilter, error) {
	fd, err := unix.MemfdCreate("agentjail-filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	m := os.NewFile(uintptr(fd), "agentjail-filter")
	defer m.Close()
	if err := f.ExportBPF(m); err != nil {
		return nil, fmt.Errorf("libseccomp: export: %w", err)
	}
	info, err := m.Stat()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, info.Size())
	if _, err := m.ReadAt(raw, 0); err != nil {
		return nil, err
	}
	return decodeFilter(raw), nil
}

// encodeFilter writes a program as the kernel has it in memory (struct sock_filter,
// linux/filter.h): 8 bytes each.
func encodeFilter(prog []unix.SockFilter) []byte {
	raw := make([]byte, 0, 8*len(prog))
	for _, in := range prog {
		raw = binary.NativeEndian.AppendUint16(raw, in.Code)
		raw = append(raw, in.Jt, in.Jf)
		raw = binary.NativeEndian.AppendUint32(raw, in.K)
	}
	return raw
}

func decodeFilter(raw []byte) []unix.SockFilter {
	prog := make([]unix.SockFilter, len(raw)/8)
	for i := range prog {
		p := raw[i*8:]
		prog[i] = unix.SockFilter{Code: binary.NativeEndian.Uint16(p), Jt: p[2], Jf: p[3], K: binary.NativeEndian.Uint32(p[4:])}
	}
	return prog
}

// ioctlPrefix refuses TIOCSTI and TIOCLINUX, which type into a terminal. The
// kernel looks at the low 32 bits of the request only, and libcs differ in what
// they put above them, so a comparison of all 64 can be passed by
// (CVE-2019-10063, CVE-2023-28100); libseccomp has no masked "not equal". The
// instructions stand before libseccomp's program and fall through to it.
func ioctlPrefix() []unix.SockFilter {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
		// struct seccomp_data: nr at 0, arch at 4, args from 16; the low half of
		// args[1] on a little-endian machine.
		offNr, offArch, offArg1 = 0, 4, 24
	)
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	refuse := unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	return []unix.SockFilter{
		{Code: load, K: offArch},
		{Code: jeq, Jf: 6, K: arch},
		{Code: load, K: offNr},
		{Code: jeq, Jf: 4, K: unix.SYS_IOCTL},
		{Code: load, K: offArg1},
		{Code: jeq, Jt: 1, K: unix.TIOCSTI},
		{Code: jeq, Jf: 1, K: tiocLinux},
		{Code: ret, K: refuse},
	}
}

// tiocLinux is TIOCLINUX of asm-generic/ioctls.h: select and paste on a virtual
// console (CVE-2023-28100).
const tiocLinux = 0x541C

// FilterFor is the program for a profile's opened calls.
func FilterFor(opened []profiles.Syscall) ([]unix.SockFilter, []string, error) {
	names, err := openedCalls(opened, knownCall)
	if err != nil {
		return nil, nil, err
	}
	prog, err := buildFilter(names)
	return prog, names, err
}
