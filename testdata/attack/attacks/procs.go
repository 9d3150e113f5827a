package attacks

import (
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// procs are attacks on processes that are not the agent's.
func procs() []Attack {
	return []Attack{
		{ID: "signal-host", Line: 19, What: "signal a process of the host", Class: "a process in reach", Without: Plain,
			Try: func(t *Target) string { return answer(unix.Kill(t.PID, 0)) }, Stopped: []Stop{by(PidNS, "ESRCH")}},
		{ID: "see-host", Line: 19, What: "see a process of the host", Class: "a process in reach", Without: Plain,
			Try: func(t *Target) string { return present(sprint("/proc/%d", t.PID)) }, Stopped: []Stop{by(PidNS, "ENOENT")}},
		{ID: "count-processes", Line: 19, What: "find a process that it did not start", Class: "a process in reach", Without: Plain,
			Try: countAttack, Stopped: []Stop{by(PidNS, "none")}},
		{ID: "cmdline-host", Line: 18, What: "read the command line of a process of the host", Class: "a credential on a command line", Without: Plain,
			Try: func(t *Target) string { return read(sprint("/proc/%d/cmdline", t.PID)) }, Stopped: []Stop{by(PidNS, "ENOENT")}},
		{ID: "signal-pid1", Line: 41, What: "signal PID 1", Class: "a jail that loses its keeper", Without: Plain,
			Try:     func(t *Target) string { return answer(unix.Kill(t.ProcPID, 0)) },
			Stopped: []Stop{by(Landlock, "EPERM")},
			// Before Linux 6.12 the agent of an ordinary user's jail has PID 1's kernel uid and
			// no scope in its way; PID 1 takes no signal (package jail, Shim).
			Needs: func(t *Target) string {
				if t.Jailed && os.Getuid() != 0 && landlockABI() < 6 {
					return "Landlock's scope of signals, Linux 6.12; PID 1 takes no signal"
				}
				return ""
			}},
		{ID: "signal-all", Line: 41, What: "signal every process there is", Class: "a process in reach", Without: Looked,
			Try:  func(t *Target) string { return answer(unix.Kill(-1, 0)) },
			Look: func(*Target) string { return "present" },
			// Signal 0 to all: EPERM or ESRCH where there is nobody but itself.
			Stopped: []Stop{by(PidNS, "ok", "ESRCH", "EPERM")}},
		{ID: "ptrace-pid1", Line: 32, What: "ptrace PID 1", Class: "a process in reach", Without: Plain, Calls: []string{"ptrace"},
			Try: func(t *Target) string {
				return inThread(func() string {
					r := call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(t.ProcPID), 0, 0)
					if r == "ok" {
						_ = unix.PtraceDetach(t.ProcPID)
					}
					return r
				})
			}, Stopped: []Stop{by(Seccomp, "EPERM")}},
		{ID: "environment", Line: 71, What: "read a variable of the caller's environment", Class: "a credential in the environment", Without: Plain,
			Try: func(t *Target) string {
				if _, ok := os.LookupEnv(t.Variable); ok {
					return "ok"
				}
				return "absent"
			}, Stopped: []Stop{by(Environment, "absent")}},
		{ID: "environment-known", Line: 71, What: "find keys, sockets or a loader's settings in the environment", Class: "SSH_AUTH_SOCK, LD_PRELOAD, cloud keys, proxy passwords", Without: Plain,
			Try: knownVariables, Stopped: []Stop{by(Environment, "none")}},
		{ID: "pid-namespace-init", Line: 69, What: "outlive PID 1's wait as an orphan of one's own session", Class: "a process that stays", Without: Plain, ByMark: true,
			Try: daemonAttack, Stopped: []Stop{by(Wipe, "ok")}},
	}
}

// knownVariables looks for what the suite has put into the caller's environment.
func knownVariables(*Target) string {
	for _, name := range []string{"SSH_AUTH_SOCK", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} {
		if v, ok := os.LookupEnv(name); ok && strings.Contains(v, "agentjail-canary") {
			return "ok: " + name
		}
	}
	return "none"
}

// countAttack finds a numbered folder of /proc that is neither its own nor PID 1's nor a
// child's: those that it started are dead by now.
func countAttack(*Target) string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return answer(err)
	}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err == nil && n != 1 && n != os.Getpid() && n != os.Getppid() {
			if status, err := os.ReadFile(sprint("/proc/%d/status", n)); err == nil && !strings.Contains(string(status), "\nPPid:\t1\n") &&
				!strings.Contains(string(status), sprint("\nPPid:\t%d\n", os.Getpid())) {
				return "ok"
			}
		}
	}
	return "none"
}

// daemonAttack leaves a process that has its own session, no streams, no parent, and
// ignores what politely ends processes. The suite looks for it after the jail's end by
// its mark in the command line, and ends it where it finds it.
func daemonAttack(t *Target) string {
	cmd := exec.Command("/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done", t.Mark(), t.Dropbox)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	return answer(cmd.Start())
}
