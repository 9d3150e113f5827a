package run

import (
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// samplePeriod is how often limits are looked at. What grows faster than that is what
// "best effort" means of those that are only sampled.
const samplePeriod = 500 * time.Millisecond

// sampler looks after the limits that do not end a run by themselves. Those that the
// kernel holds (the cgroup's, a layer in memory) it only tells of. For those that nothing
// in the kernel holds on this host it stands in: memory without a cgroup, where the
// profile says best-effort, and an upper layer on disk.
type sampler struct {
	s    *session
	over chan string // a limit that it stands in for, once
	quit chan struct{}
	done chan struct{}

	memory    *profiles.Limit // stood in for
	disk      bool            // too
	seen      jail.Hits       // that were told of
	postponed int             // how often a kill whose victim is not known was looked at since
	victims   victims
}

func (s *session) newSampler() *sampler {
	sm := &sampler{s: s, over: make(chan string, 1), quit: make(chan struct{}), done: make(chan struct{})}
	if s.features.Cgroup == jail.CgroupNone {
		sm.memory = s.spec.Limits.Memory
	}
	w := s.plan.Workspace
	sm.disk = w.Upper == profiles.UpperDisk && w.Mode == profiles.ModeOverlay && !mutate.Off(mutate.Disk)
	go func() {
		defer close(sm.done)
		tick := time.NewTicker(samplePeriod)
		defer tick.Stop()
		for {
			select {
			case <-sm.quit:
				return
			case <-tick.C:
			}
			sm.look()
			if name := sm.exceeded(); name != "" {
				sm.over <- name
				return
			}
		}
	}()
	return sm
}

// stop ends the sampling; what it looked at last is then the caller's.
func (sm *sampler) stop() {
	select {
	case <-sm.quit:
	default:
		close(sm.quit)
	}
	<-sm.done
}

// exceeded names a limit that is stood in for and was passed.
func (sm *sampler) exceeded() string {
	w := sm.s.plan.Workspace
	if sm.memory != nil && sm.s.jail.Usage().Memory+sm.s.jail.Unmapped() > sm.memory.Value {
		return "memory"
	}
	if sm.disk {
		switch bytes, files := treeUse(w.Disk, w.Size, w.Files); {
		case bytes > w.Size:
			return limitSize
		case files > w.Files:
			return limitFiles
		}
	}
	return ""
}

// What the limits of the workspace are called.
const (
	limitSize  = "workspace size"
	limitFiles = "workspace files"
)

// sampled is what a limit that is stood in for is, for the trail.
func (s *session) sampled(name string) (l *profiles.Limit, unit string) {
	w := s.spec.Workspace
	switch name {
	case limitSize:
		return &profiles.Limit{Value: w.Size, Origin: w.Origin}, "bytes"
	case limitFiles:
		return &profiles.Limit{Value: w.Files, Origin: w.Origin}, "files"
	}
	return s.spec.Limits.Memory, "bytes"
}

// postponedLooks is how often a kill is looked at before it is told of without its victim's
// name: where the host is busy, the end of a process is told after a second, not a moment.
const postponedLooks = 4

// look tells of what the kernel refused or killed since the last time. An agent may go on
// after that, so it is no end of the run.
func (sm *sampler) look() {
	killed := sm.s.sink.killed()
	n := sm.tellMemory(killed, len(killed) > 0 || sm.postponed >= postponedLooks)
	// Its end is told within a moment (jail/exits.go).
	if n > 0 && len(killed) == 0 && sm.postponed < postponedLooks {
		sm.postponed++
	} else {
		sm.postponed = 0
	}
	sm.tellRest()
}

// tellMemory tells of processes that the kernel has killed for want of memory: so many
// since the last time. Where the victim is not known it waits to be told so.
func (sm *sampler) tellMemory(killed []audit.Process, sure bool) (fresh int64) {
	n := sm.s.jail.Hits().OOMKills
	sm.victims.note(n, killed)
	fresh = n - sm.seen.OOMKills
	if fresh <= 0 || !sure {
		return max(fresh, 0)
	}
	if magnitude(n) > magnitude(sm.seen.OOMKills) {
		var p audit.Process
		if len(killed) > 0 {
			p = killed[len(killed)-1]
		}
		sm.tell("memory", sm.s.spec.Limits.Memory, "bytes", "process killed", fmt.Sprintf("%d killed so far", n), p)
	}
	sm.seen.OOMKills = n
	return fresh
}

func (sm *sampler) tellRest() {
	s, now := sm.s, sm.s.jail.Hits()
	if n := now.Forks; magnitude(n) > magnitude(sm.seen.Forks) {
		sm.tell("processes", s.spec.Limits.Processes, "processes", "refused", fmt.Sprintf("%d refused so far", n), audit.Process{})
		sm.seen.Forks = n
	}
	if now.Space && !sm.seen.Space {
		l, unit := s.sampled(limitSize)
		sm.tell(limitSize, l, unit, "refused", "", audit.Process{})
		sm.seen.Space = true
	}
	if now.Files && !sm.seen.Files {
		l, unit := s.sampled(limitFiles)
		sm.tell(limitFiles, l, unit, "refused", "", audit.Process{})
		sm.seen.Files = true
	}
}

func (sm *sampler) tell(name string, l *profiles.Limit, unit, action, detail string, p audit.Process) {
	if l == nil {
		return // it is the host's own, or of a cgroup above
	}
	sm.s.hitLimit(audit.LimitHit{Limit: name, Value: l.Value, Unit: unit, Action: action, Rule: l.Origin.String(), Detail: detail, Process: p})
}

// magnitude changes when a count has doubled: an agent that runs into a limit a thousand
// times a second makes a dozen records of it.
func magnitude(n int64) int { return bits.Len64(uint64(n)) }

// lastNames is how long a run's end waits for the names of processes that were killed for
// want of memory just before. The limit is told of without them too.
const lastNames = time.Second

// last looks once more, after the agent's end. It says whether the end was the kernel's
// doing, for want of memory: of the agent, or of PID 1, whose end is the jail's.
func (sm *sampler) last(e jail.End) bool {
	sm.stop()
	byKill := e.Err == nil && e.Status.Signaled() && e.Status.Signal() == unix.SIGKILL
	dead := func() []audit.Process {
		list := sm.s.sink.killed()
		if p, ok := sm.s.sink.lostEnd(e.PID); ok && byKill && len(list) == 0 {
			list = append(list, p) // how it ended is known by now
		}
		return list
	}
	killed := dead()
	fresh := sm.tellMemory(killed, len(killed) > 0)
	if fresh > 0 && len(killed) == 0 {
		for end := time.Now().Add(lastNames); len(killed) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			killed = dead()
		}
		sm.tellMemory(killed, true)
	}
	sm.tellRest()
	if name := sm.exceeded(); name == limitSize || name == limitFiles {
		// Faster than it was looked at: all that is left to do is to say so.
		l, unit := sm.s.sampled(name)
		sm.tell(name, l, unit, "passed", fmt.Sprintf("the layer on disk is looked at each %v, and the run ended before", samplePeriod), audit.Process{})
	}
	if sm.s.spec.Limits.Memory == nil || sm.seen.OOMKills == 0 {
		return false
	}
	if e.Err != nil {
		return true // the jail died
	}
	return byKill && (fresh > 0 || sm.victims.has(e.PID))
}
