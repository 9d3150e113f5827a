package cast

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clock moves only when it is told to.
type clock struct{ at time.Time }

func (c *clock) now() time.Time       { return c.at }
func (c *clock) pass(d time.Duration) { c.at = c.at.Add(d) }
func newClock() *clock                { return &clock{time.Unix(1_700_000_000, 0)} }
func mask(s string) string            { return strings.ReplaceAll(s, "s3cr3t", "[masked]") }

func TestWriter(t *testing.T) {
	c := newClock()
	var b bytes.Buffer
	w := NewWriter(&b, Header{Term: Term{Cols: 80, Rows: 24}, Timestamp: c.at.Unix(), Command: "x --key s3cr3t"}, Options{Mask: mask, Now: c.now})
	w.Output([]byte("hello \xe2"))
	c.pass(100 * time.Millisecond)
	w.Output([]byte("\x82\xac s3cr"))
	w.Output([]byte("3t rest"))
	c.pass(time.Second)
	w.Input([]byte("typed s3cr3t\r"))
	if got := w.masked("\x1b[31ms3cr3t\x1b]0;s3cr3t\x07s3cr3t\x1b"); got != "\x1b[31m[masked]\x1b]0;[masked]\x07[masked]\x1b" {
		t.Errorf("%q", got)
	}
	w.Resize(100, 30)
	w.Output([]byte{'a', 0xff, '\n'})
	if err := w.Close(3); err != nil {
		t.Fatal(err)
	}
	want := `{"version":3,"term":{"cols":80,"rows":24},"timestamp":1700000000,"command":"x --key [masked]"}
[0.000000, "o", "hello "]
[0.000000, "o", "€ "]
[0.100000, "o", "[masked] "]
[0.000000, "o", "rest"]
[1.000000, "i", "typed [masked]\r"]
[0.000000, "r", "100x30"]
[0.000000, "o", "a�\n"]
[0.000000, "x", "3"]
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriterStaysWithinItsSize(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b, Header{}, Options{Max: 2000, Now: newClock().now})
	for range 1000 {
		w.Output([]byte("line of output\n"))
	}
	if err := w.Close(0); err != nil {
		t.Fatal(err)
	}
	if b.Len() > 2000 || !strings.Contains(b.String(), "the recording ends here") {
		t.Errorf("%d bytes: %s", b.Len(), b.String())
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestWriterTellsOfErrors(t *testing.T) {
	w := NewWriter(failing{}, Header{}, Options{})
	w.Output([]byte("x\n"))
	if w.Close(0) == nil {
		t.Error("nobody was told that nothing was recorded")
	}
}

func TestPlay(t *testing.T) {
	c := newClock()
	var b bytes.Buffer
	w := NewWriter(&b, Header{}, Options{Now: c.now})
	w.Output([]byte("one \x1b]0;title\x07\n"))
	c.pass(10 * time.Second)
	w.Output([]byte("two\x1b[6n\n"))
	w.Input([]byte("not shown\n"))
	_ = w.Close(0)
	r, err := NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var waits []time.Duration
	err = Play(context.Background(), &out, r, PlayOptions{Speed: 2, Idle: 4 * time.Second,
		Sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }})
	if err != nil || out.String() != "one \ntwo\n"+reset {
		t.Errorf("%v: %q", err, out.String())
	}
	if diff := cmp.Diff([]time.Duration{2 * time.Second}, waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

// TestPlayLeavesTheOtherScreen: only where the recording stops there, since leaving it
// moves the cursor.
func TestPlayLeavesTheOtherScreen(t *testing.T) {
	for shown, end := range map[string]string{
		"plain":                           reset,
		"\x1b[?1049hfull":                 leave + reset,
		"\x1b[?25;1049hfull":              leave + reset,
		"\x1b[?1049hfull\x1b[?1049lplain": reset,
		"\x1b[?1049hfull\x1b[?1049l\x1b[?47hagain": leave + reset,
	} {
		var b, out bytes.Buffer
		w := NewWriter(&b, Header{}, Options{})
		w.Output([]byte(shown))
		_ = w.Close(0)
		r, err := NewReader(&b)
		if err != nil {
			t.Fatal(err)
		}
		if err := Play(t.Context(), &out, r, PlayOptions{}); err != nil || out.String() != shown+end {
			t.Errorf("%v: %q, want %q", err, out.String(), shown+end)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, s := range []string{"", "x", `{"version":2}`, "{\"version\":3}\nx", "{\"version\":3}\n[1,\"o\"]", "{\"version\":3}\n[-1,\"o\",\"x\"]", "{\"version\":3}\n[1e300,\"o\",\"x\"]", "{\"version\":3}\n[1,2,\"x\"]"} {
		r, err := NewReader(strings.NewReader(s))
		if err == nil {
			_, err = r.Next()
		}
		if err == nil {
			t.Errorf("%q was read", s)
		}
	}
}

func TestFilter(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain é ✓\r\n\t\b", "plain é ✓\r\n\t\b"},
		{"\x1b[1;31mred\x1b[m", "\x1b[1;31mred\x1b[m"},
		{"\x1b[38:2::1:2:3m\x1b[2J\x1b[10;20H\x1b[K\x1b[?1049h\x1b[?25l", "\x1b[38:2::1:2:3m\x1b[2J\x1b[10;20H\x1b[K\x1b[?1049h\x1b[?25l"},
		{"\x1b(0lq\x1b(B\x1b7\x1b8", "\x1b(0lq\x1b(B\x1b7\x1b8"},
		// Questions.
		{"a\x1b[cb\x1b[>cb\x1b[6nb\x1b[?6nb\x1b[21tb\x1b[?25$pb\x1b[>qb\x1b[?ub\x1b[xb\x1b[0+xb", "abbbbbbbbbb"},
		{"\x1bZ\x1bc\x05", ""},
		// Strings: title, clipboard, link, DECRQSS, sixel, APC, PM, SOS.
		{"a\x1b]0;t\x07b\x1b]52;c;eA==\x1b\\c\x1b]8;;http://x\x1b\\d", "abcd"},
		{"a\x1bP$qm\x1b\\b\x1b_G\x1b\\c\x1b^x\x1b\\d\x1bXx\x1b\\e", "abcde"},
		{"a\x1b]0;t\x1b[31mb", "a\x1b[31mb"},
		{"a\x1b]never ends", "a"},
		// The eight-bit controls, in UTF-8.
		{"a\u009b6nb\u009d0;t\x07c\u0090x\u009cd", "abc"},
		// Modes that outlive the screen: mouse, paste, focus.
		{"\x1b[?1000h\x1b[?2004h\x1b[?1004h\x1b[?25;1000h\x1b[4h", "\x1b[4h"},
		{"\x1b[\x1b[31mx\x1b[3\x181m", "\x1b[31mx1m"},
		{"\x00\x01\x07\x7f", ""},
	}
	for _, tt := range tests {
		var f Filter
		got := string(f.Pass([]byte(tt.in)))
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
		// The same in pieces of one byte.
		var g Filter
		var pieces []byte
		for i := range len(tt.in) {
			pieces = append(pieces, g.Pass([]byte(tt.in[i:i+1]))...)
		}
		if string(pieces) != got {
			t.Errorf("%q in pieces: %q, want %q", tt.in, pieces, got)
		}
	}
}

// FuzzFilter: nothing that begins a string or a question is left, whatever comes and
// however it is cut.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"\x1b[6n", "\x1b]0;x\x07", "\x1b[\x1b[31m", "\u009b6n", "\x1b\x1b]x", "\x1b(\x1b]x\x07"} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		var flt Filter
		at := 0
		if len(in) > 0 {
			at = (cut%len(in) + len(in)) % len(in)
		}
		out := append(flt.Pass(in[:at]), flt.Pass(in[at:])...)
		for i := 0; i < len(out); i++ {
			if out[i] < ' ' && !bytes.ContainsRune([]byte("\n\r\t\b\x0e\x0f\x1b"), rune(out[i])) {
				t.Fatalf("%q leaves a control character: %q", in, out)
			}
			if out[i] != 0x1b {
				continue
			}
			if i+1 == len(out) || !bytes.ContainsRune([]byte("[()78DEHM=>"), rune(out[i+1])) {
				t.Fatalf("%q leaves %q", in, out[i:])
			}
		}
		var again Filter
		if got := again.Pass(out); !bytes.Equal(got, out) {
			t.Fatalf("%q: filtering %q again gives %q", in, out, got)
		}
	})
}

// FuzzPlay plays a recording that somebody changed: it ends, with an error or without, and
// nothing is shown that Filter would not let through.
func FuzzPlay(f *testing.F) {
	for _, s := range []string{"{\"version\":3}\n[0.1,\"o\",\"a\\u001b[6n\"]\n# x\n[1,\"r\",\"80x24\"]\n[1e9,\"x\",\"0\"]", "{\"version\":3,\"term\":{\"cols\":-1}}\n[0,\"o\",\"\\u001b]0;x\"]\n[0,\"o\",\"\\u0007y\"]", "{\"version\":3}\n[1,\"o\"]", "{\"version\":2}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewReader(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		_ = Play(t.Context(), &out, r, PlayOptions{Speed: 1, Idle: time.Second, Sleep: func(_ context.Context, d time.Duration) error { // an error of reading is told, and what came before is shown
			if d < 0 || d > time.Second {
				t.Fatalf("a wait of %s", d)
			}
			return nil
		}})
		shown, ended := strings.CutSuffix(out.String(), reset)
		if !ended {
			t.Fatalf("the terminal is not set back: %q", out.String())
		}
		var again Filter
		if got := string(again.Pass([]byte(shown))); got != shown {
			t.Fatalf("%q shows %q", data, shown)
		}
	})
}
