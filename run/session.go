package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/approval"
	"github.com/agentjail/agentjail/run/approval/channel"
	"github.com/agentjail/agentjail/run/changes"
	"github.com/agentjail/agentjail/run/filewatch"
	"github.com/agentjail/agentjail/run/ledger"
	"github.com/agentjail/agentjail/run/otlp"
	"github.com/agentjail/agentjail/run/react"
)

// session is one run. Its stages stand below in the order in which they happen;
// each pushes its own undoing onto the stack.
type session struct {
	host Host
	dirs Dirs
	opt  Options
	spec *profiles.Spec

	missing []string // optional secrets that are not there

	id         string
	runtime    string // this run's folders
	state      string
	alive      *os.File // the lock in the state folder, held to the very end
	info       Info
	terminal   bool
	statusOpen bool               // --status-fd was looked at and can be written
	grants     []profiles.Pattern // what may be executed beside what the profile says: why's own probe
	features   jail.Features
	claim      *jail.Claim
	link       netns.LinkPlan
	plan       *jail.Plan
	bundle     string // CA bundle, where the profile or the run adds to the host's
	tls        interception
	// agentSocket is the path of the host's SSH agent, where the profile has the block.
	agentSocket string

	direct *directGuard     // nil but in direct mode
	taken  changes.Manifest // what it took out

	upstreamCAs map[string][]byte // PEM, by path

	approvals   *approval.Board
	webhook     *channel.Webhook // that is asked too; nil without one
	webhookKey  string           // for the trail, which has it nowhere
	channels    *channels        // by which people are told of questions; nil before the jail
	ledger      *ledger.Session  // nil where the profile has no budget
	budgetStale bool             // the agent's file of budgets could not be written

	refusals *refusals // of a learning run; else nil
	observed *jail.Observed

	trail    *audit.Writer
	sink     *counter
	building *building
	jail     *jail.Jail
	network  *netns.Supervisor
	wiped    audit.Wipe
	cgroups  []string

	signals *signals // nil before the jail
	last    bool     // the process ends with this run
	garbage func()   // the garbage collector works from the first call on

	begun   time.Time
	trace   *trace // nil without --trace
	reached reachedLimits
	on      []profiles.On // the profile's blocks, their programs resolved
	react   *react.Dispatcher
	asked   *asked // what the blocks ask of the run
	aborts  chan abort
	hash    chan string // of this binary, read while everything else starts
	stack   stack

	still   standstill
	watch   *watch
	masking *audit.Redactor // of what is packed

	collector *otlp.Exporter // nil where the profile names none
	watching  chan struct{}  // closed once there is a watch

	files *filewatch.Watch // sees changes of the workspace as they happen; nil without

	reserve reserve
	screens *screens // nil before the jail
}

// Run runs one command in a jail and returns its exit code as an *ExitError, or
// what kept it from running. The process is to end then: it takes no signal any more
// that asks it to.
func Run(h Host, o Options) error {
	s := newSession(h, o)
	s.last = true
	err := s.run()
	var le *jail.LayerError
	if errors.As(err, &le) {
		err = mended(err, gatherFacts(h))
	}
	var ended *ExitError
	if err != nil && !errors.As(err, &ended) {
		return errors.Join(err, s.tellFailure(err))
	}
	return err
}

func newSession(h Host, o Options) *session {
	s := &session{host: h, opt: o, begun: time.Now(), aborts: make(chan abort, 1), asked: newAsked(), hash: make(chan string, 1), watching: make(chan struct{})}
	if o.Trace {
		s.trace = &trace{begun: s.begun}
	}
	return s
}

