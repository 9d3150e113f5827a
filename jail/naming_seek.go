package jail

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// seeker finds a path as a stopped process would: from its root, its working folder or a
// descriptor of its.
type seeker struct {
	tid  int
	root int // -1 until it is asked for
	fds  []int
}

func newSeeker(tid int) *seeker { return &seeker{tid: tid, root: -1} }

func (s *seeker) close() {
	for _, fd := range s.fds {
		unix.Close(fd)
	}
}

func (s *seeker) keep(fd int, err error) (int, unix.Errno) {
	if err != nil {
		return -1, errnoOf(err)
	}
	s.fds = append(s.fds, fd)
	return fd, 0
}

// own opens a folder that the process holds, by a link of its /proc that leads to the very
// folder.
func (s *seeker) own(link string) (int, unix.Errno) {
	return s.keep(retry(func() (int, error) {
		return unix.Open(procDir(s.tid)+link, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}))
}

func (s *seeker) top() (int, unix.Errno) {
	if s.root >= 0 {
		return s.root, 0
	}
	fd, errno := s.own("/root")
	if errno == 0 {
		s.root = fd
	}
	return fd, errno
}

// from is the folder at which the path of a call begins.
func (s *seeker) from(n naming) (int, unix.Errno) {
	if strings.HasPrefix(n.path, "/") && !n.inRoot {
		return s.top()
	}
	fd, errno := -1, unix.Errno(0)
	if n.folder == unix.AT_FDCWD {
		fd, errno = s.own("/cwd")
	} else if fd, errno = s.own("/fd/" + strconv.Itoa(int(n.folder))); errno == unix.ENOENT {
		errno = unix.EBADF
	}
	if errno == 0 && n.inRoot {
		s.root = fd
	}
	return fd, errno
}

// maxLinks is how many symlinks the kernel follows in one path (MAXSYMLINKS,
// linux/namei.h).
const maxLinks = 40

// parent opens the folder in which a name would be given, and says which name. It is ""
// for a path that gives none: it is empty, or ends in "." or "..", or where /proc has it.
func (s *seeker) parent(n naming) (folder int, base string, errno unix.Errno) {
	if n.path == "" {
		return -1, "", 0
	}
	at, errno := s.from(n)
	if errno != 0 {
		return -1, "", errno
	}
	path := n.path
	for range maxLinks + 1 {
		path = strings.TrimRight(path, "/")
		slash := strings.LastIndexByte(path, '/')
		dir, base := path[:slash+1], path[slash+1:]
		if base == "" || base == "." || base == ".." {
			return -1, "", 0
		}
		if at, errno = s.folder(at, dir); errno != 0 {
			return -1, "", errno
		}
		if !n.follow {
			return at, base, 0
		}
		target, err := readLink(at, base)
		if err != nil { // it is not there, or is no symlink
			return at, base, 0
		}
		if onProc(at) {
			return -1, "", 0 // a link to what is there; nothing can be made in /proc
		}
		if target == "" {
			return -1, "", unix.ENOENT
		}
		path = target
	}
	return -1, "", unix.ELOOP
}

func readLink(dir int, name string) (string, error) {
	var buf [maxPath]byte
	n, err := retry(func() (int, error) { return unix.Readlinkat(dir, name, buf[:]) })
	return string(buf[:max(n, 0)]), err
}

func onProc(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}

// folder opens a folder by its path, which ends in a slash or is empty. The kernel is asked
// in one call where what the supervisor and the caller find are the same: not through /proc,
// of which each has its own.
func (s *seeker) folder(at int, dir string) (int, unix.Errno) {
	if dir == "" {
		return at, 0
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	if dir[0] == '/' {
		var errno unix.Errno
		if at, errno = s.top(); errno != 0 {
			return -1, errno
		}
		how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	}
	if fd, err := retry(func() (int, error) { return unix.Openat2(at, dir, &how) }); err == nil {
		return s.keep(fd, nil)
	}
	return s.walk(at, dir)
}

// walk goes a path part by part, as the kernel would for the caller (path_resolution(7)).
// It holds one folder at a time: a path may have two thousand.
func (s *seeker) walk(start int, path string) (int, unix.Errno) {
	root, errno := s.top()
	if errno != 0 {
		return -1, errno
	}
	at := start
	move := func(to int) {
		if at != start && at != root {
			unix.Close(at)
		}
		at = to
	}
	defer func() { move(start) }()
	for links := 0; path != ""; {
		if path[0] == '/' { // where it begins, or a link's text does
			move(root)
		}
		part, rest, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
		path = strings.TrimLeft(rest, "/")
		if part == "" || part == "." || part == ".." && sameFolder(at, root) {
			continue
		}
		target, magic, err := s.link(at, part)
		if err != nil {
			return -1, errnoOf(err)
		}
		if target != "" {
			if links++; links > maxLinks {
				return -1, unix.ELOOP
			}
			path = target + "/" + path
			continue
		}
		flags := unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
		if !magic {
			flags |= unix.O_NOFOLLOW
		}
		next, err := retry(func() (int, error) { return unix.Openat(at, part, flags, 0) })
		if err != nil {
			return -1, errnoOf(err)
		}
		move(next)
	}
	return s.keep(retry(func() (int, error) { return unix.Openat(at, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) }))
}

// link is the text of a symlink, as the caller reads it; "" of what is none, and of a magic
// link, one of /proc that leads to the very thing whatever its text is.
func (s *seeker) link(at int, name string) (target string, magic bool, err error) {
	proc := onProc(at)
	root := proc && isProcRoot(at)
	if root && (name == "self" || name == "thread-self") {
		target, err = s.self(name) // what it says depends on who reads it
		return target, false, err
	}
	target, err = readLink(at, name)
	switch {
	case errors.Is(err, unix.EINVAL):
		return "", false, nil
	case err != nil:
		return "", false, err
	case proc && !root:
		return "", true, nil
	case target == "":
		return "", false, unix.ENOENT
	}
	return target, false, nil
}

// self is where the caller's /proc/self and /proc/thread-self lead.
func (s *seeker) self(name string) (string, error) {
	status, err := readProc(procDir(s.tid) + "/status")
	if err != nil {
		return "", err
	}
	self := strconv.Itoa(lastField(status, "\nNStgid:"))
	if name == "self" {
		return self, nil
	}
	return self + "/task/" + strconv.Itoa(lastField(status, "\nNSpid:")), nil
}

// isProcRoot is of a folder of /proc: PROC_ROOT_INO of linux/proc_ns.h is 1.
func isProcRoot(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino == 1
}

// sameFolder also tells two mounts of one folder apart.
func sameFolder(a, b int) bool {
	var x, y unix.Statx_t
	const want = unix.STATX_INO | unix.STATX_MNT_ID
	for fd, st := range map[int]*unix.Statx_t{a: &x, b: &y} {
		if unix.Statx(fd, "", unix.AT_EMPTY_PATH, want, st) != nil {
			return false
		}
	}
	return x.Ino == y.Ino && x.Dev_major == y.Dev_major && x.Dev_minor == y.Dev_minor && x.Mnt_id == y.Mnt_id
}
