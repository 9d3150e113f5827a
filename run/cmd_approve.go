package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/approval"
	"github.com/agentjail/agentjail/run/control"
)

func approveCommand(h Host) *cli.Command {
	return &cli.Command{
		Name:      "approve",
		Usage:     "answer what the profiles of running runs leave to people",
		ArgsUsage: "[RUN]",
		Description: "On a terminal it waits for questions and puts one after the other. Elsewhere, and with --list, it lists\n" +
			"them. A question is answered without a terminal by its number:\n\n" +
			"   agentjail approve --yes 3f2a81c0-1 --for 10m",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "list what is asked, and the answers that hold"},
			&cli.BoolFlag{Name: "json", Usage: "the list as JSON"},
			&cli.StringFlag{Name: "yes", Usage: "say yes to the question `ID`"},
			&cli.StringFlag{Name: "no", Usage: "say no to the question `ID`"},
			&cli.BoolFlag{Name: "once", Usage: "the answer is for what is held now; without it a yes is that too, and a no is for the rest of the run"},
			&cli.DurationFlag{Name: "for", Usage: "the answer holds for `DURATION`"},
			&cli.BoolFlag{Name: "run", Usage: "the answer holds for the rest of the run"},
			&cli.StringFlag{Name: "revoke", Usage: "take back the answer to the question `ID`"},
			&cli.StringFlag{Name: "as", Usage: "answer as `NAME`, where several people must", DefaultText: "your login name"},
			&cli.BoolFlag{Name: "always", Usage: "with --yes: also write a rule into --profile, so that it is not asked again"},
			&cli.StringFlag{Name: "profile", Aliases: []string{"p"}, Usage: "the `FILE` or NAME of --always"},
		},
		BashComplete: completeRuns(h),
		Action: func(c *cli.Context) error {
			what, err := atMostOne(c)
			if err != nil {
				return err
			}
			a, err := newApprover(h, what, c.String("as"))
			if err != nil {
				return err
			}
			order, err := approveOrder(c)
			switch {
			case err != nil:
				return err
			case order != nil:
				return a.carryOut(c.Context, *order)
			case c.Bool("list") || c.Bool("json") || !term.IsTerminal(int(h.Stdin.Fd())) || !term.IsTerminal(int(h.Stdout.Fd())):
				return a.list(c.Context, c.Bool("json"))
			}
			return a.converse(c.Context)
		},
	}
}

// answerOrder is an answer on the command line.
type answerOrder struct {
	id      string
	yes     bool
	revoke  bool
	once    bool
	within  time.Duration
	profile string // of --always
}

// approveOrder reads the flags that belong to an answer; nil where there is none.
func approveOrder(c *cli.Context) (*answerOrder, error) {
	o := answerOrder{once: c.Bool("once"), within: c.Duration("for")}
	given := 0
	for _, f := range []string{"yes", "no", "revoke"} {
		if c.IsSet(f) {
			given++
			o.id, o.yes, o.revoke = c.String(f), f == "yes", f == "revoke"
		}
	}
	scopes := 0
	for _, f := range []string{"once", "for", "run"} {
		if c.IsSet(f) {
			scopes++
		}
	}
	switch {
	case given > 1:
		return nil, errors.New("one of --yes, --no and --revoke at a time")
	case given == 0 && (scopes > 0 || c.Bool("always")):
		return nil, errors.New("to what question?\nhint: --yes ID or --no ID; agentjail approve --list lists them")
	case given == 0:
		return nil, nil
	case o.id == "":
		return nil, errors.New("the question has no number\nhint: agentjail approve --list lists them")
	case scopes > 1:
		return nil, errors.New("an answer holds --once, --for a time, or for the rest of the --run: one of the three")
	case o.revoke && scopes > 0:
		return nil, errors.New("an answer is taken back for good: --revoke alone")
	case c.IsSet("for") && o.within <= 0:
		return nil, fmt.Errorf("--for %s is no time", o.within)
	case c.Bool("always") && !o.yes:
		return nil, errors.New("--always goes with --yes")
	case c.Bool("always") != c.IsSet("profile"):
		return nil, errors.New("--always and --profile go together\nhint: agentjail approve --yes ID --always --profile FILE")
	case c.Bool("always") && scopes > 0:
		return nil, errors.New("--always is for good, and for the rest of this run: without --once, --for and --run")
	case c.Bool("always") && c.String("profile") == "":
		return nil, errors.New("--profile names no file")
	}
	o.profile = c.String("profile")
	if scopes == 0 && o.yes && o.profile == "" {
		o.once = true
	}
	return &o, nil
}

