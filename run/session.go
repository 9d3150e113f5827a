package run

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// session is one run. Its stages stand below in the order in which they happen;
// each pushes its own undoing onto the stack.
type session struct {
	host Host
	dirs Dirs
	opt  Options
	spec *profiles.Spec

	id         string
	runtime    string // this run's folders
	state      string
	alive      *os.File // the lock in the state folder, held to the very end
	info       Info
	terminal   bool
	statusOpen bool // --status-fd was looked at and can be written
	features   jail.Features
	claim      *jail.Claim
	link       netns.LinkPlan
	plan       *jail.Plan
	bundle     string // CA bundle, where the profile or the run adds to the host's
	tls        interception

	upstreamCAs map[string][]byte // PEM, by path

	trail   *audit.Writer
	sink    *counter
	jail    *jail.Jail
	network *netns.Supervisor
	wiped   audit.Wipe
	cgroups []string

	begun  time.Time
	trace  *trace // nil without --trace
	aborts chan abort
	hash   chan string // of this binary, read while everything else starts
	stack  stack
}

// Run runs one command in a jail and returns its exit code as an *ExitError, or
// what kept it from running.
func Run(h Host, o Options) error {
	s := newSession(h, o)
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
	s := &session{host: h, opt: o, begun: time.Now(), aborts: make(chan abort, 1), hash: make(chan string, 1)}
	if o.Trace {
		s.trace = &trace{begun: s.begun}
	}
	return s
}

// hashFile keeps this binary's hash, with what tells that it is still this binary.
const hashFile = "binary.sha256"

