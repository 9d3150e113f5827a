package changes

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentjail/agentjail/audit"
)

// WriteJSON writes changes.json, one change a line, so that line tools can read it
// too and so that a long list is never in memory a second time.
func (c *List) WriteJSON(w io.Writer) error { return WriteJSONWith(w, c, c.Changes) }

// WriteJSONWith writes the same document with other entries: the list's changes, and more
// members beside each one's own.
func WriteJSONWith[T any](w io.Writer, c *List, entries []T) error {
	counts, err := json.Marshal(c.Counts())
	if err != nil {
		return fmt.Errorf("changes: %w", err)
	}
	if _, err := fmt.Fprintf(w, "{\"schema\":%d,\"complete\":%t,\"counts\":%s,\n\"unread\":[",
		Schema, c.Complete, counts); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	if err := writeJSONLines(w, c.Unread); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	if _, err := io.WriteString(w, "],\n\"changes\":["); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	if err := writeJSONLines(w, entries); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	if _, err := io.WriteString(w, "]}\n"); err != nil {
		return fmt.Errorf("write changes: %w", err)
	}
	return nil
}

// MarshalWith gives a change's own members, and behind them those of more, which is a
// struct that always has one.
func MarshalWith(c *Change, more any) ([]byte, error) {
	own, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	rest, err := json.Marshal(more)
	if err != nil {
		return nil, err
	}
	return slices.Concat(own[:len(own)-1], []byte(","), rest[1:]), nil
}

func writeJSONLines[T any](w io.Writer, list []T) error {
	for i := range list {
		line, err := json.Marshal(&list[i])
		if err != nil {
			return err
		}
		sep := ",\n"
		if i == 0 {
			sep = "\n"
		}
		if _, err := io.WriteString(w, sep+string(line)); err != nil {
			return err
		}
	}
	return nil
}

// ReadJSON reads what WriteJSON wrote. The result has no sources: its
// contents can't be written as a patch any more.
func ReadJSON(r io.Reader) (*List, error) {
	var doc struct {
		Schema   int      `json:"schema"`
		Complete bool     `json:"complete"`
		Unread   []Unread `json:"unread"`
		Changes  []Change `json:"changes"`
	}
	if err := json.NewDecoder(r).Decode(&doc); err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	if doc.Schema != Schema {
		return nil, fmt.Errorf("read changes: schema %d is not %d\nhint: the file was written by another version of agentjail", doc.Schema, Schema)
	}
	for i := range doc.Changes {
		if err := wellFormed(&doc.Changes[i]); err != nil {
			return nil, fmt.Errorf("read changes: change %d: %w", i+1, err)
		}
	}
	return &List{Complete: doc.Complete, Unread: doc.Unread, Changes: doc.Changes}, nil
}

type changeJSON struct {
	Path       string       `json:"path"`
	PathBase64 string       `json:"path_base64,omitempty"`
	Op         audit.FileOp `json:"op"`
	Before     *FileState   `json:"before,omitempty"`
	After      *FileState   `json:"after,omitempty"`
	OverHidden bool         `json:"over_hidden,omitempty"`
	Artifact   bool         `json:"artifact,omitempty"`
	Omitted    string       `json:"omitted,omitempty"`
	Unkept     string       `json:"unkept,omitempty"`
	Patch      [2]int64     `json:"patch,omitzero"`
}

// MarshalJSON implements json.Marshaler.
func (c *Change) MarshalJSON() ([]byte, error) {
	j := changeJSON{Op: c.Op, Before: c.Before, After: c.After,
		OverHidden: c.OverHidden, Artifact: c.Artifact, Omitted: c.Omitted, Unkept: c.Unkept, Patch: c.Patch}
	j.Path, j.PathBase64 = jsonName(c.Path)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Change) UnmarshalJSON(b []byte) error {
	var j changeJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*c = Change{Op: j.Op, Before: j.Before, After: j.After,
		OverHidden: j.OverHidden, Artifact: j.Artifact, Omitted: j.Omitted, Unkept: j.Unkept, Patch: j.Patch}
	c.Path, err = nameFromJSON(j.Path, j.PathBase64)
	return err
}

type fileStateJSON struct {
	Type         string   `json:"type"`
	Mode         FileMode `json:"mode"`
	Size         int64    `json:"size"`
	SHA256       string   `json:"sha256,omitempty"`
	Unhashed     string   `json:"unhashed,omitempty"`
	Target       string   `json:"target,omitempty"`
	TargetBase64 string   `json:"target_base64,omitempty"`
	At           *int64   `json:"at,omitempty"`

	Attributes map[string][]byte `json:"attributes,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s *FileState) MarshalJSON() ([]byte, error) {
	j := fileStateJSON{Type: s.Type, Mode: s.Mode, Size: s.Size, SHA256: s.SHA256, Unhashed: s.Unhashed, At: s.At, Attributes: s.Attributes}
	j.Target, j.TargetBase64 = jsonName(s.Target)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *FileState) UnmarshalJSON(b []byte) error {
	var j fileStateJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	*s = FileState{Type: j.Type, Mode: j.Mode, Size: j.Size, SHA256: j.SHA256, Unhashed: j.Unhashed, At: j.At, Attributes: j.Attributes}
	s.Target, err = nameFromJSON(j.Target, j.TargetBase64)
	return err
}

type unreadJSON struct {
	Path       string `json:"path"`
	PathBase64 string `json:"path_base64,omitempty"`
	Reason     string `json:"reason"`
}

// MarshalJSON implements json.Marshaler.
func (u *Unread) MarshalJSON() ([]byte, error) {
	j := unreadJSON{Reason: u.Reason}
	j.Path, j.PathBase64 = jsonName(u.Path)
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *Unread) UnmarshalJSON(b []byte) error {
	var j unreadJSON
	err := json.Unmarshal(b, &j)
	if err != nil {
		return err
	}
	u.Reason = j.Reason
	u.Path, err = nameFromJSON(j.Path, j.PathBase64)
	return err
}

// jsonName gives the two JSON forms of a file name; the second is empty for UTF-8.
func jsonName(name string) (text, b64 string) {
	if utf8.ValidString(name) {
		return name, ""
	}
	var sb strings.Builder
	for i := 0; i < len(name); {
		r, n := utf8.DecodeRuneInString(name[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&sb, `\x%02x`, name[i])
		case r == '\\':
			sb.WriteString(`\\`)
		default:
			sb.WriteString(name[i : i+n])
		}
		i += n
	}
	return sb.String(), base64.StdEncoding.EncodeToString([]byte(name))
}

func nameFromJSON(text, b64 string) (string, error) {
	if b64 == "" {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return "", fmt.Errorf("file name %q: %w", text, err)
	}
	return string(raw), nil
}
