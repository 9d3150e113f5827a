package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezeTimeout is how long a jail may take to stand still. What does not by then is
// trying not to, and the caller has to decide: nothing is left half frozen.
const freezeTimeout = 20 * time.Second

// Frozen is how a jail was found to stand still.
type Frozen struct {
	How       string `json:"how"` // "cgroup v2 freezer", "cgroup v1 freezer", "SIGSTOP and ptrace"
	Processes int    `json:"processes"`
	Threads   int    `json:"threads"`
}

// hold is one way to keep a jail from running.
type hold interface {
	// freeze returns once nothing runs, or undoes what it did and says why not.
	freeze(deadline time.Time) (Frozen, error)
	thaw() error
	// killed lets go of a jail whose PID 1 was sent SIGKILL, without letting any process
	// of it run first.
	killed()
}

// ErrFrozen says that a run is held already.
var (
	ErrFrozen    = errors.New("the run is frozen already")
	errNotFrozen = errors.New("the run is not frozen")
)

// Freeze holds every process of the jail: when it returns without an error none of them
// executes an instruction until Thaw. By the cgroup's freezer the kernel's own word is
// the proof of it; else each thread was seen in a tracing stop (proc(5), state t) that
// only the supervisor ends. PID 1 is held too by a cgroup, and not otherwise.
//
// Where the supervisor dies meanwhile the jail dies with it, as always.
func (j *Jail) Freeze() (Frozen, error) {
	j.freezing.Lock()
	defer j.freezing.Unlock()
	switch {
	case !j.released.Load():
		return Frozen{}, errors.New("the agent has not begun")
	case j.held != nil:
		return Frozen{}, ErrFrozen
	case j.isGone():
		return Frozen{}, errJailDied
	}
	h := j.newHold()
	f, err := h.freeze(time.Now().Add(freezeTimeout))
	if err != nil {
		return Frozen{}, fmt.Errorf("freeze the run: %w", err)
	}
	j.held = h
	return f, nil
}

// Thaw lets a frozen jail go on.
func (j *Jail) Thaw() error {
	j.freezing.Lock()
	defer j.freezing.Unlock()
	if j.held == nil {
		return errNotFrozen
	}
	err := j.held.thaw()
	j.held = nil
	if err != nil {
		return fmt.Errorf("thaw the run: %w", err)
	}
	return nil
}

// IsFrozen says whether the jail is held.
func (j *Jail) IsFrozen() bool {
	j.freezing.Lock()
	defer j.freezing.Unlock()
	return j.held != nil
}

func (j *Jail) isGone() bool {
	select {
	case <-j.gone:
		return true
	default:
		return false
	}
}

// newHold takes the best way that the host gives: v2's freezer is there on hybrid hosts
// too and needs no controller; v1's can be outrun by programs that fork all the time and
// is tried again until it is not. A jail without a cgroup gets one for this.
func (j *Jail) newHold() hold {
	dirs := j.cgroupDirs()
	if dir := dirs[""]; dir != "" && j.inCgroup(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.freeze")); err == nil { // Linux 5.2
			return &freezerV2{j, dir}
		}
	}
	if dir := dirs["freezer"]; dir != "" && j.inCgroup(dir) {
		return &freezerV1{j, dir}
	}
	if len(dirs) == 0 {
		if h := j.gather(); h != nil {
			return h
		}
	}
	return &tracer{j: j}
}

// inCgroup makes sure that a cgroup is the jail's indeed: freezing an empty one would
// hold nothing.
func (j *Jail) inCgroup(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && slices.Contains(strings.Fields(string(data)), strconv.Itoa(j.initPID))
}

// freezerV2 is cgroup-v2.rst's cgroup.freeze.
type freezerV2 struct {
	j   *Jail
	dir string
}

func (f *freezerV2) file() string { return "cgroup.freeze" }

func (f *freezerV2) set(text string) error {
	return os.WriteFile(filepath.Join(f.dir, f.file()), []byte(text), 0)
}

