package jail

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Use is what a program wanted of a path.
type Use string

// The uses. Look is to ask whether a path is there, and for what it is.
const (
	UseLook   Use = "look"
	UseRead   Use = "read"
	UseList   Use = "list"
	UseWrite  Use = "write"
	UseCreate Use = "create" // to make it, where it need not be there
	UseExec   Use = "exec"
	UseSocket Use = "socket" // to connect to it
)

// place says which arguments of a call name a path: the folder that it begins at
// (noFolder: the working folder), and where its text lies.
type place struct{ folder, path int }

const noFolder = -1

// fileCall is one call that a learning run's supervisor looks at.
type fileCall struct {
	places []place
	use    func(tid int, args [6]uint64) Use
}

// watches are the calls that name files, by their names (syscalls(2)). Calls on
// descriptors need no watching: whoever holds one has been let in.
func watches() map[string]fileCall {
	always := func(u Use) func(int, [6]uint64) Use { return func(int, [6]uint64) Use { return u } }
	one := func(u Use, folder, path int) fileCall { return fileCall{[]place{{folder, path}}, always(u)} }
	opens := func(folder, path, flags int) fileCall {
		return fileCall{[]place{{folder, path}}, func(_ int, args [6]uint64) Use { return openUse(args[flags]) }}
	}
	w := map[string]fileCall{
		"open":   opens(noFolder, 0, 1),
		"openat": opens(0, 1, 2),
		"openat2": {[]place{{0, 1}}, func(tid int, args [6]uint64) Use {
			var how [8]byte // flags is the first member of struct open_how, openat2(2)
			readMemory(tid, args[2], how[:])
			return openUse(binary.NativeEndian.Uint64(how[:]))
		}},
		"creat":   one(UseCreate, noFolder, 0),
		"connect": {use: always(UseSocket)},
		"statx":   one(UseLook, 0, 1),

		"link": one(UseCreate, noFolder, 1), "linkat": one(UseCreate, 2, 3),
		"symlink": one(UseCreate, noFolder, 1), "symlinkat": one(UseCreate, 1, 2),
		"rename":    {[]place{{noFolder, 0}, {noFolder, 1}}, always(UseCreate)},
		"renameat":  {[]place{{0, 1}, {2, 3}}, always(UseCreate)},
		"renameat2": {[]place{{0, 1}, {2, 3}}, always(UseCreate)},
	}
	for _, name := range []string{"stat", "lstat", "access", "readlink", "statfs", "chdir", "getxattr", "lgetxattr", "listxattr", "llistxattr"} {
		w[name] = one(UseLook, noFolder, 0)
	}
	for _, name := range []string{"newfstatat", "faccessat", "faccessat2", "readlinkat"} {
		w[name] = one(UseLook, 0, 1)
	}
	for _, name := range []string{"rmdir", "unlink", "chmod", "chown", "lchown", "utime", "utimes", "truncate", "setxattr", "lsetxattr", "removexattr", "lremovexattr"} {
		w[name] = one(UseWrite, noFolder, 0)
	}
	for _, name := range []string{"unlinkat", "fchmodat", "fchmodat2", "fchownat", "futimesat", "utimensat"} {
		w[name] = one(UseWrite, 0, 1)
	}
	for _, name := range []string{"mkdir", "mknod"} {
		w[name] = one(UseCreate, noFolder, 0)
	}
	for _, name := range []string{"mkdirat", "mknodat"} {
		w[name] = one(UseCreate, 0, 1)
	}
	return w
}

func watchedCalls() []string { return slices.Sorted(maps.Keys(watches())) }

// openUse reads open(2)'s flags.
func openUse(flags uint64) Use {
	switch {
	case flags&unix.O_PATH != 0:
		return UseLook
	case flags&unix.O_TMPFILE == unix.O_TMPFILE, flags&unix.O_CREAT != 0:
		return UseCreate
	case flags&unix.O_ACCMODE != unix.O_RDONLY, flags&unix.O_TRUNC != 0:
		return UseWrite
	case flags&unix.O_DIRECTORY != 0:
		return UseList
	}
	return UseRead
}

// callNumber is a call's number on this architecture, if it has it.
func callNumber(name string) (int32, bool) {
	if n, ok := numberedCalls[name]; ok {
		return int32(n), true
	}
	n, err := seccomp.GetSyscallFromName(name)
	return int32(n), err == nil && n >= 0
}

// callName is the name of a call by its number.
func callName(nr int32) string {
	for name, n := range numberedCalls {
		if int32(n) == nr {
			return name
		}
	}
	name, err := seccomp.ScmpSyscall(nr).GetName()
	if err != nil {
		return fmt.Sprintf("call %d", nr)
	}
	return name
}

// callDetail says of a refused call what of its arguments it was refused for.
func callDetail(name string, args [6]uint64) string {
	switch name {
	case "socket", "socketpair":
		return fmt.Sprintf("family %d type %d protocol %d", uint32(args[0]), uint32(args[1])&0xf, uint32(args[2]))
	case "clone", "unshare":
		return fmt.Sprintf("flags %#x", args[0])
	case "ioctl":
		return fmt.Sprintf("request %#x", uint32(args[1]))
	case "personality":
		return fmt.Sprintf("%#x", uint32(args[0]))
	}
	return ""
}
