package run_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attackConfig tells the attacking program where the host's canaries are.
type attackConfig struct {
	Names     []string `json:"names"`      // of the attacks to try, in order
	Key       string   `json:"key"`        // a private key in the caller's home
	Outside   string   `json:"outside"`    // a file beside the workspace
	Readonly  string   `json:"readonly"`   // a folder that the profile reads, with file, socket and program in it
	CanaryPID int      `json:"canary_pid"` // a process of the host
	ProcPID   int      `json:"proc_pid"`   // whose /proc/PID to open: 1 in the jail, the canary unjailed
	Abstract  string   `json:"abstract"`   // abstract socket of the host
	Port      int      `json:"port"`       // TCP and UDP on the host's loopback
}

// newSuffix ends the name of a file that an attack creates beside the workspace.
const newSuffix = ".new"

// attack tries one thing and says "ok" if it worked, else the errno's name. What
// would outlive the attempt is undone by it.
type attack func(attackConfig) string

func allAttacks() map[string]attack {
	all := map[string]attack{}
	for _, group := range []map[string]attack{fileAttacks(), procAttacks(), namespaceAttacks(), callAttacks(), socketAttacks(), abiAttacks()} {
		for name, f := range group {
			all[name] = f
		}
	}
	return all
}

// attackMain tries what its argument lists and prints a JSON object of results.
func attackMain(args []string) int {
	var cfg attackConfig
	if err := json.Unmarshal([]byte(args[0]), &cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	all, results := allAttacks(), map[string]string{}
	for _, name := range cfg.Names {
		f, ok := all[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no such attack: %s\n", name)
			return 1
		}
		results[name] = f(cfg)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		return 1
	}
	return 0
}

// attackOneMain makes one call that is expected to kill its process.
func attackOneMain(args []string) int {
	switch args[0] {
	case "int80":
		fmt.Println(int80())
	case "x32":
		// __X32_SYSCALL_BIT of asm/unistd.h.
		_, _, errno := unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0)
		fmt.Println(answer(errno))
	default:
		return 1
	}
	return 0
}

// answer is an errno in short.
func answer(errno syscall.Errno) string {
	if errno == 0 {
		return "ok"
	}
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return strconv.Itoa(int(errno))
}

func answerErr(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return answer(errno)
	}
	return err.Error()
}

// call makes a raw system call; what it opened is closed again.
func call(nr uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return answer(errno)
}

// opening makes a raw system call that gives a descriptor.
func opening(nr uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	fd, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 {
		unix.Close(int(fd))
	}
	return answer(errno)
}

// child runs this program as another helper and says how it ended.
func child(args ...string) string {
	cmd := exec.Command("/proc/self/exe", append([]string{helperArg}, args...)...)
	out, err := cmd.Output()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return unix.SignalName(ws.Signal())
		}
		return ee.Error()
	}
	if err != nil {
		return answerErr(err)
	}
	return strings.TrimSpace(string(out))
}

// sleepMain waits for its stdin to end: a process to look at.
func sleepMain([]string) int {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// sleeper starts sleepMain and returns once it runs.
func sleeper() (pid int, stop func(), err error) {
	cmd := exec.Command("/proc/self/exe", helperArg, "sleep")
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	stop = func() { in.Close(); _ = cmd.Wait() }
	if _, err := out.Read(make([]byte, 6)); err != nil {
		stop()
		return 0, nil, err
	}
	return cmd.Process.Pid, stop, nil
}

// fileAttacks try the host's files.
func fileAttacks() map[string]attack {
	read := func(path string) string {
		_, err := os.ReadFile(path)
		return answerErr(err)
	}
	in := func(f func(path string) error) attack {
		return func(c attackConfig) string { return answerErr(f(c.Readonly + "/file")) }
	}
	open := func(path string, flags int) string {
		f, err := os.OpenFile(path, flags, 0o600)
		if err == nil {
			f.Close()
		}
		return answerErr(err)
	}
	return map[string]attack{
		"read the private key":                    func(c attackConfig) string { return read(c.Key) },
		"read the private key by /proc/self/root": func(c attackConfig) string { return read("/proc/self/root" + c.Key) },
		"read the private key by /proc/PID/root":  func(c attackConfig) string { return read(fmt.Sprintf("/proc/%d/root%s", c.ProcPID, c.Key)) },
		"read the private key by /proc/PID/cwd": func(c attackConfig) string {
			return read(fmt.Sprintf("/proc/%d/cwd/../../../../../../../../%s", c.ProcPID, c.Key))
		},
		"list the home folder":               func(c attackConfig) string { _, err := os.ReadDir(dirname(dirname(c.Key))); return answerErr(err) },
		"read a file beside the workspace":   func(c attackConfig) string { return read(c.Outside) },
		"write a file beside the workspace":  func(c attackConfig) string { return open(c.Outside, os.O_WRONLY) },
		"create a file beside the workspace": func(c attackConfig) string { return open(c.Outside+newSuffix, os.O_WRONLY|os.O_CREATE) },
		"read /etc/shadow":                   func(attackConfig) string { return read("/etc/shadow") },
		"write /etc/passwd":                  func(attackConfig) string { return open("/etc/passwd", os.O_WRONLY) },
		"create a file in /usr":              func(attackConfig) string { return open("/usr/agentjail-test", os.O_WRONLY|os.O_CREATE) },
		"create a file in /":                 func(attackConfig) string { return open("/agentjail-test", os.O_WRONLY|os.O_CREATE) },
		"write a kernel setting":             func(attackConfig) string { return open("/proc/sys/kernel/core_pattern", os.O_WRONLY) },
		"write /proc/sysrq-trigger":          func(attackConfig) string { return open("/proc/sysrq-trigger", os.O_WRONLY) },
		"read the kernel's log":              func(attackConfig) string { return open("/dev/kmsg", os.O_RDONLY) },
		"open /dev/mem":                      func(attackConfig) string { return open("/dev/mem", os.O_RDONLY) },
		"open /dev/fuse":                     func(attackConfig) string { return open("/dev/fuse", os.O_RDWR) },
		"look for the host's tree that the jail was built from": func(attackConfig) string {
			entries, err := os.ReadDir("/run/agentjail/setup/host")
			if err == nil && len(entries) == 0 {
				return "empty"
			}
			return answerErr(err)
		},
		"read a file that no Landlock rule grants":  func(attackConfig) string { return read("/run/agentjail/canary") },
		"write to a read-only file":                 in(func(p string) error { return os.WriteFile(p, []byte("x"), 0) }),
		"truncate a read-only file":                 in(func(p string) error { return os.Truncate(p, 0) }),
		"remove a read-only file":                   in(os.Remove),
		"rename a read-only file":                   in(func(p string) error { return os.Rename(p, p+".moved") }),
		"link beside a read-only file":              in(func(p string) error { return os.Link(p, p+".link") }),
		"make a folder beside a read-only file":     in(func(p string) error { return os.Mkdir(p+".dir", 0o700) }),
		"chmod a read-only file":                    in(func(p string) error { return os.Chmod(p, 0o666) }),
		"chown a read-only file":                    in(func(p string) error { return os.Lchown(p, os.Getuid(), os.Getgid()) }),
		"utime a read-only file":                    in(func(p string) error { return unix.Utimes(p, []unix.Timeval{{Sec: 1}, {Sec: 1}}) }),
		"setxattr on a read-only file":              in(func(p string) error { return unix.Setxattr(p, "user.agentjail", []byte("x"), 0) }),
		"mknod a device":                            func(attackConfig) string { return nodeAttack(unix.S_IFCHR, unix.Mkdev(1, 1)) },
		"become root by a setuid program":           setuidAttack,
		"connect to a socket in a read-only folder": func(c attackConfig) string { return unixAttack(c.Readonly + "/socket") },
		"connect to an abstract socket":             func(c attackConfig) string { return unixAttack("@" + c.Abstract) },
	}
}

func dirname(p string) string { return p[:strings.LastIndexByte(p, '/')] }

func nodeAttack(kind uint32, dev uint64) string {
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		return err.Error()
	}
	defer os.RemoveAll(dir)
	return answerErr(unix.Mknod(dir+"/node", kind|0o600, int(dev)))
}

