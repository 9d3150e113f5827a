package jail

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is what the jail holds at one moment and has used since its start. Where a cgroup
// tells, PID 1 is in it, but not among the processes, and threads count as processes.
type Sample struct {
	CPU       time.Duration
	Memory    int64
	Processes int
	Network   int64  // bytes over the jail's loopback
	Source    string // "cgroup v2", "cgroup v1", "proc"
}

// Sample asks the jail's cgroup, which knows of processes that came and went between
// two samples too, and /proc where there is none.
func (j *Jail) Sample() Sample {
	s := Sample{Network: j.networkBytes()}
	dirs := j.cgroupDirs()
	switch {
	case dirs[""] != "" && dirs["cpuacct"] == "": // a hybrid host has both, v2 without controllers
		s.Source = "cgroup v2"
		cpu, err1 := readField(filepath.Join(dirs[""], "cpu.stat"), "usage_usec") // cgroup-v2.rst: there without the cpu controller too
		mem, err2 := readNumber(filepath.Join(dirs[""], "memory.current"))
		n, err3 := readNumber(filepath.Join(dirs[""], "pids.current"))
		if errors.Join(err1, err2, err3) == nil {
			s.CPU, s.Memory, s.Processes = time.Duration(cpu)*time.Microsecond, mem, max(0, int(n)-ownThreads)
			return s
		}
	case dirs["cpuacct"] != "":
		s.Source = "cgroup v1"
		cpu, err1 := readNumber(filepath.Join(dirs["cpuacct"], "cpuacct.usage"))
		mem, err2 := readNumber(filepath.Join(dirs["memory"], "memory.usage_in_bytes"))
		n, err3 := readNumber(filepath.Join(dirs["pids"], "pids.current"))
		if errors.Join(err1, err2, err3) == nil {
			s.CPU, s.Memory, s.Processes = time.Duration(cpu), mem, max(0, int(n)-ownThreads)
			return s
		}
	}
	s.Source = "proc"
	pids := descendants(j.initPID)
	u := usage(pids)
	s.CPU, s.Memory, s.Processes = cpuTime(pids), u.Memory, u.Processes
	return s
}

// cgroupDirs are the folders of the jail's own cgroup by hierarchy ("" is v2's).
func (j *Jail) cgroupDirs() map[string]string {
	j.cgroupOnce.Do(func() {
		if j.base.withoutCgroup() {
			return
		}
		state, err := j.container.State()
		if err != nil {
			return // it has none
		}
		own := map[string]string{}
		for name, p := range state.CgroupPaths {
			if strings.Contains(p, j.plan.ID) { // else it is the caller's
				own[name] = p
			}
		}
		j.cgroups = own
	})
	return j.cgroups
}

// networkBytes is what was sent over the loopback of the jail's network namespace (proc(5),
// /proc/PID/net/dev). What is sent there is received there: one of the two is all of it.
func (j *Jail) networkBytes() int64 {
	data, err := readBounded("/proc/"+strconv.Itoa(j.initPID)+"/net/dev", maxProcValue)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(bytes.TrimSpace(name)) != "lo" {
			continue
		}
		const sent = 8 // after the eight columns of what was received
		if f := bytes.Fields(rest); len(f) > sent {
			n, _ := strconv.ParseInt(string(f[sent]), 10, 64)
			return n
		}
	}
	return 0
}

func readNumber(path string) (int64, error) {
	data, err := readBounded(path, 64)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
}

// readField reads a number out of a file of lines "name number".
func readField(path, name string) (int64, error) {
	data, err := readBounded(path, maxProcValue)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if key, value, ok := bytes.Cut(line, []byte(" ")); ok && string(key) == name {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, &os.PathError{Op: "read " + name, Path: path, Err: fs.ErrNotExist}
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
