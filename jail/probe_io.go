package jail

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// ProbeIOWeight finds out whether a cgroup can have a share of the disk. It is asked only
// where a profile wants one.
func (f *Features) ProbeIOWeight() {
	const v1 = "/sys/fs/cgroup/blkio"
	switch f.Cgroup {
	case CgroupNone:
	case CgroupV1:
		// The root has no weight, so a cgroup of its own shows it (blkio-controller.rst).
		dir, err := os.MkdirTemp(v1, "agentjail-probe-")
		if err != nil {
			f.IOWeightWhy = "there is no blkio controller to write to"
			return
		}
		f.IOWeight = exists(filepath.Join(dir, "blkio.weight")) || exists(filepath.Join(dir, "blkio.bfq.weight"))
		_ = os.Remove(dir) // an empty cgroup of v1 costs nothing, should it stay
		if !f.IOWeight {
			f.IOWeightWhy = "no disk has a scheduler that shares (bfq)"
		}
	default:
		dir := "/sys/fs/cgroup"
		if f.Cgroup == CgroupSystemd {
			data, err := os.ReadFile("/proc/self/cgroup")
			if err != nil {
				f.IOWeightWhy = "this process's cgroup can't be told"
				return
			}
			dir = filepath.Join(dir, userManager(string(data)))
		}
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		f.IOWeight = err == nil && bytes.Contains(append([]byte(" "), bytes.ReplaceAll(data, []byte("\n"), []byte(" "))...), []byte(" io "))
		if !f.IOWeight {
			f.IOWeightWhy = "the io controller is not handed down to " + dir + " (systemd's Delegate= says what is)"
		}
	}
}

// userManager is the cgroup of a user's systemd, which delegates to its scopes, by what
// /proc/self/cgroup says of one of its processes or of a login's (cgroups(7)).
func userManager(cgroup string) string {
	_, path, _ := strings.Cut(strings.TrimSpace(cgroup), "::")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "user@") && strings.HasSuffix(p, ".service") {
			return strings.Join(parts[:i+1], "/")
		}
		// A login: /user.slice/user-1000.slice/session-3.scope.
		if uid, ok := strings.CutPrefix(p, "user-"); ok && strings.HasSuffix(uid, ".slice") && (i+1 == len(parts) || !strings.HasPrefix(parts[i+1], "user@")) {
			return strings.Join(parts[:i+1], "/") + "/user@" + strings.TrimSuffix(uid, ".slice") + ".service"
		}
	}
	return path
}
