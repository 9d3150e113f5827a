package jail

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// exits watches every process that executed something until it ends. PID 1 tells of
// its own children with their usage; of all others the supervisor learns by pidfd,
// whoever their parent is and whatever it does with their status.
//
// A pidfd is readable once the process has ended and hangs up once it was waited
// for; from then on the kernel (Linux 6.15) tells the exit status by
// PIDFD_GET_INFO. Older kernels tell it in /proc/PID/stat only, until the parent
// has taken it; where that came first the status is not known (-1).
type exits struct {
	epoll *os.File
	wake  *os.File // an eventfd, to end a wait
	emit  func(audit.Exit)
	done  chan struct{}

	most int // descriptors that it may hold

	mu      sync.Mutex
	watched map[int32]*watch // by descriptor
	byPID   map[int]*watch   // by pid in the jail; the newest of that number
	byHost  map[int]*watch   // by pid on the host, likewise
	closed  bool
}

type watch struct {
	fd      int32
	host    int // pid on the host
	process audit.Process
	exit    audit.Exit // as far as it is known
	due     time.Time  // when it is told at the latest, even if PID 1 says nothing
	told    bool
}

const (
	// maxWatched bounds the descriptors that a jail can make us hold; so does half of
	// what we may have open at all (mostWatched).
	maxWatched = 8192
	// patience is how long PID 1's own word is waited for at least: it has the usage.
	patience = 20 * time.Millisecond
)

func newExits(emit func(audit.Exit)) (*exits, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	epoll := os.NewFile(uintptr(fd), "exits")
	wfd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		epoll.Close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wfd)}
	e := &exits{epoll: epoll, wake: os.NewFile(uintptr(wfd), "exits-wake"), emit: emit, done: make(chan struct{}), most: mostWatched(),
		watched: map[int32]*watch{}, byPID: map[int]*watch{}, byHost: map[int]*watch{}}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wfd, &ev); err != nil {
		epoll.Close()
		e.wake.Close()
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	go e.serve()
	return e, nil
}

// mostWatched leaves the other half of the descriptors to the rest of the run.
func mostWatched() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0 // the ends of processes are then not told
	}
	return int(min(r.Cur/2, maxWatched))
}

// add watches a process, or notes what it now executes. It takes over the descriptor.
func (e *exits) add(ids callerIDs, p audit.Process) {
	p.Argv = nil
	defer ids.close()
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.byPID[p.PID]; w != nil && w.host == ids.host && !w.told {
		w.process = p
		return
	}
	if len(e.watched) >= e.most || e.closed {
		return
	}
	if ids.pidfd < 0 {
		var err error
		if ids.pidfd, err = unix.PidfdOpen(ids.host, 0); err != nil {
			return // it has ended meanwhile
		}
	}
	// Once: that the process was waited for, too, wakes nobody. What the kernel tells from
	// then on is looked at when the end is due.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(ids.pidfd)}
	if err := unix.EpollCtl(int(e.epoll.Fd()), unix.EPOLL_CTL_ADD, ids.pidfd, &ev); err != nil {
		return
	}
	w := &watch{fd: int32(ids.pidfd), host: ids.host, process: p}
	e.watched[w.fd], e.byPID[p.PID], e.byHost[w.host] = w, w, w
	ids.pidfd = -1
}

// inside is the pid in the jail of a process that is watched, and 0 of any other: what
// /proc says of its parent is slow to read.
func (e *exits) inside(host int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.byHost[host]; w != nil {
		return w.process.PID
	}
	return 0
}

// reaped takes PID 1's word for one of its children.
func (e *exits) reaped(m message) {
	e.mu.Lock()
	w := e.byPID[m.PID]
	known := w != nil && !w.told
	if known {
		w.told = true
		e.forget(w)
	}
	e.mu.Unlock()
	if !known {
		return // it never executed anything: nothing tells of its start either
	}
	x := audit.Exit{Process: w.process, UserCPU: m.UserCPU, SysCPU: m.SysCPU, MaxRSS: m.MaxRSS}
	x.ExitCode, x.Signal = exitStatus(unix.WaitStatus(m.Status))
	e.emit(x)
}

