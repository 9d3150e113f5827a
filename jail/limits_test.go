package jail

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

func TestPlanRlimits(t *testing.T) {
	find := func(list []Rlimit, resource int) (Rlimit, bool) {
		i := slices.IndexFunc(list, func(l Rlimit) bool { return l.Resource == resource })
		if i < 0 {
			return Rlimit{}, false
		}
		return list[i], true
	}
	none := planRlimits(profiles.Limits{})
	if l, ok := find(none, unix.RLIMIT_CORE); !ok || l.Soft != 0 || l.Hard != 0 {
		t.Errorf("core dumps: %+v", l)
	}
	if _, ok := find(none, unix.RLIMIT_NOFILE); ok {
		t.Error("a limit of open files that nobody set")
	}
	l := profiles.Limits{OpenFiles: &profiles.Limit{Value: 64}, Processes: &profiles.Limit{Value: 9, Enforce: profiles.EnforceStrict}}
	if got, _ := find(planRlimits(l), unix.RLIMIT_NOFILE); got.Soft != 64 || got.Hard != 64 {
		t.Errorf("open files: %+v", got)
	}
	if _, ok := find(planRlimits(l), unix.RLIMIT_NPROC); ok {
		t.Error("a strict limit of processes has a stand-in")
	}
	l.Processes.Enforce = profiles.EnforceBestEffort
	if got, _ := find(planRlimits(l), unix.RLIMIT_NPROC); got.Hard != 9 {
		t.Errorf("processes: %+v", got)
	}
}

func TestCapRlimits(t *testing.T) {
	var have unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &have); err != nil {
		t.Fatal(err)
	}
	asked := []Rlimit{{unix.RLIMIT_NOFILE, 1 << 40, 1 << 41}, {unix.RLIMIT_NOFILE, 5, 10}, {unix.RLIMIT_NOFILE, 20, 10}}
	got := capRlimits(asked)
	want := []Rlimit{{unix.RLIMIT_NOFILE, min(1<<40, have.Max), min(1<<41, have.Max)}, {unix.RLIMIT_NOFILE, 5, 10}, {unix.RLIMIT_NOFILE, 10, 10}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v (the host's own are %+v)", got, want, have)
	}
	if asked[0].Hard != 1<<41 {
		t.Error("what was planned has changed")
	}
}

func TestPlanCgroup(t *testing.T) {
	limit := func(n int64, e profiles.Enforce) *profiles.Limit {
		return &profiles.Limit{Value: n, Enforce: e, Origin: profiles.Origin{File: "x.hcl", Line: 4}}
	}
	none := Features{CgroupWhy: "of the test"}
	v2, systemd := Features{Cgroup: CgroupV2}, Features{Cgroup: CgroupSystemd}
	const strict, best = profiles.EnforceStrict, profiles.EnforceBestEffort
	for _, tt := range []struct {
		name   string
		limits profiles.Limits
		f      Features
		want   *CgroupPlan
		refuse string
		stands []string
	}{
		{"nothing", profiles.Limits{}, none, nil, "", nil},
		{"time needs none", profiles.Limits{Time: limit(1, strict), OpenFiles: limit(9, strict)}, none, nil, "", nil},
		{"memory", profiles.Limits{Memory: limit(100, strict)}, v2, &CgroupPlan{Name: "agentjail-i", Memory: 100}, "", nil},
		{"all", profiles.Limits{Memory: limit(1, strict), CPUs: limit(2, best), Processes: limit(3, strict)}, systemd,
			&CgroupPlan{Name: "agentjail-i", Memory: 1, MilliCPUs: 2, Processes: 3, Systemd: true}, "", nil},
		{"refused", profiles.Limits{Memory: limit(100, strict)}, none, nil, "limits.memory (x.hcl:4)", []string{"memory"}},
		{"one of two", profiles.Limits{Memory: limit(100, best), CPUs: limit(1, strict)}, none, nil, "limits.cpus", []string{"memory", "cpus"}},
		{"io weight", profiles.Limits{IOWeight: limit(50, strict)}, Features{Cgroup: CgroupV1, IOWeight: true}, &CgroupPlan{Name: "agentjail-i", IOWeight: 50}, "", nil},
		{"no io weight", profiles.Limits{IOWeight: limit(50, strict)}, Features{Cgroup: CgroupV1, IOWeightWhy: "of the test"}, nil, "limits.io_weight (x.hcl:4)", []string{"io_weight"}},
		{"no io weight, best effort", profiles.Limits{IOWeight: limit(50, best), Memory: limit(9, strict)}, Features{Cgroup: CgroupV1}, &CgroupPlan{Name: "agentjail-i", Memory: 9}, "", []string{"io_weight"}},
		{"best effort", profiles.Limits{Memory: limit(100, best), Processes: limit(5, best)}, none, nil, "", []string{"memory", "processes"}},
	} {
		got, err := planCgroup(tt.limits, tt.f, "i")
		switch {
		case tt.refuse != "":
			if err == nil || !strings.Contains(err.Error(), tt.refuse) || !strings.Contains(err.Error(), "of the test") || !strings.Contains(err.Error(), "hint:") {
				t.Errorf("%s: %v", tt.name, err)
			}
		case err != nil || (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want:
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		if stands := StandIns(tt.limits, tt.f); !slices.Equal(stands, tt.stands) {
			t.Errorf("%s: %q stand in, want %q", tt.name, stands, tt.stands)
		}
	}
}

func TestUserManager(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n": "/user.slice/user-1000.slice/user@1000.service",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                     "/user.slice/user-1000.slice/user@1000.service",
		"0::/system.slice/cron.service\n":                                      "/system.slice/cron.service",
		"":                                                                     "",
	} {
		if got := userManager(cgroup); got != want {
			t.Errorf("%q: %q, want %q", cgroup, got, want)
		}
	}
}
