package jail

import (
	"fmt"
	"os"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// maskedPaths and readonlyPaths are what a container's /proc must not show or take
// (the OCI runtimes' list, and more that only tells of the host's hardware and
// kernel addresses).
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/key-users", "/proc/kmsg", "/proc/kallsyms", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
		"/proc/vmallocinfo", "/proc/slabinfo", "/proc/pagetypeinfo", "/proc/iomem",
		"/proc/ioports", "/proc/mtrr", "/proc/config.gz",
	}
	readonlyPaths = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
		"/proc/driver", "/proc/tty",
	}
)

// setupCaps are what PID 1 needs until the agent's stage exists, in the outer user
// namespace only: mounts and the overlay's work folder (SYS_ADMIN, DAC_OVERRIDE,
// CHOWN, FOWNER), the network (NET_ADMIN, NET_BIND_SERVICE for ports below 1024, and
// NET_RAW for the socket that refuses datagrams), the agent's id map (SETFCAP, SETUID, SETGID), and emptying its own sets.
var setupCaps = []string{
	"CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP",
	"CAP_MKNOD",
}

// containerConfig is libcontainer's part of the plan: every namespace, the root, a
// fresh /proc, idmapped mounts, cgroup, and PID 1's capabilities. PID 1 builds the
// file view itself (mount.go). Its Seccomp stays nil: it would come
// before Landlock and before the agent's own user namespace. staging are the mounts of
// the plan that PID 1 can't make (Plan.staging).
func containerConfig(b Base, staging []Mount) *configs.Config {
	c := &configs.Config{
		Rootfs:     b.Rootfs,
		Readonlyfs: true,
		Hostname:   b.Hostname,
		Namespaces: configs.Namespaces{
			{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID},
			{Type: configs.NEWNET}, {Type: configs.NEWIPC}, {Type: configs.NEWUTS},
			{Type: configs.NEWCGROUP},
		},
		UIDMappings: []configs.IDMap{{ContainerID: 0, HostID: int64(b.IDs.HostUID), Size: int64(b.IDs.Size)}},
		GIDMappings: []configs.IDMap{{ContainerID: 0, HostID: int64(b.IDs.HostGID), Size: int64(b.IDs.Size)}},
		// Private, not slave: nothing that the host mounts later shows up inside.
		RootPropagation: unix.MS_PRIVATE | unix.MS_REC,
		NoNewPrivileges: true,
		RootlessEUID:    b.Rootless,
		RootlessCgroups: b.Rootless,
		Cgroups:         cgroupConfig(b),
		Capabilities: &configs.Capabilities{
			Bounding: setupCaps, Effective: setupCaps, Permitted: setupCaps,
		},
	}
	// libcontainer wants a /dev/null to point its own descriptors at; the other
	// devices are mounts of the plan.
	if mutate.Off(mutate.NetNS) {
		c.Namespaces.Remove(configs.NEWNET)
	}
	if mutate.Off(mutate.IPCNS) {
		c.Namespaces.Remove(configs.NEWIPC)
	}
	if mutate.Off(mutate.NoNewPrivs) {
		c.NoNewPrivileges = false
	}
	for _, d := range specconv.AllowedDevices {
		if d.Path == "/dev/null" {
			c.Devices = append(c.Devices, d)
		}
	}
	c.Mounts = append(c.Mounts,
		// hidepid=2: what a process may not trace has no folder for it (proc(5)). Without
		// privilege the agent has PID 1's kernel uid, and could list /proc/1/fd.
		&configs.Mount{Device: "proc", Source: "proc", Destination: "/proc", Data: "hidepid=2", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		// The whole tree of the host, for buildView to take the view from; PID 1 drops
		// it before the agent's stage exists.
		&configs.Mount{Device: "bind", Source: "/", Destination: hostTree, Flags: unix.MS_BIND | unix.MS_REC},
	)
	if mutate.Off(mutate.HidePID) {
		c.Mounts[0].Data = ""
	}
	for n, m := range staging {
		bind := &configs.Mount{Device: "bind", Source: m.Source, Destination: staged(n), Flags: unix.MS_BIND | unix.MS_REC}
		if m.IDMap != nil {
			bind.IDMapping = &configs.MountIDMapping{
				UIDMappings: swapMap(m.IDMap.UID, b.IDs.HostUID, b.IDs.AgentUID),
				GIDMappings: swapMap(m.IDMap.GID, b.IDs.HostGID, b.IDs.AgentGID),
			}
		}
		c.Mounts = append(c.Mounts, bind)
	}
	return c
}

func cgroupConfig(b Base) *cgroups.Cgroup {
	c := &cgroups.Cgroup{
		// Rootless: go on where the host gives none. A limit that needs one fails all
		// the same, when it is written.
		Rootless:  b.Rootless || b.Cgroup == nil,
		Resources: &cgroups.Resources{},
		Name:      cgroupName(b.ID),
	}
	if b.Cgroup == nil {
		return c
	}
	c.Name, c.Systemd = b.Cgroup.Name, b.Cgroup.Systemd
	if c.Systemd {
		c.ScopePrefix, c.Name = "agentjail", b.ID
	}
	r := c.Resources
	r.Memory = b.Cgroup.Memory
	if r.Memory > 0 {
		r.MemorySwap = r.Memory // memory and swap together, so: no swap
	}
	if b.Cgroup.Processes > 0 {
		n := b.Cgroup.Processes + ownThreads // PID 1's are not the agent's
		r.PidsLimit = &n
	}
	r.BlkioWeight = uint16(b.Cgroup.IOWeight)
	if b.Cgroup.MilliCPUs > 0 {
		const period = 100_000 // µs, the kernel's default
		r.CpuPeriod = period
		r.CpuQuota = b.Cgroup.MilliCPUs * period / 1000
	}
	return c
}

// swapMap maps the ids of a file system to those of the jail: the owner becomes
// the agent and the agent's number the owner's, so that every id below 65536 has a
// place and none has two. (An id without one can't be copied up: EOVERFLOW.)
func swapMap(owner, base, agent uint32) []configs.IDMap {
	id := func(from, to, n uint32) configs.IDMap {
		return configs.IDMap{ContainerID: int64(from), HostID: int64(base) + int64(to), Size: int64(n)}
	}
	if owner == agent {
		return []configs.IDMap{id(0, 0, UIDRange)}
	}
	if owner >= UIDRange {
		// An owner from outside the range (a directory service's): it takes the
		// agent's place, whose own number has then nowhere to go.
		return []configs.IDMap{id(0, 0, agent), id(agent+1, agent+1, UIDRange-agent-1), id(owner, agent, 1)}
	}
	lo, hi := min(owner, agent), max(owner, agent)
	maps := []configs.IDMap{id(lo, hi, 1), id(hi, lo, 1)}
	if hi+1 < UIDRange { // the kernel takes no empty extent
		maps = append(maps, id(hi+1, hi+1, UIDRange-hi-1))
	}
	if lo > 0 {
		maps = append(maps, id(0, 0, lo))
	}
	if hi-lo > 1 {
		maps = append(maps, id(lo+1, lo+1, hi-lo-1))
	}
	return maps
}

// memfd puts what PID 1 needs to know into a sealed memfd.
func memfd(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, fmt.Errorf("memfd %s: %w", name, err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return f, nil
}
