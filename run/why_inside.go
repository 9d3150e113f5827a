package run

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// The jail's side of why: each question is tried in the way that does least.

// probeQuestion is the agent of why's jail.
func probeQuestion(arg string) (string, error) {
	var q question
	if err := json.Unmarshal([]byte(arg), &q); err != nil {
		return "", err
	}
	if n, known := whyOps()[q.Op]; !known || len(q.What) != n {
		return "", errors.New("this is no question")
	}
	out, err := json.Marshal(tryQuestion(q))
	return string(out), err
}

func tryQuestion(q question) opinion {
	switch q.Op {
	case "read":
		return tryToRead(q.What[0])
	case "write":
		return tryToWrite(q.What[0])
	case "exec":
		return tryToExec(q.What[0])
	case "resolve":
		return tryToResolve(q.What[0])
	case "connect":
		return tryToConnect(q.What[0])
	case "syscall":
		return tryToCall(q.What[0])
	}
	return opinion{Reason: "nothing to try"}
}

// said turns a kernel's answer into an opinion. What is not there is not refused, but
// nobody in the jail can tell it from that.
func said(err error, what string) opinion {
	if err == nil {
		return opinion{Action: profiles.Allow}
	}
	o := opinion{Action: profiles.Deny, Reason: what + ": " + pathCause(err).Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) && (errno == unix.ENXIO || errno == unix.ETXTBSY || errno == unix.EISDIR) {
		return opinion{Reason: what + ": " + errno.Error() + ", which is not for a jail to decide"}
	}
	return o
}

func tryToRead(path string) opinion {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			_, err = unix.ReadDirent(fd, make([]byte, 4096))
		}
	}
	return said(err, "open to read")
}

// tryToWrite opens what is there to write, without writing; where nothing is, it makes a
// file without a name in the folder (open(2), O_TMPFILE), which leaves nothing.
func tryToWrite(path string) opinion {
	st, err := os.Stat(path)
	switch {
	case err == nil && !st.IsDir():
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return said(err, "open to write")
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return said(err, "look")
	case err != nil:
		path = filepath.Dir(path)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return opinion{Reason: "not tried: the file system of " + path + " makes no file without a name"}
	}
	if err == nil {
		unix.Close(fd)
	}
	return said(err, "make a file in "+path)
}

// tryToExec asks whether the program could be executed, and does not: execveat(2) with
// AT_EXECVE_CHECK, since Linux 6.14.
func tryToExec(path string) opinion {
	const atExecveCheck = 0x10000
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return said(err, "execute")
	}
	argv := []*byte{p, nil}
	env := []*byte{nil}
	errno := execveat(p, argv, env, atExecveCheck)
	if errno == unix.EINVAL {
		if st, err := os.Stat(path); err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
			return opinion{Action: profiles.Deny, Reason: "the jail has no executable file there"}
		}
		return opinion{Reason: "not tried: this kernel can't say so without executing it (Linux 6.14 can)"}
	}
	if errno == 0 {
		return opinion{Action: profiles.Allow}
	}
	return said(errno, "execute")
}

func tryToResolve(name string) opinion {
	ctx, cancel := context.WithTimeout(context.Background(), insideTimeout)
	defer cancel()
	addrs, err := (&net.Resolver{PreferGo: true}).LookupHost(ctx, name)
	if err != nil {
		return opinion{Action: profiles.Deny, Reason: "the jail's name server refuses it"}
	}
	return opinion{Action: profiles.Allow, Reason: "the jail's name server answers " + strings.Join(addrs, ", ")}
}

func tryToConnect(target string) opinion {
	host, _, err := splitTarget(target)
	if err != nil {
		return said(err, "connect")
	}
	if !isAddress(host) {
		if o := tryToResolve(host); o.Action == profiles.Deny {
			return o
		}
	}
	c, err := net.DialTimeout("tcp", target, insideTimeout)
	if err == nil {
		// The gateway takes a connection before it refuses it: what counts is whether
		// anything comes of it.
		defer c.Close()
		return opinion{Reason: "the gateway takes the connection and decides by what is said on it"}
	}
	return opinion{Action: profiles.Deny, Reason: "connect: " + err.Error()}
}

// tryToCall makes a call with arguments that no call does anything with. Calls that take
// none, or that end or stop whoever makes them, are not tried.
func tryToCall(name string) opinion {
	if slices.Contains(strings.Fields(`exit exit_group pause fork vfork clone clone3 rt_sigreturn rt_sigsuspend restart_syscall
		sync setsid vhangup munlockall sched_yield execve execveat kill tkill tgkill reboot seccomp landlock_restrict_self close close_range`), name) {
		return opinion{Reason: "not tried: there are no arguments with which it surely has no effect"}
	}
	v, err := jail.ExplainCall(name, nil)
	if err != nil || v.Number < 0 {
		return opinion{Reason: "not tried: this architecture does not have it"}
	}
	if v.Only != "" {
		return opinion{Reason: "not tried: it depends on its arguments"}
	}
	bad := ^uintptr(0)
	_, _, errno := unix.RawSyscall6(uintptr(v.Number), bad, bad, bad, bad, bad, bad)
	switch errno {
	case unix.EPERM, unix.ENOSYS, unix.EAFNOSUPPORT:
		return opinion{Action: profiles.Deny, Reason: "it answers " + unix.ErrnoName(errno)}
	}
	return opinion{Action: profiles.Allow, Reason: "the kernel takes it"}
}

// lookProgram is a program's path as a shell would find it, for `why exec NAME`.
func lookProgram(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	return name
}
