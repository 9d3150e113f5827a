package jail

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// deleteCalls take a name out of a folder: rename does so with what stood at its new
// name. With a limit of deletions each of them is asked of the supervisor, like an exec.
//
// They are counted as calls, whatever they name and whether they then succeed. To count
// only what lies in the workspace, or exists, the supervisor would have to read the path
// from the caller's memory, and another thread could put another one there before the
// kernel reads it (seccomp_unotify(2)). So a limit also counts temporary files, and
// renames that replace nothing; and nothing is deleted uncounted.
//
// Contents can be lost without a call of these: by truncation, by writing. That is no
// deletion, and no limit of calls could hold it.
//
// Not every architecture has all of them.
var deleteCalls = []string{"rename", "renameat", "renameat2", "rmdir", "unlink", "unlinkat"}

// otherWays are calls that a profile may open and with which files can be made and deleted
// without a system call that the filter sees.
var otherWays = []string{"io_uring_setup", "io_uring_enter"}

// planFileLimits names the calls that the supervisor answers for the limits of what is
// done with files.
func planFileLimits(f profiles.Files, opened []string) ([]string, error) {
	if len(f.Limits) == 0 {
		return nil, nil
	}
	if name := PastFilter(opened); name != "" {
		return nil, &LayerError{Layer: "seccomp", Err: fmt.Errorf("%s: a limit of deletions can't be held where the profile opens %s, which deletes files past the filter", f.Limits[0].Origin, name),
			Hint: "take one of the two out of the profile"}
	}
	return deleteCalls, nil
}

// PastFilter is the call among those that a profile opens with which files can be made and
// deleted past the filter; "" where none is.
func PastFilter(opened []string) string {
	for _, name := range otherWays {
		if slices.Contains(opened, name) {
			return name
		}
	}
	return ""
}

// fileLimits counts deletions. One goroutine asks.
type fileLimits struct {
	limits  []profiles.FileLimit
	buckets []profiles.Bucket
	calls   []int32
	now     func() time.Time
	allowed atomic.Int64
	refused int64
}

func newFileLimits(limits []profiles.FileLimit) *fileLimits {
	l := &fileLimits{limits: limits, buckets: make([]profiles.Bucket, len(limits)), now: time.Now}
	for _, name := range deleteCalls {
		if call, err := seccomp.GetSyscallFromName(name); err == nil && call >= 0 {
			l.calls = append(l.calls, int32(call))
		}
	}
	return l
}

// take lets one deletion be, or names the limit that does not, and how long it will not;
// 0: never in this run. Where one limit has no token, none is taken of the others.
func (l *fileLimits) take() (limit *profiles.FileLimit, wait time.Duration) {
	now := l.now()
	for i := range l.limits {
		if ok, wait := l.buckets[i].Fill(l.limits[i].Rate, now); !ok && !mutate.Off(mutate.FileLimits) {
			l.refused++
			return &l.limits[i], wait
		}
	}
	for i := range l.buckets {
		l.buckets[i].Take()
	}
	l.allowed.Add(1)
	return nil, 0
}

// answerFile answers a notification that is about a file; false for any other.
func (n *notifier) answerFile(req *seccompNotif) bool {
	l := n.files
	if len(l.limits) == 0 || !slices.Contains(l.calls, req.data.nr) {
		return false
	}
	resp := seccompNotifResp{id: req.id, flags: respContinue}
	limit, wait := l.take()
	if limit == nil {
		// ENOENT: the caller was killed meanwhile. It is counted all the same.
		_ = insist(n.file, ioctlNotifSend, unsafe.Pointer(&resp))
		return true
	}
	resp.flags, resp.error = 0, -int32(unix.EPERM)
	// The first of them, and then as often as the number has doubled: an agent may go on.
	if loud := bits.OnesCount64(uint64(l.refused)) == 1; loud {
		p := n.who(req)
		n.tellText([]byte(deleteText(*limit, wait)))
		defer n.sink.Emit(audit.LimitHit{Limit: LimitDelete, Value: limit.Rate.Count, Unit: deleteUnit(limit.Rate), Action: "refused", Rule: limit.Origin.String(), Process: p,
			Detail: fmt.Sprintf("%d let through and %d refused so far", l.allowed.Load(), l.refused)})
	}
	_ = insist(n.file, ioctlNotifSend, unsafe.Pointer(&resp))
	return true
}

// LimitDelete is what the trail calls the limit of deletions.
const LimitDelete = "delete"

func deleteUnit(r profiles.Rate) string {
	_, per, _ := strings.Cut(r.String(), "/")
	return "deletions/" + per
}

func deleteText(l profiles.FileLimit, wait time.Duration) string {
	text := fmt.Sprintf("a file was not deleted or renamed: as many were as the profile allows, %s; ", l.Rate)
	if wait == 0 {
		text += "no more in this run"
	} else {
		text += "again in " + wait.Round(time.Millisecond).String()
	}
	return text + " [" + l.Origin.String() + "]\n"
}

// who is the process that asks, as far as it can be told.
func (n *notifier) who(req *seccompNotif) (p audit.Process) {
	proc := procDir(int(req.pid))
	ids := n.pids.caller(int(req.pid), n.exits.inside)
	ids.close()
	p.PID, p.Parent = ids.pid, ids.parent
	// The kernel cuts it at 15 bytes; it is the agent's to choose (proc_pid_comm(5)).
	if name, err := readBounded(proc+"/comm", 64); err == nil {
		p.Name = strings.TrimSuffix(string(name), "\n")
	}
	if !n.valid(req.id) {
		return audit.Process{} // it may be another's by now
	}
	return p
}

// Deletions is how many were let through so far; 0 where there is no limit to count for.
func (j *Jail) Deletions() int64 {
	if j.notify == nil {
		return 0
	}
	return j.notify.files.allowed.Load()
}
