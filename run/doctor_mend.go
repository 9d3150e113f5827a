package run

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hostFacts are what the host says of itself that explains why a layer does not
// work. Nothing is decided by them, least of all that a layer works: that is found
// out by trying.
type hostFacts struct {
	UID        int
	User       string
	Exe        string            // path of this binary
	Kernel     string            // release
	Sysctls    map[string]string // of sysctlNames, those that there are
	LSMs       string            // /sys/kernel/security/lsm
	Container  string            // "docker", "podman" ...; empty outside
	Seccomp    bool              // a filter of somebody else's is on us
	Chroot     bool
	ProcMasked []string // mounts over parts of /proc
	Systemd    bool
	CgroupV2   bool
	Nested     bool // in a user namespace that maps a part of the ids only
}

// sysctlNames are the switches that distributions turn user namespaces off with.
var sysctlNames = []string{
	sysctlAppArmor,    // Ubuntu 23.10 and later
	sysctlUserNSClone, // Debian before 11, and kernels with its patch
	sysctlMaxUserNS,   // every kernel since 4.9
	"user.max_mnt_namespaces", "user.max_pid_namespaces", "user.max_net_namespaces",
	"user.max_ipc_namespaces", "user.max_uts_namespaces", "user.max_cgroup_namespaces",
}

const (
	sysctlAppArmor    = "kernel.apparmor_restrict_unprivileged_userns"
	sysctlUserNSClone = "kernel.unprivileged_userns_clone"
	sysctlMaxUserNS   = "user.max_user_namespaces"
)

// Names of the layers, as doctor lists them and as jail.LayerError has them.
const (
	layerUser      = "user namespace"
	layerInner     = "inner user namespace"
	layerMount     = "mount namespace"
	layerPID       = "pid namespace"
	layerNet       = "network namespace"
	layerIPC       = "ipc namespace"
	layerUTS       = "uts namespace"
	layerCgroupNS  = "cgroup namespace"
	layerProc      = "proc"
	layerOverlay   = "overlay"
	layerOverlayOn = "overlay on disk"
	layerLandlock  = "landlock"
	layerSeccomp   = "seccomp"
	layerNetwork   = "network"
	layerRedirect  = "network redirect"
	layerGateway   = "gateway"
	layerCgroup    = "cgroup"
	layerUIDs      = "host uid range"
	layerIDMap     = "idmapped mount"
	layerTerminal  = "terminal"
	layerState     = "state folder"
)

// cause is why a layer does not work, and the exact mend: commands and the text of
// files, a line each.
type cause struct {
	Why  string
	Mend []string
}

func (c cause) hint() string { return strings.Join(c.Mend, "\n") }

// diagnose says why a layer failed with an error on a host. It is pure; its table is
// what doctor and run both print. No Mend means that nobody knows one.
func diagnose(layer string, err error, f hostFacts) cause {
	switch layer {
	case layerUser, layerInner:
		return diagnoseUserNS(layer, err, f)
	case layerMount, layerPID, layerNet, layerIPC, layerUTS, layerCgroupNS, layerTerminal, "container", "file view", "session keyring":
		return diagnoseNamespace(layer, err, f)
	case layerProc:
		return diagnoseProc(err, f)
	case layerOverlay, layerOverlayOn:
		return diagnoseOverlay(layer, err, f)
	case layerLandlock:
		return diagnoseLandlock(err, f)
	case layerSeccomp:
		return diagnoseSeccomp(err, f)
	case layerNetwork, layerRedirect:
		return diagnoseNetwork(layer, err, f)
	case layerCgroup:
		return diagnoseCgroup(f)
	case layerIDMap:
		return cause{"the file system of this folder can't be mounted with other owners (" + errText(err) + ")", []string{
			"work in a folder on ext4, xfs, btrfs or, since Linux 6.3, tmpfs; or run agentjail as an ordinary user, who needs no such mount",
		}}
	}
	return cause{Why: errText(err)}
}

