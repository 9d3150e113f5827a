package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/run/learn"
)

func learnCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "learn",
		Usage:     "run a command in a jail, and print the smallest profile that would have let it through",
		ArgsUsage: "[--] COMMAND [ARG...]",
		Description: "Runs the command confined by the profile, widens nothing and asks nothing. What it was refused becomes\n" +
			"a profile on top of that one; credentials, sockets, private addresses and the like are listed in it as\n" +
			"questions and never granted. The profile goes to stdout, and the command's own output to stderr; with -o\n" +
			"both stay where they are. A program that gives up at the first refusal shows that one alone: run learn\n" +
			"again with --profile learned.hcl, or --rounds 5. Each further round gives the command what the one before\n" +
			"asked for and was granted, unseen by you: look at what it did, and at the profile, before you use it.\n\n" +
			"   agentjail learn -o learned.hcl -- npm ci\n" +
			"   agentjail run --profile ./learned.hcl -- npm ci",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "profile", Aliases: []string{"p"}, Usage: "`NAME` or FILE of the profile to stand on", DefaultText: "the file of -o where there is one, the command's own, or default"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write to `FILE`; one that learn wrote is added to"},
			&cli.IntFlag{Name: "rounds", Usage: "run the command up to `N` times, each under what was learned before, until nothing is", Value: 1},
			&cli.StringFlag{Name: "workspace", Aliases: []string{"w"}, Usage: "`FOLDER` that the agent works on", DefaultText: "the profile's, or this folder"},
			&cli.StringSliceFlag{Name: "var", Usage: "`NAME=VALUE` of a variable of the profile"},
			&cli.StringFlag{Name: "tty", Usage: "give the agent a terminal: auto, always, never", Value: "auto"},
			&cli.BoolFlag{Name: "json", Usage: "print what was learned as JSON"},
		},
		Action: func(c *cli.Context) error {
			o := learnOptions{out: c.String("output"), rounds: c.Int("rounds"), json: c.Bool("json"), run: Options{Profile: c.String("profile"), Workspace: c.String("workspace"),
				TTY: c.String("tty"), StatusFD: -1, Argv: c.Args().Slice(), learn: true}}
			if len(o.run.Argv) == 0 {
				return errors.New("there is no command to learn from\nhint: agentjail learn -o learned.hcl -- COMMAND [ARG...]")
			}
			var err error
			if o.run.Vars, err = parseVars(c.StringSlice("var")); err != nil {
				return err
			}
			return learnProfile(h, o)
		},
	}
}

type learnOptions struct {
	run    Options
	out    string // "": stdout
	rounds int
	json   bool
}

// learnedRound is one run and what was learned of it.
type learnedRound struct {
	RunID    string         `json:"run_id,omitempty"`
	ExitCode int            `json:"exit_code"`
	Learned  *learn.Profile `json:"learned"`
}

// learned is what learn --json prints.
type learned struct {
	Profile string         `json:"profile"` // its text
	File    string         `json:"file,omitempty"`
	Rounds  []learnedRound `json:"rounds"`
}

