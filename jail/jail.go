package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// Options are what Start needs beside the plan.
type Options struct {
	CABundle string
	Stdio    [3]*os.File // the agent's ends of the pipes; nil with a terminal
	Sink     audit.Sink
	Ask      ProgramAsker // nil: what people would have to allow is refused
	Names    NameJudge    // with Request.Naming
}

// Jail is a started jail. The agent stands before its first instruction until
// Release is called.
type Jail struct {
	Layers  []Layer
	Upper   *os.File   // the overlay's upper layer; nil where there is none
	Changes *os.File   // tells of changes in it, see MarkFiles; nil where PID 1 could not make it
	PTY     *os.File   // the master; nil without a terminal
	Network []*os.File // what the network hook made, in its order
	Sockets []*os.File // listeners of Request.Sockets, in their order

	Timeline []Mark // when each stage of Start was done

	LeftOut []LeftOut // of the home folder's seeds, since it looks like credentials

	plan      *Plan
	control   *os.File
	notify    *notifier
	container *libcontainer.Container
	process   *libcontainer.Process
	initPID   int
	ended     chan End
	stopped   chan struct{}
	gone      chan struct{} // PID 1 was reaped
	unlock    chan struct{} // lets the forking thread go
	threaded  chan struct{} // PID 1 has its threads
	deaf      chan struct{} // PID 1 says no more
	released  atomic.Bool
	killOnce  sync.Once
	closeOnce sync.Once

	dials dials

	ownersOnce sync.Once
	ownersOf   *owners

	freezing sync.Mutex // held by whoever freezes, thaws or kills
	held     hold       // what holds the jail while it is frozen, else nil
	gathered string     // the cgroup that was made to freeze a jail without one

	cgroupOnce sync.Once
	cgroups    map[string]string
}

// Mark is the time at which a stage was done.
type Mark struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
}

func (j *Jail) mark(what string) { j.Timeline = append(j.Timeline, Mark{what, time.Now()}) }

// End is how the agent ended.
type End struct {
	PID     int // in the jail
	Status  unix.WaitStatus
	UserCPU time.Duration
	SysCPU  time.Duration
	MaxRSS  int64 // bytes
	Err     error // a *CommandError, or the jail died
}

// Start builds the jail. When it returns without an error every layer is in force
// and was tried; the agent waits for Release. On an error nothing is left running.
//
// Where a file was replaced meanwhile, the plan is brought up to date and it begins anew.
func Start(p *Plan, o Options) (*Jail, error) {
	for tries := 0; ; tries++ {
		j, err := begin(p, o)
		if err == nil || tries == renewals || !p.renew(err) {
			return j, err
		}
	}
}

func begin(p *Plan, o Options) (_ *Jail, err error) {
	// Modes of what libcontainer creates must not depend on the caller's umask: the
	// jail's user is another one.
	old := unix.Umask(0o022)
	defer unix.Umask(old)
	j := &Jail{plan: p, ended: make(chan End, 1), stopped: make(chan struct{}, 1), gone: make(chan struct{}), unlock: make(chan struct{}),
		threaded: make(chan struct{}), deaf: make(chan struct{})}
	defer func() {
		if err != nil {
			j.Kill()
			err = errors.Join(err, j.Close())
		}
	}()
	if err := makeScratch(p.Scratch); err != nil {
		return nil, layerError("file view", err, "")
	}
	root, err := newRootfs(p)
	if err != nil {
		return nil, layerError("file view", err, "")
	}
	// libcontainer needs 10 ms for the namespaces. While it waits for them, the rest of the
	// root is made and the filter compiled; PID 1 waits for both.
	var plan *os.File
	prepared := make(chan error, 1)
	go func() {
		var perr error
		plan, perr = prepare(p, root, o.CABundle)
		prepared <- perr
	}()
	berr := j.boot(o)
	err = <-prepared
	j.Sockets = root.sockets
	if plan != nil {
		defer plan.Close()
	}
	if berr != nil {
		return nil, berr
	}
	if err != nil {
		return nil, err
	}
	j.mark("jail: container, root folder and filter made")
	if err := send(j.control, message{Type: msgBuild}, []*os.File{plan}); err != nil {
		return nil, &LayerError{Layer: "container", Err: fmt.Errorf("the jail's first process is gone: %w", err)}
	}
	m, files, err := receive(j.control)
	j.Timeline = append(j.Timeline, m.Marks...)
	j.mark("jail: PID 1 ready")
	if err != nil {
		return nil, &LayerError{Layer: "container", Err: fmt.Errorf("the jail's first process died while setting up: %w", err)}
	}
	if m.Type != msgReady {
		closeAll(files)
		return nil, m.err(p)
	}
	if err := j.adopt(m, files, o); err != nil {
		return nil, err
	}
	go j.listen()
	return j, nil
}

