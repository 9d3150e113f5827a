package cast

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The codes of events.
const (
	codeOutput = "o"
	codeInput  = "i"
	codeResize = "r"
	codeMarker = "m"
	codeExit   = "x"
)

// Header is the first line of a recording.
type Header struct {
	Version   int               `json:"version"`
	Term      Term              `json:"term"`
	Timestamp int64             `json:"timestamp,omitempty"` // seconds since the epoch
	Command   string            `json:"command,omitempty"`
	Title     string            `json:"title,omitempty"`
	Tags      []string          `json:"tags,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// Term is the terminal's size when the recording began.
type Term struct {
	Cols int    `json:"cols"`
	Rows int    `json:"rows"`
	Type string `json:"type,omitempty"`
}

const (
	// hold is how long the beginning of a word waits for its end, so that a credential
	// that comes in two pieces is still seen as one. It delays the recording alone.
	hold = 500 * time.Millisecond
	// maxHeld bounds what waits.
	maxHeld = 16 << 10
)

// A Writer records one session. Its methods may be called from several places at
// once, and never fail: a recording that can't be written is no reason to end a run,
// and Close tells of it.
type Writer struct {
	mu    sync.Mutex
	w     io.Writer
	mask  func(string) string
	now   func() time.Time
	last  time.Time
	left  int64
	err   error
	full  bool
	held  map[string]*pending
	order []string
}

// pending is text that has come and is not written yet.
type pending struct {
	text  string
	since time.Time
}

// Options are what a recording needs beside its header.
type Options struct {
	Mask func(string) string // takes credentials out of a text
	Max  int64               // bytes of the recording; behind them it ends with a marker
	Now  func() time.Time    // nil: the clock
}

// NewWriter begins a recording.
func NewWriter(w io.Writer, h Header, o Options) *Writer {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Mask == nil {
		o.Mask = func(s string) string { return s }
	}
	c := &Writer{w: w, mask: o.Mask, now: o.Now, left: o.Max, held: map[string]*pending{}, order: []string{codeOutput, codeInput}}
	c.last = c.now()
	h.Version = 3
	h.Command, h.Title = c.mask(h.Command), c.mask(h.Title)
	line, err := json.Marshal(h)
	if err == nil {
		err = c.line(line)
	}
	c.err = err
	return c
}

// Output records what the agent wrote.
func (c *Writer) Output(p []byte) { c.text(codeOutput, p) }

// Input records what was typed.
func (c *Writer) Input(p []byte) { c.text(codeInput, p) }

// Resize records a new size of the terminal.
func (c *Writer) Resize(cols, rows int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush(c.now(), true)
	c.event(codeResize, fmt.Sprintf("%dx%d", cols, rows), c.now())
}

// Close ends the recording with the exit code and tells what went wrong with it.
func (c *Writer) Close(exit int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush(c.now(), true)
	c.event(codeExit, fmt.Sprint(exit), c.now())
	return c.err
}

func (c *Writer) text(code string, p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	h := c.held[code]
	if h == nil {
		h = &pending{since: now}
		c.held[code] = h
	}
	if h.text == "" {
		h.since = now
	}
	h.text += string(p)
	c.flush(now, false)
}

// flush writes what has come of each kind, but for the beginning of a word that may
// still go on.
func (c *Writer) flush(now time.Time, all bool) {
	for _, code := range c.order {
		h := c.held[code]
		if h == nil || h.text == "" {
			continue
		}
		n := len(h.text)
		if !all && now.Sub(h.since) < hold && n < maxHeld {
			n = wordEnd(h.text)
		}
		if !all {
			n = wholeRunes(h.text[:n])
		}
		if n == 0 {
			continue
		}
		c.event(code, c.masked(strings.ToValidUTF8(h.text[:n], "�")), h.since)
		h.text, h.since = h.text[n:], now
	}
}

// sequence is an escape sequence (ECMA-48: CSI, a string, or two bytes).
var sequence = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*|.)?`) })

// masked takes credentials out of a text and of its escape sequences, each by itself:
// the letter that ends a colour is no part of the word behind it.
func (c *Writer) masked(s string) string {
	var b strings.Builder
	at := 0
	for _, m := range sequence().FindAllStringIndex(s, -1) {
		b.WriteString(c.mask(s[at:m[0]]))
		b.WriteString(c.mask(s[m[0]:m[1]]))
		at = m[1]
	}
	b.WriteString(c.mask(s[at:]))
	return b.String()
}

// wordEnd is where the last word that is surely over ends.
func wordEnd(s string) int {
	for i := len(s); i > 0; i-- {
		if b := s[i-1]; b <= ' ' || b == 0x7f {
			return i
		}
	}
	return 0
}

// wholeRunes leaves out a character at the end that has not come whole.
func wholeRunes(s string) int {
	for i := max(0, len(s)-utf8.UTFMax+1); i < len(s); i++ {
		if utf8.RuneStart(s[i]) && !utf8.FullRuneInString(s[i:]) {
			return i
		}
	}
	return len(s)
}

func (c *Writer) event(code, data string, at time.Time) {
	if c.full || c.err != nil {
		return
	}
	since := max(at.Sub(c.last), 0)
	c.last = c.last.Add(since)
	d, err := json.Marshal(data)
	if err != nil {
		c.err = err
		return
	}
	line := fmt.Appendf(nil, "[%.6f, %q, %s]", since.Seconds(), code, d)
	if c.left > 0 && int64(len(line))+1 > c.left-256 && code != codeExit {
		c.full = true
		line = fmt.Appendf(nil, "[%.6f, %q, %q]", since.Seconds(), codeMarker, "the recording ends here: it has reached its size")
	}
	c.err = c.line(line)
}

func (c *Writer) line(b []byte) error {
	if c.left > 0 {
		c.left -= int64(len(b)) + 1
	}
	_, err := c.w.Write(append(b, '\n'))
	return err
}
