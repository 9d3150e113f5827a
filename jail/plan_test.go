package jail

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// hostPlaces are facts of a host that never was: a usual system, a home, a toolchain.
func hostPlaces() Facts {
	root := Owner{}
	user := Owner{1001, 1001}
	dir := func(path string, owner Owner, links ...Link) []Place {
		return []Place{{Path: path, Real: path, Dir: true, Perm: 0o755, Owner: owner, Dev: 1, Ino: uint64(len(path)), Links: links}}
	}
	bin := dir("/usr/bin", root, Link{"/bin", "usr/bin"})
	bin[0].Path = "/bin"
	secret, below := dir("/home/u/.ssh", user), dir("/usr/private", root)
	secret[0].Private, below[0].Private = true, true
	file := []Place{{Path: "/etc/services", Real: "/etc/services", Perm: 0o644, Dev: 1, Ino: 99}}
	return Facts{
		Paths: map[string][]Place{"/usr": dir("/usr", root), "/bin": bin, "/etc/services": file, "/opt/tool": dir("/opt/tool", root),
			"/home/u/.ssh": secret, "/usr/private": below, "/home/u/.cache": dir("/home/u/.cache", user), "/home/u/work/private": dir("/home/u/work/private", user),
			"/usr/share": dir("/usr/share", root), "/": dir("/", root), "/proc/1": dir("/proc/1", root), "/dev/dri": dir("/dev/dri", root),
			"/home/u/work": dir("/home/u/work", user), "/sys/fs": dir("/sys/fs", root)},
		Workspace: Place{Path: "/home/u/work", Real: "/home/u/work", Dir: true, Perm: 0o750, Owner: user, Dev: 1, Ino: 7},
	}
}

func patterns(list ...string) []profiles.Pattern {
	var out []profiles.Pattern
	for i, p := range list {
		out = append(out, profiles.Pattern{Pattern: p, Origin: profiles.Origin{File: "x.hcl", Line: i + 1}})
	}
	return out
}

func usualSpec() *profiles.Spec {
	return &profiles.Spec{
		Workspace: profiles.Workspace{Path: "/home/u/work", Mode: profiles.ModeOverlay, Size: 1 << 20},
		Files:     profiles.Files{Exec: patterns("/usr", "/bin"), Read: patterns("/etc/services", "/usr/share")},
	}
}

func usualFeatures() Features {
	return Features{LandlockABI: 7, SeccompNotify: true, TmpfsXattr: true, KnownCall: func(string) bool { return true }}
}

func usualRequest() Request {
	return Request{ID: "id", RuntimeDir: "/run/x/id", StateDir: "/state/id", Argv: []string{"true"}, Cwd: "/home/u/work",
		Caller: Owner{1001, 1001}, UIDBase: UIDFirst, Network: json.RawMessage("{}")}
}

func find(p *Plan, target string) (Mount, bool) {
	i := slices.IndexFunc(p.Mounts, func(m Mount) bool { return m.Target == target })
	if i < 0 {
		return Mount{}, false
	}
	return p.Mounts[i], true
}

