package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// The seccomp notification interface, linux/seccomp.h and seccomp_unotify(2).
type seccompNotif struct {
	id    uint64
	pid   uint32 // thread id, in our pid namespace
	flags uint32
	data  struct {
		nr   int32
		arch uint32
		ip   uint64
		args [6]uint64
	}
}

type seccompNotifResp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

const (
	ioctlNotifRecv     = 0xc0502100
	ioctlNotifSend     = 0xc0182101
	ioctlNotifIDValid  = 0x40082102
	ioctlNotifSetFlags = 0x40082104
	// Linux 6.6: the answer wakes the caller on our CPU; an audited exec then costs
	// about 15 µs instead of 60.
	notifFdSyncWakeUp = 1
	respContinue      = 1
)

// What is read of one exec's arguments at most; the rest is counted.
const (
	maxArgs     = 256
	maxArgBytes = 16 << 10
	maxPath     = 4096
)

// notifier answers the agent's exec notifications and records them.
type notifier struct {
	file   *os.File
	sink   audit.Sink
	exits  *exits
	pids   pidTranslator
	judge  *judge
	files  *fileLimits
	denied func([]byte) error // tells the agent why
	held   *held
	stale  bool   // that failed once, and was recorded
	namer  *namer // nil but in direct mode
	// observer notes what a learning run is refused; nil in every other.
	observer *observer
	count    atomic.Int64
	done     chan struct{}
}

func newNotifier(f *os.File, init int, sink audit.Sink, j *judge, denied func([]byte) error, ask ProgramAsker) (*notifier, error) {
	// EINVAL before Linux 6.6: only slower.
	if err := setFlags(f); err != nil && !errors.Is(err, unix.EINVAL) {
		return nil, &LayerError{Layer: "seccomp", Err: fmt.Errorf("ioctl(SECCOMP_IOCTL_NOTIF_SET_FLAGS): %w", err)}
	}
	e, err := newExits(func(x audit.Exit) { sink.Emit(x); killedByFilter(sink, x) })
	if err != nil {
		return nil, err
	}
	h, err := newHeld(ask)
	if err != nil {
		e.close()
		return nil, err
	}
	return &notifier{file: f, sink: sink, exits: e, pids: newPidTranslator(init), judge: j, files: newFileLimits(j.plan.FileLimits), denied: denied, held: h, done: make(chan struct{})}, nil
}

