package jail

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const threadsVariable = "AGENTJAIL_TEST_THREADS"

// With its threads made in advance a process that can make no more goes on, with as much
// in system calls at once as PID 1 may have, while memory is collected. One without them
// dies of it, so the test can fail.
func TestMakeThreads(t *testing.T) {
	if how := os.Getenv(threadsVariable); how != "" {
		withoutNewThreads(t, how == "made")
		return
	}
	child := func(how string) string {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestMakeThreads$", "-test.v")
		cmd.Env = append(os.Environ(), threadsVariable+"="+how, "GOMAXPROCS=2")
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := child("made"); !strings.Contains(out, "still alive") {
		t.Errorf("with its threads it died: %s", out)
	}
	if out := child("not made"); strings.Contains(out, "still alive") || !strings.Contains(out, "Resource temporarily unavailable") && !strings.Contains(out, "new OS thread") {
		t.Errorf("without them it did not die of it: %s", out)
	}
}

func withoutNewThreads(t *testing.T, made bool) {
	if made {
		if err := makeThreads(); err != nil {
			t.Fatal(err)
		}
	}
	refuseThreads(t)
	var r [2]int
	if err := unix.Pipe2(r[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var blocked sync.WaitGroup
	// The dials, the reaper, the stage's word. This goroutine's own thread is the main one's.
	for range maxDials + 2 {
		blocked.Add(1)
		go func() {
			defer blocked.Done()
			var b [1]byte
			_, _ = unix.Read(r[0], b[:])
		}()
	}
	runtime.LockOSThread()
	var work sync.WaitGroup
	for range 4 {
		work.Add(1)
		go func() {
			defer work.Done()
			for range 2000 {
				keep = make([]byte, 64<<10)
			}
			runtime.GC()
		}()
	}
	work.Wait()
	unix.Close(r[1])
	blocked.Wait()
	os.Stdout.WriteString("still alive\n")
}

var keep []byte // on the heap

// refuseThreads has the kernel refuse each new thread of this process, as at a limit.
func refuseThreads(t *testing.T) {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE3, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAGAIN)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))); e != 0 {
		t.Fatal(e)
	}
}