func (s *session) run() (err error) {
	defer func() {
		// Also on a panic, which goes on once everything is undone. Nobody writes any more to
		// what is taken away: the jail is begun before some of that is made.
		s.reserve.release()
		if s.jail != nil {
			s.jail.Kill()
		}
		if uerr := s.stack.unwind(); uerr != nil {
			err = errors.Join(err, fmt.Errorf("wipe: %w", uerr))
		}
		if serr := s.settle(); serr != nil {
			err = errors.Join(err, fmt.Errorf("state folder: %w", serr))
		}
		// Not before: a signal that came while the agent's files are collected and wiped
		// would end us with the rest still there. Where nothing follows, not at all: it
		// would take the place of the exit code.
		if s.signals != nil && !s.last {
			s.signals.stop()
		}
	}()
	roomForBlocked()
	s.garbage = holdGarbage()
	s.sink = &counter{}
	s.stack.push(trailStep, s.closeTrail)
	if !s.last {
		defer s.garbage()
	}
	for _, st := range []struct {
		what string
		do   func() error
	}{{"command checked", s.check}, {"profile loaded, folders made", s.prepare}, {"plan made", s.decide}} {
		if err := st.do(); err != nil {
			return err
		}
		s.trace.done(st.what)
	}
	if s.opt.DryRun {
		enc := json.NewEncoder(s.host.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(s.plan)
	}
	go func() { s.hash <- selfHash(s.dirs.State) }()
	s.signals = newSignals()
	if err := s.openTrail(); err != nil {
		return err
	}
	s.trace.done("trail opened")
	end, err := s.live()
	var ce *jail.CommandError
	if errors.As(err, &ce) && ce.NotFound {
		ce.Hint = missingHint(ce.Command, s.host.getenv("PATH"))
	}
	s.trace.done("agent ended")
	if ferr := s.finish(end, err); err == nil {
		err = ferr
	}
	s.trace.done("wiped")
	if err != nil {
		return err
	}
	if err := s.trace.write(s.host.Stderr); err != nil {
		return err
	}
	return s.result(end)
}

// settle lets the state folder go. A run that was refused before it had a trail
// leaves none: nothing was started, and what is listed as a run was one.
func (s *session) settle() error {
	if s.alive == nil {
		return nil
	}
	path := filepath.Join(s.state, fileLock)
	if s.trail == nil {
		path = s.state
	}
	err := os.RemoveAll(path)
	return errors.Join(err, s.alive.Close())
}

func (s *session) openTrail() error {
	w, err := audit.Create(s.info.Audit, audit.Config{RunID: s.id, Version: s.host.Version, Size: s.spec.Audit.Size, Redact: s.redacted(),
		OnFull: func() { s.abort(abortAudit) }, OnError: func(error) { s.abort(abortTrail) }})
	if err != nil {
		return err
	}
	s.trail, s.sink.next = w, w
	if s.opt.learn {
		s.refusals = &refusals{next: w}
		s.sink.next = s.refusals
	}
	if err := s.openReactions(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s.spec, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.state, fileProfile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	return s.sendTrail()
}

// closeTrail is pushed before there is a trail: it is to close after all that writes to it.
func (s *session) closeTrail() error {
	if s.trail == nil {
		return nil
	}
	return s.trail.Close()
}

// live lets the agent run, once its jail is built, and waits for its end.
func (s *session) live() (end ending, err error) {
	s.openChannels()
	s.openApprovals()
	s.saysWhoIsAsked()
	published, err := s.listen()
	if err != nil {
		return end, err
	}
	if err := s.serveMetrics(); err != nil {
		return end, err
	}
	watch := s.newWatch()
	s.trace.done("run prepared")
	if err := s.build(); err != nil {
		return end, err
	}
	for _, m := range s.jail.Timeline {
		s.trace.at(m.What, m.At)
	}
	s.trace.done("jail built")
	if s.cgroups = s.jail.Cgroups(); len(s.cgroups) > 0 {
		// For recovery, should we be killed.
		if err := os.WriteFile(filepath.Join(s.runtime, fileCgroups), []byte(strings.Join(s.cgroups, "\n")), 0o600); err != nil {
			return end, fmt.Errorf("runtime folder: %w", err)
		}
	}
	if err := s.serveNetwork(published); err != nil {
		return end, err
	}
	s.trace.done("network served")
	if err := s.serveControl(); err != nil {
		return end, err
	}

	s.trace.done("control served")
	files := s.watchFiles()
	s.trace.done("files watched")
	s.sink.Emit(s.startRecord(files...))
	s.tellLeftOut()
	if err := s.trail.Commit(); err != nil {
		return end, fmt.Errorf("the trail can't be written: %w", err)
	}
	s.sink.watch(watch.saw)
	if s.jail.PTY != nil {
		copySize(s.host.Stdin, s.jail.PTY) // which a program may ask for first of all
	}
	s.jail.Release()
	s.trace.done("agent released")
	watch.start()
	s.tidy()
	return s.attend(s.signals, s.building.pipes)
}

// diskUpper makes the folder of an upper layer on disk, owned by the jail's root, where
// the plan has one.
func (s *session) diskUpper() error {
	dir := s.plan.Workspace.Disk
	if dir == "" {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	s.stack.push("remove "+dir, func() error { return removeTree(dir) })
	if s.plan.Rootless {
		return nil
	}
	return os.Chown(dir, int(s.plan.IDs.HostUID), int(s.plan.IDs.HostGID))
}

func limitValue(l *profiles.Limit) int64 {
	if l == nil {
		return 0
	}
	return l.Value
}

// startRecord is the trail's first event.
func (s *session) startRecord(more ...jail.Layer) audit.RunStart {
	r := audit.RunStart{RunID: s.id, Name: s.opt.Name, Argv: s.opt.Argv, Cwd: s.plan.Agent.Cwd,
		Workspace: s.plan.Workspace.Path, WorkspaceMode: string(s.plan.Workspace.Mode), Profile: s.spec.Name,
		ProfileHashes: map[string]string{}, Version: s.host.Version, Kernel: s.features.Kernel,
		Mode: "rootless", Caller: fmt.Sprintf("uid %d gid %d", s.host.UID, s.host.GID), Syscalls: s.plan.Syscalls,
		Limits: limitTexts(s.spec, s.features), Learning: s.opt.learn}
	if !s.plan.Rootless {
		r.Mode = "root"
	}
	for _, src := range s.spec.Sources {
		r.ProfileHashes[src.File] = src.SHA256
	}
	r.BinaryHash = <-s.hash
	for _, l := range slices.Concat(s.jail.Layers, s.ownLayers(), more) {
		r.Layers = append(r.Layers, audit.Layer(l))
	}
	return r
}

// ownLayers are the layers that no stage check speaks of.
func (s *session) ownLayers() []jail.Layer {
	w := s.plan.Workspace
	layers := []jail.Layer{
		{Name: "namespaces", State: "enforced", Detail: "user, mount, pid, network, ipc, uts, cgroup", Probe: "PID 1 runs in them; it has no other way to be PID 1"},
		{Name: "file view", State: "enforced", Detail: fmt.Sprintf("%d mounts, the root read-only", len(s.plan.Mounts)), Probe: "each bind's device and inode compared with the plan after the last mount"},
		{Name: "workspace", State: "enforced", Detail: fmt.Sprintf("%s %s", w.Mode, w.Upper), Probe: "mounted"},
		{Name: "network", State: "enforced", Detail: fmt.Sprintf("own namespace without a way out, %d sockets served by the gateway, nftables logs what is refused", len(s.link.Sockets)), Probe: "sockets and rules were accepted by the kernel"},
	}
	if s.direct != nil {
		layers = append(layers, s.direct.layer(s.plan))
	}
	if s.plan.Cgroup != nil {
		layers = append(layers, jail.Layer{Name: "cgroup", State: "enforced", Detail: string(s.features.Cgroup), Probe: "limits written"})
	}
	layers = append(layers, s.screens.layer(s.host.Stdout, s.host.Stderr)...)
	layers = append(layers, s.tls.layers(&s.spec.Network, s.missing)...)
	for _, name := range jail.StandIns(s.spec.Limits, s.features) {
		layers = append(layers, jail.Layer{Name: "limit " + name, State: "degraded", Detail: "best effort, no cgroup: " + s.features.CgroupWhy})
	}
	return layers
}
