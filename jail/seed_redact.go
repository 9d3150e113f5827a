package jail

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/agentjail/agentjail/jail/settings"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// LeftOut is what the copy of a file was made without. There is nothing in it of what
// was left out but its name. The last of a list may have no path: it says of how many
// files more nothing is told.
type LeftOut struct {
	Path   string   `json:"path"`             // relative to the home folder
	Places []string `json:"places,omitempty"` // in the file: names of entries, or lines
	More   int      `json:"more,omitempty"`   // places that are not told
	Whole  string   `json:"whole,omitempty"`  // why the whole file is left out; "" where it is not
	Origin string   `json:"origin,omitempty"` // of the seed
}

// Bounds of what is told of it: it goes through one message (maxMessage), as JSON.
const (
	maxLeftPlaces = 10
	maxLeftName   = 160
	maxLeftJSON   = maxMessage / 4
)

// redacted copies a file without what looks like a credential. One that can't be
// understood is not copied: it may hold one.
func (c *seedCopy) redacted(src io.Reader, rel string, info fs.FileInfo) error {
	data, err := io.ReadAll(io.LimitReader(src, settings.MaxSize+1))
	if err != nil {
		return err
	}
	clean, places, err := settings.Clean(rel, data)
	if err != nil {
		c.left = append(c.left, LeftOut{Path: rel, Whole: err.Error(), Origin: c.origin})
		return nil
	}
	if mutate.Off(mutate.Redact) {
		clean, places = data, nil
	}
	if len(places) > 0 {
		c.left = append(c.left, LeftOut{Path: rel, Places: places, Origin: c.origin})
	}
	dst, err := c.to.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = dst.Write(clean)
	if err := errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return c.own(rel, info)
}

// bounded cuts what is told down to what a message can carry.
func bounded(left []LeftOut) (told []LeftOut) {
	clip := func(s string) string { return s[:min(len(s), maxLeftName)] }
	size := 0
	for i, l := range left {
		if n := len(l.Places) - maxLeftPlaces; n > 0 {
			l.Places, l.More = l.Places[:maxLeftPlaces], n
		}
		l.Path, l.Whole = clip(l.Path), clip(l.Whole)
		for k := range l.Places {
			l.Places[k] = clip(l.Places[k])
		}
		text, err := json.Marshal(l)
		if size += len(text); err != nil || size > maxLeftJSON {
			return append(told, LeftOut{More: len(left) - i})
		}
		told = append(told, l)
	}
	return told
}
