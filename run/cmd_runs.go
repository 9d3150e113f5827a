package run

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
)

func runsCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:  "runs",
		Usage: "list the runs, the newest first",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "the newest `N` only; 0 is all of them"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
			&cli.BoolFlag{Name: "no-pager", Usage: "never start $PAGER"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			if c.Int("number") < 0 {
				return fmt.Errorf("runs: -n %d is no number of runs", c.Int("number"))
			}
			d, err := findDirs(h.getenv, h.Home, h.UID)
			if err != nil {
				return err
			}
			runs, damaged, err := readRuns(d)
			if err != nil {
				return fmt.Errorf("list the runs: %w", err)
			}
			for _, b := range damaged {
				fmt.Fprintf(h.Stderr, "agentjail: run %s is not listed: %s\n", audit.Printable(b.ID), audit.Printable(b.Err.Error()))
			}
			if n := c.Int("number"); n > 0 && n < len(runs) {
				runs = runs[:n]
			}
			rows := make([]runRow, len(runs))
			for i, r := range runs {
				rows[i] = newRunRow(r, time.Now())
			}
			if c.Bool("json") {
				return writeJSON(h.Stdout, rows)
			}
			if len(rows) == 0 {
				fmt.Fprintln(h.Stderr, "agentjail: there is no run yet; agentjail run -- COMMAND makes one")
			}
			var b strings.Builder
			if err := writeRuns(&b, rows, time.Local); err != nil {
				return err
			}
			return showText(h, b.String(), c.Bool("no-pager"))
		},
	}
}

// runRow is a run as it is listed: its info, and what follows from it now.
type runRow struct {
	Info
	State    string  `json:"state"`
	Duration float64 `json:"duration_seconds,omitempty"` // of a crashed run nobody knows it
}

func newRunRow(i Info, now time.Time) runRow {
	row := runRow{Info: i, State: i.State()}
	switch row.State {
	case StateEnded:
		row.Duration = i.Ended.Sub(i.Started).Seconds()
	case StateRunning:
		row.Duration = now.Sub(i.Started).Seconds()
	}
	return row
}

// writeRuns writes the table that people read.
func writeRuns(out io.Writer, rows []runRow, zone *time.Location) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tSTATE\tSTARTED\tTOOK\tEXIT\tCHANGES\tREFUSED\tCOST\tPROFILE\tCOMMAND")
	for _, r := range rows {
		exit, took, changes, refused, cost := "-", "-", "-", "-", "-"
		if r.ExitCode != nil {
			exit = strconv.Itoa(*r.ExitCode)
			changes, refused = strconv.Itoa(r.Changes), strconv.FormatInt(r.Refused, 10)
		}
		if r.Models != nil {
			cost = r.Models.cost()
		}
		if r.State != StateCrashed {
			took = shortDuration(time.Duration(r.Duration * float64(time.Second)))
		}
		name := "-"
		if r.Name != "" {
			name = audit.Printable(r.Name)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", audit.Printable(r.ID), name, r.State,
			r.Started.In(zone).Format("2006-01-02 15:04:05"), took, exit, changes, refused, cost,
			audit.Printable(r.Profile), shorten(audit.Printable(strings.Join(r.Argv, " ")), 60))
	}
	return w.Flush()
}

// shortDuration is as exact as anybody reads it.
func shortDuration(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// shorten keeps a table's last column on the screen.
func shorten(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}
