package screen

import (
	"bytes"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// show passes pieces through one filter.
func show(pieces ...string) (string, map[string]int64) {
	var f Filter
	var b strings.Builder
	for _, p := range pieces {
		b.Write(f.Pass([]byte(p)))
	}
	b.Write(f.End())
	return b.String(), f.Counts()
}

// taken are sequences of which nothing may be left, and their kinds.
var taken = []struct{ name, seq, kind string }{
	{"OSC 52 with BEL", "\x1b]52;c;aGk=\x07", Clipboard},
	{"OSC 52 with ST", "\x1b]52;c;aGk=\x1b\\", Clipboard},
	{"OSC 52 query", "\x1b]52;c;?\x07", Clipboard},
	{"OSC 52 of eight bits", "\x9d52;c;aGk=\x9c", Clipboard},
	{"OSC 52 of eight bits in UTF-8", "\u009d52;c;aGk=\u009c", Clipboard},
	{"title", "\x1b]0;a title \u2713\x07", Title},
	{"title 2", "\x1b]2;t\x1b\\", Title},
	{"title of screen", "\x1bkname\x1b\\", Title},
	{"colour set", "\x1b]11;#000000\x07", Colour},
	{"colour query", "\x1b]11;?\x1b\\", Colour},
	{"palette query", "\x1b]4;1;?\x07", Colour},
	{"palette of Linux's console", "\x1b]P0000000", Colour},
	{"reset of Linux's console", "\x1b]R", Colour},
	{"notification", "\x1b]9;hello\x07", Notification},
	{"notification of rxvt", "\x1b]777;notify;a;b\x07", Notification},
	{"shell integration", "\x1b]133;C\x07", Command},
	{"shell integration of VS Code", "\x1b]633;E;rm\x07", Command},
	{"file of iTerm2", "\x1b]1337;File=inline=1:AAAA\x07", Command},
	{"working folder", "\x1b]7;file://h/etc\x07", Command},
	{"font query", "\x1b]50;?\x07", Command},
	{"XTGETTCAP", "\x1bP+q544e\x1b\\", Command},
	{"DECRQSS", "\x1bP$qm\x1b\\", Command},
	{"Sixel", "\x1bPq#0;2;0;0;0#0~~@@vv\x1b\\", Command},
	{"DCS of eight bits", "\x90$qm\x9c", Command},
	{"APC", "\x1b_Ga=q,i=1;AAAA\x1b\\", Command},
	{"APC of eight bits", "\x9fGa=q\x9c", Command},
	{"PM", "\x1b^x\x1b\\", Command},
	{"SOS", "\x1bXx\x1b\\", Command},
	{"DSR", "\x1b[5n", Query},
	{"DECXCPR", "\x1b[?6n", Query},
	{"colour scheme", "\x1b[?996n", Query},
	{"DSR of eight bits", "\x9b5n", Query},
	{"DSR of eight bits in UTF-8", "\u009b5n", Query},
	{"DA1", "\x1b[c", Query},
	{"DA1 with 0", "\x1b[0c", Query},
	{"DA2", "\x1b[>c", Query},
	{"DA3", "\x1b[=0c", Query},
	{"DECID", "\x1bZ", Query},
	{"DECID of eight bits", "\x9a", Query},
	{"DECRQM", "\x1b[?2026$p", Query},
	{"DECRQM of ANSI", "\x1b[4$p", Query},
	{"DECREQTPARM", "\x1b[x", Query},
	{"DECRQPSR", "\x1b[1$w", Query},
	{"DECRQCRA", "\x1b[1;1;1;1;2;2*y", Query},
	{"XTVERSION", "\x1b[>0q", Query},
	{"kitty keyboard", "\x1b[?u", Query},
	{"XTQMODKEYS", "\x1b[?4m", Query},
	{"XTSMGRAPHICS", "\x1b[?1;1;0S", Query},
	{"ENQ", "\x05", Query},
	{"window title", "\x1b[21t", Window},
	{"window size", "\x1b[14t", Window},
	{"window resize", "\x1b[8;10;10t", Window},
	{"iconify", "\x1b[2t", Window},
	{"title stack, and something else", "\x1b[22;3t", Window},
	{"lines per page", "\x1b[50*|", Window},
	{"media copy", "\x1b[5i", Printer},
	{"media copy of DEC", "\x1b[?5i", Printer},
	{"VT52", "\x1b[?2l", Mode},
	{"132 columns", "\x1b[?3h", Mode},
	{"column switch", "\x1b[?40h", Mode},
	{"size reports", "\x1b[?2048h", Mode},
	{"keyboard lock", "\x1b[2h", Mode},
	{"a mode that is one beyond 32 bits", "\x1b[?4294967321h", Mode},
	{"mouse highlight", "\x1b[1;1;1;1;1T", Mode},
	{"answers of eight bits", "\x1b G", Other},
	{"out of UTF-8", "\x1b%@", Other},
	{"conformance level", "\x1b[62;1\"p", Other},
	{"a sequence that nobody knows", "\x1b[1;2=3m", Other},
	{"ZMODEM", "\x18", Control},
	{"overlong", "\x1b[" + strings.Repeat("1;", 200) + "m", Other},
}

// kept go through unchanged.
var kept = []string{
	"plain text\r\n\ttab\b\a\x0e\x0f\x0b\x0c\x00\x7f",
	"Grüße, 世界 \U0001f600 e\u0301 \u200d", "caf\xe9 in Latin-1 \xa0\xff",
	"ś œ \u26db \u0450 \u049b \u2713", // bytes 0x80 to 0x9f within characters
	"\x1b[6n",                         // where the cursor is
	"\x1b[m\x1b[0;1;31m\x1b[38;5;196m\x1b[48;2;1;2;3m\x1b[4:3m\x1b[38:2::1:2:3m",
	"\x1b[H\x1b[2J\x1b[3J\x1b[K\x1b[10;20H\x1b[5A\x1b[B\x1b[C\x1b[D\x1b[2L\x1b[M\x1b[4P\x1b[@\x1b[X\x1b[6b\x1b[2d\x1b[7G\x1b[3S\x1b[T\x1b[I\x1b[Z",
	"\x1b[1;24r\x1b[r\x1b[s\x1b[u\x1b7\x1b8\x1bM\x1bD\x1bE\x1bH\x1b=\x1b>\x1bc\x1b#8\x1b(B\x1b)0\x1b(0",
	"\x1b[?1049h\x1b[?25l\x1b[?7h\x1b[?1h\x1b[?2004h\x1b[?1000;1002;1003;1006h\x1b[?1004h\x1b[?2026h\x1b[?2026l\x1b[?1049l\x1b[?12l\x1b[4h\x1b[4l",
	"\x1b[?3;4l\x1b[22;0;0t\x1b[22;2t\x1b[23;1t\x1b[23t",
	"\x1b[ q\x1b[5 q\x1b[!p\x1b[>4;2m\x1b[>4m\x1b[>1u\x1b[<u\x1b[=5;1u\x1b[1;1;5;5$z\x1b[?J",
}

func TestTakenOut(t *testing.T) {
	for _, tt := range taken {
		t.Run(tt.name, func(t *testing.T) {
			for _, around := range []string{"", "before ś", "\x1b[31m"} {
				text := around + tt.seq + "behind 世"
				want := around + "behind 世"
				got, counts := show(text)
				if got != want || !maps.Equal(counts, map[string]int64{tt.kind: 1}) {
					t.Errorf("%q is %q with %v taken out, want %q and one %s", text, got, counts, want, tt.kind)
				}
				for i := range len(text) + 1 {
					if got, c := show(text[:i], text[i:]); got != want || !maps.Equal(c, counts) {
						t.Errorf("%q and %q are %q with %v taken out, want %q", text[:i], text[i:], got, c, want)
					}
				}
				if got, _ := show(strings.Split(text, "")...); got != want {
					t.Errorf("by characters %q is %q", text, got)
				}
			}
		})
	}
}

func TestKept(t *testing.T) {
	for _, text := range append(kept, strings.Join(kept, "")) {
		if got, counts := show(text); got != text || len(counts) > 0 {
			t.Errorf("%q is %q with %v taken out", text, got, counts)
		}
		for i := range len(text) + 1 {
			if got, _ := show(text[:i], text[i:]); got != text {
				t.Errorf("%q and %q are %q", text[:i], text[i:], got)
			}
		}
	}
}

func TestShown(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"a link keeps its text", "\x1b]8;;https://evil.example\x1b\\safe.example\x1b]8;;\x1b\\", "safe.example"},
		{"one of several modes", "\x1b[?25;2048;1049h", "\x1b[?25;1049h"},
		{"controls of eight bits", "\x9b31mred\x85", "\x1b[31mred\x1bE"},
		{"controls within a sequence", "\x1b[3\r1\x00m", "\r\x00\x1b[31m"},
		{"ENQ within a sequence", "\x1b[3\x051m", "\x1b[31m"},
		{"CAN", "\x1b[6\x18n", "n"},
		{"SUB in a string", "\x1b]52;c;\x1aaGk=", "aGk="},
		{"ESC in a string", "\x1b]52;c;aa\x1b[31mred", "\x1b[31mred"},
		{"a query in a string", "\x1b]0;\x1b[5n\x07x", "\x07x"},
		{"a string in a sequence", "\x1b[3\x1b]52;c;aa\x07" + "1m", "1m"},
		{"tmux's way through", "\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\x", "x"},
		{"ESC ESC", "\x1b\x1b[5n\x1b\x1b[1mx", "\x1b[1mx"},
		{"halves around a string", "\x1b\x1b]0;x\x07[5n", "[5n"},
		{"half a character around a string", "\xc2\x1b]0;x\x07\x9b5n", "\xc2"},
		{"half a control around ENQ", "\xc2\x05\x9b5n", "\xc2"},
		{"a character in a sequence", "\x1b[6é n", "é n"},
		{"an overlong ESC", "\xc0\x9b5n", "\xc0"},
		{"a lone ESC at the end", "x\x1b", "x"},
		{"half a character at the end", "x\xe2\x9c", "x\xe2"},
		{"half a sequence at the end", "x\x1b[3", "x"},
		{"a string without an end", "x\x1b]0;" + strings.Repeat("y", 100), "x"},
		{"a string beyond its bound", "x\x1bP" + strings.Repeat("y", maxString) + "z\x1b[5n", "xz"},
		{"palette of Linux's console, then text", "\x1b]P1ff0000text", "text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, counts := show(tt.in)
			if got != tt.want {
				t.Errorf("%.80q is %.80q, want %q", tt.in, got, tt.want)
			}
			if strings.HasSuffix(tt.name, "the end") && !strings.Contains(tt.name, "character") && len(counts) != 1 {
				t.Errorf("%v is counted", counts)
			}
		})
	}
}

