package profiles

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// ExecNew says what becomes of a program that the agent wrote itself.
type ExecNew string

// The answers to a new program, from the widest to the narrowest.
const (
	ExecNewAllow ExecNew = "allow"
	ExecNewAsk   ExecNew = "ask"
	ExecNewDeny  ExecNew = "deny"
)

// ExecRule is one `deny`, `ask` or `limit` block of `process`.
type ExecRule struct {
	Program string   `json:"program"`        // a file name, or an absolute, clean path
	Args    []string `json:"args"`           // that the program's own arguments begin with
	Rate    *Rate    `json:"rate,omitempty"` // of a limit
	Reason  string   `json:"reason,omitempty"`
	Origin  Origin   `json:"origin"`
}

// Exec is a program that is about to be started.
type Exec struct {
	Path     string   // as it was asked for, absolute
	Resolved string   // the file behind it, its symbolic links resolved
	Argv     []string // the program's own name first
	Aliases  []string // programs of rules whose file it is under another name
	Own      bool     // the agent wrote the file, or could have
}

// ExecVerdict is the answer to one start of a program.
type ExecVerdict struct {
	Action Action     `json:"action"`
	Rule   *ExecRule  `json:"rule,omitempty"`   // nil where no deny and no ask matched
	Limits []ExecRule `json:"limits,omitempty"` // every limit that counts it; all must hold
	Reason string     `json:"reason,omitempty"` // a sentence for the agent, without a final stop
}

// Start says what the rules of `process` make of a program that Files lets be
// executed. Deny beats ask beats allow, and every limit that matches counts.
//
// A rule by file name is about every name that the program goes by: of the file, of
// the link to it, and the first argument, which busybox and its like go by. There is
// no allow among these rules, so that matching more of them never opens anything.
func (p *Process) Start(e Exec) ExecVerdict {
	v := ExecVerdict{Action: Allow}
	for i := range p.Limit {
		if p.Limit[i].matches(e) {
			v.Limits = append(v.Limits, p.Limit[i])
		}
	}
	for _, list := range []struct {
		rules  []ExecRule
		action Action
		why    string
	}{{p.Deny, Deny, "the profile denies "}, {p.Ask, Ask, "a person must allow "}} {
		i := slices.IndexFunc(list.rules, func(r ExecRule) bool {
			return r.matches(e) && !(list.action == Ask && p.approved(e))
		})
		if i < 0 {
			continue
		}
		r := list.rules[i]
		v.Action, v.Rule, v.Reason = list.action, &r, r.Reason
		if r.Reason == "" {
			v.Reason = list.why + strings.Join(append([]string{r.Program}, r.Args...), " ")
		}
		return v
	}
	return v
}

// approved says whether people have allowed exactly this for good. Only here more that
// matches opens more, so that nothing counts but the file itself and all its arguments.
func (p *Process) approved(e Exec) bool {
	return !e.Own && slices.ContainsFunc(p.Approved, func(r ExecRule) bool {
		return r.Program == e.Resolved && len(e.Argv) > 0 && slices.Equal(r.Args, e.Argv[1:])
	})
}

func (r ExecRule) matches(e Exec) bool {
	names := slices.Concat([]string{e.Path, e.Resolved}, e.Aliases)
	if len(e.Argv) > 0 {
		names = append(names, e.Argv[0])
	}
	known := slices.ContainsFunc(names, func(n string) bool {
		switch {
		case n == "":
			return false
		case strings.HasPrefix(r.Program, "/"):
			return path.Clean(n) == r.Program
		}
		return path.Base(path.Clean(n)) == r.Program
	})
	if !known {
		return false
	}
	args := e.Argv[min(1, len(e.Argv)):]
	return len(args) >= len(r.Args) && slices.Equal(args[:len(r.Args)], r.Args)
}

// Limited says whether the rules ask anything of the start of a program.
func (p *Process) Limited() bool {
	return len(p.Deny)+len(p.Ask)+len(p.Limit) > 0 || p.ExecNew != ExecNewAllow
}

