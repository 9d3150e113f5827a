package sanitize

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxStyle bounds a style attribute. No hand writes a longer one, and an element whose
// style is not read is not shown.
const maxStyle = 16 << 10

// declarations reads a style attribute (CSS Syntax Module Level 3, section 5.4.5): the
// last declaration of a property counts, unless an earlier one is important. Names and
// values are in lower case; strings are left out of values.
func declarations(style string) map[string]string {
	props, important := map[string]string{}, map[string]bool{}
	for _, d := range split(stripped(style), ';') {
		name, value, ok := strings.Cut(d, ":")
		if !ok {
			continue
		}
		name, value = strings.TrimSpace(name), strings.Join(strings.Fields(value), " ")
		strong := false
		if i := strings.LastIndexByte(value, '!'); i >= 0 && strings.TrimSpace(value[i+1:]) == "important" {
			value, strong = strings.TrimSpace(value[:i]), true
		}
		if important[name] && !strong {
			continue
		}
		props[name], important[name] = value, strong
	}
	return props
}

// stripped takes comments and strings out of CSS and undoes its escapes ("d\69splay").
func stripped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			end := strings.Index(s[i+2:], "*/")
			if end < 0 {
				return strings.ToLower(b.String())
			}
			i += end + 4
		case s[i] == '"' || s[i] == '\'':
			quote := s[i]
			for i++; i < len(s) && s[i] != quote; i++ {
				if s[i] == '\\' {
					i++
				}
			}
			i++
		case s[i] == '\\':
			r, n := escaped(s[i+1:])
			i += 1 + n
			// What is escaped is a letter of a name and never punctuation.
			if r != ';' && r != ':' && r != '(' && r != ')' {
				b.WriteRune(r)
			}
		default:
			b.WriteByte(s[i])
			i++
		}
	}
	return strings.ToLower(b.String())
}

// escaped reads what stands behind a backslash: up to six hexadecimal digits and a
// space, or one character.
func escaped(s string) (rune, int) {
	n := 0
	for n < len(s) && n < 6 && isHex(s[n]) {
		n++
	}
	if n == 0 {
		r, size := utf8.DecodeRuneInString(s)
		return r, size
	}
	v, _ := strconv.ParseUint(s[:n], 16, 32) // six digits fit
	if n < len(s) && strings.IndexByte(" \t\n\f\r", s[n]) >= 0 {
		n++
	}
	if v == 0 || v > utf8.MaxRune {
		v = utf8.RuneError
	}
	return rune(v), n
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// split splits at a separator outside of brackets.
func split(s string, sep byte) (parts []string) {
	depth, from := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth = max(0, depth-1)
		case c == sep && depth == 0:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// call reads "name(a, b c)": the arguments, split at commas and spaces.
func call(value, name string) (args []string, ok bool) {
	i := strings.Index(value, name+"(")
	if i < 0 || i > 0 && value[i-1] != ' ' && value[i-1] != ')' {
		return nil, false
	}
	inner, _, ok := strings.Cut(value[i+len(name)+1:], ")")
	if !ok {
		return nil, false
	}
	return strings.FieldsFunc(inner, func(r rune) bool { return r == ',' || r == ' ' || r == '/' }), true
}

// length reads a length in pixels, as far as that can be told without the page: what
// is relative is reckoned from a font of 16 pixels and a window of 1000.
func length(s string) (px float64, ok bool) {
	i := len(s)
	for i > 0 && (s[i-1] == '%' || 'a' <= s[i-1] && s[i-1] <= 'z') {
		i--
	}
	// "1e3" ends in a digit, "1e" in a unit that is none.
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil {
		return 0, false
	}
	switch s[i:] {
	case "", "px": // a bare number is no length but 0, and browsers drop it; here it counts
		return n, true
	case "pt":
		return n * 4 / 3, true
	case "pc", "em", "rem", "ic", "lh", "rlh":
		return n * 16, true
	case "ex", "ch", "cap":
		return n * 8, true
	case "in":
		return n * 96, true
	case "cm":
		return n * 38, true
	case "mm":
		return n * 3.8, true
	case "q":
		return n * 0.95, true
	case "%", "vw", "vh", "vmin", "vmax", "vi", "vb", "svw", "svh", "lvw", "lvh", "dvw", "dvh", "cqw", "cqh":
		return n * 10, true
	}
	return 0, false
}
