package netns

import (
	"golang.org/x/sys/unix"
)

// LockMemory keeps this whole process's memory out of swap: what is there, and what is
// still to come as soon as it is touched (mlockall(2); MCL_ONFAULT is of Linux 4.4).
// Secrets have a memory of their own, which is locked by itself; this is for the copies
// that requests make of them on Go's heap, in strings and in net/http's buffers.
//
// It is done only where no limit applies. Under a limit the call may work and a later
// allocation fail (mlock(2), EAGAIN and ENOMEM), which is the end of a Go program; and
// the 8 MiB that an ordinary user is given are less than the address space of any.
func LockMemory() bool {
	if !mayLockAll() {
		return false
	}
	return unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) == nil
}

// mayLockAll says whether no limit of locked memory applies to this process: there is
// none, or it has the capability that stands above it.
func mayLockAll() bool {
	if l, err := lockLimit(); err == nil && l.Cur == unix.RLIM_INFINITY {
		return true
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return false // nothing is known, so nothing is claimed
	}
	return data[0].Effective&(1<<unix.CAP_IPC_LOCK) != 0
}

// lockLimit asks as the gateway's own filter lets it: getrlimit(2), which Getrlimit calls
// on some machines, is refused there.
func lockLimit() (l unix.Rlimit, err error) {
	err = unix.Prlimit(0, unix.RLIMIT_MEMLOCK, nil, &l)
	return l, err
}

// allowLocking lifts the limit for the gateway, which has given up every capability by
// the time it would need one. Only a privileged caller may (CAP_SYS_RESOURCE,
// setrlimit(2)); any other raises it to what may be had without asking, and the gateway
// says itself what it could not lock. The gateway leaves the limit alone: one that it had
// read before this, and set after it, would undo it.
func allowLocking(pid int) {
	none := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, &none, nil) == nil {
		return
	}
	var l unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, nil, &l) == nil {
		l.Cur = l.Max
		_ = unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, &l, nil)
	}
}
