package jail

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// A learning run (agentjail learn) notes what the jail refuses. The view refuses most
// things by not having them, so calls that name files come to the supervisor, which
// looks whether the jail has what they name and lets the kernel go on; refused system
// calls come too, and are answered as the filter would have.
//
// It is a record and no boundary: another thread can rewrite a path between the look
// and the call, and has then misled nobody but the reader of the record.

// Sight is something that the agent asked for and the jail did not give.
type Sight struct {
	Path  string   // of the jail, absolute, as it was asked for: not clean, any bytes
	Use   Use      //
	Here  bool     // the jail has it, and refuses this use
	Rule  string   // that hides it, "" where none does
	Count int64    //
	By    []string // names of programs, some
}

// RefusedCall is a system call that the filter refuses.
type RefusedCall struct {
	Name   string
	Detail string
	Count  int64
	By     []string
}

// Observed is what a learning run was refused.
type Observed struct {
	Files   []Sight
	Calls   []RefusedCall
	LeftOut int64 // sights that there was no room for
}

// The bounds of what is kept: an agent can ask for as many paths as it likes.
const (
	maxSeen  = 32 << 20 // bytes of paths
	maxCalls = 1000
	maxBy    = 3 // programs that are named
)

type sightKey struct {
	path string
	use  Use
}

type observer struct {
	plan    *Plan
	filter  filterMachine
	watched map[int32]fileCall
	execs   map[int32]bool

	root  int // O_PATH, -1 until the first call
	files map[sightKey]*Sight
	calls map[string]*RefusedCall
	seen  int // bytes
	left  int64
}

func newObserver(p *Plan) (*observer, error) {
	prog, err := buildFilter(p.Syscalls)
	if err != nil {
		return nil, layerError("seccomp", err, "")
	}
	o := &observer{plan: p, watched: map[int32]fileCall{}, execs: map[int32]bool{}, root: -1, files: map[sightKey]*Sight{}, calls: map[string]*RefusedCall{}}
	if o.filter, err = newFilterMachine(prog); err != nil {
		return nil, layerError("seccomp", fmt.Errorf("the filter can't be run for the record: %w", err), "")
	}
	for name, w := range watches() {
		if nr, ok := callNumber(name); ok {
			o.watched[nr] = w
		}
	}
	for _, name := range notifiedCalls {
		if nr, ok := callNumber(name); ok {
			o.execs[nr] = true
		}
	}
	return o, nil
}

func (o *observer) isExec(req *seccompNotif) bool { return o.execs[req.data.nr] }

// answer looks at a call and answers as the ordinary filter does. What that has no
// answer to is refused.
func (o *observer) answer(req *seccompNotif, valid func() bool) seccompNotifResp {
	refuse := func(e unix.Errno) seccompNotifResp { return seccompNotifResp{id: req.id, error: -int32(e)} }
	v, err := o.filter.verdict(req.data.arch, req.data.nr, req.data.args)
	if err != nil {
		return refuse(unix.EPERM)
	}
	tid := int(req.pid)
	switch v & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW:
		if w, ok := o.watched[req.data.nr]; ok {
			o.look(tid, w, req.data.args, valid)
		}
		return seccompNotifResp{id: req.id, flags: respContinue}
	case unix.SECCOMP_RET_ERRNO:
		o.call(tid, callName(req.data.nr), req.data.args)
		return refuse(unix.Errno(v & unix.SECCOMP_RET_DATA))
	}
	return refuse(unix.EPERM)
}

// look notes the paths of one call that the jail does not give. valid says whether
// what was read is still that call's: it goes on waiting.
func (o *observer) look(tid int, w fileCall, args [6]uint64, valid func() bool) {
	use := w.use(tid, args)
	var paths []string
	if use == UseSocket {
		paths = append(paths, socketPath(tid, args))
	}
	for _, p := range w.places {
		paths = append(paths, o.path(tid, p, args))
	}
	for _, path := range paths {
		if path == "" || own(path) {
			continue
		}
		if s, refused := o.refused(path, use, tid); refused && valid() {
			o.note(s, tid)
		}
	}
}

// exec notes a program that the jail does not have, or may not execute.
func (o *observer) exec(req *seccompNotif) {
	p := place{noFolder, 0}
	if callName(req.data.nr) == "execveat" {
		p = place{0, 1}
	}
	tid := int(req.pid)
	path := o.path(tid, p, req.data.args)
	if path == "" || own(path) {
		return
	}
	for range maxHops {
		if s, refused := o.refused(path, UseExec, tid); refused {
			o.note(s, tid)
			return
		}
		if path = o.interpreter(path); path == "" || own(path) {
			return
		}
	}
}

// interpreter is that of a script, "" of what is none: the kernel looks it up by itself.
func (o *observer) interpreter(path string) string {
	fd, err := unix.Openat2(o.root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return ""
	}
	p := program{file: os.NewFile(uintptr(fd), path)}
	defer p.file.Close()
	if unix.Fstat(fd, &p.stat) != nil {
		return ""
	}
	interp, _, err := p.interpreter()
	if err != nil || !strings.HasPrefix(interp, "/") {
		return ""
	}
	return interp
}

// path is the absolute path that a call names, not cleaned: "link/.." is not "." to the
// kernel. "" where it names none, or begins at what is no folder of the jail.
func (o *observer) path(tid int, p place, args [6]uint64) string {
	path := readString(tid, args[p.path], maxPath)
	if path == "" || path[0] == '/' {
		return path
	}
	base := "/cwd"
	if p.folder != noFolder && int32(args[p.folder]) != unix.AT_FDCWD {
		base = "/fd/" + strconv.Itoa(int(int32(args[p.folder])))
	}
	dir, err := os.Readlink(procDir(tid) + base)
	if err != nil || !strings.HasPrefix(dir, "/") || strings.HasSuffix(dir, " (deleted)") {
		return ""
	}
	return strings.TrimSuffix(dir, "/") + "/" + path
}

