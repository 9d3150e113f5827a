package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"

	"github.com/agentjail/agentjail/jail/residue"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// ShimArg is the argument with which this binary is PID 1 of a jail. libcontainer
// has made the namespaces and the file view by then.
const ShimArg = "agentjail-pid1"

// InitArg is the argument with which libcontainer starts this binary again
// ("init" is fixed in libcontainer); package initstage takes it from there.
const InitArg = "init"

// Descriptors that PID 1 inherits, in libcontainer's order of ExtraFiles.
const (
	fdBinary  = 3 + iota // this binary, for exec only; closed at once
	fdControl            // to the supervisor, see wire.go
	fdStdin              // the agent's pipes; none with a terminal
	fdStdout
	fdStderr
)

// shimPlan is what PID 1 gets: the plan and the compiled filter, as the kernel wants it.
type shimPlan struct {
	Plan   *Plan  `json:"plan"`
	Filter []byte `json:"filter"` // see encodeFilter
}

// Hooks are what PID 1 does for other packages. Network sets up the jail's network
// namespace and returns the descriptors that the supervisor serves.
type Hooks struct {
	Network func(plan json.RawMessage) ([]*os.File, error)
}

// Shim is PID 1's whole life. It returns only when it failed or when the
// supervisor is gone; the process exits then, and the kernel ends the jail.
func Shim(h Hooks) error {
	// The kernel keeps PR_SET_PDEATHSIG and the CPU affinity by thread.
	runtime.LockOSThread()
	// The kernel ends us when the supervisor's thread that forked us ends.
	// libcontainer's ParentDeathSignal does not survive its own re-exec.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl(PR_SET_PDEATHSIG)", err)
	}
	// The kernel names it after the descriptor that it was executed by.
	if name, err := unix.BytePtrFromString("agentjail"); err == nil {
		_, _, _ = unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0)
	}
	unix.Close(fdBinary)
	for fd := fdControl; fd <= fdStderr; fd++ {
		unix.CloseOnExec(fd)
	}
	control := os.NewFile(fdControl, "control")
	// Before kernel 6.12 (Landlock's signal scope) the agent of a rootless jail has
	// our kernel uid and could TERM us: take no orders by signal at all. SIGCHLD
	// stays, since ignoring it would reap the agent unseen.
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if sig != unix.SIGCHLD && sig != unix.SIGKILL && sig != unix.SIGSTOP {
			signal.Ignore(sig)
		}
	}
	if len(os.Args) != 2 {
		return errors.New("this is how a jail's first process is started, not a command")
	}
	s := &shim{control: control, hooks: h, execed: make(chan struct{}), dropped: make(chan error, 1), dials: make(chan struct{}, maxDials)}
	if err := s.start(); err != nil {
		s.fail(err)
		return err
	}
	return s.serve()
}

type shim struct {
	control *os.File
	hooks   Hooks
	plan    *Plan
	agent   int      // pid
	reports *os.File // the stage's, closed by a good exec
	tty     *os.File // the pty's other end, kept so that stops can be answered
	marks   []Mark
	left    []LeftOut
	changes *os.File      // tells of changes in the workspace; nil without
	dropped chan error    // the host's tree is out of the view
	execed  chan struct{} // closed when the stage's exec is known to have worked or failed
	dials   chan struct{} // as many as may go on at once

	// For capset on every thread; fields, since a stack may move meanwhile.
	capHeader unix.CapUserHeader
	capData   [2]unix.CapUserData
}

// fail tells the supervisor which layer could not be put in force.
func (s *shim) fail(err error) {
	m := message{Type: msgFailed, Layer: "jail", Error: err.Error()}
	var le *LayerError
	var ce *CommandError
	switch {
	case errors.As(err, &le):
		m.Layer, m.Error, m.Hint = le.Layer, le.Err.Error(), le.Hint
		var r *replacedError
		if errors.As(le.Err, &r) {
			m.Replaced = r.path
		}
	case errors.As(err, &ce):
		m.Layer, m.NotFound = "command", ce.NotFound
		if ce.Err != nil {
			m.Error = ce.Err.Error()
		}
	}
	// The supervisor sees EOF if this can't be sent, and says so.
	_ = send(s.control, m, nil)
}

func (s *shim) mark(what string) { s.marks = append(s.marks, Mark{"PID 1: " + what, time.Now()}) }

