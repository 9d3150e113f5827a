package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// statusOf reads a number of kB out of /proc/PID/status.
func statusOf(t *testing.T, pid any, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%v/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			n, err := strconv.Atoi(strings.Fields(v)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in\n%s", field, status)
	return 0
}

// TestLockMemory runs in a process of its own, since what is locked stays so.
func TestLockMemory(t *testing.T) {
	if os.Getenv("AGENTJAIL_TEST_LOCK") == "" {
		if !mayLockAll() {
			t.Skip("the host gives this user no unlimited locked memory (ulimit -l) and no CAP_IPC_LOCK")
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestLockMemory$", "-test.v")
		cmd.Env = append(os.Environ(), "AGENTJAIL_TEST_LOCK=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestLockMemory") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	before := statusOf(t, "self", "VmLck")
	if !LockMemory() {
		t.Fatal("mlockall was refused")
	}
	const size = 64 << 20
	b := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		b[i] = 1
	}
	if got := statusOf(t, "self", "VmLck"); before != 0 || got < size>>10 {
		t.Errorf("%d kB are locked, and were %d", got, before)
	}
	// The runtime gives memory back by madvise(MADV_DONTNEED), which is EINVAL on
	// locked pages; it then maps them anew.
	full := statusOf(t, "self", "VmRSS")
	b = nil
	debug.FreeOSMemory()
	if got := statusOf(t, "self", "VmRSS"); got > full-size>>11 {
		t.Errorf("RSS is %d kB after %d kB were freed of %d", got, size>>10, full)
	}
	again := make([]byte, size) // what is mapped anew is locked again
	for i := 0; i < size; i += 4096 {
		again[i] = 1
	}
	if got := statusOf(t, "self", "VmLck"); got < size>>10 {
		t.Errorf("%d kB are locked", got)
	}
	_ = b
	_ = again
}

// TestKeysMapping: the memory of keys and secrets is in no core file, and locked where
// it says so (proc_pid_smaps(5), VmFlags).
func TestKeysMapping(t *testing.T) {
	k, err := NewKeys([]byte("first value"), []byte("second value"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	start := strconv.FormatUint(uint64(uintptr(unsafe.Pointer(&k.mem[0]))), 16)
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	flags, inside := "", false
	for line := range strings.Lines(string(maps)) {
		if head, _, ok := strings.Cut(line, "-"); ok && strings.Trim(head, "0123456789abcdef") == "" {
			inside = head == start
		}
		if v, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			flags = " " + strings.TrimSpace(v) + " "
		}
	}
	if !strings.Contains(flags, " dd ") {
		t.Errorf("the mapping would be dumped: flags %q", flags)
	}
	if k.locked != strings.Contains(flags, " lo ") {
		t.Errorf("locked is %v, and the flags are %q", k.locked, flags)
	}
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err == nil && l.Cur >= 1<<20 && !k.locked {
		t.Errorf("it is not locked with a limit of %d bytes", l.Cur)
	}
}

// TestAllowLocking: what the gateway may lock is as much as its supervisor can give.
func TestAllowLocking(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var l unix.Rlimit
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_MEMLOCK, nil, &l); err != nil {
		t.Fatal(err)
	}
	want := l.Max
	if mayRaise(t) {
		want = unix.RLIM_INFINITY
	}
	l.Cur = 4096
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_MEMLOCK, &l, nil); err != nil {
		t.Fatal(err)
	}
	allowLocking(cmd.Process.Pid)
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_MEMLOCK, nil, &l); err != nil || l.Cur != want || l.Max != want {
		t.Errorf("%+v %v, want %d", l, err, want)
	}
}

// mayRaise says whether this process may give what it has not (CAP_SYS_RESOURCE).
func mayRaise(t *testing.T) bool {
	t.Helper()
	head, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// TestKernelLocked: the gateway's layer says what the kernel does.
func TestKernelLocked(t *testing.T) {
	o := newOrigin(t, nil, "api.example")
	b := newInterceptBox(t, o, secretsProfile, secretValues())
	b.wantFetch(fetchArg{URL: "https://api.example/", Header: map[string][]string{"X-Api-Key": {b.holders["api"]}}}, 200, "GET")
	var layer audit.Layer
	for _, l := range b.sup.Layers() {
		if l.Name == "gateway secrets" {
			layer = l
		}
	}
	pid := gatewayPID(t)
	locked := statusOf(t, pid, "VmLck")
	all := strings.Contains(layer.Detail, "all of the process's memory is locked")
	switch {
	case all && (layer.State != "enforced" || locked < 4<<10):
		t.Errorf("%+v, and %d kB are locked", layer, locked)
	case !all && (layer.State != "degraded" || !strings.Contains(layer.Detail, "RLIMIT_MEMLOCK") || locked > 1<<10):
		t.Errorf("%+v, and %d kB are locked", layer, locked)
	}
	var hard unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &hard); err != nil {
		t.Fatal(err)
	}
	if free := hard.Max == unix.RLIM_INFINITY || mayRaise(t); free != all {
		t.Errorf("no limit applies here: %v; %+v", free, layer)
	}
	t.Logf("%s: %s; %d kB locked, RSS %d kB", layer.State, layer.Detail, locked, statusOf(t, pid, "VmRSS"))
}
