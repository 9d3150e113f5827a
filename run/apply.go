package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/run/changes"
)

// An apply that goes on has its journal in applying/RUN-N of the state folder; one
// that is done, in applies/N of the run's. The first folder is empty but for what a
// crash left, so that looking for that costs a run nothing.
const (
	dirApplying = "applying"
	fileApplies = "applies.lock"
)

// applyRequest is what apply was asked.
type applyRequest struct {
	Paths    []string // none: all
	Allow    []string // globs of paths that the gate lets through
	Conflict changes.ConflictMode
	answers  *answers // of --interactive; nil without it
}

// applier holds the workspace and the lock while one apply goes on.
type applier struct {
	dirs Dirs
	run  *runChanges
	root *os.File
	data *os.File
	lock *os.File
}

// openApply takes the lock, finishes what a killed apply left, and opens a run's
// workspace and contents.
func openApply(d Dirs, r *runChanges) (*applier, error) {
	lock, err := applyLock(d, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	a := &applier{dirs: d, run: r, lock: lock}
	if err := recoverApplies(d); err != nil {
		a.close()
		return nil, err
	}
	// The path was resolved when the run began; a symlink in its place is not it.
	a.root, err = os.OpenFile(r.info.Workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		a.close()
		return nil, fmt.Errorf("workspace of run %s: %w", r.info.ID, pathCause(err))
	}
	a.data, err = os.Open(r.path(fileContents))
	if err != nil {
		a.close()
		return nil, fmt.Errorf("the contents of run %s: %w\nhint: it may be of an older version, or was cleaned; changes.patch may still be there", r.info.ID, pathCause(err))
	}
	return a, nil
}

func (a *applier) close() {
	for _, f := range []*os.File{a.root, a.data, a.lock} {
		if f != nil {
			f.Close()
		}
	}
}

// applyLock makes applies wait for one another.
func applyLock(d Dirs, how int) (*os.File, error) {
	if err := os.MkdirAll(d.State, 0o711); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.State, fileApplies), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := flock(f, how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// plan decides what becomes of each change.
func (a *applier) plan(q applyRequest) (*changes.Plan, error) {
	for _, g := range q.Allow {
		if !doublestar.ValidatePattern(g) {
			return nil, fmt.Errorf("--allow %q is no glob\nhint: as in --allow package.json or --allow '**/*.sh'", g)
		}
	}
	spec, err := a.run.spec()
	if err != nil {
		return nil, err
	}
	held, err := gateOf(spec)
	if err != nil {
		return nil, err
	}
	o := changes.ApplyOptions{Gate: held.Reasons, Conflict: q.Conflict, Suffix: ".agentjail-" + a.run.info.ID}
	if len(q.Paths) > 0 {
		o.Selected = func(p string) bool { return under(p, q.Paths) }
	}
	o.Named = func(p string) bool {
		for _, g := range q.Allow {
			if doublestar.MatchUnvalidated(g, p) {
				return true
			}
		}
		for _, own := range q.Paths { // the path itself, not a folder above it
			if p == own {
				return true
			}
		}
		return false
	}
	if q.answers != nil {
		q.answers.options(&o)
	}
	return changes.PlanApply(a.root, a.run.list, a.data, o)
}

// commit carries a plan out, with its journal beside those of other runs.
func (a *applier) commit(p *changes.Plan) error {
	if err := p.Blocked(); err != nil {
		return err
	}
	if p.Count(changes.OutcomeApply) == 0 && p.Count(changes.OutcomeConflict) == 0 {
		return nil
	}
	applying := filepath.Join(a.dirs.State, dirApplying)
	if err := os.MkdirAll(applying, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	done := a.run.path(dirApplies)
	if err := os.MkdirAll(done, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	n, err := lastApply(done)
	if err != nil {
		return err
	}
	journal := filepath.Join(applying, a.run.info.ID+"."+strconv.Itoa(n+1))
	if err := os.Mkdir(journal, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	err = p.Commit(journal, a.run.info.Workspace)
	switch {
	case changes.Pending(journal): // it could not be taken back whole
		return err
	case !changes.Applied(journal):
		return errors.Join(err, os.RemoveAll(journal))
	}
	return errors.Join(err, os.Rename(journal, filepath.Join(done, strconv.Itoa(n+1))))
}

// lastApply is the number of the newest apply that was not taken back, 0 for none.
func lastApply(done string) (last int, err error) {
	entries, err := os.ReadDir(done)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			last = max(last, n)
		}
	}
	return last, err
}

// undo takes the newest apply of a run back.
func (a *applier) undo(dryRun bool) (*changes.Plan, error) {
	done := a.run.path(dirApplies)
	n, err := lastApply(done)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("nothing of run %s was applied, or all of it was taken back", a.run.info.ID)
	}
	last := filepath.Join(done, strconv.Itoa(n))
	list, data, err := changes.ReadUndo(last)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	p, err := changes.PlanApply(a.root, list, data, changes.ApplyOptions{Undo: true})
	if err != nil || dryRun {
		return p, err
	}
	journal := filepath.Join(a.dirs.State, dirApplying, a.run.info.ID+".undo")
	if err := os.MkdirAll(journal, 0o700); err != nil {
		return p, fmt.Errorf("state folder: %w", err)
	}
	if err := p.Commit(journal, a.run.info.Workspace); err != nil {
		if !changes.Pending(journal) {
			err = errors.Join(err, os.RemoveAll(journal))
		}
		return p, err
	}
	// First what says that it is applied: killed in between, the next undo would find
	// nothing left to do, and that is no harm.
	return p, errors.Join(os.RemoveAll(last), os.RemoveAll(journal))
}

// recoverApplies finishes what a killed apply left: what it had not done whole is
// taken back. The caller holds the lock.
func recoverApplies(d Dirs) error {
	applying := filepath.Join(d.State, dirApplying)
	entries, err := os.ReadDir(applying)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		journal := filepath.Join(applying, e.Name())
		if err := changes.Recover(journal); err != nil {
			errs = append(errs, err)
			continue
		}
		id, n, _ := strings.Cut(e.Name(), ".")
		if _, err := strconv.Atoi(n); err == nil && changes.Applied(journal) {
			errs = append(errs, os.Rename(journal, filepath.Join(d.State, "runs", id, dirApplies, n)))
			continue
		}
		errs = append(errs, os.RemoveAll(journal))
	}
	return errors.Join(append(errs, err)...)
}

// recoverAppliesNow is recoverApplies for whoever is not about to apply: it does not
// wait for an apply that goes on.
func recoverAppliesNow(d Dirs) error {
	entries, err := os.ReadDir(filepath.Join(d.State, dirApplying))
	if err != nil || len(entries) == 0 {
		return nil // nothing, or nothing that this user may see
	}
	lock, err := applyLock(d, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return recoverApplies(d)
}
