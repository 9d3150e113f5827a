package jail

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// The agent's user inside the jail.
const (
	AgentName = "agent"
	AgentID   = 1000
	AgentHome = "/home/agent"
)

// Base is what the container is made of. Nothing in it depends on the host's files.
type Base struct {
	ID        string      `json:"id"`
	Rootless  bool        `json:"rootless"`
	Scratch   string      `json:"scratch"`   // holds the two below; the supervisor's own tmpfs where it may mount
	Rootfs    string      `json:"rootfs"`    // becomes the jail's root
	Container string      `json:"container"` // libcontainer's state folder
	Hostname  string      `json:"hostname"`
	IDs       IDPlan      `json:"ids"`
	Cgroup    *CgroupPlan `json:"cgroup,omitempty"`
}

// Plan is everything that a run will set up, as plain data: `agentjail run
// --dry-run` prints it. Nothing in it is decided later.
type Plan struct {
	Base
	Network    json.RawMessage      `json:"network"` // package netns's, opaque here
	Links      []Link               `json:"links"`
	Files      []File               `json:"files"`
	Served     []string             `json:"served,omitempty"` // Unix sockets of the root that the supervisor's side serves
	Mounts     []Mount              `json:"mounts"`
	Workspace  WorkspacePlan        `json:"workspace"`
	Seeds      []SeedPlan           `json:"seeds,omitempty"` // of the home folder
	Deny       []DenyMask           `json:"deny"`
	Protected  []Protected          `json:"protected,omitempty"` // of a workspace in direct mode
	Programs   ProgramPlan          `json:"programs"`
	Sockets    SocketPlan           `json:"sockets"`
	Landlock   LandlockPlan         `json:"landlock"`
	Syscalls   []string             `json:"syscalls"`           // opened by the profile
	Notified   []string             `json:"notified,omitempty"` // asked of the supervisor beside execs, for FileLimits
	Naming     bool                 `json:"naming,omitempty"`   // so are calls that give names; see naming.go
	Rlimits    []Rlimit             `json:"rlimits"`
	Affinity   int                  `json:"affinity,omitempty"` // CPUs that stand in for limits.cpus where there is no cgroup
	Agent      AgentPlan            `json:"agent"`
	Observe    bool                 `json:"observe,omitempty"` // a learning run; see observe.go
	FileLimits []profiles.FileLimit `json:"file_limits,omitempty"`
}

// IDPlan maps the outer user namespace.
type IDPlan struct {
	HostUID  uint32 `json:"host_uid"` // what uid 0 of the outer namespace is on the host
	HostGID  uint32 `json:"host_gid"`
	Size     uint32 `json:"size"`      // 1 for a single mapping
	AgentUID uint32 `json:"agent_uid"` // of the agent, in the outer namespace
	AgentGID uint32 `json:"agent_gid"`
}

// Link is a symlink of the jail's root, as the host has it (/bin → usr/bin).
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// File is a generated file of the jail's root; the root is read-only inside.
type File struct {
	Path    string `json:"path"`
	Content string `json:"content"`
	Mode    uint32 `json:"mode"`
	Live    bool   `json:"live,omitempty"` // is replaced while the run goes on, see Jail.Replace
}

// MountKind says what is mounted.
type MountKind string

// The kinds of mount.
const (
	MountBind  MountKind = "bind"
	MountView  MountKind = "view" // a folder of the host, through a read-only overlay; see sockets.go
	MountTmpfs MountKind = "tmpfs"
	MountProc  MountKind = "proc"
	MountPts   MountKind = "devpts"
)

// Mount is one mount of the jail's view. All are nosuid and nodev.
type Mount struct {
	Kind     MountKind `json:"kind"`
	Source   string    `json:"source,omitempty"`
	Target   string    `json:"target"`
	Writable bool      `json:"writable,omitempty"`
	Options  string    `json:"options,omitempty"`
	IDMap    *Owner    `json:"idmap,omitempty"`   // its owner on the host becomes the agent
	Private  bool      `json:"private,omitempty"` // other users of the host can't come to the source
	// What was found at Source when the plan was made; PID 1 compares it with what
	// lies at Target, so that a symlink swapped in between is found
	// (CVE-2021-30465, CVE-2024-45310).
	Dev    uint64 `json:"dev,omitempty"`
	Ino    uint64 `json:"ino,omitempty"`
	Rdev   uint64 `json:"rdev,omitempty"` // of a device
	File   bool   `json:"file,omitempty"` // the target is no folder
	Origin string `json:"origin,omitempty"`
}

