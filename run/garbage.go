package run

import (
	"runtime/debug"
	"sync"
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