// prepare makes what PID 1 waits for: the root's content and the plan with the
// compiled filter, as a sealed memfd.
func prepare(p *Plan, root *rootfs, cabundle string) (*os.File, error) {
	if err := root.fill(p, cabundle); err != nil {
		return nil, layerError("file view", err, "")
	}
	build := compileFilter
	if p.Observe {
		build = observingFilter
	}
	filter, err := build(p.Syscalls, p.Notified, p.Naming)
	if err != nil {
		return nil, layerError("seccomp", err, "")
	}
	data, err := json.Marshal(shimPlan{Plan: p, Filter: encodeFilter(filter)})
	if err != nil {
		return nil, err
	}
	return memfd("agentjail-plan", data)
}

// boot starts PID 1 through libcontainer.
func (j *Jail) boot(o Options) error {
	p := j.plan
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	j.control = os.NewFile(uintptr(pair[0]), "control")
	theirs := os.NewFile(uintptr(pair[1]), "control-pid1")
	defer theirs.Close()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()

	// libcontainer also prints warnings, in a form of its own, on the agent's stderr;
	// what matters of them comes back as errors.
	logrus.SetOutput(io.Discard)
	j.container, err = createContainer(p)
	if err != nil {
		return layerError("container", err, "")
	}
	extra := []*os.File{self, theirs}
	if !p.Agent.Terminal {
		extra = append(extra, o.Stdio[:]...)
	}
	network, err := json.Marshal(p.Network)
	if err != nil {
		return err
	}
	j.process = &libcontainer.Process{
		// By descriptor: the jail has no path to this binary. The network's plan comes
		// along, so that it is set up while the rest of the plan is still made.
		Args: []string{fmt.Sprintf("/proc/self/fd/%d", fdBinary), ShimArg, string(network)},
		// PID 1 only waits and passes on; it needs no parallelism. How many threads it needs
		// follows from it (threads.go). It collects no garbage before it is set up (shim.start).
		Env:        append([]string{"GOMAXPROCS=2", "GOGC=off", "HOME=/", "PATH=/nonexistent"}, mutate.Environ()...),
		Cwd:        "/",
		Stdin:      null,
		Stdout:     null,
		Stderr:     null,
		ExtraFiles: extra,
		Init:       true,
	}
	// PID 1 dies with the thread that forked it (PR_SET_PDEATHSIG), so that thread
	// is kept until the jail is closed.
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		started <- j.container.Run(j.process)
		<-j.unlock
	}()
	if err := <-started; err != nil {
		if m := p.unstaged(err.Error()); m != nil {
			return replaced(*m)
		}
		layer, hint := containerHint(err)
		return layerError(layer, errors.New(oneLine(err.Error())), hint)
	}
	if j.initPID, err = j.process.Pid(); err != nil {
		return err
	}
	go func() {
		// The error says that PID 1 was killed, which is how each jail ends.
		_, _ = j.process.Wait()
		close(j.gone)
	}()
	return nil
}