// learnProfile runs the command, as often as it may, and writes down what was learned.
func learnProfile(h Host, o learnOptions) error {
	if o.rounds < 1 || o.rounds > 100 {
		return errors.New("--rounds is a number from 1 to 100")
	}
	file, text, err := o.file(h)
	if err != nil {
		return err
	}
	if text != nil && o.run.Profile == "" {
		o.run.Profile = file
	}
	if file == "" {
		dir, err := os.MkdirTemp("", "agentjail-learn-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		file = filepath.Join(dir, "learned.hcl")
	}
	result := learned{}
	if o.out != "" {
		result.File = file
	}
	private := h
	if o.out == "" || o.json {
		private.Stdout = h.Stderr
	}
	for range o.rounds {
		s := newSession(private, o.run)
		code, err := learnOnce(s)
		if err != nil {
			return err
		}
		p := learn.Draft(s.spec, s.seen(), learn.Place{Home: s.host.Home, Workspace: s.plan.Workspace.Path, Inside: secretsIn})
		header := learn.Header{Command: o.run.Argv, Extends: extended(s)}
		if text, err = p.Render(text, header); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if err := writeLearned(file, text); err != nil {
			return err
		}
		result.Rounds = append(result.Rounds, learnedRound{s.id, code, p})
		tellLearned(h, s, code, p)
		if p.Empty() {
			break
		}
		o.run.Profile = file
	}
	result.Profile = string(text)
	switch {
	case o.json:
		return writeJSON(h.Stdout, result)
	case o.out == "":
		_, err = h.Stdout.Write(text)
	}
	return err
}

// file is where the profile goes, with what stands there.
func (o learnOptions) file(h Host) (path string, text []byte, err error) {
	if o.out == "" {
		return "", nil, nil
	}
	path = absolute(h.Cwd, o.out)
	if err := checkPath("file", path); err != nil {
		return "", nil, err
	}
	text, err = os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return path, nil, nil
	case err != nil:
		return path, nil, fmt.Errorf("-o %s: %w", path, pathCause(err))
	case !bytes.HasPrefix(text, []byte(learn.Marker)):
		return path, nil, fmt.Errorf("-o %s: learn did not write this file, and does not add to what people wrote\nhint: name another file, and let one extend the other", path)
	}
	return path, text, nil
}

// learnOnce runs the command to its end. A program that the jail does not have is
// something to learn, and no failure.
func learnOnce(s *session) (code int, err error) {
	err = s.run()
	var ended *ExitError
	var missing *jail.CommandError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &ended) && ended.Err == nil:
		return ended.Code, nil
	case errors.As(err, &missing) && missing.NotFound && s.plan != nil:
		path := lookProgram(s.opt.Argv[0])
		if place, lerr := jail.Lookup(absolute(s.host.Cwd, path)); lerr != nil || place.Dir {
			return 0, err // the host does not have it either
		}
		if s.observed == nil {
			s.observed = &jail.Observed{}
		}
		s.observed.Files = append(s.observed.Files, jail.Sight{Path: absolute(s.host.Cwd, path), Use: jail.UseExec, Count: 1, By: []string{"agentjail"}})
		return ExitNotFound, nil
	}
	var le *jail.LayerError
	if errors.As(err, &le) {
		err = mended(err, gatherFacts(s.host))
	}
	return 0, err
}

// observe takes over what the jail saw, once it is dead, and leaves it in the trail.
func (s *session) observe() {
	if s.jail == nil || !s.opt.learn {
		return
	}
	s.observed = s.jail.Observed()
	if s.observed == nil {
		return
	}
	seen := s.seen()
	said := func(what, rule string) {
		s.sink.Emit(audit.Finding{Title: "refused while learning", Detail: what, Severity: "low", Outcome: audit.Blocked, Rule: rule})
	}
	for i, f := range seen.Files {
		if i >= maxRefusals {
			said(fmt.Sprintf("%d more paths", len(seen.Files)-i), "")
			break
		}
		said(string(f.Use)+" "+f.Path, f.Rule)
	}
	for _, c := range seen.Calls {
		said("system call "+c.Name+" "+c.Detail, "")
	}
}

// extended is how a learned profile names the one that it stands on.
func extended(s *session) string {
	base := s.spec.Sources[0]
	if base.Builtin {
		return s.spec.Name
	}
	return base.Path
}

// writeLearned writes the profile, in place of what stands there.
func writeLearned(path string, text []byte) error {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return os.WriteFile(path, text, 0o644)
	}
	return replaceFile(path, text)
}

// tellLearned says on stderr what came of a round.
func tellLearned(h Host, s *session, code int, p *learn.Profile) {
	grants := len(p.Read) + len(p.Write) + len(p.Exec) + len(p.Home) + len(p.Allow) + len(p.Calls)
	text := fmt.Sprintf("agentjail: learned %s and left %s to you", plural(grants, "rule"), plural(len(p.Questions), "question"))
	if code != 0 && grants > 0 {
		text += fmt.Sprintf("; the command ended with %d, and may ask for more once it has these", code)
	}
	if p.LeftOut > 0 {
		text += fmt.Sprintf("; %d more were left out", p.LeftOut)
	}
	// A line for a person. That nobody can read it is no failure.
	_, _ = fmt.Fprintln(h.Stderr, text)
}