// start builds everything inside. It is one list of steps; what each needs of the
// ones before it is what it takes.
func (s *shim) start() error {
	s.mark("started")
	plans, err := s.awaitPlans()
	if err != nil {
		return err
	}
	// The network needs nothing of the plan but its own part, and half of the time.
	network := make(chan networkResult, 1)
	go func() {
		files, err := s.setUpNetwork(plans[0])
		network <- networkResult{files, err}
	}()
	sp, upper, err := s.view(plans[1])
	n := <-network
	if n.err != nil {
		// First, since a netlink library in trouble may have closed a descriptor of the
		// file view's.
		return layerError("network", n.err, "")
	}
	if err != nil {
		return layerError("file view", err, "")
	}
	s.mark("network up")
	st, master, err := s.stage(decodeFilter(sp.Filter))
	if err != nil {
		return err
	}
	if s.plan.Affinity > 0 {
		// Inherited by the stage, which this thread clones.
		if err := bindCPUs(s.plan.Affinity); err != nil {
			return layerError("limits", fmt.Errorf("bind the jail to %d CPUs: %w", s.plan.Affinity, err), "")
		}
	}
	s.mark("Landlock rules made")
	if err := <-s.dropped; err != nil {
		return layerError("file view", err, "")
	}
	s.mark("host's tree dropped")
	restore := preferVictim()
	pid, reports, err := spawn(st)
	restore()
	if err != nil {
		return layerError("user namespace", err, "")
	}
	s.agent, s.reports = pid, reports
	if err := s.relinquish(); err != nil {
		return err
	}
	s.mark("capabilities dropped")
	// Not before, since each thread has to be stopped to give its capabilities up; and until
	// the stage is on its way both processors have enough to do.
	threads := make(chan error, 1)
	go func() { threads <- makeThreads() }()
	rep, err := readReport(reports)
	if err != nil {
		return layerError("user namespace", err, "")
	}
	if step, ok := stageSteps[rep.step]; ok {
		return &LayerError{Layer: step.layer, Err: fmt.Errorf("%s: %w", step.what, unix.Errno(rep.errno))}
	}
	if rep.listener == nil {
		return &LayerError{Layer: "seccomp", Err: errors.New("the filter gave no notification descriptor")}
	}
	unix.Close(st.ruleset)
	s.mark("agent's stage ready")
	if err := s.handOver(rep, upper, master, n.files); err != nil {
		return err
	}
	for _, f := range st.stdio {
		if f != s.tty {
			f.Close()
		}
	}
	if err := <-threads; err != nil {
		return layerError("limits", fmt.Errorf("count PID 1's threads: %w", err), "")
	}
	if err := send(s.control, message{Type: msgSettled}, nil); err != nil {
		return err
	}
	time.AfterFunc(startOver, func() {
		debug.SetGCPercent(collectPercent)
		residue.Release()
	})
	return nil
}

// collectPercent keeps the heap of a process that only waits small (GOGC). Until its start
// is over it collects nothing: the supervisor starts it with GOGC=off.
const collectPercent = 50

// startOver is when a start is over, whose garbage and memory can be given back. Before
// that the agent's first instructions wait for the processor too, and many a run has ended.
const startOver = time.Second

type networkResult struct {
	files []*os.File
	err   error
}

func (s *shim) setUpNetwork(plan *os.File) ([]*os.File, error) {
	data, err := readMemfd(plan)
	if err != nil {
		return nil, err
	}
	return s.hooks.Network(data)
}

// view builds the file view and takes away what it was built from.
func (s *shim) view(plan *os.File) (sp shimPlan, upper *os.File, err error) {
	data, err := readMemfd(plan)
	if err != nil {
		return sp, nil, err
	}
	if err := json.Unmarshal(data, &sp); err != nil {
		return sp, nil, err
	}
	s.plan = sp.Plan
	s.mark("plan read")
	if err := buildView(s.plan); err != nil {
		return sp, nil, err
	}
	if upper, err = setUpWorkspace(s.plan); err != nil {
		return sp, nil, layerError("overlay", err, "")
	}
	s.mark("workspace mounted")
	s.changes = watchFiles(s.plan, upper)
	s.mark("files watched")
	if s.left, err = setUpSeeds(s.plan); err != nil {
		return sp, nil, layerError("file view", err, "")
	}
	// The kernel waits a millisecond for its readers before it lets a mount go
	// (fs/namespace.c, namespace_unlock), and nothing below needs those.
	go func() { s.dropped <- dropSetup(s.plan) }()
	if err := hardenProc(); err != nil {
		return sp, nil, layerError("proc", err, "")
	}
	if err := protect(s.plan); err != nil {
		return sp, nil, layerError("file view", err, "")
	}
	if err := maskDenied(s.plan); err != nil {
		return sp, nil, err
	}
	s.mark("file view built")
	return sp, upper, nil
}

