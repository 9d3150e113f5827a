package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/jail"
)

// doctorCommand finds out what this host can do, by doing it: each layer in a process
// of its own, and then a default run in a real jail that is thrown away.
func doctorCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "try every layer on this host, and say how to mend what does not work",
		Description: "Exit code 1 where `agentjail run` with the default profile would refuse to run.",
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			r, err := examine(h)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = writeJSON(h.Stdout, r)
			} else {
				colour := h.getenv("NO_COLOR") == "" && term.IsTerminal(int(h.Stdout.Fd()))
				err = writeDiagnosis(h.Stdout, r, colour)
			}
			if err == nil && !r.Runs {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
}

// What doctor says of a layer.
const (
	stateWorks    = "works"
	stateDegraded = "degraded" // something of it is missing, and runs go on without
	stateMissing  = "missing"
)

// diagnosis is what doctor found.
type diagnosis struct {
	Version string        `json:"version"`
	Kernel  string        `json:"kernel"`
	Mode    string        `json:"mode"` // "root" or "rootless"
	Layers  []layerReport `json:"layers"`
	Runs    bool          `json:"default_run"`       // a run with the default profile works
	Refusal string        `json:"refusal,omitempty"` // why not
}

// layerReport is one layer as it was probed.
type layerReport struct {
	Name   string   `json:"name"`
	State  string   `json:"state"`
	Detail string   `json:"detail"`
	Mend   []string `json:"mend,omitempty"` // lines: commands, or the text of a file
}

// examine probes everything. Its error is about doctor itself.
func examine(h Host) (*diagnosis, error) {
	facts := gatherFacts(h)
	d := &diagnosis{Version: h.Version, Kernel: facts.Kernel, Mode: "rootless", Layers: []layerReport{}}
	dir, err := newScratch(os.TempDir())
	if err != nil {
		return nil, fmt.Errorf("a folder for the probes: %w", err)
	}
	defer dir.remove()
	features, err := jail.Probe()
	if err != nil {
		d.Refusal = err.Error()
		return d, nil
	}
	if features.Privileged {
		d.Mode = "root"
	}
	x := &examination{host: h, facts: facts, features: features, dir: dir.path, d: d}
	x.layers()
	x.stateFolder()
	x.jails()
	return d, nil
}

// examination is one doctor's visit.
type examination struct {
	host     Host
	facts    hostFacts
	features jail.Features
	dir      string
	d        *diagnosis
	n        int   // folders handed out
	noUserNS bool  // so that nothing else can be tried in one
	overlay  error // why there is no place for an upper layer
}

func (x *examination) add(name, state, detail string, mend ...string) {
	x.d.Layers = append(x.d.Layers, layerReport{name, state, detail, mend})
}

// failed adds a layer that does not work.
func (x *examination) failed(name, state string, err error) {
	c := diagnose(name, err, x.facts)
	x.add(name, state, c.Why, c.Mend...)
}

