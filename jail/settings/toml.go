package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// TOML 1.0 (https://toml.io/en/v1.0.0), as far as it takes to find names and values. What
// is no string, list or table is kept as it is written: numbers, switches, dates. It is
// stricter than TOML nowhere that matters to settings, and refuses what it does not know.

// tomlLine is a table's header, or a name and its value.
type tomlLine struct {
	header string   // as written, with its brackets
	at     []string // names of the table that it is in, and its own
	key    string   // as written
	value  any
}

// raw is a value that is kept as it is written.
type raw string

// cleanTOML leaves out entries; what is left keeps its order, and loses its comments.
func cleanTOML(c *cleaner, data []byte) ([]byte, error) {
	p := &tomlParser{src: strings.ReplaceAll(string(data), "\r\n", "\n")}
	lines, err := p.document()
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", 1+strings.Count(p.src[:min(p.i, len(p.src))], "\n"), err)
	}
	var out bytes.Buffer
	for _, l := range lines {
		if l.header != "" {
			fmt.Fprintf(&out, "\n%s\n", l.header)
			continue
		}
		// A table under a name that tells a credential is one, whatever is in it.
		within := slices.ContainsFunc(l.at[:len(l.at)-1], func(n string) bool { return secretName(n, nil) })
		if within && holds(l.value) {
			c.note(l.at)
			continue
		}
		value, gone := c.value(l.value, l.at[len(l.at)-1], l.at, 0)
		if gone {
			continue
		}
		fmt.Fprintf(&out, "%s = ", l.key)
		if err := writeTOML(&out, value); err != nil {
			return nil, err
		}
		out.WriteByte('\n')
	}
	return bytes.TrimLeft(out.Bytes(), "\n"), nil
}

func writeTOML(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case raw:
		b.WriteString(string(v))
	case string:
		text, err := json.Marshal(v) // its escapes are TOML's too
		if err != nil {
			return err
		}
		b.Write(bytes.ReplaceAll(text, []byte("\x7f"), []byte(`\u007f`)))
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := writeTOML(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case *object:
		b.WriteString("{ ")
		for i, n := range v.names {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := writeTOML(b, n); err != nil {
				return err
			}
			b.WriteString(" = ")
			if err := writeTOML(b, v.values[i]); err != nil {
				return err
			}
		}
		b.WriteString(" }")
	}
	return nil
}

type tomlParser struct {
	src string
	i   int
}

// tomlWord is a number, a switch or a date.
var tomlWord = lazy(`^(?:true|false|[+-]?(?:inf|nan)|[+-]?[0-9][0-9A-Fa-fxob_.+:TtZz -]*)$`)

// rest is what is left to read.
func (p *tomlParser) rest() string { return p.src[p.i:] }

// space skips blanks, and with lines also comments and line ends.
func (p *tomlParser) space(lines bool) {
	for p.i < len(p.src) {
		switch c := p.src[p.i]; {
		case c == ' ' || c == '\t' || lines && c == '\n':
			p.i++
		case lines && c == '#':
			end := strings.IndexByte(p.rest(), '\n')
			if end < 0 {
				end = len(p.rest())
			}
			p.i += end
		default:
			return
		}
	}
}

// take reads a piece of text that must stand here.
func (p *tomlParser) take(s string) bool {
	if !strings.HasPrefix(p.rest(), s) {
		return false
	}
	p.i += len(s)
	return true
}

func (p *tomlParser) document() (lines []tomlLine, err error) {
	var table []string
	for p.space(true); p.i < len(p.src); p.space(true) {
		start := p.i
		if p.take("[") {
			double := p.take("[")
			if table, err = p.keys(); err != nil {
				return nil, err
			}
			if !p.take("]") || double && !p.take("]") {
				return nil, errors.New("a table's header has no end")
			}
			lines = append(lines, tomlLine{header: p.src[start:p.i]})
		} else {
			keys, err := p.keys()
			if err != nil {
				return nil, err
			}
			key := strings.TrimSpace(p.src[start:p.i])
			if !p.take("=") {
				return nil, errors.New("a name has no value")
			}
			v, err := p.value(0)
			if err != nil {
				return nil, err
			}
			lines = append(lines, tomlLine{at: slices.Concat(table, keys), key: key, value: v})
		}
		p.space(false)
		if p.i < len(p.src) && p.src[p.i] != '\n' && p.src[p.i] != '#' {
			return nil, errors.New("something follows on the same line")
		}
	}
	return lines, nil
}

