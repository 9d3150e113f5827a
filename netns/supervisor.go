package netns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"golang.org/x/sys/unix"
)

// GatewayArg is the first argument of the gateway's process.
const GatewayArg = "gateway"

// closeTimeout is how long the gateway may take to close what is open.
const closeTimeout = 3 * time.Second

// Config is what the supervisor's side needs.
type Config struct {
	Network profiles.Network
	Link    LinkPlan
	Proxy   ProxyEnv
	Sink    audit.Sink

	UpstreamCAs map[string][]byte // PEM, by the path in the profile
	Intercept   *Intercept        // nil where no rule needs the plaintext of TLS

	// Learn has every name stand for an address, so that a learning run's trail tells
	// what was connected to; who may be connected to stays the same.
	Learn bool

	Budgets []profiles.Budget
	Ledger  Ledger           // of Budgets; nil where there are none
	Prices  []profiles.Price // of models, the profile's own
	Ask     Asker            // nil: what people would have to allow is refused

	// SocketOwner names the program of the jail that holds a socket, ProcessOf the one
	// with a pid of the host's if it is in the jail. Nil: programs are not named.
	SocketOwner func(inode uint64) (audit.Process, bool)
	ProcessOf   func(pid int) (audit.Process, bool)

	// Published are the listeners of the profile's publications, in their order; see
	// ListenPublished. Start owns them.
	Published []*os.File

	// DialJail connects to a port of the jail's loopback, from within the jail.
	DialJail func(port uint16) (*os.File, error)

	// SSHAgent is the profile's block, nil without one; AgentSocket is then the
	// listener of the jail's SSH_AUTH_SOCK, and DialAgent connects to the host's agent.
	SSHAgent    *profiles.SSHAgent
	AgentSocket *os.File
	DialAgent   func() (*os.File, error)

	// Exe is the program of the gateway's process, run with Args and Env and
	// nothing else of the caller's; its main calls GatewayMain. Empty means
	// /proc/self/exe and GatewayArg.
	Exe  string
	Args []string
	Env  []string

	// Credential is the gateway's user. Nil leaves it the caller's, which is for
	// callers that are no more than an ordinary user.
	Credential *syscall.Credential
}

// Supervisor holds the jail's sockets, starts the gateway at the first packet, and
// passes on what the gateway and the kernel report.
type Supervisor struct {
	cfg   Config
	files []*os.File // the gateway's, until it runs
	index []int      // of files, in Link.Sockets
	log   *os.File

	namer  *namer
	askers *askers

	wake     *os.File // written to stop waiting
	stop     sync.Once
	stopping chan struct{}
	done     chan struct{} // the gateway's side is over
	logDone  chan struct{}

	mu     sync.Mutex
	err    error
	layers []audit.Layer
}

// Start takes the sockets that SetUp made and serves them until Close. It owns the
// files from then on, also when it fails.
func Start(cfg Config, files []*os.File) (*Supervisor, error) {
	s := &Supervisor{
		cfg: cfg, stopping: make(chan struct{}), askers: newAskers(),
		done: make(chan struct{}), logDone: make(chan struct{}),
	}
	s.namer = newNamer(&s.cfg)
	defer closeAll(files)
	defer closeAll(cfg.Published)
	started := false
	defer func() {
		if !started {
			s.forget()
		}
	}()
	if len(files) != len(cfg.Link.Sockets) {
		return nil, fmt.Errorf("network: %d sockets came from the jail, %d were planned", len(files), len(cfg.Link.Sockets))
	}
	for i, plan := range cfg.Link.Sockets {
		f, err := nonblocking(files[i], plan.Name)
		if err != nil {
			s.closeFiles()
			return nil, fmt.Errorf("network: take over socket %s: %w", plan.Name, err)
		}
		switch plan.Kind {
		case SocketNFLog:
			s.log = f
			continue
		case SocketDiag:
			s.namer.diag.f = f
			continue
		}
		s.files, s.index = append(s.files, f), append(s.index, i)
	}
	more := slices.Clone(cfg.Published)
	if cfg.SSHAgent != nil {
		more = append(more, cfg.AgentSocket)
	}
	for _, f := range more {
		own, err := nonblocking(f, f.Name())
		if err != nil {
			s.closeFiles()
			return nil, fmt.Errorf("network: take over listener %s: %w", f.Name(), err)
		}
		s.files = append(s.files, own) // behind the jail's own
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("network: %w", err)
	}
	s.wake = w
	started = true
	go s.serve(r)
	go func() {
		defer close(s.logDone)
		if s.log == nil {
			return
		}
		if err := readNFLog(s.log, s.refused, cfg.Sink); err != nil {
			cfg.Sink.Emit(audit.Finding{
				Title: "refused packets are no longer logged", Detail: err.Error(),
				Severity: "high", Outcome: audit.Failed,
			})
		}
	}()
	return s, nil
}

