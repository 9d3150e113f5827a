package run

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

func whyCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "say what would happen, and which rule says so",
		ArgsUsage: "connect HOST:PORT | resolve NAME | request METHOD URL | read PATH | write PATH | exec PATH | syscall NAME",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`NAME` or FILE of the profile", DefaultText: "default"},
			&cli.StringFlag{Name: "workspace", Aliases: []string{"w"}, Usage: "`FOLDER` that the agent would work on", DefaultText: "the profile's, or this folder"},
			&cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable of the profile"},
			&cli.BoolFlag{Name: "json", Usage: "as JSON"},
		},
		BashComplete: func(c *cli.Context) {
			if c.NArg() == 0 {
				fmt.Fprintln(h.Stdout, strings.Join(whyWords(), "\n"))
			}
		},
		Action: func(c *cli.Context) error {
			q, err := parseQuestion(h, c.Args().Slice())
			if err != nil {
				return err
			}
			vars, err := parseVars(c.StringSlice("var"))
			if err != nil {
				return err
			}
			a, err := why(h, c.String("profile"), c.String("workspace"), vars, q)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = writeJSON(h.Stdout, a)
			} else {
				err = writeWhy(h.Stdout, a)
			}
			switch {
			case err != nil:
				return err
			case a.Disagree:
				return &ExitError{Code: 1, Err: fmt.Errorf("the rules and the jail disagree about %s\nhint: that is a mistake of agentjail's, or of this host; the jail is what an agent meets", audit.Printable(a.Question))}
			case a.Rules.Action == profiles.Allow || a.Rules.Action == "" && a.Probe.Action == profiles.Allow:
				return nil
			}
			return &ExitError{Code: 1}
		},
	}
}

// writeWhy answers in two lines: the rules', and the jail's.
func writeWhy(w io.Writer, a whyAnswer) error {
	line := func(who string, o opinion) string {
		action := string(o.Action)
		if action == "" {
			action = "-"
		}
		s := fmt.Sprintf("%-6s %-5s", who, action)
		if o.Rule != "" {
			s += " by " + audit.Printable(o.Rule)
		}
		if o.Reason != "" {
			s += ": " + audit.Printable(o.Reason)
		}
		return strings.TrimRight(s, " ")
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n%s\n", audit.Printable(a.Question), line("rules", a.Rules), line("jail", a.Probe))
	return err
}
