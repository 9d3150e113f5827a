package jail

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// stage prepares what the agent's stage is started with, the pty among it.
func (s *shim) stage(filter []unix.SockFilter) (stage, *os.File, error) {
	p := s.plan
	path, err := lookCommand(p.Agent)
	if err != nil {
		return stage{}, nil, err
	}
	ruleset, err := makeRuleset(p.Landlock)
	if err != nil {
		return stage{}, nil, layerError("landlock", err, "")
	}
	if mutate.Off(mutate.Landlock) {
		unix.Close(ruleset)
		ruleset = -1
	}
	st := stage{path: path, cwd: p.Agent.Cwd, canary: canaryPath, argv: p.Agent.Argv, env: p.Agent.Env,
		uid: AgentID, gid: AgentID, outerUID: p.IDs.AgentUID, outerGID: p.IDs.AgentGID,
		ruleset: ruleset, filter: filter, rlimits: capRlimits(p.Rlimits), terminal: p.Agent.Terminal, unshares: opens(p.Syscalls, "unshare")}
	if !p.Agent.Terminal {
		for i := range st.stdio {
			st.stdio[i] = os.NewFile(uintptr(fdStdin+i), "stdio")
		}
		return st, nil, nil
	}
	master, slave, err := openPTY(int(p.IDs.AgentUID), int(p.IDs.AgentGID))
	if err != nil {
		return st, nil, layerError("terminal", err, "")
	}
	s.tty = slave
	st.stdio = [3]*os.File{slave, slave, slave}
	return st, master, nil
}

// capRlimits lowers a limit to what PID 1 itself may have: nothing here has the
// right to raise one.
func capRlimits(limits []Rlimit) []Rlimit {
	out := make([]Rlimit, len(limits))
	for i, l := range limits {
		var have unix.Rlimit
		if unix.Getrlimit(l.Resource, &have) == nil {
			l.Hard = min(l.Hard, have.Max)
			l.Soft = min(l.Soft, l.Hard)
		}
		out[i] = l
	}
	return out
}

// lookCommand finds the command as a shell would, in the jail's own view.
func lookCommand(a AgentPlan) (string, error) {
	name := a.Argv[0]
	if name == "" {
		return "", &CommandError{Command: name, NotFound: true}
	}
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, kv := range a.Env {
			if v, ok := strings.CutPrefix(kv, "PATH="); ok {
				for _, dir := range filepath.SplitList(v) {
					if filepath.IsAbs(dir) { // never the working folder by accident
						candidates = append(candidates, filepath.Join(dir, name))
					}
				}
			}
		}
	} else if !filepath.IsAbs(name) {
		candidates = []string{filepath.Join(a.Cwd, name)}
	}
	denied := false
	for _, c := range candidates {
		info, err := os.Stat(c)
		if err != nil || info.IsDir() && !strings.Contains(name, "/") {
			continue
		}
		if info.IsDir() {
			return "", &CommandError{Command: name, Err: errors.New("it is a folder")}
		}
		if info.Mode()&0o111 == 0 {
			denied = true
			continue
		}
		return c, nil
	}
	if denied {
		return "", &CommandError{Command: name, Err: unix.EACCES}
	}
	return "", &CommandError{Command: name, NotFound: true}
}

// openPTY makes a pty in the jail's own devpts; PID 1 becomes the leader of its
// session, so that the agent's process group is no orphan and Ctrl-Z stops it.
func openPTY(uid, gid int) (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: "/dev/pts/ptmx", Err: err}
	}
	master = os.NewFile(uintptr(fd), "ptmx")
	defer func() {
		if err != nil {
			master.Close()
		}
	}()
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, os.NewSyscallError("ioctl(TIOCGPTN)", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, os.NewSyscallError("ioctl(TIOCSPTLCK)", err)
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	if err := os.Chown(path, uid, gid); err != nil {
		return nil, nil, err
	}
	sfd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	slave = os.NewFile(uintptr(sfd), path)
	if _, err := unix.Setsid(); err != nil && !errors.Is(err, unix.EPERM) { // EPERM: a leader already
		slave.Close()
		return nil, nil, os.NewSyscallError("setsid", err)
	}
	if err := unix.IoctlSetInt(sfd, unix.TIOCSCTTY, 0); err != nil {
		slave.Close()
		return nil, nil, os.NewSyscallError("ioctl(TIOCSCTTY)", err)
	}
	return master, slave, nil
}

// bindCPUs keeps the first n of the CPUs that this thread may run on.
func bindCPUs(n int) error {
	var have, keep unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil {
		return err
	}
	for cpu := 0; keep.Count() < min(n, have.Count()); cpu++ {
		if have.IsSet(cpu) {
			keep.Set(cpu)
		}
	}
	return unix.SchedSetaffinity(0, &keep)
}
