package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newRootfs makes the scratch folder that becomes the jail's root, with as much in it
// as libcontainer needs. It lies in a fresh folder that only we can write.
func newRootfs(b Base, staging []Mount) (*rootfs, error) {
	r := &rootfs{dir: b.Rootfs, made: map[string]bool{"/": true}, uid: -1, gid: -1}
	if !b.Rootless {
		// libcontainer makes some mount points by itself, as uid 0 of the outer
		// namespace.
		r.uid, r.gid = int(b.IDs.HostUID), int(b.IDs.HostGID)
	}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	r.own(r.dir)
	for _, dir := range []string{hostTree, emptyDir, "/proc", "/dev"} {
		r.folder(dir)
	}
	for n, m := range staging {
		if m.File { // a file mounts on a file only
			r.file(staged(n), "", 0o644)
		} else {
			r.folder(staged(n))
		}
	}
	for _, l := range []Link{
		{"/dev/ptmx", "pts/ptmx"}, {"/dev/fd", "/proc/self/fd"}, {"/dev/stdin", "/proc/self/fd/0"},
		{"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
	} {
		r.link(l)
	}
	return r, r.err
}

// fill makes the rest: symlinks, generated files, and a mount point for each mount.
// In the jail the root is read-only by now; out here it is a folder like any other.
func (r *rootfs) fill(p *Plan, cabundle string) error {
	for _, l := range p.Links {
		r.link(l)
	}
	// Mounts come outer first, so what lies below one of them is not made here: it
	// would be hidden under it (below a tmpfs, PID 1 makes it).
	below := map[string]bool{}
	for _, m := range p.Mounts {
		if hasParent(below, m.Target) {
			continue
		}
		below[m.Target] = true
		if m.File {
			r.file(m.Target, "", 0o644)
		} else {
			r.folder(m.Target)
		}
	}
	for _, dir := range []string{"/run", "/sys", "/root", "/var"} {
		r.folder(dir)
	}
	for _, f := range p.Files {
		r.file(f.Path, f.Content, f.Mode)
	}
	for _, path := range p.Served {
		r.socket(path)
	}
	if cabundle != "" && r.err == nil {
		r.err = os.WriteFile(filepath.Join(p.Scratch, "ca-certificates.crt"), []byte(cabundle), 0o644)
	}
	return r.err
}

func hasParent(set map[string]bool, path string) bool {
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if set[dir] {
			return true
		}
	}
	return false
}

// rootfs makes things below dir and keeps the first error.
type rootfs struct {
	dir      string
	made     map[string]bool // folders
	uid, gid int             // -1: as they are
	sockets  []*os.File
	err      error
}

func (r *rootfs) own(path string) {
	if r.uid >= 0 && r.err == nil {
		r.err = os.Lchown(path, r.uid, r.gid)
	}
}

func (r *rootfs) folder(path string) {
	path = filepath.Clean(path)
	if r.made[path] || r.err != nil {
		return
	}
	r.folder(filepath.Dir(path))
	if r.err != nil {
		return
	}
	full := r.dir + path
	r.err = os.Mkdir(full, 0o755)
	if errors.Is(r.err, fs.ErrExist) {
		if info, err := os.Lstat(full); err == nil && !info.IsDir() {
			r.err = fmt.Errorf("the jail's %s would be a link and a folder", path)
		} else {
			r.err = err
		}
	}
	r.own(full)
	r.made[path] = true
}

func (r *rootfs) link(l Link) {
	r.folder(filepath.Dir(l.Path))
	if r.err != nil {
		return
	}
	if r.err = os.Symlink(l.Target, r.dir+l.Path); errors.Is(r.err, fs.ErrExist) {
		r.err = nil // two grants went through the same link
	}
	r.own(r.dir + l.Path)
}

func (r *rootfs) file(path, content string, mode uint32) {
	r.folder(filepath.Dir(path))
	if r.err != nil {
		return
	}
	full := r.dir + path
	f, err := os.OpenFile(full, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, fs.FileMode(mode))
	if errors.Is(err, fs.ErrExist) && content == "" {
		return
	}
	if err != nil {
		r.err = err
		return
	}
	if content != "" {
		_, r.err = f.WriteString(content)
	}
	if cerr := f.Close(); r.err == nil {
		r.err = cerr
	}
	r.own(full)
}

// socketBacklog is how many clients of a socket wait to be accepted.
const socketBacklog = 64

// socket makes a listening Unix socket. Whoever may connect to one is who may write to
// its file (unix(7)); in the jail that is everybody, and outside of it nobody comes to
// the folder.
func (r *rootfs) socket(path string) {
	r.folder(filepath.Dir(path))
	if r.err != nil {
		return
	}
	r.err = r.listen(path)
	r.own(r.dir + path)
}

func (r *rootfs) listen(path string) error {
	dir, err := unix.Open(r.dir+filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	// By the folder's descriptor: a socket's path has at most 107 bytes (unix(7)).
	short := fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(path))
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	if err == nil {
		err = unix.Listen(fd, socketBacklog)
	}
	if err == nil {
		err = unix.Fchmodat(dir, filepath.Base(path), 0o666, 0)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("make the socket %s: %w", path, err)
	}
	r.sockets = append(r.sockets, f)
	return nil
}
