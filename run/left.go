package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/agentjail/agentjail/run/changes"
)

// runChanges is what a run changed, read back from its state folder.
type runChanges struct {
	info Info
	list *changes.List
	path func(name string) string // of a file in the state folder
}

// openChanges reads the list of a run's changes.
func openChanges(i Info) (*runChanges, error) {
	r := &runChanges{info: i, path: func(name string) string { return filepath.Join(i.dir, name) }}
	f, err := os.Open(r.path(fileChanges))
	if errors.Is(err, fs.ErrNotExist) {
		switch {
		case i.State() == StateRunning:
			return nil, fmt.Errorf("run %s goes on\nhint: its changes are there once it ends", i.ID)
		case i.Mode == "direct" || i.Mode == "readonly":
			return nil, fmt.Errorf("run %s had its workspace in %s mode, in which there is nothing between it and the host's folder\nhint: mode = \"overlay\" keeps changes apart until they are applied", i.ID, i.Mode)
		case i.State() == StateCrashed:
			return nil, fmt.Errorf("run %s was killed before its changes were collected, and they are gone", i.ID)
		}
		if i.Reason == failedToStart {
			return nil, fmt.Errorf("run %s failed to start, and changed nothing\nhint: agentjail runs lists the others; name one of them", i.ID)
		}
		return nil, fmt.Errorf("run %s has no list of changes\nhint: its state folder is %s", i.ID, i.dir)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.list, err = changes.ReadJSON(f); err != nil {
		return nil, fmt.Errorf("run %s: %w", i.ID, err)
	}
	return r, nil
}

// runAndPaths tells a run from the paths behind it: the first argument is a run if
// there is one of that name, and a path of the last one's changes otherwise.
func runAndPaths(h Host, args []string) (*runChanges, []string, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return nil, nil, err
	}
	what, paths := "", args
	if len(args) > 0 {
		if _, err := findRun(d, args[0]); err == nil {
			what, paths = args[0], args[1:]
		}
	}
	i, err := findRun(d, what)
	if err != nil {
		return nil, nil, err
	}
	r, err := openChanges(i)
	if err != nil {
		return nil, nil, err
	}
	for n, p := range paths {
		if paths[n], err = r.relative(h, p); err != nil {
			if n == 0 && what == "" {
				return nil, nil, fmt.Errorf("there is no run %q, and run %s changed nothing of that path\nhint: agentjail runs lists the runs, agentjail diff --stat the changes", p, i.ID)
			}
			return nil, nil, err
		}
	}
	return r, paths, nil
}

// relative is a path of the caller's as the list of changes has it: relative to the
// workspace, also where the caller stands below it or names it from the root. It must
// be a change or a folder of one.
func (r *runChanges) relative(h Host, p string) (string, error) {
	candidates := []string{path.Clean(p)}
	if rel, err := filepath.Rel(r.info.Workspace, absolute(h.Cwd, p)); err == nil {
		candidates = append([]string{rel}, candidates...)
	}
	for _, c := range candidates {
		if c == "." || r.covers(c) {
			return c, nil
		}
	}
	return "", fmt.Errorf("run %s changed nothing at %s\nhint: agentjail diff --stat %s lists what it changed", r.info.ID, p, r.info.ID)
}

func (r *runChanges) covers(p string) bool {
	for i := range r.list.Changes {
		if under(r.list.Changes[i].Path, []string{p}) {
			return true
		}
	}
	return false
}

// under tells whether a path is one of some others, or below one.
func under(p string, of []string) bool {
	for _, o := range of {
		if o == "." || p == o || strings.HasPrefix(p, o+"/") {
			return true
		}
	}
	return false
}