func errText(err error) string {
	if err == nil {
		return "it failed without an error"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// refusedBy recognises the answers of whoever forbids something; EACCES is an LSM's.
func refusedBy(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }

func diagnoseUserNS(layer string, err error, f hostFacts) cause {
	switch {
	// user_namespaces(7): ENOSPC past a limit of user.max_*, or nested 32 deep;
	// EUSERS said the same before Linux 4.9.
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		// libcontainer makes all of them at once: which one is short, the host says.
		for _, n := range []struct{ sysctl, what string }{
			{"user.max_mnt_namespaces", layerMount}, {"user.max_pid_namespaces", layerPID}, {"user.max_net_namespaces", layerNet},
			{"user.max_ipc_namespaces", layerIPC}, {"user.max_uts_namespaces", layerUTS}, {"user.max_cgroup_namespaces", layerCgroupNS},
		} {
			if f.Sysctls[n.sysctl] == "0" {
				return tooMany(n.sysctl, n.what+"s", f)
			}
		}
		return tooMany(sysctlMaxUserNS, "user namespaces", f)
	case errors.Is(err, unix.EROFS):
		return cause{"/proc is mounted read-only, and mapping the jail's user means writing to it", containerOr(f,
			"mount -o remount,rw /proc")}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return cause{"this kernel has no user namespaces", []string{"boot a kernel with CONFIG_USER_NS=y"}}
	case !refusedBy(err):
		return cause{Why: errText(err)}
	case f.Sysctls[sysctlUserNSClone] == "0":
		return cause{"the host forbids user namespaces to ordinary users (" + sysctlUserNSClone + "=0)", setSysctl(sysctlUserNSClone, "1")}
	case f.Sysctls[sysctlAppArmor] == "1" && f.UID != 0:
		return cause{"AppArmor lets only programs that have a profile for it make user namespaces (" + sysctlAppArmor + "=1, Ubuntu 23.10 and later)", appArmorMend(f)}
	// user_namespaces(7): EPERM in a chroot, which a new user namespace would allow to
	// leave.
	case f.Chroot:
		return cause{"this is a chroot, in which the kernel forbids user namespaces", []string{"run agentjail outside of it, or enter it as systemd-nspawn or a container do (pivot_root)"}}
	case f.Container != "":
		return cause{"the container that this runs in forbids user namespaces", containerMend(f)}
	case f.Seccomp:
		return cause{"a seccomp filter of somebody else's forbids user namespaces", []string{"start agentjail without that filter (systemd: RestrictNamespaces=no, SystemCallFilter= without @default restrictions)"}}
	case errors.Is(err, unix.EACCES):
		return cause{"a security module of the host (" + knownLSMs(f) + ") forbids user namespaces", []string{"journalctl -k -g 'userns|apparmor|avc' says which rule; allow userns_create (SELinux: user_namespace { create })"}}
	}
	return cause{"the host forbids user namespaces (" + errText(err) + ")", []string{
		"look at sysctl " + sysctlUserNSClone + " " + sysctlAppArmor + " " + sysctlMaxUserNS + "; in a chroot the kernel always forbids them: run agentjail outside of it"}}
}

// tooMany is what a limit on the number of namespaces says.
func tooMany(name, what string, f hostFacts) cause {
	if f.Sysctls[name] == "0" {
		return cause{"the host allows no " + what + " (" + name + "=0)", setSysctl(name, "15000")}
	}
	have := f.Sysctls[name]
	if have == "" {
		have = "not readable here"
	}
	return cause{"every one of the " + what + " that the host allows is in use (" + name + " is " + have + "), or they are nested too deep (32)", setSysctl(name, "15000")}
}

func setSysctl(name, value string) []string {
	return []string{
		fmt.Sprintf("sudo sysctl -w %s=%s", name, value),
		fmt.Sprintf("echo '%s = %s' | sudo tee /etc/sysctl.d/60-agentjail.conf", name, value),
	}
}

// appArmorMend is Ubuntu's own way to allow it to one program
// (https://ubuntu.com/blog/ubuntu-23-10-restricted-unprivileged-user-namespaces).
func appArmorMend(f hostFacts) []string {
	exe := f.Exe
	if strings.ContainsAny(exe, " \t") {
		exe = `"` + exe + `"`
	}
	return []string{
		"sudo tee /etc/apparmor.d/agentjail <<'EOF'",
		"abi <abi/4.0>,",
		"include <tunables/global>",
		"profile agentjail " + exe + " flags=(unconfined) {",
		"  userns,",
		"  include if exists <local/agentjail>",
		"}",
		"EOF",
		"sudo apparmor_parser -r /etc/apparmor.d/agentjail",
	}
}

// containerMend opens what a container engine forbids by default, and nothing of the
// host: agentjail builds its own walls inside.
func containerMend(f hostFacts) []string {
	engine := f.Container
	if engine != "podman" {
		engine = "docker"
	}
	return []string{"start the container with: " + engine + " run --security-opt systempaths=unconfined --security-opt seccomp=unconfined --security-opt apparmor=unconfined ..."}
}

func containerOr(f hostFacts, mend ...string) []string {
	if f.Container != "" {
		return containerMend(f)
	}
	return mend
}

func diagnoseNamespace(layer string, err error, f hostFacts) cause {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		if short, ok := strings.CutSuffix(layer, " namespace"); ok {
			name := map[string]string{"mount": "mnt", "network": "net"}[short]
			if name == "" {
				name = short
			}
			return tooMany("user.max_"+name+"_namespaces", layer+"s", f)
		}
	case errors.Is(err, unix.EINVAL) && strings.HasSuffix(layer, " namespace"):
		return cause{"this kernel has no " + layer, []string{"boot a distribution's kernel: it has all of them"}}
	case refusedBy(err) && f.Sysctls[sysctlAppArmor] == "1" && f.UID != 0:
		// The namespace is made, and AppArmor takes away what it is good for.
		return cause{"AppArmor takes every capability away in a user namespace of a program without a profile (" + sysctlAppArmor + "=1)", appArmorMend(f)}
	case refusedBy(err) && f.Container != "":
		return cause{"the container that this runs in forbids it (" + errText(err) + ")", containerMend(f)}
	case refusedBy(err) && f.Seccomp:
		return cause{"a seccomp filter or security module of somebody else's forbids it (" + errText(err) + ")", nil}
	}
	return cause{Why: errText(err)}
}

func diagnoseProc(err error, f hostFacts) cause {
	switch {
	case refusedBy(err) && len(f.ProcMasked) > 0:
		// mount_too_revealing() of fs/namespace.c: a fresh /proc would show what is hidden.
		return cause{"parts of /proc are mounted over (" + someOf(f.ProcMasked, 3) + "), so the kernel refuses a fresh one", containerOr(f,
			"unmount what lies over parts of /proc: "+someOf(f.ProcMasked, 3))}
	case refusedBy(err):
		return diagnoseNamespace(layerMount, err, f)
	}
	return cause{Why: errText(err)}
}

func diagnoseOverlay(layer string, err error, f hostFacts) cause {
	direct := `or let the agent write to the folder itself: workspace { mode = "direct" }`
	switch {
	case errors.Is(err, unix.ENODEV):
		return cause{"this kernel has no overlayfs", []string{"sudo modprobe overlay && echo overlay | sudo tee /etc/modules-load.d/agentjail.conf", direct}}
	case refusedBy(err):
		c := diagnoseNamespace(layerMount, err, f)
		if len(c.Mend) == 0 {
			c = cause{"overlayfs can't be mounted in a user namespace (" + errText(err) + ")", []string{"boot Linux 5.11 or later", direct}}
		}
		return c
	case layer == layerOverlay && (errors.Is(err, unix.EIO) || errors.Is(err, unix.EOPNOTSUPP)):
		return cause{"this kernel's tmpfs can't carry an overlay in a user namespace (Linux 6.6 can), so the upper layer goes to the disk", nil}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EIO), errors.Is(err, unix.EOPNOTSUPP):
		return cause{"the file system of the state folder can't carry an upper layer (" + errText(err) + "): an overlay itself, NFS, or one without user.* attributes", []string{
			"put the state on ext4, xfs, btrfs or a volume: export XDG_STATE_HOME=/path/on/it"}}
	}
	return cause{Why: errText(err)}
}

