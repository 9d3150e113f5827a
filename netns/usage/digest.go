package usage

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// digest hashes a tool's arguments as they pass.
type digest struct {
	h       hash.Hash
	plain   bool // no JSON: every byte counts
	quoted  bool
	escaped bool
	any     bool
	torn    bool // it can't be said what belongs to it
}

func newDigest(plain bool) *digest { return &digest{h: sha256.New(), plain: plain} }

// write takes the next piece. White space between the tokens of JSON is left out.
func (d *digest) write(b []byte) {
	if len(b) > 0 {
		d.any = true
	}
	if d.plain {
		d.h.Write(b)
		return
	}
	from := 0
	for i, c := range b {
		switch {
		case d.escaped:
			d.escaped = false
		case d.quoted && c == '\\':
			d.escaped = true
		case c == '"':
			d.quoted = !d.quoted
		case !d.quoted && isSpace(c):
			d.h.Write(b[from:i])
			from = i + 1
		}
	}
	d.h.Write(b[from:])
}

// sum is empty where there is nothing, or nothing certain.
func (d *digest) sum() string {
	if d == nil || d.torn || !d.any {
		return ""
	}
	return hex.EncodeToString(d.h.Sum(nil))
}
