package jail

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Hits is how often the kernel has held the jail to a limit so far.
type Hits struct {
	OOMKills int64 // processes that it killed for want of memory
	Forks    int64 // processes and threads that it refused
	Space    bool  // the workspace's layer in memory has no room left
	Files    bool  // it can't have more files
}

// Hits asks the jail's cgroup and the upper layer. What can't be asked was not hit; a
// run that ends of a limit ends all the same.
func (j *Jail) Hits() Hits {
	var h Hits
	dirs := j.cgroupDirs()
	// cgroup-v1/memory.rst (oom_kill: Linux 4.13); cgroup-v2.rst; pids.events of both.
	for _, f := range []struct {
		to         *int64
		dir        string
		file, name string
	}{
		{&h.OOMKills, dirs["memory"], "memory.oom_control", "oom_kill"},
		{&h.OOMKills, dirs[""], "memory.events", "oom_kill"},
		{&h.Forks, dirs["pids"], "pids.events", "max"},
		{&h.Forks, dirs[""], "pids.events", "max"},
	} {
		if f.dir == "" {
			continue
		}
		if n, err := readField(filepath.Join(f.dir, f.file), f.name); err == nil {
			*f.to = max(*f.to, n)
		}
	}
	if j.Upper != nil && j.plan.Workspace.Disk == "" {
		var fs unix.Statfs_t
		if unix.Fstatfs(int(j.Upper.Fd()), &fs) == nil {
			h.Space, h.Files = fs.Blocks > 0 && fs.Bavail == 0, fs.Files > 0 && fs.Ffree == 0
		}
	}
	return h
}

// oomFirst makes a process the first that the kernel kills for want of memory (proc(5)).
const oomFirst = 1000

// preferVictim lets the children of this process be killed before it: PID 1 has more
// memory than many an agent, and its end is the jail's. Without privilege an agent may
// take it back, and then ends the run when it uses up the memory. The second function
// puts this process's own back.
func preferVictim() (restore func()) {
	const path = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(path)
	if err != nil || os.WriteFile(path, []byte(strconv.Itoa(oomFirst)), 0) != nil {
		return func() {} // with real privilege the supervisor does it
	}
	return func() { _ = os.WriteFile(path, before, 0) }
}

// chooseVictim does the same from outside where PID 1 can't (it is not dumpable with
// real privilege): its one child is the agent's stage. The kernel then lets nobody lower
// it again who has not that privilege.
func (j *Jail) chooseVictim() {
	if j.base.Rootless {
		return // PID 1 has done it
	}
	pid := strconv.Itoa(j.initPID)
	tasks, err := os.ReadDir("/proc/" + pid + "/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		data, err := readBounded("/proc/"+pid+"/task/"+t.Name()+"/children", maxProcValue)
		if err != nil {
			continue
		}
		for _, child := range strings.Fields(string(data)) {
			_ = os.WriteFile("/proc/"+child+"/oom_score_adj", []byte(strconv.Itoa(oomFirst)), 0)
		}
	}
}