// nonblocking is a copy of a file that the runtime can wait for.
func nonblocking(f *os.File, name string) (*os.File, error) {
	rc, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	var derr error
	if err := rc.Control(func(raw uintptr) {
		if fd, derr = unix.FcntlInt(raw, unix.F_DUPFD_CLOEXEC, 0); derr == nil {
			derr = unix.SetNonblock(fd, true)
		}
	}); err != nil {
		return nil, err
	}
	if derr != nil {
		return nil, derr
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (s *Supervisor) closeFiles() {
	closeAll(s.files)
	s.files = nil
	if s.log != nil {
		s.log.Close()
	}
	s.namer.close()
}

// Close stops the gateway, waits for it, and closes every socket. It may be called
// more than once and from several places.
func (s *Supervisor) Close() error {
	s.stop.Do(func() {
		close(s.stopping)
		s.wake.Close() // the other end's hang-up ends the wait for a packet
	})
	<-s.done
	if s.log != nil {
		// Each refused packet is in the socket by the time its sender knows of it
		// (nftables queues one), so nothing has to be waited for.
		s.log.SetReadDeadline(time.Now())
	}
	<-s.logDone
	if s.log != nil {
		s.log.Close()
	}
	s.namer.close()
	return s.Err()
}

// Done is closed when there is no network any more: after Close, or because the
// gateway died.
func (s *Supervisor) Done() <-chan struct{} { return s.done }

// Err says why there is no network any more; nil while there is, and after a
// Close that found everything well.
func (s *Supervisor) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Layers is what the running gateway is confined by, as it reported it once it was;
// nil before the first packet.
func (s *Supervisor) Layers() []audit.Layer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.layers
}

// serve waits for the first packet, runs the gateway once, and closes the sockets
// when that is over, so that the kernel refuses everything from then on. There is
// no second gateway: what made the first one die may be the agent's doing, and the
// pool of names would be another one.
func (s *Supervisor) serve(wake *os.File) {
	defer close(s.done)
	defer s.forget()
	defer wake.Close()
	defer closeAll(s.files)
	err := s.wait(wake)
	if err == nil {
		select {
		case <-s.stopping:
			return
		default:
		}
		err = s.run()
	}
	if err == nil {
		return
	}
	s.mu.Lock()
	s.err = fmt.Errorf("network: %w", err)
	s.mu.Unlock()
	s.cfg.Sink.Emit(audit.Finding{
		Title:    "the network gateway is gone",
		Detail:   fmt.Sprintf("%v; every connection is refused for the rest of the run", err),
		Severity: "high", Outcome: audit.Failed,
	})
}

// wait returns when a socket has something for the gateway, or at Close.
func (s *Supervisor) wait(wake *os.File) error {
	var fds []unix.PollFd
	for _, f := range append([]*os.File{wake}, s.files...) {
		rc, err := f.SyscallConn()
		if err != nil {
			return err
		}
		if err := rc.Control(func(fd uintptr) {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}); err != nil {
			return err
		}
	}
	for {
		_, err := unix.Poll(fds, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// run starts the gateway and reads its reports until it ends.
func (s *Supervisor) run() error {
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	errandSocket, theirErrands, err := socketPair(unix.SOCK_SEQPACKET, "errands")
	if err != nil {
		theirs.Close()
		return err
	}
	defer errandSocket.Close()
	exe, args := s.cfg.Exe, s.cfg.Args
	if exe == "" {
		exe, args = "/proc/self/exe", []string{GatewayArg}
	}
	var stderr tail
	cmd := exec.Command(exe, args...)
	cmd.Env = append(append([]string{}, s.cfg.Env...), mutate.Environ()...) // never nil, which would mean ours
	cmd.Dir = "/"
	cmd.Stderr = &stderr
	cmd.ExtraFiles = append([]*os.File{theirs, theirErrands}, s.files...)
	// A session of its own, so that the terminal's signals are not for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.cfg.Credential}
	err = cmd.Start()
	theirs.Close()
	theirErrands.Close()
	if err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	if s.cfg.Intercept != nil {
		allowLocking(cmd.Process.Pid)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	over := make(chan struct{})
	go func() {
		select {
		case <-over:
			return
		case <-s.stopping:
		}
		// The end of stream is the order to stop. An error is one of a socket that has
		// ended already.
		_ = ours.CloseWrite()
		select {
		case <-over:
		case <-time.After(closeTimeout):
			_ = cmd.Process.Kill()
		}
	}()

	errandsDone := make(chan error, 1)
	go func() {
		e := &errands{cfg: &s.cfg, namer: s.namer, askers: s.askers, slots: make(chan struct{}, maxErrands), c: errandSocket}
		err := e.serve()
		if err != nil {
			ours.Close() // no more of it
		}
		errandsDone <- err
	}()

	if err = s.brief(ours); err == nil {
		a := newAnswers(s.cfg.Ledger, s.cfg.Budgets, s.cfg.Sink, ours)
		a.asks.network, a.asks.ask = &s.cfg.Network, s.cfg.Ask
		a.asks.who = func(id uint64) audit.Process { return s.askers.get(id, id != 0) }
		err = s.reports(ours, a)
		if bad := a.close(); bad != nil {
			err = fmt.Errorf("the gateway's question: %w", bad)
		}
	}
	errandSocket.Close()
	if bad := <-errandsDone; bad != nil {
		err = bad
	}
	if err != nil {
		cmd.Process.Kill() // it does not say what it should: no more of it
	}
	exit := <-exited
	close(over)
	select {
	case <-s.stopping:
		return nil
	default:
	}
	switch {
	case err == nil && exit == nil:
		err = errors.New("the gateway ended")
	case err == nil || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		err = fmt.Errorf("the gateway ended: %w", exit)
	}
	if text := stderr.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// brief tells the gateway all that it is told. The keys and secrets are then its own:
// ours are overwritten.
func (s *Supervisor) brief(w io.Writer) error {
	m := start{Network: s.cfg.Network, Link: s.cfg.Link, Sockets: s.index, Proxy: s.cfg.Proxy, UpstreamCAs: s.cfg.UpstreamCAs, Budgets: s.cfg.Budgets, Prices: s.cfg.Prices, SSHAgent: s.cfg.SSHAgent, Learn: s.cfg.Learn}
	i := s.cfg.Intercept
	if i != nil {
		m.CA, m.Secrets = i.CA, i.Secrets
	}
	if err := writeFrame(w, m, maxStart); err != nil || i == nil {
		return err
	}
	err := i.Keys.send(w)
	s.forget()
	return err
}

// forget overwrites the keys and secrets.
func (s *Supervisor) forget() {
	if s.cfg.Intercept != nil {
		s.cfg.Intercept.Keys.Close()
	}
}

// reports reads until the gateway closes its end. Its sockets are its own from the
// moment it is ready: the supervisor's copies go, so that they end with it.
func (s *Supervisor) reports(r io.Reader, a *answers) error {
	r = bufio.NewReaderSize(r, 64<<10)
	var first report
	if err := readFrame(r, &first, maxReport); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("read the gateway's report: %w", err)
	}
	if first.Ready == nil {
		return errors.New("the gateway did not say that it is confined")
	}
	s.mu.Lock()
	s.layers = first.Ready.Layers
	s.mu.Unlock()
	closeAll(s.files)
	for {
		var m report
		if err := readFrame(r, &m, maxReport); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read the gateway's report: %w", err)
		}
		if m.Question != nil {
			if err := a.take(m); err != nil {
				return fmt.Errorf("read the gateway's question: %w", err)
			}
			continue
		}
		rec, err := m.record()
		if err != nil {
			return fmt.Errorf("read the gateway's report: %w", err)
		}
		s.cfg.Sink.Emit(s.named(m, rec))
	}
}

// controlPair makes the control socket: our end, and the gateway's as a file.
func controlPair() (*net.UnixConn, *os.File, error) { return socketPair(unix.SOCK_STREAM, "control") }

func socketPair(typ int, name string) (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make the %s socket: %w", name, err)
	}
	theirs := os.NewFile(uintptr(fds[1]), name)
	f := os.NewFile(uintptr(fds[0]), name)
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make the %s socket: %w", name, err)
	}
	return c.(*net.UnixConn), theirs, nil
}

// tail keeps the last bytes that were written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > maxTail {
		t.b = append([]byte(nil), t.b[len(t.b)-maxTail:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return oneLine(string(t.b))
}
