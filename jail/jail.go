package jail

import (
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// Options are what Finish needs beside the plan.
type Options struct {
	CABundle string
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

	Timeline []Mark // when each stage of the start was done

	LeftOut []LeftOut // of the home folder's seeds, since it looks like credentials

	base      Base
	plan      *Plan
	control   *os.File
	notify    *notifier
	container *libcontainer.Container
	process   *libcontainer.Process
	initPID   int
	ended     chan End
	stopped   chan struct{}
	gone      chan struct{} // PID 1 was reaped
	settled   chan struct{} // PID 1 needs nothing more that the agent could keep from it
	unlock    chan struct{} // lets the forking thread go
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
// answered from here on.
func (j *Jail) Release() {
	select {
	case <-j.settled:
	case <-j.gone: // which Ended tells
	}
	j.released.Store(true)
	go j.notify.serve()
}

// listen takes PID 1's messages until it is gone.
func (j *Jail) listen() {
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
		case msgSettled:
			select {
			case <-j.settled: // said twice
			default:
				close(j.settled)
			}
		case msgFailed:
			failed = m.err(j.plan)
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
		err = errors.Join(err, removeScratch(j.base.Scratch))
	})
	return err
}
