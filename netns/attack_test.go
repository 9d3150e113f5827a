package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// attacks are what code that took the gateway over would try. An attack answers
// nil where it worked.
var attacks = map[string]func(dir string) error{
	"write a file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), []byte("x"), 0o644) },
	"append": func(dir string) error {
		_, err := os.OpenFile(filepath.Join(dir, "secret"), os.O_WRONLY|os.O_APPEND, 0)
		return err
	},
	"read a secret": func(dir string) error { _, err := os.ReadFile(filepath.Join(dir, "secret")); return err },
	"list a folder": func(dir string) error { _, err := os.ReadDir(dir); return err },
	"remove":        func(dir string) error { return os.Remove(filepath.Join(dir, "secret")) },
	"execute": func(string) error {
		return syscall.Exec("/bin/true", []string{"true"}, nil)
	},
	"fork": func(string) error { return exec.Command("/bin/true").Run() },
	"listen": func(string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return fmt.Errorf("the socket was refused, not the listening: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{}); err == nil {
			return nil
		}
		return unix.Listen(fd, 1)
	},
	"unix socket":       func(string) error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
	"mptcp socket":      func(string) error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 262); return err },
	"raw socket":        func(string) error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 1); return err },
	"netlink":           func(string) error { _, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0); return err },
	"ptrace the parent": func(string) error { return ptraceSeize(victim()) },
	"signal the parent": func(string) error { return unix.Kill(victim(), 0) },
	"read the parent's memory": func(string) error {
		_, err := os.Open("/proc/" + strconv.Itoa(victim()) + "/mem")
		return err
	},
	"become dumpable": func(string) error { return unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) },
	"new namespace":   func(string) error { return unix.Unshare(unix.CLONE_NEWUTS) },
	"set a limit": func(string) error {
		l, err := lockLimit()
		if err != nil {
			return errors.New("its own limit can't be read")
		}
		return unix.Prlimit(0, unix.RLIMIT_MEMLOCK, &l, nil)
	},
	"read another's limit": func(string) error {
		var l unix.Rlimit
		return unix.Prlimit(victim(), unix.RLIMIT_NOFILE, nil, &l)
	},
}

// victim is the process that the attacks are on.
func victim() int {
	n, err := strconv.Atoi(os.Getenv("VICTIM"))
	if err != nil {
		panic(err)
	}
	return n
}

// ptraceSeize attaches without stopping, so that an attack that works does no harm.
func ptraceSeize(pid int) error {
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// attackMain is a gateway that attacks instead of serving. The first result is of
// the state of each thread.
func attackMain() error {
	if !isConfined() {
		if os.Getenv("CONFINE") != "" {
			return firstStep()
		}
	} else if _, err := secondStep(); err != nil {
		return err
	}
	results := map[string]string{}
	names := []string{"execute"} // last: it ends the program where it works
	for name := range attacks {
		if name != "execute" {
			names = append([]string{name}, names...)
		}
	}
	if os.Getenv("CONFINE") == "" {
		names = names[:len(names)-1]
	}
	for _, name := range names {
		results[name] = "WORKED"
		if err := attacks[name](filepath.Join(os.Getenv("DIR"), name)); err != nil {
			results[name] = short(err)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func runAttacks(t *testing.T, dir string, env ...string) map[string]string {
	t.Helper()
	// A process of the same user that is no ancestor of the attacker's threads.
	victim := exec.Command("/bin/sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		victim.Process.Kill()
		victim.Wait()
	}()
	cmd := exec.Command("/proc/self/exe", GatewayArg, "attack")
	cmd.Env = append(env, "DIR="+dir, "VICTIM="+strconv.Itoa(victim.Process.Pid))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("attack: %v", err)
	}
	results := map[string]string{}
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("attack: %v in %s", err, out)
	}
	return results
}

func secretDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name := range attacks { // one for each, so that none is in another's way
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "secret"), []byte("secret"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestKernelConfinement: what works without the confinement is refused within it.
func TestKernelConfinement(t *testing.T) {
	dir := secretDir(t)
	confined := runAttacks(t, dir, "CONFINE=1")
	for name := range attacks {
		if got := confined[name]; got != "EPERM" && got != "EACCES" {
			t.Errorf("%s: %q, want EPERM or EACCES", name, got)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil || len(files) != len(attacks) {
		t.Errorf("files came or went: %v %v", files, err)
	}
	// The same attacks without it, so that the test could have failed.
	free := runAttacks(t, dir)
	for name := range attacks {
		if name == "execute" || os.Getuid() != 0 && (name == "raw socket" || name == "new namespace") {
			continue // ends the program; want root
		}
		if free[name] != "WORKED" {
			t.Errorf("%s is not meaningful here: without the confinement it is %q too", name, free[name])
		}
	}
}

// TestKernelCredential: as root the gateway is another user, that owns nothing.
func TestKernelCredential(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the caller lacks the privilege to switch to another user")
	}
	const fresh = 524288
	b := newBox(t, testPolicy(echo(t)), func(c *Config) {
		c.Credential = &syscall.Credential{Uid: fresh, Gid: fresh}
	})
	b.want("ok hello", "tcp", "1.2.3.4:443")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", gatewayPID(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t524288\t524288\t524288\t524288", "Gid:\t524288\t524288\t524288\t524288", "Groups:\t \n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the gateway lacks %q:\n%s", want, status)
		}
	}
}

// TestKernelThreads: every thread of a serving gateway is confined.
func TestKernelThreads(t *testing.T) {
	b := newBox(t, testPolicy(echo(t)))
	b.want("ok hello", "tcp", "1.2.3.4:443")
	pid := gatewayPID(t)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads: %v %v", tasks, err)
	}
	for _, f := range tasks {
		status, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapInh:\t0000000000000000", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s lacks %q", f, want)
			}
		}
		if os.Getuid() == 0 && !strings.Contains(string(status), "CapBnd:\t0000000000000000") {
			t.Errorf("%s has a bounding set", f)
		}
	}
	if os.Getuid() != 0 { // proc(5): the files of an undumpable process are root's
		st, err := os.Stat(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("the gateway is dumpable (%v)", err)
		}
	}
	// What it adds to the machine is what is not its program's file, whose pages the
	// supervisor has too.
	most := 6 << 10
	// Where the kernel makes huge pages without being asked (Debian's does), a page that
	// is touched brings 2 MiB along: the heap's arena and two stacks.
	if thp, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled"); err == nil && strings.Contains(string(thp), "[always]") {
		most += 3 * 2 << 10
	}
	if own, kb := statusOf(t, pid, "RssAnon"), rss(t, pid); own > most || kb > 26<<10 {
		t.Errorf("the gateway's RSS is %d KiB, %d of them its own", kb, own)
	} else {
		t.Logf("the gateway's RSS is %d KiB, %d of them its own", kb, own)
	}
}

func rss(t *testing.T, pid int) int { return statusKiB(t, pid, "VmRSS:") }

// statusKiB is a size of proc_pid_status(5).
func statusKiB(t *testing.T, pid int, name string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no " + name)
	return 0
}