func unixAttack(name string) string {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return answerErr(err)
	}
	defer unix.Close(fd)
	return answerErr(unix.Connect(fd, &unix.SockaddrUnix{Name: name}))
}

// setuidAttack starts a program that is setuid root on every Debian and says what
// effective uid it got; "ok" is root's.
func setuidAttack(attackConfig) string {
	cmd := exec.Command("/usr/bin/su")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err.Error()
	}
	if err := cmd.Start(); err != nil {
		return answerErr(err)
	}
	// It waits for a password, or ends at once and stays a zombie until Wait:
	// either way its status says who it became.
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	in.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return answerErr(err)
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Uid:" {
			if f[2] == "0" {
				return "ok"
			}
			return "uid " + f[2]
		}
	}
	return "no Uid line"
}

// procAttacks look at processes that are not the agent's.
func procAttacks() map[string]attack {
	open := func(name string, flags int) attack {
		return func(c attackConfig) string {
			f, err := os.OpenFile(fmt.Sprintf("/proc/%d/%s", c.ProcPID, name), flags, 0)
			if err == nil {
				_, err = f.Read(make([]byte, 1))
				if errors.Is(err, io.EOF) || flags != os.O_RDONLY {
					err = nil
				}
				f.Close()
			}
			return answerErr(err)
		}
	}
	link := func(name string) attack {
		return func(c attackConfig) string {
			_, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", c.ProcPID, name))
			return answerErr(err)
		}
	}
	return map[string]attack{
		"read PID 1's environment": open("environ", os.O_RDONLY),
		"read PID 1's memory map":  open("maps", os.O_RDONLY),
		"write PID 1's memory":     open("mem", os.O_RDWR),
		"follow PID 1's root":      link("root"),
		"follow PID 1's cwd":       link("cwd"),
		"follow PID 1's program":   link("exe"),
		"write PID 1's program":    open("exe", os.O_WRONLY),
		"list PID 1's descriptors": func(c attackConfig) string {
			_, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.ProcPID))
			return answerErr(err)
		},
		"enter PID 1's namespaces": func(c attackConfig) string {
			f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.ProcPID))
			if err == nil {
				f.Close()
			}
			return answerErr(err)
		},
		"ptrace PID 1": func(c attackConfig) string {
			r := call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(c.ProcPID), 0, 0)
			if r == "ok" {
				_ = unix.PtraceDetach(c.ProcPID)
			}
			return r
		},
		"signal PID 1":      func(c attackConfig) string { return answerErr(unix.Kill(c.ProcPID, 0)) },
		"signal the canary": func(c attackConfig) string { return answerErr(unix.Kill(c.CanaryPID, 0)) },
		"see the canary": func(c attackConfig) string {
			_, err := os.Stat(fmt.Sprintf("/proc/%d", c.CanaryPID))
			return answerErr(err)
		},
		"read the canary's environment": func(attackConfig) string {
			if v, ok := os.LookupEnv("AGENTJAIL_TEST_SECRET"); ok {
				return "ok " + v
			}
			return "absent"
		},
	}
}