func diagnoseLandlock(err error, f hostFacts) cause {
	lsms := f.LSMs
	if lsms == "" {
		lsms = "capability,yama,apparmor" // what Debian and Ubuntu have
	}
	list := strings.Split(lsms, ",")
	switch {
	// landlock_create_ruleset(2): EOPNOTSUPP where it is built in and not switched on.
	case errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) && f.LSMs != "" && !slices.Contains(list, "landlock"):
		return cause{"Landlock is not among the security modules that this kernel was booted with (" + lsms + ")", []string{
			"add landlock in front, to the kernel's command line: lsm=landlock," + strings.TrimPrefix(lsms, "landlock,"),
			"Debian and Ubuntu: put it into GRUB_CMDLINE_LINUX of /etc/default/grub, then sudo update-grub, then reboot",
		}}
	case errors.Is(err, unix.ENOSYS):
		return cause{"this kernel (" + f.Kernel + ") has no Landlock", []string{"boot Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK=y"}}
	case refusedBy(err):
		return cause{"something forbids Landlock's system calls (" + errText(err) + ")", containerOr(f,
			"start agentjail without the seccomp filter that it is under")}
	}
	return cause{Why: errText(err)}
}

func diagnoseSeccomp(err error, f hostFacts) cause {
	switch {
	// seccomp(2): a second listener in one chain of filters.
	case errors.Is(err, unix.EBUSY):
		return cause{"a supervisor outside already has the notifications of a filter on us, and the kernel allows one", containerOr(f,
			"start agentjail outside of that supervisor (systemd-nspawn, LXD's syscall interception, another agentjail)")}
	case refusedBy(err):
		return cause{"something forbids seccomp(2) (" + errText(err) + ")", containerOr(f, "start agentjail without the filter that it is under")}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return cause{"this kernel (" + f.Kernel + ") has no seccomp notification", []string{"boot Linux 5.5 or later with CONFIG_SECCOMP_FILTER=y"}}
	}
	return cause{Why: errText(err)}
}

