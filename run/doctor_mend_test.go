package run

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
)

// Each known cause, as the kernel or the container engine answers it.
func TestDiagnose(t *testing.T) {
	ordinary := hostFacts{UID: 1000, User: "ann", Exe: "/usr/local/bin/agentjail", Kernel: "6.1.0", LSMs: "lockdown,capability,landlock,yama,apparmor", Systemd: true, CgroupV2: true}
	with := func(change func(f *hostFacts)) hostFacts {
		f := ordinary
		f.Sysctls = map[string]string{sysctlMaxUserNS: "63000"}
		change(&f)
		return f
	}
	apparmor := with(func(f *hostFacts) { f.Sysctls[sysctlAppArmor] = "1" })
	docker := with(func(f *hostFacts) {
		f.Container, f.Seccomp, f.ProcMasked = "docker", true, []string{"/proc/acpi", "/proc/kcore"}
	})
	for _, c := range []struct {
		name  string
		layer string
		err   error
		facts hostFacts
		why   string
		mend  []string // each in the mend, in this order
		not   string   // not in the mend
	}{
		{"Debian's switch", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Sysctls[sysctlUserNSClone] = "0" }),
			"kernel.unprivileged_userns_clone=0", []string{"sudo sysctl -w kernel.unprivileged_userns_clone=1", "/etc/sysctl.d/60-agentjail.conf"}, "apparmor"},
		{"Ubuntu's AppArmor, refusing", layerUser, unix.EACCES, apparmor, "AppArmor lets only programs",
			[]string{"/etc/apparmor.d/agentjail", "abi <abi/4.0>,", "profile agentjail /usr/local/bin/agentjail flags=(unconfined) {", "  userns,", "}", "sudo apparmor_parser -r /etc/apparmor.d/agentjail"}, "sysctl"},
		{"Ubuntu's AppArmor, disarming", layerMount, unix.EACCES, apparmor, "AppArmor takes every capability away", []string{"  userns,", "apparmor_parser -r"}, "docker"},
		{"AppArmor for a path with a space", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Sysctls[sysctlAppArmor] = "1"; f.Exe = "/opt/my tools/agentjail" }),
			"AppArmor", []string{`profile agentjail "/opt/my tools/agentjail" flags`}, ""},
		{"AppArmor's switch does not bind root", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Sysctls[sysctlAppArmor] = "1"; f.UID = 0 }), "the host forbids user namespaces", nil, "apparmor_parser"},
		{"none allowed", layerUser, unix.ENOSPC, with(func(f *hostFacts) { f.Sysctls[sysctlMaxUserNS] = "0" }), "allows no user namespaces (user.max_user_namespaces=0)",
			[]string{"sudo sysctl -w user.max_user_namespaces=15000"}, ""},
		{"used up", layerInner, unix.ENOSPC, ordinary, "in use", []string{"user.max_user_namespaces=15000"}, ""},
		{"net namespaces used up", layerNet, unix.ENOSPC, with(func(f *hostFacts) { f.Sysctls["user.max_net_namespaces"] = "0" }), "user.max_net_namespaces=0", []string{"user.max_net_namespaces=15000"}, "max_user"},
		{"chroot", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Chroot = true }), "chroot", []string{"run agentjail outside of it"}, ""},
		{"Docker's seccomp", layerUser, unix.EPERM, docker, "container", []string{"docker run --security-opt systempaths=unconfined --security-opt seccomp=unconfined --security-opt apparmor=unconfined"}, ""},
		{"podman", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Container = "podman" }), "container", []string{"podman run --security-opt"}, "docker"},
		{"a filter outside of containers", layerUser, unix.EPERM, with(func(f *hostFacts) { f.Seccomp = true }), "seccomp filter", []string{"RestrictNamespaces=no"}, ""},
		{"SELinux", layerUser, unix.EACCES, with(func(f *hostFacts) { f.LSMs = "lockdown,selinux" }), "lockdown,selinux", []string{"journalctl"}, ""},
		{"no user namespaces built in", layerUser, unix.EINVAL, ordinary, "this kernel has no user namespaces", []string{"CONFIG_USER_NS"}, ""},
		{"read-only /proc", layerUser, unix.EROFS, ordinary, "read-only", []string{"mount -o remount,rw /proc"}, ""},
		{"read-only /proc in a container", layerUser, unix.EROFS, docker, "read-only", []string{"systempaths=unconfined"}, "remount"},
		{"Docker's masks", layerProc, unix.EPERM, docker, "/proc/acpi", []string{"systempaths=unconfined"}, ""},
		{"masks elsewhere", layerProc, unix.EPERM, with(func(f *hostFacts) { f.ProcMasked = []string{"/proc/irq"} }), "/proc/irq", []string{"unmount"}, "docker"},
		{"overlay not loaded", layerOverlay, unix.ENODEV, ordinary, "no overlayfs", []string{"modprobe overlay"}, ""},
		{"overlay of an old kernel", layerOverlay, unix.EPERM, ordinary, "user namespace", []string{"Linux 5.11"}, ""},
		{"old tmpfs", layerOverlay, unix.EIO, ordinary, "goes to the disk", nil, ""},
		{"state folder on NFS", layerOverlayOn, unix.EINVAL, ordinary, "NFS", []string{"XDG_STATE_HOME"}, ""},
		{"Landlock not booted", layerLandlock, unix.EOPNOTSUPP, with(func(f *hostFacts) { f.LSMs = "capability,yama,apparmor" }), "capability,yama,apparmor",
			[]string{"lsm=landlock,capability,yama,apparmor", "update-grub"}, ""},
		{"Landlock not built", layerLandlock, unix.ENOSYS, ordinary, "6.1.0", []string{"Linux 5.13"}, "lsm="},
		{"Landlock refused", layerLandlock, unix.EPERM, docker, "forbids", []string{"seccomp=unconfined"}, ""},
		{"a listener outside", layerSeccomp, unix.EBUSY, ordinary, "the kernel allows one", []string{"outside of that supervisor"}, ""},
		{"no notification", layerSeccomp, unix.EINVAL, ordinary, "no seccomp notification", []string{"Linux 5.5"}, ""},
		{"no nftables", layerNetwork, fmt.Errorf("nftables: %w\nhint: the kernel needs nf_tables", unix.EPROTONOSUPPORT), ordinary, "nftables",
			[]string{"sudo modprobe -a nf_tables nft_log nfnetlink_log", "/etc/modules-load.d/agentjail.conf"}, "nft_redir"},
		{"no redirect", layerRedirect, fmt.Errorf("nftables: %w", unix.ENOENT), ordinary, "nftables", []string{"nft_chain_nat nft_redir nft_ct"}, ""},
		{"no delegated cgroup", layerCgroup, nil, ordinary, "delegated no cgroup", []string{"loginctl enable-linger ann", "Delegate=cpu cpuset io memory pids", "daemon-reload"}, ""},
		{"cgroup v1", layerCgroup, nil, with(func(f *hostFacts) { f.CgroupV2 = false }), "v1", []string{"systemd.unified_cgroup_hierarchy=1"}, ""},
		{"no systemd", layerCgroup, nil, with(func(f *hostFacts) { f.Systemd = false }), "no systemd", []string{"as root"}, "loginctl"},
		{"root without cgroups", layerCgroup, nil, with(func(f *hostFacts) { f.UID = 0 }), "/sys/fs/cgroup", []string{"mount -t cgroup2"}, "loginctl"},
		{"uid 0 of a user namespace", layerCgroup, nil, with(func(f *hostFacts) { f.UID, f.Nested, f.Systemd = 0, true, false }), "no systemd", nil, "mount -t cgroup2"},
		{"cgroup in a container", layerCgroup, nil, docker, "container", []string{"--memory --cpus --pids-limit"}, "loginctl"},
		{"no idmapped mounts", layerIDMap, unix.EINVAL, ordinary, "other owners", []string{"ext4"}, ""},
		{"an argument that a mount did not like", "container", unix.EINVAL, ordinary, "invalid argument", nil, "kernel"},
		{"no ipc namespaces built in", layerIPC, unix.EINVAL, ordinary, "this kernel has no ipc namespace", []string{"boot"}, ""},
		{"something new", layerUser, unix.EIO, ordinary, "input/output error", nil, ""},
		{"something new", "gateway", errors.New("a\nb"), ordinary, "a; b", nil, ""},
	} {
		t.Run(c.name+" "+c.layer, func(t *testing.T) {
			got := diagnose(c.layer, c.err, c.facts)
			if !strings.Contains(got.Why, c.why) {
				t.Errorf("why is %q, without %q", got.Why, c.why)
			}
			rest := got.hint()
			for _, m := range c.mend {
				_, after, ok := strings.Cut(rest, m)
				if !ok {
					t.Fatalf("the mend has no %q:\n%s", m, got.hint())
				}
				rest = after
			}
			if c.not != "" && strings.Contains(got.hint(), c.not) {
				t.Errorf("the mend has %q:\n%s", c.not, got.hint())
			}
			if strings.Contains(got.Why, "\n") {
				t.Errorf("why has two lines: %q", got.Why)
			}
		})
	}
}

