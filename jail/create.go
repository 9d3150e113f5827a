package jail

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs/validate"
	"golang.org/x/sys/unix"
)

// withoutCgroup says that the jail has no cgroup of its own: no limit needs one, and the
// host has no cgroup v2.
func (b *Base) withoutCgroup() bool { return b.Cgroup == nil && !cgroups.IsCgroup2UnifiedMode() }

// createContainer is libcontainer's Create, except where the jail is without a cgroup:
// then the container gets none. Create insists on one in
// each of v1's hierarchies, so that a place without /sys/fs/cgroup (a chroot, many
// containers) could have no jail at all; and making ten cgroups takes time.
//
// On v2 it makes one folder and goes on where it may not (cgroupConfig, Rootless).
func createContainer(b Base, staging []Mount) (*libcontainer.Container, error) {
	root, id := filepath.Split(b.Container)
	config := containerConfig(b, staging)
	if !b.withoutCgroup() {
		return libcontainer.Create(root, id, config)
	}
	if err := validate.Validate(config); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	// Mkdir, not MkdirAll: a folder that is there already is not ours. The modes are
	// those that Create gives.
	if err := os.Mkdir(b.Container, 0o711); err != nil {
		return nil, err
	}
	// A container that was made and not started is one whose state names no process;
	// its cgroups are those that the state names, which are none. State leaves an empty
	// list out, and libcontainer then looks for v1's.
	state := struct {
		libcontainer.State
		CgroupPaths map[string]string `json:"cgroup_paths"`
	}{libcontainer.State{BaseState: libcontainer.BaseState{ID: id, Created: time.Now().UTC(), Config: *config}}, map[string]string{}}
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(b.Container, "state.json"), data, 0o600); err != nil {
		return nil, err
	}
	// Load asks after the container's process, of which it has none, by way of a mount of
	// proc that it makes where it may. The kernel takes up to 2 ms to let one go again
	// (fs/namespace.c, namespace_unlock).
	restore := withoutCapability(unix.CAP_SYS_ADMIN)
	defer restore()
	return libcontainer.Load(root, id)
}

// withoutCapability takes a capability out of this thread's effective set, which holds the
// goroutine until it is put back.
func withoutCapability(number int) (restore func()) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var before [2]unix.CapUserData
	runtime.LockOSThread()
	if unix.Capget(&h, &before[0]) == nil {
		after := before
		after[number/32].Effective &^= 1 << (number % 32)
		if unix.Capset(&h, &after[0]) == nil {
			return func() {
				if unix.Capset(&h, &before[0]) == nil {
					runtime.UnlockOSThread()
				} // else the thread ends with the goroutine
			}
		}
	}
	return runtime.UnlockOSThread
}
