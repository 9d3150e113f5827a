package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// What holds where no file of the chain says anything. base.hcl writes the same
// values out for its readers; a profile that extends nothing has them from here.
const (
	defaultMode          = ModeOverlay
	defaultUpper         = UpperAuto
	defaultWorkspaceSize = 2 << 30
	defaultArtifactsSize = 500 << 20
	defaultAuditSize     = 200 << 20
)

// resolve merges the layers, lowest first, into a Spec. Of lists, the nearest file's
// entries come first, so that of equally specific rules the profile's own one is
// quoted; every entry counts, and denies are never dropped.
func resolve(top *file, layers []*layer, files []*file, o *Options) *Spec {
	s := &Spec{
		Name:      top.base,
		Sources:   make([]Source, 0, len(files)),
		Workspace: Workspace{Path: o.Cwd, Mode: defaultMode, Upper: defaultUpper, Size: defaultWorkspaceSize, Hide: []Pattern{}},
		Files:     Files{Read: []Pattern{}, Write: []Pattern{}, Exec: []Pattern{}, Deny: []Pattern{}},
		Network:   Network{Allow: []NetRule{}, Deny: []NetRule{}},
		Secrets:   []Secret{},
		Process:   Process{PassEnv: []Pattern{}, Env: []EnvVar{}},
		Syscalls:  []Syscall{},
		Artifacts: Artifacts{Collect: []Pattern{}, Size: defaultArtifactsSize},
		Audit:     Audit{Size: defaultAuditSize},
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
	set(&s.Workspace.Origin, l.workspaceOrigin)
	set(&s.Artifacts.Size, l.artifactsSize)
	set(&s.Artifacts.Origin, l.artifactsOrigin)
	set(&s.Audit.Size, l.auditSize)
	set(&s.Audit.Origin, l.auditOrigin)
	for _, limit := range []struct{ to, from **Limit }{
		{&s.Limits.Memory, &l.limits.Memory},
		{&s.Limits.CPUs, &l.limits.CPUs},
		{&s.Limits.Processes, &l.limits.Processes},
		{&s.Limits.OpenFiles, &l.limits.OpenFiles},
		{&s.Limits.Time, &l.limits.Time},
		{&s.Limits.Idle, &l.limits.Idle},
		{&s.Limits.Output, &l.limits.Output},
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
	s.Network.Deny = append(s.Network.Deny, l.network.Deny...)
	for _, x := range l.secrets {
		if s.Secret(x.Name) == nil { // the nearest file's counts
			s.Secrets = append(s.Secrets, x)
		}
	}
	addPatterns(&s.Process.PassEnv, l.passEnv)
	addPatterns(&s.Artifacts.Collect, l.collect)
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