func exitStatus(ws unix.WaitStatus) (code int, signal string) {
	if ws.Signaled() {
		return 128 + int(ws.Signal()), unix.SignalName(ws.Signal())
	}
	return ws.ExitStatus(), ""
}

// forget stops watching; the caller holds the lock.
func (e *exits) forget(w *watch) {
	if e.watched[w.fd] == w {
		delete(e.watched, w.fd)
		unix.Close(int(w.fd)) // which takes it out of the epoll set, too
	}
	if e.byPID[w.process.PID] == w {
		delete(e.byPID, w.process.PID)
	}
	if e.byHost[w.host] == w {
		delete(e.byHost, w.host)
	}
}

func (e *exits) serve() {
	defer close(e.done)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(int(e.epoll.Fd()), events, e.timeout())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return // closed
		}
		e.mu.Lock()
		for _, ev := range events[:max(n, 0)] {
			if w := e.watched[ev.Fd]; w != nil {
				w.look()
			}
		}
		due := e.due(time.Now())
		over := e.closed && len(e.watched) == 0
		waiting := e.closed && !over
		e.mu.Unlock()
		if waiting {
			time.Sleep(time.Millisecond) // for the last ends; the wait itself returns at once
		}
		for _, x := range due {
			e.emit(x)
		}
		if over {
			return
		}
	}
}

// timeout is how long to wait for events, in milliseconds: until the next is due.
func (e *exits) timeout() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.watched {
		if !w.due.IsZero() {
			return max(int(time.Until(w.due)/time.Millisecond), 1)
		}
	}
	return -1
}

// look reads what can be known of a process that has ended.
func (w *watch) look() {
	if w.due.IsZero() {
		w.due = time.Now().Add(2 * patience)
		w.exit = audit.Exit{Process: w.process, ExitCode: -1}
		w.readStat()
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if unix.IoctlPidfdInfo(int(w.fd), &info) == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
		w.exit.ExitCode, w.exit.Signal = exitStatus(unix.WaitStatus(info.Exit_code))
	}
}

// readStat takes status and CPU time from /proc while the process is a zombie.
func (w *watch) readStat() {
	data, err := readProc("/proc/" + strconv.Itoa(w.host) + "/stat")
	if err != nil {
		return
	}
	if z, ok := parseZombie(data); ok {
		w.exit.UserCPU, w.exit.SysCPU = z.user, z.system
		w.exit.ExitCode, w.exit.Signal = exitStatus(z.status)
	}
}

// zombie is what /proc/PID/stat says of a process that ended and was not waited for.
type zombie struct {
	status       unix.WaitStatus
	user, system time.Duration
}

// parseZombie reads proc_pid_stat(5). The name in it is the agent's to choose, with any
// bracket and space; the last bracket is the kernel's.
func parseZombie(data []byte) (z zombie, ok bool) {
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const state, utime, stime, exitCode = 0, 11, 12, 49 // counted from the state
	if len(fields) <= exitCode || string(fields[state]) != "Z" {
		return z, false
	}
	number := func(i int) int64 {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return zombie{unix.WaitStatus(number(exitCode)), time.Duration(number(utime)) * clockTick, time.Duration(number(stime)) * clockTick}, true
}

// due takes out what PID 1 has said nothing of in time; the caller holds the lock. What
// has waited long enough goes along with every wake-up, so that many ends need few.
func (e *exits) due(now time.Time) []audit.Exit {
	var list []audit.Exit
	for _, w := range e.watched {
		// Once the jail is dead PID 1 says nothing any more.
		if w.due.IsZero() || now.Before(w.due.Add(-patience)) && !e.closed {
			continue
		}
		w.look() // it may have been waited for since
		w.exit.Process = w.process
		w.told = true
		list = append(list, w.exit)
		e.forget(w)
	}
	return list
}

// close waits until every end was told; the jail is dead by then.
func (e *exits) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	// It stays readable: every wait from here on ends at once.
	_, _ = unix.Write(int(e.wake.Fd()), []byte{1, 0, 0, 0, 0, 0, 0, 0})
	select {
	case <-e.done:
	case <-time.After(2 * time.Second): // a process that the kernel can't end (D state)
	}
	e.mu.Lock()
	for _, w := range e.watched {
		e.forget(w)
	}
	e.mu.Unlock()
	e.epoll.Close()
	e.wake.Close()
}
