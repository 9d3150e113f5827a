// Package changes is what a run left in its workspace: the list of what differs from
// the host's folder, the patch and the contents that go with it, and the artifacts.
//
// It never follows a symlink, never opens anything but folders and regular files, and
// never trusts a name, a size or a mode that the jail chose: all of it is bounded, and
// what was left out is said. Apply carries changes out on the host's folder, all of
// them or none; what may reach the host is decided by its caller.
package changes

import (
	"fmt"
	"os"
	"strconv"

	"github.com/agentjail/agentjail/audit"
)

// Schema is the version of changes.json. It grows when a reader of the
// older form would misunderstand the newer one.
const Schema = 1

// A List is what a run did to its workspace: the difference between the host's
// folder (the lower layer) and what the jail left in the upper one. Its JSON form
// is changes.json:
//
//	{
//	 "schema": 1,
//	 "complete": true,      // false: see "unread"; there may be changes that are not listed
//	 "counts": {"created": 1, "modified": 1, "deleted": 0},
//	 "unread": [            // what could not be read or would have been too much
//	  {"path": "a", "reason": "..."}
//	 ],
//	 "changes": [           // sorted by path, bytewise
//	  {"path": "src/\\xff", // relative to the workspace; see below
//	   "path_base64": "c3JjL/8=",
//	   "op": "modified",    // created, modified, deleted; "renamed" is reserved
//	   "before": {"type": "file", "mode": "0644", "size": 3, "sha256": "..."},
//	   "after":  {"type": "symlink", "mode": "0777", "size": 1, "target": "b"},
//	   "over_hidden": true, // the host has something here that was hidden from the jail
//	   "artifact": true,    // a copy is in the artifacts folder
//	   "omitted": "...",    // why this is not, or not wholly, in changes.patch
//	   "patch": [0, 120],   // where its part of changes.patch begins, and how many bytes it has
//	   "unkept": "..."}     // why the content is not in changes.data, so that it can't be applied
//	 ]
//	}
//
// A type is file, folder, symlink, fifo, socket or device. A mode is octal and has
// no type bits. "sha256" is absent where the content was not read, and "unhashed"
// then says why. "attributes" (values in base64) are in an undo's list only. "at" is where a file's content begins in changes.data. "before" is absent for what was created, "after" for what was
// deleted; a changed type is one change with both.
//
// File names are bytes, JSON strings are not: a name that is no UTF-8 has its exact
// bytes in "path_base64" (RFC 4648, padded), and "path" then is for people only,
// with \xNN for each wrong byte and each backslash doubled. Without "path_base64",
// "path" is the name as it is. The same goes for "target".
type List struct {
	Complete bool
	Unread   []Unread
	Changes  []Change

	source changeSource // where WritePatch reads the contents
}

// A Change is one path that differs.
type Change struct {
	Op         audit.FileOp
	Path       string // raw bytes, relative, clean
	Before     *FileState
	After      *FileState
	OverHidden bool
	Artifact   bool
	Omitted    string
	Unkept     string
	Patch      [2]int64 // where its part of changes.patch begins, and how long it is; zero for none

	hollow bool // a folder with nothing in it
	keeps  bool // a deleted folder in which the host still has something that the list doesn't delete
}

// The types of file, as Change and Manifest name them.
const (
	TypeFile    = "file"
	TypeFolder  = "folder"
	TypeSymlink = "symlink"
	TypeFIFO    = "fifo"
	TypeSocket  = "socket"
	TypeDevice  = "device"
)

// FileState is a file on one side of a change.
type FileState struct {
	Type     string
	Mode     FileMode
	Size     int64
	SHA256   string // of a file's content, hex
	Unhashed string // why there is no SHA256
	Target   string // of a symlink, raw bytes
	At       *int64 // where a file's content begins in changes.data; nil where it is not kept there

	// Attributes are the host's own extended ones, in the list by which an apply is
	// taken back and nowhere else; see keptAttr.
	Attributes map[string][]byte

	rdev uint64
}

// FileMode is the permission bits with setuid, setgid and sticky. Its text is octal.
type FileMode uint32

// MarshalText implements encoding.TextMarshaler.
func (m FileMode) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%04o", uint32(m)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *FileMode) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 8, 12)
	if err != nil {
		return fmt.Errorf("file mode %q is not four octal digits", b)
	}
	*m = FileMode(n)
	return nil
}

// Unread is a path whose changes are not in the list.
type Unread struct {
	Path   string
	Reason string
}

// Counts tells how many paths were created, modified and deleted.
func (c *List) Counts() map[audit.FileOp]int {
	n := map[audit.FileOp]int{audit.FileCreated: 0, audit.FileModified: 0, audit.FileDeleted: 0}
	for i := range c.Changes {
		n[c.Changes[i].Op]++
	}
	return n
}

// Records turns the list into records for the trail. Their paths are the ones for
// people, since the trail is text: changes.json has the bytes.
func (c *List) Records() []audit.Record {
	out := make([]audit.Record, 0, len(c.Changes))
	for i := range c.Changes {
		ch := &c.Changes[i]
		s := ch.After
		if s == nil {
			s = ch.Before
		}
		path, _ := jsonName(ch.Path)
		out = append(out, audit.File{
			Op: ch.Op, Path: path, Type: s.Type, Size: s.Size,
			Mode: uint32(s.Mode), SHA256: s.SHA256, Artifact: ch.Artifact,
		})
	}
	return out
}

// MarkArtifacts notes which of the changed files have a copy in the artifacts folder.
func (c *List) MarkArtifacts(m *Manifest) {
	kept := make(map[string]bool, len(m.Files))
	for i := range m.Files {
		kept[m.Files[i].Path] = true
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		ch.Artifact = ch.After != nil && ch.After.Type == TypeFile && kept[ch.Path]
	}
}

// changeSource is where the contents of a list of changes are. The upper layer
// stays the caller's.
type changeSource struct {
	upper *os.File
	lower string
}