// TestEarlyBase: a container that is begun before the profile is read is the one that the
// profile's plan asks for, or it is not begun.
func TestEarlyBase(t *testing.T) {
	limits := func(e profiles.Enforce) *profiles.Limit { return &profiles.Limit{Value: 1 << 30, Enforce: e} }
	for name, c := range map[string]struct {
		change func(*Features)
		early  bool
	}{
		"without a cgroup":   {func(*Features) {}, true},
		"a cgroup to be had": {func(f *Features) { f.Cgroup = CgroupSystemd }, false},
		"cgroup v1":          {func(f *Features) { f.Cgroup = CgroupV1 }, false},
		"root":               {func(f *Features) { f.Privileged = true }, false},
		"without Landlock":   {func(f *Features) { f.LandlockABI = 0 }, false},
		"without seccomp":    {func(f *Features) { f.SeccompNotify = false }, false},
	} {
		f := usualFeatures()
		c.change(&f)
		base, early := EarlyBase(f, Request{ID: "id", RuntimeDir: "/run/x/id", Caller: Owner{1001, 1001}})
		if early != c.early {
			t.Errorf("%s: begun early: %v", name, early)
		}
		if !early {
			continue
		}
		s := usualSpec()
		s.Limits = profiles.Limits{Memory: limits(profiles.EnforceBestEffort), Processes: limits(profiles.EnforceBestEffort)}
		p, err := MakePlan(s, f, hostPlaces(), usualRequest())
		if err != nil || !reflect.DeepEqual(p.Base, base) {
			t.Errorf("%s: begun was %+v, planned %+v: %v", name, base, p, err)
		}
		s.Limits.Memory = limits(profiles.EnforceStrict)
		if _, err := MakePlan(s, f, hostPlaces(), usualRequest()); err == nil {
			t.Errorf("%s: a limit that nothing holds was planned", name)
		}
	}
}

func TestMakePlan(t *testing.T) {
	for _, privileged := range []bool{false, true} {
		f := usualFeatures()
		f.Privileged = privileged
		s := usualSpec()
		s.Files.Write = patterns("/home/u/.cache")
		p, err := MakePlan(s, f, hostPlaces(), usualRequest())
		if err != nil {
			t.Fatal(err)
		}
		// Plain data: what --dry-run prints is all there is.
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var again Plan
		if err := json.Unmarshal(data, &again); err != nil {
			t.Fatal(err)
		}
		if second, err := json.Marshal(&again); err != nil || string(second) != string(data) {
			t.Errorf("the plan changes on its way through JSON: %v\n%s\n%s", err, data, second)
		}
		if !slices.IsSortedFunc(p.Mounts, func(a, b Mount) int { return depth(a.Target) - depth(b.Target) }) {
			t.Error("an inner mount comes before an outer one")
		}
		for _, m := range p.Mounts {
			ours := m.Target == "/home/u/.cache" || m.Rdev != 0 || strings.HasPrefix(m.Target, layersDir)
			if m.Kind == MountBind && m.Writable && !ours {
				t.Errorf("%s is writable", m.Target)
			}
			if m.Kind == MountBind && m.Rdev == 0 && !strings.HasPrefix(m.Target, layersDir) && m.Ino == 0 {
				t.Errorf("%s is not compared with what was planned for", m.Target)
			}
		}
		if _, ok := find(p, "/usr/share"); ok {
			t.Error("/usr/share is mounted once more, below /usr")
		}
		if !slices.Contains(p.Links, Link{"/bin", "usr/bin"}) {
			t.Errorf("the host's /bin is not repeated: %v", p.Links)
		}
		cache, _ := find(p, "/home/u/.cache")
		work, _ := find(p, "/home/u/work")
		if (cache.IDMap != nil) != privileged || (work.IDMap != nil) != privileged || p.Rootless == privileged {
			t.Errorf("privileged %v: id maps %v %v", privileged, cache.IDMap, work.IDMap)
		}
		want := IDPlan{HostUID: 1001, HostGID: 1001, Size: 1}
		if privileged {
			want = IDPlan{HostUID: UIDFirst, HostGID: UIDFirst, Size: UIDRange, AgentUID: AgentID, AgentGID: AgentID}
		}
		if p.IDs != want {
			t.Errorf("ids %+v, want %+v", p.IDs, want)
		}
	}
}

