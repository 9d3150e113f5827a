package jail

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
)

// execCall is what a caller asks for, as its registers have it.
type execCall struct {
	path, argv uint64 // addresses in its memory
	dirfd      int
	empty      bool // AT_EMPTY_PATH: without a path it is the file of dirfd
}

func execCallOf(req *seccompNotif) execCall {
	a := req.data.args
	if int(req.data.nr) == unix.SYS_EXECVEAT {
		return execCall{path: a[1], argv: a[2], dirfd: int(int32(a[0])), empty: a[4]&unix.AT_EMPTY_PATH != 0}
	}
	return execCall{path: a[0], argv: a[1], dirfd: unix.AT_FDCWD}
}

// look reads who executes what. Everything is read from the stopped caller's own memory
// and /proc, so it is hostile text: bounded, and never followed on the host's side. It is
// read while the caller waits, so each thing once. known is false for a path that does
// not exist in the jail, since a shell tries each folder of PATH.
func (n *notifier) look(req *seccompNotif) (rec audit.Exec, ids callerIDs, s start, known bool) {
	ids.pidfd = -1
	tid := int(req.pid)
	rec.Outcome = audit.Allowed
	call := execCallOf(req)
	proc := procDir(tid)
	asked := readString(tid, call.path, maxPath)
	rec.Process.Cwd, _ = os.Readlink(proc + "/cwd")
	c, cerr := newCallerView(proc)
	if cerr == nil {
		defer c.close()
	}
	path := asked
	var file *os.File
	switch {
	case path == "" && call.empty:
		// fexecve: a memfd or an open file, named as the kernel names it.
		path, _ = os.Readlink(proc + "/fd/" + strconv.Itoa(call.dirfd))
	case path == "":
		return rec, ids, s, false
	default:
		if cerr == nil { // when in doubt, record
			if file, known = c.exists(rec.Process.Cwd, call.dirfd, path); !known {
				return rec, ids, s, false
			}
		}
		if !filepath.IsAbs(path) {
			base := rec.Process.Cwd
			if call.dirfd != unix.AT_FDCWD {
				base, _ = os.Readlink(proc + "/fd/" + strconv.Itoa(call.dirfd))
			}
			path = filepath.Join(base, path)
		}
	}
	if file != nil {
		defer file.Close()
	}
	rec.Process.Path, rec.Process.Name = path, filepath.Base(path)
	rec.Process.Argv, rec.ArgsCut, rec.ArgBytes = readArgv(tid, call.argv)
	ids = n.pids.caller(tid, n.exits.inside)
	rec.Process.PID, rec.Process.Parent = ids.pid, ids.parent
	if ids.host == 0 {
		return rec, ids, s, false
	}
	if cerr != nil {
		s.unknown = true
	} else {
		c.pid = ids.pid
		s = n.judge.look(c, call.dirfd, asked, file, &rec)
	}
	rec.Own, rec.Memory = s.own, s.memory
	return rec, ids, s, true
}

// exists looks a path up in the caller's own root and mount namespace. RESOLVE_IN_ROOT
// keeps absolute links and ".." inside it (openat2(2)). It gives the file too where that
// was found by an absolute path, and is known where in doubt.
func (c caller) exists(cwd string, dirfd int, path string) (file *os.File, known bool) {
	absolute := filepath.IsAbs(path)
	if !absolute {
		// From a deleted folder, ".." still leads out (proc(5) marks its name).
		if dirfd != unix.AT_FDCWD || strings.HasSuffix(cwd, " (deleted)") {
			return nil, true
		}
		path = cwd + "/" + path // not cleaned: "link/.." is not "." to the kernel
	}
	missing := func(err error) bool { return err == unix.ENOENT || err == unix.ENOTDIR }
	f, err := c.openat(path)
	if err == nil && absolute {
		return f, true
	}
	if err == nil {
		f.Close()
	}
	if !missing(err) {
		return nil, true
	}
	// find says whether the kernel finds a path, and whether it is /proc's.
	find := func(p string, flags uint64) (proc bool, err error) {
		fd, err := unix.Openat2(c.root, p, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		if err != nil {
			return false, err
		}
		defer unix.Close(fd)
		var st unix.Statfs_t
		return unix.Fstatfs(fd, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC, nil
	}
	// /proc/self is the reader's own, and the reader is not in the jail: what the caller
	// finds below it, we don't. So what is missing counts as missing only where neither
	// /proc nor a link that leads nowhere is on the way to it.
	for end := 1; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' {
			continue
		}
		proc, err := find(path[:end], 0)
		if err != nil {
			_, err = find(path[:end], unix.O_NOFOLLOW)
			return nil, !missing(err)
		}
		if proc {
			return nil, true
		}
	}
	return nil, true
}
