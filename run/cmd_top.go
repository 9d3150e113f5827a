package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/run/control"
)

// topPeriod is how often the screen is drawn; runs sample themselves once a second.
const topPeriod = time.Second

// statsTimeout is how long a run may take to answer. One that does not is listed without
// figures.
const statsTimeout = 2 * time.Second

func topCommand(h Host) *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "show the runs that go on, and what they use",
		Description: "Example: agentjail top --once\n\nq ends it. Where standard output is no terminal, it prints once.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "once", Usage: "print once"},
			&cli.BoolFlag{Name: "json", Usage: "print once, as JSON"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			switch {
			case c.Bool("json"):
				rows, err := gatherTop(h)
				if err != nil {
					return err
				}
				return writeJSON(h.Stdout, rows)
			case c.Bool("once") || !term.IsTerminal(int(h.Stdout.Fd())) || !term.IsTerminal(int(h.Stdin.Fd())):
				rows, err := gatherTop(h)
				if err != nil {
					return err
				}
				return drawTop(h.Stdout, rows, 0, 0, false)
			}
			return liveTop(h)
		},
	}
}

// topRow is one run. Error is why it has no figures.
type topRow struct {
	runStats
	Error string `json:"error,omitempty"`
}

// gatherTop asks every run that goes on, all at once.
func gatherTop(h Host) ([]topRow, error) {
	live, err := liveRuns(h)
	if err != nil {
		return nil, err
	}
	rows := make([]topRow, len(live))
	var all sync.WaitGroup
	for i, r := range live {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
			defer cancel()
			if err := control.Call(ctx, r.Runtime, uint32(h.UID), "stats", nil, &rows[i].runStats); err != nil {
				rows[i].runStats = runStats{ID: r.ID, Name: r.Name, Profile: r.Profile, Argv: r.Argv, Workspace: r.Workspace, Started: r.Started, Now: time.Now().UTC()}
				rows[i].Error = err.Error()
				if errors.Is(err, control.ErrNoRun) {
					rows[i].Error = "it has just begun, or is ending"
				}
			}
		})
	}
	all.Wait()
	return rows, nil
}

// liveTop draws until q, on the terminal's other screen, and leaves it as it was.
func liveTop(h Host) error {
	in := int(h.Stdin.Fd())
	old, err := term.MakeRaw(in)
	if err != nil {
		return fmt.Errorf("terminal: %w", err)
	}
	colour := h.getenv("NO_COLOR") == "" // no-color.org
	// The other screen, without a cursor (xterm's 1049, DEC's 25).
	io.WriteString(h.Stdout, "\x1b[?1049h\x1b[?25l")
	defer func() {
		io.WriteString(h.Stdout, "\x1b[?25h\x1b[?1049l")
		_ = term.Restore(in, old)
	}()
	keys := make(chan byte, 8)
	go func() {
		buf := make([]byte, 1)
		for {
			if n, err := h.Stdin.Read(buf); n == 0 || err != nil {
				close(keys)
				return
			}
			keys <- buf[0]
		}
	}()
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, unix.SIGWINCH)
	defer signal.Stop(resized)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGHUP, unix.SIGINT)
	defer signal.Stop(ended)
	tick := time.NewTicker(topPeriod)
	defer tick.Stop()
	for {
		rows, err := gatherTop(h)
		if err != nil {
			return err
		}
		width, height, err := term.GetSize(int(h.Stdout.Fd()))
		if err != nil {
			width, height = 80, 24
		}
		var b bytes.Buffer
		b.WriteString("\x1b[H")
		if err := drawTop(&b, rows, width, height, colour); err != nil {
			return err
		}
		// Each line ends with what erases the rest of it; what is below is erased too.
		text := strings.ReplaceAll(b.String(), "\n", "\x1b[K\r\n") + "\x1b[J"
		if _, err := io.WriteString(h.Stdout, text); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-resized:
		case <-ended:
			return nil
		case k, ok := <-keys:
			if !ok || k == 'q' || k == 'Q' || k == 3 || k == 4 { // Ctrl-C, Ctrl-D: raw mode makes no signal of them
				return nil
			}
		}
	}
}