// handOver gives the supervisor every descriptor that is its own, and keeps none.
func (s *shim) handOver(rep stageReport, upper, master *os.File, network []*os.File) error {
	m := message{Type: msgReady, PID: s.agent, Checks: rep.checks, Marks: s.marks, LeftOut: s.left}
	var files []*os.File
	add := func(name string, f *os.File) {
		if f != nil {
			files, m.Files = append(files, f), append(m.Files, name)
		}
	}
	add("listener", rep.listener)
	add("upper", upper)
	add("changes", s.changes)
	add("pty", master)
	for _, f := range network {
		add("network", f)
	}
	if err := send(s.control, m, files); err != nil {
		return err
	}
	closeAll(files)
	return nil
}

// awaitPlans waits for the plans: the network's, and the jail's. With them comes the word
// that the root is complete.
func (s *shim) awaitPlans() ([]*os.File, error) {
	m, files, err := receive(s.control)
	if err != nil {
		return nil, err
	}
	if m.Type != msgBuild || len(files) != 2 {
		closeAll(files)
		return nil, fmt.Errorf("the supervisor sent %q where the plans were expected", m.Type)
	}
	return files, nil
}

// readMemfd reads a memfd from its beginning and closes it.
func readMemfd(f *os.File) ([]byte, error) {
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
}

// relinquish empties PID 1's own capability sets on every thread: from here on it
// only reaps and passes on what the supervisor says. no_new_privs, which libcontainer
// has set, keeps an exec from filling them again (capabilities(7)).
func (s *shim) relinquish() error {
	s.capHeader.Version = unix.LINUX_CAPABILITY_VERSION_3
	header, data := uintptr(unsafe.Pointer(&s.capHeader)), uintptr(unsafe.Pointer(&s.capData))
	if _, _, e := psx.Syscall3(unix.SYS_CAPSET, header, data, 0); e != 0 {
		return &LayerError{Layer: "capabilities", Err: fmt.Errorf("empty PID 1's sets: %w", e)}
	}
	if caps, err := effectiveCaps(); err != nil || caps != 0 {
		return &LayerError{Layer: "capabilities", Err: fmt.Errorf("PID 1 still holds %#x", caps)}
	}
	if nnp, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); (err != nil || nnp != 1) && !mutate.Off(mutate.NoNewPrivs) {
		return &LayerError{Layer: "no_new_privs", Err: errors.New("it is not set on PID 1")}
	}
	return nil
}

// serve reaps and obeys until the supervisor is gone.
func (s *shim) serve() error {
	go s.reap()
	go s.execFailure()
	for {
		m, files, err := receive(s.control)
		closeAll(files)
		if err != nil {
			return fmt.Errorf("the supervisor is gone: %w", err)
		}
		switch m.Type {
		case msgDial:
			go s.dial(m)
		case msgSignal:
			// Without a terminal the agent leads a session of its own.
			_ = unix.Kill(-s.agent, unix.Signal(m.Signal))
		case msgStopAll:
			// One call reaches every process of the namespace, and none can fork meanwhile:
			// the kernel holds the list of tasks, and a fork that has seen no signal yet is
			// begun anew (kernel/signal.c, kill_something_info; kernel/fork.c, copy_process).
			_ = unix.Kill(-1, unix.SIGSTOP)
		case msgResume:
			if s.tty != nil {
				_ = unix.IoctlSetPointerInt(int(s.tty.Fd()), unix.TIOCSPGRP, s.agent)
			}
			_ = unix.Kill(-s.agent, unix.SIGCONT)
		}
	}
}

func (s *shim) reap() {
	runtime.LockOSThread()
	for {
		var ws unix.WaitStatus
		var ru unix.Rusage
		pid, err := unix.Wait4(-1, &ws, unix.WUNTRACED|unix.WALL, &ru)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			// The agent is gone and so are its orphans: the supervisor ends us.
			time.Sleep(10 * time.Millisecond)
			continue
		case err != nil:
			return
		}
		m := message{Type: msgExited, PID: pid, Status: uint32(ws),
			UserCPU: time.Duration(ru.Utime.Nano()), SysCPU: time.Duration(ru.Stime.Nano()), MaxRSS: ru.Maxrss << 10}
		if ws.Stopped() {
			if pid != s.agent || s.tty == nil {
				continue
			}
			m.Type = msgStopped
		} else if pid == s.agent {
			<-s.execed // so that a failed exec is told first
			m.Type = msgEnded
		}
		if send(s.control, m, nil) != nil {
			return
		}
	}
}

// execFailure passes on the stage's word that its exec failed; a good exec closes
// the socket.
func (s *shim) execFailure() {
	defer close(s.execed)
	defer s.reports.Close()
	rep, err := readReport(s.reports)
	if err != nil {
		return
	}
	errno := unix.Errno(rep.errno)
	s.fail(&CommandError{Command: s.plan.Agent.Argv[0], NotFound: errno == unix.ENOENT, Err: errno})
}
