package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/netns"
	"github.com/agentjail/agentjail/profiles"
)

// probeArg is the hidden command that doctor starts this binary with again, each time
// for one probe in a process of its own: in the namespaces that the probe is about,
// or under a layer that can't be taken off again.
const probeArg = "doctor-probe"

// A child probe tries one thing. dir is a folder of its own; it says what it found.
type childProbe struct {
	namespaced bool // it mounts or configures, and must never do so on the host
	try        func(dir string) (detail string, err error)
}

// childProbes are the probes by name; both sides take them from here.
var childProbes = map[string]childProbe{
	"exists": {false, func(string) (string, error) { return "", nil }},
	"hold":   {true, func(string) (string, error) { _, err := io.Copy(io.Discard, os.Stdin); return "", err }},
	"hostname": {true, func(string) (string, error) {
		return "", os.NewSyscallError("sethostname", unix.Sethostname([]byte("probe")))
	}},
	"pid1":         {true, probePID1},
	"inner":        {true, probeInner},
	"mount":        {true, probeMount},
	"proc":         {true, probeProc},
	"devpts":       {true, probeDevpts},
	"overlay":      {true, func(dir string) (string, error) { return probeOverlay(dir, true) }},
	"overlay-disk": {true, func(dir string) (string, error) { return probeOverlay(dir, false) }},
	"network":      {true, func(string) (string, error) { return probeNetwork(443) }},
	"redirect":     {true, func(string) (string, error) { return probeNetwork(8443) }},
	"landlock":     {false, probeLandlock},
	"seccomp":      {false, probeSeccomp},
	"idmap":        {false, probeIDMap},
	"in-jail":      {false, probeInJail},
	"in-limits":    {false, probeInLimits},
	"why":          {false, probeQuestion},
}

// probeResult is what a child writes to its stdout, one line of JSON.
type probeResult struct {
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"` // that the error wraps
}

// err is the error as the child had it, its errno included.
func (r probeResult) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Errno == 0:
		return errors.New(r.Error)
	}
	return &probeError{r.Error, syscall.Errno(r.Errno)}
}

// probeError is an error that came from another process.
type probeError struct {
	text  string
	errno syscall.Errno
}

func (e *probeError) Error() string { return e.text }
func (e *probeError) Unwrap() error { return e.errno }

// doctorProbeCommand is a child's whole life: PROBE and its folder.
func doctorProbeCommand(h Host) *cli.Command {
	return &cli.Command{
		Name: probeArg, Usage: "one probe of doctor's", Hidden: true,
		Action: func(c *cli.Context) error {
			p, ok := childProbes[c.Args().Get(0)]
			if !ok {
				return fmt.Errorf("there is no probe %q", c.Args().Get(0))
			}
			if p.namespaced && !inOwnNamespace() {
				return errors.New("this probe is doctor's own and runs in a namespace that doctor makes")
			}
			// Landlock and filters are a thread's.
			runtime.LockOSThread()
			detail, err := p.try(c.Args().Get(1))
			return json.NewEncoder(h.Stdout).Encode(resultOf(detail, err))
		},
	}
}

func resultOf(detail string, err error) probeResult {
	r := probeResult{Detail: detail}
	if err != nil {
		r.Error = err.Error()
		var errno syscall.Errno
		if errors.As(err, &errno) {
			r.Errno = int(errno)
		}
	}
	return r
}

// inOwnNamespace says whether this is a user namespace as doctor makes it: with one
// id. The host's has all of them, and a container's more than one.
func inOwnNamespace() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && mapsOneID(string(data))
}

// mapsOneID reads a uid_map: lines of an id inside, one outside, and their number
// (user_namespaces(7)).
func mapsOneID(uidMap string) bool {
	fields := strings.Fields(uidMap)
	return len(fields) == 3 && fields[2] == "1"
}

func probePID1(string) (string, error) {
	if os.Getpid() != 1 {
		return "", fmt.Errorf("the first process of a pid namespace has pid %d", os.Getpid())
	}
	return "", nil
}

// probeInner makes the agent's own user namespace inside the outer one. Mapping the
// parent's uid 0 needs CAP_SETFCAP in it (Linux 5.12, user_namespaces(7)).
func probeInner(dir string) (string, error) {
	cmd := exec.Command("/proc/self/exe", probeArg, "exists", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: 0, Size: 1}}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("clone(CLONE_NEWUSER) in a user namespace: %w%s", err, oneLine("; ", out))
	}
	return "", nil
}

func oneLine(before string, out []byte) string {
	s := strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; ")
	if s == "" {
		return ""
	}
	return before + s
}

