package jail

import (
	"os"
	"runtime"
	"sync"
)

// PID 1 is under the jail's limit of processes, which counts threads too, and under
// whatever else limits the host's user: an agent that has used it up would end the jail
// when Go's runtime next needs a thread, since one that can't be made is fatal to it. So
// PID 1 has all of its threads before the agent's first instruction, and the cgroup's
// limit is the agent's own plus these.
//
// They are enough: the main goroutine, the one that reaps, the runtime's monitor and its
// maker of threads have one each; two run Go code (GOMAXPROCS), one waits for descriptors,
// one reads the stage's word, and each dial may stand in a system call. The rest is for
// threads that are on their way between two of these.
const (
	maxDials   = 4
	ownThreads = 16
)

// makeThreads makes threads until there are ownThreads. The runtime keeps one that has
// nothing to do, and takes it before it makes another (runtime/proc.go: stopm, startm); it
// ends only those whose goroutine has ended while locked to it.
func makeThreads() error {
	var parked, done sync.WaitGroup
	release := make(chan struct{})
	defer done.Wait()
	defer close(release)
	// Some may be on their way to end, and are not there to be taken when they are needed:
	// it is looked once more, until there are enough.
	for range ownThreads {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil || len(tasks) >= ownThreads {
			return err
		}
		for range ownThreads - len(tasks) {
			parked.Add(1)
			done.Add(1)
			go func() {
				defer done.Done()
				runtime.LockOSThread() // a thread for this goroutine alone, while it waits
				defer runtime.UnlockOSThread()
				parked.Done()
				<-release
			}()
		}
		parked.Wait()
	}
	return nil
}
