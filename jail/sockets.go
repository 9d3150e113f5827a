package jail

import (
	"fmt"
	"path/filepath"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// A Unix socket that has a path can be connected to by whoever may write to its
// inode, and neither a read-only mount nor Landlock before ABI 9 (Linux 7.1) is asked
// (unix_find_bsd in net/unix/af_unix.c looks at the inode's permission alone). In
// another view of the same files that is a hole: whatever listens on it on the host
// would serve the agent. What closes it:
//
//   - A folder that the agent may only read is shown through an overlay without an
//     upper layer. A file of an overlay is another inode than the one below, and a
//     socket is found by its inode, so connect and sendto answer ECONNREFUSED,
//     whenever the socket was made.
//   - A folder that the agent writes to must be the host's own. There each socket
//     that is found at the start is masked, and Landlock refuses the later ones where
//     it can. Where it can't, the layer is recorded as degraded.
//   - Single files need nothing: a bind of a file shows that inode for ever.

// staticFolders hold what does not change while the system runs: FHS 3.0, chapters 3
// and 4, which keeps sockets in /run and /var. They stay plain binds, since every
// program's start goes through them, and the host's list of sockets is asked about
// them too.
var staticFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"}

func static(path string) bool {
	if within(path, "/sys") { // sysfs takes no sockets
		return true
	}
	for _, dir := range staticFolders {
		if within(path, dir) {
			return true
		}
	}
	return false
}

// socketFolders are the folders in whose mounts the host's sockets would be
// reachable, by what has to be done to find them.
type socketFolders struct {
	live   []string // looked through
	static []string // compared with the host's list of sockets only
}

func (f Facts) socketFolders(s *profiles.Spec) socketFolders {
	var out socketFolders
	add := func(p Place, writable bool) {
		switch {
		case !p.Dir:
		case static(p.Real) && !writable:
			out.static = append(out.static, p.Real)
		case writable || p.Covers:
			out.live = append(out.live, p.Real)
		}
	}
	for _, grants := range []struct {
		list     []profiles.Pattern
		writable bool
	}{{s.Files.Exec, false}, {s.Files.Read, false}, {s.Files.Write, true}} {
		for _, p := range grants.list {
			for _, place := range f.Paths[p.Pattern] {
				if place.Real != "/" { // which no plan shows (view.paths)
					add(place, grants.writable)
				}
			}
		}
	}
	switch s.Workspace.Mode {
	case profiles.ModeDirect:
		add(f.Workspace, true)
	case profiles.ModeReadonly:
		add(f.Workspace, false)
	}
	return out
}

// SocketPlan is what keeps the agent from the host's Unix sockets.
type SocketPlan struct {
	Live   []string `json:"live,omitempty"`   // folders in which the host's own inodes are shown
	Masked []string `json:"masked,omitempty"` // sockets in them at the start
}

// sockets decides how each of the host's folders is shown, and masks the sockets
// that would be reachable. It comes after every mount is planned.
func (v *view) sockets(s *profiles.Spec) {
	if mutate.Off(mutate.HostSockets) {
		return
	}
	covers := map[string]bool{}
	for _, places := range v.facts.Paths {
		for _, p := range places {
			covers[p.Real] = p.Covers
		}
	}
	covers[v.facts.Workspace.Real] = v.facts.Workspace.Covers
	overlaid := s.Workspace.Mode == profiles.ModeOverlay
	for i, m := range v.plan.Mounts {
		own := m.Ino == 0 // made for this run
		switch {
		case m.Kind != MountBind || m.File || own || m.Rdev != 0:
		case within(m.Target, layersDir): // a seed's lower layer (seed_mount.go)
		case overlaid && m.Target == v.plan.Workspace.Path: // setUpWorkspace's lower layer
		case m.Writable || covers[m.Source] && !static(m.Source):
			v.plan.Sockets.Live = append(v.plan.Sockets.Live, m.Source)
		case !static(m.Source):
			v.plan.Mounts[i].Kind = MountView
		}
	}
	named := map[string]bool{}
	for _, p := range s.Files.Write {
		for _, place := range v.facts.Paths[p.Pattern] {
			named[place.Real] = named[place.Real] || !hasMeta(p.Pattern)
		}
	}
	for _, path := range v.facts.Sockets {
		if named[path] || overlaid && within(path, v.plan.Workspace.Path) {
			continue
		}
		v.plan.Sockets.Masked = append(v.plan.Sockets.Masked, path)
		v.plan.Deny = append(v.plan.Deny, DenyMask{Path: path, Origin: "a Unix socket of the host"})
	}
}

// grantSocket says what to do with a grant whose path is itself a socket: nothing
// about reading makes sense of one, and a pattern that happens to match one did not
// name it. Its own name under files { write } does.
func grantSocket(g grant, pattern string) (skip bool, err error) {
	switch {
	case !g.place.Socket:
		return false, nil
	case hasMeta(pattern):
		return true, nil
	case g.access != accessWrite:
		return false, fmt.Errorf("%s: %s is a Unix socket, and to read one is to talk to whatever listens on it\nhint: name it under files { write = [...] } if the agent may", g.origin, filepath.Clean(pattern))
	}
	return false, nil
}

// layer says what is in force of it.
func (p SocketPlan) layer(landlock LandlockPlan) Layer {
	l := Layer{Name: "unix sockets", State: "enforced", Detail: "no folder shows one of the host's"}
	if len(p.Live) == 0 && len(p.Masked) == 0 {
		return l
	}
	l.Detail = fmt.Sprintf("%d masked", len(p.Masked))
	switch {
	case len(p.Live) == 0:
	case landlock.FS&rightResolveUnix != 0:
		l.Detail += ", later ones refused by Landlock"
	default:
		l.State = "degraded"
		l.Detail += fmt.Sprintf("; one that the host makes later in %s can be connected to (Linux 7.1 refuses it)", joinSome(p.Live))
	}
	return l
}

// joinSome names the first of a list and counts the rest.
func joinSome(list []string) string {
	if len(list) > 1 {
		return fmt.Sprintf("%s and %d other folders", list[0], len(list)-1)
	}
	return list[0]
}