// staging are the binds that libcontainer must mount for PID 1 to take them from; none of
// no plan.
func (p *Plan) staging() []Mount {
	if p == nil {
		return nil
	}
	var list []Mount
	for _, m := range p.Mounts {
		if p.needsStaging(m) {
			list = append(list, m)
		}
	}
	return list
}

// needsStaging says whether libcontainer must mount a bind for PID 1 to take it from:
// with real privilege PID 1 is another user of the host than the caller, and can
// neither idmap a mount nor open what other users are shut out of.
func (p *Plan) needsStaging(m Mount) bool {
	return !p.Rootless && (m.Kind == MountBind || m.Kind == MountView) && (m.IDMap != nil || m.Private)
}

// Owner is a uid and gid of the host.
type Owner struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// WorkspacePlan is the tree that the agent works on.
type WorkspacePlan struct {
	Path   string         `json:"path"`
	Mode   profiles.Mode  `json:"mode"`
	Upper  profiles.Upper `json:"upper,omitempty"` // memory or disk, never auto
	Disk   string         `json:"disk,omitempty"`  // host folder of a disk upper layer
	Size   int64          `json:"size"`
	Files  int64          `json:"files"`
	Perm   uint32         `json:"perm"`   // of the workspace's root folder
	Hidden []string       `json:"hidden"` // relative paths that must not exist inside
	Copies []Copy         `json:"copies"` // what the overlay could not copy up by itself
}

// Copy is a file or folder of the workspace whose owner has no id in the jail:
// the overlay could not copy it up (EOVERFLOW), so a middle layer holds it with
// the agent as its owner.
type Copy struct {
	Path string `json:"path"` // relative
	Dir  bool   `json:"dir,omitempty"`
}

// DenyMask hides an existing path under an empty file or folder.
type DenyMask struct {
	Path   string `json:"path"`
	Dir    bool   `json:"dir"`
	Origin string `json:"origin,omitempty"`
}

// Rlimit is one resource limit of the agent, setrlimit(2).
type Rlimit struct {
	Resource int    `json:"resource"`
	Soft     uint64 `json:"soft"`
	Hard     uint64 `json:"hard"`
}

// CgroupPlan is what the jail's cgroup limits; zero is no limit.
type CgroupPlan struct {
	Name      string `json:"name"`
	Memory    int64  `json:"memory,omitempty"` // bytes; swap is off
	MilliCPUs int64  `json:"milli_cpus,omitempty"`
	Processes int64  `json:"processes,omitempty"`
	IOWeight  int64  `json:"io_weight,omitempty"`
	Systemd   bool   `json:"systemd,omitempty"` // a transient scope of the user's systemd
}

// AgentPlan is the command.
type AgentPlan struct {
	Argv     []string `json:"argv"`
	Cwd      string   `json:"cwd"`
	Env      []string `json:"env"`
	Terminal bool     `json:"terminal"`
}

// Request is what a run asks for beside its profile.
type Request struct {
	ID         string
	RuntimeDir string // this run's own, on the host; holds the scratch root
	StateDir   string // this run's own; holds a disk upper layer
	Argv       []string
	Cwd        string
	Env        []string // complete; see Environment
	Terminal   bool
	Files      []File          // generated by other packages: resolv.conf, hosts, policy.md
	Sockets    []string        // paths below InsideDir of Unix sockets that the caller serves; see Jail.Sockets
	CABundle   string          // PEM text that replaces the system's bundle; empty leaves it
	Network    json.RawMessage // what PID 1's network hook gets
	UIDBase    uint32          // claimed range, with real privilege
	Caller     Owner
	Protected  []Protected // what stays read-only in a workspace in direct mode
	Naming     bool        // ask Options.Names about each name that is given in that workspace
	Observe    bool        // note what the jail refuses; see observe.go
}