// socketPath is the path that a call of connect names, "" where it names none: of
// another family, or an abstract one (unix(7)).
func socketPath(tid int, args [6]uint64) string {
	const header = 2 // sa_family_t
	buf := make([]byte, min(args[2], unix.SizeofSockaddrUnix))
	n := readMemory(tid, args[1], buf)
	if n <= header || binary.NativeEndian.Uint16(buf) != unix.AF_UNIX {
		return ""
	}
	path, _, _ := strings.Cut(string(buf[header:n]), "\x00")
	if !strings.HasPrefix(path, "/") {
		return ""
	}
	return path
}

// own says whether a path is the jail's own, of which the host has another: /proc, the
// standard streams, and what agentjail tells the agent.
func own(path string) bool {
	for _, dir := range []string{"/proc", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/pts", "/dev/shm", InsideDir} {
		if within(path, dir) {
			return true
		}
	}
	return false
}

// refused says whether the jail refuses a use of a path, as far as the kernel can be
// asked without doing it.
func (o *observer) refused(path string, use Use, tid int) (Sight, bool) {
	s := Sight{Path: path, Use: use}
	if o.root < 0 {
		root, err := unix.Open(procDir(tid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return s, false
		}
		o.root = root
	}
	real, at, err := o.find(path)
	switch {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		if use != UseCreate {
			return s, true
		}
		// To be made: what matters is the folder.
		dir := path[:strings.LastIndexByte(strings.TrimRight(path, "/"), '/')+1]
		if real, at, err = o.find(dir); err != nil {
			return s, err == unix.ENOENT || err == unix.ENOTDIR
		}
		return s, !o.may(real, use, at)
	case err != nil:
		return s, false
	}
	if rule, masked := o.masked(real); masked {
		s.Here, s.Rule = true, rule
		return s, true
	}
	s.Here = true
	return s, !o.may(real, use, at)
}

// find opens a path in the jail's root: O_PATH alone does nothing to what is there.
func (o *observer) find(path string) (real string, at found, err error) {
	fd, err := unix.Openat2(o.root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", at, err
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := cmp.Or(unix.Fstatfs(fd, &fs), unix.Fstat(fd, &st)); err != nil {
		return "", at, err
	}
	at = found{readonly: fs.Flags&unix.ST_RDONLY != 0, folder: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	real, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return real, at, err
}

// found is what lies at a path of the jail.
type found struct{ readonly, folder bool }

// masked says whether a rule hides what lies at a path.
func (o *observer) masked(real string) (rule string, masked bool) {
	for _, d := range o.plan.Deny {
		if within(real, d.Path) {
			return d.Origin, true
		}
	}
	return "", false
}

// may says whether mounts and Landlock let a path that is there be used. Who owns the
// file is not looked at: no profile changes that.
func (o *observer) may(real string, use Use, at found) bool {
	var want uint64
	switch use {
	case UseWrite, UseCreate:
		if at.readonly {
			return false
		}
		want = ll.AccessFSWriteFile
	case UseExec:
		want = ll.AccessFSExecute
	case UseRead:
		if at.folder { // every folder of the view may be listed
			return true
		}
		want = ll.AccessFSReadFile
	default:
		return true
	}
	return slices.ContainsFunc(o.plan.Landlock.Rules, func(r LandlockRule) bool { return r.Rights&want != 0 && within(real, r.Path) })
}

func (o *observer) note(s Sight, tid int) {
	key := sightKey{s.Path, s.Use}
	have := o.files[key]
	if have == nil {
		const overhead = 200 // about what an entry takes beside its path
		if o.seen += len(s.Path) + overhead; o.seen > maxSeen {
			o.left++
			return
		}
		have = &s
		o.files[key] = have
	}
	have.Count++
	have.By = alsoBy(have.By, tid)
}

func (o *observer) call(tid int, name string, args [6]uint64) {
	key := name + " " + callDetail(name, args)
	have := o.calls[key]
	if have == nil {
		if len(o.calls) >= maxCalls {
			o.left++
			return
		}
		have = &RefusedCall{Name: name, Detail: callDetail(name, args)}
		o.calls[key] = have
	}
	have.Count++
	have.By = alsoBy(have.By, tid)
}

// alsoBy adds the name of a thread, which is its own text, at most 15 bytes (prctl(2),
// PR_SET_NAME).
func alsoBy(by []string, tid int) []string {
	if len(by) >= maxBy {
		return by
	}
	comm, err := os.ReadFile(procDir(tid) + "/comm")
	name := strings.TrimSuffix(string(comm), "\n")
	if err != nil || name == "" || slices.Contains(by, name) {
		return by
	}
	return append(by, name)
}

func (o *observer) close() {
	if o.root >= 0 {
		unix.Close(o.root)
		o.root = -1
	}
}

// Observed is what the agent was refused in a learning run. The jail has to be killed
// before; nil in every other run, and where the agent never ran.
func (j *Jail) Observed() *Observed {
	if j.notify == nil || j.notify.observer == nil || !j.Started() {
		return nil
	}
	<-j.notify.done
	o := j.notify.observer
	r := &Observed{LeftOut: o.left}
	for _, s := range slices.SortedFunc(maps.Values(o.files), func(a, b *Sight) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(string(a.Use), string(b.Use)))
	}) {
		r.Files = append(r.Files, *s)
	}
	for _, key := range slices.Sorted(maps.Keys(o.calls)) {
		r.Calls = append(r.Calls, *o.calls[key])
	}
	return r
}
