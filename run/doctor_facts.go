package run

import (
	"bufio"
	"bytes"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// gatherFacts reads what explains a failure. What can't be read explains nothing and
// is left out.
func gatherFacts(h Host) hostFacts {
	f := hostFacts{UID: h.UID, Sysctls: map[string]string{}, CgroupV2: cgroups.IsCgroup2UnifiedMode()}
	f.Exe, _ = os.Executable()
	if u, err := user.LookupId(strconv.Itoa(h.UID)); err == nil {
		f.User = u.Username
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		f.Kernel = string(bytes.TrimRight(uts.Release[:], "\x00"))
	}
	for _, name := range sysctlNames {
		if data, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
			f.Sysctls[name] = strings.TrimSpace(string(data))
		}
	}
	if data, err := os.ReadFile("/sys/kernel/security/lsm"); err == nil {
		f.LSMs = strings.TrimSpace(string(data))
	}
	if data, err := os.ReadFile("/proc/self/uid_map"); err == nil {
		// The initial user namespace maps every id to itself, user_namespaces(7).
		f.Nested = !slices.Equal(strings.Fields(string(data)), []string{"0", "0", "4294967295"})
	}
	if data, err := os.ReadFile("/proc/self/status"); err == nil {
		f.Seccomp = statusField(data, "Seccomp") == "2" // SECCOMP_MODE_FILTER, proc(5)
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Chroot, f.ProcMasked = readMounts(data)
	}
	_, err := os.Stat("/run/systemd/system") // sd_booted(3)
	f.Systemd = err == nil
	if !f.Seccomp && len(f.ProcMasked) == 0 {
		// A mark without walls: a privileged container, or a machine whose disk was
		// made from a container's image. Nothing that fails here is its doing.
		return f
	}
	f.Container = containerKind(h.getenv, func(path string) ([]byte, bool) {
		data, err := os.ReadFile(path)
		return data, err == nil
	})
	return f
}

// statusField is a field of /proc/PID/status.
func statusField(data []byte, name string) string {
	for line := range bytes.Lines(data) {
		if v, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

// readMounts finds in a mountinfo (proc_pid_mountinfo(5)) whether the root is no
// mount, which is what a chroot is, and what lies over parts of /proc.
func readMounts(mountinfo []byte) (chroot bool, masked []string) {
	chroot = true
	sc := bufio.NewScanner(bytes.NewReader(mountinfo))
	for sc.Scan() {
		// Space alone parts them: other white space may be in a name.
		fields := strings.Split(sc.Text(), " ")
		if len(fields) < 7 {
			continue
		}
		at := fields[4]
		if at == "/" {
			chroot = false
		}
		// binfmt_misc has a mount point of its own there, which hides nothing.
		if strings.HasPrefix(at, "/proc/") && at != "/proc/sys/fs/binfmt_misc" {
			masked = append(masked, at)
		}
	}
	return chroot, masked
}

// containerKind names the container engine that made the place we run in, by the
// marks that engines leave: it chooses the words of a mend and nothing else.
func containerKind(getenv func(string) string, read func(path string) ([]byte, bool)) string {
	if _, ok := read("/.dockerenv"); ok {
		return "docker"
	}
	if _, ok := read("/run/.containerenv"); ok {
		return "podman"
	}
	// What systemd wants engines to leave (systemd.io/CONTAINER_INTERFACE).
	if data, ok := read("/run/systemd/container"); ok {
		return strings.TrimSpace(string(data))
	}
	if v := getenv("container"); v != "" {
		return v
	}
	if getenv("KUBERNETES_SERVICE_HOST") != "" {
		return "kubernetes"
	}
	return ""
}