func (s *session) run() (err error) {
	defer func() {
		// Also on a panic, which goes on once everything is undone.
		if uerr := s.stack.unwind(); uerr != nil {
			err = errors.Join(err, fmt.Errorf("wipe: %w", uerr))
		}
		if serr := s.settle(); serr != nil {
			err = errors.Join(err, fmt.Errorf("state folder: %w", serr))
		}
	}()
	for _, st := range []struct {
		what string
		do   func() error
	}{{"command checked", s.check}, {"profile loaded", s.load}, {"folders made", s.folders}, {"plan made", s.decide}} {
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
	if err := s.openTrail(); err != nil {
		return err
	}
	s.trace.done("trail opened")
	end, err := s.live()
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

// check refuses what needs no profile to be refused.
func (s *session) check() error {
	if err := checkStatusFD(s.opt.StatusFD); err != nil {
		return err
	}
	s.statusOpen = s.opt.StatusFD >= 0
	if err := checkCommand(s.opt.Argv); err != nil {
		return err
	}
	if err := checkOutputs(s.opt, s.host.Cwd); err != nil {
		return err
	}
	var err error
	if s.terminal, err = wantTerminal(s.opt.TTY, s.host.Stdin, s.host.Stdout); err != nil {
		return err
	}
	s.dirs, err = findDirs(s.host.getenv, s.host.Home, s.host.UID)
	return err
}

// load resolves the profile and the workspace.
func (s *session) load() error {
	spec, err := loadProfile(s.host, s.dirs, s.opt.Profile, s.opt.Vars, s.opt.Strict)
	if err != nil {
		return err
	}
	if s.opt.Workspace != "" {
		spec.Workspace.Path = absolute(s.host.Cwd, s.opt.Workspace)
	}
	real, err := filepath.EvalSymlinks(spec.Workspace.Path)
	if err != nil {
		return fmt.Errorf("workspace %s: %w\nhint: name an existing folder with --workspace", spec.Workspace.Path, pathCause(err))
	}
	home, err := filepath.EvalSymlinks(s.host.Home)
	if err != nil {
		home = s.host.Home
	}
	if err := checkWorkspace(real, home, s.opt.ForceWorkspace); err != nil {
		return err
	}
	s.spec = spec
	return nil
}

func pathCause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// folders makes the run's own folders under its lock, after clearing away what
// crashed runs left.
func (s *session) folders() error {
	if s.opt.DryRun {
		s.id = "dry-run"
		s.runtime, s.state = filepath.Join(s.dirs.Runtime, s.id), filepath.Join(s.dirs.State, "runs", s.id)
		return nil
	}
	var err error
	if s.id, err = newRunID(s.begun); err != nil {
		return err
	}
	_, err = os.Lstat(s.dirs.Runtime)
	firstSinceBoot := errors.Is(err, fs.ErrNotExist)
	if err := prepareDirs(s.dirs, s.host.UID); err != nil {
		return err
	}
	// What a crashed run left is no reason not to run; `agentjail clean` says more.
	_, _ = recoverRuns(s.dirs, s.host.UID)
	if firstSinceBoot {
		// A power cut takes away the runtime folders, by which recovery finds the rest.
		_, _ = removeStray(s.dirs)
	}

	s.runtime = filepath.Join(s.dirs.Runtime, s.id)
	s.state = filepath.Join(s.dirs.State, "runs", s.id)
	s.info = Info{ID: s.id, Name: s.opt.Name, Argv: s.opt.Argv, Profile: s.spec.Name, Workspace: s.spec.Workspace.Path,
		Mode: string(s.spec.Workspace.Mode), PID: os.Getpid(), Started: s.begun.UTC(), Runtime: s.runtime,
		Audit: filepath.Join(s.state, fileAudit), Artifacts: filepath.Join(s.state, dirKept)}
	if s.opt.Audit != "" {
		s.info.Audit = absolute(s.host.Cwd, s.opt.Audit)
	}
	if s.opt.Artifacts != "" {
		s.info.Artifacts = absolute(s.host.Cwd, s.opt.Artifacts)
	}
	if err := os.MkdirAll(filepath.Dir(s.state), 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.Mkdir(s.state, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if s.alive, err = lock(filepath.Join(s.state, fileLock)); err != nil {
		return errors.Join(fmt.Errorf("state folder: %w", err), os.RemoveAll(s.state))
	}
	if err := writeInfo(s.state, s.info); err != nil {
		return fmt.Errorf("state folder %s: %w\nhint: is the disk full? agentjail keeps the trail there", s.state, err)
	}
	held, err := makeRuntime(s.dirs, s.runtime, s.state)
	if err != nil {
		return err
	}
	s.stack.push("remove "+s.runtime, func() error {
		err := os.RemoveAll(s.runtime)
		return errors.Join(err, held.Close())
	})
	return nil
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

// decide probes the host and makes the plan.
func (s *session) decide() error {
	var err error
	if s.features, err = jail.Probe(); err != nil {
		return err
	}
	s.link = netns.PlanLink(s.spec.Network)
	if !netns.HostIPv6() {
		s.link = s.link.WithoutIPv6()
	}
	network, err := json.Marshal(s.link)
	if err != nil {
		return err
	}
	facts, err := jail.Look(s.spec)
	if err != nil {
		return err
	}
	caller := jail.Owner{UID: uint32(s.host.UID), GID: uint32(s.host.GID)}
	if err := facts.Scan(s.spec, s.features, caller); err != nil {
		return err
	}
	r := jail.Request{ID: s.id, RuntimeDir: s.runtime, StateDir: s.state, Argv: s.opt.Argv, Cwd: s.cwd(facts),
		Terminal: s.terminal, Network: network, Caller: caller}
	if err := s.intercept(); err != nil {
		return err
	}
	if s.upstreamCAs, err = upstreamCAs(s.spec.Network); err != nil {
		return err
	}
	if s.bundle, err = caBundle(s.upstreamCAs, s.tls.certificate()); err != nil {
		return err
	}
	r.CABundle = s.bundle
	r.Env = jail.Environment(s.spec.Process, s.host.Environ, s.ownEnv())
	if err := s.tls.checkLeaks(r.Env, r.Argv); err != nil {
		return err
	}
	r.Files = []jail.File{
		{Path: "/etc/resolv.conf", Content: netns.ResolvConf()},
		{Path: "/etc/hosts", Content: netns.HostsFile("agentjail")},
		{Path: jail.InsideDir + "/policy.md", Content: netns.Policy(s.spec)},
	}
	if s.tls.cert != nil {
		store := trustStore([]byte(s.bundle), s.begun)
		r.Files = append(r.Files, jail.File{Path: trustStorePath, Content: string(store)})
	}
	if s.features.Privileged {
		r.UIDBase = jail.UIDFirst
		if !s.opt.DryRun {
			if s.claim, err = jail.ClaimUIDs(s.dirs.UIDs); err != nil {
				return fmt.Errorf("claim a range of host uids: %w", err)
			}
			s.stack.push("give back the uid range", s.claim.Release)
			r.UIDBase = s.claim.Base
		}
	}
	s.plan, err = jail.MakePlan(s.spec, s.features, facts, r)
	return err
}

// cwd is where the agent starts: where the caller stands if that is in the
// workspace, else the workspace itself.
func (s *session) cwd(f jail.Facts) string {
	rel, err := filepath.Rel(f.Workspace.Real, s.host.Cwd)
	if err == nil && filepath.IsLocal(rel) {
		return s.host.Cwd
	}
	return f.Workspace.Real
}

func (s *session) openTrail() error {
	w, err := audit.Create(s.info.Audit, audit.Config{RunID: s.id, Version: s.host.Version, Size: s.spec.Audit.Size, Redact: s.tls.redact,
		OnFull: func() { s.abort(abortAudit) }, OnError: func(error) { s.abort(abortTrail) }})
	if err != nil {
		return err
	}
	s.trail, s.sink = w, &counter{next: w}
	s.stack.push(trailStep, w.Close)
	data, err := json.MarshalIndent(s.spec, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.state, fileProfile), append(data, '\n'), 0o600)
}

// live builds the jail, lets the agent run and waits for its end.
func (s *session) live() (end ending, err error) {
	if s.plan.Workspace.Disk != "" {
		if err := s.diskUpper(); err != nil {
			return end, err
		}
	}
	meter := newMeter(limitValue(s.spec.Limits.Output))
	var pipes *relay
	opts := jail.Options{CABundle: s.bundle, Sink: s.sink}
	if !s.terminal {
		if pipes, err = newPipes(meter); err != nil {
			return end, err
		}
		opts.Stdio = pipes.inside
		s.stack.push("close the pipes", func() error { pipes.close(); return nil })
	}
	ctl := newControl()
	defer ctl.stop()

	s.jail, err = jail.Start(s.plan, opts)
	if err != nil {
		return end, err
	}
	for _, m := range s.jail.Timeline {
		s.trace.at(m.What, m.At)
	}
	s.trace.done("jail built")
	s.stack.push("end the jail", func() error { s.jail.Kill(); return s.jail.Close() })
	if s.cgroups = s.jail.Cgroups(); len(s.cgroups) > 0 {
		// For recovery, should we be killed.
		if err := os.WriteFile(filepath.Join(s.runtime, fileCgroups), []byte(strings.Join(s.cgroups, "\n")), 0o600); err != nil {
			return end, fmt.Errorf("runtime folder: %w", err)
		}
	}
	cfg := netns.Config{Network: s.spec.Network, Link: s.link, Proxy: s.host.proxy(), Sink: s.sink,
		UpstreamCAs: s.upstreamCAs, Intercept: s.tls.forGateway()}
	if s.claim != nil {
		// Nobody's uid, not even the agent's: the last but one of the claimed range.
		id := s.claim.Base + jail.UIDRange - 2
		cfg.Credential = gatewayUser(id)
	}
	if s.network, err = netns.Start(cfg, s.jail.Network); err != nil {
		return end, err
	}
	// What ended it early is told by finish, and is not the agent's failure.
	s.stack.push("stop the network", func() error { _ = s.network.Close(); return nil })
	s.trace.done("network served")

	s.sink.Emit(s.startRecord())
	if err := s.trail.Commit(); err != nil {
		return end, fmt.Errorf("the trail can't be written: %w", err)
	}
	s.jail.Release()
	s.trace.done("agent released")
	return s.attend(ctl, meter, pipes)
}

// diskUpper makes the folder of an upper layer on disk, owned by the jail's root.
func (s *session) diskUpper() error {
	dir := s.plan.Workspace.Disk
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
func (s *session) startRecord() audit.RunStart {
	r := audit.RunStart{RunID: s.id, Name: s.opt.Name, Argv: s.opt.Argv, Cwd: s.plan.Agent.Cwd,
		Workspace: s.plan.Workspace.Path, WorkspaceMode: string(s.plan.Workspace.Mode), Profile: s.spec.Name,
		ProfileHashes: map[string]string{}, Version: s.host.Version, Kernel: s.features.Kernel,
		Mode: "rootless", Caller: fmt.Sprintf("uid %d gid %d", s.host.UID, s.host.GID), Syscalls: s.plan.Syscalls,
		Limits: limitTexts(s.spec, s.features)}
	if !s.plan.Rootless {
		r.Mode = "root"
	}
	for _, src := range s.spec.Sources {
		r.ProfileHashes[src.File] = src.SHA256
	}
	r.BinaryHash = <-s.hash
	for _, l := range slices.Concat(s.jail.Layers, s.ownLayers()) {
		r.Layers = append(r.Layers, audit.Layer(l))
	}
	return r
}

// selfHash is the SHA-256 of this binary; "" where it can't be read. 17 MB take 10
// ms, so it is kept beside the runs for as long as the file's inode, size and times
// are the same; a change of content changes ctime, which nobody can set.
func selfHash(state string) string {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return ""
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	id := fmt.Sprintf("%d:%d:%d:%d:%d", st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
	path := filepath.Join(state, hashFile)
	if kept, err := os.ReadFile(path); err == nil {
		if sum, ok := strings.CutPrefix(string(kept), id+" "); ok && len(sum) == 2*sha256.Size {
			return sum
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	sum := hex.EncodeToString(h.Sum(nil))
	// Only the time is lost if it can't be kept.
	if tmp, err := os.CreateTemp(state, "."+hashFile); err == nil {
		_, werr := tmp.WriteString(id + " " + sum)
		if cerr := tmp.Close(); werr != nil || cerr != nil || os.Rename(tmp.Name(), path) != nil {
			os.Remove(tmp.Name())
		}
	}
	return sum
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
	if s.plan.Cgroup != nil {
		layers = append(layers, jail.Layer{Name: "cgroup", State: "enforced", Detail: string(s.features.Cgroup), Probe: "limits written"})
	}
	layers = append(layers, s.tls.layers(&s.spec.Network)...)
	for _, name := range jail.StandIns(s.spec.Limits, s.features) {
		layers = append(layers, jail.Layer{Name: "limit " + name, State: "degraded", Detail: "best effort, no cgroup: " + s.features.CgroupWhy})
	}
	return layers
}
