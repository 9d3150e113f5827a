package screen

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// The kinds of what is taken out, as the trail names them.
const (
	Clipboard    = "clipboard"
	Title        = "title"
	Link         = "link"
	Colour       = "palette"
	Notification = "notification"
	Command      = "terminal command" // all other strings: OSC, DCS, APC, PM, SOS
	Query        = "query"            // the terminal would type an answer
	Window       = "window"
	Printer      = "printer"
	Mode         = "mode"
	Control      = "control character"
	Other        = "unknown sequence" // or one without an end
)

// stringKind says what a string was by its beginning. None is let through. Even a title or
// a palette outlives the run on the caller's terminal, and one can be asked back.
func stringKind(beginning []byte) string {
	if beginning[0] == 'k' {
		return Title // of GNU screen and tmux
	}
	if beginning[0] != ']' {
		return Command
	}
	number, _, _ := strings.Cut(string(beginning[1:]), ";")
	if strings.HasPrefix(number, "P") {
		return Colour // Linux's console
	}
	switch number {
	case "0", "1", "2", "l", "L", "I": // the letters are dtterm's
		return Title
	case "8":
		return Link
	case "52", "5522": // 5522 is kitty's
		return Clipboard
	case "9", "99", "777":
		return Notification
	case "4", "5", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "104", "105", "110", "111", "112", "117", "119", "R":
		return Colour
	}
	return Command
}

func controlKind(r rune) string {
	if r == 0x05 { // ENQ, which is answered with the answerback text
		return Query
	}
	return Control
}

// judgeEscape says what is left of a sequence that begins with ESC and no bracket.
func judgeEscape(seq []byte) (left []byte, took string) {
	final := seq[len(seq)-1]
	switch between := string(seq[1 : len(seq)-1]); between {
	case "":
		// DECSC, DECRC, IND, NEL, HTS, RI, DECKPAM, DECKPNM, DECBI, DECFI, RIS.
		if bytes.IndexByte([]byte("78DEHM=>69c"), final) >= 0 {
			return seq, ""
		}
		if final == 'Z' { // DECID
			return nil, Query
		}
	case "(", ")", "*", "+": // character sets, of which no program in use has others
		if bytes.IndexByte([]byte("0123456789ABCEHKQRYZ<>"), final) >= 0 {
			return seq, ""
		}
	case "#": // double height and width, the test picture
		if bytes.IndexByte([]byte("34568"), final) >= 0 {
			return seq, ""
		}
		// Not ESC % @, which takes the terminal out of UTF-8, so that bytes of characters are
		// controls; nor ESC SP G, with which it answers in controls of eight bits.
	}
	return nil, Other
}

// judgeControl says what is left of a control sequence, which is ESC [, parameters,
// what stands between, and a letter.
func judgeControl(seq []byte) (left []byte, took string) {
	body, final := seq[2:len(seq)-1], string(seq[len(seq)-1:])
	prefix := ""
	if len(body) > 0 && body[0] >= '<' && body[0] <= '?' {
		prefix, body = string(body[:1]), body[1:]
	}
	end := bytes.IndexFunc(body, func(r rune) bool { return r > ';' || r < '0' })
	if end < 0 {
		end = len(body)
	}
	params, between := string(body[:end]), string(body[end:])
	if strings.ContainsFunc(between, func(r rune) bool { return r >= '0' }) {
		return nil, Other // terminals don't agree on what this is
	}
	switch prefix + between + final {
	// What moves the cursor, colours, inserts, erases, scrolls: CUU to SD, and their kin.
	case "@", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "P", "S", "X", "Z",
		"`", "a", "b", "d", "e", "f", "g", "m", "r", "s", "u",
		"?J", "?K", " @", " A", "'}", "'~", // DECSED, DECSEL, SL, SR, DECIC, DECDC
		"$r", "$t", "$v", "$x", "$z", "${": // of rectangles
		return seq, ""
	case "T": // with more parameters it grabs the mouse until it is answered
		if !strings.Contains(params, ";") {
			return seq, ""
		}
		return nil, Mode
	// DECSCUSR, DECSTR, DECSCA; xterm's and kitty's ways to tell keys apart.
	case " q", "!p", "\"q", ">m", ">n", ">u", "<u", "=u":
		return seq, ""
	case "h", "l", "?h", "?l":
		return modes(prefix, params, final)
	// DSR, DA 1 to 3, DECREQTPARM, DECRQM, XTVERSION, kitty's keyboard, XTQMODKEYS,
	// XTSMGRAPHICS, DECRQPSR, DECRQTSR, DECRQCRA, DECRQUPSS, DECRQLP, XTREPORTSGR.
	case "n":
		// Where the cursor is, CPR. The terminal types two numbers for it, which is nothing
		// that an agent could have somebody else read; and what draws below a prompt can't
		// begin without them (crossterm's inline screens, codex, prompt_toolkit).
		if params == "6" {
			return seq, ""
		}
		return nil, Query
	case "?n", "c", "?c", ">c", "=c", "x", "$p", "?$p", ">q", "?u", "?m", "?S", "$w", "$u", "*y", "&u", "'|", "#|", "#R":
		return nil, Query
	case "t":
		// To push and pop the title is part of terminfo's smcup and rmcup (less, vim, tmux).
		// As none can be set, what is popped is what was there.
		if slices.Contains([]string{"22", "22;0", "22;1", "22;2", "22;0;0", "22;1;0", "22;2;0", "23", "23;0", "23;1", "23;2", "23;0;0", "23;1;0", "23;2;0"}, params) {
			return seq, ""
		}
		return nil, Window
	case ">t", ">T", "$|", "*|", ",~", "+T":
		return nil, Window
	case "i", "?i":
		return nil, Printer
	case "?r", "?s": // restore and save
		return nil, Mode
	}
	return nil, Other
}

// modes leaves those that are on the list. Mouse, focus and paste make the terminal type
// what the person does. That is what they are for, and none of it is of the agent's choice.
func modes(prefix, params, final string) (left []byte, took string) {
	allowed := []int{4} // IRM; not KAM and SRM, which lock the keyboard and echo
	if prefix == "?" {
		allowed = []int{1, 3, 4, 5, 6, 7, 8, 9, 12, 25, 45, 47, 66, 69,
			1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 1034, 1035, 1036, 1039, 1047, 1048, 1049, 2004, 2026, 2027, 7727}
		// Not among them: 2, which is VT52 with its own queries; 18 and 19, the printer; 40,
		// with which 3 changes the window; 1001, which waits for an answer; 2031 and 2048,
		// which report colours and sizes.
	}
	var kept []string
	for p := range strings.SplitSeq(params, ";") {
		n, err := strconv.Atoi(p)
		// DECCOLM back to 80 columns is part of terminfo's is2; to 132 it changes the window
		// on terminals that do not wait for 40.
		if err != nil || !slices.Contains(allowed, n) || prefix == "?" && n == 3 && final == "h" {
			took = Mode
			continue
		}
		kept = append(kept, strconv.Itoa(n))
	}
	if len(kept) == 0 {
		return nil, took
	}
	return []byte("\x1b[" + prefix + strings.Join(kept, ";") + final), took
}
