package cast

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"sync"
	"time"
)

// maxLine bounds one event: Writer never holds more than maxHeld, and JSON writes a
// byte as at most six.
const maxLine = 1 << 20

// An Event is one line of a recording.
type Event struct {
	After time.Duration // since the one before
	Code  string
	Data  string
}

// A Reader reads a recording.
type Reader struct {
	Header Header
	lines  *bufio.Scanner
	n      int
}

// NewReader reads a recording's header.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{lines: bufio.NewScanner(r), n: 1}
	c.lines.Buffer(make([]byte, 4096), maxLine)
	if !c.lines.Scan() {
		if err := c.lines.Err(); err != nil {
			return nil, err
		}
		return nil, errors.New("the recording is empty")
	}
	if err := json.Unmarshal(c.lines.Bytes(), &c.Header); err != nil {
		return nil, fmt.Errorf("line 1 is no header: %w", err)
	}
	if c.Header.Version != 3 {
		return nil, fmt.Errorf("it is of version %d of the format, not 3", c.Header.Version)
	}
	return c, nil
}

// Next reads an event; io.EOF is the end.
func (c *Reader) Next() (Event, error) {
	for c.lines.Scan() {
		c.n++
		line := c.lines.Bytes()
		if len(line) == 0 || line[0] == '#' { // a comment, says the format
			continue
		}
		var raw []json.RawMessage
		if err := json.Unmarshal(line, &raw); err != nil || len(raw) != 3 {
			return Event{}, fmt.Errorf("line %d is no event", c.n)
		}
		var seconds float64
		var e Event
		if err := errors.Join(json.Unmarshal(raw[0], &seconds), json.Unmarshal(raw[1], &e.Code), json.Unmarshal(raw[2], &e.Data)); err != nil {
			return Event{}, fmt.Errorf("line %d is no event: %w", c.n, err)
		}
		if math.IsNaN(seconds) || seconds < 0 || seconds > 1e9 {
			return Event{}, fmt.Errorf("line %d has no time", c.n)
		}
		e.After = time.Duration(seconds * float64(time.Second))
		return e, nil
	}
	if err := c.lines.Err(); err != nil {
		return Event{}, err
	}
	return Event{}, io.EOF
}

// PlayOptions say how a recording is played.
type PlayOptions struct {
	Speed float64                                          // 2: twice as fast; 0: without any wait
	Idle  time.Duration                                    // waits are no longer than this; 0: as they were
	Sleep func(ctx context.Context, d time.Duration) error // nil: really
}

// reset ends colours, a scrolling region and a hidden cursor, which a recording may stop
// in the middle of. Ending a region moves the cursor also where there was none, so that
// its place is kept (DECSC and DECRC).
const reset = "\x1b[?25h\x1b[?7h\x1b[m\x0f\x1b7\x1b[r\x1b8\r\n"

// leave goes back from the other screen. It moves the cursor, too (xterm's ctlseqs,
// 1049), so that it is only for a recording that stops there.
const leave = "\x1b[?1049l"

// screens finds each change to the other screen and back.
var screens = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\x1b\[\?(?:[0-9]+;)*(?:1049|1047|47)(?:;[0-9]+)*([hl])`)
})

// Play writes a recording's output, filtered, in its own time.
func Play(ctx context.Context, w io.Writer, c *Reader, o PlayOptions) error {
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	var f Filter
	end := reset
	defer func() { io.WriteString(w, end) }()
	for {
		e, err := c.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		wait := e.After
		if o.Idle > 0 {
			wait = min(wait, o.Idle)
		}
		if o.Speed > 0 && wait > 0 {
			if err := o.Sleep(ctx, time.Duration(float64(wait)/o.Speed)); err != nil {
				return err
			}
		}
		if e.Code != codeOutput {
			continue
		}
		shown := f.Pass([]byte(e.Data))
		if found := screens().FindAllSubmatch(shown, -1); len(found) > 0 {
			if end = reset; found[len(found)-1][1][0] == 'h' {
				end = leave + reset
			}
		}
		if _, err := w.Write(shown); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
