package jail

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// owners finds out which program of the jail holds a socket. The kernel names a
// socket's inode; the program is the one that has a descriptor of it (proc(5),
// /proc/PID/fd). What is read belongs to hostile programs: it names, it decides
// nothing. Who may look: the creator of the jail's outer user namespace has every
// capability over it and the one within (user_namespaces(7)), CAP_SYS_PTRACE among
// them, as root and as an ordinary user.
type owners struct {
	init  int // PID 1's pid on the host
	exits *exits

	mu     sync.Mutex
	recent []int // host pids that were found lately, the last one first
}

// The bounds of one search. A jail with more is searched in part, and a program that
// is not found is not named.
const (
	maxRecent    = 16
	maxSearched  = 512     // processes
	maxFDs       = 4096    // descriptors of a process
	maxWhoArgs   = 64      // arguments of a named program
	maxWhoBytes  = 2 << 10 // and their bytes: many are kept at once
	maxProcValue = 64 << 10
)

// SocketOwner names a program of the jail that holds the socket with this inode. Where
// several do, since they were forked after it was opened, it is one of them.
func (j *Jail) SocketOwner(inode uint64) (audit.Process, bool) {
	o := j.owners()
	if o == nil {
		return audit.Process{}, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.find("socket:[" + strconv.FormatUint(inode, 10) + "]")
}

// ProcessOf names the program with a pid of the host's, if it is in the jail.
func (j *Jail) ProcessOf(host int) (audit.Process, bool) {
	o := j.owners()
	if o == nil || host <= 0 {
		return audit.Process{}, false
	}
	proc, err := openProc(host)
	if err != nil {
		return audit.Process{}, false
	}
	defer proc.Close()
	own, err := os.Readlink("/proc/" + strconv.Itoa(o.init) + "/ns/pid")
	if err != nil {
		return audit.Process{}, false
	}
	if theirs, err := readlinkAt(proc, "ns/pid"); err != nil || theirs != own {
		return audit.Process{}, false
	}
	return o.describe(proc, host)
}

// owners is nil before the agent was let run.
func (j *Jail) owners() *owners {
	if !j.released.Load() {
		return nil
	}
	j.ownersOnce.Do(func() { j.ownersOf = &owners{init: j.initPID, exits: j.notify.exits} })
	return j.ownersOf
}

// find looks where something was found lately, then among the programs that were
// executed, then everywhere; the caller holds the lock.
func (o *owners) find(link string) (audit.Process, bool) {
	seen := map[int]bool{}
	look := func(host int) (audit.Process, bool) {
		if seen[host] || len(seen) >= maxSearched {
			return audit.Process{}, false
		}
		seen[host] = true
		return o.look(host, link)
	}
	for _, host := range o.recent {
		if p, ok := look(host); ok {
			return p, true
		}
	}
	for _, host := range o.exits.hosts() {
		if p, ok := look(host); ok {
			return p, true
		}
	}
	queue := []int{o.init}
	for len(queue) > 0 && len(seen) < maxSearched {
		children := childrenOf(queue[0])
		queue = append(queue[1:], children...)
		for _, host := range children {
			if p, ok := look(host); ok {
				return p, true
			}
		}
	}
	return audit.Process{}, false
}

// look searches one process's descriptors, the newest first.
func (o *owners) look(host int, link string) (audit.Process, bool) {
	proc, err := openProc(host)
	if err != nil {
		return audit.Process{}, false
	}
	defer proc.Close()
	if !holds(proc, link) {
		return audit.Process{}, false
	}
	p, ok := o.describe(proc, host)
	if ok {
		o.recent = slices.DeleteFunc(o.recent, func(h int) bool { return h == host })
		o.recent = slices.Insert(o.recent, 0, host)
		o.recent = o.recent[:min(len(o.recent), maxRecent)]
	}
	return p, ok
}

func holds(proc *os.File, link string) bool {
	fd, err := unix.Openat(int(proc.Fd()), "fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	dir := os.NewFile(uintptr(fd), "fd")
	defer dir.Close()
	names, err := dir.Readdirnames(maxFDs)
	if err != nil && err != io.EOF {
		return false
	}
	buf := make([]byte, 64)
	for _, name := range slices.Backward(names) {
		if n, err := unix.Readlinkat(fd, name, buf); err == nil && string(buf[:n]) == link {
			return true
		}
	}
	return false
}

// openProc opens a process's folder. What is read below it is of that process and
// never of another one that got its number later: it fails with ESRCH then.
func openProc(host int) (*os.File, error) {
	return os.OpenFile("/proc/"+strconv.Itoa(host), os.O_RDONLY|unix.O_DIRECTORY, 0)
}

func readAt(dir *os.File, name string) ([]byte, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxProcValue))
}

func readlinkAt(dir *os.File, name string) (string, error) {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	return string(buf[:max(n, 0)]), err
}

// describe names a process as its exec was recorded, and one that only was forked by
// the program that it runs.
func (o *owners) describe(proc *os.File, host int) (p audit.Process, ok bool) {
	if known, ok := o.exits.running(host); ok {
		p = known
	} else {
		status, err := readAt(proc, "status") // which takes longer than all else here
		if err != nil {
			return p, false
		}
		if p.PID = lastField(status, "\nNStgid:"); p.PID == 0 {
			return p, false
		}
		p.Path, _ = readlinkAt(proc, "exe")
		p.Name = p.Path[strings.LastIndexByte(p.Path, '/')+1:]
		if parent, err := openProc(lastField(status, "\nPPid:")); err == nil {
			if data, err := readAt(parent, "status"); err == nil {
				p.Parent = lastField(data, "\nNStgid:")
			}
			parent.Close()
		}
	}
	line, err := readAt(proc, "cmdline")
	if err == nil && len(line) > 0 {
		line = bytes.TrimSuffix(line[:min(len(line), maxWhoBytes)], []byte{0})
		p.Argv = strings.SplitN(string(line), "\x00", maxWhoArgs)
	}
	return p, true
}

// childrenOf lists a process's children (proc(5), /proc/PID/task/TID/children, which a
// kernel without CONFIG_PROC_CHILDREN lacks: then only what was executed is searched).
func childrenOf(host int) (pids []int) {
	base := "/proc/" + strconv.Itoa(host) + "/task"
	tasks, err := os.ReadDir(base)
	if err != nil {
		return nil
	}
	for _, t := range tasks[:min(len(tasks), maxSearched)] {
		data, err := os.ReadFile(base + "/" + t.Name() + "/children")
		if err != nil {
			continue
		}
		for _, f := range bytes.Fields(data) {
			if pid, err := strconv.Atoi(string(f)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// hosts lists the processes that executed something and are there still.
func (e *exits) hosts() (pids []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.byPID {
		if len(pids) >= maxSearched {
			break
		}
		pids = append(pids, w.host)
	}
	slices.Sort(pids)
	slices.Reverse(pids) // the newest first, as a rule
	return pids
}

// running is what was recorded of a process when it executed its program. Nobody else has
// its number as long as it is there.
func (e *exits) running(host int) (audit.Process, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.byHost[host]
	if w == nil || unix.PidfdSendSignal(int(w.fd), 0, nil, 0) != nil {
		return audit.Process{}, false
	}
	return w.process, true
}
