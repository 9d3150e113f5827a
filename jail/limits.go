package jail

import (
	"fmt"

	"github.com/agentjail/agentjail/profiles"
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

// planCgroup decides the limits that need a cgroup. Where the host gives none, the
// run is refused unless the profile says best-effort.
func planCgroup(l profiles.Limits, f Features, id string) (*CgroupPlan, error) {
	c := CgroupPlan{Name: "agentjail-" + id, Systemd: f.Cgroup == CgroupSystemd}
	wanted := false
	for _, x := range []struct {
		name  string
		limit *profiles.Limit
		to    *int64
	}{
		{"memory", l.Memory, &c.Memory},
		{"cpus", l.CPUs, &c.MilliCPUs},
		{"processes", l.Processes, &c.Processes},
	} {
		if x.limit == nil {
			continue
		}
		if f.Cgroup == CgroupNone {
			if x.limit.Enforce == profiles.EnforceBestEffort {
				continue
			}
			return nil, &LayerError{Layer: "cgroup", Err: fmt.Errorf("limits.%s (%s) needs a cgroup, and this host gives none: %s", x.name, x.limit.Origin, f.CgroupWhy),
				Hint: `mend the host, leave the limit out, or say limits { enforce = "best-effort" }`}
		}
		*x.to, wanted = x.limit.Value, true
	}
	if !wanted {
		return nil, nil
	}
	return &c, nil
}

// StandIns names the limits that the profile wants and that no cgroup enforces, so
// that the trail's first event can say so.
func StandIns(l profiles.Limits, f Features) []string {
	if f.Cgroup != CgroupNone {
		return nil
	}
	var names []string
	if l.Memory != nil {
		names = append(names, "memory")
	}
	if l.CPUs != nil {
		names = append(names, "cpus")
	}
	if l.Processes != nil {
		names = append(names, "processes")
	}
	return names
}
