package jail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// maxSockets bounds the masks: each is a mount.
const maxSockets = 1000

// lookForSockets finds the sockets in what will be shown as the host's own folders.
// A walk finds them whoever made them (a container's, too); the kernel's list finds
// those in folders that the caller can't list, of its own network namespace.
func (f *Facts) lookForSockets(s *profiles.Spec) error {
	folders := f.socketFolders(s)
	found := map[string]bool{}
	if len(folders.live) > 0 || len(folders.static) > 0 {
		listed, err := os.ReadFile("/proc/net/unix")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for path := range boundSockets(listed) {
			if !inAny(path, folders.live) && !inAny(path, folders.static) {
				continue
			}
			// Gone, renamed, or behind a link: the walk finds it where it is.
			if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
				found[path] = true
			}
		}
	}
	slices.Sort(folders.live)
	w := socketWalk{found: found}
	for i, dir := range folders.live {
		if inAny(dir, folders.live[:i]) {
			continue
		}
		d, err := os.Open(dir)
		if err != nil {
			continue // the caller can't list it, so the agent can't either
		}
		if err := w.folder(d, dir); err != nil {
			return err
		}
	}
	if len(found) > maxSockets {
		return fmt.Errorf("the folders that the profile lets the agent write to hold %d Unix sockets, and each needs a mask\nhint: name the folders below them that the agent needs", len(found))
	}
	for path := range found {
		f.Sockets = append(f.Sockets, path)
	}
	slices.Sort(f.Sockets)
	return nil
}

func inAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
}

// boundSockets are the absolute paths in /proc/net/unix (proc_net(5)): "Num RefCount
// Protocol Flags Type St Inode Path", with a "@" before abstract names.
func boundSockets(table []byte) map[string]bool {
	paths := map[string]bool{}
	for line := range bytes.Lines(table) {
		if _, path, ok := bytes.Cut(line, []byte(" /")); ok {
			paths[filepath.Clean("/"+strings.TrimSuffix(string(path), "\n"))] = true
		}
	}
	return paths
}

// socketWalk looks at the types that folders list, and needs no stat of any file.
type socketWalk struct {
	found map[string]bool
	seen  int
}

// folder owns dir and closes it.
func (w *socketWalk) folder(dir *os.File, path string) error {
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(512)
		for _, e := range entries {
			if w.seen++; w.seen > maxScanned {
				return fmt.Errorf("%s holds more than %d files\nhint: name a smaller folder", path, maxScanned)
			}
			switch {
			case e.Type()&fs.ModeSocket != 0:
				w.found[filepath.Join(path, e.Name())] = true
			case e.IsDir():
				fd, err := unix.Openat(int(dir.Fd()), e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
				if err != nil {
					continue // gone, or closed to the caller and so to the agent
				}
				if err := w.folder(os.NewFile(uintptr(fd), e.Name()), filepath.Join(path, e.Name())); err != nil {
					return err
				}
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return &os.PathError{Op: "list", Path: path, Err: err}
		}
	}
}

// markCovers notes which places have something else mounted below them: the kernel
// lets no user namespace look at what that covers, so such a folder can't be an
// overlay's layer (has_locked_children in fs/namespace.c).
func (f *Facts) markCovers(mountinfo []byte) {
	points := mountPoints(mountinfo)
	covers := func(p *Place) {
		p.Covers = p.Dir && slices.ContainsFunc(points, func(m string) bool { return m != p.Real && within(m, p.Real) })
	}
	for from, p := range f.Seeds {
		covers(&p)
		f.Seeds[from] = p
	}
	for _, places := range f.Paths {
		for i := range places {
			covers(&places[i])
		}
	}
	covers(&f.Workspace)
}

// mountPoints is the fifth column of a mountinfo, whose blanks and backslashes are
// written in octal (proc_pid_mountinfo(5)).
func mountPoints(mountinfo []byte) []string {
	var points []string
	for line := range strings.Lines(string(mountinfo)) {
		if fields := strings.Split(line, " "); len(fields) > 4 { // other white space may be in a name
			points = append(points, unescapeOctal(fields[4]))
		}
	}
	return points
}

func unescapeOctal(s string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+4 > len(s) {
			b.WriteString(s)
			return b.String()
		}
		n, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
		if err != nil {
			b.WriteString(s[:i+1])
			s = s[i+1:]
			continue
		}
		b.WriteString(s[:i])
		b.WriteByte(byte(n))
		s = s[i+4:]
	}
}
