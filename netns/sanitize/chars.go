package sanitize

import (
	"strings"
	"unicode/utf8"
)

// visible takes out of a text the characters that have no shape of their own. Some have
// a use (U+200D joins emoji, U+200C is of Persian spelling); a reader understands the
// text without, and each of them can carry bits that no reader sees.
func visible(s string) (string, int64) {
	n := int64(0)
	clean := strings.Map(func(r rune) rune {
		if shapeless(r) {
			n++
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	if n == 0 && clean == s {
		return s, 0
	}
	return clean, n
}

// shapeless is Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt of
// Unicode 16), and beside it the control characters that HTML has no use for and the
// annotation characters of U+FFF9 to U+FFFB.
func shapeless(r rune) bool {
	switch {
	case r == '\t' || r == '\n' || r == '\f' || r == '\r':
		return false
	case r < ' ' || 0x7f <= r && r < 0xa0: // C0, DEL, C1
		return true
	case r < 0xad:
		return false
	case r == 0x00ad, // soft hyphen
		r == 0x034f,              // combining grapheme joiner
		r == 0x061c,              // Arabic letter mark
		r == 0x115f, r == 0x1160, // Hangul fillers
		r == 0x17b4, r == 0x17b5, // Khmer inherent vowels
		0x180b <= r && r <= 0x180f,   // Mongolian variation selectors
		0x200b <= r && r <= 0x200f,   // zero width, direction marks
		0x2028 <= r && r <= 0x202e,   // line and paragraph separator, bidi embedding and override
		0x2060 <= r && r <= 0x206f,   // word joiner, invisible operators, bidi isolates
		r == 0x3164,                  // Hangul filler
		0xfe00 <= r && r <= 0xfe0f,   // variation selectors
		r == 0xfeff,                  // byte order mark
		r == 0xffa0,                  // halfwidth Hangul filler
		0xfff0 <= r && r <= 0xfffb,   // reserved, interlinear annotation
		0x1bca0 <= r && r <= 0x1bca3, // shorthand format controls
		0x1d173 <= r && r <= 0x1d17a, // musical format controls
		0xe0000 <= r && r <= 0xe0fff: // tags, more variation selectors
		return true
	}
	return false
}

// cut shortens a text to so many characters.
func cut(s string, most int) (string, bool) {
	if len(s) <= most {
		return s, false
	}
	n := 0
	for i := range s {
		if n == most {
			return s[:i], true
		}
		n++
	}
	return s, false
}

// plainASCII says whether a text is printable ASCII.
func plainASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= utf8.RuneSelf-1 {
			return false
		}
	}
	return true
}
