package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The supervisor and PID 1 talk over a SOCK_SEQPACKET pair, one JSON object a
// packet. The plans are too large for a packet and come in sealed memfds.
//
//	supervisor                                   PID 1
//	     │  stdio, binary (inherited)              │
//	     │ ─────────── build + plans (memfds) ───▶ │  network, file view, overlay, pty, ruleset
//	     │                                         │  clones the agent's stage, drops every capability
//	     │ ◀───────────── ready + descriptors ──── │  [listener, upper?, changes?, pty?, network…]
//	     │  (or: failed)                           │
//	     │ ◀──────────────────────── settled ───── │  it has all of its threads
//	     │ ──────── continue: the exec notification is answered ────▶ agent runs
//	     │ ──────────────────────── signal ──────▶ │
//	     │ ◀──────────────────────── stopped ───── │  Ctrl-Z in the jail's terminal
//	     │ ──────────────────────── resume ──────▶ │
//	     │ ────────────────────── stop all ──────▶ │  SIGSTOP to every process but itself
//	     │ ───────────────────── dial, port ─────▶ │  of the jail's loopback
//	     │ ◀────────────── dialed + [socket] ───── │
//	     │ ◀───────────── exited (of any process that PID 1 reaps)
//	     │ ◀───────────── ended (of the agent) ─── │
//	     │  kill -9 PID 1: the kernel ends the rest
//
// EOF on the socket means that the supervisor is gone: PID 1 exits, and with it
// the jail. The agent can't reach the socket: it is close-on-exec, and PID 1's
// memory and descriptors belong to another user namespace.
const (
	msgBuild   = "build"
	msgReady   = "ready"
	msgSettled = "settled"
	msgFailed  = "failed"
	msgExited  = "exited"
	msgEnded   = "ended"
	msgStopped = "stopped"
	msgSignal  = "signal"
	msgResume  = "resume"
	msgStopAll = "stop all"
	msgDial    = "dial"
	msgDialed  = "dialed"
)

// message is one packet in either direction.
type message struct {
	Type string `json:"type"`

	// ready
	PID    int      `json:"pid,omitempty"`    // of the agent, in the jail
	Checks int32    `json:"checks,omitempty"` // what the stage found in force
	Files  []string `json:"files,omitempty"`  // names of the descriptors, in order
	Marks  []Mark   `json:"marks,omitempty"`  // when PID 1 was done with each stage

	LeftOut []LeftOut `json:"left_out,omitempty"` // of the home folder's seeds

	// failed
	Layer    string `json:"layer,omitempty"`
	Error    string `json:"error,omitempty"`
	Hint     string `json:"hint,omitempty"`
	NotFound bool   `json:"not_found,omitempty"` // the command, when Layer is "command"
	Replaced string `json:"replaced,omitempty"`  // the path, when that is what Error says

	// exited, ended, stopped
	Status  uint32        `json:"status,omitempty"` // as wait4(2) gives it
	UserCPU time.Duration `json:"user_cpu,omitempty"`
	SysCPU  time.Duration `json:"sys_cpu,omitempty"`
	MaxRSS  int64         `json:"max_rss,omitempty"` // bytes

	// signal
	Signal int `json:"signal,omitempty"`

	// dial, dialed
	Port uint16 `json:"port,omitempty"`
	Dial uint64 `json:"dial,omitempty"` // which one
}

const (
	maxMessage = 64 << 10
	maxFiles   = 253 // SCM_MAX_FD, unix(7)
)

func send(f *os.File, m message, files []*os.File) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage || len(files) > maxFiles {
		return fmt.Errorf("message %q to the jail's other side is too large", m.Type)
	}
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, file := range files {
			fds[i] = int(file.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(int(f.Fd()), data, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

func receive(f *os.File) (message, []*os.File, error) {
	var m message
	buf := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, oobn, flags, _, err := recvmsg(f, buf, oob)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, io.EOF
	}
	files, err := parseRights(oob[:oobn], "jail")
	if err != nil {
		return m, nil, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		closeAll(files)
		return m, nil, errors.New("a message of the jail's other side was cut")
	}
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		closeAll(files)
		return m, nil, fmt.Errorf("a message of the jail's other side: %w", err)
	}
	return m, files, nil
}

func recvmsg(f *os.File, p, oob []byte) (n, oobn, flags int, from unix.Sockaddr, err error) {
	for {
		n, oobn, flags, from, err = unix.Recvmsg(int(f.Fd()), p, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, oobn, flags, from, os.NewSyscallError("recvmsg", err)
		}
	}
}

func parseRights(oob []byte, name string) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), name))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
