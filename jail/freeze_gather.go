package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// gatherer holds a jail that was given no cgroup, since no limit wants one, on a host
// whose freezer may be used: it makes a cgroup, has it freeze while it is empty, and moves
// every process of the jail in. One that comes into a frozen cgroup is held there and
// then (freezer-subsystem.rst, cgroup-v2.rst), so that what is left gets smaller each
// time. What was moved stays, and its children with it.
type gatherer struct {
	j   *Jail
	dir string
	freezer
}

// freezer is a hold by the file of a cgroup.
type freezer interface {
	hold
	file() string
	begin() error // lets the kernel hold what is in it and what comes in
}

// freezerFolder is where a cgroup for a freeze is made: below our own in v1's hierarchy
// or at the top of a hybrid host's v2, which is where libcontainer makes its own. Only
// with real privilege. A host with v2 alone has given the jail a cgroup at its start.
func freezerFolder(p *Plan) (dir string, v2 bool) {
	if p.Rootless || cgroups.IsCgroup2UnifiedMode() {
		return "", false
	}
	if cgroups.IsCgroup2HybridMode() {
		if parent, err := cgroups.GetOwnCgroupPath(""); err == nil {
			return filepath.Join(parent, cgroupName(p.ID)), true
		}
	}
	parent, err := cgroups.GetOwnCgroupPath("freezer")
	if err != nil {
		return "", false
	}
	return filepath.Join(parent, cgroupName(p.ID)), false
}

// gather makes the cgroup, and sees whether PID 1 may be moved into it; nil where the
// host does not give one.
func (j *Jail) gather() hold {
	dir, v2 := freezerFolder(j.plan)
	if dir == "" {
		return nil
	}
	if j.gathered == "" {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil
		}
		j.gathered = dir
	}
	g := &gatherer{j: j, dir: dir, freezer: &freezerV1{j, dir}}
	if v2 {
		g.freezer = &freezerV2{j, dir}
	}
	if _, err := os.Stat(filepath.Join(dir, g.file())); err != nil { // v2 has it since Linux 5.2
		return nil
	}
	if err := g.move(j.initPID); err != nil {
		return nil
	}
	return g
}

func (g *gatherer) move(pid int) error {
	return os.WriteFile(filepath.Join(g.dir, cgroups.CgroupProcesses), []byte(strconv.Itoa(pid)), 0)
}

func (g *gatherer) freeze(deadline time.Time) (Frozen, error) {
	if err := errors.Join(g.begin(), g.moveAll(deadline)); err != nil {
		return Frozen{}, errors.Join(err, g.thaw())
	}
	return g.freezer.freeze(deadline)
}

// moveAll returns once every process of the jail's pid namespace is in the cgroup, at two
// looks in a row.
func (g *gatherer) moveAll(deadline time.Time) error {
	for calm := 0; calm < settled; {
		inside, err := cgroups.GetPids(g.dir)
		if err != nil {
			return err
		}
		calm++
		for _, pid := range append(g.j.processes(), g.j.initPID) {
			if slices.Contains(inside, pid) || hasEnded(pid) {
				continue
			}
			calm = 0
			if err := g.move(pid); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("move process %d: %w", pid, err)
			}
		}
		if calm == 0 && time.Now().After(deadline) {
			return errors.New("it starts processes faster than they can be held")
		}
	}
	return g.onlyOurs()
}

// onlyOurs gives back whatever came in under a number that had become another's between
// the look and the move.
func (g *gatherer) onlyOurs() error {
	inside, err := cgroups.GetPids(g.dir)
	if err != nil {
		return err
	}
	namespace, err := os.Readlink("/proc/" + strconv.Itoa(g.j.initPID) + "/ns/pid")
	if err != nil {
		return err
	}
	for _, pid := range inside {
		if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err != nil || inNamespace(pid, namespace) || hasEnded(pid) {
			continue
		}
		if err := cgroups.WriteCgroupProc(filepath.Dir(g.dir), pid); err != nil {
			return fmt.Errorf("process %d is the host's: %w", pid, err)
		}
	}
	return nil
}

// hasEnded says whether all of a process's threads have.
func hasEnded(pid int) bool {
	for _, tid := range threadsOf(pid) {
		if s, ok := readThread(pid, tid); ok && s.state != 'Z' && s.state != 'X' {
			return false
		}
	}
	return true
}