// Asks says whether some rule leaves something to people.
func (s *Spec) Asks() bool {
	asks := func(n *Network) bool {
		return n != nil && (len(n.Ask) > 0 || slices.ContainsFunc(n.Allow, func(r NetRule) bool {
			return slices.ContainsFunc(r.Requests, func(q RequestRule) bool { return q.Ask })
		}))
	}
	return asks(&s.Network) || asks(s.Network.Ceiling) || len(s.Process.Ask) > 0 || s.Process.ExecNew == ExecNewAsk ||
		s.Approval.Extend > 0 && s.Limits.Time != nil ||
		slices.ContainsFunc(s.Budgets, func(b Budget) bool { return b.AskAbove != nil })
}

// execRules reads the rules of `process`.
func (d *decoder) execRules(blocks hcl.Blocks, l *layer) {
	for _, b := range blocks {
		r, ok := d.execRule(b)
		if !ok {
			continue
		}
		switch b.Type {
		case "deny":
			l.execDeny = append(l.execDeny, r)
		case "ask":
			l.execAsk = append(l.execAsk, r)
		case "limit":
			l.execLimit = append(l.execLimit, r)
		case "approved":
			l.execApproved = append(l.execApproved, r)
		}
	}
}

func (d *decoder) execRule(b *hcl.Block) (r ExecRule, ok bool) {
	s := execDenySchema()
	if b.Type == "limit" {
		s = execLimitSchema()
	}
	c := d.content(b.Body, s)
	r, ok = ExecRule{Program: b.Labels[0], Args: slices.Clone(b.Labels[1:]), Origin: d.origin(b.DefRange)}, true
	if err := checkProgram(r.Program); err != nil {
		d.wrong(b.LabelRanges[0], "Wrong program", err)
		ok = false
	}
	if b.Type == "approved" && !strings.HasPrefix(r.Program, "/") {
		d.fail(b.LabelRanges[0], "Wrong program", "What is approved is one file: write its absolute path.")
		ok = false
	}
	if a := c.Attributes["args"]; a != nil {
		if len(r.Args) > 0 {
			d.fail(a.NameRange, "Arguments given twice", "The rule has arguments as labels, and `args` too. Keep one of the two.")
			ok = false
		}
		words, fine := d.texts(a.Expr)
		ok = ok && fine
		for _, w := range words {
			r.Args = append(r.Args, w.s)
		}
	}
	for _, arg := range r.Args {
		if strings.ContainsRune(arg, 0) {
			d.fail(b.DefRange, "Wrong argument", "An argument can't have a NUL in it.")
			ok = false
		}
	}
	if a := c.Attributes["reason"]; a != nil {
		r.Reason, _ = d.sentenceText(a.Expr)
	}
	if b.Type == "limit" {
		r.Rate = d.mustRate(b, c)
		ok = ok && r.Rate != nil
	}
	return r, ok
}

// mustRate reads the `rate` of a limit block.
func (d *decoder) mustRate(b *hcl.Block, c *hcl.BodyContent) *Rate {
	a := c.Attributes["rate"]
	if a == nil {
		d.fail(b.DefRange, "No rate", "A limit says how often: write for example rate = \"10/m\".")
		return nil
	}
	q := d.quota(a)
	if q == nil {
		return nil
	}
	return &q.Rate
}

func checkProgram(s string) error {
	switch {
	case s == "":
		return errors.New("the program has no name")
	case strings.ContainsRune(s, 0):
		return errors.New("the program's name has a NUL in it")
	case strings.ContainsAny(s, "*?[{"):
		return fmt.Errorf("program %q has a pattern in it: name one program, by its file name or its absolute path", s)
	case !strings.Contains(s, "/") && s != "." && s != "..":
		return nil
	case !strings.HasPrefix(s, "/"):
		return fmt.Errorf("program %q is relative: write its file name alone, or its absolute path", s)
	case path.Clean(s) != s || s == "/":
		return fmt.Errorf("program %q is not a clean path: write %q", s, path.Clean(s))
	}
	return nil
}
