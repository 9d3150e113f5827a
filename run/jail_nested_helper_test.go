package run_test

import (
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// dockerDefault is what matters to a jail in the filter that Docker puts a container
// without CAP_SYS_ADMIN under (moby 24, profiles/seccomp/default_linux.go): an
// allowlist whose default is EPERM, without the calls below; of clone(2) only what
// makes no namespace; and ENOSYS for clone3, so that libcs go on to clone. Version 25
// also took io_uring out.
func dockerDefault() []unix.SockFilter {
	const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	filter := []unix.SockFilter{
		{Code: bpfLoad, K: 0},
		{Code: bpfEqual, Jf: 4, K: unix.SYS_CLONE},
		{Code: bpfLoad, K: 16}, // its flags, the first argument
		{Code: bpfAnd, K: namespaces},
		{Code: bpfEqual, Jt: 1, K: 0},
		{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	}
	filter = append(filter, denyCall(unix.SYS_CLONE3, unix.ENOSYS)...)
	filter = append(filter, denyArg(unix.SYS_SOCKET, 0, 0xffffffff, unix.AF_VSOCK, unix.EPERM)...)
	for _, nr := range append(slices.Clone(dockerWithAdmin), dockerNever...) {
		filter = append(filter, denyCall(nr, unix.EPERM)...)
	}
	return filter
}

// dockerWithAdmin are the calls that its filter allows to who has CAP_SYS_ADMIN.
var dockerWithAdmin = []int{
	unix.SYS_BPF, unix.SYS_FANOTIFY_INIT, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK,
	unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_QUOTACTL, unix.SYS_SETDOMAINNAME, unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
	unix.SYS_UNSHARE,
}

// dockerNever are calls that it allows to nobody, or for capabilities that a container
// has not by default either.
var dockerNever = []int{
	unix.SYS_PIVOT_ROOT, unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY, unix.SYS_USERFAULTFD,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_SWAPON, unix.SYS_REBOOT, unix.SYS_KEXEC_LOAD,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_FCHMODAT2,
}

// dockerMasks and dockerReadOnly are what a container engine hides of /proc and /sys
// and makes read-only (moby 24, oci/defaults.go).
var (
	dockerMasks = []string{"/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
	dockerReadOnly = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// dockerView is the list of lacks that makes them so, as far as the host has them.
func dockerView() (lacks []string) {
	for _, path := range dockerMasks {
		switch info, err := os.Lstat(path); {
		case err != nil:
		case info.IsDir():
			lacks = append(lacks, "hide:"+path)
		default:
			lacks = append(lacks, "mask:"+path)
		}
	}
	for _, path := range dockerReadOnly {
		if _, err := os.Lstat(path); err == nil {
			lacks = append(lacks, "readonly:"+path)
		}
	}
	return lacks
}

// makeReadOnly covers a path with itself, read-only. Recursively: in a user namespace
// what lies below is locked to it (mount_namespaces(7)).
func makeReadOnly(path string) error {
	if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, path, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// enterChroot makes a folder look like the host's root and changes into it, as who
// repairs a system does. The folder itself is no mount point.
func enterChroot(dir string) error {
	entries, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join("/", e.Name()), filepath.Join(dir, e.Name())
		switch {
		case e.Type()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err != nil {
				return err
			}
			err = os.Symlink(target, to)
			if err != nil {
				return err
			}
		case e.IsDir():
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
			if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return err
			}
		}
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	return os.Chdir(cwd)
}

// fewDevices covers /dev with the devices that the OCI runtime specification wants in
// a container (config-linux.md, "Default Devices"); /dev/net is not among them.
func fewDevices() error {
	dir, err := os.MkdirTemp("", "dev")
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		to := filepath.Join(dir, name)
		if err := os.WriteFile(to, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, to, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0",
		"stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for name, kind := range map[string]string{"pts": "devpts", "shm": "tmpfs"} {
		to, opts := filepath.Join(dir, name), ""
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		if kind == "devpts" {
			opts = "newinstance,ptmxmode=0666"
		}
		if err := unix.Mount(kind, to, kind, 0, opts); err != nil {
			return err
		}
	}
	return unix.Mount(dir, "/dev", "", unix.MS_MOVE, "")
}
