package cast

import (
	"bytes"
	"strconv"
)

// A Filter takes out of a terminal's input whatever does more than to show text: all
// strings (OSC sets titles, clipboards and links; DCS, APC, PM and SOS do whatever a
// terminal invented), and all questions (DA, DSR, DECRQM, window reports ...), which a
// terminal answers as if somebody had typed it (CVE-2003-0063 and its kin). What is let
// through is a list: ECMA-48 and xterm's ctlseqs name the rest. The zero value is ready,
// and a sequence may come in pieces.
type Filter struct {
	state filterState
	seq   []byte // of an escape sequence that goes on
	c2    bool   // the first byte of what may be a C1 control waits
}

type filterState int

const (
	ground    filterState = iota
	escape                // after ESC
	csi                   // after ESC [
	str                   // in a string, to its ST or BEL
	strEscape             // after ESC in a string
	charset               // after ESC ( and the like
)

// maxSequence ends a sequence that never ends.
const maxSequence = 256

// Pass gives what of p may be shown.
func (f *Filter) Pass(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, b := range p {
		out = f.one(out, b)
	}
	return out
}

func (f *Filter) one(out []byte, b byte) []byte {
	switch f.state {
	case ground:
		return f.text(out, b)
	case escape:
		return f.afterEscape(out, b)
	case charset:
		f.state = ground
		if b == 'B' || b == '0' || b == 'A' {
			return append(append(out, f.seq...), b)
		}
		return out
	case csi:
		f.seq = append(f.seq, b)
		switch {
		case b == 0x1b:
			f.state, f.seq = escape, append(f.seq[:0], b)
		case b == 0x18 || b == 0x1a || len(f.seq) > maxSequence: // CAN, SUB
			f.state = ground
		case b >= 0x40 && b <= 0x7e:
			f.state = ground
			if harmless(f.seq) {
				return append(out, f.seq...)
			}
		}
		return out
	case strEscape:
		f.state = ground
		if b != '\\' { // ESC ends the string, and begins something else
			f.state, f.seq = escape, append(f.seq[:0], 0x1b)
			return f.one(out, b)
		}
		return out
	}
	switch b { // str
	case 0x07, 0x18, 0x1a:
		f.state = ground
	case 0x1b:
		f.state = strEscape
	}
	return out
}

// text passes on characters. Those from U+0080 to U+009F are controls, and two bytes
// in UTF-8, of which the first says nothing yet.
func (f *Filter) text(out []byte, b byte) []byte {
	if f.c2 {
		f.c2 = false
		if b >= 0x80 && b <= 0x9f {
			f.c1(b)
			return out
		}
		if b >= 0xa0 && b <= 0xbf { // else it was no character
			out = append(out, 0xc2)
		}
	}
	switch {
	case b == 0x1b:
		f.state, f.seq = escape, append(f.seq[:0], b)
	case b == 0xc2:
		f.c2 = true
	case b == '\n' || b == '\r' || b == '\t' || b == '\b' || b == 0x0e || b == 0x0f || b >= ' ' && b != 0x7f:
		return append(out, b)
	}
	return out
}

func (f *Filter) afterEscape(out []byte, b byte) []byte {
	f.state = ground
	switch b {
	case '[':
		f.state, f.seq = csi, append(f.seq, b)
	case ']', 'P', 'X', '^', '_': // OSC, DCS, SOS, PM, APC
		f.state = str
	case '(', ')':
		f.state, f.seq = charset, append(f.seq, b)
	case '7', '8', 'D', 'E', 'H', 'M', '=', '>':
		return append(append(out, f.seq...), b)
	case 0x1b:
		f.state = escape
	}
	return out
}

// c1 takes the control characters that stand for ESC and a letter as those.
func (f *Filter) c1(b byte) {
	switch b {
	case 0x9b:
		f.state, f.seq = csi, append(f.seq[:0], 0x1b, '[')
	case 0x90, 0x98, 0x9d, 0x9e, 0x9f:
		f.state = str
	}
}

// harmless tells whether a whole CSI sequence only moves, colours, inserts, erases or
// switches a mode of the screen.
func harmless(seq []byte) bool {
	body, final := seq[2:len(seq)-1], seq[len(seq)-1]
	switch final {
	case 'h', 'l':
		return modes(body)
	}
	if bytes.ContainsFunc(body, func(r rune) bool { return r != ';' && r != ':' && (r < '0' || r > '9') }) {
		return false // private or with an intermediate byte: keyboard protocols, queries, cursor shapes
	}
	return bytes.IndexByte([]byte("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu"), final) >= 0
}

// modes lets only those through that are about what the screen shows.
func modes(body []byte) bool {
	private := bytes.HasPrefix(body, []byte("?"))
	for m := range bytes.SplitSeq(bytes.TrimPrefix(body, []byte("?")), []byte(";")) {
		n, err := strconv.Atoi(string(m))
		if err != nil {
			return false
		}
		switch {
		case private && (n == 1 || n == 6 || n == 7 || n == 12 || n == 25 || n == 47 || n == 1047 || n == 1048 || n == 1049 || n == 2026):
		case !private && (n == 4 || n == 20):
		default:
			return false
		}
	}
	return true
}
