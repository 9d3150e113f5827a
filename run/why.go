package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// A question is what `why` is asked.
type question struct {
	Op   string   `json:"op"`
	What []string `json:"what"`
}

// words is the question as it was typed.
func (q question) words() string { return q.Op + " " + strings.Join(q.What, " ") }

// opinion is what one side says: the rules, or the jail itself.
type opinion struct {
	Action profiles.Action `json:"action,omitempty"` // "" where it has none
	Rule   string          `json:"rule,omitempty"`
	Reason string          `json:"reason,omitempty"`
}

// whyAnswer is both sides' opinion.
type whyAnswer struct {
	Question string  `json:"question"`
	Rules    opinion `json:"rules"`
	Probe    opinion `json:"probe"`
	Disagree bool    `json:"disagree,omitempty"`
}

// whyOps are what can be asked, and how many words each takes.
func whyOps() map[string]int {
	return map[string]int{"connect": 1, "resolve": 1, "request": 2, "read": 1, "write": 1, "exec": 1, "syscall": 1}
}

// parseQuestion checks the words of a question.
func parseQuestion(h Host, args []string) (question, error) {
	hint := "hint: connect HOST:PORT, resolve NAME, request METHOD URL, read, write or exec PATH, syscall NAME"
	if len(args) == 0 {
		return question{}, errors.New("why needs a question\n" + hint)
	}
	q := question{args[0], args[1:]}
	n, known := whyOps()[q.Op]
	if !known {
		return q, fmt.Errorf("why can't answer %q\n%s", q.Op, hint)
	}
	if len(q.What) != n {
		return q, fmt.Errorf("why %s takes %s, and here are %d\n%s", q.Op, plural(n, "word"), len(q.What), hint)
	}
	switch q.Op {
	case "read", "write", "exec":
		if err := checkPath("path", q.What[0]); err != nil {
			return q, err
		}
		if q.Op == "exec" {
			q.What = []string{lookProgram(q.What[0])}
		}
		q.What = []string{absolute(h.Cwd, q.What[0])}
	}
	return q, nil
}

// byRules answers from the profile alone.
func byRules(s *profiles.Spec, q question) (opinion, error) {
	x := profiles.Case{Name: "why"}
	switch q.Op {
	case "connect":
		x.Connect = q.What[0]
	case "resolve":
		x.Resolve = q.What[0]
	case "request":
		x.Request = q.What
	case "syscall":
		return callByRules(s, q.What[0])
	default:
		return fileByRules(s, q.Op, q.What[0]), nil
	}
	a := s.Try(x)
	return opinion{Action: a.Action, Rule: a.Rule.String(), Reason: a.Reason}, nil
}

func callByRules(s *profiles.Spec, name string) (opinion, error) {
	v, err := jail.ExplainCall(name, s.Syscalls)
	if err != nil {
		return opinion{}, err
	}
	o := opinion{Action: profiles.Deny, Rule: v.Opened.String(), Reason: "it is not among the calls that a jail allows, and answers " + v.Answer}
	switch {
	case v.Number < 0:
		o.Reason = "this architecture does not have it"
	case v.Allowed && v.Only != "":
		o.Action, o.Reason = profiles.Allow, "only "+v.Only
	case v.Allowed:
		o.Action, o.Reason = profiles.Allow, ""
	}
	return o, nil
}

// fileByRules answers about a path, its symbolic links resolved: a rule holds on what
// a link points to.
func fileByRules(s *profiles.Spec, op, path string) opinion {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path // what is not there is decided by its name
	}
	if work, err := filepath.EvalSymlinks(s.Workspace.Path); err == nil {
		if rel, err := filepath.Rel(work, real); err == nil && filepath.IsLocal(rel) {
			return workspaceByRules(s, op, rel)
		}
	}
	for _, own := range []struct{ dir, what string }{
		{"/proc", "the jail's own, of its own processes"}, {"/dev", "the jail's own: null, zero, full, random, urandom, tty, pts and shm"},
		{"/tmp", "the jail's own, empty at the start and gone at the end"}, {"/var/tmp", "the jail's own, empty at the start and gone at the end"}, {"/home/agent", "the agent's home, made for the run"},
		{"/run/agentjail", "what agentjail tells the agent"}} {
		if real == own.dir || strings.HasPrefix(real, own.dir+"/") {
			return opinion{Reason: own.dir + " is " + own.what}
		}
	}
	v := s.Files.Decide(real, profiles.Op(op))
	o := opinion{Action: v.Action, Rule: v.Rule.Origin.String(), Reason: v.Reason}
	if real != path && o.Reason == "" {
		o.Reason = "it is a link to " + real
	}
	return o
}

