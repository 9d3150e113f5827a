package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// What holds where no file of the chain says anything. base.hcl writes the same
// values out for its readers; a profile that extends nothing has them from here.
const (
	defaultMode          = ModeOverlay
	defaultUpper         = UpperAuto
	defaultWorkspaceSize = 2 << 30
	// Each takes about a kilobyte of the kernel's memory where the agent's files are in
	// memory; a large node_modules has some 200,000.
	defaultWorkspaceFiles = 500_000
	defaultArtifactsSize  = 500 << 20
	defaultAuditSize      = 200 << 20

	defaultApprovalTimeout = 2 * time.Minute
)

// resolve merges the layers, lowest first, into a Spec. Of lists, the nearest file's
// entries come first, so that of equally specific rules the profile's own one is
// quoted; every entry counts, and denies are never dropped.
func resolve(top *file, layers []*layer, files []*file, o *Options) *Spec {
	s := &Spec{
		Name:      top.base,
		Sources:   make([]Source, 0, len(files)),
		Workspace: Workspace{Path: o.Cwd, Mode: defaultMode, Upper: defaultUpper, Size: defaultWorkspaceSize, Files: defaultWorkspaceFiles, Hide: []Pattern{}},
		Files:     Files{Read: []Pattern{}, Write: []Pattern{}, Exec: []Pattern{}, Deny: []Pattern{}, Home: []HomeSeed{}, Limits: []FileLimit{}},
		Network:   Network{Allow: []NetRule{}, Ask: []NetRule{}, Deny: []NetRule{}, HostPorts: []PortRule{}, Publish: []PortRule{}},
		Secrets:   []Secret{},
		Budgets:   []Budget{},
		Prices:    []Price{},
		On:        []On{},
		Process:   Process{PassEnv: []Pattern{}, Env: []EnvVar{}, Deny: []ExecRule{}, Ask: []ExecRule{}, Limit: []ExecRule{}, Approved: []ExecRule{}, ExecNew: ExecNewAllow, Terminal: TerminalFilter},
		Syscalls:  []Syscall{},
		Artifacts: Artifacts{Collect: []Pattern{}, Size: defaultArtifactsSize},
		Apply:     Apply{Hold: []HandOff{}, Allow: []HandOff{}},
		Audit:     Audit{Size: defaultAuditSize},
		Approval:  Approval{Timeout: int64(defaultApprovalTimeout), Notify: []string{}, Quorum: 1},
		Tests:     []Case{},
	}
	for _, f := range files {
		sum := sha256.Sum256(f.src)
		s.Sources = append(s.Sources, Source{File: f.name, Path: f.path, SHA256: hex.EncodeToString(sum[:]), Builtin: f.builtin})
	}
	for _, l := range layers {
		s.setScalars(l)
	}
	for _, l := range slices.Backward(layers) {
		s.addRules(l)
	}
	s.Description = layers[len(layers)-1].description // of the profile itself alone
	slices.SortFunc(s.Process.Env, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return s
}

func (s *Spec) setScalars(l *layer) {
	set(&s.Workspace.Path, l.path)
	set(&s.Workspace.Mode, l.mode)
	set(&s.Workspace.Upper, l.upper)
	set(&s.Workspace.Size, l.workspaceSize)
	set(&s.Workspace.Files, l.workspaceFiles)
	set(&s.Workspace.Origin, l.workspaceOrigin)
	set(&s.Artifacts.Size, l.artifactsSize)
	set(&s.Artifacts.Origin, l.artifactsOrigin)
	set(&s.Audit.Size, l.auditSize)
	set(&s.Audit.OTLP, l.auditOTLP)
	set(&s.Audit.Origin, l.auditOrigin)
	set(&s.Process.ExecNew, l.execNew)
	set(&s.Process.Terminal, l.terminal)
	set(&s.Approval.Timeout, l.approvalTimeout)
	set(&s.Approval.Quorum, l.approvalQuorum)
	set(&s.Approval.Extend, l.approvalExtend)
	set(&s.Approval.Origin, l.approvalOrigin)
	if l.approvalWebhook != nil { // with its own key, never another's
		s.Approval.Webhook, s.Approval.WebhookKey = *l.approvalWebhook, l.approvalWebhookKey
	}
	for _, limit := range []struct{ to, from **Limit }{
		{&s.Limits.Memory, &l.limits.Memory},
		{&s.Limits.CPUs, &l.limits.CPUs},
		{&s.Limits.Processes, &l.limits.Processes},
		{&s.Limits.OpenFiles, &l.limits.OpenFiles},
		{&s.Limits.Time, &l.limits.Time},
		{&s.Limits.Idle, &l.limits.Idle},
		{&s.Limits.Output, &l.limits.Output},
		{&s.Limits.IOWeight, &l.limits.IOWeight},
	} {
		if *limit.from != nil {
			*limit.to = *limit.from
		}
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func (s *Spec) addRules(l *layer) {
	addPatterns(&s.Workspace.Hide, l.hide)
	addPatterns(&s.Files.Read, l.files.Read)
	addPatterns(&s.Files.Write, l.files.Write)
	addPatterns(&s.Files.Exec, l.files.Exec)
	addPatterns(&s.Files.Deny, l.files.Deny)
	s.Network.Allow = append(s.Network.Allow, l.network.Allow...)
	s.Network.Ask = append(s.Network.Ask, l.network.Ask...)
	s.Network.Deny = append(s.Network.Deny, l.network.Deny...)
	s.addSSHAgent(l.sshAgent)
	addPorts(&s.Network.HostPorts, l.network.HostPorts)
	addPorts(&s.Network.Publish, l.network.Publish)
	s.Process.Deny = append(s.Process.Deny, l.execDeny...)
	s.Process.Ask = append(s.Process.Ask, l.execAsk...)
	s.Process.Limit = append(s.Process.Limit, l.execLimit...)
	s.Process.Approved = append(s.Process.Approved, l.execApproved...)
	s.Files.Limits = append(s.Files.Limits, l.files.Limits...)
	s.Tests = append(s.Tests, l.tests...)
	for _, h := range l.files.Home { // of one place, the nearest file's
		if !slices.ContainsFunc(s.Files.Home, func(o HomeSeed) bool { return o.Path == h.Path }) {
			s.Files.Home = append(s.Files.Home, h)
		}
	}
	for _, r := range l.on { // of one event, the nearest file's
		if !slices.ContainsFunc(s.On, func(o On) bool { return o.Event == r.Event }) {
			s.On = append(s.On, r)
		}
	}
	for _, way := range l.approvalNotify {
		if !slices.Contains(s.Approval.Notify, way) {
			s.Approval.Notify = append(s.Approval.Notify, way)
		}
	}
	for _, p := range l.prices { // of one model, the nearest file's
		if !slices.ContainsFunc(s.Prices, func(o Price) bool { return o.Model == p.Model && o.Above == p.Above }) {
			s.Prices = append(s.Prices, p)
		}
	}
	for _, x := range l.secrets {
		if s.Secret(x.Name) == nil { // the nearest file's counts
			s.Secrets = append(s.Secrets, x)
		}
	}
	for _, b := range l.budgets {
		if known := s.Budget(b.Name); known != nil {
			known.narrow(b)
		} else {
			s.Budgets = append(s.Budgets, b)
		}
	}
	addPatterns(&s.Process.PassEnv, l.passEnv)
	addPatterns(&s.Artifacts.Collect, l.collect)
	addHandOffs(&s.Apply.Hold, l.apply.Hold)
	addHandOffs(&s.Apply.Allow, l.apply.Allow)
	for _, v := range l.env {
		if !slices.ContainsFunc(s.Process.Env, func(e EnvVar) bool { return e.Name == v.Name }) {
			s.Process.Env = append(s.Process.Env, v)
		}
	}
	for _, c := range l.syscalls {
		if !slices.ContainsFunc(s.Syscalls, func(e Syscall) bool { return e.Name == c.Name }) {
			s.Syscalls = append(s.Syscalls, c)
		}
	}
}

// addPatterns adds what is not there yet, so that the nearest origin stays.
func addPatterns(to *[]Pattern, from []Pattern) {
	for _, p := range from {
		if !slices.ContainsFunc(*to, func(e Pattern) bool { return e.Pattern == p.Pattern }) {
			*to = append(*to, p)
		}
	}
}