// libcontainer gives its early failures as text.
func TestMended(t *testing.T) {
	f := hostFacts{UID: 1000, Sysctls: map[string]string{sysctlMaxUserNS: "0"}}
	inner := errors.New("can't get final child's PID from pipe: EOF; nsexec-1[7]: failed to unshare user namespace: No space left on device")
	err := mended(fmt.Errorf("start: %w", &jail.LayerError{Layer: layerUser, Err: inner, Hint: "agentjail doctor names the mend"}), f)
	want := "user namespace: the host allows no user namespaces (user.max_user_namespaces=0)\n" + inner.Error() +
		"\nhint: sudo sysctl -w user.max_user_namespaces=15000\n"
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got:\n%s\nwant:\n%s", err, want)
	}
	if !errors.Is(err, inner) {
		t.Error("what failed is lost")
	}

	for _, same := range []error{
		errors.New("no layer's"),
		&jail.LayerError{Layer: "seccomp", Err: errors.New("no notification descriptor arrived"), Hint: "the jail's own hint"},
	} {
		if got := mended(same, f); got != same {
			t.Errorf("%q became %q", same, got)
		}
	}
}

func TestErrnoIn(t *testing.T) {
	for _, c := range []struct {
		err  error
		want unix.Errno
	}{
		{fmt.Errorf("x: %w", unix.EROFS), unix.EROFS},
		{errors.New("mount: Operation not permitted"), unix.EPERM},
		{errors.New("write setgroups: Read-only file system"), unix.EROFS},
		{errors.New("mount overlay: no such device"), unix.ENODEV},
		{errors.New("nothing known"), 0},
	} {
		if got := errnoIn(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}
