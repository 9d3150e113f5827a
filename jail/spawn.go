package jail

/*
#include <stdlib.h>
#include "stage.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// stage is what the agent's stage is started with; see stage.h.
type stage struct {
	path, cwd, canary string
	argv, env         []string
	stdio             [3]*os.File
	terminal          bool
	unshares          bool // the profile opens unshare
	uid, gid          uint32
	outerUID          uint32 // of the agent, in the outer namespace
	outerGID          uint32
	ruleset           int
	filter            []unix.SockFilter
	rlimits           []Rlimit
}

// stageReport is struct stage_report with the descriptor that came with it.
type stageReport struct {
	step, errno, checks int32
	listener            *os.File
}

// spawn clones the agent's stage and maps its user, which is the last thing that PID 1
// needs a capability for. The stage then reports that every layer is in force. From there
// on the agent stands before its exec, which waits for the supervisor's answer to the first
// notification. The report socket tells of a failed exec; it is closed by a good one.
func spawn(s stage) (pid int, reports *os.File, err error) {
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer syncW.Close()
	defer syncR.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, os.NewSyscallError("socketpair", err)
	}
	reports = os.NewFile(uintptr(pair[0]), "stage-reports")
	theirs := os.NewFile(uintptr(pair[1]), "stage-reports-child")
	defer theirs.Close()

	var a cArena
	defer a.free()
	c := (*C.struct_stage)(a.alloc(C.sizeof_struct_stage))
	c.sync_fd, c.report_fd, c.ruleset_fd = C.int(syncR.Fd()), C.int(theirs.Fd()), C.int(s.ruleset)
	for i, f := range s.stdio {
		c.stdio[i] = C.int(f.Fd())
	}
	if s.terminal {
		c.terminal = 1
	}
	if s.unshares {
		c.unshares = 1
	}
	if mutate.Off(mutate.InnerUser) {
		s.uid, s.gid = s.outerUID, s.outerGID
	}
	c.uid, c.gid = C.uint32_t(s.uid), C.uint32_t(s.gid)
	c.path, c.cwd, c.canary = a.string(s.path), a.string(s.cwd), a.string(s.canary)
	c.argv, c.envp = a.strings(s.argv), a.strings(s.env)
	if len(s.filter) > 0xffff {
		return 0, nil, errors.New("the seccomp filter is too long")
	}
	filter := a.alloc(C.size_t(len(s.filter) * C.sizeof_struct_sock_filter))
	copy(unsafe.Slice((*unix.SockFilter)(filter), len(s.filter)), s.filter)
	c.filter, c.filter_len = (*C.struct_sock_filter)(filter), C.ushort(len(s.filter))
	if n := len(s.rlimits); n > 0 {
		limits := a.alloc(C.size_t(n * C.sizeof_struct_stage_rlimit))
		view := unsafe.Slice((*C.struct_stage_rlimit)(limits), n)
		for i, l := range s.rlimits {
			view[i].resource = C.int(l.Resource)
			view[i].soft, view[i].hard = C.uint64_t(l.Soft), C.uint64_t(l.Hard)
		}
		c.rlimits, c.rlimits_len = (*C.struct_stage_rlimit)(limits), C.int(n)
	}

	mutateStage(c)
	n := C.stage_spawn(c)
	if n < 0 {
		reports.Close()
		return 0, nil, os.NewSyscallError("clone", unix.Errno(-n))
	}
	pid = int(n)
	theirs.Close()
	if err := mapAgent(pid, s); err != nil {
		reports.Close()
		return pid, nil, err
	}
	if _, err := syncW.Write([]byte{1}); err != nil {
		reports.Close()
		return pid, nil, fmt.Errorf("release the agent's stage: %w", err)
	}
	return pid, reports, nil
}

// mapAgent maps the agent's one user and group into its own user namespace. The
// kernel wants CAP_SETFCAP here where the outer id is 0 (since Linux 5.12).
func mapAgent(pid int, s stage) error {
	if mutate.Off(mutate.InnerUser) {
		return nil
	}
	for _, m := range []struct{ file, text string }{
		{"setgroups", "deny"},
		{"gid_map", fmt.Sprintf("%d %d 1", s.gid, s.outerGID)},
		{"uid_map", fmt.Sprintf("%d %d 1", s.uid, s.outerUID)},
	} {
		if m.file == "setgroups" && s.outerGID != 0 {
			// With a range of ids the stage gives up its groups by setgroups itself.
			continue
		}
		path := fmt.Sprintf("/proc/%d/%s", pid, m.file)
		if err := os.WriteFile(path, []byte(m.text), 0); err != nil {
			return fmt.Errorf("map the agent's user: %w", err)
		}
	}
	return nil
}

func readReport(f *os.File) (stageReport, error) {
	var rep stageReport
	buf := make([]byte, C.sizeof_struct_stage_report)
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := recvmsg(f, buf, oob)
	if err != nil {
		return rep, fmt.Errorf("the agent's stage: %w", err)
	}
	if n == 0 {
		return rep, errStageGone
	}
	if n != len(buf) {
		return rep, errors.New("the agent's stage sent a short report")
	}
	rep.step = int32(binary.NativeEndian.Uint32(buf))
	rep.errno = int32(binary.NativeEndian.Uint32(buf[4:]))
	rep.checks = int32(binary.NativeEndian.Uint32(buf[8:]))
	files, err := parseRights(oob[:oobn], "seccomp-listener")
	if err != nil {
		return rep, err
	}
	if len(files) == 1 {
		rep.listener = files[0]
	}
	return rep, nil
}

var errStageGone = errors.New("the agent's stage closed its report")

// stageSteps name what failed, and the layer that it belongs to.
var stageSteps = map[int32]struct{ layer, what string }{
	C.STEP_SYNC:     {"user namespace", "wait for the user's map"},
	C.STEP_USER:     {"user namespace", "become the agent's user"},
	C.STEP_SESSION:  {"terminal", "make the agent's session"},
	C.STEP_STDIO:    {"descriptors", "hand over the agent's descriptors"},
	C.STEP_RLIMIT:   {"limits", "set a resource limit"},
	C.STEP_CWD:      {"file view", "enter the working folder"},
	C.STEP_CAPS:     {"capabilities", "drop every capability, the bounding set too"},
	C.STEP_NNP:      {"no_new_privs", "set no_new_privs"},
	C.STEP_LANDLOCK: {"landlock", "enforce the ruleset"},
	C.STEP_SECCOMP:  {"seccomp", "load the filter"},
}

// stageChecks name what the stage tried, each with the layer that must have
// refused it.
var stageChecks = []struct {
	bit         int32
	layer, what string
}{
	{C.CHECK_LANDLOCK, "landlock", "a file that no rule grants could not be opened"},
	{C.CHECK_SECCOMP, "seccomp", "an unknown system call answered EPERM, not ENOSYS"},
	{C.CHECK_USERNS, "user namespace", "unshare(CLONE_NEWUSER) was refused"},
	{C.CHECK_CAPS, "capabilities", "every set read back empty"},
	{C.CHECK_NNP, "no_new_privs", "read back as 1"},
	{C.CHECK_USER, "user", "uid and gid read back as the agent's"},
}

// makeRuleset builds the Landlock ruleset from inside the jail's file view.
func makeRuleset(p LandlockPlan) (int, error) {
	fd, err := ll.LandlockCreateRuleset(&ll.RulesetAttr{HandledAccessFS: p.FS, Scoped: p.Scoped}, 0)
	if err != nil {
		return -1, fmt.Errorf("landlock_create_ruleset: %w", err)
	}
	unix.CloseOnExec(fd)
	for _, r := range p.Rules {
		parent, err := unix.Open(r.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("rule for %s: %w", r.Path, err)
		}
		err = ll.LandlockAddPathBeneathRule(fd, &ll.PathBeneathAttr{AllowedAccess: r.Rights, ParentFd: parent}, 0)
		unix.Close(parent)
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("rule for %s: landlock_add_rule: %w", r.Path, err)
		}
	}
	return fd, nil
}

// cArena holds what C sees; the child has its own copy of it after the clone.
type cArena struct{ ptrs []unsafe.Pointer }

func (a *cArena) alloc(n C.size_t) unsafe.Pointer {
	p := C.calloc(1, max(n, 1))
	a.ptrs = append(a.ptrs, p)
	return p
}

func (a *cArena) string(s string) *C.char {
	p := C.CString(s)
	a.ptrs = append(a.ptrs, unsafe.Pointer(p))
	return p
}

func (a *cArena) strings(list []string) **C.char {
	v := (**C.char)(a.alloc(C.size_t(len(list)+1) * C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	for i, s := range list {
		unsafe.Slice(v, len(list)+1)[i] = a.string(s)
	}
	return v
}

func (a *cArena) free() {
	for _, p := range a.ptrs {
		C.free(p)
	}
}
