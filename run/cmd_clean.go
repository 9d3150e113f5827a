package run

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

func cleanCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:        "clean",
		Usage:       "remove what crashed runs left",
		Description: "A run that was killed, or that a power cut ended, can leave its runtime folder, its cgroups, its claim of\nhost uids, an upper layer on disk and empty folders in a workspace in direct mode. Trails, changes and artifacts stay, unless --keep or --size says which go:\nagentjail clean --keep 30d --size 5GiB",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "keep", Usage: "remove runs that began longer ago than `30d`"},
			&cli.StringFlag{Name: "size", Usage: "remove the oldest runs until the rest has at most `5GiB`"},
			&cli.BoolFlag{Name: "force", Usage: "with them, also runs with changes or artifacts that are nowhere else"},
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
			keep, err := cleanRetention(c)
			if err != nil {
				return err
			}
			r, err := clean(d, h.UID, c.Bool("dry-run"))
			if keep.wanted() && err == nil {
				var gone []string
				gone, r.Kept, err = retire(d, keep, time.Now(), r.DryRun)
				r.Removed = append(r.Removed, gone...)
				if keep.Force {
					r.Lost, r.Kept = r.Kept, nil
				}
			}
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

	// Of runs that --keep or --size named, with what is nowhere else: those that stay, or
	// with --force those that went.
	Kept []keptRun `json:"kept,omitempty"`
	Lost []keptRun `json:"lost,omitempty"`
}

// cleanRetention reads what --keep and --size say.
func cleanRetention(c *cli.Context) (r retention, err error) {
	r.Force = c.Bool("force")
	if s := c.String("keep"); s != "" {
		if r.Keep, err = profiles.ParseDuration(s); err != nil {
			return r, fmt.Errorf("--keep: %w", err)
		}
	}
	if s := c.String("size"); s != "" {
		if r.Size, err = profiles.ParseSize(s); err != nil {
			return r, fmt.Errorf("--size: %w", err)
		}
	}
	if r.Force && !r.wanted() {
		return r, errors.New("--force goes with --keep or --size\nhint: agentjail clean --keep 30d --force")
	}
	return r, nil
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
		early, eerr := strayEarly(d)
		for _, dir := range early {
			if e, err := readEarly(dir); err == nil && e != nil {
				gone, err := e.remove(true)
				r.Removed, eerr = append(r.Removed, gone...), errors.Join(eerr, err)
			}
		}
		return r, errors.Join(err, lerr, eerr)
	}
	removed, err := recoverRuns(d, uid)
	r.Removed = append(r.Removed, removed...)
	removed, serr := removeStray(d)
	r.Removed = append(r.Removed, removed...)
	return r, errors.Join(err, serr, recoverAppliesNow(d))
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
	early, err := strayEarly(d)
	errs = append(errs, err)
	for _, dir := range early {
		gone, err := removeEarly(dir)
		removed, errs = append(removed, gone...), append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// strayState lists the upper layers of runs that do not go on, and what a killed
// doctor left.
func strayState(d Dirs) ([]string, error) {
	// By the folders and their locks: an info may be lost in the same power cut.
	ids, err := runFolders(d)
	if err != nil {
		return nil, fmt.Errorf("list the runs: %w", err)
	}
	var found []string
	for _, id := range ids {
		dir := filepath.Join(d.State, "runs", id)
		path := filepath.Join(dir, dirUpper)
		if _, err := os.Lstat(path); err == nil && !locked(filepath.Join(dir, fileLock)) {
			found = append(found, path)
		}
	}
	half, err := retiredHalf(d)
	return append(append(found, half...), strayScratch(os.TempDir(), d.State)...), err
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
	var b strings.Builder
	switch {
	case len(r.Removed) == 0 && len(r.Kept) > 0:
		b.WriteString("nothing was removed\n")
	case len(r.Removed) == 0:
		b.WriteString("nothing was left behind\n")
	}
	for _, path := range r.Removed {
		fmt.Fprintf(&b, "%s %s\n", did, audit.Printable(path))
	}
	tell := func(list []keptRun, what string) {
		for _, k := range list {
			name := k.ID
			if k.Name != "" {
				name += " (" + audit.Printable(k.Name) + ")"
			}
			fmt.Fprintf(&b, "%s run %s: it has %s\n", what, name, audit.Printable(strings.Join(k.Has, ", ")))
		}
	}
	tell(r.Kept, "kept")
	if r.DryRun {
		tell(r.Lost, "nothing else has what would be lost of")
	} else {
		tell(r.Lost, "nothing else has what was lost of")
	}
	if len(r.Kept) > 0 {
		b.WriteString("hint: agentjail apply or diff RUN first; --force removes them all the same\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
