package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tracer holds a jail that has no cgroup. SIGSTOP alone does not hold a program that
// wants to go on: a timer whose signal is SIGCONT (timer_create(2)) wakes it, and the
// kernel sends it without asking anybody. So each thread is also seized and brought to a
// tracing stop, which SIGCONT does not end (ptrace(2), PTRACE_SEIZE and group-stop). The
// SIGSTOP comes first all the same: it reaches every process at once, so that none runs
// away from being seized by forking.
//
// The kernel knows a tracer by its thread, so one goroutine does all of it and keeps its
// thread.
type tracer struct {
	j       *Jail
	orders  chan func()
	done    chan struct{}
	traced  map[int]bool // threads
	stopped map[int]bool // processes that were stopped before
}

// settled is how many looks in a row have to find everything held and nothing new.
const settled = 2

func (t *tracer) freeze(deadline time.Time) (Frozen, error) {
	t.orders, t.done = make(chan func()), make(chan struct{})
	t.traced, t.stopped = map[int]bool{}, map[int]bool{}
	go func() {
		// Never unlocked: the thread ends with the goroutine, and what it still traces
		// dies with it (PTRACE_O_EXITKILL).
		runtime.LockOSThread()
		defer close(t.done)
		for f := range t.orders {
			f()
		}
	}()
	var f Frozen
	var err error
	t.do(func() { f, err = t.seizeAll(deadline) })
	if err != nil {
		err = errors.Join(err, t.thaw())
	}
	return f, err
}

// do has the tracing thread do something.
func (t *tracer) do(f func()) {
	ran := make(chan struct{})
	t.orders <- func() { defer close(ran); f() }
	<-ran
}

func (t *tracer) end() {
	close(t.orders)
	<-t.done
}

func (t *tracer) seizeAll(deadline time.Time) (Frozen, error) {
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(t.j.initPID) + "/ns/pid")
	if err != nil {
		return Frozen{}, err
	}
	for _, p := range t.j.processes() {
		if s, ok := readThread(p, p); ok && s.state == 'T' {
			t.stopped[p] = true
		}
	}
	for calm := 0; ; {
		if err := send(t.j.control, message{Type: msgStopAll}, nil); err != nil {
			return Frozen{}, err
		}
		f, loose, err := t.look(namespace)
		if err != nil {
			return Frozen{}, err
		}
		if calm++; loose != "" {
			calm = 0
		}
		if calm == settled {
			return f, nil
		}
		if time.Now().After(deadline) {
			return Frozen{}, fmt.Errorf("it does not stand still: %s", loose)
		}
		time.Sleep(time.Millisecond)
	}
}

// look seizes what is not seized yet. loose names something that is not held for sure.
func (t *tracer) look(namespace string) (f Frozen, loose string, err error) {
	f.How = "SIGSTOP and ptrace"
	for _, pid := range t.j.processes() {
		f.Processes++
		for _, tid := range threadsOf(pid) {
			s, ok := readThread(pid, tid)
			if !ok || s.state == 'Z' || s.state == 'X' {
				continue // it has ended
			}
			f.Threads++
			if s.tracer == 0 {
				if err := t.seize(tid, namespace); err != nil {
					return f, "", fmt.Errorf("thread %d of process %d: %w", tid, pid, err)
				}
				loose = fmt.Sprintf("thread %d of process %d was just found", tid, pid)
				continue
			}
			// t is a tracing stop. D is a thread in the kernel (a parent that waits for its
			// vfork): with an interrupt pending, the next thing it does outside is to stop. One
			// that a debugger within the jail traces is held by that, and that one by us.
			if s.state != 't' && !(s.state == 'D' && t.traced[tid]) {
				loose = fmt.Sprintf("thread %d of process %d is in state %c", tid, pid, s.state)
			}
		}
	}
	return f, loose, nil
}

func (t *tracer) seize(tid int, namespace string) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, unix.PTRACE_O_EXITKILL, 0, 0)
	switch {
	case e == unix.ESRCH:
		return nil // it has ended
	case e != 0:
		if s, ok := readThread(tid, tid); !ok || s.state == 'Z' || s.state == 'X' || s.tracer != 0 {
			return nil
		}
		return os.NewSyscallError("ptrace(PTRACE_SEIZE)", e)
	}
	// From here on the number can't be another's: had it become one before, it is
	// somebody of the host's, who has not been stopped by being seized.
	t.traced[tid] = true
	if !inNamespace(tid, namespace) {
		if err := t.detach(tid); err != nil {
			return err
		}
		return nil
	}
	if err := unix.PtraceInterrupt(tid); err != nil && err != unix.ESRCH {
		return os.NewSyscallError("ptrace(PTRACE_INTERRUPT)", err)
	}
	return nil
}

// detach lets one thread go. Only one that is stopped can be.
func (t *tracer) detach(tid int) error {
	_ = unix.PtraceInterrupt(tid)
	for end := time.Now().Add(freezeTimeout); ; time.Sleep(time.Millisecond) {
		err := unix.PtraceDetach(tid)
		if err == nil || !t.alive(tid) {
			delete(t.traced, tid)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("thread %d: %w", tid, os.NewSyscallError("ptrace(PTRACE_DETACH)", err))
		}
	}
}

// alive says whether a thread that is traced goes on living; one that has ended is
// waited for, since nobody else is told before its tracer.
func (t *tracer) alive(tid int) bool {
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(tid, &ws, unix.WNOHANG|unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false // ECHILD: it is none of ours any more
		case pid == 0:
			return true
		case ws.Exited() || ws.Signaled():
			return false
		}
	}
}

func (t *tracer) thaw() error {
	var err error
	t.do(func() { err = t.release() })
	t.end()
	return err
}

// release lets every thread go. A parent that waits for its vfork stops only once the
// child, let go before it, has gone on.
func (t *tracer) release() error {
	for _, pid := range t.j.processes() {
		if !t.stopped[pid] {
			_ = unix.Kill(pid, unix.SIGCONT) // ends the SIGSTOP of before
		}
	}
	for end := time.Now().Add(freezeTimeout); len(t.traced) > 0; time.Sleep(time.Millisecond) {
		for tid := range t.traced {
			if unix.PtraceDetach(tid) == nil || !t.alive(tid) {
				delete(t.traced, tid)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d threads can't be let go, and are killed", len(t.traced))
		}
	}
	return nil
}

// killed: the kernel ends a traced process, but tells its end to nobody until the tracer
// has heard of it.
func (t *tracer) killed() {
	t.do(func() {
		for end := time.Now().Add(freezeTimeout); len(t.traced) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
			for tid := range t.traced {
				if !t.alive(tid) {
					delete(t.traced, tid)
				}
			}
		}
	})
	t.end()
}

// threadState is what /proc says of a thread.
type threadState struct {
	state  byte
	tracer int
}

// readThread reads proc(5)'s status. Its first line has the program's name, in which
// line feeds are escaped.
func readThread(pid, tid int) (s threadState, ok bool) {
	data, err := readBounded("/proc/"+strconv.Itoa(pid)+"/task/"+strconv.Itoa(tid)+"/status", maxProcValue)
	if err != nil {
		return s, false
	}
	_, rest, found := bytes.Cut(data, []byte("\nState:\t"))
	if !found || len(rest) == 0 {
		return s, false
	}
	s.state = rest[0]
	if _, rest, found = bytes.Cut(data, []byte("\nTracerPid:\t")); found {
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		s.tracer, _ = strconv.Atoi(string(line))
	}
	return s, true
}
