package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

func landlockABI() int {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return abi
}

// threads are attacks on what holds for each thread and each exec.
func threads() []Attack {
	return []Attack{
		{ID: "threads", Line: 38, What: "find a thread without no_new_privs, without a filter or with a capability", Class: "a layer on one thread only", Without: Plain,
			Try: func(*Target) string { return threadsAttack("self") }, Stopped: []Stop{by(Stage, "none")}},
		{ID: "threads-exec", Line: 38, What: "the same after an exec, in a session of its own", Class: "a layer that an exec takes off", Without: Plain,
			Try: func(*Target) string {
				pid, stop, err := holder(&unix.SysProcAttr{Setsid: true})
				if err != nil {
					return answer(err)
				}
				defer stop()
				return threadsAttack(fmt.Sprint(pid))
			}, Stopped: []Stop{by(Stage, "none")}},
		{ID: "own-filter", Line: 37, What: "stack a filter that allows everything, then unshare", Class: "a deny that is undone", Without: Plain, Calls: []string{"unshare"},
			Try: ownFilterAttack, Stopped: []Stop{by(Seccomp, "EPERM")}},
		{ID: "own-landlock", Line: 37, What: "stack Landlock rules that allow everything, then read what no rule grants", Class: "a deny that is undone", Without: Inside,
			Try: ownLandlockAttack, Stopped: []Stop{by(Landlock, "EACCES")}},
		{ID: "exec-memfd", Line: 34, What: "run a program from memory", Class: "an exec that nobody sees", Without: Inside,
			Try: execMemfdAttack, Stopped: []Stop{by(Exec, "ok"), by(Landlock, "EACCES")}, Record: &Record{"exec", "", "MARK"}},
		{ID: "exec-proc-self", Line: 34, What: "run a program by /proc/self/root", Class: "an exec that nobody sees", Without: Inside,
			Try: func(t *Target) string { return command("/proc/self/root/bin/true", t.Mark()) }, Stopped: []Stop{by(Exec, "ok", "absent"), by(Landlock, "EACCES")}, Record: &Record{"exec", "", "MARK"}},
		{ID: "exec-loader", Line: 34, What: "run a program by the dynamic loader", Class: "an exec rule that is passed by", Without: Inside,
			Try: execLoaderAttack, Stopped: []Stop{by(Exec, "ok", "absent"), by(Landlock, "EACCES")}},
		{ID: "exec-noexec", Line: 34, What: "run a program of its own from a folder that is granted for reading", Class: "an exec rule that is passed by", Without: Inside,
			Try: func(t *Target) string { return command(t.Readonly + "/program") },
			// Below /tmp a rule of /tmp also grants execution, as the docs say; elsewhere Landlock
			// refuses it. Either way it is in the trail.
			Stopped: []Stop{by(Landlock, "EACCES", "EPERM"), by(Exec, "ok")}, Record: &Record{"exec", "", "readonly/program"}},
		{ID: "exec-rewrite", Line: 35, What: "rewrite an exec's arguments while the supervisor reads them", Class: "a check and a use of it", Without: Plain,
			Try: execRewriteAttack, Stopped: []Stop{by(FileView, "ENOENT"), by(Landlock, "EACCES")}, Record: &Record{"exec", "", ""}},
		{ID: "exec-recorded", Line: 34, What: "run a program without a record of it", Class: "an exec that nobody sees", Without: Inside,
			Try: func(t *Target) string { return command("/bin/true", t.Mark()) }, Stopped: []Stop{by(Exec, "ok", "absent")}, Record: &Record{"exec", "", "MARK"}},
	}
}

// threadsAttack looks at what the kernel says of every thread of a process (proc(5)).
func threadsAttack(pid string) string {
	tasks, err := filepath.Glob("/proc/" + pid + "/task/*/status")
	if err != nil || len(tasks) == 0 {
		return "no tasks"
	}
	zero := strings.Repeat("0", 16)
	want := []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapInh:\t" + zero, "CapPrm:\t" + zero, "CapEff:\t" + zero, "CapBnd:\t" + zero, "CapAmb:\t" + zero}
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for _, line := range want {
			if !strings.Contains(string(status), line+"\n") {
				return "ok: without " + strings.ReplaceAll(line, "\t", " ")
			}
		}
	}
	return "none"
}

func ownFilterAttack(*Target) string {
	return inThread(func() string {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return "no_new_privs: " + answer(err)
		}
		allow := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
		prog := unix.SockFprog{Len: 1, Filter: &allow[0]}
		r := call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
		runtime.KeepAlive(allow)
		if r != "ok" {
			return "seccomp: " + r
		}
		return call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	})
}

func ownLandlockAttack(*Target) string {
	return inThread(func() string {
		fd, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{HandledAccessFS: ll.AccessFSReadFile}, 0)
		if err != nil {
			return "ruleset: " + answer(err)
		}
		defer unix.Close(fd)
		root, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return answer(err)
		}
		defer unix.Close(root)
		if err := ll.LandlockAddPathBeneathRule(fd, &ll.PathBeneathAttr{AllowedAccess: ll.AccessFSReadFile, ParentFd: root}, 0); err != nil {
			return "rule: " + answer(err)
		}
		if r := call(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0); r != "ok" {
			return "restrict: " + r
		}
		return read("/run/agentjail/canary")
	})
}

// execMemfdAttack runs a copy of a program that has no path. It needs no right to
// execute anything but memory, which Landlock has no rule for: what counts is that the
// record has it, and that the copy is under the same filter and view.
func execMemfdAttack(t *Target) string {
	data, err := os.ReadFile("/bin/true")
	if err != nil {
		return answer(err)
	}
	fd, err := unix.MemfdCreate("attack", 0)
	if err != nil {
		return answer(err)
	}
	f := os.NewFile(uintptr(fd), "attack")
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return answer(err)
	}
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", fd), t.Mark())
	cmd.ExtraFiles = []*os.File{f}
	return ending([]byte("ok"), cmd.Run())
}

func execLoaderAttack(t *Target) string {
	loaders, err := filepath.Glob("/lib*/ld-linux-*.so.*")
	if err != nil || len(loaders) == 0 {
		return "absent"
	}
	return command(loaders[0], "/bin/true", t.Mark())
}

// execRewriteAttack lets a thread change the path between two programs all the time, one
// that is there and the key, which must be none that can be executed or seen. What was
// run in the end is "ok" only if it was what is out of reach.
func execRewriteAttack(t *Target) string {
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return answer(err)
	}
	good, bad := "/bin/true\x00", t.Outside+"-program\x00"
	copy(page, bad)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			if i%2 == 0 {
				copy(page, good)
			} else {
				copy(page, bad)
			}
		}
	}()
	last := "ENOENT"
	for range 50 {
		if r := rawExec(uintptr(unsafe.Pointer(&page[0]))); r == 42 {
			last = "ok" // what it ends with, see the suite
			break
		}
	}
	stop.Store(true)
	<-done
	return last
}

// rawExec forks and executes what the pointer points to at that moment. The child must
// neither call nor allocate. It gives the exit code, or -1.
//
//go:norace
//go:noinline
func rawExec(path uintptr) int {
	argv := [2]uintptr{path, 0}
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		unix.RawSyscall(unix.SYS_EXECVE, path, uintptr(unsafe.Pointer(&argv)), 0)
		for {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 7, 0, 0)
		}
	}
	if errno != 0 {
		return -1
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &ws, 0, nil); err != nil {
		return -1
	}
	return ws.ExitStatus()
}
