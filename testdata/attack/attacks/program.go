package attacks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The first argument says what this program is.
const (
	ArgTry  = "try"  // attacks as told on stdin
	ArgOne  = "one"  // makes one call that may end it
	ArgHold = "hold" // waits for the end of its stdin: a process to look at
	ArgEcho = "echo" // prints its arguments as JSON

	ArgReplace = "replace" // puts a file in the place of another one, then becomes a program
	ArgMachine = "machine" // gives the machine a ceiling, then becomes a program
	ArgMemory  = "memory"  // becomes a copy of a program that is in memory only
	ArgSelf    = "self"    // becomes itself by /proc/self/exe
	ArgReach   = "reach"   // leaves a mark at an address
)

// Main tries what it is told and prints each answer at once, so that an attack that
// ends the program costs the rest and not what came before.
func Main(in io.Reader, out, errs io.Writer) int {
	var o Order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		fmt.Fprintf(errs, "agentjail-attack: the order: %v\n", err)
		return 1
	}
	// Profiles and hosts differ in it, and paths that attacks create must be what they say.
	unix.Umask(0)
	enc := json.NewEncoder(out)
	all := All()
	for _, id := range o.Attacks {
		i := slices.IndexFunc(all, func(a Attack) bool { return a.ID == id })
		if i < 0 {
			fmt.Fprintf(errs, "agentjail-attack: there is no attack %q\n", id)
			return 1
		}
		try := all[i].Try
		if o.Look {
			if try = all[i].Look; try == nil {
				try = func(*Target) string { return "present" }
			}
		}
		o.Target.running = id
		if err := enc.Encode(Answer{id, try(&o.Target)}); err != nil {
			return 1
		}
	}
	return 0
}

// Hold waits for its stdin to end.
func Hold() int {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// Echo prints its arguments.
func Echo(args []string) int {
	if json.NewEncoder(os.Stdout).Encode(args) != nil {
		return 1
	}
	return 0
}

// Replace mounts a file over another one and becomes a program. It only works as root of
// a user and mount namespace of its own: on the host's it refuses.
func Replace(args []string) int {
	if len(args) < 3 {
		return 1
	}
	err := ownNamespace()
	if err == nil {
		// /run is not its own there, and agentjail keeps its runs below it.
		err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
	}
	if err == nil {
		err = unix.Mount(args[0], args[1], "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Exec(args[2], args[2:], os.Environ())
	}
	fmt.Fprintf(os.Stderr, "agentjail-attack: %v\n", err)
	return 1
}

// ownNamespace is an error on the host's own user namespace, in which nothing may be
// mounted. The initial one's map has every id, 4294967295 of them.
func ownNamespace() error {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err == nil && strings.Contains(string(data), "4294967295") {
		err = errors.New("this is the host's own user namespace")
	}
	return err
}

// name is an errno in short.
func name(errno syscall.Errno) string {
	if errno == 0 {
		return "ok"
	}
	if n := unix.ErrnoName(errno); n != "" {
		return n
	}
	return strconv.Itoa(int(errno))
}

// answer is an error in short.
func answer(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &errno):
		return name(errno)
	}
	return err.Error()
}

// call makes a raw system call.
func call(nr uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return name(errno)
}

// opening makes a raw system call that gives a descriptor, and closes it.
func opening(nr uintptr, args ...uintptr) string {
	var a [6]uintptr
	copy(a[:], args)
	fd, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	if errno == 0 {
		unix.Close(int(fd))
	}
	return name(errno)
}

// open opens a file and closes it again.
func open(path string, flags int) string {
	f, err := os.OpenFile(path, flags, 0o600)
	if err == nil {
		f.Close()
	}
	return answer(err)
}

// read reads a file.
func read(path string) string {
	_, err := os.ReadFile(path)
	return answer(err)
}

// present says whether a path exists, without touching what is there.
func present(path string) string {
	if _, err := os.Lstat(path); err != nil {
		return answer(err)
	}
	return "present"
}

// at is a descriptor argument.
func at(fd int) uintptr { return uintptr(fd) }

// cstring is a string for the kernel. What it is given is never collected: the caller
// holds a number only, which the collector does not see.
func cstring(s string) uintptr {
	b := append([]byte(s), 0)
	page, err := unix.Mmap(-1, 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return 0
	}
	copy(page, b)
	return uintptr(unsafe.Pointer(&page[0]))
}

// inThread runs f on a thread that ends with it, since it may change the thread's
// namespaces or filter.
func inThread(f func() string) string {
	result := make(chan string)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		result <- f()
	}()
	return <-result
}

// child starts this program again and says how it ended.
func child(args ...string) string {
	cmd := exec.Command("/proc/self/exe", args...)
	out, err := cmd.Output()
	return ending(out, err)
}

func ending(out []byte, err error) string {
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return unix.SignalName(ws.Signal())
		}
		return "exit " + strconv.Itoa(ee.ExitCode())
	}
	if err != nil {
		return answer(err)
	}
	return strings.TrimSpace(string(out))
}

// command runs a program of the host's and says how it ended.
func command(program string, args ...string) string {
	err := exec.Command(program, args...).Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "absent"
	}
	return ending([]byte("ok"), err)
}

// holder starts a process to look at and returns once it runs.
func holder(attr *syscall.SysProcAttr) (pid int, stop func(), err error) {
	cmd := exec.Command("/proc/self/exe", ArgHold)
	cmd.SysProcAttr = attr
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

// in runs f in a fresh temporary folder.
func in(f func(dir string) string) string {
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return answer(err)
	}
	defer os.RemoveAll(dir)
	return f(dir)
}
