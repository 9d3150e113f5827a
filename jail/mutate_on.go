//go:build mutate

package jail

// #cgo CFLAGS: -DAGENTJAIL_MUTATE
// #include "stage.h"
import "C"

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// mutatedFilter allows everything but execs, which are notified: without an answer to
// the first of them the agent would run before the trail is open.
func mutatedFilter() []unix.SockFilter {
	if !mutate.Off(mutate.Seccomp) {
		return nil
	}
	const load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	arch := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		arch = unix.AUDIT_ARCH_AARCH64
	}
	return []unix.SockFilter{
		{Code: load, K: 4}, // struct seccomp_data: arch at 4, nr at 0
		{Code: equal, Jf: 4, K: arch},
		{Code: load, K: 0},
		{Code: equal, Jt: 1, K: unix.SYS_EXECVE},
		{Code: equal, Jf: 1, K: unix.SYS_EXECVEAT},
		{Code: ret, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
}

// mutatedCalls opens calls as a profile could.
func mutatedCalls(opened []string) []string {
	for layer, calls := range map[mutate.Layer]string{
		mutate.Sockets: "socket",
		mutate.Namespaces: `unshare setns clone clone3 mount umount2 chroot pivot_root name_to_handle_at open_by_handle_at
			fsopen fsconfig fsmount fspick open_tree move_mount mount_setattr`,
		mutate.Calls: `keyctl add_key request_key bpf perf_event_open userfaultfd kexec_load io_uring_setup ptrace process_vm_readv pidfd_getfd
			kcmp personality syslog mbind quotactl swapon init_module`,
	} {
		if mutate.Off(layer) {
			opened = append(opened, strings.Fields(calls)...)
		}
	}
	return opened
}

func mutateStage(s *C.struct_stage) {
	for layer, bit := range map[mutate.Layer]C.uint{mutate.InnerUser: C.OFF_USER, mutate.Caps: C.OFF_CAPS, mutate.NoNewPrivs: C.OFF_NNP, mutate.Descriptors: C.OFF_FDS} {
		if mutate.Off(layer) {
			s.off |= bit
		}
	}
	if mutate.Any() {
		s.off |= C.OFF_ANY
	}
}