// setFlags passes a number, not a pointer to one (seccomp_notify_set_flags).
func setFlags(f *os.File) error {
	for {
		if err := unix.IoctlSetInt(int(f.Fd()), ioctlNotifSetFlags, notifFdSyncWakeUp); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ioctl takes a pointer and never a number: the kernel writes to where it points, and
// only an object whose address is taken in the system call's own expression stays where
// it is until then (package unsafe, rule 4). A goroutine's stack that moved in between
// left an answer in the old one, and the program waiting in its exec for ever.
func ioctl(f *os.File, req uintptr, arg unsafe.Pointer) error {
	fd := f.Fd()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, req, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// insist is ioctl until it was not interrupted. The kernel takes the filter's lock
// interruptibly (kernel/seccomp.c), and the Go runtime signals its own threads at any
// moment: an answer that is lost to EINTR leaves the caller in its exec for ever.
func insist(f *os.File, req uintptr, arg unsafe.Pointer) error {
	for {
		if err := ioctl(f, req, arg); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// serve answers until the last process with the filter is gone.
func (n *notifier) serve() {
	defer close(n.done)
	defer n.held.end()
	if n.observer != nil {
		defer n.observer.close()
	}
	fds := []unix.PollFd{{Fd: int32(n.file.Fd()), Events: unix.POLLIN}, {Fd: int32(n.held.wake.Fd()), Events: unix.POLLIN}}
	for {
		// RECV would block for ever once the jail is gone; poll tells (POLLHUP).
		if _, err := unix.Poll(fds, n.held.patience()); err != nil {
			if err == unix.EINTR {
				continue
			}
			return
		}
		n.release(fds[1].Revents != 0)
		switch {
		case fds[0].Revents == 0:
			continue
		case fds[0].Revents&unix.POLLIN == 0:
			return
		}
		var req seccompNotif
		err := ioctl(n.file, ioctlNotifRecv, unsafe.Pointer(&req))
		switch err {
		case nil:
		case unix.ENOENT, unix.EINTR: // the caller was killed meanwhile
			continue
		default:
			return
		}
		call, names := n.namer.asks(req.data.nr)
		if names && n.refuseName(&req, call) {
			continue
		}
		if n.answerFile(&req) {
			continue
		}
		if n.observer != nil && !n.observer.isExec(&req) {
			resp := n.observer.answer(&req, func() bool { return n.valid(req.id) })
			_ = insist(n.file, ioctlNotifSend, unsafe.Pointer(&resp)) // ENOENT: the caller was killed
			continue
		}
		if names {
			n.answer(&req, refusal{})
			continue
		}
		rec, ids, s, known, valid := n.see(&req)
		if !valid {
			continue // what was read may be another process's by now
		}
		if n.observer != nil {
			n.observer.exec(&req)
		}
		if !known {
			n.answer(&req, refusal{})
			continue
		}
		r, ask := n.judge.rules.judge(s, false)
		if ask {
			why, held := n.hold(req, rec, s, r)
			if held {
				ids.close()
				continue
			}
			r.reason = why
		}
		n.decide(&req, rec, ids, r)
	}
}

// see finds out what a caller wants to execute. What is not valid is to be forgotten: the
// caller is gone.
func (n *notifier) see(req *seccompNotif) (rec audit.Exec, ids callerIDs, s start, known, valid bool) {
	rec, ids, s, known = n.look(req)
	if valid = n.valid(req.id); !valid || !known {
		ids.close()
	}
	return rec, ids, s, known, valid
}

// decide lets the caller go on or refuses it, and records which.
func (n *notifier) decide(req *seccompNotif, rec audit.Exec, ids callerIDs, r refusal) {
	if r.reason != "" {
		ids.close()
		rec.Outcome, rec.Reason, rec.Rule, rec.Quota = audit.Blocked, r.reason, r.rule, r.quota
		n.tell(rec) // before the caller goes on, so that it finds it there
	} else {
		n.exits.add(ids, rec.Process)
	}
	n.answer(req, r)
	// The caller does not wait for the trail.
	n.count.Add(1)
	n.sink.Emit(rec)
	if rec.Memory && r.reason != "" {
		refusedMemory(n.sink, rec)
	}
}

// answer answers a notification.
func (n *notifier) answer(req *seccompNotif, r refusal) {
	resp := seccompNotifResp{id: req.id, flags: respContinue}
	if r.reason != "" {
		resp.flags, resp.error = 0, -int32(unix.EPERM)
	}
	// ENOENT: the caller was killed while we looked.
	_ = insist(n.file, ioctlNotifSend, unsafe.Pointer(&resp))
}

// tell lets the agent read why an exec was refused.
func (n *notifier) tell(rec audit.Exec) {
	n.tellText(denialText(rec))
}

func (n *notifier) tellText(text []byte) {
	if err := n.denied(text); err != nil && !n.stale {
		n.stale = true // once: each denial would say the same
		n.sink.Emit(audit.Finding{Title: "the agent can't be told why its programs are refused", Detail: err.Error(), Severity: "low", Outcome: audit.Failed})
	}
}

func (n *notifier) valid(id uint64) bool {
	return insist(n.file, ioctlNotifIDValid, unsafe.Pointer(&id)) == nil
}

// lastField is the last number of a line of /proc/PID/status: of NStgid, the id in
// the innermost pid namespace.
func lastField(status []byte, key string) int {
	i := bytes.Index(status, []byte(key))
	if i < 0 {
		return 0
	}
	line := status[i+len(key):]
	if j := bytes.IndexByte(line, '\n'); j >= 0 {
		line = line[:j]
	}
	fields := bytes.Fields(line)
	if len(fields) == 0 {
		return 0
	}
	v, err := strconv.Atoi(string(fields[len(fields)-1]))
	if err != nil {
		return 0
	}
	return v
}

// close ends the record; the jail is dead by then.
func (n *notifier) close() {
	n.exits.close()
	n.judge.close()
	n.held.close()
	n.pids.close()
	n.file.Close()
}
