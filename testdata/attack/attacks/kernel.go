package attacks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel are attacks on what is the whole machine's: /proc, /sys, /dev. Without a jail
// they are only looked at, since they would change the machine.
func kernel() []Attack {
	var all []Attack
	// write tries to open for writing, and writes nothing.
	write := func(id string, line int, path, class string) {
		all = append(all, Attack{ID: id, Line: line, What: "open " + path + " for writing", Class: class, Without: Looked,
			Try:     func(*Target) string { return open(path, os.O_WRONLY) },
			Look:    func(*Target) string { return present(path) },
			Stopped: []Stop{gone(), by(ReadOnly, "EROFS"), by(Landlock, "EACCES"), by(UserNS, "EPERM")}})
	}
	// reads says "ok" only where there was something to read: a mask is empty.
	reads := func(id string, line int, path, class string) {
		all = append(all, Attack{ID: id, Line: line, What: "read " + path, Class: class, Without: Looked,
			Try: func(*Target) string {
				f, err := os.Open(path)
				if err != nil {
					return answer(err)
				}
				defer f.Close()
				n, err := unix.Pread(int(f.Fd()), make([]byte, 64), 0)
				if n == 0 && err == nil {
					return "empty"
				}
				return answer(err)
			},
			Look:    func(*Target) string { return present(path) },
			Stopped: []Stop{by(ProcMask, "empty"), gone(), by(Landlock, "EACCES"), by(UserNS, "EPERM")}})
	}
	write("release-agent", 16, "/sys/fs/cgroup/release_agent", "CVE-2022-0492")
	write("cgroup-procs", 16, "/sys/fs/cgroup/cgroup.procs", "CVE-2023-25809")
	write("core-pattern", 17, "/proc/sys/kernel/core_pattern", "a program that the kernel runs")
	write("modprobe", 17, "/proc/sys/kernel/modprobe", "a program that the kernel runs")
	write("binfmt-misc", 17, "/proc/sys/fs/binfmt_misc/register", "a program that the kernel runs")
	write("sysrq", 17, "/proc/sysrq-trigger", "a stop of the machine")
	write("uevent-helper", 17, "/sys/kernel/uevent_helper", "a program that the kernel runs")
	write("hostname", 17, "/proc/sys/kernel/hostname", "a setting of the kernel")
	// The net folder shows the settings of the reader's own network namespace, and gives
	// them to the user who owns it: rootless that is the agent's own kernel uid
	// (net/sysctl_net.c, net_ctl_permissions), so that only the mount is in its way.
	write("net-setting", 17, "/proc/sys/net/ipv4/ip_default_ttl", "a setting of the jail's network")
	reads("kcore", 18, "/proc/kcore", "the kernel's memory")
	reads("kmsg", 18, "/dev/kmsg", "the kernel's log")
	reads("proc-kmsg", 18, "/proc/kmsg", "the kernel's log")
	reads("proc-keys", 18, "/proc/keys", "other programs' keys")
	reads("proc-key-users", 18, "/proc/key-users", "other programs' keys")
	reads("kallsyms", 18, "/proc/kallsyms", "the kernel's addresses")
	reads("timer-list", 18, "/proc/timer_list", "the kernel's addresses")
	reads("interrupts", 18, "/proc/interrupts", "the timing of other people's typing")
	reads("shadow", 12, "/etc/shadow", "a credential in reach")
	for _, dev := range []string{"kvm", "fuse", "mem", "port", "vsock", "net/tun", "loop0", "loop-control", "sda", "vda", "nvme0n1", "mapper/control", "vhost-net", "uinput"} {
		path := "/dev/" + dev
		all = append(all, Attack{ID: "dev-" + strings.ReplaceAll(dev, "/", "-"), Line: 20, What: "open " + path, Class: "a device of the host", Without: Looked,
			Try:  func(*Target) string { return open(path, os.O_RDONLY) },
			Look: func(*Target) string { return present(path) }, Stopped: []Stop{gone(), by(Landlock, "EACCES")}})
	}
	for _, dir := range []string{"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/fs/bpf", "/sys/kernel/security", "/sys/kernel/config", "/sys/firmware", "/sys/class/net", "/sys/block"} {
		all = append(all, Attack{ID: "list-" + strings.ReplaceAll(dir[len("/sys/"):], "/", "-"), Line: 21, What: "list " + dir, Class: "a file system of the kernel's", Without: Looked,
			Try:  func(*Target) string { return listAttack(dir) },
			Look: func(*Target) string { return present(dir) }, Stopped: []Stop{gone(), by(Landlock, "EACCES"), by(FileView, "empty")}})
	}
	for id, path := range map[string]string{"write-etc": "/etc", "write-usr": "/usr", "write-root": "/", "write-lib": "/usr/lib"} {
		all = append(all, Attack{ID: id, Line: 13, What: "create a file in " + path, Class: "a change of what the host executes", Without: Looked,
			Try:  func(t *Target) string { return createMark(t, path) },
			Look: func(*Target) string { return present(path) }, Stopped: []Stop{by(ReadOnly, "EROFS"), by(Landlock, "EACCES"), gone()}})
	}
	return append(all, Attack{ID: "mknod", Line: 20, What: "make a device", Class: "a device of the host", Without: Plain | Nested,
		Try: func(*Target) string {
			return in(func(dir string) string {
				return answer(unix.Mknod(dir+"/node", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
			})
		},
		Stopped: []Stop{by(UserNS, "EPERM"), by(Landlock, "EACCES")}},
		Attack{ID: "setuid-program", Line: 24, What: "become root by a setuid program", Class: "a change of uid", Without: Plain,
			Try: func(*Target) string { return setuidAttack() }, Stopped: []Stop{by(NoNewPrivs, "not root"), gone()}},
		Attack{ID: "setuid-own", Line: 24, What: "make a setuid program and become its owner", Class: "CVE-2021-3847: a change of uid", Without: Inside,
			Try: setuidOwnAttack, Stopped: []Stop{by(NoNewPrivs, "not root"), by(UserNS, "EPERM"), by(Landlock, "EACCES")}},
		Attack{ID: "file-capability", Line: 24, What: "give a program a capability", Class: "a change of capabilities", Without: Nested,
			Try: fileCapabilityAttack, Stopped: []Stop{by(UserNS, "EPERM"), by(Landlock, "EACCES")}},
		Attack{ID: "setuid-call", Line: 24, What: "become uid 0", Class: "a change of uid", Without: Nested,
			Try:     func(*Target) string { return inThread(func() string { return call(unix.SYS_SETUID, 0) }) },
			Stopped: []Stop{by(UserNS, "EINVAL", "EPERM")}},
		Attack{ID: "newuidmap", Line: 24, What: "map more ids with newuidmap", Class: "a change of uid", Without: Looked,
			Try: func(*Target) string { return command("newuidmap", fmt.Sprint(os.Getpid()), "0", "0", "1") },
			Look: func(*Target) string {
				if _, err := exec.LookPath("newuidmap"); err != nil {
					return "absent"
				}
				return "present"
			},
			Stopped: []Stop{by(NoNewPrivs, "exit 1", "EACCES", "EPERM"), by(FileView, "absent")}},
	)
}

// setuidAttack starts a program that is setuid root on every Debian and says whose
// effective uid it got.
func setuidAttack() string {
	cmd := exec.Command("/usr/bin/su")
	in, err := cmd.StdinPipe()
	if err != nil {
		return answer(err)
	}
	if err := cmd.Start(); err != nil {
		return answer(err)
	}
	// It waits for a password, or ends at once and stays a zombie until Wait: either way
	// its status says who it became.
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	in.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil {
		return answer(err)
	}
	if effectiveUID(string(data)) == "0" {
		return "ok"
	}
	return "not root"
}

func effectiveUID(status string) string {
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "Uid:" {
			return f[2]
		}
	}
	return ""
}

// setuidOwnAttack makes a copy of a program setuid in every folder that it can write
// to; it would become the folder's owner.
func setuidOwnAttack(t *Target) string {
	for _, dir := range []string{"/tmp", "/var/tmp", "/dev/shm", t.Workspace, "/home/agent"} {
		to := filepath.Join(dir, t.Mark())
		if err := copyFile("/bin/cat", to); err != nil {
			continue
		}
		defer os.Remove(to)
		if err := unix.Chown(to, 0, 0); err != nil {
			continue // nobody but root makes a program root's
		}
		if err := unix.Chmod(to, 0o4755); err != nil {
			continue
		}
		out, err := exec.Command(to, "/proc/self/status").Output()
		if err == nil && effectiveUID(string(out)) == "0" && os.Geteuid() != 0 {
			return "ok"
		}
	}
	return "not root"
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func fileCapabilityAttack(*Target) string {
	return in(func(dir string) string {
		if err := copyFile("/bin/true", dir+"/true"); err != nil {
			return answer(err)
		}
		// struct vfs_cap_data, version 2, effective, CAP_NET_ADMIN permitted
		// (linux/capability.h).
		data := []byte{1, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		return answer(unix.Setxattr(dir+"/true", "security.capability", data, 0))
	})
}
