package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

// bounds keep an event small whatever the jail puts into it. In the worst case,
// where each byte of text is a control character and takes six, a line stays
// well below MaxLine.
type bounds struct {
	value int // bytes of one string
	text  int // bytes of all strings of an event
	list  int // elements of a list, members of an object whose keys are data
}

// ordinary bounds every event; final bounds the last ones of a log that is full,
// for which finalSpace is kept.
func ordinary() bounds { return bounds{value: 4 << 10, text: 32 << 10, list: 256} }
func final() bounds    { return bounds{value: 1 << 10, text: 4 << 10, list: 16} }

// notesMax bounds how many cuts of an event are described one by one.
const notesMax = 16

// A cleaner makes the strings of one event fit to be hashed and written:
// redacted, valid UTF-8, free of what a terminal would obey, bounded. What it
// changed is noted under unmapped.
type cleaner struct {
	redactor *Redactor
	bounds   bounds
	path     []string
	space    [8]string // of path

	size     int // bytes of text kept
	redacted int
	invalid  int
	controls int
	cuts     []object
	moreCuts int
	exact    object
}

// clean works in place and returns the size of the text that is left.
func clean(root *object, r *Redactor, b bounds) int {
	c := cleaner{redactor: r, bounds: b}
	c.path = c.space[:0]
	c.members(*root)
	c.note(root)
	return c.size
}

func (c *cleaner) members(m []field) {
	for i := range m {
		switch m[i].kind {
		case kindText, kindNumber, kindObject, kindList:
			c.path = append(c.path, m[i].key)
			c.node(&m[i].node)
			c.path = c.path[:len(c.path)-1]
		}
	}
}

func (c *cleaner) node(n *node) {
	switch n.kind {
	case kindText:
		n.str = c.text(n.str)
		n.kind = kindOwn
	case kindNumber:
		if n.num > maxExact || n.num < -maxExact {
			c.exact.own(strings.Join(c.path, "."), strconv.FormatInt(n.num, 10))
			n.num = min(max(n.num, -maxExact), maxExact)
		}
	case kindObject:
		if n.num == 1 { // the keys are data
			c.list(n)
			c.keys(n)
		}
		c.members(n.sub)
	case kindList:
		c.list(n)
		for i := range n.sub {
			c.node(&n.sub[i].node)
		}
	}
}

// text is the fast path for what nearly every string is: short, ASCII, harmless.
func (c *cleaner) text(s string) string {
	s, n := c.redactor.Redact(s)
	c.redacted += n
	whole := s
	if !isASCII(s) {
		s = c.printable(s)
	}
	if keep := min(c.bounds.value, c.bounds.text-c.size); len(s) > keep {
		c.cut(whole, "size", len(whole))
		s = s[:runeBoundary(s, keep)]
	}
	c.size += len(s)
	return s
}

// printable replaces what is not UTF-8, and the characters that terminals and
// line readers obey although JSON does not escape them: DEL, the C1 controls
// (U+009B is CSI, ECMA-48 section 5.4), and the separators U+2028 and U+2029.
func (c *cleaner) printable(s string) string {
	if !utf8.ValidString(s) {
		c.invalid++
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	changed := false
	s = strings.Map(func(r rune) rune {
		if (r >= 0x7f && r <= 0x9f) || r == 0x2028 || r == 0x2029 {
			changed = true
			return utf8.RuneError
		}
		return r
	}, s)
	if changed {
		c.controls++
	}
	return s
}

// list cuts what has too many elements and keeps their number and a digest of the
// texts that were there, joined by NUL.
func (c *cleaner) list(n *node) {
	if len(n.sub) <= c.bounds.list {
		return
	}
	var all strings.Builder
	for i := range n.sub {
		if n.sub[i].kind != kindText {
			continue
		}
		s, _ := c.redactor.Redact(n.sub[i].str)
		all.WriteString(s)
		all.WriteByte(0)
	}
	c.cut(all.String(), "elements", len(n.sub))
	n.sub = n.sub[:c.bounds.list]
}

// keys cleans keys that are data. Two that become the same are told apart by a
// number, since JCS and I-JSON (RFC 7493 section 2.3) forbid duplicates.
func (c *cleaner) keys(n *node) {
	seen := make(map[string]bool, len(n.sub))
	for i := range n.sub {
		key := c.text(n.sub[i].key)
		unique := key
		for k := 2; seen[unique]; k++ {
			unique = key + "#" + strconv.Itoa(k)
		}
		seen[unique] = true
		n.sub[i].key = unique
	}
}

// cut notes what was cut: its place, its whole length and its SHA-256. The digest
// is taken after the redaction, or it would let one guess a secret and check.
func (c *cleaner) cut(whole, measure string, length int) {
	if len(c.cuts) == notesMax {
		c.moreCuts++
		return
	}
	sum := sha256.Sum256([]byte(whole))
	note := make(object, 0, 3)
	note.own("path", strings.Join(c.path, "."))
	note.own("sha256", hex.EncodeToString(sum[:]))
	note.number(measure, int64(length))
	c.cuts = append(c.cuts, note)
}

// note writes down under unmapped what was changed.
func (c *cleaner) note(root *object) {
	var o object
	o.objects("cut", c.cuts)
	if c.moreCuts > 0 {
		o.number("cut_more", int64(c.moreCuts))
	}
	o.object("exact", c.exact)
	for _, n := range []struct {
		key   string
		count int
	}{{"invalid_utf8", c.invalid}, {"control_characters", c.controls}, {"redacted", c.redacted}} {
		if n.count > 0 {
			o.number(n.key, int64(n.count))
		}
	}
	addUnmapped(root, o)
	if len(c.cuts) > 0 {
		if m := root.get("metadata"); m != nil {
			(*object)(&m.sub).flag("is_truncated", true)
		}
	}
}

// addUnmapped adds members to an event's unmapped object.
func addUnmapped(root *object, o object) {
	if len(o) == 0 {
		return
	}
	if u := root.get("unmapped"); u != nil {
		u.sub = append(u.sub, o...)
		return
	}
	root.object("unmapped", o)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// runeBoundary is the largest place up to n at which no character is split.
func runeBoundary(s string, n int) int {
	n = max(n, 0)
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}
