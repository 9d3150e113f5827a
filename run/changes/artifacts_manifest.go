package changes

import "encoding/json"

// ManifestSchema is the version of manifest.json.
const ManifestSchema = 1

// Manifest is what is in the artifacts folder, and what was asked for and is not.
// Its JSON form is manifest.json. Names have the two forms of changes.json:
// "path" and, where it is no UTF-8, "path_base64".
type Manifest struct {
	Schema    int        `json:"schema"`
	Files     []Artifact `json:"files"` // sorted by folder, then name
	Size      int64      `json:"size"`  // bytes of all files
	LeftOut   []LeftOut  `json:"left_out"`
	More      int        `json:"left_out_more,omitempty"`    // left out and not listed either, for their number
	NoRoom    int        `json:"left_out_no_room,omitempty"` // left out because of the cap of bytes
	Unmatched []string   `json:"unmatched,omitempty"`        // patterns that no file matched
}

// Artifact is a file that was copied.
type Artifact struct {
	Path   string   // in the workspace, raw bytes
	Stored string   // in the artifacts folder, where Path would not have been harmless
	Size   int64    //
	Mode   FileMode // as stored: no setuid, setgid, sticky, no write access for others
	SHA256 string
}

// LeftOut is something that a pattern matched and that was not copied.
type LeftOut struct {
	Path   string
	Type   string
	Target string // of a symlink: the text, which nothing was made of
	Reason string
}

// The manifest's own bounds; a hostile tree has as many names as it likes, and long ones.
const (
	maxLeftOut       = 10_000
	maxArtifactPaths = 32 << 20 // bytes
)

func (c *collector) leaveOut(l LeftOut) {
	if len(c.m.LeftOut) >= maxLeftOut {
		c.m.More++
		return
	}
	if len(l.Path) > maxStoredPath {
		l.Path = l.Path[:maxStoredPath]
		l.Reason += " (only the beginning of its path is given)"
	}
	c.m.LeftOut = append(c.m.LeftOut, l)
}

type artifactJSON struct {
	Path       string   `json:"path"`
	PathBase64 string   `json:"path_base64,omitempty"`
	Stored     string   `json:"stored,omitempty"`
	Size       int64    `json:"size"`
	Mode       FileMode `json:"mode"`
	SHA256     string   `json:"sha256"`
}

// MarshalJSON implements json.Marshaler.
func (a *Artifact) MarshalJSON() ([]byte, error) {
	j := artifactJSON{Stored: a.Stored, Size: a.Size, Mode: a.Mode, SHA256: a.SHA256}
	j.Path, j.PathBase64 = jsonName(a.Path)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *Artifact) UnmarshalJSON(b []byte) error {
	var j artifactJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*a = Artifact{Stored: j.Stored, Size: j.Size, Mode: j.Mode, SHA256: j.SHA256}
	a.Path, err = nameFromJSON(j.Path, j.PathBase64)
	return err
}

type leftOutJSON struct {
	Path         string `json:"path"`
	PathBase64   string `json:"path_base64,omitempty"`
	Type         string `json:"type"`
	Target       string `json:"target,omitempty"`
	TargetBase64 string `json:"target_base64,omitempty"`
	Reason       string `json:"reason"`
}

// MarshalJSON implements json.Marshaler.
func (l *LeftOut) MarshalJSON() ([]byte, error) {
	j := leftOutJSON{Type: l.Type, Reason: l.Reason}
	j.Path, j.PathBase64 = jsonName(l.Path)
	j.Target, j.TargetBase64 = jsonName(l.Target)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *LeftOut) UnmarshalJSON(b []byte) error {
	var j leftOutJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*l = LeftOut{Type: j.Type, Reason: j.Reason}
	if l.Path, err = nameFromJSON(j.Path, j.PathBase64); err != nil {
		return err
	}
	l.Target, err = nameFromJSON(j.Target, j.TargetBase64)
	return err
}