// nftModules are what the rules that log need, and what redirects ports above 1023.
const (
	nftModules      = "nf_tables nft_log nfnetlink_log"
	redirectModules = "nft_chain_nat nft_redir nft_ct"
)

func diagnoseNetwork(layer string, err error, f hostFacts) cause {
	text := errText(err)
	modules := nftModules
	if layer == layerRedirect || strings.Contains(text, "nft_redir") {
		modules += " " + redirectModules
	}
	switch {
	case strings.Contains(text, "nftables"):
		if i := strings.Index(text, "; hint:"); i > 0 {
			text = text[:i] // ours says it better
		}
		return cause{"the kernel's nftables lack something: " + text, []string{
			"sudo modprobe -a " + modules,
			"printf '%s\\n' " + modules + " | sudo tee /etc/modules-load.d/agentjail.conf",
		}}
	case refusedBy(err):
		return diagnoseNamespace(layerNet, err, f)
	}
	return cause{Why: text}
}

// diagnoseCgroup says how this user comes to a cgroup. There is no error in it: who
// has none was given none.
func diagnoseCgroup(f hostFacts) cause {
	switch {
	case f.Container != "":
		return cause{"the container that this runs in has no cgroup of its own to divide", []string{
			"limit the container itself (docker run --memory --cpus --pids-limit), or start it with a writable cgroup",
		}}
	case f.UID == 0 && !f.Nested:
		return cause{"/sys/fs/cgroup can't be written", []string{"mount cgroup2: mount -t cgroup2 none /sys/fs/cgroup"}}
	case !f.Systemd:
		return cause{"this host runs no systemd, which would give an ordinary user a cgroup", []string{"run agentjail as root, or do without memory, cpus and processes"}}
	case !f.CgroupV2:
		return cause{"an ordinary user gets limits from cgroup v2 only, and this host has v1", []string{
			"boot with systemd.unified_cgroup_hierarchy=1 (in GRUB_CMDLINE_LINUX of /etc/default/grub, then sudo update-grub, then reboot)"}}
	}
	user := f.User
	if user == "" {
		user = "$USER"
	}
	return cause{"systemd has delegated no cgroup to this user", []string{
		"sudo loginctl enable-linger " + user + ", then log in anew (through login, ssh or a desktop; not su)",
		"sudo mkdir -p /etc/systemd/system/user@.service.d",
		"printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf",
		"sudo systemctl daemon-reload",
	}}
}

func someOf(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
}

func knownLSMs(f hostFacts) string {
	if f.LSMs == "" {
		return "AppArmor, SELinux"
	}
	return f.LSMs
}
