package run

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// execveat makes the call itself: package unix has no wrapper. With AT_EXECVE_CHECK it
// returns.
func execveat(path *byte, argv, env []*byte, flags int) syscall.Errno {
	at := unix.AT_FDCWD
	_, _, errno := unix.RawSyscall6(unix.SYS_EXECVEAT, uintptr(at), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), uintptr(flags), 0)
	return errno
}
