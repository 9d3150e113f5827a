package screen

import (
	"unicode/utf8"
)

// A Filter takes sequences out of a stream. The zero value is ready, and a sequence or a
// character may come in pieces. It writes out whole sequences only, each as ESC and what
// belongs to it, without the controls that stood in it: so a terminal can't read one
// otherwise than it was judged, and what stands before and behind a sequence that was
// taken out never makes a new one.
type Filter struct {
	state  state
	seq    []byte // of the sequence that goes on; of a string, its beginning
	long   bool   // it does not end; it is not kept
	length int    // of a string
	rest   []byte // of a character that is not whole yet
	out    []byte
	counts map[string]int64
}

type state int

const (
	ground  state = iota
	escape        // after ESC, and what may stand before its last byte
	control       // in a control sequence, after ESC [
	str           // in a string: OSC, DCS, APC, PM, SOS, and screen's title (ESC k)
)

const (
	esc, bel, can, sub = 0x1b, 0x07, 0x18, 0x1a

	maxSequence = 256      // the longest that programs write set some twenty attributes
	maxString   = 16 << 20 // a picture's; what comes after it is shown as the text that it is
	maxKept     = 8        // of a string, to say what it was
)

// Pass gives what of p may be shown. It is valid until the next call.
func (f *Filter) Pass(p []byte) []byte {
	f.out = f.out[:0]
	if len(f.rest) > 0 {
		p = append(f.rest, p...)
		f.rest = nil
	}
	for len(p) > 0 {
		if f.state == ground {
			n := plain(p)
			f.out = append(f.out, p[:n]...)
			if p = p[n:]; len(p) == 0 {
				break
			}
		}
		if p[0] < utf8.RuneSelf {
			f.one(rune(p[0]), p[:1])
			p = p[1:]
			continue
		}
		if !utf8.FullRune(p) {
			f.rest = append([]byte(nil), p...)
			break
		}
		r, n := utf8.DecodeRune(p)
		if r == utf8.RuneError && n == 1 {
			r = alone(p[0])
		}
		f.one(r, p[:n])
		p = p[n:]
	}
	return f.out
}

// End gives what was still held back. A sequence that was not whole is dropped, a lone
// ESC too: with what somebody else writes next it would make one.
func (f *Filter) End() []byte {
	f.out = f.out[:0]
	for i := range f.rest {
		f.one(alone(f.rest[i]), f.rest[i:i+1])
	}
	f.rest = nil
	f.leave()
	return f.out
}

// Counts says how often something was taken out, by kind.
func (f *Filter) Counts() map[string]int64 { return f.counts }

func (f *Filter) took(kind string) {
	if f.counts == nil {
		f.counts = map[string]int64{}
	}
	f.counts[kind]++
}

// none is a byte that is no character: of a text in another encoding than UTF-8.
const none rune = -1

// alone is a byte that is part of no character. From 0x80 to 0x9f it is a control, as on
// terminals of eight bits; on others it is nothing. The rest is passed on as it is: it can't
// make a control together with its neighbours, since those have such a byte in them.
func alone(b byte) rune {
	if b <= 0x9f {
		return rune(b)
	}
	return none
}

// plain is how much of p is ASCII that is shown or moves the cursor.
func plain(p []byte) int {
	for i, b := range p {
		if b >= 0x7f || b < ' ' && !harmless(rune(b)) {
			return i
		}
	}
	return len(p)
}

// harmless are the controls that a terminal shows, or ignores: NUL and DEL, which were
// padding once, BEL, BS, HT, LF, VT, FF, CR, SO, SI. Not ENQ, which it answers, and not CAN,
// with which terminals begin to take a file (ZMODEM).
func harmless(r rune) bool { return r == 0 || r >= bel && r <= 0x0f || r == 0x7f }

// one takes a character, or a byte that is none.
func (f *Filter) one(r rune, raw []byte) {
	switch {
	case r == esc: // whatever goes on, it ends
		f.leave()
		f.begin(escape, esc)
		return
	case r == can || r == sub:
		if f.state == ground {
			f.took(Control)
		}
		f.leave()
		return
	case r >= 0x80 && r <= 0x9f: // C1, also in the two bytes of UTF-8: ESC and a letter
		f.leave()
		f.begin(escape, esc)
		r -= 0x40
		raw = []byte{byte(r)}
	}
	switch f.state {
	case ground:
		f.text(r, raw)
	case escape:
		f.afterEscape(r, raw)
	case control:
		f.inControl(r, raw)
	case str:
		f.inString(r)
	}
}

func (f *Filter) begin(s state, seq ...byte) {
	f.state, f.seq, f.long, f.length = s, append(f.seq[:0], seq...), false, 0
}

// leave ends what goes on, unfinished; of a string that is an end as good as another.
func (f *Filter) leave() {
	switch f.state {
	case escape, control:
		f.took(Other)
	case str:
		f.took(stringKind(f.seq))
	}
	f.state = ground
}

// text shows a character, or carries out a control.
func (f *Filter) text(r rune, raw []byte) {
	switch {
	case r >= 0 && r < ' ' && !harmless(r):
		f.took(controlKind(r))
	default:
		f.out = append(f.out, raw...)
	}
}

// keep adds to a sequence as long as there is room.
func (f *Filter) keep(r rune) {
	if len(f.seq) == maxSequence {
		f.long = true
		return
	}
	f.seq = append(f.seq, byte(r))
}

func (f *Filter) afterEscape(r rune, raw []byte) {
	first := len(f.seq) == 1
	switch {
	case r < 0 || r > 0x7f: // no sequence has such a character in it
		f.leave()
		f.text(r, raw)
	case r < ' ' || r == 0x7f: // carried out at once, and the sequence goes on (DEC STD 070)
		f.text(r, raw)
	case r < 0x30:
		f.keep(r)
	case first && r == '[':
		f.begin(control, esc, '[')
	case first && (r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_' || r == 'k'):
		f.begin(str, byte(r))
	case first && r == '\\': // the end of a string that has ended
		f.state = ground
	default:
		f.keep(r)
		f.state = ground
		f.judge(judgeEscape(f.seq))
	}
}

func (f *Filter) inControl(r rune, raw []byte) {
	switch {
	case r < 0 || r > 0x7f:
		f.leave()
		f.text(r, raw)
	case r < ' ' || r == 0x7f:
		f.text(r, raw)
	case r < 0x40:
		f.keep(r)
	default:
		f.keep(r)
		f.state = ground
		f.judge(judgeControl(f.seq))
	}
}

// judge writes what is left of a whole sequence, and counts what is not.
func (f *Filter) judge(left []byte, took string) {
	if f.long {
		left, took = nil, Other
	}
	f.out = append(f.out, left...)
	if took != "" {
		f.took(took)
	}
}

// inString swallows. ESC, with which ST begins, is not seen here.
func (f *Filter) inString(r rune) {
	if r == bel {
		f.leave()
		return
	}
	if len(f.seq) <= maxKept && r > 0 && r < 0x7f {
		f.seq = append(f.seq, byte(r))
	}
	f.length++
	// Linux's console has two strings without an end (console_codes(4)).
	if f.length == 1 && f.seq[0] == ']' && r == 'R' || f.length == 8 && len(f.seq) > 1 && f.seq[0] == ']' && f.seq[1] == 'P' || f.length == maxString {
		f.leave()
	}
}
