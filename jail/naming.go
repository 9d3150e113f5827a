package jail

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// In a workspace in direct mode nobody looks at what the agent made before it is on the
// host. So the agent is asked for each name before it gives it: the supervisor finds out
// where the name would be, and whoever knows what the host executes or trusts judges it.
//
// That is no boundary: another thread can rewrite the path between the look and the call
// (seccomp_unotify(2)), or exchange a folder on the way. What holds without a race are the
// read-only mounts (protect.go); what was made all the same is taken out when the run ends.

// Naming is a name that the agent would give to something in its workspace.
type Naming struct {
	Path     string   // relative to the workspace
	ReadOnly bool     // the folder is mounted so, and the kernel will refuse it (EROFS)
	Dir      bool     // a folder gets it
	From     string   // of a folder that is moved: where it was, relative to the workspace
	Source   *os.File // that folder; nil where it can't be looked into
}

// NamingEvent is the audit.Finding.Event of a name that was refused.
const NamingEvent = "name"

// NameJudge says why a name may not be given; "" is that it may.
type NameJudge func(Naming) string

// namer judges the calls that give names. One goroutine asks.
type namer struct {
	workspace string
	judge     NameJudge
	calls     map[int32]string
}

func newNamer(workspace string, judge NameJudge) *namer {
	w := &namer{workspace: workspace, judge: judge, calls: map[int32]string{}}
	for _, name := range namingCalls {
		if nr, ok := callNumber(name); ok {
			w.calls[nr] = name
		}
	}
	return w
}

// asks says whether a call gives a name, and which call it is.
func (w *namer) asks(nr int32) (call string, ok bool) {
	if w == nil {
		return "", false
	}
	call, ok = w.calls[nr]
	return call, ok
}

// misnomer is why a call is not let on: the error that it gets and, where it was judged,
// the path and the reason.
type misnomer struct {
	errno unix.Errno
	path  string
	why   string
}

// look judges a call by all names that it gives. What can't be found out has the error that
// the kernel has for it; what fails by itself goes on.
func (w *namer) look(tid int, call string, args [6]uint64) (m misnomer) {
	list, errno := namings(tid, call, args)
	if errno != 0 {
		return misnomer{errno: errno}
	}
	for _, n := range list {
		if m = w.one(tid, n); m.errno != 0 {
			return m
		}
	}
	return m
}

func (w *namer) one(tid int, n naming) misnomer {
	s := newSeeker(tid)
	defer s.close()
	parent, base, errno := s.parent(n)
	if errno != 0 || base == "" {
		return misnomer{errno: errno}
	}
	where, inside, errno := w.place(parent)
	if errno != 0 || !inside {
		return misnomer{errno: errno}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(parent, &fs); err != nil {
		return misnomer{errno: errnoOf(err)}
	}
	at := Naming{Path: joined(where, base), ReadOnly: fs.Flags&unix.ST_RDONLY != 0, Dir: n.dir}
	if n.moved != nil {
		if errno := w.moved(tid, *n.moved, &at); errno != 0 {
			return misnomer{errno: errno}
		}
		if at.Source != nil {
			defer at.Source.Close()
		}
	}
	why := w.judge(at)
	if why == "" {
		return misnomer{}
	}
	var st unix.Stat_t
	if n.stays && unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return misnomer{} // the kernel opens it, or says EEXIST
	}
	return misnomer{errno: unix.EPERM, path: at.Path, why: why}
}

// moved looks at what is to get another name.
func (w *namer) moved(tid int, n naming, at *Naming) unix.Errno {
	s := newSeeker(tid)
	defer s.close()
	parent, base, errno := s.parent(n)
	if errno != 0 || base == "" {
		return errno
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return errnoOf(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0
	}
	at.Dir = true
	where, inside, errno := w.place(parent)
	if errno != 0 || !inside {
		return errno // from another mount, which rename refuses (EXDEV)
	}
	at.From = joined(where, base)
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	at.Source = os.NewFile(uintptr(fd), base)
	return 0
}

func joined(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// place is where a folder lies below the workspace, as the kernel has it now. The mount
// namespace's own root is what its paths begin at, whatever the caller's is.
func (w *namer) place(fd int) (rel string, inside bool, errno unix.Errno) {
	path, err := pathOf(fd)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return w.deep(fd)
	}
	if err != nil {
		return "", false, errnoOf(err)
	}
	rel, inside = w.below(path)
	return rel, inside, 0
}

// below: of a folder that was removed the name ends in " (deleted)" (d_path in the kernel's
// fs/d_path.c); nothing can be made in it, so that it does not matter what it is taken for.
func (w *namer) below(path string) (string, bool) {
	if path == w.workspace {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(w.workspace, "/")+"/")
}

// deep is place for a folder whose path is longer than the kernel gives. In the workspace no
// name is given there: what it would be nobody can tell.
func (w *namer) deep(fd int) (string, bool, unix.Errno) {
	const rounds = 1000
	up, held := strings.Repeat("../", 64), -1
	defer func() { unix.Close(held) }()
	for range rounds {
		above, err := unix.Openat(fd, up, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", false, errnoOf(err)
		}
		path, err := pathOf(above)
		if err != nil {
			unix.Close(held)
			fd, held = above, above
			continue
		}
		unix.Close(above)
		_, inside := w.below(path)
		switch {
		case inside:
			return "", false, unix.ENAMETOOLONG
		case !within(w.workspace, path):
			return "", false, 0
		}
		up = "../" // that was too far, and went past where it lies
	}
	return "", false, unix.ENAMETOOLONG
}

// pathOf is what the kernel calls an open folder, in at most a page.
func pathOf(fd int) (string, error) {
	var buf [pageSize + 1]byte
	n, err := retry(func() (int, error) { return unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf[:]) })
	return string(buf[:max(n, 0)]), err
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EPERM
}

// refuseName answers a call that would give a name that must not be given, or one that
// can't be found out; false for every other, which nobody has answered then.
func (n *notifier) refuseName(req *seccompNotif, call string) bool {
	m := n.namer.look(int(req.pid), call, req.data.args)
	if m.errno == 0 {
		return false
	}
	resp := seccompNotifResp{id: req.id, error: -int32(m.errno)}
	if m.why != "" {
		p := n.who(req)
		n.tellText([]byte(namingText(m)))
		// The caller does not wait for the trail.
		defer n.sink.Emit(audit.Finding{Title: "refused in the host's own folder: " + m.path, Detail: call + "; " + m.why, Severity: "medium", Outcome: audit.Blocked, Process: p, Event: NamingEvent})
	}
	_ = insist(n.file, ioctlNotifSend, unsafe.Pointer(&resp)) // ENOENT: the caller was killed
	return true
}

// namingText is what last-denial says.
func namingText(m misnomer) string {
	name := m.path
	if len(name) > maxDenied {
		name = name[:maxDenied] + "..."
	}
	return strconv.Quote(name) + " was not made: " + m.why + "; the workspace is the host's own folder (mode = \"direct\")\n"
}
