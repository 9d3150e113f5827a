package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// followPoll is how often a trail that is being written is looked at: quick for a
// person, and nothing for a disk.
const followPoll = 200 * time.Millisecond

func logsCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "show a run's trail",
		ArgsUsage: "[RUN|FILE]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the run ends"},
			&cli.BoolFlag{Name: "denied", Usage: "only what was refused"},
			&cli.StringSliceFlag{Name: "class", Usage: "only events of this `KIND`, as logs names it (exec, connect, http ...) or OCSF does (4001); may be repeated"},
			&cli.StringFlag{Name: "since", Usage: "only events since `WHEN`: 10m ago, or a time as 2026-03-04T05:06:07Z or 15:04"},
			&cli.BoolFlag{Name: "json", Usage: "the events as they are, one a line"},
		},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			what, err := atMostOne(c)
			if err != nil {
				return err
			}
			since, err := parseSince(c.String("since"), time.Now())
			if err != nil {
				return err
			}
			t, err := findTrail(h, what)
			if err != nil {
				return err
			}
			if c.Bool("follow") && t.run == nil {
				return fmt.Errorf("logs -f: no run of yours writes %s, so nobody could say when it ends\nhint: leave -f out, or name the run", t.path)
			}
			ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			f, err := t.open(ctx, c.Bool("follow"))
			if err != nil {
				return err
			}
			defer f.Close()
			events := audit.Read(f)
			if c.Bool("follow") {
				events = audit.Follow(ctx, f, followPoll, t.over)
			}
			o := logOptions{denied: c.Bool("denied"), json: c.Bool("json"), style: h.style(h.Stdout), since: since, classes: c.StringSlice("class")}
			return showEvents(h.Stdout, h.Stderr, events, o)
		},
	}
}

type logOptions struct {
	denied, json bool
	classes      []string  // none: all
	since        time.Time // zero: from the start
	style        audit.Style
}

// takes says whether an event is among those that were asked for.
func (o logOptions) takes(e audit.Event) bool {
	v := e.View()
	switch {
	case o.denied && v.Verdict != string(audit.Blocked):
		return false
	case !o.since.IsZero() && e.Time < o.since.UnixMilli():
		return false
	case len(o.classes) == 0:
		return true
	}
	return slices.Contains(o.classes, v.Kind) || slices.Contains(o.classes, strconv.Itoa(e.ClassUID)) || slices.Contains(o.classes, strconv.FormatInt(e.TypeUID, 10))
}

// parseSince reads a time: how long ago, a time of day (of the last 24 hours), or a date
// and time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := profiles.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			at := time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if at.After(now) {
				at = at.AddDate(0, 0, -1)
			}
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q is no time\nhint: write how long ago (10m, 2h, 3d), 15:04, or 2026-03-04T05:06:07Z", s)
}

// showEvents writes events as they come. A line that is none is said on stderr and
// in the exit code, and does not hide those behind it.
func showEvents(out, errs io.Writer, events iter.Seq2[audit.Event, error], o logOptions) error {
	bad := 0
	for e, err := range events {
		var line *audit.LineError
		switch {
		case errors.Is(err, audit.ErrTruncated):
			// What a killed run leaves; it is not a sign of anything worse.
			fmt.Fprintln(errs, "agentjail: the last line is cut off: the run was killed while it wrote")
			continue
		case errors.As(err, &line):
			bad++
			fmt.Fprintf(errs, "agentjail: line %d is no event: %s\n", line.Line, audit.Printable(line.Err.Error()))
			continue
		case err != nil:
			return fmt.Errorf("read the trail: %w", err)
		}
		if !o.takes(e) {
			continue
		}
		if o.json {
			_, err = out.Write(append(e.Raw, '\n'))
		} else {
			err = audit.Render(out, e, o.style)
		}
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		return &ExitError{Code: 1, Err: fmt.Errorf("%s of the trail can't be read\nhint: agentjail verify says where it was changed", plural(bad, "line"))}
	}
	return nil
}

// style is how events are shown on a stream: coloured on a terminal only, and not
// where NO_COLOR is set (https://no-color.org: present and not empty).
func (h Host) style(out *os.File) audit.Style {
	return audit.Style{Color: h.getenv("NO_COLOR") == "" && term.IsTerminal(int(out.Fd())), Location: time.Local}
}

// trail is a trail's file and the run that it is of, where that is known.
type trail struct {
	path string
	dirs Dirs
	run  *Info
}

// findTrail finds a trail by its run or by its file: what has a "/" in it or ends in
// .jsonl is a file.
func findTrail(h Host, what string) (trail, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return trail{}, err
	}
	if !strings.Contains(what, "/") && !strings.HasSuffix(what, ".jsonl") {
		i, err := findRun(d, what)
		return trail{path: i.Audit, dirs: d, run: &i}, err
	}
	t := trail{path: absolute(h.Cwd, what), dirs: d}
	runs, err := listRuns(d)
	if err != nil {
		return t, err
	}
	for _, r := range runs {
		if r.Audit == t.path {
			t.run = &r
			break
		}
	}
	return t, nil
}

// over says whether nobody writes the trail any more.
func (t trail) over() bool {
	i, err := findRun(t.dirs, t.run.ID)
	return err != nil || i.State() != StateRunning
}

// open opens the trail; with wait also one that its run has not begun yet.
func (t trail) open(ctx context.Context, wait bool) (*os.File, error) {
	for {
		last := !wait || t.over()
		f, err := os.Open(t.path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if last {
			return nil, fmt.Errorf("trail %s: %w\nhint: the run ended before it began one, or somebody removed it", t.path, pathCause(err))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(followPoll):
		}
	}
}
