package jail

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLooked bounds the descriptors that one sample looks at.
const maxLooked = 20_000

// Unmapped is memory that no process's resident set shows: files of the jail's file
// systems in memory, and memfds that are not mapped. Pipes and sockets hold more, which
// the kernel bounds for each user (pipe(7), pipe-user-pages-soft).
func (j *Jail) Unmapped() int64 {
	var total int64
	root := "/proc/" + strconv.Itoa(j.initPID) + "/root"
	seen := map[uint64]bool{}
	used := func(fs unix.Statfs_t, err error, dev uint64) {
		if err == nil && fs.Type == unix.TMPFS_MAGIC && !seen[dev] {
			seen[dev] = true
			total += int64(fs.Blocks-fs.Bfree) * fs.Bsize
		}
	}
	for _, m := range j.plan.Mounts {
		if m.Kind != MountTmpfs || !m.Writable {
			continue
		}
		var fs unix.Statfs_t
		var st unix.Stat_t
		// What the path leads to now may be the agent's choice; then it is no mount of a
		// tmpfs that was not counted, or one of the host's, which is too much.
		fd, err := unix.Open(root+m.Target, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if err = unix.Fstat(fd, &st); err == nil {
			err = unix.Fstatfs(fd, &fs)
		}
		unix.Close(fd)
		used(fs, err, uint64(st.Dev)) //nolint:unconvert // Dev is 32 bits wide elsewhere
	}
	if j.Upper != nil {
		var fs unix.Statfs_t
		var st unix.Stat_t
		err := unix.Fstat(int(j.Upper.Fd()), &st)
		if err == nil {
			err = unix.Fstatfs(int(j.Upper.Fd()), &fs)
		}
		used(fs, err, uint64(st.Dev)) //nolint:unconvert // as above
	}
	return total + j.memfds()
}

// memfds are the pages of files that have no name, each once.
func (j *Jail) memfds() (total int64) {
	type file struct{ dev, ino uint64 }
	seen := map[file]bool{}
	looked := 0
	for _, pid := range descendants(j.initPID)[1:] {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // ended meanwhile
		}
		for _, e := range entries {
			if looked++; looked > maxLooked {
				return total
			}
			path := filepath.Join(dir, e.Name())
			if to, err := os.Readlink(path); err != nil || !strings.HasPrefix(to, "/memfd:") {
				continue
			}
			var st unix.Stat_t
			if unix.Stat(path, &st) != nil {
				continue
			}
			f := file{uint64(st.Dev), st.Ino} //nolint:unconvert // as above
			if !seen[f] {
				seen[f] = true
				total += st.Blocks * 512 // stat(2): in units of 512 bytes
			}
		}
	}
	return total
}
