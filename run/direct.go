package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/changes"
	"github.com/agentjail/agentjail/run/gate"
)

// The gate in direct mode. What is there when the run begins is a read-only mount of
// itself (package jail), and so are some folders that are not (direct_early.go). What else
// is not there the kernel can't keep from being made without a race: a mount needs something
// to be mounted on, and an empty file means something to whoever reads it; Landlock knows no
// names; and a system call that is judged by its path (direct_names.go) can have another one
// by the time that it is carried out (seccomp_unotify(2)). So what the agent made all the
// same is taken out before the run returns, into the folder dirTaken of the run's state.

// gateOf is the gate with what a profile adds to it and lets through.
func gateOf(s *profiles.Spec) (*gate.Gate, error) {
	var extra []gate.Extra
	for _, h := range s.Apply.Hold {
		why := h.Reason
		if why == "" {
			why = "the profile holds it back"
		}
		extra = append(extra, gate.Extra{Pattern: h.Pattern, Why: why + " (" + h.Origin.String() + ")"})
	}
	return gate.New(extra, func(p string) bool {
		_, ok := s.Apply.Allows(p)
		return ok
	})
}

// spec is the profile that a run had.
func (r *runChanges) spec() (*profiles.Spec, error) {
	data, err := os.ReadFile(r.path(fileProfile))
	if err != nil {
		return nil, fmt.Errorf("the profile of run %s: %w", r.info.ID, pathCause(err))
	}
	var s profiles.Spec
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("the profile of run %s: %w", r.info.ID, err)
	}
	return &s, nil
}

// directGuard is the gate of one run in direct mode.
type directGuard struct {
	gate      *gate.Gate
	protected []jail.Protected
	before    map[[2]uint64]string // what was there, by device and inode: see identity
	links     []changes.Place      // symlinks, which come back
	unread    map[string][2]uint64 // what could not be looked into before the agent came, by its inode
	was       before               // for what only the content tells
	early     []string             // folders that were made, empty, so that the agent can't
	notEarly  error                // why not all of them
	names     names
}

// Bounds of the walk, which is that of an overlay's scan; of the mounts; of the paths that
// are copied when they are taken out, and of those that are named afterwards: an agent
// makes as many as it likes.
const (
	maxDirectEntries = 5_000_000
	maxProtected     = 4096
	maxCopiedOut     = 5000
	maxNamedOut      = 1000
)

