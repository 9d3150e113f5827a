package run

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// profileTest asks profiles the questions of their test blocks. Nothing is started and
// nothing of the host is looked at but the profiles: paths are decided as they are
// written, names without asking any DNS.
func profileTest(h Host, c *cli.Context) error {
	d, vars, err := profileInputs(h, c)
	if err != nil {
		return err
	}
	names := c.Args().Slice()
	if len(names) == 0 {
		return errors.New("profile test needs a profile\nhint: agentjail profile test ./NAME.hcl")
	}
	answers := []profiles.Answer{}
	failed := 0
	for _, name := range names {
		spec, err := loadProfile(h, d, name, vars, false)
		if err != nil {
			return err
		}
		if len(spec.Tests) == 0 {
			return fmt.Errorf("profile %s has no test blocks\nhint: write test \"NAME\" { connect = \"host:443\" expect = \"deny\" } into it", audit.Printable(name))
		}
		for _, x := range spec.Tests {
			a := spec.Try(x)
			if !a.OK() {
				failed++
			}
			answers = append(answers, a)
		}
	}
	if err := writeAnswers(h, c.Bool("json"), answers); err != nil {
		return err
	}
	if failed > 0 {
		return &ExitError{Code: 1, Err: fmt.Errorf("%d of %s failed", failed, plural(len(answers), "test"))}
	}
	return nil
}

func writeAnswers(h Host, asJSON bool, answers []profiles.Answer) error {
	if asJSON {
		return writeJSON(h.Stdout, answers)
	}
	for _, a := range answers {
		said := "ok  "
		if !a.OK() {
			said = "FAIL"
		}
		line := fmt.Sprintf("%s %s: %s", said, audit.Printable(a.Case.Name), a.Action)
		if a.Rule != (profiles.Origin{}) {
			line += " by " + audit.Printable(a.Rule.String())
		}
		if !a.OK() {
			line += fmt.Sprintf(", expected %s (%s)", a.Case.Expect, a.Case.Origin)
			if a.Reason != "" {
				line += ": " + audit.Printable(a.Reason)
			}
		}
		if _, err := fmt.Fprintln(h.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}
