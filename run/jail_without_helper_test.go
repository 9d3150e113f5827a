package run_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// withoutMain makes a host that lacks something and then becomes the program behind
// "--". Its arguments say what is lacking:
//
//	run                   /run is a fresh tmpfs (needed where we are root of a user namespace only)
//	sysctl:NAME=VALUE     a setting of the user namespace that we are in
//	mask:PATH             PATH is covered by /dev/null, as container engines cover parts of /proc
//	overlays:PATH         PATH lies on an overlay of an overlay, which is as deep as the kernel goes
//	readonly:PATH         PATH and what is mounted below can't be written
//	hide:PATH             PATH is an empty folder
//	devices               /dev has what a container's has
//	chroot:PATH           PATH, which has the host's folders in it, is the root
//	tiny:PATH=SIZE        PATH is an empty file system of that size
//	deny:CALL             a system call answers with an error; see denials
func withoutMain(args []string) int {
	fail := func(what string, err error) int {
		fmt.Fprintf(os.Stderr, "without: %s: %v\n", what, err)
		return 98
	}
	var filter []unix.SockFilter
	for len(args) > 0 && args[0] != "--" {
		kind, arg, _ := strings.Cut(args[0], ":")
		args = args[1:]
		var err error
		switch kind {
		case "run":
			err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
		case "sysctl":
			name, value, _ := strings.Cut(arg, "=")
			err = os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
		case "mask":
			err = unix.Mount("/dev/null", arg, "", unix.MS_BIND, "")
		case "readonly":
			err = makeReadOnly(arg)
		case "hide":
			err = unix.Mount("tmpfs", arg, "tmpfs", 0, "mode=0755")
		case "tiny":
			path, size, _ := strings.Cut(arg, "=")
			err = unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0700,size="+size)
		case "devices":
			err = fewDevices()
		case "chroot":
			err = enterChroot(arg)
		case "overlays":
			err = stackOverlays(arg)
		case "deny":
			program := denials[arg]
			if arg == "docker" {
				program = dockerDefault()
			}
			filter = append(filter, program...)
			if program == nil {
				err = fmt.Errorf("no such denial")
			}
		default:
			err = fmt.Errorf("no such lack")
		}
		if err != nil {
			return fail(kind+":"+arg, err)
		}
	}
	if len(args) < 2 {
		return fail("usage", fmt.Errorf("no command"))
	}
	// The filter is this thread's, and exec makes it the process's.
	runtime.LockOSThread()
	if len(filter) > 0 {
		if err := load(filter); err != nil {
			return fail("seccomp", err)
		}
	}
	return fail(args[1], unix.Exec(args[1], args[1:], os.Environ()))
}

// stackOverlays mounts an overlay of an overlay on a folder: one more is refused
// (FILESYSTEM_MAX_STACK_DEPTH is 2).
func stackOverlays(dir string) error {
	for i := range 2 {
		layers := filepath.Join(filepath.Dir(dir), "layers"+strconv.Itoa(i))
		if err := os.Mkdir(layers, 0o700); err != nil {
			return err
		}
		// An upper layer on another file system than the one below.
		if err := unix.Mount("tmpfs", layers, "tmpfs", 0, ""); err != nil {
			return err
		}
		for _, d := range []string{"upper", "work"} {
			if err := os.Mkdir(filepath.Join(layers, d), 0o700); err != nil {
				return err
			}
		}
		opts := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%[2]s/work,userxattr", dir, layers)
		if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
			return err
		}
	}
	return nil
}