// TestMakePlanRefuses: each lack of the host's, and each grant that would undo the
// jail, ends the run.
func TestMakePlanRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layer  string // "" for a mistake of the profile's
		change func(*profiles.Spec, *Features)
	}{
		{"no Landlock", "landlock", func(_ *profiles.Spec, f *Features) { f.LandlockABI = 0 }},
		{"no notification", "seccomp", func(_ *profiles.Spec, f *Features) { f.SeccompNotify = false }},
		{"upper in memory, and tmpfs can't", "overlay", func(s *profiles.Spec, f *Features) { f.TmpfsXattr, s.Workspace.Upper = false, profiles.UpperMemory }},
		{"memory without a cgroup", "cgroup", func(s *profiles.Spec, _ *Features) {
			s.Limits.Memory = &profiles.Limit{Value: 1, Enforce: profiles.EnforceStrict}
		}},
		{"a limit that says nothing of enforcement", "cgroup", func(s *profiles.Spec, _ *Features) { s.Limits.CPUs = &profiles.Limit{Value: 1} }},
		{"reading /", "", func(s *profiles.Spec, _ *Features) { s.Files.Read = patterns("/") }},
		{"executing /", "", func(s *profiles.Spec, _ *Features) { s.Files.Exec = patterns("/") }},
		{"reading /proc/1", "", func(s *profiles.Spec, _ *Features) { s.Files.Read = patterns("/proc/1") }},
		{"a device", "", func(s *profiles.Spec, _ *Features) { s.Files.Read = patterns("/dev/dri") }},
		{"writing below /sys", "", func(s *profiles.Spec, _ *Features) { s.Files.Write = patterns("/sys/fs") }},
		{"denying the workspace", "", func(s *profiles.Spec, _ *Features) { s.Files.Deny = patterns("/home/u/work") }},
		{"no mode", "", func(s *profiles.Spec, _ *Features) { s.Workspace.Mode = "" }},
		{"an unknown mode", "", func(s *profiles.Spec, _ *Features) { s.Workspace.Mode = "open" }},
		{"an unknown group of calls", "", func(s *profiles.Spec, _ *Features) { s.Syscalls = []profiles.Syscall{{Name: "@all"}} }},
	} {
		s, f := usualSpec(), usualFeatures()
		tt.change(s, &f)
		p, err := MakePlan(s, f, hostPlaces(), usualRequest())
		var le *LayerError
		if err == nil || errors.As(err, &le) != (tt.layer != "") || le != nil && le.Layer != tt.layer {
			t.Errorf("%s: %v, %+v; want an error of layer %q", tt.name, err, p, tt.layer)
		}
	}
}

func TestPlanDeny(t *testing.T) {
	for _, mode := range []profiles.Mode{profiles.ModeOverlay, profiles.ModeDirect} {
		s := usualSpec()
		s.Workspace.Mode = mode
		s.Files.Deny = patterns("/usr/share", "/home/u/.ssh", "/home/u/work/private", "/missing")
		p, err := MakePlan(s, usualFeatures(), hostPlaces(), usualRequest())
		if err != nil {
			t.Fatal(err)
		}
		masks := []string{}
		for _, d := range p.Deny {
			masks = append(masks, d.Path)
		}
		// What no mount shows (.ssh) needs no mask; in an overlay the workspace's own
		// are left out of a layer instead.
		want, hidden := []string{"/usr/share"}, []string{"private"}
		if mode == profiles.ModeDirect {
			want, hidden = []string{"/usr/share", "/home/u/work/private"}, nil
		}
		if !slices.Equal(masks, want) || !slices.Equal(p.Workspace.Hidden, hidden) {
			t.Errorf("%s: masks %q, hidden %q, want %q and %q", mode, masks, p.Workspace.Hidden, want, hidden)
		}
	}
}

// TestPlanPrivate: what other users of the host can't read is mounted by libcontainer
// with its owner mapped, where PID 1 is another user.
func TestPlanPrivate(t *testing.T) {
	s := usualSpec()
	s.Files.Read = patterns("/home/u/.ssh", "/opt/tool", "/usr/private")
	for _, privileged := range []bool{false, true} {
		f := usualFeatures()
		f.Privileged = privileged
		p, err := MakePlan(s, f, hostPlaces(), usualRequest())
		if err != nil {
			t.Fatal(err)
		}
		for target, want := range map[string]bool{"/home/u/.ssh": privileged, "/opt/tool": false, "/usr/private": privileged} {
			m, ok := find(p, target)
			if target == "/usr/private" && !privileged {
				want = false // /usr shows it, and its owner is the agent
				m, ok = Mount{}, !ok
			}
			if !ok || p.needsStaging(m) != want || (m.IDMap != nil) != want || m.Writable {
				t.Errorf("privileged %v: %+v, want it staged: %v", privileged, m, want)
			}
		}
	}
}

