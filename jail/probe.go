package jail

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"unsafe"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// initUserNS is the inode of the initial user namespace, PROC_USER_INIT_INO of
// include/linux/proc_ns.h. "uid is 0" says nothing: it is so in a container too.
const initUserNS = 0xEFFFFFFD

// neededCaps are what the root mode uses: mounts and namespaces, mapping a range
// of ids, reading and wiping what the range owns, cgroups.
var neededCaps = []int{
	unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN,
	unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_SETFCAP, unix.CAP_SYS_PTRACE, unix.CAP_KILL,
}

// Probe finds out what this host can do, by trying where trying is cheap (under a
// millisecond in all). What only a jail can show, Start finds out.
func Probe() (Features, error) {
	f := Features{KnownCall: knownCall}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return f, os.NewSyscallError("uname", err)
	}
	f.Kernel = string(bytes.TrimRight(uts.Release[:], "\x00"))

	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/user", &st); err != nil {
		return f, &LayerError{Layer: "user namespace", Err: errors.New("this kernel has no user namespaces, or /proc is not mounted"),
			Hint: "it needs CONFIG_USER_NS and a mounted /proc"}
	}
	f.Nested = st.Ino != initUserNS
	caps, err := effectiveCaps()
	if err != nil {
		return f, err
	}
	f.Privileged = !f.Nested
	for _, c := range neededCaps {
		f.Privileged = f.Privileged && caps&(1<<c) != 0
	}
	if abi, err := ll.LandlockGetABIVersion(); err == nil {
		f.LandlockABI = abi
	}
	f.SeccompNotify = seccompNotify()
	f.TmpfsXattr = tmpfsXattr()
	f.Cgroup, f.CgroupWhy = probeCgroup(f.Privileged)
	return f, nil
}

func effectiveCaps() (uint64, error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if err := unix.Capget(&h, &d[0]); err != nil {
		return 0, os.NewSyscallError("capget", err)
	}
	return uint64(d[1].Effective)<<32 | uint64(d[0].Effective), nil
}

// seccompNotify asks whether a filter may answer SECCOMP_RET_USER_NOTIF.
func seccompNotify() bool {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	runtime.KeepAlive(&action)
	return errno == 0
}

// tmpfsXattr tries a user.* attribute on a memfd, which is a file of the kernel's
// own tmpfs: an overlay in a user namespace keeps its marks in such attributes.
// Older kernels mount the overlay all the same and then answer EIO to the removal
// of a lower folder.
func tmpfsXattr() bool {
	fd, err := unix.MemfdCreate("agentjail-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Fsetxattr(fd, "user.agentjail", []byte("y"), 0) == nil
}

// probeCgroup says what can hold limits. A user's own systemd is asked only when a
// limit needs it, by Start.
func probeCgroup(privileged bool) (CgroupKind, string) {
	v2 := cgroups.IsCgroup2UnifiedMode()
	switch {
	case privileged && v2:
		return CgroupV2, ""
	case privileged:
		if data, err := os.ReadFile("/proc/cgroups"); err != nil || !bytes.Contains(data, []byte("memory")) {
			return CgroupNone, "this kernel offers no cgroup controllers"
		}
		if unix.Access("/sys/fs/cgroup/memory", unix.W_OK) != nil {
			return CgroupNone, "/sys/fs/cgroup is not mounted or not writable"
		}
		return CgroupV1, ""
	case !v2:
		return CgroupNone, "an ordinary user gets limits only from cgroup v2, and this host has v1 (boot with systemd.unified_cgroup_hierarchy=1)"
	}
	if os.Getenv("DBUS_SESSION_BUS_ADDRESS") == "" && !exists(os.Getenv("XDG_RUNTIME_DIR")+"/bus") {
		return CgroupNone, "there is no systemd user session to delegate one (log in through systemd, or run loginctl enable-linger)"
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || !strings.Contains(string(data), "/user.slice/") {
		return CgroupNone, "this process is not in a systemd user session's cgroup"
	}
	return CgroupSystemd, ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
