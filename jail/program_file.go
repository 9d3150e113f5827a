package jail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// maxHops bounds what one program leads to: proc's links, and interpreters of scripts,
// of which the kernel follows five (fs/exec.c, exec_binprm).
const maxHops = 5

// errUnclear: the path leads where the supervisor does not see what the caller sees.
var errUnclear = errors.New("the program can't be told")

// caller is a stopped process that asks for an exec, and the view that it has.
type caller struct {
	proc string // its folder in the supervisor's /proc
	tid  int    // in the jail's numbering, as is pid
	pid  int
	root int // O_PATH
}

func newCallerView(proc string) (caller, error) {
	root, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return caller{proc: proc, root: root}, err
}

func (c caller) close() { unix.Close(c.root) }

// open finds the file that the caller means by a path relative to a descriptor, as the
// kernel would for it.
func (c caller) open(dirfd int, path string) (*os.File, error) {
	if path == "" {
		return c.magic("fd/" + strconv.Itoa(dirfd))
	}
	if !strings.HasPrefix(path, "/") {
		base := "/cwd"
		if dirfd != unix.AT_FDCWD {
			base = "/fd/" + strconv.Itoa(dirfd)
		}
		dir, err := c.folder(base)
		if err != nil {
			return nil, err
		}
		// Not cleaned: "link/.." is not "." to the kernel.
		path = dir + "/" + path
	}
	return c.find(path, maxHops)
}

// folder is the path of a folder that the caller holds. One that was deleted, or that
// another was put in the place of, has none.
func (c caller) folder(base string) (string, error) {
	dir, err := os.Readlink(c.proc + base)
	if err != nil {
		return "", errUnclear
	}
	var held, found unix.Stat_t
	if err := unix.Stat(c.proc+base, &held); err != nil {
		return "", errUnclear
	}
	f, err := c.openat(dir)
	if err != nil {
		return "", errUnclear
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &found); err != nil || held.Dev != found.Dev || held.Ino != found.Ino {
		return "", errUnclear
	}
	return dir, nil
}