func workspaceByRules(s *profiles.Spec, op, rel string) opinion {
	w := s.Workspace
	o := opinion{Action: profiles.Allow, Rule: w.Origin.String(), Reason: fmt.Sprintf("it is in the workspace, whose mode is %s", w.Mode)}
	if p, hidden := w.Hides(rel); hidden {
		return opinion{Action: profiles.Deny, Rule: p.Origin.String(), Reason: "it is hidden: the jail does not have it"}
	}
	switch {
	case w.Mode == profiles.ModeEmpty && op != "write":
		o.Action, o.Reason = profiles.Deny, "the workspace begins empty"
	case w.Mode == profiles.ModeReadonly && op == "write":
		o.Action = profiles.Deny
	}
	return o
}

// why answers a question by the rules and by a jail.
func why(h Host, profile, workspace string, vars map[string]string, q question) (whyAnswer, error) {
	a := whyAnswer{Question: q.words()}
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return a, err
	}
	spec, err := loadProfile(h, d, profile, vars, false)
	if err != nil {
		return a, err
	}
	if workspace != "" {
		spec.Workspace.Path = absolute(h.Cwd, workspace)
	}
	spec.Without(missingSecrets(h, spec))
	if a.Rules, err = byRules(spec, q); err != nil {
		return a, err
	}
	if reason := notProbed(q, a.Rules); reason != "" {
		a.Probe = opinion{Reason: reason}
		return a, nil
	}
	var plan *jail.Plan
	a.Probe, plan = probeWhy(h, profile, workspace, vars, q)
	if ownFile(plan, q) {
		a.Rules = opinion{Reason: "it is the jail's own file, made for the run, and not the host's"}
	}
	if a.Probe.Action == profiles.Deny && a.Rules.Action == profiles.Allow && nowhere(q) {
		a.Probe = opinion{Reason: "nothing is there, in the jail as on the host"}
	}
	// A jail that only asks has refused nothing yet.
	a.Disagree = a.Rules.Action != "" && a.Probe.Action != "" && (a.Rules.Action == profiles.Allow) != (a.Probe.Action == profiles.Allow)
	return a, nil
}

// notProbed says why a jail is not asked: an allowed connection or request would
// reach the host that it names.
func notProbed(q question, rules opinion) string {
	switch {
	case q.Op == "request":
		return "not tried: a request would reach its host"
	case q.Op == "connect" && rules.Action != profiles.Deny:
		return "not tried: a connection would reach its host"
	}
	return ""
}

// probeWhy asks a real jail of the profile and the workspace. What goes wrong with it
// is its reason.
func probeWhy(h Host, profile, workspace string, vars map[string]string, q question) (opinion, *jail.Plan) {
	not := func(err error) (opinion, *jail.Plan) { return opinion{Reason: "not tried: " + err.Error()}, nil }
	dir, err := os.MkdirTemp("", "agentjail-why-")
	if err != nil {
		return not(err)
	}
	defer os.RemoveAll(dir)
	exe, err := os.Executable()
	if err == nil {
		exe, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return not(err)
	}
	arg, err := json.Marshal(q)
	if err != nil {
		return not(err)
	}
	streams, err := openStreams(false)
	if err != nil {
		return not(err)
	}
	private := h
	private.Stdin, private.Stdout, private.Stderr = streams.stdin, streams.agent, streams.agent
	private.Environ = append([]string{"XDG_STATE_HOME=" + dir}, without(h.Environ, "XDG_STATE_HOME")...)
	s := newSession(private, Options{Profile: profile, Workspace: workspace, Vars: vars, Quiet: true, StatusFD: -1, TTY: "never",
		Argv: []string{exe, probeArg, "why", string(arg)}})
	// The only widening: the program that asks.
	s.grants = []profiles.Pattern{{Pattern: exe}}
	err = s.run()
	output := streams.close()
	detail, ierr := insideResult(output)
	if ierr != nil {
		return opinion{Reason: fmt.Sprintf("the jail did not answer: %v", errors.Join(err, ierr))}, s.plan
	}
	var o opinion
	if err := json.Unmarshal([]byte(detail), &o); err != nil {
		return opinion{Reason: "the jail did not answer: " + err.Error()}, s.plan
	}
	return o, s.plan
}

// nowhere says whether a question is about a file that the host does not have either:
// that a jail can't read it says nothing about the rules.
func nowhere(q question) bool {
	if q.Op != "read" && q.Op != "exec" {
		return false
	}
	_, err := os.Lstat(q.What[0])
	return errors.Is(err, fs.ErrNotExist)
}

// ownFile tells whether a path is one of the files that a jail makes for itself, in
// place of the host's.
func ownFile(p *jail.Plan, q question) bool {
	if p == nil || q.Op != "read" && q.Op != "write" && q.Op != "exec" {
		return false
	}
	return slices.ContainsFunc(p.Files, func(f jail.File) bool { return f.Path == q.What[0] })
}

// splitTarget parts a host and a port, of which the first may be an address.
func splitTarget(s string) (host string, port uint16, err error) {
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return host, uint16(n), err
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// whyWords are what can be asked, for completion.
func whyWords() []string {
	var words []string
	for w := range whyOps() {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}