// approver is a person who answers.
type approver struct {
	h     Host
	dirs  Dirs
	owner uint32
	run   string // "": every run
	name  string
}

// askTimeout is how long a run may take to answer, which it does at once.
const askTimeout = 10 * time.Second

func newApprover(h Host, what, name string) (*approver, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return nil, err
	}
	a := &approver{h: h, dirs: d, owner: uint32(h.UID), name: name}
	if what != "" {
		i, err := findRun(d, what)
		if err != nil {
			return nil, err
		}
		a.run = i.ID
	}
	if a.name == "" {
		a.name = "uid " + strconv.Itoa(h.UID)
		if u, err := user.LookupId(strconv.Itoa(h.UID)); err == nil {
			a.name = u.Username
		}
	}
	return a, nil
}

// asked is what one run asks.
type askedRun struct {
	Run     string   `json:"run"`
	Name    string   `json:"name,omitempty"`
	Argv    []string `json:"argv"`
	Profile string   `json:"profile"`
	approval.List

	runtime string
}

// ask asks every run that lives, the oldest first. A run that ends meanwhile asks nothing.
func (a *approver) ask(ctx context.Context) ([]askedRun, error) {
	runs, err := listRuns(a.dirs)
	if err != nil {
		return nil, err
	}
	slices.Reverse(runs)
	list := []askedRun{}
	for _, i := range runs {
		if a.run != "" && i.ID != a.run || i.Ended != nil {
			continue
		}
		// Not the path in run.json: whatever is written there, it is this folder or none.
		r := askedRun{Run: i.ID, Name: i.Name, Argv: i.Argv, Profile: i.Profile, runtime: filepath.Join(a.dirs.Runtime, i.ID)}
		switch err := a.call(ctx, r, methodApprovals, nil, &r.List); {
		case errors.Is(err, control.ErrNoRun):
			continue
		case err != nil:
			return nil, fmt.Errorf("run %s: %w", i.ID, err)
		}
		list = append(list, r)
	}
	return list, nil
}

func (a *approver) call(ctx context.Context, r askedRun, method string, params, result any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return control.Call(ctx, r.runtime, a.owner, method, params, result)
}

// find finds the run that asked a question.
func (a *approver) find(ctx context.Context, id string) (askedRun, *approval.Question, error) {
	runs, err := a.ask(ctx)
	if err != nil {
		return askedRun{}, nil, err
	}
	for _, r := range runs {
		if i := slices.IndexFunc(r.Questions, func(q approval.Question) bool { return q.ID == id }); i >= 0 {
			return r, &r.Questions[i], nil
		}
		if slices.ContainsFunc(r.Grants, func(g approval.Grant) bool { return g.ID == id }) {
			return r, nil, nil
		}
	}
	return askedRun{}, nil, fmt.Errorf("no question %s is open\nhint: it was answered, nobody answered in time, or its run is over; agentjail approve --list lists what is open", audit.Printable(id))
}

// carryOut answers what was said on the command line.
func (a *approver) carryOut(ctx context.Context, o answerOrder) error {
	r, q, err := a.find(ctx, o.id)
	if err != nil {
		return err
	}
	if o.revoke {
		if err := a.call(ctx, r, methodRevoke, revokeParams{ID: o.id}, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.h.Stdout, "%s: the answer is taken back\n", o.id)
		return err
	}
	if q == nil {
		return fmt.Errorf("question %s is answered already\nhint: agentjail approve --revoke %s takes the answer back", o.id, o.id)
	}
	if o.profile != "" {
		// First, so that a profile that can't be written leaves nothing granted.
		path, err := a.writeAlways(o.profile, r, *q)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.h.Stderr, "agentjail: %s has the rule now\n", path)
	}
	return a.answer(ctx, r, *q, answerParams{ID: o.id, Yes: o.yes, Once: o.once, For: o.within})
}

