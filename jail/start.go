package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// Starting is a jail on its way. libcontainer and Go need half of a start's time for a
// container whose PID 1 runs, and nothing for it of what the agent is to see of the host's
// files: Begin has it made while the profile is read or the plan made, and Finish gives
// PID 1 the plan.
type Starting struct {
	base  Base
	stdio [3]*os.File
	umask int // the caller's

	jail   *Jail
	root   *rootfs
	rooted chan struct{} // closed when root is there, or can't be
	booted chan error    // nil before the container is begun
}

// Begin begins to start a jail. stdio are the agent's ends of its pipes, none with a
// terminal. Either Finish or Abandon must follow.
func Begin(b Base, stdio [3]*os.File) *Starting {
	// Modes of what libcontainer creates must not depend on the caller's umask: the
	// jail's user is another one.
	s := &Starting{base: b, stdio: stdio, umask: unix.Umask(0o022)}
	if b.Rootless {
		s.boot(nil)
	}
	return s // else libcontainer makes some of the plan's mounts (needsStaging)
}

// Finish builds the jail. When it returns without an error every layer is in force
// and was tried; the agent waits for Release. On an error nothing is left running.
//
// Where a file was replaced meanwhile, the plan is brought up to date and it begins anew.
func (s *Starting) Finish(p *Plan, o Options) (*Jail, error) {
	defer unix.Umask(s.umask)
	for tries := 0; ; tries++ {
		j, err := s.finish(p, o)
		if err == nil || tries == renewals || !p.renew(err) {
			return j, err
		}
		s.booted = nil
	}
}

// Abandon ends what was begun.
func (s *Starting) Abandon() error {
	defer unix.Umask(s.umask)
	return s.end()
}

func (s *Starting) end() error {
	if s.booted == nil {
		return nil
	}
	<-s.booted // whatever went wrong, nobody waits for it any more
	s.jail.Kill()
	return s.jail.Close()
}

// boot begins to make the container; p is nil before there is a plan.
func (s *Starting) boot(p *Plan) {
	s.jail = &Jail{base: s.base, ended: make(chan End, 1), stopped: make(chan struct{}, 1), gone: make(chan struct{}), settled: make(chan struct{}), unlock: make(chan struct{})}
	s.root, s.rooted, s.booted = nil, make(chan struct{}), make(chan error, 1)
	go func() {
		err := s.makeRoot(p)
		close(s.rooted)
		if err == nil {
			err = s.jail.boot(p, s.stdio)
		}
		s.booted <- err
	}()
}

func (s *Starting) makeRoot(p *Plan) error {
	if err := makeScratch(s.base.Scratch); err != nil {
		return layerError("file view", err, "")
	}
	root, err := newRootfs(s.base, p.staging())
	if err != nil {
		return layerError("file view", err, "")
	}
	s.root = root
	return nil
}

func (s *Starting) finish(p *Plan, o Options) (_ *Jail, err error) {
	if !reflect.DeepEqual(p.Base, s.base) {
		return nil, errors.Join(layerError("container", errors.New("it was begun for another plan"), ""), s.end())
	}
	if s.booted == nil {
		s.boot(p)
	}
	j := s.jail
	defer func() {
		if err != nil {
			j.Kill()
			err = errors.Join(err, j.Close())
		}
	}()
	j.plan = p
	// While libcontainer works, the rest of the root is made, and the filter; PID 1 waits
	// for both.
	<-s.rooted
	var files []*os.File
	var perr error
	if s.root != nil {
		files, perr = prepare(p, s.root, o.CABundle)
		defer func() { closeAll(files) }()
		j.Sockets = s.root.sockets
	}
	if err := <-s.booted; err != nil {
		return nil, err
	}
	if perr != nil {
		return nil, perr
	}
	j.mark("jail: container, root folder and filter made")
	if err := j.build(files, o); err != nil {
		return nil, err
	}
	return j, nil
}

// build has PID 1 build the jail, and takes over what it hands out.
func (j *Jail) build(plans []*os.File, o Options) error {
	if err := send(j.control, message{Type: msgBuild}, plans); err != nil {
		return &LayerError{Layer: "container", Err: fmt.Errorf("the jail's first process is gone: %w", err)}
	}
	m, files, err := receive(j.control)
	j.Timeline = append(j.Timeline, m.Marks...)
	j.mark("jail: PID 1 ready")
	if err != nil {
		return &LayerError{Layer: "container", Err: fmt.Errorf("the jail's first process died while setting up: %w", err)}
	}
	if m.Type != msgReady {
		closeAll(files)
		return m.err(j.plan)
	}
	if err := j.adopt(m, files, o); err != nil {
		return err
	}
	go j.listen()
	return nil
}

// prepare makes what PID 1 waits for: the root's content, and as sealed memfds the plan of
// the network, and the plan with the compiled filter.
func prepare(p *Plan, root *rootfs, cabundle string) ([]*os.File, error) {
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
	network, err := memfd("agentjail-network", p.Network)
	if err != nil {
		return nil, err
	}
	plan, err := memfd("agentjail-plan", data)
	return []*os.File{network, plan}, err
}

// boot starts PID 1 through libcontainer; p is nil where there is no plan yet.
func (j *Jail) boot(p *Plan, stdio [3]*os.File) error {
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
	j.container, err = createContainer(j.base, p.staging())
	if err != nil {
		return layerError("container", err, "")
	}
	extra := []*os.File{self, theirs}
	if stdio[0] != nil {
		extra = append(extra, stdio[:]...)
	}
	j.process = &libcontainer.Process{
		// By descriptor: the jail has no path to this binary.
		Args: []string{fmt.Sprintf("/proc/self/fd/%d", fdBinary), ShimArg},
		// PID 1 only waits and passes on; it needs no parallelism. How many threads it needs
		// follows from it (threads.go). It collects no garbage before it is set up (shim.start).
		Env:        append([]string{"GOMAXPROCS=2", "GOGC=off", "HOME=/", "PATH=/nonexistent"}, mutate.Environ()...),
		Cwd:        "/",
		Stdin:      null,
		Stdout:     null,
		Stderr:     null,
		ExtraFiles: extra,
		Init:       true,
		// Without one its stages tell of each of their steps.
		LogLevel: strconv.Itoa(int(logrus.WarnLevel)),
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