// EarlyBase decides the container before there is a profile, and says whether it could:
// nothing of a profile is in a container that has no cgroup and makes no mount of the plan.
func EarlyBase(f Features, r Request) (Base, bool) {
	if f.Privileged || f.Cgroup != CgroupNone {
		return Base{}, false
	}
	b, err := MakeBase(profiles.Limits{}, f, r)
	return b, err == nil
}

// MakeBase decides the container. It is pure, as MakePlan is.
func MakeBase(l profiles.Limits, f Features, r Request) (Base, error) {
	b := Base{
		ID:        r.ID,
		Rootless:  !f.Privileged,
		Scratch:   filepath.Join(r.RuntimeDir, "jail"),
		Rootfs:    filepath.Join(r.RuntimeDir, "jail", "rootfs"),
		Container: filepath.Join(r.RuntimeDir, "jail", "container"),
		Hostname:  "agentjail",
	}
	if err := f.require(); err != nil {
		return b, err
	}
	if f.Privileged {
		b.IDs = IDPlan{HostUID: r.UIDBase, HostGID: r.UIDBase, Size: UIDRange, AgentUID: AgentID, AgentGID: AgentID}
	} else {
		b.IDs = IDPlan{HostUID: r.Caller.UID, HostGID: r.Caller.GID, Size: 1}
	}
	var err error
	b.Cgroup, err = planCgroup(l, f, r.ID)
	return b, err
}

// MakePlan decides the whole jail. It is pure: everything that it needs to know of
// the host is in f and facts.
func MakePlan(s *profiles.Spec, f Features, facts Facts, r Request) (*Plan, error) {
	base, err := MakeBase(s.Limits, f, r)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Base:      base,
		Network:   r.Network,
		Agent:     AgentPlan{Argv: r.Argv, Cwd: r.Cwd, Env: r.Env, Terminal: r.Terminal},
		Protected: r.Protected,
		Naming:    r.Naming && !mutate.Off(mutate.Naming),
		Observe:   r.Observe,
	}
	v := newView(p, f, facts)
	if err := v.build(s, r); err != nil {
		return nil, err
	}
	p.Programs.Rules = s.Process
	p.Landlock = planLandlock(f.LandlockABI, v.rules)
	opened, err := openedCalls(s.Syscalls, f.KnownCall)
	if err != nil {
		return nil, err
	}
	if s.SyscallCeiling != nil {
		capped, err := openedCalls(*s.SyscallCeiling, f.KnownCall)
		if err != nil {
			return nil, err
		}
		opened = slices.DeleteFunc(opened, func(name string) bool { return !slices.Contains(capped, name) })
	}
	p.Syscalls, p.FileLimits = opened, s.Files.Limits
	if p.Notified, err = planFileLimits(s.Files, opened); err != nil {
		return nil, err
	}
	p.Rlimits = planRlimits(s.Limits)
	if c := s.Limits.CPUs; c != nil && f.Cgroup == CgroupNone {
		p.Affinity = max(int((c.Value+999)/1000), 1)
	}
	return p, nil
}

// Environment builds the agent's environment from nothing: fixed names, what the
// profile passes on, what it sets, and what the jail itself must say, in rising
// order of precedence.
func Environment(p profiles.Process, caller []string, own map[string]string) []string {
	env := map[string]string{
		"PATH":  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SHELL": "/bin/sh",
	}
	for _, kv := range caller {
		name, value, ok := strings.Cut(kv, "=")
		if ok && mutate.Off(mutate.Environment) || ok && slices.ContainsFunc(p.PassEnv, func(pat profiles.Pattern) bool { return matchName(pat.Pattern, name) }) {
			env[name] = value
		}
	}
	for _, v := range p.Env {
		env[v.Name] = v.Value
	}
	env["HOME"], env["USER"], env["LOGNAME"] = AgentHome, AgentName, AgentName
	for name, value := range own {
		env[name] = value
	}
	out := make([]string, 0, len(env))
	for name, value := range env {
		out = append(out, name+"="+value)
	}
	sort.Strings(out)
	return out
}

func matchName(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return err == nil && ok
}
