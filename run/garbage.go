package run

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/agentjail/agentjail/jail/residue"
)

// setupHeap is the heap (bytes) at which the garbage is collected also while a run is
// being set up, which takes some 5 MB with the built-in profiles.
const setupHeap = 64 << 20

// holdGarbage keeps the garbage collector from running until the function that it
// returns is called: with two processors a collection in the middle of the set-up
// costs the start of the run a millisecond.
func holdGarbage() func() {
	limit := debug.SetMemoryLimit(setupHeap)
	percent := debug.SetGCPercent(-1)
	return sync.OnceFunc(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

// blockedThreads is how many threads of a supervisor stand in system calls at a time,
// rounded up: they wait for the next notification, for PID 1's word and its end, for the
// gateway, for the disk. Go counts such a thread as one of its processors until its monitor
// takes that back, which may be 10 ms later (runtime/proc.go, sysmon and retake): on a
// machine of two processors a run would stand still for some milliseconds, again and again.
const blockedThreads = 8

// roomForBlocked gives Go as many processors more.
func roomForBlocked() {
	if n := runtime.NumCPU() + blockedThreads; runtime.GOMAXPROCS(0) < n {
		runtime.GOMAXPROCS(n)
	}
}

// startOver is when a run's start is over, and what it left in memory is given back. Before
// that the agent's first instructions want the processor, and many a run has ended.
const startOver = time.Second

// tidy gives back what only the start needed, once it is over.
func (s *session) tidy() {
	later := time.AfterFunc(startOver, func() {
		s.garbage()
		residue.Release()
	})
	s.stack.push("stop waiting for the start's end", func() error { later.Stop(); return nil })
}