func TestPlanWorkspace(t *testing.T) {
	for _, tt := range []struct {
		mode     profiles.Mode
		upper    profiles.Upper
		xattr    bool
		kind     MountKind
		writable bool
		want     profiles.Upper
		disk     string
		agent    uint64 // a right that the agent has or has not
	}{
		{profiles.ModeOverlay, profiles.UpperAuto, true, MountBind, false, profiles.UpperMemory, "", rightsWrite},
		{profiles.ModeOverlay, profiles.UpperAuto, false, MountBind, false, profiles.UpperDisk, "/state/id/upper", rightsWrite},
		{profiles.ModeOverlay, "", false, MountBind, false, profiles.UpperDisk, "/state/id/upper", rightsWrite},
		{profiles.ModeOverlay, profiles.UpperDisk, true, MountBind, false, profiles.UpperDisk, "/state/id/upper", rightsWrite},
		{profiles.ModeDirect, "", true, MountBind, true, "", "", rightsWrite},
		{profiles.ModeReadonly, "", true, MountView, false, "", "", rightsExec},
		{profiles.ModeEmpty, "", true, MountTmpfs, true, profiles.UpperMemory, "", rightsWrite},
	} {
		s, f := usualSpec(), usualFeatures()
		s.Workspace.Mode, s.Workspace.Upper, f.TmpfsXattr = tt.mode, tt.upper, tt.xattr
		p, err := MakePlan(s, f, hostPlaces(), usualRequest())
		if err != nil {
			t.Fatal(err)
		}
		m, _ := find(p, "/home/u/work")
		if m.Kind != tt.kind || m.Writable != tt.writable || p.Workspace.Upper != tt.want || p.Workspace.Disk != tt.disk {
			t.Errorf("%s %s: %+v, upper %q %q", tt.mode, tt.upper, m, p.Workspace.Upper, p.Workspace.Disk)
		}
		_, layer := find(p, layersDir+"/disk")
		if layer != (tt.disk != "") {
			t.Errorf("%s %s: a layer on disk is mounted: %v", tt.mode, tt.upper, layer)
		}
		i := slices.IndexFunc(p.Landlock.Rules, func(r LandlockRule) bool { return r.Path == "/home/u/work" })
		if i < 0 || p.Landlock.Rules[i].Rights&p.Landlock.FS&tt.agent != tt.agent&p.Landlock.FS {
			t.Errorf("%s: no Landlock rule for the workspace", tt.mode)
		} else if writes := p.Landlock.Rules[i].Rights&^rightsExec != 0; writes != (tt.mode != profiles.ModeReadonly) {
			t.Errorf("%s: Landlock lets the agent write: %v", tt.mode, writes)
		}
	}
}

