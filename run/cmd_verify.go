package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
)

// Exit codes of verify beside 0, which says that the trail is whole.
const (
	exitTampered = 1
	exitUnsealed = 2 // what is there holds, but nobody can say that nothing is missing
)

func verifyCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check that a trail is whole and was not changed",
		ArgsUsage: "[RUN|FILE]",
		Description: "Exit code 0: every event holds and the trail's head agrees. 1: something was changed, cut or added.\n" +
			"2: what is there holds, but there is no head: the run goes on, or it was killed, or the head was taken away.",
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			what, err := atMostOne(c)
			if err != nil {
				return err
			}
			t, err := findTrail(h, what)
			if err != nil {
				return err
			}
			report, err := verifyTrail(t)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = writeJSON(h.Stdout, struct {
					Path string `json:"path"`
					audit.Report
				}{t.path, report})
			} else {
				_, err = fmt.Fprint(h.Stdout, verdictText(t.path, report, t.run))
			}
			if err != nil {
				return err
			}
			return verdictExit(report.State)
		},
	}
}

func verifyTrail(t trail) (audit.Report, error) {
	v := audit.Verifier{}
	if t.run != nil {
		v.RunID = t.run.ID
	}
	head, err := audit.ReadHead(audit.HeadPath(t.path))
	switch {
	case err == nil:
		v.Head = head
	case errors.Is(err, fs.ErrNotExist):
	default:
		// A head that can't be read is no head to trust: the trail was touched, or the
		// disk is broken.
		return audit.Report{State: audit.Tampered, RunID: v.RunID, Reason: err.Error()}, nil
	}
	f, err := os.Open(t.path)
	if err != nil {
		return audit.Report{}, fmt.Errorf("trail %s: %w", t.path, pathCause(err))
	}
	defer f.Close()
	return v.Verify(f)
}

// verdictText is what verify found, for people.
func verdictText(path string, r audit.Report, i *Info) string {
	text := fmt.Sprintf("%s: %s, %s", path, r.State, plural(int(r.Events), "event"))
	if r.RunID != "" {
		text += ", run " + audit.Printable(r.RunID)
	}
	text += "\n"
	switch r.State {
	case audit.Sealed:
		text += "every event holds, and the head names the last one\n"
		if r.Lost > 0 {
			text += fmt.Sprintf("%s could not be written when it happened (the trail was full, or the disk was): the trail says so itself\n", plural(int(r.Lost), "record"))
		}
	case audit.Unsealed:
		text += "every event that is there holds, but it can't be said that none is missing at the end\n"
		switch {
		case i != nil && i.State() == StateRunning:
			text += "the run goes on; its head is written when it ends\n"
		case i != nil && i.State() == StateCrashed:
			text += "the run was killed or the machine stopped, so no head was written\n"
		case i != nil:
			text += "the run ended by itself and wrote a head, which is gone: somebody removed it\n"
		default:
			text += audit.Printable(r.Reason) + "\n"
		}
		if r.Truncated {
			text += "the last line is cut off\n"
		}
	case audit.Tampered:
		if r.Line > 0 {
			text += fmt.Sprintf("line %d is the first that does not hold: ", r.Line)
		}
		text += audit.Printable(r.Reason) + "\n"
	}
	return text
}

// verdictExit is the exit code of what verify found; the text has said the rest.
func verdictExit(s audit.State) error {
	switch s {
	case audit.Sealed:
		return nil
	case audit.Unsealed:
		return &ExitError{Code: exitUnsealed}
	}
	return &ExitError{Code: exitTampered}
}