// keys reads a name, or several with dots between them.
func (p *tomlParser) keys() (names []string, err error) {
	for {
		p.space(false)
		var name string
		if c := p.rest(); strings.HasPrefix(c, `"`) || strings.HasPrefix(c, "'") {
			if name, err = p.text(); err != nil {
				return nil, err
			}
		} else {
			end := strings.IndexFunc(c, func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
			})
			if end <= 0 {
				return nil, errors.New("a name is expected")
			}
			name = c[:end]
			p.i += end
		}
		names = append(names, name)
		p.space(false)
		if !p.take(".") {
			return names, nil
		}
	}
}

func (p *tomlParser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("its values lie too deep in one another")
	}
	p.space(false)
	switch c := p.rest(); {
	case strings.HasPrefix(c, `"`), strings.HasPrefix(c, "'"):
		return p.text()
	case p.take("["):
		list := []any{}
		for p.space(true); !p.take("]"); p.space(true) {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			if p.space(true); !p.take(",") && !strings.HasPrefix(p.rest(), "]") {
				return nil, errors.New("a list has no end")
			}
		}
		return list, nil
	case p.take("{"):
		o := &object{}
		for p.space(true); !p.take("}"); p.space(true) {
			keys, err := p.keys()
			if err != nil {
				return nil, err
			}
			if len(keys) != 1 || slices.Contains(o.names, keys[0]) || !p.take("=") {
				return nil, errors.New("an inline table has a name that is not understood")
			}
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			o.names, o.values = append(o.names, keys[0]), append(o.values, v)
			if p.space(true); !p.take(",") && !strings.HasPrefix(p.rest(), "}") {
				return nil, errors.New("an inline table has no end")
			}
		}
		return o, nil
	default:
		end := strings.IndexAny(c, ",]}#\n")
		if end < 0 {
			end = len(c)
		}
		word := strings.TrimSpace(c[:end])
		if !tomlWord().MatchString(word) {
			return nil, errors.New("a value is expected")
		}
		p.i += end
		return raw(word), nil
	}
}

// text reads a string of any of TOML's four kinds.
func (p *tomlParser) text() (string, error) {
	quote := p.src[p.i : p.i+1]
	if long := strings.Repeat(quote, 3); p.take(long) {
		p.take("\n") // right behind the quotes it is no part of the text
		return p.until(long, quote == `"`)
	}
	p.i++
	s, err := p.until(quote, quote == `"`)
	if err == nil && strings.Contains(s, "\n") && quote == "'" {
		return "", errors.New("a string has no end")
	}
	return s, err
}

// until reads up to the quotes that end a string.
func (p *tomlParser) until(end string, escapes bool) (string, error) {
	var b strings.Builder
	for p.i < len(p.src) {
		if p.take(end) {
			// Of more than three quotes the last three end it.
			for len(end) == 3 && p.take(end[:1]) {
				b.WriteString(end[:1])
			}
			return b.String(), nil
		}
		c := p.src[p.i]
		switch {
		case c == '\n' && len(end) == 1:
			return "", errors.New("a string has no end")
		case c == '\\' && escapes:
			if err := p.escape(&b, len(end) == 3); err != nil {
				return "", err
			}
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return "", errors.New("a string has no end")
}

func (p *tomlParser) escape(b *strings.Builder, long bool) error {
	p.i++ // the backslash
	if p.i >= len(p.src) {
		return errors.New("a string has no end")
	}
	c := p.src[p.i]
	p.i++
	if at := strings.IndexByte(`btnfre"\`, c); at >= 0 {
		b.WriteByte("\b\t\n\f\r\x1b\"\\"[at])
		return nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	if digits > 0 && len(p.rest()) >= digits {
		n, err := strconv.ParseUint(p.rest()[:digits], 16, 32)
		if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return errors.New("a string has an escape that is none")
		}
		p.i += digits
		b.WriteRune(rune(n))
		return nil
	}
	// At the end of a line: the line end and what is blank behind it are no part of the text.
	if rest := strings.TrimLeft(p.src[p.i-1:], " \t"); long && strings.HasPrefix(rest, "\n") {
		p.i = len(p.src) - len(strings.TrimLeft(rest, " \t\n"))
		return nil
	}
	return errors.New("a string has an escape that is none")
}
