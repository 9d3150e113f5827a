package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/otlp"
)

// check refuses what needs no profile to be refused.
func (s *session) check() (err error) {
	if s.reserve, err = holdBack(); err != nil {
		return err
	}
	if err := checkStatusFD(s.opt.StatusFD); err != nil {
		return err
	}
	s.statusOpen = s.opt.StatusFD >= 0
	if s.opt.Metrics != "" {
		if err := checkMetrics(s.opt.Metrics, s.opt.MetricsRemote); err != nil {
			return err
		}
	}
	if err := checkCommand(s.opt.Argv); err != nil {
		return err
	}
	if err := checkOutputs(s.opt, s.host.Cwd); err != nil {
		return err
	}
	if s.terminal, err = wantTerminal(s.opt.TTY, s.host.Stdin, s.host.Stdout); err != nil {
		return err
	}
	s.dirs, err = findDirs(s.host.getenv, s.host.Home, s.host.UID)
	return err
}

// load resolves the profile and the workspace.
func (s *session) load() error {
	if s.opt.Profile == "" && len(s.opt.Argv) > 0 {
		if s.opt.Profile = profiles.ForCommand(s.opt.Argv[0]); s.opt.Profile != "" && !s.opt.Quiet && !s.opt.JSON {
			fmt.Fprintf(s.host.Stderr, "agentjail: profile %s, by the command's name; --profile names another\n", s.opt.Profile)
		}
	}
	spec, err := loadProfile(s.host, s.dirs, s.opt.Profile, s.opt.Vars, s.opt.Strict)
	if err != nil {
		return err
	}
	if spec.Audit.OTLP != "" {
		if err := otlp.Check(spec.Audit.OTLP); err != nil {
			return fmt.Errorf("%s: %w", spec.Audit.Origin, err)
		}
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
	spec.Files.Exec = append(spec.Files.Exec, s.grants...)
	s.missing = missingSecrets(s.host, spec)
	spec.Without(s.missing)
	s.spec = spec
	if note := missingNote(spec, s.missing); note != "" && !s.opt.Quiet && !s.opt.JSON {
		fmt.Fprintln(s.host.Stderr, "agentjail:", note)
	}
	return s.checkReactions(real)
}

func pathCause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// prepare loads the profile. What needs nothing of it is done meanwhile, on another
// processor: the run's folders, a look at the host, and either the jail's container, where
// each profile's would be the same, or what its start would wait for. A profile that is then
// refused has cost a container in which nothing ran.
func (s *session) prepare() error {
	made := make(chan error, 1)
	go profiles.Prepare()
	go jail.Warm()
	go func() {
		early := false
		made <- guarded(func() (err error) {
			if err := s.folders(); err != nil {
				return err
			}
			if s.features, err = jail.Probe(); err != nil || s.opt.DryRun {
				return err
			}
			var base jail.Base
			if base, early = jail.EarlyBase(s.features, s.container()); early {
				return s.begin(base)
			}
			return nil
		})
		if !early {
			jail.WarmCoders()
		}
	}()
	err := s.load()
	if ferr := <-made; err == nil {
		err = ferr
	}
	if err != nil || s.opt.DryRun {
		return err
	}
	s.info = Info{ID: s.id, Name: s.opt.Name, Argv: s.opt.Argv, Profile: s.spec.Name, Workspace: s.spec.Workspace.Path,
		Mode: string(s.spec.Workspace.Mode), PID: os.Getpid(), Started: s.begun.UTC(), Runtime: s.runtime,
		Audit: filepath.Join(s.state, fileAudit), Artifacts: filepath.Join(s.state, dirKept)}
	if s.opt.Audit != "" {
		s.info.Audit = absolute(s.host.Cwd, s.opt.Audit)
	}
	if s.opt.Artifacts != "" {
		s.info.Artifacts = absolute(s.host.Cwd, s.opt.Artifacts)
	}
	if err := writeInfo(s.state, s.info); err != nil {
		return fmt.Errorf("state folder %s: %w\nhint: is the disk full? agentjail keeps the trail there", s.state, err)
	}
	return nil
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
	// A half applied one is: the agent would work on a folder that never was.
	if err := recoverAppliesNow(s.dirs); err != nil {
		return err
	}
	if firstSinceBoot {
		// A power cut takes away the runtime folders, by which recovery finds the rest.
		_, _ = removeStray(s.dirs)
	}

	s.runtime = filepath.Join(s.dirs.Runtime, s.id)
	s.state = filepath.Join(s.dirs.State, "runs", s.id)
	if err := os.MkdirAll(filepath.Dir(s.state), 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := os.Mkdir(s.state, 0o711); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if s.alive, err = lock(filepath.Join(s.state, fileLock)); err != nil {
		return errors.Join(fmt.Errorf("state folder: %w", err), unmake(s.state, fileLock))
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

// decide begins to make the jail's container, where that waited for the profile, and makes
// the plan.
func (s *session) decide() error {
	r, err := s.request()
	if err != nil {
		return err
	}
	base, err := jail.MakeBase(s.spec.Limits, s.features, r)
	if err != nil {
		return err
	}
	if s.building == nil && !s.opt.DryRun {
		if err := s.begin(base); err != nil {
			return err
		}
	}
	facts, err := jail.Look(s.spec)
	if err != nil {
		return err
	}
	if err := facts.Scan(s.spec, s.features, r.Caller); err != nil {
		return err
	}
	r.Cwd = s.cwd(facts)
	if err := s.intercept(); err != nil {
		return err
	}
	if err := s.loadWebhook(); err != nil {
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
	if err := s.checkWebhookKey(r.Env, r.Argv); err != nil {
		return err
	}
	budgets, err := s.openBudgets()
	if err != nil {
		return err
	}
	r.Files = []jail.File{
		{Path: "/etc/resolv.conf", Content: netns.ResolvConf()},
		{Path: "/etc/hosts", Content: netns.HostsFile("agentjail")},
		{Path: jail.InsideDir + "/policy.md", Content: netns.Policy(s.spec)},
	}
	r.Files = append(r.Files, budgets...)
	if s.spec.Process.Limited() || len(s.spec.Files.Limits) > 0 || s.spec.Workspace.Mode == profiles.ModeDirect {
		r.Files = append(r.Files, jail.File{Path: jail.LastDenial, Live: true})
	}
	if s.agentSocket, err = s.findAgent(); err != nil {
		return err
	}
	if s.agentSocket != "" {
		r.Sockets = []string{agentSocketPath}
	}
	if s.tls.cert != nil {
		store := trustStore([]byte(s.bundle), s.begun)
		r.Files = append(r.Files, jail.File{Path: trustStorePath, Content: string(store)})
	}
	if s.spec.Workspace.Mode == profiles.ModeDirect {
		if s.direct, err = guardDirect(s.spec, facts.Workspace.Real); err != nil {
			return err
		}
		if err := s.holdEarly(facts.Workspace.Real); err != nil {
			return err
		}
		r.Protected, r.Naming = s.direct.protected, true
	}
	s.screens = newScreens(s.spec.Process)
	s.plan, err = jail.MakePlan(s.spec, s.features, facts, r)
	return err
}

// container is what the jail's container depends on beside the host and the profile.
func (s *session) container() jail.Request {
	return jail.Request{ID: s.id, RuntimeDir: s.runtime, StateDir: s.state, Argv: s.opt.Argv, Terminal: s.terminal,
		Caller: jail.Owner{UID: uint32(s.host.UID), GID: uint32(s.host.GID)}, Observe: s.opt.learn}
}

// request asks for a container and the network in it.
func (s *session) request() (r jail.Request, err error) {
	if s.spec.Limits.IOWeight != nil {
		s.features.ProbeIOWeight()
	}
	s.link = netns.PlanLink(s.spec.Network)
	if !netns.HostIPv6() {
		s.link = s.link.WithoutIPv6()
	}
	r = s.container()
	if r.Network, err = json.Marshal(s.link); err != nil {
		return r, err
	}
	if !s.features.Privileged {
		return r, nil
	}
	r.UIDBase = jail.UIDFirst
	if s.opt.DryRun {
		return r, nil
	}
	if s.claim, err = jail.ClaimUIDs(s.dirs.UIDs); err != nil {
		return r, fmt.Errorf("claim a range of host uids: %w", err)
	}
	s.stack.push("give back the uid range", s.claim.Release)
	r.UIDBase = s.claim.Base
	return r, nil
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