func oneLine(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ") }

// err makes the error out of PID 1's failure message.
func (m message) err(p *Plan) error {
	if m.Layer == "command" {
		ce := &CommandError{Command: p.Agent.Argv[0], NotFound: m.NotFound}
		if m.Error != "" {
			ce.Err = errors.New(m.Error)
		}
		return ce
	}
	if m.Replaced != "" {
		return &LayerError{Layer: m.Layer, Err: &replacedError{m.Replaced}, Hint: m.Hint}
	}
	return &LayerError{Layer: m.Layer, Err: errors.New(m.Error), Hint: m.Hint}
}

// adopt takes over what PID 1 handed out.
func (j *Jail) adopt(m message, files []*os.File, o Options) error {
	if len(files) != len(m.Files) {
		closeAll(files)
		return errors.New("the jail's first process handed out fewer descriptors than it named")
	}
	var listener *os.File
	for i, name := range m.Files {
		switch name {
		case "upper":
			j.Upper = files[i]
		case "changes":
			j.Changes = files[i]
		case "pty":
			j.PTY = files[i]
		case "listener":
			listener = files[i]
		default:
			j.Network = append(j.Network, files[i])
		}
	}
	if listener == nil {
		return &LayerError{Layer: "seccomp", Err: errors.New("no notification descriptor arrived")}
	}
	var err error
	j.chooseVictim()
	j.LeftOut = m.LeftOut
	j.Layers, err = layers(j.plan, m.Checks)
	if err != nil {
		listener.Close()
		return err
	}
	judge := &judge{plan: j.plan, rules: newPrograms(j.plan.Programs.Rules), upper: j.Upper}
	j.notify, err = newNotifier(listener, j.initPID, o.Sink, judge, func(text []byte) error { return j.Replace(LastDenial, text) }, o.Ask)
	if err != nil {
		return err
	}
	if j.plan.Naming && o.Names == nil {
		return &LayerError{Layer: "seccomp", Err: errors.New("nobody judges the names that are given in the workspace")}
	}
	if j.plan.Naming {
		j.notify.namer = newNamer(j.plan.Workspace.Path, o.Names)
	}
	if !j.plan.Observe {
		return nil
	}
	j.notify.observer, err = newObserver(j.plan)
	return err
}

// Release lets the agent run: its exec, held by the first notification, is
// answered from here on. Not before PID 1 has its threads, which an agent that uses up the
// processes could keep it from. Where PID 1 has died of making them there is no agent any
// more, and Ended says why.
func (j *Jail) Release() {
	j.released.Store(true)
	select {
	case <-j.threaded:
	case <-j.deaf:
	}
	go j.notify.serve()
}

// listen takes PID 1's messages until it is gone.
func (j *Jail) listen() {
	defer close(j.deaf)
	var failed error
	for {
		m, files, err := receive(j.control)
		if err == nil && m.Type == msgDialed {
			files = j.dials.answered(m, files)
		}
		closeAll(files)
		if err != nil {
			j.dials.end()
			if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) {
				err = nil
			}
			select {
			case j.ended <- End{Err: errors.Join(failed, errJailDied, err)}:
			default: // the agent's end was told already
			}
			return
		}
		switch m.Type {
		case msgFailed:
			failed = m.err(j.plan)
		case msgThreads:
			close(j.threaded)
		case msgStopped:
			select {
			case j.stopped <- struct{}{}:
			default:
			}
		case msgExited, msgEnded:
			j.notify.exits.reaped(m)
			if m.Type == msgEnded {
				j.ended <- End{PID: m.PID, Status: unix.WaitStatus(m.Status), UserCPU: m.UserCPU, SysCPU: m.SysCPU, MaxRSS: m.MaxRSS, Err: failed}
			}
		}
	}
}

var errJailDied = errors.New("the jail's first process died")

// Ended tells once how the agent ended.
func (j *Jail) Ended() <-chan End { return j.ended }

// Stopped tells that the agent was stopped at its terminal (Ctrl-Z).
func (j *Jail) Stopped() <-chan struct{} { return j.stopped }

// Signal sends a signal to the agent's process group.
func (j *Jail) Signal(sig unix.Signal) error {
	return send(j.control, message{Type: msgSignal, Signal: int(sig)}, nil)
}

// Resume continues a stopped agent in the foreground of its terminal.
func (j *Jail) Resume() error { return send(j.control, message{Type: msgResume}, nil) }

// InitPID is PID 1's pid on the host, 0 before it was started.
func (j *Jail) InitPID() int { return j.initPID }

// Started says whether the agent was let run.
func (j *Jail) Started() bool { return j.released.Load() }

// Cgroups are the folders of the jail's cgroup, one a hierarchy; none without one.
func (j *Jail) Cgroups() []string {
	list := slices.Sorted(maps.Values(j.cgroupDirs()))
	j.freezing.Lock()
	defer j.freezing.Unlock()
	if j.gathered != "" {
		list = append(list, j.gathered)
	}
	return list
}

// Execs is how many execs were recorded.
func (j *Jail) Execs() int64 {
	if j.notify == nil {
		return 0
	}
	return j.notify.count.Load()
}

// Kill ends every process of the jail and waits until the kernel has: killing PID 1
// kills the rest (pid_namespaces(7)).
func (j *Jail) Kill() {
	j.killOnce.Do(func() {
		if j.process == nil || j.initPID == 0 {
			return
		}
		j.freezing.Lock()
		defer j.freezing.Unlock()
		// Not running any more is what is wanted.
		_ = j.process.Signal(unix.SIGKILL)
		if j.held != nil {
			j.held.killed()
			j.held = nil
		}
		<-j.gone
	})
}

// Close removes the container's state, cgroup and root folder and closes what is
// left open. The upper layer's descriptor stays: it is the caller's.
func (j *Jail) Close() error {
	var err error
	j.closeOnce.Do(func() {
		if j.notify != nil {
			j.notify.close()
		}
		if j.container != nil {
			err = j.container.Destroy()
		}
		if j.gathered != "" {
			err = errors.Join(err, cgroups.RemovePath(j.gathered))
		}
		close(j.unlock)
		if j.control != nil {
			j.control.Close()
		}
		if j.PTY != nil {
			j.PTY.Close()
		}
		if j.Changes != nil { // nobody took it
			j.Changes.Close()
		}
		closeAll(j.Sockets) // again, where the caller has taken them over
		err = errors.Join(err, removeScratch(j.plan.Scratch))
	})
	return err
}