// inodeOf is the device and inode of a path of the workspace; zero where it can't be seen.
func inodeOf(workspace, path string) (at [2]uint64) {
	var st unix.Stat_t
	if unix.Lstat(filepath.Join(workspace, path), &st) == nil {
		at = [2]uint64{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is 32 bits wide elsewhere
	}
	return at
}

// guardDirect finds what must stay as it is.
func guardDirect(spec *profiles.Spec, workspace string) (*directGuard, error) {
	g := &directGuard{before: map[[2]uint64]string{}, unread: map[string][2]uint64{}}
	var err error
	if g.gate, err = gateOf(spec); err != nil {
		return nil, err
	}
	g.names = names{guard: g, allows: len(spec.Apply.Allow) > 0, folders: map[string]string{}}
	if g.was.clock, err = clockNow(); err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	var compared []changes.Entry
	found, err := g.look(workspace, g.remember(&compared))
	if err != nil {
		return nil, err
	}
	if err := g.readRemembered(workspace, compared); err != nil {
		return nil, err
	}
	hint := "hint: say apply { allow \"FOLDER/**\" { reason = \"...\" } } for folders that the agent may have, or workspace { mode = \"overlay\" }"
	if found.Cut {
		return nil, fmt.Errorf("workspace %s has too many files for mode = \"direct\", which looks at each name\n%s", workspace, hint)
	}
	for _, p := range found.Places {
		if p.Type == changes.TypeSymlink {
			if err := g.symlink(workspace, p); err != nil {
				return nil, err
			}
			continue
		}
		if p.Type == changes.TypeFile || p.Type == changes.TypeFolder {
			g.protected = append(g.protected, jail.Protected{Path: p.Path, Dev: p.Dev, Ino: p.Ino})
		}
		g.before[[2]uint64{p.Dev, p.Ino}] = identity(p)
	}
	for _, u := range found.Unread {
		g.unread[u.Path] = inodeOf(workspace, u.Path)
	}
	for _, p := range g.protected {
		if !utf8.ValidString(p.Path) {
			return nil, fmt.Errorf("workspace %s has %q, which mode = \"direct\" can't write-protect: its name is no UTF-8\n%s", workspace, p.Path, hint)
		}
	}
	if n := len(g.protected); n > maxProtected {
		return nil, fmt.Errorf("workspace %s has %d files and folders that the host executes or trusts, and mode = \"direct\" write-protects at most %d of them\n%s", workspace, n, maxProtected, hint)
	}
	return g, nil
}

// identity tells a place from another one that got its inode's number: what is mounted on
// itself can't be removed, so that nothing gets its number, and of the rest nothing
// matters but this.
func identity(p changes.Place) string { return p.Type + "\x00" + p.Target }

func (g *directGuard) look(workspace string, seen func(changes.Entry)) (changes.Found, error) {
	root, err := openWorkspace(workspace)
	if err != nil {
		return changes.Found{}, err
	}
	defer root.Close()
	return changes.Places(root, g.gate.Protects, seen, changes.Limits{Entries: maxDirectEntries})
}

// symlink protects what a symlink of the host's leads to, where that is in the workspace
// too; the symlink itself can't be mounted on. Another one in its place is taken out, and
// it comes back.
func (g *directGuard) symlink(workspace string, p changes.Place) error {
	g.before[[2]uint64{p.Dev, p.Ino}] = identity(p)
	g.links = append(g.links, p)
	real, err := filepath.EvalSymlinks(filepath.Join(workspace, p.Path))
	if err != nil {
		return nil // it leads nowhere, or where the caller can't go
	}
	rel, err := filepath.Rel(workspace, real)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return nil // not in the workspace: what else of the host is written, the profile says
	}
	var st unix.Stat_t
	if err := unix.Lstat(real, &st); err != nil {
		return &os.PathError{Op: "stat", Path: real, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFREG || kind == unix.S_IFDIR {
		g.protected = append(g.protected, jail.Protected{Path: rel, Dev: uint64(st.Dev), Ino: st.Ino}) //nolint:unconvert // Dev is 32 bits wide elsewhere
	}
	return nil
}

// takeOut takes out what the agent made in the workspace that the host would execute or
// trust. Nothing runs in the jail any more.
func (s *session) takeOut() error {
	g, workspace := s.direct, s.plan.Workspace.Path
	found, changed, err := g.lookAgain(workspace)
	if err != nil {
		return err
	}
	var dst *os.Root
	var errs []error
	taken := 0
	for _, p := range found.Places {
		if g.before[[2]uint64{p.Dev, p.Ino}] == identity(p) {
			continue
		}
		if dst == nil {
			dir := filepath.Join(s.state, dirTaken)
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			if dst, err = os.OpenRoot(dir); err != nil {
				return err
			}
			defer dst.Close()
		}
		what, m, err := "", &changes.Manifest{}, error(nil)
		if taken++; taken <= maxCopiedOut {
			what, m, err = changes.TakeOut(workspace, p, dst, ".agentjail-"+s.id)
		} else {
			what, err = changes.SetAside(workspace, p, ".agentjail-"+s.id)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s, which the agent made and the host would trust, can't be taken out of the workspace: %w", shown(p.Path), err))
		} else {
			if len(s.info.Taken) < maxNamedOut { // the trail has all of them
				s.info.Taken = append(s.info.Taken, strings.ToValidUTF8(p.Path, "\ufffd"))
			}
			s.taken.Files = append(s.taken.Files, m.Files...)
			s.taken.LeftOut = append(s.taken.LeftOut, m.LeftOut...)
			s.taken.Size += m.Size
		}
		outcome := audit.Blocked
		if err != nil {
			outcome, what = audit.Failed, "it is still there: "+err.Error()
		}
		s.sink.Emit(audit.Finding{Title: "made by the agent in the host's own folder: " + p.Path, Detail: what + "; " + p.Why, Severity: "high", Outcome: outcome})
	}
	for _, u := range found.Unread {
		s.sink.Emit(audit.Finding{Title: "nobody looked into " + u.Path + " of the workspace", Detail: u.Reason, Severity: "medium", Outcome: audit.Failed})
		errs = append(errs, fmt.Errorf("nobody looked into %s of the workspace, which the agent could write to: %s", shown(u.Path), u.Reason))
		if len(errs) >= maxTold {
			break
		}
	}
	errs = append(errs, g.putBack(workspace), s.lookInto(changed))
	if dst != nil {
		s.taken.Schema = changes.ManifestSchema
		errs = append(errs, writeManifest(filepath.Join(s.state, dirTaken), &s.taken))
	}
	return errors.Join(errs...)
}

// lookAgain looks at the workspace when the run has ended. A folder that the agent has
// closed is opened where the supervisor can't read it without (it can in a user namespace
// of its own): whoever opens it later would find what nobody looked into. What stays in Unread is what that did not help with.
func (g *directGuard) lookAgain(workspace string) (changes.Found, *changedFiles, error) {
	const rounds = 8 // closed folders in closed folders
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return changes.Found{}, nil, fmt.Errorf("workspace %s: %w", workspace, pathCause(err))
	}
	defer root.Close()
	now, err := clockNow()
	if err != nil {
		return changes.Found{}, nil, fmt.Errorf("read the clock: %w", err)
	}
	for round := 0; ; round++ {
		changed, seen := g.collect(now)
		found, err := g.look(workspace, seen)
		if err != nil {
			return found, nil, err
		}
		found.Unread = slices.DeleteFunc(found.Unread, func(u changes.Unread) bool {
			at, known := g.unread[u.Path]
			return known && at == inodeOf(workspace, u.Path) // the agent could not either
		})
		if len(found.Unread) == 0 || round == rounds {
			return found, changed, nil
		}
		opened := false
		for _, u := range found.Unread {
			opened = root.Chmod(u.Path, 0o700) == nil || opened
		}
		if !opened {
			return found, changed, nil
		}
	}
}

// putBack makes the host's own symlinks again that the agent removed.
func (g *directGuard) putBack(workspace string) error {
	if len(g.links) == 0 {
		return nil
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, l := range g.links {
		// Where its folder is gone too, or something harmless has its name, it stays gone.
		if _, err := root.Lstat(filepath.Dir(l.Path)); err != nil {
			continue
		}
		if err := root.Symlink(l.Target, l.Path); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make the symlink %s again, which the agent removed: %w", shown(l.Path), err)
		}
	}
	return nil
}

// maxTold bounds the sentences about one trouble.
const maxTold = 20

// takenNames is for people: the first of them.
func (s *session) takenNames() string {
	const most = 8
	var names []string
	for i, p := range s.info.Taken {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(s.info.Taken)-most))
			break
		}
		names = append(names, shown(p))
	}
	return strings.Join(names, ", ")
}