// layers tries each layer by itself.
func (x *examination) layers() {
	const (
		user = unix.CLONE_NEWUSER
		mnt  = user | unix.CLONE_NEWNS
		pid  = user | unix.CLONE_NEWPID
	)
	for _, p := range []struct {
		layer, probe string
		flags        uintptr
		good         string
	}{
		{layerUser, "exists", user, "one id mapped"},
		{layerInner, "inner", user, "the agent's own, inside the first"},
		{layerMount, "mount", mnt, "a tmpfs was mounted in one"},
		{layerPID, "pid1", pid, "its first process is pid 1"},
		{layerNet, "exists", user | unix.CLONE_NEWNET, "made"},
		{layerIPC, "exists", user | unix.CLONE_NEWIPC, "made"},
		{layerUTS, "hostname", user | unix.CLONE_NEWUTS, "a host name was set in one"},
		{layerCgroupNS, "exists", user | unix.CLONE_NEWCGROUP, "made"},
		{layerProc, "proc", mnt | unix.CLONE_NEWPID, "a fresh one was mounted"},
		{layerLandlock, "landlock", 0, ""},
		{layerSeccomp, "seccomp", 0, ""},
		{layerNetwork, "network", user | unix.CLONE_NEWNET, "every address local, sockets, nftables logging to NFLOG"},
		{layerRedirect, "redirect", user | unix.CLONE_NEWNET, "ports above 1023, by nftables"},
		{layerTerminal, "devpts", mnt, "a pty of the jail's own devpts"},
	} {
		if x.noUserNS && p.flags != 0 {
			x.add(p.layer, stateMissing, "not tried: it needs a user namespace")
			continue
		}
		detail, err := x.probe(p.probe, p.flags)
		x.noUserNS = x.noUserNS || err != nil && p.layer == layerUser
		switch {
		case err != nil && p.layer == layerRedirect:
			x.failed(p.layer, stateDegraded, fmt.Errorf("a profile that allows a port above 1023 is refused: %w", err))
		case err != nil:
			x.failed(p.layer, stateMissing, err)
		case strings.Contains(detail, landlockLacks):
			x.add(p.layer, stateDegraded, detail, "boot a newer kernel to have the rest; the file view and the system call filter stand in")
		case detail != "":
			x.add(p.layer, stateWorks, detail)
		default:
			x.add(p.layer, stateWorks, p.good)
		}
	}
	if !x.noUserNS {
		x.overlays()
	}
	if x.features.Privileged {
		x.rootOnly()
	}
}

// overlays tries both places of an upper layer; one of them is enough.
func (x *examination) overlays() {
	const flags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS
	_, memory := x.probe("overlay", flags)
	disk := x.diskOverlay(flags)
	state := stateDegraded
	if memory != nil && disk != nil {
		state = stateMissing
		x.overlay = &jail.LayerError{Layer: layerOverlayOn, Err: disk}
	}
	for _, o := range []struct {
		layer, good string
		err         error
	}{{layerOverlay, "upper layer in memory", memory}, {layerOverlayOn, "upper layer on disk", disk}} {
		if o.err != nil {
			x.failed(o.layer, state, o.err)
		} else {
			x.add(o.layer, stateWorks, o.good)
		}
	}
}

// diskOverlay tries an upper layer where runs have theirs, in the state folder.
func (x *examination) diskOverlay(flags uintptr) error {
	dirs, err := findDirs(x.host.getenv, x.host.Home, x.host.UID)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dirs.State, 0o711); err != nil {
		return err
	}
	dir, err := newScratch(dirs.State)
	if err != nil {
		return err
	}
	defer dir.remove()
	_, err = x.probeIn(dir.path, "overlay-disk", flags)
	return err
}

// rootOnly tries what runs with real privilege use.
func (x *examination) rootOnly() {
	dirs, err := findDirs(x.host.getenv, x.host.Home, x.host.UID)
	if err == nil {
		var claim *jail.Claim
		if claim, err = jail.ClaimUIDs(dirs.UIDs); err == nil {
			x.add(layerUIDs, stateWorks, fmt.Sprintf("%d to %d is free", claim.Base, claim.Base+jail.UIDRange-1))
			err = claim.Release()
		}
	}
	if err != nil {
		x.failed(layerUIDs, stateMissing, err)
	}
	if _, err := x.probe("idmap", 0); err != nil {
		x.failed(layerIDMap, stateMissing, err)
	} else {
		x.add(layerIDMap, stateWorks, "a folder below "+os.TempDir()+" with other owners")
	}
}

// stateFolder sees that a trail can be written.
func (x *examination) stateFolder() {
	dirs, err := findDirs(x.host.getenv, x.host.Home, x.host.UID)
	if err == nil {
		if err = prepareDirs(dirs, x.host.UID); err == nil {
			err = tryWrite(dirs.State)
		}
	}
	if err != nil {
		x.add(layerState, stateMissing, errText(err), "make room in it or make it yours, or name another one: export XDG_STATE_HOME=/path")
		return
	}
	x.add(layerState, stateWorks, dirs.State)
}