func TestEnvironment(t *testing.T) {
	p := profiles.Process{PassEnv: patterns("LANG", "LC_*", "HOME", "PATH"), Env: []profiles.EnvVar{{Name: "CI", Value: "1"}, {Name: "USER", Value: "me"}, {Name: "OWN", Value: "profile"}}}
	got := Environment(p, []string{"LANG=C", "LC_ALL=x=y", "LC_EMPTY=", "SECRET=1", "HOME=/home/u", "PATH=/mine", "XLANG=1", "=odd", "novalue", "LANG_X=1"},
		map[string]string{"OWN": "jail"})
	want := []string{"CI=1", "HOME=/home/agent", "LANG=C", "LC_ALL=x=y", "LC_EMPTY=", "LOGNAME=agent", "OWN=jail", "PATH=/mine", "SHELL=/bin/sh", "USER=agent"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	empty := Environment(profiles.Process{}, []string{"LANG=C", "PATH=/mine"}, nil)
	if want := []string{"HOME", "LOGNAME", "PATH", "SHELL", "USER"}; !slices.Equal(namesOf(empty), want) || slices.Contains(empty, "PATH=/mine") {
		t.Errorf("an empty list passes %q", empty)
	}
}

func namesOf(env []string) []string {
	var names []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	return names
}

func TestWithin(t *testing.T) {
	for _, tt := range []struct {
		p, dir string
		want   bool
	}{
		{"/a", "/a", true}, {"/a/b", "/a", true}, {"/ab", "/a", false}, {"/a", "/a/b", false}, {"/anything", "/", true},
	} {
		if got := within(tt.p, tt.dir); got != tt.want {
			t.Errorf("within(%q, %q) = %v", tt.p, tt.dir, got)
		}
	}
}

// TestLayers: a layer that the stage did not find in force is an error, never a note.
func TestLayers(t *testing.T) {
	p := &Plan{Landlock: planLandlock(7, nil)}
	all := int32(0)
	for _, c := range stageChecks {
		all |= c.bit
	}
	found, err := layers(p, all)
	if err != nil || len(found) != len(stageChecks)+1 || found[len(stageChecks)].Name != "unix sockets" {
		t.Errorf("%v, %v", found, err)
	}
	for _, l := range found[:len(stageChecks)] {
		if l.State != "enforced" || l.Probe == "" || l.Detail == "" {
			t.Errorf("%+v", l)
		}
	}
	for _, c := range stageChecks {
		_, err := layers(p, all&^c.bit)
		var le *LayerError
		if !errors.As(err, &le) || le.Layer != c.layer {
			t.Errorf("without %s: %v", c.layer, err)
		}
	}
	// A profile that opens unshare can't be held to its refusal.
	p.Syscalls = []string{"unshare"}
	userNS := slices.IndexFunc(stageChecks, func(c struct {
		bit         int32
		layer, what string
	}) bool {
		return c.layer == "user namespace"
	})
	if _, err := layers(p, all&^stageChecks[userNS].bit); err != nil {
		t.Error(err)
	}
	p = &Plan{Landlock: planLandlock(1, nil)}
	found, err = layers(p, all)
	if err != nil || !slices.ContainsFunc(found, func(l Layer) bool { return l.Name == "landlock" && l.State == "degraded" }) {
		t.Errorf("an old Landlock is %v, %v", found, err)
	}
}

func TestContainerConfig(t *testing.T) {
	f := usualFeatures()
	f.Privileged, f.Cgroup = true, CgroupV1
	s := usualSpec()
	s.Limits.Memory = &profiles.Limit{Value: 1 << 30}
	s.Limits.CPUs = &profiles.Limit{Value: 1500}
	s.Limits.Processes = &profiles.Limit{Value: 50}
	p, err := MakePlan(s, f, hostPlaces(), usualRequest())
	if err != nil {
		t.Fatal(err)
	}
	c := containerConfig(p.Base, p.staging())
	if r := c.Cgroups.Resources; r.Memory != 1<<30 || r.MemorySwap != 1<<30 || *r.PidsLimit != 50+ownThreads || r.CpuQuota != 150_000 || r.CpuPeriod != 100_000 {
		t.Errorf("resources %+v", r)
	}
	var kinds []string
	for _, n := range c.Namespaces {
		kinds = append(kinds, string(n.Type))
	}
	slices.Sort(kinds)
	if want := []string{"NEWCGROUP", "NEWIPC", "NEWNET", "NEWNS", "NEWPID", "NEWUSER", "NEWUTS"}; !slices.Equal(kinds, want) {
		t.Errorf("namespaces %q, want %q", kinds, want)
	}
	if c.Seccomp != nil || !c.NoNewPrivileges || !c.Readonlyfs || len(c.Capabilities.Ambient)+len(c.Capabilities.Inheritable) != 0 ||
		!reflect.DeepEqual(c.Capabilities.Bounding, setupCaps) {
		t.Errorf("%+v", c)
	}
}