func (f *freezerV2) freeze(deadline time.Time) (Frozen, error) {
	if err := f.begin(); err != nil {
		return Frozen{}, err
	}
	for {
		// "frozen 1": every process is stopped and stays so until it is thawed.
		frozen, err := readField(filepath.Join(f.dir, "cgroup.events"), "frozen")
		if err == nil && frozen == 1 {
			return f.j.countFrozen("cgroup v2 freezer"), nil
		}
		if err == nil && time.Now().After(deadline) {
			err = errors.New("the kernel did not hold every process in time")
		}
		if err != nil {
			return Frozen{}, errors.Join(err, f.set("0"))
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *freezerV2) begin() error { return f.set("1") }

func (f *freezerV2) thaw() error { return f.set("0") }

// killed: a frozen process of v2 can be killed.
func (f *freezerV2) killed() {}

// freezerV1 is the freezer controller (freezer-subsystem.rst).
type freezerV1 struct {
	j   *Jail
	dir string
}

func (f *freezerV1) file() string { return "freezer.state" }

func (f *freezerV1) set(text string) error {
	return os.WriteFile(filepath.Join(f.dir, f.file()), []byte(text), 0)
}

func (f *freezerV1) freeze(deadline time.Time) (Frozen, error) {
	for {
		// Written again each time: that makes the kernel look for processes that were
		// forked while it froze the others.
		err := f.begin()
		if err == nil {
			var state []byte
			if state, err = os.ReadFile(filepath.Join(f.dir, f.file())); strings.TrimSpace(string(state)) == "FROZEN" {
				return f.j.countFrozen("cgroup v1 freezer"), nil
			}
		}
		if err == nil && time.Now().After(deadline) {
			err = errors.New("the kernel did not hold every process in time")
		}
		if err != nil {
			return Frozen{}, errors.Join(err, f.set("THAWED"))
		}
		time.Sleep(time.Millisecond)
	}
}

func (f *freezerV1) begin() error { return f.set("FROZEN") }

func (f *freezerV1) thaw() error { return f.set("THAWED") }

// killed: a frozen process of v1 dies only once it is thawed, and the one that gets to
// run first must not do anything else: each has its SIGKILL before.
func (f *freezerV1) killed() {
	for _, p := range f.j.processes() {
		_ = unix.Kill(p, unix.SIGKILL)
	}
	_ = f.set("THAWED") // should it fail, the cgroup's removal says so
}

// countFrozen says how many are held.
func (j *Jail) countFrozen(how string) Frozen {
	f := Frozen{How: how}
	for _, p := range j.processes() {
		f.Processes++
		f.Threads += len(threadsOf(p))
	}
	return f
}

// processes lists the host's pids of all of the jail's processes but PID 1: whatever is
// in its pid namespace. Going down from PID 1 would miss who is given another parent
// meanwhile.
func (j *Jail) processes() []int {
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(j.initPID) + "/ns/pid")
	if err != nil {
		return nil
	}
	var list []int
	for _, pid := range numbersIn("/proc") {
		if pid != j.initPID && inNamespace(pid, namespace) {
			list = append(list, pid)
		}
	}
	return list
}

// inNamespace says whether a process is in a pid namespace or in one below it, which an
// agent has made to whom the profile gives unshare (Chromium's sandbox).
func inNamespace(pid int, namespace string) bool {
	path := "/proc/" + strconv.Itoa(pid) + "/ns/pid"
	link, err := os.Readlink(path)
	if err != nil || link == namespace {
		return err == nil
	}
	if own, err := os.Readlink("/proc/self/ns/pid"); err != nil || own == link {
		return false
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == nil && link != namespace {
		var parent int
		// ioctl_ns(2): EPERM for one that is not below ours.
		parent, err = unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		if fd = parent; err == nil {
			link, _ = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		}
	}
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

func threadsOf(pid int) []int { return numbersIn("/proc/" + strconv.Itoa(pid) + "/task") }

func numbersIn(dir string) []int {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	var list []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}