// denials are seccomp programs that refuse one call each and fall through for the
// rest. Offsets are those of struct seccomp_data: nr at 0, the low half of the n-th
// argument at 16+8n on a little-endian machine.
var denials = map[string][]unix.SockFilter{
	"landlock_create_ruleset": denyCall(unix.SYS_LANDLOCK_CREATE_RULESET, unix.EOPNOTSUPP),
	"landlock_add_rule":       denyCall(unix.SYS_LANDLOCK_ADD_RULE, unix.EPERM),
	"landlock_restrict_self":  denyCall(unix.SYS_LANDLOCK_RESTRICT_SELF, unix.EPERM),
	"seccomp":                 denyCall(unix.SYS_SECCOMP, unix.ENOSYS),
	"seccomp:listener":        denyArg(unix.SYS_SECCOMP, 1, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, unix.EINVAL),
	"unshare":                 denyCall(unix.SYS_UNSHARE, unix.EPERM),
	"clone:newuser":           denyArg(unix.SYS_CLONE, 0, unix.CLONE_NEWUSER, unix.CLONE_NEWUSER, unix.EPERM),
	"mount":                   denyCall(unix.SYS_MOUNT, unix.EPERM),
	"open_tree":               denyCall(unix.SYS_OPEN_TREE, unix.ENOSYS),
	"move_mount":              denyCall(unix.SYS_MOVE_MOUNT, unix.ENOSYS),
	"mount_setattr":           denyCall(unix.SYS_MOUNT_SETATTR, unix.ENOSYS),
	"openat2":                 denyCall(unix.SYS_OPENAT2, unix.ENOSYS),
	"pivot_root":              denyCall(unix.SYS_PIVOT_ROOT, unix.EPERM),
	"keyctl":                  denyCall(unix.SYS_KEYCTL, unix.EPERM),
	"umount2":                 denyCall(unix.SYS_UMOUNT2, unix.EPERM),
	"netlink:netfilter":       denyArg(unix.SYS_SOCKET, 2, 0xff, unix.NETLINK_NETFILTER, unix.EPROTONOSUPPORT),
	"bind":                    denyCall(unix.SYS_BIND, unix.EACCES),
	"capset":                  denyCall(unix.SYS_CAPSET, unix.EPERM),
	"prctl:no_new_privs":      denyArg(unix.SYS_PRCTL, 0, 0xffffffff, unix.PR_SET_NO_NEW_PRIVS, unix.EPERM),
	"prctl:capbset_drop":      denyArg(unix.SYS_PRCTL, 0, 0xffffffff, unix.PR_CAPBSET_DROP, unix.EPERM),
	// What a host that runs out of something answers.
	"pipe2:ENFILE":           denyCall(unix.SYS_PIPE2, unix.ENFILE),
	"socketpair:ENFILE":      denyCall(unix.SYS_SOCKETPAIR, unix.ENFILE),
	"memfd_create:ENFILE":    denyCall(unix.SYS_MEMFD_CREATE, unix.ENFILE),
	"pidfd_open:EMFILE":      denyCall(unix.SYS_PIDFD_OPEN, unix.EMFILE),
	"accept4:EMFILE":         denyCall(unix.SYS_ACCEPT4, unix.EMFILE),
	"mkdirat:ENOSPC":         denyCall(unix.SYS_MKDIRAT, unix.ENOSPC),
	"renameat:ENOSPC":        denyCall(unix.SYS_RENAMEAT, unix.ENOSPC),
	"ftruncate:ENOSPC":       denyCall(unix.SYS_FTRUNCATE, unix.ENOSPC),
	"fsync:EIO":              denyCall(unix.SYS_FSYNC, unix.EIO),
	"fdatasync:EIO":          denyCall(unix.SYS_FDATASYNC, unix.EIO),
	"flock:ENOLCK":           denyCall(unix.SYS_FLOCK, unix.ENOLCK),
	"process_vm_readv:EPERM": denyCall(unix.SYS_PROCESS_VM_READV, unix.EPERM),

	"setxattr": denyCall(unix.SYS_SETXATTR, unix.EOPNOTSUPP), // as a file system without attributes
	"nothing":  denyCall(4095, unix.EPERM),
}

const (
	bpfLoad  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfAnd   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	bpfRet   = unix.BPF_RET | unix.BPF_K
)

func denyCall(nr int, errno unix.Errno) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: bpfLoad, K: 0},
		{Code: bpfEqual, Jf: 1, K: uint32(nr)},
		{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
	}
}

func denyArg(nr int, arg, mask, value uint32, errno unix.Errno) []unix.SockFilter {
	return []unix.SockFilter{
		{Code: bpfLoad, K: 0},
		{Code: bpfEqual, Jf: 4, K: uint32(nr)},
		{Code: bpfLoad, K: 16 + 8*arg},
		{Code: bpfAnd, K: mask},
		{Code: bpfEqual, Jf: 1, K: value},
		{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
	}
}

func load(filter []unix.SockFilter) error {
	filter = append(filter, unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ALLOW})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}
