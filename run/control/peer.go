package control

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// Peer is who is at the other end, as the kernel says: as it was when it connected.
type Peer struct {
	UID uint32
	PID int
}

// peerOf asks the kernel who connected.
func peerOf(c *net.UnixConn) (Peer, error) {
	rc, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var cerr error
	if err := rc.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if cerr != nil {
		return Peer{}, os.NewSyscallError("getsockopt(SO_PEERCRED)", cerr)
	}
	return Peer{UID: cred.Uid, PID: int(cred.Pid)}, nil
}

// check refuses whoever is neither the owner nor root, and whoever is in another pid
// namespace: a jail's processes are, also those that have the owner's uid.
func (p Peer) check(owner uint32) error {
	if p.UID != owner && p.UID != 0 {
		return fmt.Errorf("uid %d is not the run's user", p.UID)
	}
	if mutate.Off(mutate.ControlPeer) {
		return nil
	}
	if p.UID == 0 && owner != 0 {
		// An ordinary user may not look at root's processes, and no jail of his has one.
		return nil
	}
	ours, err := pidNumbers("self")
	if err != nil {
		return fmt.Errorf("which pid namespace this is can't be told: %w", err)
	}
	// Pid 0 is a process that our namespace has no number for.
	theirs, err := pidNumbers(strconv.Itoa(p.PID))
	if err != nil {
		return fmt.Errorf("the pid namespace of process %d can't be told: %w", p.PID, err)
	}
	if theirs != ours {
		return fmt.Errorf("process %d is in another pid namespace (%d deep) than the run's supervisor (%d deep)", p.PID, theirs, ours)
	}
	return nil
}

// pidNumbers says in how many pid namespaces a process has a number, from that of /proc
// on (proc_pid_status(5), NSpid): one more than ours is a process of a jail. The link
// /proc/PID/ns/pid would tell it too, but a supervisor of an ordinary user is in a user
// namespace of its own (package jail, private.c), from which no link of a process
// outside can be read; status everybody may read.
func pidNumbers(pid string) (int, error) {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	// The name, on the first line, has its line feeds escaped.
	_, rest, ok := strings.Cut(string(data), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	if n := len(strings.Fields(line)); ok && n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("/proc/%s/status has no NSpid", pid)
}
