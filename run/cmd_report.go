package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
	"github.com/agentjail/agentjail/run/report"
)

// stepSummary is where GitHub shows what a step of a workflow says of itself:
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
const stepSummary = "GITHUB_STEP_SUMMARY"

func reportCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:        "report",
		Usage:       "tell what a run did, by its trail",
		ArgsUsage:   "[RUN|FILE]",
		Description: "agentjail report                        a summary of the last run\nagentjail report --html run.html web    one page of the run \"web\", that needs nothing else",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "html", Usage: "write one self-contained page to `FILE`"},
			&cli.BoolFlag{Name: "markdown", Usage: "as Markdown; appended to $" + stepSummary + " where that is set"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
		},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			what, err := atMostOne(c)
			if err != nil {
				return err
			}
			ways := 0
			for _, name := range []string{"html", "markdown", "json"} {
				if c.IsSet(name) {
					ways++
				}
			}
			if ways > 1 {
				return errors.New("report: --html, --markdown and --json are one each\nhint: run it once for each")
			}
			t, err := findTrail(h, what)
			if err != nil {
				return err
			}
			r, err := readReport(t)
			if err != nil {
				return err
			}
			switch {
			case c.IsSet("html"):
				return writePage(h, t, r, c.String("html"))
			case c.Bool("json"):
				return writeJSON(h.Stdout, r)
			case c.Bool("markdown"):
				if summary := h.getenv(stepSummary); summary != "" {
					return appendSummary(summary, r)
				}
				return report.Markdown(h.Stdout, r)
			}
			return report.Text(h.Stdout, r, report.Style{Color: h.style(h.Stdout).Color, Zone: time.Local})
		},
	}
}

// readReport reads a trail, and says what verify says of it.
func readReport(t trail) (*report.Report, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return nil, fmt.Errorf("trail %s: %w", t.path, pathCause(err))
	}
	defer f.Close()
	r, err := report.Build(audit.Read(f))
	if err != nil {
		return nil, fmt.Errorf("trail %s: %w", t.path, err)
	}
	if r.Trail.Events == 0 {
		return nil, fmt.Errorf("trail %s has no event\nhint: agentjail verify says what it is", t.path)
	}
	v, err := verifyTrail(t)
	if err != nil {
		return nil, err
	}
	r.Trail.Verdict = string(v.State)
	return r, nil
}

// writePage writes the HTML page, with the differences where the run's folder still has
// them.
func writePage(h Host, t trail, r *report.Report, file string) error {
	if file == "" {
		return errors.New("--html needs a file to write to\nhint: agentjail report --html run.html")
	}
	if t.run != nil {
		addDiffs(r, *t.run)
	}
	path := absolute(h.Cwd, file)
	// Beside and then in its place: whoever reloads the page never sees half of one, and a
	// symlink of that name is replaced, not followed. What an agent named may be private.
	tmp, err := os.CreateTemp(filepath.Dir(path), ".agentjail-report-*")
	if err != nil {
		return fmt.Errorf("--html %s: %w", file, pathCause(err))
	}
	err = errors.Join(report.HTML(tmp, r, time.Local), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("--html %s: %w", file, err), os.Remove(tmp.Name()))
	}
	_, _ = fmt.Fprintf(h.Stderr, "agentjail: wrote %s\n", shown(path))
	return nil
}

// addDiffs gives a report the differences of the files. A run that has none left, as one
// in direct mode, has a report without.
func addDiffs(r *report.Report, i Info) {
	c, err := openChanges(i)
	if err != nil {
		return
	}
	list, err := c.diffs(nil)
	if err != nil {
		return
	}
	// By the paths that the trail has.
	paths := map[string]string{}
	for n, rec := range c.list.Records() {
		if f, ok := rec.(audit.File); ok {
			paths[c.list.Changes[n].Path] = f.Path
		}
	}
	text := diffText{}
	d := report.NewDiffs(r)
	for n := range list {
		f := &list[n]
		d.Add(paths[f.Change.Path], f.Added, f.Removed, string(f.Hunks), text.note(f))
	}
}

// note is what there is to say of a file that has no lines, or another name.
func (d diffText) note(f *changes.FileDiff) string {
	var parts []string
	if f.From != nil {
		parts = append(parts, "was "+f.From.Path)
	}
	if s := d.size(f); s != "" {
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// appendSummary adds a run to the page of a CI step.
func appendSummary(path string, r *report.Report) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("$%s: %w", stepSummary, err)
	}
	var b strings.Builder
	if err := report.Markdown(&b, r); err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = io.WriteString(f, b.String())
	return errors.Join(err, f.Close())
}

// summarize appends a run that has ended to the page of the CI step that it is in. That
// it can't is no failure of the run.
func (s *session) summarize() {
	path := s.host.getenv(stepSummary)
	if path == "" || s.opt.Quiet {
		return
	}
	r, err := readReport(trail{path: s.info.Audit, dirs: s.dirs, run: &s.info})
	if err == nil {
		err = appendSummary(path, r)
	}
	if err != nil {
		_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: the step's summary has no word of this run: %s\n", audit.Printable(err.Error()))
	}
}