func (c caller) openat(path string) (*os.File, error) {
	open := func() (int, error) {
		return unix.Openat2(c.root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	}
	fd, err := open()
	if err == unix.EACCES {
		fd, err = c.asItself(open)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// asItself opens as the caller's user. A symlink in a folder like /tmp is followed for
// nobody but its owner, not even for root (fs.protected_symlinks, proc_sys_fs(5)).
func (c caller) asItself(open func() (int, error)) (int, error) {
	var st unix.Stat_t
	if unix.Stat(c.proc, &st) != nil || int(st.Uid) == unix.Geteuid() {
		return -1, unix.EACCES
	}
	runtime.LockOSThread()
	was, _ := unix.SetfsuidRetUid(int(st.Uid)) // it tells of no failure; the file is not opened then
	fd, err := open()
	_, _ = unix.SetfsuidRetUid(was)
	// -1 is nobody's id: what it was is all that is asked (setfsuid(2)). A thread that has not
	// its own again does nothing else any more.
	if now, _ := unix.SetfsuidRetUid(-1); now == was {
		runtime.UnlockOSThread()
	}
	return fd, err
}

// find opens an absolute path of the jail. What lies below /proc/self is the
// supervisor's own to the supervisor, so the usual ways to write it are translated, and
// what else leads there is unclear.
func (c caller) find(path string, hops int) (*os.File, error) {
	if hops == 0 {
		return nil, errUnclear
	}
	rest, own := c.ownProc(path)
	if !own {
		f, err := c.openat(path)
		if err != nil {
			return nil, errUnclear
		}
		return f, nil
	}
	head, tail, _ := strings.Cut(rest, "/")
	switch {
	case rest == "exe" || head == "fd" && !strings.Contains(tail, "/"):
		return c.magic(rest)
	case head == "root":
		return c.find("/"+tail, hops-1)
	case head == "cwd":
		dir, err := c.folder("/cwd")
		if err != nil {
			return nil, err
		}
		return c.find(dir+"/"+tail, hops-1)
	}
	return nil, errUnclear
}

// ownProc is what follows /proc/self in a path.
func (c caller) ownProc(path string) (rest string, ok bool) {
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	parts = filterDots(parts)
	if len(parts) < 2 {
		return "", false
	}
	if parts[0] == "dev" {
		if parts[1] == "fd" {
			return strings.Join(parts[1:], "/"), true
		}
		if n := map[string]string{"stdin": "0", "stdout": "1", "stderr": "2"}[parts[1]]; n != "" && len(parts) == 2 {
			return "fd/" + n, true
		}
		return "", false
	}
	if parts[0] != "proc" {
		return "", false
	}
	switch parts[1] {
	case "self", "thread-self", strconv.Itoa(c.pid), strconv.Itoa(c.tid):
		return strings.Join(parts[2:], "/"), true
	}
	return "", false
}

func filterDots(parts []string) (kept []string) {
	for _, p := range parts {
		if p != "." {
			kept = append(kept, p)
		}
	}
	return kept
}

// magic opens what the kernel links from the caller's folder of /proc: O_PATH only, so
// that nothing happens to what it is.
func (c caller) magic(name string) (*os.File, error) {
	fd, err := unix.Open(c.proc+"/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, errUnclear
	}
	return os.NewFile(uintptr(fd), name), nil
}

// program is one file that a start consists of.
type program struct {
	file *os.File // O_PATH
	stat unix.Stat_t
	real string
	own  bool
}

// look says what a file is. upper is the overlay's upper layer on the workspace, -1
// without one. Where nothing is done with it, the name of a file that nobody in the jail
// can have written is left out.
func look(f *os.File, workspace string, upper int, named bool) (program, error) {
	p := program{file: f}
	var fs unix.Statfs_t
	if err := unix.Fstat(int(f.Fd()), &p.stat); err != nil {
		return p, errUnclear
	}
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return p, errUnclear
	}
	// Whatever is mounted so that it can be written may be the agent's. Of the overlay
	// it is what has come into the upper layer; a file without a name any more, too.
	p.own = fs.Flags&unix.ST_RDONLY == 0
	if !p.own && p.stat.Nlink > 0 && !named {
		return p, nil
	}
	real, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return p, errUnclear
	}
	p.real = strings.TrimSuffix(real, " (deleted)")
	if p.own && upper >= 0 && p.real == real && within(real, workspace) && real != workspace {
		fd, err := unix.Openat2(upper, strings.TrimPrefix(real, workspace+"/"), &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
		if err == nil {
			unix.Close(fd)
		} else if err == unix.ENOENT {
			p.own = false
		}
	}
	return p, nil
}

// identity says which file it is. One that the agent may write to is another one after
// each change: it has no way to set a file's change time (inode(7), ctime).
func (p program) identity() string {
	id := fmt.Sprintf("%d:%d", p.stat.Dev, p.stat.Ino)
	if p.own {
		id += fmt.Sprintf(":%d:%d.%d", p.stat.Size, p.stat.Ctim.Sec, p.stat.Ctim.Nsec)
	}
	return id
}

// scriptMax is how much of a file the kernel looks at (BINPRM_BUF_SIZE, linux/binfmts.h).
const scriptMax = 256

// interpreter is that of a script, with the one argument that it may have; none of
// another file. Every file that the agent may have written must be readable here: the
// kernel reads it whatever its mode is.
func (p program) interpreter() (path string, arg []string, err error) {
	if p.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", nil, nil // the kernel refuses it
	}
	f, err := reopen(p.file)
	if err != nil {
		if p.own {
			return "", nil, errUnclear
		}
		return "", nil, nil // an interpreter could not read the script either
	}
	defer f.Close()
	buf := make([]byte, scriptMax)
	n, err := f.ReadAt(buf, 0)
	if err != nil && err != io.EOF {
		return "", nil, errUnclear
	}
	path, arg = parseScript(buf[:n])
	return path, arg, nil
}

// reopen opens a regular file for reading, by its descriptor.
func reopen(f *os.File) (*os.File, error) {
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// parseScript reads the first line as fs/binfmt_script.c does: spaces and tabs between
// "#!", the interpreter and one argument, which has the rest of the line.
func parseScript(head []byte) (path string, arg []string) {
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return "", nil
	}
	if i := bytes.IndexAny(line, "\n\x00"); i >= 0 {
		line = line[:i]
	}
	line = bytes.Trim(line, " \t")
	i := bytes.IndexAny(line, " \t")
	if i < 0 {
		return string(line), nil
	}
	return string(line[:i]), []string{string(bytes.TrimLeft(line[i:], " \t"))}
}

// isLoader says whether a file is a dynamic loader, by the names that glibc and musl
// give it: it runs the program that its arguments name (ld.so(8)).
func isLoader(real string) bool {
	base := filepath.Base(real)
	return strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld-musl-") || strings.HasPrefix(base, "ld.so") || strings.HasPrefix(base, "ld64.so") ||
		strings.HasPrefix(base, "ld-2.")
}

// ruled is the file of a program that a rule names, as the jail has it.
type ruled struct {
	name   string // the rule's
	dev    uint64
	ino    uint64
	masked bool // seen on the host: in an overlay of the jail's it has another device
	size   int64
	file   *os.File // for reading; nil where the agent can't read it either
}

// is says whether a program is that file, or a copy of it that the agent made. A copy
// is known as long as no byte was changed.
func (r ruled) is(p program) bool {
	if p.stat.Ino == r.ino {
		if uint64(p.stat.Dev) == r.dev { //nolint:unconvert // Dev is 32 bits wide elsewhere
			return true
		}
		var fs unix.Statfs_t
		if r.masked && unix.Fstatfs(int(p.file.Fd()), &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
			return true
		}
	}
	if !p.own || r.file == nil || r.size == 0 || p.stat.Size != r.size || p.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	f, err := reopen(p.file)
	if err != nil {
		return true // of its size, and not to be told from it
	}
	defer f.Close()
	return sameContent(f, r.file, r.size)
}

func sameContent(a, b io.ReaderAt, size int64) bool {
	const chunk = 64 << 10
	x, y := make([]byte, chunk), make([]byte, chunk)
	for off := int64(0); off < size; off += chunk {
		n := min(chunk, size-off)
		if _, err := a.ReadAt(x[:n], off); err != nil && err != io.EOF {
			return true // unreadable: not to be told from it
		}
		if _, err := b.ReadAt(y[:n], off); err != nil && err != io.EOF {
			return true
		}
		if !bytes.Equal(x[:n], y[:n]) {
			return false
		}
	}
	return true
}

// multicall are programs that do what their name says: a rule about one name says
// nothing about the file (busybox(1), toybox(1), and coreutils built as one).
var multicall = []string{"busybox", "toybox", "coreutils"}

// searched are the folders in which a program's bare name is looked for.
func searched(rules profiles.Process) []string {
	dirs := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	for _, v := range rules.Env {
		if v.Name == "PATH" {
			for _, d := range filepath.SplitList(v.Value) {
				if filepath.IsAbs(d) {
					dirs = append(dirs, filepath.Clean(d))
				}
			}
		}
	}
	return dirs
}

// candidates are the paths that a rule's program may have.
func candidates(name string, dirs []string) []string {
	if strings.HasPrefix(name, "/") {
		return []string{name}
	}
	var paths []string
	for _, d := range dirs {
		paths = append(paths, filepath.Join(d, name))
	}
	return paths
}
