package jail

import (
	"slices"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// TestPlanCeiling: what the profile grants is in the view only as far as the ceiling
// names it too, and so it is with the system calls that it opens.
func TestPlanCeiling(t *testing.T) {
	s := usualSpec() // executes /usr and /bin, reads /etc/services and /usr/share
	s.Files.Write = patterns("/home/u/.cache")
	s.Syscalls = []profiles.Syscall{{Name: "@ptrace"}, {Name: "bpf"}}
	read, exec, write := patterns("/usr", "/etc/services"), patterns("/usr/share"), []profiles.Pattern{}
	s.Files.Ceiling = &profiles.FilesCeiling{Read: &read, Exec: &exec, Write: &write}
	s.SyscallCeiling = &[]profiles.Syscall{{Name: "ptrace"}}
	p, err := MakePlan(s, usualFeatures(), hostPlaces(), usualRequest())
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]bool{"/usr": false, "/usr/bin": false, "/usr/share": true, "/etc/services": true, "/home/u/.cache": false} {
		if _, ok := find(p, target); ok != want {
			t.Errorf("%s is mounted: %v", target, ok)
		}
		granted := slices.ContainsFunc(p.Landlock.Rules, func(r LandlockRule) bool { return r.Path == target })
		if granted != want {
			t.Errorf("%s has a Landlock rule: %v", target, granted)
		}
	}
	if !slices.Equal(p.Syscalls, []string{"ptrace"}) {
		t.Errorf("system calls %q are opened", p.Syscalls)
	}
	s.Workspace.Within = "/home/u/wor"
	if _, err := MakePlan(s, usualFeatures(), hostPlaces(), usualRequest()); err == nil {
		t.Error("the workspace may lie outside of the ceiling's folder")
	}
	s.Workspace.Within = "/home/u"
	if _, err := MakePlan(s, usualFeatures(), hostPlaces(), usualRequest()); err != nil {
		t.Error(err)
	}
	// Without one, all of it is there.
	s.Files.Ceiling, s.SyscallCeiling = nil, nil
	if p, err = MakePlan(s, usualFeatures(), hostPlaces(), usualRequest()); err != nil {
		t.Fatal(err)
	}
	if _, ok := find(p, "/usr"); !ok || len(p.Syscalls) != 5 {
		t.Errorf("no ceiling caps: %v %q", ok, p.Syscalls)
	}
}

// TestPlanSeeds: a seed is what a link leads to, and neither the profile's denies nor
// the ceiling are led around by one.
func TestPlanSeeds(t *testing.T) {
	plan := func(change func(*profiles.Spec, *Facts)) *Plan {
		t.Helper()
		s, facts := usualSpec(), hostPlaces()
		s.Files.Home = []profiles.HomeSeed{{Path: ".cache", From: "/home/u/.cache", Mode: profiles.SeedOverlay}, {Path: ".a/b", From: "/home/u/link", Mode: profiles.SeedReadonly}}
		facts.Seeds = map[string]Place{"/home/u/.cache": facts.Paths["/home/u/.cache"][0], "/home/u/link": facts.Paths["/home/u/.ssh"][0]}
		change(s, &facts)
		p, err := MakePlan(s, usualFeatures(), facts, usualRequest())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.Mounts {
			if m.Kind == MountBind && m.Writable && (m.Source == "/home/u/.cache" || m.Source == "/home/u/.ssh") {
				t.Errorf("the host's %s is mounted writable", m.Source)
			}
		}
		return p
	}
	targets := func(p *Plan) (list []string) {
		for _, s := range p.Seeds {
			list = append(list, s.Target)
		}
		return list
	}
	if got := targets(plan(func(*profiles.Spec, *Facts) {})); !slices.Equal(got, []string{"/home/agent/.cache", "/home/agent/.a/b"}) {
		t.Errorf("seeds %q", got)
	}
	denied := plan(func(s *profiles.Spec, _ *Facts) { s.Files.Deny = patterns("/home/u/.ssh") })
	if got := targets(denied); !slices.Equal(got, []string{"/home/agent/.cache"}) {
		t.Errorf("with a deny of what a link leads to: seeds %q", got)
	}
	read := patterns("/home/u/.cache", "/usr", "/bin", "/etc/services")
	capped := plan(func(s *profiles.Spec, _ *Facts) { s.Files.Ceiling = &profiles.FilesCeiling{Read: &read} })
	if got := targets(capped); !slices.Equal(got, []string{"/home/agent/.cache"}) {
		t.Errorf("with a ceiling: seeds %q", got)
	}
	below := plan(func(s *profiles.Spec, f *Facts) {
		s.Files.Deny = patterns("/home/u/.cache/secret")
		f.Paths["/home/u/.cache/secret"] = []Place{{Path: "/home/u/.cache/secret", Real: "/home/u/.cache/secret", Dir: true}}
	})
	if !slices.ContainsFunc(below.Deny, func(d DenyMask) bool { return d.Path == "/home/agent/.cache/secret" }) {
		t.Errorf("what is denied below a seed is not masked: %+v", below.Deny)
	}
}
