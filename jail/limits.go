package jail

import (
	"fmt"
	"slices"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"golang.org/x/sys/unix"
)

// planRlimits are the limits that the kernel keeps for each process by itself.
// Core dumps are off: a dump can hold what the agent was given. Realtime priority
// and locked memory stay at what any user has, at most.
func planRlimits(l profiles.Limits) []Rlimit {
	limits := []Rlimit{
		{Resource: unix.RLIMIT_CORE},
		{Resource: unix.RLIMIT_RTPRIO},
	}
	if mutate.Off(mutate.Rlimits) {
		return limits
	}
	if l.OpenFiles != nil {
		n := uint64(l.OpenFiles.Value)
		limits = append(limits, Rlimit{unix.RLIMIT_NOFILE, n, n})
	}
	if p := l.Processes; p != nil && p.Enforce == profiles.EnforceBestEffort {
		// Counted per user and user namespace since Linux 5.14, so it is the jail's
		// own; it stands in where there is no cgroup, and does no harm beside one.
		limits = append(limits, Rlimit{unix.RLIMIT_NPROC, uint64(p.Value), uint64(p.Value)})
	}
	return limits
}

// cgroupLimit is a limit that only a cgroup holds.
type cgroupLimit struct {
	name  string
	limit *profiles.Limit
	to    func(*CgroupPlan) *int64
	lacks bool   // the host gives none
	why   string // so
}

func cgroupLimits(l profiles.Limits, f Features) []cgroupLimit {
	none, why := f.Cgroup == CgroupNone, f.CgroupWhy
	noWeight, noWeightWhy := none, why
	if !none && !f.IOWeight {
		noWeight, noWeightWhy = true, f.IOWeightWhy
	}
	list := []cgroupLimit{
		{"memory", l.Memory, func(c *CgroupPlan) *int64 { return &c.Memory }, none, why},
		{"cpus", l.CPUs, func(c *CgroupPlan) *int64 { return &c.MilliCPUs }, none, why},
		{"processes", l.Processes, func(c *CgroupPlan) *int64 { return &c.Processes }, none, why},
		{"io_weight", l.IOWeight, func(c *CgroupPlan) *int64 { return &c.IOWeight }, noWeight, noWeightWhy},
	}
	return slices.DeleteFunc(list, func(x cgroupLimit) bool { return x.limit == nil })
}

// planCgroup decides the limits that need a cgroup. Where the host gives none, the
// run is refused unless the profile says best-effort.
func planCgroup(l profiles.Limits, f Features, id string) (*CgroupPlan, error) {
	c := CgroupPlan{Name: cgroupName(id), Systemd: f.Cgroup == CgroupSystemd}
	wanted := false
	for _, x := range cgroupLimits(l, f) {
		if x.lacks {
			if x.limit.Enforce == profiles.EnforceBestEffort {
				continue
			}
			return nil, &LayerError{Layer: "cgroup", Err: fmt.Errorf("limits.%s (%s) needs a cgroup, and this host gives none: %s", x.name, x.limit.Origin, x.why),
				Hint: `mend the host, leave the limit out, or say limits { enforce = "best-effort" }`}
		}
		if mutate.Off(mutate.Cgroup) {
			continue
		}
		*x.to(&c), wanted = x.limit.Value, true
	}
	if !wanted {
		return nil, nil
	}
	return &c, nil
}

// cgroupName is what a run's cgroup is called; recovery looks for it.
func cgroupName(id string) string { return "agentjail-" + id }

// StandIns names the limits that the profile wants and that no cgroup enforces, so
// that the trail's first event can say so.
func StandIns(l profiles.Limits, f Features) []string {
	var names []string
	for _, x := range cgroupLimits(l, f) {
		if x.lacks {
			names = append(names, x.name)
		}
	}
	return names
}
