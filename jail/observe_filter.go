package jail

// #include "stage.h"
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// maxFilter is how many instructions the kernel takes (BPF_MAXINSNS,
// linux/bpf_common.h).
const maxFilter = 4096

// unwatched is the sixth argument of the calls that the filter of a learning run treats
// as any other run's does: those with which the agent's stage tries its layers, before
// anybody answers notifications. An agent that writes it there goes unnoticed and is
// refused what it would be refused anyway.
const unwatched = uint64(C.STAGE_UNWATCHED)

// observingFilter is the filter of a learning run:
//
//	sixth argument is unwatched ──▶ the ordinary filter
//	all other calls             ──▶ the same with two changes: watched calls, and those
//	                                that would be refused, go to the supervisor
//
// The supervisor asks the ordinary filter once more (filterMachine) and answers by it,
// so that a learning run allows what any other run does. What a libc probes for and
// must find absent (ENOSYS) stays with the kernel.
func observingFilter(opened, notified []string, naming bool) ([]unix.SockFilter, error) {
	ordinary, err := compileFilter(opened, notified, naming)
	if err != nil {
		return nil, err
	}
	watching, err := compileFilter(opened, slices.Concat(watchedCalls(), notified), naming)
	if err != nil {
		return nil, err
	}
	for i, in := range watching {
		refused := in.K&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO && in.K&unix.SECCOMP_RET_DATA != uint32(unix.ENOSYS)
		if in.Code == unix.BPF_RET|unix.BPF_K && refused {
			watching[i].K = unix.SECCOMP_RET_USER_NOTIF
		}
	}
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jump = unix.BPF_JMP | unix.BPF_JA
		// struct seccomp_data: args from 16, 8 bytes each, the low half first on a
		// little-endian machine.
		low, high = 16 + 5*8, 16 + 5*8 + 4
	)
	prog := []unix.SockFilter{
		{Code: load, K: low},
		{Code: jeq, Jf: 3, K: uint32(unwatched & 0xffffffff)},
		{Code: load, K: high},
		{Code: jeq, Jf: 1, K: uint32(unwatched >> 32)},
		{Code: jump, K: uint32(len(watching))},
	}
	prog = append(append(prog, watching...), ordinary...)
	if len(prog) > maxFilter {
		return nil, fmt.Errorf("the filter of a learning run has %d instructions, and the kernel takes %d\nhint: open fewer system calls", len(prog), maxFilter)
	}
	return prog, nil
}

// filterMachine runs a filter outside the kernel.
type filterMachine struct{ vm *bpf.VM }

func newFilterMachine(prog []unix.SockFilter) (filterMachine, error) {
	ins := make([]bpf.Instruction, len(prog))
	for i, p := range prog {
		ins[i] = bpf.RawInstruction{Op: p.Code, Jt: p.Jt, Jf: p.Jf, K: p.K}.Disassemble()
	}
	vm, err := bpf.NewVM(ins)
	return filterMachine{vm}, err
}

// verdict is what the filter returns for a call. Go's machine reads big-endian packets,
// so the words of struct seccomp_data are given to it in that order; which word is the
// low half of an argument is the machine's own affair, as in the kernel.
func (m filterMachine) verdict(arch uint32, nr int32, args [6]uint64) (uint32, error) {
	data := make([]byte, 0, 64)
	data = binary.BigEndian.AppendUint32(data, uint32(nr))
	data = binary.BigEndian.AppendUint32(data, arch)
	data = append(data, make([]byte, 8)...) // instruction pointer
	for _, a := range args {
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	v, err := m.vm.Run(data)
	if err == nil && v == 0 { // SECCOMP_RET_KILL_THREAD, or an instruction that failed
		err = errors.New("the filter gives no verdict")
	}
	return uint32(v), err
}

// nativeArch is the only one whose calls come as far as a notification.
func nativeArch() uint32 {
	if runtime.GOARCH == "arm64" {
		return unix.AUDIT_ARCH_AARCH64
	}
	return unix.AUDIT_ARCH_X86_64
}
