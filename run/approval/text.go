package approval

import (
	"fmt"
	"strconv"
	"strings"
)

// The most that people see of one question.
const (
	maxWord  = 200 // bytes of one argument, a path, a name
	maxWords = 16  // arguments
	maxLine  = 600 // bytes of a whole line
)

// Text is a hostile text as people may see it: one line of printable ASCII, so that no
// escape sequence, no line end, no reordering of text (Unicode's bidi controls) and no
// lookalike letter makes it read as something else than it is.
func Text(s string) string {
	q := strconv.QuoteToASCII(cut(s, maxWord))
	q = q[1 : len(q)-1]
	return strings.ReplaceAll(q, `\"`, `"`)
}

// Words is a command line in the same way: an argument that could be read as two, or as
// none, is in quotes.
func Words(argv []string) string {
	var b strings.Builder
	for i, w := range argv {
		if i == maxWords {
			fmt.Fprintf(&b, " ... and %d more arguments", len(argv)-maxWords)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		word := strconv.QuoteToASCII(cut(w, maxWord))
		if plain(w) && len(w) <= maxWord {
			word = w
		}
		b.WriteString(word)
	}
	return line(b.String())
}

func plain(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,+@%", r))
	}) < 0
}

// cut bounds a text, and says that it did and how much there was.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return s[:most] + fmt.Sprintf("... (%d bytes)", len(s))
}

// line bounds a text that is safe already.
func line(s string) string {
	if len(s) <= maxLine {
		return s
	}
	return s[:maxLine] + "..."
}