// answer gives one answer and says what came of it.
func (a *approver) answer(ctx context.Context, r askedRun, q approval.Question, p answerParams) error {
	p.Name = a.name
	var res approval.Result
	if err := a.call(ctx, r, methodAnswer, p, &res); err != nil {
		if errors.Is(err, control.ErrNoRun) {
			return fmt.Errorf("the run has ended")
		}
		return err
	}
	_, err := fmt.Fprintf(a.h.Stdout, "%s: %s: %s\n", q.ID, outcome(p, res), audit.Printable(q.What))
	return err
}

func outcome(p answerParams, res approval.Result) string {
	scope := "for the rest of the run"
	switch {
	case p.Once:
		scope = "this once"
	case p.For > 0:
		scope = "for " + p.For.String()
	}
	switch {
	case !p.Yes:
		return "refused " + scope
	case !res.Over:
		return fmt.Sprintf("noted, %d more must say yes", res.Missing)
	}
	return "allowed " + scope
}

func (a *approver) list(ctx context.Context, asJSON bool) error {
	runs, err := a.ask(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(a.h.Stdout, runs)
	}
	said := false
	for _, r := range runs {
		for _, q := range r.Questions {
			said = true
			writeQuestion(a.h.Stdout, r, q, time.Now())
		}
		for _, g := range r.Grants {
			said = true
			writeGrant(a.h.Stdout, g)
		}
		writeFlooded(a.h.Stdout, r)
	}
	if !said {
		_, err = fmt.Fprintln(a.h.Stdout, "nothing is asked")
	}
	return err
}

// writeQuestion shows a question. Each of its lines begins with what it is about, and
// what came from the agent is printable ASCII already (approval.Text): it can neither
// begin a line nor look like one of ours.
func writeQuestion(w io.Writer, r askedRun, q approval.Question, now time.Time) {
	name := r.Run
	if r.Name != "" {
		name += " (" + r.Name + ")"
	}
	row := func(label, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-9s %s\n", label, audit.Printable(text))
		}
	}
	fmt.Fprintf(w, "question %s\n", audit.Printable(q.ID))
	row("what", q.What)
	row("who", q.Program)
	if why := q.Reason; q.Rule != "" {
		row("why", strings.TrimSpace(why+" ["+q.Rule+"]"))
	} else {
		row("why", why)
	}
	row("run", name+": "+approval.Words(r.Argv))
	if q.Held > 1 {
		row("held", fmt.Sprintf("%d times at once", q.Held))
	}
	row("before", beforeText(q.Before))
	if q.Quorum > 1 {
		row("needed", fmt.Sprintf("%d people must say yes", q.Quorum))
	}
	for _, a := range q.Answers {
		word := "no"
		if a.Yes {
			word = "yes"
		}
		row("answer", word+" by "+a.By.String())
	}
	row("left", max(0, q.Deadline.Sub(now).Round(time.Second)).String())
}

func beforeText(b approval.Before) string {
	if b.Asked == 0 {
		return "never asked in this run"
	}
	return fmt.Sprintf("asked %d times in this run: %d yes, %d no, %d unanswered", b.Asked, b.Yes, b.No, b.TimedOut)
}

func writeGrant(w io.Writer, g approval.Grant) {
	word, until := "refused", "to the run's end"
	if g.Yes {
		word = "allowed"
	}
	if !g.Until.IsZero() {
		until = "until " + g.Until.Local().Format("15:04:05")
	}
	by := make([]string, len(g.By))
	for i, a := range g.By {
		by[i] = a.By.String()
	}
	fmt.Fprintf(w, "answer %s, %s by %s %s: %s\n", audit.Printable(g.ID), word, audit.Printable(strings.Join(by, ", ")), until, audit.Printable(g.What))
}

func writeFlooded(w io.Writer, r askedRun) {
	if r.Flooded > 0 {
		fmt.Fprintf(w, "run %s: %d more were refused without a question, because it asks too much\n", audit.Printable(r.Run), r.Flooded)
	}
}
