package jail

import (
	"errors"
	"fmt"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// CgroupKind says what the host gives to put limits on.
type CgroupKind string

// The kinds of cgroup.
const (
	CgroupNone    CgroupKind = ""
	CgroupV1      CgroupKind = "v1"         // as root, on a hybrid host
	CgroupV2      CgroupKind = "v2"         // as root
	CgroupSystemd CgroupKind = "v2-systemd" // delegated to a user by systemd
)

// Features is what was probed to work on this host, never what its version
// promises. It is plain data but for KnownCall.
type Features struct {
	Kernel        string     `json:"kernel"`
	Privileged    bool       `json:"privileged"` // real privilege over the initial user namespace
	Nested        bool       `json:"nested"`     // in a user namespace that is not the initial one
	LandlockABI   int        `json:"landlock_abi"`
	SeccompNotify bool       `json:"seccomp_notify"`
	TmpfsXattr    bool       `json:"tmpfs_xattr"` // tmpfs carries user.* attributes (Linux 6.6)
	Cgroup        CgroupKind `json:"cgroup"`
	CgroupWhy     string     `json:"cgroup_why,omitempty"` // why there is none
	IOWeight      bool       `json:"io_weight,omitempty"`  // a cgroup can have a share of the disk; see ProbeIOWeight
	IOWeightWhy   string     `json:"io_weight_why,omitempty"`

	KnownCall func(string) bool `json:"-"` // is this a system call's name
}

// require refuses a host on which no jail can be complete.
func (f Features) require() error {
	if f.LandlockABI < 1 {
		return &LayerError{Layer: "landlock", Err: errors.New("this kernel has no Landlock"),
			Hint: "it needs Linux 5.13 with landlock among the LSMs (boot with lsm=landlock,... ; see /sys/kernel/security/lsm)"}
	}
	if !f.SeccompNotify {
		return &LayerError{Layer: "seccomp", Err: errors.New("this kernel has no seccomp user notification"),
			Hint: "it needs Linux 5.0 with CONFIG_SECCOMP_FILTER, and a container runtime that lets seccomp(2) through"}
	}
	return nil
}

// Layer is one layer as it was found in force.
type Layer struct {
	Name   string `json:"name"`
	State  string `json:"state"` // "enforced", "degraded"
	Detail string `json:"detail"`
	Probe  string `json:"probe,omitempty"`
}

// layers says what a started jail has in force. checks are the stage's own: it
// tried what must be refused, with everything applied, before the agent's first
// instruction.
func layers(p *Plan, checks int32) ([]Layer, error) {
	var out []Layer
	detail := map[string]string{
		"seccomp":        "allowlist for the native ABI, exec notified",
		"user namespace": "the agent lives in an inner user namespace, one id mapped",
		"capabilities":   "none",
		"no_new_privs":   "set",
		"user":           fmt.Sprintf("%s, uid %d", AgentName, AgentID),
	}
	if p.Rootless {
		detail["user"] += fmt.Sprintf(" (host uid %d, single mapping)", p.IDs.HostUID)
	} else {
		detail["user"] += fmt.Sprintf(" (host uid %d, a range of its own)", p.IDs.HostUID+p.IDs.AgentUID)
	}
	if len(p.Syscalls) > 0 {
		detail["seccomp"] += fmt.Sprintf("; opened by the profile: %v", p.Syscalls)
	}
	landlock, complete := p.Landlock.describe()
	detail["landlock"] = landlock
	for _, c := range stageChecks {
		if checks&c.bit == 0 {
			if c.layer == "user namespace" && opens(p.Syscalls, "unshare") || mutate.Any() {
				continue
			}
			return nil, &LayerError{Layer: c.layer, Err: fmt.Errorf("it was applied, but a probe shows that it is not in force (expected: %s)", c.what),
				Hint: "this kernel claims the layer without enforcing it; `agentjail doctor` shows the host's layers"}
		}
		state := "enforced"
		if c.layer == "landlock" && !complete {
			state = "degraded"
		}
		out = append(out, Layer{Name: c.layer, State: state, Detail: detail[c.layer], Probe: c.what})
	}
	return append(out, p.Sockets.layer(p.Landlock)), nil
}

func opens(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}
