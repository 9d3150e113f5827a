package usage

import (
	"unicode/utf16"
	"unicode/utf8"
)

// kind of a JSON value that is opened and closed.
type kind byte

const (
	object kind = iota
	array
	text
)

// visitor is told of a JSON text's values as they come. A path is the members' names
// joined by ".", with "#" for a list's element: "content.#.name". It is only good
// during the call.
type visitor interface {
	open(path []byte, k kind)
	part(path, b []byte)       // of a text, decoded; as large as the chunks are
	scalar(path, b []byte)     // a number, true, false or null; cut to maxScalar
	close(path []byte, k kind) // of what was opened
	wants(path []byte) *digest // where the raw text of an object or list goes; nil: nowhere
}

const (
	// maxDepth is deeper than any API's answer and than Go's own decoder is asked to
	// follow in practice (its limit is 10,000).
	maxDepth = 512
	// maxKey is longer than any member's name that is looked at.
	maxKey = 40
	// maxPathDepth is below where anything stands that is looked at.
	maxPathDepth = 12
	maxScalar    = 32
)

// unknownKey stands for a name that is none of those looked at. No name that is looked
// at has it, and a name that has a path's own signs becomes it.
const unknownKey = '?'

type state byte

const (
	wantValue state = iota
	wantFirst       // a value, or the end of an empty list
	wantKey
	wantFirstKey // a name, or the end of an empty object
	wantColon
	wantMore // a comma, or the end
	inText
	inEscape
	inHex
	inScalar
	finished // the text is over; only white space may follow
	broken   // it is no JSON: the rest is not looked at
)

type frame struct {
	kind kind
	path int // length of the path outside
}

// scanner reads one JSON text (RFC 8259) in pieces of any size. It is as strict as it
// takes to see what a decoder would see, and no stricter.
type scanner struct {
	v     visitor
	state state
	stack []frame
	path  []byte

	isKey   bool // the text that is being read is a member's name
	key     []byte
	longKey bool

	scalar []byte
	hex    rune
	digits int
	high   rune // the first half of a surrogate pair

	capture *digest
	depth   int // of the value that is captured
}

func newScanner(v visitor) *scanner { return &scanner{v: v} }

// reset makes it ready for the next text.
func (s *scanner) reset() {
	*s = scanner{v: s.v, stack: s.stack[:0], path: s.path[:0], key: s.key[:0], scalar: s.scalar[:0]}
}

// whole says whether exactly one JSON value was read. end is called before.
func (s *scanner) whole() bool { return s.state == finished }

// end closes a number that nothing follows.
func (s *scanner) end() {
	if s.state == inScalar {
		s.endScalar()
	}
}

func (s *scanner) write(p []byte) {
	for i := 0; i < len(p) && s.state != broken; {
		if s.state != inText {
			s.step(p[i])
			i++
			continue
		}
		j := i
		for j < len(p) && p[j] != '"' && p[j] != '\\' {
			j++
		}
		if j > i {
			s.raw(p[i:j])
			s.text(p[i:j])
			i = j
			continue
		}
		s.step(p[i])
		i++
	}
}