// TestNothingWaits: what is whole is shown with the bytes that end it.
func TestNothingWaits(t *testing.T) {
	var f Filter
	for _, text := range []string{"prompt> ", "\x1b[31m", "é", "x\x1b[?25l", "\x07"} {
		if got := string(f.Pass([]byte(text))); got != text {
			t.Errorf("%q is %q at once", text, got)
		}
	}
	if got := string(f.Pass([]byte("text\x1b"))); got != "text" {
		t.Errorf("before an ESC: %q", got)
	}
	if got := string(f.Pass([]byte("[1m"))); got != "\x1b[1m" {
		t.Errorf("after it: %q", got)
	}
}

// TestBounded: nothing that never ends is kept.
func TestBounded(t *testing.T) {
	for _, begin := range []string{"\x1b]52;", "\x1bP", "\x1b[", "\x1b(", "\x1b "} {
		var f Filter
		f.Pass([]byte(begin))
		for range 1000 {
			f.Pass(bytes.Repeat([]byte("1"), 1000))
			f.Pass(bytes.Repeat([]byte(" "), 1000))
		}
		if cap(f.seq) > 2*maxSequence || cap(f.rest) > 8 {
			t.Errorf("%q: %d bytes are kept", begin, cap(f.seq))
		}
	}
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, p := range []string{"a\x1b]0;t", "\x07b\xc3", "\x1b[5n", "\xc3"} {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("%q: %d, %v", p, n, err)
		}
	}
	if err := w.Close(); err != nil || b.String() != "ab\xc3\xc3" || Text(w.Counts()) != "query 1, title 1" || Severe(w.Counts()) {
		t.Errorf("%q, %v, %q", b.String(), err, Text(w.Counts()))
	}
	broken := errors.New("broken")
	if _, err := NewWriter(failing{broken}).Write([]byte("x")); !errors.Is(err, broken) {
		t.Errorf("a broken terminal: %v", err)
	}
	if !Severe(map[string]int64{Clipboard: 1}) {
		t.Error("a clipboard is nothing")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// only is all that may stand behind an ESC, said in another way than the filter says it.
var only = regexp.MustCompile(`^\x1b(?:` +
	`\[[0-9;:]*[@A-MPSXZ` + "`" + `abdefgmrsu]|\[[0-9:]*T` + // cursor, colours, erasing
	`|\[(?:4;)*4[hl]|\[\?(?:[0-9]{1,4};)*[0-9]{1,4}[hl]|\[\?[0-9;:]*[JK]` +
	`|\[[0-9;:]*(?: [@Aq]|'[}~]|\$[rtvxz{]|!p|"q)` +
	`|\[>[0-9;:]*[mnu]|\[[<=][0-9;:]*u` +
	`|\[2[23](?:;[012](?:;0)?)?t|\[6n` +
	`|[78DEHM=>69c]|[()*+][0-9A-Z<>]|#[34568])`)

// reporting are modes with which a terminal reports at once, or is another one.
var reporting = regexp.MustCompile(`^\x1b\[\?(?:[0-9;]*;)?(2|18|19|40|1001|2031|2048)(?:;[0-9;]*)?[hl]|^\x1b\[\?(?:[0-9;]*;)?3(?:;[0-9;]*)?h`)

// forbidden finds what the filter must have taken out; "" where there is nothing.
func forbidden(out []byte) string {
	for i := 0; i < len(out); {
		r, n := utf8.DecodeRune(out[i:])
		switch {
		case r == utf8.RuneError && n == 1 && out[i] < 0xa0, r >= 0x80 && r <= 0x9f:
			return "a control of eight bits"
		case r == 0x1b:
			m := only.Find(out[i:])
			if m == nil || reporting.Match(m) {
				return "a sequence: " + string(out[i:min(len(out), i+20)])
			}
			n = len(m)
		case r < ' ' && !slices.Contains([]rune{0, 7, 8, 9, 10, 11, 12, 13, 14, 15}, r):
			return "a control"
		}
		i += n
	}
	return ""
}

func TestForbidden(t *testing.T) {
	for _, tt := range taken {
		if len(tt.seq) < maxSequence && forbidden([]byte(tt.seq)) == "" {
			t.Errorf("%s is not seen, so that nothing is known of what the filter leaves", tt.name)
		}
	}
	for _, text := range kept {
		if why := forbidden([]byte(text)); why != "" {
			t.Errorf("%q: %s", text, why)
		}
	}
}

// FuzzScreen: whatever comes in, nothing forbidden comes out; where it is cut makes no
// difference, and what was filtered once is filtered.
func FuzzScreen(f *testing.F) {
	for _, tt := range taken {
		if len(tt.seq) < 100 {
			f.Add([]byte("a"+tt.seq+"b"), 3)
		}
	}
	for _, text := range kept {
		f.Add([]byte(text), len(text)/2)
	}
	f.Add([]byte("\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\\xc2\x1b]0;\x07\x9b6n\xe2\x9b\x9b\x9b[\x18\x1a\x1b\x1b[?25;2048h"), 7)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		out, counts := show(string(in))
		if why := forbidden([]byte(out)); why != "" {
			t.Fatalf("%q is %q, with %s", in, out, why)
		}
		if again, more := show(out); again != out || len(more) > 0 {
			t.Fatalf("%q is %q, and that is %q with %v taken out", in, out, again, more)
		}
		if out != string(in) && len(counts) == 0 && !bytes.ContainsAny(in, "\x1b") && utf8.Valid(in) && !bytes.Contains(in, []byte{0xc2}) {
			t.Fatalf("%q is %q, and nothing was counted", in, out)
		}
		if cut = max(0, min(cut, len(in))); true {
			if pieces, c := show(string(in[:cut]), string(in[cut:])); pieces != out || !maps.Equal(c, counts) {
				t.Fatalf("%q and %q are %q, not %q", in[:cut], in[cut:], pieces, out)
			}
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	text := []byte(strings.Repeat("The quick brown fox jumps over the lazy dog, and then some more.\r\n", 500))
	coloured := []byte(strings.Repeat("\x1b[38;5;12mGrüße\x1b[0m, 世界 \x1b[1;31mred\x1b[m and plain\r\n", 500))
	for name, p := range map[string][]byte{"plain": text, "coloured": coloured} {
		b.Run(name, func(b *testing.B) {
			var f Filter
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				f.Pass(p)
			}
		})
	}
}
