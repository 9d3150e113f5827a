package jail

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// clockTick is USER_HZ, in which /proc/PID/stat counts: 100 on every architecture
// that Go runs on (proc(5), sysconf(_SC_CLK_TCK)).
const clockTick = 10 * time.Millisecond

// CPUTime is what the jail's processes have used that are alive or were waited for
// by one that is. It reads /proc, a few microseconds a process.
func (j *Jail) CPUTime() time.Duration { return cpuTime(descendants(j.initPID)) }

func cpuTime(pids []int) time.Duration {
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		// The name, in parentheses, may hold anything; what follows does not.
		i := bytes.LastIndexByte(data, ')')
		fields := bytes.Fields(data[i+1:])
		const utime, cstime = 11, 14 // after the name: state is 0
		if len(fields) <= cstime {
			continue
		}
		for _, f := range fields[utime : cstime+1] {
			n, err := strconv.ParseInt(string(f), 10, 64)
			if err == nil {
				ticks += n
			}
		}
	}
	return time.Duration(ticks) * clockTick
}

// Usage is what the jail's processes hold at this moment.
type Usage struct {
	Processes int   // PID 1 not counted
	Memory    int64 // bytes of resident memory; pages that several share count for each
}

// Usage reads /proc for each of the jail's processes.
func (j *Jail) Usage() Usage { return usage(descendants(j.initPID)) }

// usage leaves out the first, which is PID 1.
func usage(pids []int) Usage {
	var u Usage
	for _, pid := range pids[1:] {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
		if err != nil {
			continue // ended meanwhile
		}
		u.Processes++
		if f := bytes.Fields(data); len(f) > 1 {
			if pages, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil {
				u.Memory += pages * int64(os.Getpagesize())
			}
		}
	}
	return u
}

// descendants lists a process and all below it, by /proc/PID/task/TID/children.
func descendants(pid int) []int {
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		dir := "/proc/" + strconv.Itoa(found[i]) + "/task"
		tasks, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, t := range tasks {
			data, err := os.ReadFile(dir + "/" + t.Name() + "/children")
			if err != nil {
				continue
			}
			for _, f := range bytes.Fields(data) {
				if n, err := strconv.Atoi(string(f)); err == nil {
					found = append(found, n)
				}
			}
		}
	}
	return found
}
