package audit

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The largest integer that every JSON reader keeps exactly: RFC 8785 section 3.2.2.3
// writes numbers as IEEE 754 doubles, which have 53 bits.
const maxExact = 1<<53 - 1

// A hole is a place in an encoded event for what is known only when the event is
// numbered.
type hole struct {
	at   int
	kind kind // kindUID, kindSequence or kindAttestation
}

// An encoded event is canonical JSON with holes.
type encoded struct {
	raw   []byte
	holes []hole
}

// object writes members in the form of RFC 8785 (JCS): no white space, keys in the
// order of their UTF-16 code units. Strings must be valid UTF-8 and numbers within
// maxExact: clean sees to both.
func (e *encoded) object(members []field) {
	var space [64]int32
	e.raw = append(e.raw, '{')
	for n, i := range order(members, space[:0]) {
		if n > 0 {
			e.raw = append(e.raw, ',')
		}
		e.raw = appendString(e.raw, members[i].key)
		e.raw = append(e.raw, ':')
		e.node(&members[i].node)
	}
	e.raw = append(e.raw, '}')
}

func (e *encoded) node(n *node) {
	switch n.kind {
	case kindNumber:
		e.raw = strconv.AppendInt(e.raw, n.num, 10)
	case kindFlag:
		e.raw = strconv.AppendBool(e.raw, n.num != 0)
	case kindObject:
		e.object(n.sub)
	case kindList:
		e.raw = append(e.raw, '[')
		for i := range n.sub {
			if i > 0 {
				e.raw = append(e.raw, ',')
			}
			e.node(&n.sub[i].node)
		}
		e.raw = append(e.raw, ']')
	case kindUID, kindSequence, kindAttestation:
		e.holes = append(e.holes, hole{len(e.raw), n.kind})
	default:
		e.raw = appendString(e.raw, n.str)
	}
}

// appendString writes a string as RFC 8785 section 3.2.2.2 wants it: the short escapes,
// \u00xx in lower case for the other control characters, everything else as it is.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0')
			b = hex.AppendEncode(b, []byte{c})
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// order gives the indices of members in the order of their keys. Indices are
// sorted and not the members: those may be shared, and moving them costs more. An
// insertion sort does it, since they mostly come in order.
func order(members []field, indices []int32) []int32 {
	for i := range members {
		indices = append(indices, int32(i))
	}
	byKey := func(a, b int32) int { return compareKeys(members[a].key, members[b].key) }
	if len(members) > 64 {
		slices.SortFunc(indices, byKey)
		return indices
	}
	for i := 1; i < len(indices); i++ {
		for j := i; j > 0 && byKey(indices[j], indices[j-1]) < 0; j-- {
			indices[j], indices[j-1] = indices[j-1], indices[j]
		}
	}
	return indices
}

// compareKeys orders as RFC 8785 section 3.2.3 does, by UTF-16 code units. That is the order
// of the bytes in UTF-8, except that the surrogates of a character from U+10000 up
// (D800–DFFF) come before U+E000–U+FFFF.
func compareKeys(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n || (a[i] < 0xee && b[i] < 0xee) {
		return cmp.Compare(a, b)
	}
	for i > 0 && !utf8.RuneStart(a[i]) {
		i--
	}
	ra, _ := utf8.DecodeRuneInString(a[i:])
	rb, _ := utf8.DecodeRuneInString(b[i:])
	if (ra >= 0x10000) == (rb >= 0x10000) {
		return cmp.Compare(ra, rb)
	}
	return cmp.Compare(firstUnit(ra), firstUnit(rb))
}

// firstUnit is the first UTF-16 code unit of a character.
func firstUnit(r rune) rune {
	if r >= 0x10000 {
		return 0xd800 + (r-0x10000)>>10
	}
	return r
}
