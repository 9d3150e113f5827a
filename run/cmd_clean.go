package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
)

func cleanCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:        "clean",
		Usage:       "remove what crashed runs left",
		Description: "A run that was killed, or that a power cut ended, can leave its runtime folder, its cgroups, its claim of\nhost uids and an upper layer on disk. Trails, changes and artifacts stay.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be removed and remove nothing"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			d, err := findDirs(h.getenv, h.Home, h.UID)
			if err != nil {
				return err
			}
			r, err := clean(d, h.UID, c.Bool("dry-run"))
			if c.Bool("json") {
				return errors.Join(err, writeJSON(h.Stdout, r))
			}
			return errors.Join(err, writeCleaned(h.Stdout, r))
		},
	}
}

// cleaned is what clean removed, or would remove.
type cleaned struct {
	DryRun  bool     `json:"dry_run"`
	Removed []string `json:"removed"`
}

// clean removes what runs left that nobody runs any more. What it could not remove
// is the error, and the rest is removed all the same.
func clean(d Dirs, uid int, dryRun bool) (cleaned, error) {
	r := cleaned{DryRun: dryRun, Removed: []string{}}
	if dryRun {
		dirs, err := abandoned(d)
		r.Removed = append(r.Removed, dirs...)
		left, lerr := strayState(d)
		r.Removed = append(r.Removed, left...)
		return r, errors.Join(err, lerr)
	}
	removed, err := recoverRuns(d, uid)
	r.Removed = append(r.Removed, removed...)
	removed, serr := removeStray(d)
	r.Removed = append(r.Removed, removed...)
	return r, errors.Join(err, serr)
}

// removeStray removes what lies in the state folder of a crashed run and is of no
// use to anybody: recovery finds it by the runtime folder, which a power cut took
// away with its tmpfs.
func removeStray(d Dirs) ([]string, error) {
	stray, err := strayState(d)
	errs := []error{err}
	var removed []string
	for _, path := range stray {
		if err := removeTree(path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			continue
		}
		removed = append(removed, path)
	}
	return removed, errors.Join(errs...)
}

// strayState lists the upper layers of runs that do not go on, and what a killed
// doctor left.
func strayState(d Dirs) ([]string, error) {
	runs, err := listRuns(d)
	if err != nil {
		return nil, fmt.Errorf("list the runs: %w", err)
	}
	var found []string
	for _, i := range runs {
		path := filepath.Join(d.State, "runs", i.ID, dirUpper)
		if _, err := os.Lstat(path); err == nil && i.State() != StateRunning {
			found = append(found, path)
		}
	}
	return append(found, strayScratch(os.TempDir(), d.State)...), nil
}

// ownedByUs keeps clean from what somebody else put into a folder that is everybody's.
func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// abandoned lists the runtime folders of runs whose supervisor is dead.
func abandoned(d Dirs) ([]string, error) {
	entries, err := os.ReadDir(d.Runtime)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		dir := filepath.Join(d.Runtime, e.Name())
		if e.IsDir() && !locked(filepath.Join(dir, fileLock)) {
			found = append(found, dir)
		}
	}
	return found, nil
}

func writeCleaned(w io.Writer, r cleaned) error {
	did := "removed"
	if r.DryRun {
		did = "would remove"
	}
	if len(r.Removed) == 0 {
		_, err := fmt.Fprintln(w, "nothing was left behind")
		return err
	}
	for _, path := range r.Removed {
		if _, err := fmt.Fprintf(w, "%s %s\n", did, audit.Printable(path)); err != nil {
			return err
		}
	}
	return nil
}
