package changes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The journal of one apply is a folder in the run's state:
//
//	journal.json   what is to be done, written before the first of it is; renamed to
//	               done.json after the last
//	undo.json      the list of changes that takes it back
//	undo.data      the contents that go with it
//
// The new files wait in a folder in the workspace's root, and the old ones go there,
// so that each operation is one rename within one file system (rename(2) is atomic).
// What a crash left is therefore either undone by renames alone, or done.
const (
	journalFile = "journal.json"
	doneFile    = "done.json"
	undoList    = "undo.json"
	undoData    = "undo.data"
)

// StagePrefix begins the name of the folder in which apply keeps files while it works.
const StagePrefix = ".agentjail-apply-"

// journal is journal.json.
type journal struct {
	Workspace string      `json:"workspace"`
	Dev       uint64      `json:"dev"`
	Ino       uint64      `json:"ino"`
	Stage     string      `json:"stage"` // in the workspace
	Ops       []operation `json:"ops"`
}

// The kinds of operation.
const (
	opRemove  = "remove"  // the path goes to bN in the stage
	opReplace = "replace" // the path and nN of the stage change places
	opPlace   = "place"   // nN of the stage goes to the path, where nothing is
	opChmod   = "chmod"   // a folder's mode
)

// operation is one rename or chmod. N is its place in the journal.
type operation struct {
	Kind string
	Path string // raw bytes
	Ino  uint64 // place, replace: of the staged file
	Old  FileMode
	New  FileMode // chmod

	expect *hostFile // what is removed or replaced; not written, as it is only for Commit
}

type operationJSON struct {
	Kind       string   `json:"kind"`
	Path       string   `json:"path"`
	PathBase64 string   `json:"path_base64,omitempty"`
	Ino        uint64   `json:"ino,omitempty"`
	Old        FileMode `json:"old,omitempty"`
	New        FileMode `json:"new,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (o *operation) MarshalJSON() ([]byte, error) {
	j := operationJSON{Kind: o.Kind, Ino: o.Ino, Old: o.Old, New: o.New}
	j.Path, j.PathBase64 = jsonName(o.Path)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *operation) UnmarshalJSON(b []byte) error {
	var j operationJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*o = operation{Kind: j.Kind, Ino: j.Ino, Old: j.Old, New: j.New}
	o.Path, err = nameFromJSON(j.Path, j.PathBase64)
	return err
}

func (j *journal) write(dir string) error {
	data, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return writeSynced(dir, journalFile, data)
}

// writeSynced writes a file so that it is there whole after a power cut, or not at all.
func writeSynced(dir, name string, data []byte) error {
	tmp := filepath.Join(dir, "."+name)
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Pending says whether a journal's folder is of an apply that did not end.
func Pending(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, journalFile))
	return err == nil
}

// Applied says whether a journal's folder is of an apply that was done whole.
func Applied(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, doneFile))
	return err == nil
}

// Recover takes back what an apply that was killed had done, so that the host's
// folder is as it was before. It does nothing where there is nothing to take back.
func Recover(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, journalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("recover an apply: %w", err)
	}
	var j journal
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("recover an apply: %s: %w", filepath.Join(dir, journalFile), err)
	}
	if j.Stage == "" || path.Base(j.Stage) != j.Stage || j.Stage == ".." || j.Stage == "." {
		return fmt.Errorf("recover an apply: %s names no folder of its own", filepath.Join(dir, journalFile))
	}
	root, err := os.OpenFile(j.Workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("recover an apply: open the workspace: %w", err)
	}
	defer root.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return fmt.Errorf("recover an apply: %w", err)
	}
	if st.Ino != j.Ino || uint64(st.Dev) != j.Dev {
		return fmt.Errorf("recover an apply: %s is another folder than the one that was applied to\nhint: put the old one back, or remove %s", j.Workspace, dir)
	}
	if err := rollBack(root, &j); err != nil {
		return fmt.Errorf("recover an apply to %s: %w\nhint: what could not be put back is in %s", j.Workspace, err, filepath.Join(j.Workspace, j.Stage))
	}
	if err := os.Remove(filepath.Join(dir, journalFile)); err != nil {
		return fmt.Errorf("recover an apply: %w", err)
	}
	return nil
}

// ReadUndo gives the list of changes that takes an apply back, and its contents, which
// the caller closes.
func ReadUndo(dir string) (*List, *os.File, error) {
	f, err := os.Open(filepath.Join(dir, undoList))
	if err != nil {
		return nil, nil, fmt.Errorf("read what undo needs: %w", err)
	}
	defer f.Close()
	l, err := ReadJSON(f)
	if err != nil {
		return nil, nil, err
	}
	data, err := os.Open(filepath.Join(dir, undoData))
	if err != nil {
		return nil, nil, fmt.Errorf("read what undo needs: %w", err)
	}
	return l, data, nil
}
