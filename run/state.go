package run

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names of the files in a run's state folder.
const (
	fileInfo     = "run.json"
	fileAudit    = "audit.jsonl"
	fileChanges  = "changes.json"
	filePatch    = "changes.patch"
	fileContents = "changes.data"
	fileCast     = "session.cast" // of a run on a terminal
	dirApplies   = "applies"      // one folder for each apply that was done: how to take it back
	fileProfile  = "profile.json"
	dirKept      = "artifacts"
	dirTaken     = "taken"         // what the gate took out of a workspace in direct mode
	fileEarly    = "early.json"    // the empty folders that a run in direct mode has in its workspace
	fileManifest = "manifest.json" // in the artifacts folder
	fileLock     = "lock"          // in the run's runtime and state folders; held while the run lives
	dirUpper     = "upper"         // an upper layer on disk; gone when the run ends
)

// Info is what a run's state folder says of it (run.json), rewritten as it goes on.
type Info struct {
	ID        string       `json:"id"`
	Name      string       `json:"name,omitempty"`
	Argv      []string     `json:"argv"`
	Profile   string       `json:"profile"`
	Workspace string       `json:"workspace"`
	Mode      string       `json:"mode"` // of the workspace
	PID       int          `json:"pid"`  // the supervisor's
	Started   time.Time    `json:"started"`
	Ended     *time.Time   `json:"ended,omitempty"`
	ExitCode  *int         `json:"exit_code,omitempty"`
	Reason    string       `json:"reason,omitempty"` // "exited", "signal", "time limit" ...
	Changes   int          `json:"changes"`
	Refused   int64        `json:"refused"`            // what a policy refused
	Taken     []string     `json:"taken,omitempty"`    // paths that the gate took out of a workspace in direct mode
	Flagged   []Flagged    `json:"flagged,omitempty"`  // what the gate found in files that were changed in direct mode
	Unlooked  int          `json:"unlooked,omitempty"` // changed files that it did not look into
	Models    *modelTotals `json:"models,omitempty"`   // nil where none was called
	Metrics   string       `json:"metrics,omitempty"`  // where they are served while it goes on
	Audit     string       `json:"audit"`              // path of the trail
	Artifacts string       `json:"artifacts,omitempty"`
	Runtime   string       `json:"runtime"` // the run's runtime folder

	dir string // that this was read from
}

// file is the path of a file in the run's state folder.
func (i Info) file(name string) string { return filepath.Join(i.dir, name) }

// failedToStart is the reason of a run whose agent did not run.
const failedToStart = "failed to start"

// State of a run.
const (
	StateRunning = "running"
	StateEnded   = "ended"
	StateCrashed = "crashed" // no end was written and nobody holds its lock
)

// State says whether the run goes on. A run without an end whose lock is free was
// killed, or the machine stopped.
func (i Info) State() string {
	switch {
	case i.Ended != nil:
		return StateEnded
	case i.dir != "" && locked(filepath.Join(i.dir, fileLock)):
		return StateRunning
	}
	return StateCrashed
}

// newRunID is sortable by time and can't be foreseen.
func newRunID(now time.Time) (string, error) {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return now.UTC().Format("20060102-150405-") + hex.EncodeToString(b[:]), nil
}

func writeInfo(dir string, i Info) error {
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	// Written beside and renamed: a reader never sees half of it. After a power cut some
	// file systems have an empty file; readers say so (readRuns), and the trail, which is
	// synced, has all of it.
	tmp := filepath.Join(dir, "."+fileInfo)
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, fileInfo))
}

func readInfo(dir string) (Info, error) {
	data, err := os.ReadFile(filepath.Join(dir, fileInfo))
	if err != nil {
		return Info{dir: dir}, err
	}
	i, err := parseInfo(data, filepath.Base(dir))
	i.dir = dir
	if err != nil {
		return i, fmt.Errorf("%s: %w", filepath.Join(dir, fileInfo), err)
	}
	return i, nil
}

// parseInfo reads the info of the run of an id; of another's it believes nothing, since
// paths are made of it.
func parseInfo(data []byte, id string) (Info, error) {
	var i Info
	if err := json.Unmarshal(data, &i); err != nil {
		return Info{}, err
	}
	if i.ID != id {
		return Info{}, fmt.Errorf("it names another run, %q", i.ID)
	}
	return i, nil
}

// listRuns reads every run's info, the newest first.
func listRuns(d Dirs) ([]Info, error) {
	runs, _, err := readRuns(d)
	return runs, err
}

// damagedRun is a run's folder whose info can't be read: a power cut emptied the file,
// a disk broke, or somebody changed it. Its trail may be whole.
type damagedRun struct {
	ID  string
	Err error
}

// readRuns reads every run's info, the newest first, and says which can't be read. A
// folder without an info is none: it is half made, or half removed.
func readRuns(d Dirs) (runs []Info, damaged []damagedRun, err error) {
	ids, err := runFolders(d)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		i, err := readInfo(filepath.Join(d.State, "runs", id))
		switch {
		case err == nil:
			runs = append(runs, i)
		case !errors.Is(err, fs.ErrNotExist):
			damaged = append(damaged, damagedRun{id, err})
		}
	}
	// By the time, not by the id: two runs of one second differ only there.
	sort.SliceStable(runs, func(a, b int) bool { return runs[a].Started.After(runs[b].Started) })
	return runs, damaged, nil
}

// runFolders are the names of the runs' state folders, which are their ids.
func runFolders(d Dirs) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(d.State, "runs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// findRun finds a run by id, by the start of an id, or by name (the newest of that
// name); "" and "last" are the newest of all.
func findRun(d Dirs, what string) (Info, error) {
	runs, damaged, err := readRuns(d)
	if err != nil {
		return Info{}, err
	}
	for _, b := range damaged {
		if what != "" && strings.HasPrefix(b.ID, what) {
			return Info{}, fmt.Errorf("the info of run %s can't be read: %w\nhint: its trail may be whole: agentjail verify %s",
				b.ID, b.Err, filepath.Join(d.State, "runs", b.ID, fileAudit))
		}
	}
	if len(runs) == 0 {
		return Info{}, errors.New("there is no run yet\nhint: agentjail run -- COMMAND makes one")
	}
	if what == "" || what == "last" {
		return runs[0], nil
	}
	var found []Info
	for _, r := range runs {
		switch {
		case r.ID == what:
			return r, nil
		case r.Name == what:
			return r, nil
		case strings.HasPrefix(r.ID, what), strings.HasSuffix(r.ID, "-"+what): // its end is what top and questions name it by
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Info{}, fmt.Errorf("there is no run %q\nhint: agentjail runs lists them", what)
	}
	return Info{}, fmt.Errorf("%q is the start of %d runs' ids\nhint: write more of it; agentjail runs lists them", what, len(found))
}

// lock takes a run's lock, which falls with the process however it ends.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, os.NewSyscallError("flock", err)
	}
	return f, nil
}

// locked says whether somebody holds a lock.
func locked(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}
