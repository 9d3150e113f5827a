package run

import (
	"time"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// samplePeriod is how often stood-in limits are looked at. What grows faster than
// that is what "best effort" means.
const samplePeriod = 500 * time.Millisecond

// sampler stands in for limits that nothing in the kernel enforces on this host:
// memory without a cgroup, where the profile says best-effort, and the size of an
// upper layer on disk.
type sampler struct {
	over chan string // the limit's name, once
	quit chan struct{}
}

func (s *session) newSampler() *sampler {
	sm := &sampler{over: make(chan string, 1), quit: make(chan struct{})}
	memory := s.spec.Limits.Memory
	if memory != nil && s.features.Cgroup != jail.CgroupNone {
		memory = nil
	}
	w := s.plan.Workspace
	disk := w.Upper == profiles.UpperDisk && w.Mode == profiles.ModeOverlay && w.Size > 0
	if memory == nil && !disk {
		return sm
	}
	go func() {
		tick := time.NewTicker(samplePeriod)
		defer tick.Stop()
		for {
			select {
			case <-sm.quit:
				return
			case <-tick.C:
			}
			switch {
			case memory != nil && s.jail.Usage().Memory > memory.Value:
				sm.over <- "memory"
				return
			case disk && treeSize(w.Disk, w.Size) > w.Size:
				sm.over <- "workspace size"
				return
			}
		}
	}()
	return sm
}

func (s *sampler) stop() { close(s.quit) }