// makePrivateMounts keeps a probe's mounts from the host's.
func makePrivateMounts() error {
	return os.NewSyscallError("mount(MS_PRIVATE)", unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""))
}

func mountAt(fstype, at string, flags uintptr, options string) error {
	if err := makePrivateMounts(); err != nil {
		return err
	}
	if err := unix.Mount(fstype, at, fstype, flags, options); err != nil {
		return fmt.Errorf("mount %s: %w", fstype, err)
	}
	return nil
}

func probeMount(dir string) (string, error) {
	return "", mountAt("tmpfs", dir, unix.MS_NOSUID|unix.MS_NODEV, "size=4k")
}

func probeProc(dir string) (string, error) {
	return "", mountAt("proc", dir, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

func probeDevpts(dir string) (string, error) {
	if err := mountAt("devpts", dir, unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"); err != nil {
		return "", err
	}
	f, err := os.OpenFile(filepath.Join(dir, "ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	return "", f.Close()
}

// probeOverlay does with an overlay what shows that it works, and what kernels that
// mount it all the same fail at: removing a folder of the lower layer, and making
// another one of its name.
func probeOverlay(dir string, memory bool) (string, error) {
	if err := makePrivateMounts(); err != nil {
		return "", err
	}
	lower, store, merged := filepath.Join(dir, "lower"), filepath.Join(dir, "store"), filepath.Join(dir, "merged")
	old := filepath.Join("folder", "file")
	for _, d := range []string{filepath.Join(lower, "folder"), store, merged} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(lower, old), []byte("old"), 0o600); err != nil {
		return "", err
	}
	if memory {
		if err := unix.Mount("tmpfs", store, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=1m"); err != nil {
			return "", fmt.Errorf("mount tmpfs: %w", err)
		}
	}
	upper, work := filepath.Join(store, "upper"), filepath.Join(store, "work")
	for _, d := range []string{upper, work} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return "", err
		}
	}
	// The options are jail's own; by names from here, since the path of the state folder
	// may have a ":" or "," in it. This process is the probe's alone.
	if err := os.Chdir(dir); err != nil {
		return "", err
	}
	options := "lowerdir=lower,upperdir=store/upper,workdir=store/work,userxattr,volatile,xino=off,index=off,metacopy=off"
	if err := unix.Mount("overlay", merged, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return "", fmt.Errorf("mount overlay: %w", err)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"change a file of the lower layer", func() error { return os.WriteFile(filepath.Join(merged, old), []byte("new"), 0o600) }},
		{"remove it", func() error { return os.Remove(filepath.Join(merged, old)) }},
		{"remove a folder of the lower layer", func() error { return os.Remove(filepath.Join(merged, "folder")) }},
		{"make one of its name", func() error { return os.Mkdir(filepath.Join(merged, "folder"), 0o700) }},
	} {
		if err := step.do(); err != nil {
			return "", fmt.Errorf("%s in the overlay: %w", step.what, pathCause(err))
		}
	}
	if _, err := os.Stat(filepath.Join(merged, old)); err == nil {
		return "", errors.New("what was removed from the overlay came back")
	}
	if data, err := os.ReadFile(filepath.Join(lower, old)); err != nil || string(data) != "old" {
		return "", errors.New("the overlay changed its lower layer")
	}
	return "", nil
}

// probeNetwork sets up a jail's network for one allowed port.
func probeNetwork(port uint16) (string, error) {
	p := netns.PlanLink(profiles.Network{Allow: []profiles.NetRule{{Ports: []uint16{port}, Protocol: profiles.ProtocolTLS,
		Hosts: []profiles.HostPattern{{Kind: profiles.HostExact, Name: "doctor.invalid"}}}}})
	if !netns.HostIPv6() {
		p = p.WithoutIPv6()
	}
	files, err := netns.SetUp(p)
	for _, f := range files {
		f.Close()
	}
	return "", err
}

// probeIDMap mounts a folder with other owners, as a jail of root's has its
// workspace: mount_setattr(2), Linux 5.12, and a file system that can.
func probeIDMap(dir string) (string, error) {
	child := exec.Command("/proc/self/exe", probeArg, "hold", dir)
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 524288, Size: 65536}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 524288, Size: 65536}}}
	hold, err := child.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := child.Start(); err != nil {
		return "", fmt.Errorf("clone(CLONE_NEWUSER) with a range of ids: %w", err)
	}
	defer func() {
		hold.Close()
		_ = child.Wait() // it only held a namespace: how it ended says nothing
	}()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", child.Process.Pid))
	if err != nil {
		return "", err
	}
	defer ns.Close()
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return "", os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	if err != nil {
		return "", fmt.Errorf("mount_setattr(MOUNT_ATTR_IDMAP): %w", err)
	}
	return "", nil
}
