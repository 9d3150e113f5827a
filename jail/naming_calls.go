package jail

import (
	"bytes"
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// In direct mode each system call that gives a name to something is asked of the
// supervisor (naming.go). Calls that only take names away give none, a file without a name
// (O_TMPFILE) gets one by linkat, and names of other things than files (abstract sockets,
// message queues) are in no folder.
//
// Not every architecture has all of them. open and openat are asked of only where they may
// create, which the filter sees; openat2 has its flags behind a pointer.
var namingCalls = []string{"bind", "creat", "link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat", "open", "openat", "openat2",
	"rename", "renameat", "renameat2", "symlink", "symlinkat"}

// createFlag is which argument has the flags of a call that creates only with O_CREAT.
var createFlag = map[string]uint{"open": 1, "openat": 2}

// naming is one name that a call would give.
type naming struct {
	folder int32  // the descriptor that the path begins at, or AT_FDCWD
	path   string // as the caller wrote it
	dir    bool   // a folder gets it
	stays  bool   // what has the name already keeps it: it is opened, or the call fails
	follow bool   // a symlink of that name leads on
	inRoot bool   // the folder is the root of the path: RESOLVE_IN_ROOT of openat2(2)
	moved  *naming
}

// namings reads what a call would name from the memory of its caller, who stands still;
// other threads of its process don't. errno is that of a call that the kernel would refuse,
// none with no namings that it gives no name or fails by itself.
func namings(tid int, name string, args [6]uint64) (list []naming, errno unix.Errno) {
	path := func(arg int) string {
		s, e := readPath(tid, args[arg])
		if errno == 0 {
			errno = e
		}
		return s
	}
	at := func(arg int) int32 { return int32(args[arg]) } // the kernel takes an int
	one := func(n naming) ([]naming, unix.Errno) {
		n.stays = true // EEXIST, and open opens it
		return []naming{n}, errno
	}
	opened := func(folder int32, arg int, flags uint64, inRoot bool) ([]naming, unix.Errno) {
		if flags&unix.O_CREAT == 0 {
			return nil, 0
		}
		return one(naming{folder: folder, path: path(arg), follow: flags&(unix.O_EXCL|unix.O_NOFOLLOW) == 0, inRoot: inRoot})
	}
	moved := func(from int32, fromArg int, to int32, toArg int, flags uint64) ([]naming, unix.Errno) {
		a, b := naming{folder: from, path: path(fromArg)}, naming{folder: to, path: path(toArg), stays: flags&unix.RENAME_NOREPLACE != 0}
		if flags&unix.RENAME_EXCHANGE == 0 {
			b.moved = &a
			return []naming{b}, errno
		}
		a2, b2 := a, b
		a.moved, b.moved = &b2, &a2
		return []naming{b, a}, errno
	}
	switch name {
	case "open":
		return opened(unix.AT_FDCWD, 0, args[1], false)
	case "openat":
		return opened(at(0), 1, args[2], false)
	case "creat":
		return opened(unix.AT_FDCWD, 0, unix.O_CREAT, false)
	case "openat2":
		var how [24]byte // struct open_how: flags, mode, resolve
		if args[3] < uint64(len(how)) {
			return nil, unix.EINVAL
		}
		if readMemory(tid, args[2], how[:]) != len(how) {
			return nil, unix.EFAULT
		}
		resolve := binary.NativeEndian.Uint64(how[16:])
		return opened(at(0), 1, binary.NativeEndian.Uint64(how[:]), resolve&unix.RESOLVE_IN_ROOT != 0)
	case "mkdir":
		return one(naming{folder: unix.AT_FDCWD, path: path(0), dir: true})
	case "mkdirat":
		return one(naming{folder: at(0), path: path(1), dir: true})
	case "mknod":
		return one(naming{folder: unix.AT_FDCWD, path: path(0)})
	case "mknodat":
		return one(naming{folder: at(0), path: path(1)})
	case "symlink", "link":
		return one(naming{folder: unix.AT_FDCWD, path: path(1)})
	case "symlinkat":
		return one(naming{folder: at(1), path: path(2)})
	case "linkat":
		return one(naming{folder: at(2), path: path(3)})
	case "rename":
		return moved(unix.AT_FDCWD, 0, unix.AT_FDCWD, 1, 0)
	case "renameat":
		return moved(at(0), 1, at(2), 3, 0)
	case "renameat2":
		return moved(at(0), 1, at(2), 3, args[4])
	case "bind":
		sock, e := boundPath(tid, args)
		if sock == "" {
			return nil, e
		}
		return one(naming{folder: unix.AT_FDCWD, path: sock})
	}
	return nil, 0
}

// readPath reads a path as getname does (fs/namei.c): with what the kernel says where there
// is none.
func readPath(tid int, addr uint64) (string, unix.Errno) {
	var out []byte
	for len(out) < maxPath {
		chunk := make([]byte, min(pageSize-int(addr%pageSize), maxPath-len(out), 256))
		n := readMemory(tid, addr, chunk)
		if n == 0 {
			return "", unix.EFAULT
		}
		if i := bytes.IndexByte(chunk[:n], 0); i >= 0 {
			return string(append(out, chunk[:i]...)), 0
		}
		out = append(out, chunk[:n]...)
		addr += uint64(n)
	}
	return "", unix.ENAMETOOLONG
}

// boundPath is the path that bind would make a socket at; "" of any other address, and of
// one without a name (unix(7)).
func boundPath(tid int, args [6]uint64) (string, unix.Errno) {
	const header = 2 // sa_family_t
	size := min(uint64(uint32(args[2])), unix.SizeofSockaddrUnix)
	if size <= header {
		return "", 0
	}
	buf := make([]byte, size)
	if readMemory(tid, args[1], buf) != len(buf) {
		return "", unix.EFAULT
	}
	if binary.NativeEndian.Uint16(buf) != unix.AF_UNIX {
		return "", 0
	}
	path, _, _ := strings.Cut(string(buf[header:]), "\x00")
	return path, 0
}
