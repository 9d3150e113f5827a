package jail

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ProcessRecord is one process of a frozen jail, as /proc tells of it. What it holds was
// chosen by the agent.
type ProcessRecord struct {
	Host    int // pid on the host
	PID     int // in the jail
	Files   map[string][]byte
	Links   map[string]string // exe, cwd, root
	FDs     []FD
	Regions []Region
}

// FD is an open descriptor.
type FD struct {
	Number int    `json:"fd"`
	Target string `json:"target"`
	Info   string `json:"info"` // /proc/PID/fdinfo: position, flags
}

// Region is a part of a process's memory.
type Region struct {
	Start, End uint64
	Perms      string
	Path       string
}

// Size of a region in bytes.
func (r Region) Size() int64 { return int64(r.End - r.Start) }

// private says whether a region is the process's own: what only maps a file read-only is
// in that file.
func (r Region) private() bool {
	return strings.HasPrefix(r.Perms, "r") && (strings.Contains(r.Perms, "w") || r.Path == "") && r.Path != "[vvar]" && r.Path != "[vsyscall]"
}

// The bounds of what is read of one process.
const (
	maxTable  = 1 << 20 // of each file
	maxRecord = 4096    // processes
)

// procFiles are what is read of each process. Those that it takes part in writing
// (cmdline, environ, comm) are what it made of them.
var procFiles = []string{"status", "stat", "cmdline", "environ", "maps", "limits", "cgroup", "wchan", "io"}

// ProcessTable reads every process of a jail that is held, PID 1 left out. complete is
// false where there are more than it reads.
func (j *Jail) ProcessTable() (list []ProcessRecord, complete bool) {
	pids := j.processes()
	complete = len(pids) <= maxRecord
	for _, pid := range pids[:min(len(pids), maxRecord)] {
		dir := "/proc/" + strconv.Itoa(pid)
		p := ProcessRecord{Host: pid, Files: map[string][]byte{}, Links: map[string]string{}}
		for _, name := range procFiles {
			if data, err := readBounded(dir+"/"+name, maxTable); err == nil {
				p.Files[name] = data
			}
		}
		p.PID = lastField(p.Files["status"], "\nNStgid:")
		for _, name := range []string{"exe", "cwd", "root"} {
			if to, err := os.Readlink(dir + "/" + name); err == nil {
				p.Links[name] = to
			}
		}
		for _, n := range numbersIn(dir + "/fd")[:] {
			if len(p.FDs) >= maxFDs {
				break
			}
			to, err := os.Readlink(dir + "/fd/" + strconv.Itoa(n))
			if err != nil {
				continue
			}
			info, _ := readBounded(dir+"/fdinfo/"+strconv.Itoa(n), 4<<10)
			p.FDs = append(p.FDs, FD{n, to, string(info)})
		}
		p.Regions = parseMaps(p.Files["maps"])
		list = append(list, p)
	}
	return list, complete
}

// parseMaps reads proc_pid_maps(5). A path in it is the agent's to choose; line feeds in
// it are escaped by the kernel.
func parseMaps(data []byte) (list []Region) {
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, maxTable)
	for s.Scan() {
		f := strings.Fields(s.Text())
		if len(f) < 5 {
			continue
		}
		from, to, ok := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if !ok || err1 != nil || err2 != nil || end <= start || end-start > 1<<47 {
			continue // the last line may be cut off
		}
		r := Region{Start: start, End: end, Perms: f[1]}
		if len(f) > 5 {
			r.Path = strings.Join(f[5:], " ")
		}
		list = append(list, r)
	}
	return list
}

// Memory opens the memory of a process that is held; the caller closes it.
func (p ProcessRecord) Memory() (*os.File, error) {
	return os.OpenFile(fmt.Sprintf("/proc/%d/mem", p.Host), os.O_RDONLY|unix.O_CLOEXEC, 0)
}

// Private are the regions that are the process's own.
func (p ProcessRecord) Private() (list []Region) {
	for _, r := range p.Regions {
		if r.private() {
			list = append(list, r)
		}
	}
	return list
}

// Reader reads a region out of Memory.
func (r Region) Reader(mem *os.File) io.Reader {
	return io.NewSectionReader(mem, int64(r.Start), r.Size())
}

// SocketTables are the sockets of the jail's network namespace, as the kernel lists them
// (proc_pid_net(5)).
func (j *Jail) SocketTables() map[string][]byte {
	tables := map[string][]byte{}
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6", "unix", "netlink", "raw", "raw6"} {
		if data, err := readBounded("/proc/"+strconv.Itoa(j.initPID)+"/net/"+name, 16*maxTable); err == nil {
			tables[name] = data
		}
	}
	return tables
}