// tryWrite writes as much as the beginning of a trail takes: a full disk still makes
// an empty file.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

// jails starts real jails: the default profile on a terminal, and again with limits.
func (x *examination) jails() {
	r := trial(x.host, defaultProfile, "in-jail", x.folder(), true)
	var le *jail.LayerError
	if errors.As(r.err, &le) && le.Layer == layerTerminal {
		r = trial(x.host, defaultProfile, "in-jail", x.folder(), false)
	}
	x.gateway(r)
	x.cgroup(r.err == nil)
	if r.err == nil {
		// The trial's upper layer was not in the state folder.
		r.err = x.overlay
	}
	if r.err != nil {
		x.d.Refusal = mended(r.err, x.facts).Error()
		return
	}
	x.d.Runs = true
}

func (x *examination) gateway(r trialRun) {
	if len(r.gateway) == 0 {
		detail := "it was not started, since the jail was not"
		if r.err == nil {
			detail = "it did not say how it is confined"
		}
		x.add(layerGateway, stateMissing, detail)
		return
	}
	var names []string
	for _, l := range r.gateway {
		names = append(names, strings.TrimPrefix(l.Name, "gateway ")+" ("+l.Probe+")")
	}
	x.add(layerGateway, stateWorks, "confined by "+strings.Join(names, ", "))
}

// cgroup runs a jail with limits, whose agent tries to get beyond them.
func (x *examination) cgroup(runs bool) {
	c := diagnoseCgroup(x.facts)
	none := "memory, cpus and processes can't be limited: "
	switch {
	case x.features.Cgroup == jail.CgroupNone:
		x.add(layerCgroup, stateMissing, none+x.features.CgroupWhy, c.Mend...)
		return
	case !runs:
		x.add(layerCgroup, stateDegraded, "limits were not tried, since a jail without any does not start")
		return
	}
	profile := filepath.Join(x.dir, "limits.hcl")
	text := fmt.Sprintf("extends = [%q]\nlimits {\n  memory = \"%dMiB\"\n  cpus = 1\n  processes = %d\n  enforce = \"strict\"\n}\n",
		defaultProfile, probeMemory>>20, probeProcesses)
	err := os.WriteFile(profile, []byte(text), 0o600)
	if err == nil {
		err = trial(x.host, profile, "in-limits", x.folder(), false).err
	}
	if err != nil {
		x.add(layerCgroup, stateMissing, none+errText(err), c.Mend...)
		return
	}
	x.add(layerCgroup, stateWorks, fmt.Sprintf("%s; limits of memory and processes held, cpus accepted", x.features.Cgroup))
}

// folder is a new folder for a probe.
func (x *examination) folder() string {
	x.n++
	path := filepath.Join(x.dir, fmt.Sprint(x.n))
	// A probe that gets no folder says so itself.
	_ = os.Mkdir(path, 0o711)
	return path
}

// probeTimeout ends a probe that hangs: each takes some milliseconds.
const probeTimeout = 20 * time.Second

// probe runs one child probe in new namespaces.
func (x *examination) probe(name string, flags uintptr) (string, error) {
	return x.probeIn(x.folder(), name, flags)
}

func (x *examination) probeIn(dir, name string, flags uintptr) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", probeArg, name, dir)
	cmd.Env = []string{"TMPDIR=" + os.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: unix.SIGKILL}
	if flags != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("the probe did not end within %s", probeTimeout)
	}
	var r probeResult
	if jerr := json.Unmarshal(out, &r); jerr == nil {
		return r.Detail, r.err()
	}
	switch {
	case err == nil:
		err = errors.New("the probe said nothing")
	case cmd.Process == nil:
		err = fmt.Errorf("clone: %w", pathCause(err)) // it was not even started
	}
	return "", fmt.Errorf("%w%s", err, oneLine("; ", []byte(said.String())))
}
