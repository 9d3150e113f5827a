package jail

import (
	"errors"
	"fmt"
	"math"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// InsideDir is where the jail keeps what it says to the agent; it is read-only
// inside. What it was set up from (setupDir, layersDir) is unmounted before the
// agent starts.
const InsideDir = "/run/agentjail"

const (
	layersDir  = InsideDir + "/layers"
	canaryPath = InsideDir + "/canary"
	// CABundlePath is where Debian, Ubuntu and their OpenSSL look for the roots.
	CABundlePath = "/etc/ssl/certs/ca-certificates.crt"
)

// systemReads are files of /sys that runtimes read to count CPUs and memory (Go
// reads hpage_pmd_size, glibc and the JVM the CPU lists).
var systemReads = []string{
	"/sys/devices/system/cpu",
	"/sys/kernel/mm/transparent_hugepage",
}

// jailDevices are bind-mounted from the host, since mknod needs privilege over the
// initial namespace; their numbers are those of the kernel's devices.txt, and each
// is checked. /dev/null is libcontainer's.
var jailDevices = []struct {
	path         string
	major, minor uint32
}{
	{"/dev/null", 1, 3}, {"/dev/zero", 1, 5}, {"/dev/full", 1, 7},
	{"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
}

// access is how much of a path the jail sees, in rising order.
type access int

const (
	accessRead access = iota + 1
	accessExec
	accessWrite
)

// view builds the file view: links, files, mounts, and the Landlock rules that say
// the same a second time.
type view struct {
	plan     *Plan
	features Features
	facts    Facts
	rules    []LandlockRule
	tmpIDs   string // mount options that make a tmpfs the agent's
}

func newView(p *Plan, f Features, facts Facts) *view {
	return &view{plan: p, features: f, facts: facts,
		tmpIDs: fmt.Sprintf("uid=%d,gid=%d", p.IDs.AgentUID, p.IDs.AgentGID)}
}

func (v *view) build(s *profiles.Spec, r Request) error {
	v.base(s.Workspace)
	if err := v.paths(s.Files); err != nil {
		return err
	}
	v.generated(r)
	if err := v.workspace(s.Workspace, r); err != nil {
		return err
	}
	v.hide(s.Workspace)
	if err := v.deny(s.Files); err != nil {
		return err
	}
	v.denyPrograms(s.Process)
	if err := v.seeds(s.Files); err != nil {
		return err
	}
	v.sockets(s)
	// Outer mounts first; of two at one place, the later asked for stays on top.
	sort.SliceStable(v.plan.Mounts, func(i, j int) bool {
		return depth(v.plan.Mounts[i].Target) < depth(v.plan.Mounts[j].Target)
	})
	return nil
}

// inodes is a number for a tmpfs, to which 0 would be no limit (tmpfs(5)).
func inodes(files int64) int64 {
	if mutate.Off(mutate.Disk) {
		return math.MaxInt32
	}
	return max(files, 1)
}

// bytesOf is a size for a tmpfs, to which 0 would be no limit either.
func bytesOf(size int64) int64 {
	if mutate.Off(mutate.Disk) {
		return 1 << 40
	}
	return max(size, 1)
}

func depth(p string) int { return strings.Count(filepath.Clean(p), "/") }

// base is what every jail has: /proc, a minimal /dev, fresh temporary folders and
// a fresh home.
func (v *view) base(w profiles.Workspace) {
	// Files cost the kernel's memory even when they are empty.
	files := fmt.Sprintf(",nr_inodes=%d", inodes(w.Files))
	v.mount(Mount{Kind: MountProc, Target: "/proc"})
	// ptmxmode=0666: openpty as an ordinary user; a private instance since
	// newinstance is the only kind (Linux 4.7).
	v.mount(Mount{Kind: MountPts, Target: "/dev/pts", Writable: true, Options: "newinstance,ptmxmode=0666,mode=0620"})
	v.mount(Mount{Kind: MountTmpfs, Target: "/dev/shm", Writable: true, Options: "mode=1777,size=50%" + files})
	v.mount(Mount{Kind: MountTmpfs, Target: "/tmp", Writable: true, Options: "mode=1777,size=50%" + files})
	v.mount(Mount{Kind: MountTmpfs, Target: "/var/tmp", Writable: true, Options: "mode=1777,size=50%" + files})
	v.mount(Mount{Kind: MountTmpfs, Target: AgentHome, Writable: true, Options: "mode=0700,size=50%," + v.tmpIDs + files})
	v.mount(Mount{Kind: MountTmpfs, Target: layersDir, Writable: true, Options: "mode=0700"})

	// Folder listings give nothing away that the mounts do not: the view itself is
	// all there is. Reading needs a rule.
	v.rule("/", ll.AccessFSReadDir, "")
	v.rule("/proc", rightsRead|ll.AccessFSWriteFile, "") // /proc/self/{comm,oom_score_adj}; /proc/sys is read-only
	v.rule("/etc", rightsRead, "")
	v.rule("/sys", rightsRead, "")
	for _, dir := range []string{"/dev/shm", "/tmp", "/var/tmp", AgentHome} {
		v.rule(dir, rightsWrite|ll.AccessFSExecute, "")
	}
	v.rule("/dev/pts", rightsDevice|ll.AccessFSReadDir, "")
	for _, dev := range jailDevices {
		v.rules = append(v.rules, LandlockRule{Path: dev.path, Rights: rightsDevice, File: true})
		if dev.path != "/dev/null" {
			v.mount(Mount{Kind: MountBind, Source: dev.path, Target: dev.path, Writable: true, File: true,
				Rdev: unix.Mkdev(dev.major, dev.minor)})
		}
	}
}

func (v *view) mount(m Mount) { v.plan.Mounts = append(v.plan.Mounts, m) }

func (v *view) rule(path string, rights uint64, origin string) {
	v.rules = append(v.rules, LandlockRule{Path: path, Rights: rights, Origin: origin})
}

type grant struct {
	place  Place
	access access
	origin string
}

// paths binds what the profile reads, executes and writes.
func (v *view) paths(f profiles.Files) error {
	var grants []grant
	collect := func(list []profiles.Pattern, a access) error {
		for _, p := range list {
			for _, place := range v.facts.Paths[p.Pattern] {
				for _, g := range v.capped(f.Ceiling, grant{place, a, p.Origin.String()}) {
					skip, err := grantSocket(g, p.Pattern)
					if err != nil {
						return err
					}
					if !skip {
						grants = append(grants, g)
					}
				}
			}
		}
		return nil
	}
	if err := errors.Join(collect(f.Exec, accessExec), collect(f.Read, accessRead), collect(f.Write, accessWrite)); err != nil {
		return err
	}
	for _, p := range systemReads {
		place, err := resolveFact(v.facts, p)
		if err == nil { // the jail's own, which no profile and no ceiling is about
			grants = append(grants, grant{place, accessRead, ""})
		}
	}
	for _, g := range grants {
		if g.place.Real == "/" {
			return fmt.Errorf("%s: the whole file system can't be in the jail's view\nhint: name the folders that the agent needs", g.origin)
		}
		if within(g.place.Real, "/proc") || within(g.place.Real, "/dev") || g.access == accessWrite && within(g.place.Real, "/sys") {
			return fmt.Errorf("%s: %s belongs to the kernel and can't be in the jail's view", g.origin, g.place.Real)
		}
	}
	// Shallow first, so that what lies below another grant needs no mount.
	sort.SliceStable(grants, func(i, j int) bool { return depth(grants[i].place.Real) < depth(grants[j].place.Real) })
	mounted := map[string]access{}
	for _, g := range grants {
		for _, l := range g.place.Links {
			v.link(l, mounted)
		}
		v.grantRule(g)
		// With real privilege, what others can't read needs its owner mapped.
		if covered(mounted, g) && !(v.features.Privileged && g.place.Private) {
			continue
		}
		mounted[g.place.Real] = max(mounted[g.place.Real], g.access)
		m := Mount{Kind: MountBind, Source: g.place.Real, Target: g.place.Real, Writable: g.access == accessWrite,
			Dev: g.place.Dev, Ino: g.place.Ino, File: !g.place.Dir, Private: g.place.Private, Origin: g.origin}
		// A grant means that the agent can use what it names, also where the host lets
		// only the owner: what the caller gives away shows up as the agent's own, as it
		// does without real privilege.
		if v.features.Privileged && (m.Writable || m.Private) {
			m.IDMap = &g.place.Owner
		}
		v.mount(m)
	}
	return nil
}

// capped is what the ceiling leaves of a grant: all of it where the ceiling names it or
// a folder above it, else the places below it that the ceiling names.
func (v *view) capped(c *profiles.FilesCeiling, g grant) []grant {
	left := []grant{g}
	ops := map[access]profiles.Op{accessRead: profiles.OpRead, accessExec: profiles.OpExec, accessWrite: profiles.OpWrite}
	for _, list := range c.Lists(ops[g.access]) {
		var next []grant
		for _, g := range left {
			next = append(next, v.within(list, g)...)
		}
		left = next
	}
	return left
}

func (v *view) within(list []profiles.Pattern, g grant) (left []grant) {
	for _, p := range list {
		for _, place := range v.facts.Paths[p.Pattern] {
			switch {
			case within(g.place.Real, place.Real):
				return []grant{g}
			case place.Socket: // who grants a folder grants no socket in it
			case within(place.Real, g.place.Real):
				left = append(left, grant{place, g.access, g.origin + ", capped by " + p.Origin.String()})
			}
		}
	}
	return left
}

func (v *view) grantRule(g grant) {
	rights := map[access]uint64{accessRead: rightsRead, accessExec: rightsExec, accessWrite: rightsWrite}[g.access]
	if g.place.Socket {
		rights |= rightResolveUnix
	}
	v.rules = append(v.rules, LandlockRule{Path: g.place.Real, Rights: rights, File: !g.place.Dir, Origin: g.origin})
}

// covered says whether a mount that is already there shows the same at least as
// openly: a writable grant below a read-only one needs a mount of its own.
func covered(mounted map[string]access, g grant) bool {
	for dir := g.place.Real; ; dir = filepath.Dir(dir) {
		if a, ok := mounted[dir]; ok {
			return a == accessWrite || g.access != accessWrite
		}
		if dir == "/" {
			return false
		}
	}
}

// link repeats a symlink of the host, unless a mount already shows it.
func (v *view) link(l Link, mounted map[string]access) {
	if covered(mounted, grant{place: Place{Real: filepath.Dir(l.Path)}, access: accessRead}) {
		return
	}
	if !slices.Contains(v.plan.Links, l) {
		v.plan.Links = append(v.plan.Links, l)
	}
}

// generated are the files of the jail's own /etc and /run/agentjail.
func (v *view) generated(r Request) {
	files := []File{
		{Path: "/etc/passwd", Content: fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\n%s:x:%d:%d::%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", AgentName, AgentID, AgentID, AgentHome)},
		{Path: "/etc/group", Content: fmt.Sprintf("root:x:0:\n%s:x:%d:\nnogroup:x:65534:\n", AgentName, AgentID)},
		{Path: "/etc/nsswitch.conf", Content: "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"},
		{Path: "/etc/hostname", Content: v.plan.Hostname + "\n"},
		// The stage tries to open it once Landlock is in force: no rule covers it.
		{Path: canaryPath, Content: "no rule grants this file; agentjail checks with it that Landlock is in force\n"},
	}
	files = append(files, r.Files...)
	for _, f := range files {
		if f.Mode == 0 {
			f.Mode = 0o644
		}
		if f.Live {
			v.link(Link{Path: f.Path, Target: filepath.Join(filepath.Base(liveDir), filepath.Base(f.Path))}, nil)
			f.Path = livePath(f.Path)
			v.plan.Files = append(v.plan.Files, f)
			v.rules = append(v.rules, LandlockRule{Path: liveDir, Rights: rightsRead})
			continue
		}
		v.plan.Files = append(v.plan.Files, f)
		if strings.HasPrefix(f.Path, InsideDir+"/") && f.Path != canaryPath {
			v.rules = append(v.rules, LandlockRule{Path: f.Path, Rights: rightsRead, File: true})
		}
	}
	for _, path := range r.Sockets {
		v.plan.Served = append(v.plan.Served, path)
		v.rules = append(v.rules, LandlockRule{Path: path, Rights: ll.AccessFSResolveUnix, File: true})
	}
	if r.CABundle != "" {
		// Written beside the root and bound over the host's bundle, which lies in a
		// read-only mount of the host's /etc/ssl/certs.
		src := filepath.Join(v.plan.Scratch, "ca-certificates.crt")
		v.mount(Mount{Kind: MountBind, Source: src, Target: CABundlePath, File: true})
	}
}

func (v *view) workspace(w profiles.Workspace, r Request) error {
	place := v.facts.Workspace
	if w.Mode == "" {
		return fmt.Errorf("workspace %s has no mode", w.Path)
	}
	if !w.Lies(place.Real) {
		return fmt.Errorf("workspace %s is not in %s, which this machine's ceiling wants it to be in\nhint: start in a folder below it, or name one with --workspace", place.Real, w.Within)
	}
	v.plan.Workspace = WorkspacePlan{Path: place.Real, Mode: w.Mode, Size: w.Size, Files: w.Files, Perm: place.Perm & 0o777,
		Hidden: v.facts.Hidden, Copies: v.facts.Foreign}
	wp := &v.plan.Workspace
	for _, l := range place.Links {
		v.link(l, nil)
	}
	bind := Mount{Kind: MountBind, Source: place.Real, Target: place.Real, Dev: place.Dev, Ino: place.Ino, Origin: w.Origin.String()}
	if v.features.Privileged {
		bind.IDMap = &place.Owner
	}
	rights := uint64(rightsWrite | ll.AccessFSExecute)
	switch w.Mode {
	case profiles.ModeOverlay:
		wp.Upper = w.Upper
		if w.Upper == profiles.UpperAuto || w.Upper == "" {
			wp.Upper = profiles.UpperDisk
			if v.features.TmpfsXattr {
				wp.Upper = profiles.UpperMemory
			}
		}
		if wp.Upper == profiles.UpperMemory && !v.features.TmpfsXattr {
			return &LayerError{Layer: "overlay", Err: fmt.Errorf("this kernel's tmpfs can't hold an overlay's upper layer in a user namespace (before Linux 6.6)"),
				Hint: `say workspace { upper = "disk" } or leave upper out`}
		}
		if wp.Upper == profiles.UpperDisk {
			wp.Disk = filepath.Join(r.StateDir, "upper")
			v.mount(Mount{Kind: MountBind, Source: wp.Disk, Target: layersDir + "/disk", Writable: true, Private: true})
		}
		v.mount(bind)
	case profiles.ModeDirect:
		bind.Writable = true
		v.mount(bind)
	case profiles.ModeReadonly:
		rights = rightsExec
		v.mount(bind)
	case profiles.ModeEmpty:
		wp.Upper = profiles.UpperMemory
		v.mount(Mount{Kind: MountTmpfs, Target: place.Real, Writable: true,
			Options: fmt.Sprintf("mode=0755,size=%d,nr_inodes=%d,%s", bytesOf(w.Size), inodes(w.Files), v.tmpIDs)})
	default:
		return fmt.Errorf("workspace mode %q is not known", w.Mode)
	}
	v.rule(place.Real, rights, w.Origin.String())
	return nil
}

// hide masks what is hidden where the workspace is the host's own.
func (v *view) hide(w profiles.Workspace) {
	if !masksHidden(w.Mode) {
		return
	}
	for _, rel := range v.plan.Workspace.Hidden {
		pattern, _ := w.Hides(rel)
		v.plan.Deny = append(v.plan.Deny, DenyMask{Path: filepath.Join(v.plan.Workspace.Path, rel), Origin: pattern.Origin.String()})
	}
	v.plan.Workspace.Hidden = nil
}

// deny masks what exists of the denied paths and would otherwise be seen. What no
// mount shows needs no mask; in an overlay the workspace's own are whiteouts.
func (v *view) deny(f profiles.Files) error {
	for _, p := range f.Deny {
		for _, place := range v.facts.Paths[p.Pattern] {
			if v.plan.Workspace.Mode == profiles.ModeOverlay && place.Real != v.plan.Workspace.Path && within(place.Real, v.plan.Workspace.Path) {
				rel, err := filepath.Rel(v.plan.Workspace.Path, place.Real)
				if err != nil {
					return err
				}
				v.plan.Workspace.Hidden = append(v.plan.Workspace.Hidden, rel)
				continue
			}
			if !v.shown(place.Real) {
				continue
			}
			if place.Real == v.plan.Workspace.Path {
				return fmt.Errorf("%s: the workspace %s itself is denied", p.Origin, place.Real)
			}
			v.plan.Deny = append(v.plan.Deny, DenyMask{Path: place.Real, Dir: place.Dir, Origin: p.Origin.String()})
		}
	}
	return nil
}

// shown says whether some bind of the host's shows a path.
func (v *view) shown(p string) bool {
	return slices.ContainsFunc(v.plan.Mounts, func(m Mount) bool {
		return m.Kind == MountBind && within(p, m.Target)
	})
}

// within says whether p is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

func resolveFact(f Facts, p string) (Place, error) {
	if places := f.Paths[p]; len(places) == 1 {
		return places[0], nil
	}
	return Place{}, fmt.Errorf("%s: not looked at", path.Clean(p))
}
