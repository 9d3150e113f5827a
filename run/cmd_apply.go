package run

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/run/changes"
)

func applyCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "bring a run's changes to the host's folder",
		ArgsUsage: "[RUN] [PATH...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"},
			&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "ask about each change, or each hunk of it"},
			&cli.StringSliceFlag{Name: "allow", Usage: "let paths of this `GLOB` through, though the host would execute or trust them"},
			&cli.StringFlag{Name: "conflict", Usage: "what to do about files that changed on the host since: refuse, keep-both, skip", Value: string(changes.ConflictRefuse)},
			&cli.BoolFlag{Name: "undo", Usage: "take the run's newest apply back"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
		},
		BashComplete: completeRuns(h),
		Action:       func(c *cli.Context) error { return apply(h, c) },
	}
}

func apply(h Host, c *cli.Context) error {
	mode := changes.ConflictMode(c.String("conflict"))
	switch mode {
	case changes.ConflictRefuse, changes.ConflictKeepBoth, changes.ConflictSkip:
	default:
		return fmt.Errorf("--conflict %q is not refuse, keep-both or skip", mode)
	}
	r, paths, err := runAndPaths(h, c.Args().Slice())
	if err != nil {
		return err
	}
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return err
	}
	a, err := openApply(d, r)
	if err != nil {
		return err
	}
	defer a.close()
	if c.Bool("undo") {
		if len(paths) > 0 || c.Bool("interactive") || len(c.StringSlice("allow")) > 0 {
			return errors.New("--undo takes back all of the newest apply: it goes with no path, --allow or --interactive")
		}
		p, err := a.undo(c.Bool("dry-run"))
		return told(h, c, a.run.list, p, err, "taken back")
	}
	q := applyRequest{Paths: paths, Allow: c.StringSlice("allow"), Conflict: mode}
	p, err := a.plan(q)
	if err != nil {
		return err
	}
	if c.Bool("interactive") {
		if h.Stdin == nil || !term.IsTerminal(int(h.Stdin.Fd())) {
			return errors.New("--interactive asks questions, and standard input is no terminal\nhint: name the paths instead")
		}
		if q.answers, err = ask(h.Stdin, h.Stderr, p, diffText{color: h.style(h.Stderr).Color}); err != nil {
			return err
		}
		if p, err = a.plan(q); err != nil {
			return err
		}
	}
	if !c.Bool("dry-run") {
		err = a.commit(p)
	}
	return told(h, c, a.run.list, p, err, "applied")
}

// told says what became of each change, and is the command's error: 1 where something
// that was asked for was not done.
func told(h Host, c *cli.Context, all *changes.List, p *changes.Plan, err error, did string) error {
	if p == nil {
		return err
	}
	if err != nil && !errors.Is(err, changes.ErrConflict) {
		return err
	}
	if c.Bool("json") {
		if jerr := writeStepsJSON(h.Stdout, all, p); jerr != nil {
			return jerr
		}
	} else {
		word := "apply"
		switch {
		case err != nil: // a conflict: nothing was done
			word = "wait"
		case did == "taken back":
			word = "undo"
		}
		writeSteps(h.Stdout, p, word)
	}
	if err != nil {
		return &ExitError{Code: 1, Err: fmt.Errorf("%w\nhint: look at them with agentjail diff; --conflict=keep-both writes the jail's files beside the host's, --conflict=skip leaves them out", err)}
	}
	if c.Bool("dry-run") {
		did = "to be " + did
	}
	left := p.Count(changes.OutcomeHeld) + p.Count(changes.OutcomeRefused) + p.Count(changes.OutcomeConflict)
	if !c.Bool("json") {
		fmt.Fprintf(h.Stderr, "agentjail: %s %s, %d held back, %s, %d refused\n", plural(p.Count(changes.OutcomeApply), "change"), did,
			p.Count(changes.OutcomeHeld), plural(p.Count(changes.OutcomeConflict), "conflict"), p.Count(changes.OutcomeRefused))
	}
	switch {
	case left == 0:
		return nil
	case p.Count(changes.OutcomeHeld) > 0 && !c.Bool("json"):
		return &ExitError{Code: 1, Err: errors.New("some changes were held back: the host would execute or trust them\nhint: look at them with agentjail diff, then name them: agentjail apply RUN PATH, or --allow GLOB")}
	}
	return &ExitError{Code: 1}
}

// writeSteps lists what becomes of what is not there yet; word is for what the gate and
// the host let through.
func writeSteps(w io.Writer, p *changes.Plan, word string) {
	for i := range p.Steps {
		s := &p.Steps[i]
		switch s.Outcome {
		case changes.OutcomeDone, changes.OutcomeSkipped:
			continue
		}
		outcome := string(s.Outcome)
		if s.Outcome == changes.OutcomeApply {
			outcome = word
		}
		line := fmt.Sprintf("%-8s  %s", outcome, shown(s.Change.Path))
		if s.Beside != "" {
			line += " → " + shown(s.Beside)
		}
		if len(s.Reasons) > 0 {
			line += ": " + strings.Join(s.Reasons, "; ")
		}
		fmt.Fprintln(w, line)
	}
}

// stepJSON is one change of apply --json.
type stepJSON struct{ *changes.Step }

// MarshalJSON implements json.Marshaler: the change's own members, and what becomes of it
// beside them.
func (s stepJSON) MarshalJSON() ([]byte, error) {
	return changes.MarshalWith(s.Change, struct {
		Outcome changes.Outcome `json:"outcome"`
		Reasons []string        `json:"reasons,omitempty"`
		Beside  string          `json:"beside,omitempty"`
	}{s.Outcome, s.Reasons, s.Beside})
}

// writeStepsJSON writes the form of changes.json, of what all that was collected became.
func writeStepsJSON(w io.Writer, all *changes.List, p *changes.Plan) error {
	shown := changes.List{Complete: all.Complete, Unread: all.Unread}
	out := make([]stepJSON, len(p.Steps))
	for i := range p.Steps {
		out[i] = stepJSON{&p.Steps[i]}
		shown.Changes = append(shown.Changes, *p.Steps[i].Change)
	}
	return changes.WriteJSONWith(w, &shown, out)
}