func (s *scanner) raw(b []byte) {
	if s.capture != nil {
		s.capture.write(b)
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// step reads a byte that is not in the middle of a text.
func (s *scanner) step(c byte) {
	if s.state == inScalar {
		if c != ',' && c != '}' && c != ']' && !isSpace(c) {
			if len(s.scalar) < maxScalar {
				s.scalar = append(s.scalar, c)
			}
			s.raw([]byte{c})
			return
		}
		s.endScalar()
	}
	switch s.state {
	case inText, inEscape, inHex:
		s.raw([]byte{c})
		s.stepText(c)
		return
	}
	if isSpace(c) {
		return
	}
	switch s.state {
	case wantFirst:
		if c == ']' {
			s.pop(array, c)
			return
		}
		s.value(c)
	case wantValue:
		s.value(c)
	case wantFirstKey, wantKey:
		switch {
		case c == '"':
			s.raw([]byte{c})
			s.state, s.isKey, s.longKey, s.key = inText, true, false, s.key[:0]
		case c == '}' && s.state == wantFirstKey:
			s.pop(object, c)
		default:
			s.state = broken
		}
	case wantColon:
		if c != ':' {
			s.state = broken
			return
		}
		s.raw([]byte{c})
		s.state = wantValue
	case wantMore:
		s.more(c)
	default: // finished
		s.state = broken
	}
}

func (s *scanner) more(c byte) {
	top := s.stack[len(s.stack)-1]
	switch {
	case c == ',' && top.kind == object:
		s.state = wantKey
		s.path = s.path[:top.path]
	case c == ',':
		s.state = wantValue
	case c == '}':
		s.pop(object, c)
		return
	case c == ']':
		s.pop(array, c)
		return
	default:
		s.state = broken
		return
	}
	s.raw([]byte{c})
}

// value begins a value with its first byte.
func (s *scanner) value(c byte) {
	switch {
	case c == '{':
		s.push(object, c)
	case c == '[':
		s.push(array, c)
	case c == '"':
		s.raw([]byte{c})
		s.state, s.isKey = inText, false
		s.v.open(s.path, text)
	case c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z':
		s.raw([]byte{c})
		s.state, s.scalar = inScalar, append(s.scalar[:0], c)
	default:
		s.state = broken
	}
}

func (s *scanner) push(k kind, c byte) {
	if len(s.stack) >= maxDepth {
		s.state = broken
		return
	}
	s.v.open(s.path, k)
	if s.capture == nil {
		if s.capture = s.v.wants(s.path); s.capture != nil {
			s.depth = len(s.stack)
		}
	}
	s.raw([]byte{c})
	s.stack = append(s.stack, frame{k, len(s.path)})
	if k == object {
		s.state = wantFirstKey
		return
	}
	s.state = wantFirst
	s.name([]byte{'#'})
}

// name adds a member's name to the path.
func (s *scanner) name(b []byte) {
	if len(s.stack) > maxPathDepth {
		return // the path above already leads to nothing that is looked at
	}
	if len(s.path) > 0 {
		s.path = append(s.path, '.')
	}
	s.path = append(s.path, b...)
}

func (s *scanner) pop(k kind, c byte) {
	top := s.stack[len(s.stack)-1]
	if top.kind != k {
		s.state = broken
		return
	}
	s.raw([]byte{c})
	s.stack = s.stack[:len(s.stack)-1]
	s.path = s.path[:top.path]
	if s.capture != nil && len(s.stack) == s.depth {
		s.capture = nil
	}
	s.v.close(s.path, k)
	s.after()
}

// after is behind a value.
func (s *scanner) after() {
	if len(s.stack) == 0 {
		s.state = finished
		return
	}
	s.state = wantMore
}

func (s *scanner) endScalar() {
	s.state = wantMore
	if !isScalar(s.scalar) {
		s.state = broken
		return
	}
	s.v.scalar(s.path, s.scalar)
	s.after()
}

// isScalar lets through what may be a number: whether it is one is for whoever reads it.
func isScalar(b []byte) bool {
	switch string(b) {
	case "true", "false", "null":
		return true
	}
	for _, c := range b {
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// text takes a piece of a text in which nothing is escaped.
func (s *scanner) text(b []byte) {
	if s.high != 0 {
		s.high = 0
		s.emit([]byte(string(utf8.RuneError)))
	}
	s.emit(b)
}

func (s *scanner) emit(b []byte) {
	if !s.isKey {
		s.v.part(s.path, b)
		return
	}
	if len(s.key)+len(b) > maxKey {
		s.longKey = true
		return
	}
	s.key = append(s.key, b...)
}

func (s *scanner) rune(r rune) {
	switch {
	case s.high != 0 && utf16.IsSurrogate(r) && utf16.DecodeRune(s.high, r) != utf8.RuneError:
		r = utf16.DecodeRune(s.high, r)
		s.high = 0
	case utf16.IsSurrogate(r) && r < 0xdc00: // the first half
		s.flushHigh()
		s.high = r
		return
	case utf16.IsSurrogate(r):
		r = utf8.RuneError
	}
	s.flushHigh()
	s.emit(utf8.AppendRune(nil, r))
}

// flushHigh gives up on a half of a pair as Go's decoder does.
func (s *scanner) flushHigh() {
	if s.high != 0 {
		s.high = 0
		s.emit([]byte(string(utf8.RuneError)))
	}
}

func (s *scanner) stepText(c byte) {
	switch s.state {
	case inText:
		if c == '\\' {
			s.state = inEscape
			return
		}
		s.flushHigh()
		s.endText()
	case inEscape:
		s.state = inText
		switch c {
		case '"', '\\', '/':
			s.text([]byte{c})
		case 'b':
			s.text([]byte{'\b'})
		case 'f':
			s.text([]byte{'\f'})
		case 'n':
			s.text([]byte{'\n'})
		case 'r':
			s.text([]byte{'\r'})
		case 't':
			s.text([]byte{'\t'})
		case 'u':
			s.state, s.hex, s.digits = inHex, 0, 0
		default:
			s.state = broken
		}
	case inHex:
		n := unhex(c)
		if n < 0 {
			s.state = broken
			return
		}
		s.hex = s.hex<<4 | n
		if s.digits++; s.digits == 4 {
			s.state = inText
			s.rune(s.hex)
		}
	}
}

func unhex(c byte) rune {
	switch {
	case c >= '0' && c <= '9':
		return rune(c - '0')
	case c >= 'a' && c <= 'f':
		return rune(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

func (s *scanner) endText() {
	if !s.isKey {
		s.v.close(s.path, text)
		s.after()
		return
	}
	key := s.key
	if s.longKey {
		key = []byte{unknownKey}
	}
	for _, c := range key {
		if c == '.' || c == '#' { // {"usage.input_tokens": 1} is not the path
			key = []byte{unknownKey}
			break
		}
	}
	s.name(key)
	s.state = wantColon
}
