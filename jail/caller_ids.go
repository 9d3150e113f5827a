package jail

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// callerIDs are the numbers of a process that waits for an answer.
type callerIDs struct {
	host   int // its process id as the host numbers it; 0: not to be told
	pid    int // as the jail does
	parent int // its parent's, as the jail does; 0 of a parent outside
	pidfd  int // the process, to be watched until its end; -1 where it was not opened
}

func (i *callerIDs) close() {
	if i.pidfd >= 0 {
		unix.Close(i.pidfd)
		i.pidfd = -1
	}
}

// Ioctls of a pid namespace (linux/nsfs.h, Linux 6.11): a process's number there, by its
// number here. The argument is the number, and so is the answer.
const (
	nsGetPidInPidns  = 0x8004b708 // _IOR(0xb7, 8, int)
	nsGetTgidInPidns = 0x8004b709 // _IOR(0xb7, 9, int)
)

// pidTranslator asks the kernel for the jail's numbers of processes. /proc/PID/status has
// them too, but writing all of that file takes the kernel longer than the rest of an
// exec's record. The zero value reads /proc.
type pidTranslator struct {
	jail *os.File // the jail's pid namespace; nil where the kernel does not answer
}

// newPidTranslator tries the kernel with PID 1, whose number in the jail is known.
func newPidTranslator(init int) pidTranslator {
	ns, err := os.Open("/proc/" + strconv.Itoa(init) + "/ns/pid")
	if err != nil {
		return pidTranslator{}
	}
	t := pidTranslator{jail: ns}
	if ids := t.ask(init, func(int) int { return 0 }); ids.pid != 1 || ids.host != init {
		ids.close()
		t.close()
		return pidTranslator{}
	} else {
		ids.close()
	}
	return t
}

func (t pidTranslator) close() {
	if t.jail != nil {
		t.jail.Close()
	}
}

// caller finds out who a thread belongs to. known is what is known of a parent's number
// already, 0 where nothing is.
func (t pidTranslator) caller(tid int, known func(host int) int) callerIDs {
	if t.jail != nil {
		if ids := t.ask(tid, known); ids.host != 0 {
			return ids
		}
	}
	return readIDs(procDir(tid), known)
}

// ask is caller by the kernel's own tables. A thread that leads no process has no pidfd
// of this kind (pidfd_open(2)); then nothing is told.
func (t pidTranslator) ask(tid int, known func(host int) int) callerIDs {
	none := callerIDs{pidfd: -1}
	fd, err := unix.PidfdOpen(tid, 0)
	if err != nil {
		return none
	}
	ids := callerIDs{pidfd: fd}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_PID}
	if err := unix.IoctlPidfdInfo(fd, &info); err != nil || info.Mask&unix.PIDFD_INFO_PID == 0 { // before Linux 6.13
		ids.close()
		return none
	}
	if ids.pid = t.translate(nsGetTgidInPidns, tid); ids.pid <= 0 {
		ids.close()
		return none
	}
	ids.host = int(info.Tgid)
	if parent := int(info.Ppid); parent > 0 {
		if ids.parent = known(parent); ids.parent == 0 {
			ids.parent = max(t.translate(nsGetPidInPidns, parent), 0) // ESRCH: it is outside
		}
	}
	return ids
}

// translate is 0 where the kernel knows of no such process in the jail.
func (t pidTranslator) translate(request uintptr, pid int) int {
	n, err := retry(func() (int, error) {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, t.jail.Fd(), request, uintptr(pid))
		if errno != 0 {
			return 0, errno
		}
		return int(n), nil
	})
	if err != nil {
		return 0
	}
	return n
}

// readIDs is caller by /proc.
func readIDs(proc string, known func(host int) int) callerIDs {
	ids := callerIDs{pidfd: -1}
	data, err := readProc(proc + "/status")
	if err != nil {
		return ids
	}
	ids.host, ids.pid = lastField(data, "\nTgid:"), lastField(data, "\nNStgid:")
	// PPid is in our numbering; the parent's own status has it in the jail's.
	parent := lastField(data, "\nPPid:")
	if parent <= 0 {
		return ids
	}
	if ids.parent = known(parent); ids.parent == 0 {
		if data, err := readProc(procDir(parent) + "/status"); err == nil {
			ids.parent = lastField(data, "\nNStgid:")
		}
	}
	return ids
}
