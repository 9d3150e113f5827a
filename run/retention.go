package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/run/changes"
)

// retention says which runs' folders go.
type retention struct {
	Keep  time.Duration // 0: whatever their age
	Size  int64         // bytes that all of them may have together; 0: whatever they have
	Force bool          // also what nobody applied or exported
}

func (r retention) wanted() bool { return r.Keep > 0 || r.Size > 0 }

// kept is a run that would go and stays, for what would be lost with it.
type keptRun struct {
	ID   string   `json:"id"`
	Name string   `json:"name,omitempty"`
	Has  []string `json:"has"`
}

// retire removes the folders of old runs, the oldest first, and names those that stay
// because they have something that is nowhere else. Runs that go on are never touched,
// nor are folders whose info can't be read: nobody knows what they are.
func retire(d Dirs, r retention, now time.Time, dryRun bool) (removed []string, stays []keptRun, err error) {
	runs, err := listRuns(d)
	if err != nil {
		return nil, nil, fmt.Errorf("list the runs: %w", err)
	}
	if !dryRun {
		lock, err := applyLock(d, unix.LOCK_EX) // an apply reads what would go
		if err != nil {
			return nil, nil, err
		}
		defer lock.Close()
	}
	var errs []error
	var total int64
	for _, i := range runs { // the newest first
		total += treeSize(i.dir, math.MaxInt64)
		if old, large := r.Keep > 0 && now.Sub(i.Started) > r.Keep, r.Size > 0 && total > r.Size; !old && !large {
			continue
		}
		if i.State() == StateRunning {
			continue
		}
		has, err := onlyHere(i)
		if err != nil {
			has = append(has, "what can't be read: "+err.Error())
		}
		if len(has) > 0 {
			stays = append(stays, keptRun{ID: i.ID, Name: i.Name, Has: has})
			if !r.Force {
				continue
			}
		}
		removed = append(removed, i.dir)
		if !dryRun {
			errs = append(errs, retireOne(i))
		}
	}
	return removed, stays, errors.Join(errs...)
}

// retireOne removes one run's folder. It gets another name first: half of a folder that
// is still in the list of runs would be taken for a run.
func retireOne(i Info) error {
	gone := filepath.Join(filepath.Dir(filepath.Dir(i.dir)), dirRetired)
	if err := os.MkdirAll(gone, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	to := filepath.Join(gone, i.ID)
	if err := os.Rename(i.dir, to); err != nil {
		return fmt.Errorf("remove run %s: %w", i.ID, pathCause(err))
	}
	return removeTree(to)
}

// dirRetired holds, in the state folder, what is being removed.
const dirRetired = "removing"

// retiredHalf lists what a killed clean was removing.
func retiredHalf(d Dirs) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.State, dirRetired))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []string
	for _, e := range entries {
		list = append(list, filepath.Join(d.State, dirRetired, e.Name()))
	}
	return list, err
}

// onlyHere says what of a run is nowhere else: changes that were neither applied nor
// written to a folder of the caller's (--artifacts), artifacts, what the gate took out.
func onlyHere(i Info) (has []string, err error) {
	exported := !strings.HasPrefix(i.Artifacts, i.dir+"/")
	if !exported {
		if n, err := countFiles(filepath.Join(i.Artifacts, fileManifest)); err != nil {
			return has, err
		} else if n > 0 {
			has = append(has, plural(n, "artifact"))
		}
	}
	if len(i.Taken) > 0 {
		has = append(has, plural(len(i.Taken), "path")+" taken out of the workspace")
	}
	if exported || i.Changes == 0 {
		return has, nil
	}
	n, err := notApplied(i)
	if n > 0 {
		has = append(has, plural(n, "change")+" not applied")
	}
	return has, err
}

func countFiles(manifest string) (int, error) {
	data, err := os.ReadFile(manifest)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var m changes.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return 0, fmt.Errorf("%s: %w", manifest, err)
	}
	return len(m.Files), nil
}

// notApplied counts the changes of a run that no apply of it brought to the host.
func notApplied(i Info) (int, error) {
	r, err := openChanges(i)
	if err != nil {
		return 0, err
	}
	done := map[string]bool{}
	entries, err := os.ReadDir(r.path(dirApplies))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		undo, data, err := changes.ReadUndo(filepath.Join(r.path(dirApplies), e.Name()))
		if err != nil {
			return 0, err
		}
		data.Close()
		for k := range undo.Changes {
			done[undo.Changes[k].Path] = true
		}
	}
	n := 0
	for k := range r.list.Changes {
		if !done[r.list.Changes[k].Path] {
			n++
		}
	}
	return n, nil
}
