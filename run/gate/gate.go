// Package gate decides which changes of a run must not reach the host before a person
// has looked at them: paths that something on the host would execute or trust later,
// and content that is not what it looks like. Most escapes of agents' sandboxes
// happened that way, after the agent had ended.
//
// It only reads: what is held back is told with one sentence of why, and whoever
// applies changes decides. It is no virus scanner, and it does not claim that what it
// lets through is harmless: code that people run was always going to run.
package gate

import (
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
)

// A check looks at a path's two contents and says in a few words what it found; "" is
// nothing.
type check func(c *changes.Change, old, now string) string

// Gate holds the list. The zero value is of no use: see New.
type Gate struct {
	rules    []compiled
	holds    []compiled // the profile's own: no allow takes them off
	allowed  func(path string) bool
	redactor *audit.Redactor
}

type compiled struct {
	rule
	exact map[string]bool // last parts without a wildcard
	globs []string
	deep  []string // those of globs with a slash, at any depth
}

// Extra is a line that a profile adds to the list.
type Extra struct {
	Pattern string // doublestar glob, relative to the workspace
	Why     string
}

// New makes the gate of the built-in list, what the profile adds (extra), and what the
// profile lets through of the list (allowed; nil is nothing). The error is a pattern that
// is no glob.
func New(extra []Extra, allowed func(path string) bool) (*Gate, error) {
	r, err := audit.NewRedactor(nil)
	if err != nil {
		return nil, err
	}
	g := &Gate{redactor: r, allowed: allowed}
	for _, r := range rules() {
		c, err := compile(r)
		if err != nil {
			return nil, err
		}
		g.rules = append(g.rules, c)
	}
	for _, e := range extra {
		why := e.Why
		if why == "" {
			why = "the profile holds it back"
		}
		c, err := compile(rule{patterns: []string{strings.ToLower(e.Pattern)}, why: why})
		if err != nil {
			return nil, err
		}
		g.holds = append(g.holds, c)
	}
	return g, nil
}

func compile(r rule) (compiled, error) {
	c := compiled{rule: r, exact: map[string]bool{}}
	for _, p := range r.patterns {
		if !doublestar.ValidatePattern(p) {
			return c, fmt.Errorf("the gate's pattern %q is no glob", p)
		}
		if !strings.ContainsAny(p, "*?[{/") {
			c.exact[p] = true
		} else {
			c.globs = append(c.globs, p)
		}
		if strings.Contains(p, "/") {
			c.deep = append(c.deep, "**/"+p)
		}
	}
	return c, nil
}

// Reasons says why a change is held back; none is that it is not. It has the form of
// changes.Gate. A deletion is held only where what is deleted protects something.
func (g *Gate) Reasons(c *changes.Change, old, now func() ([]byte, error)) (reasons []string) {
	name := fold(c.Path)
	l := &lazy{old: old, now: now}
	for i := range g.holds {
		if g.holds[i].match(name) {
			reasons = append(reasons, g.holds[i].why)
		}
	}
	// What the profile allows is what the path is held for, never what the content hides
	// or where a symlink leads.
	if g.allowed == nil || !g.allowed(c.Path) {
		reasons = append(reasons, g.listed(c, name, l)...)
	}
	return append(reasons, g.hidden(c, l)...)
}

// Content says what there is to say of a file that the agent had changed in the host's own
// folder: all but what the path alone is held for, which Protects is about. What the file
// was before is often not known; then all of it counts as new.
func (g *Gate) Content(c *changes.Change, old, now func() ([]byte, error)) (reasons []string) {
	l := &lazy{old: old, now: now}
	if g.allowed == nil || !g.allowed(c.Path) {
		reasons = g.checked(c, fold(c.Path), l)
	}
	return append(reasons, g.hidden(c, l)...)
}

// hidden says what no allow of a profile lets through.
func (g *Gate) hidden(c *changes.Change, l *lazy) (reasons []string) {
	if c.After == nil {
		return nil
	}
	if why := leavingSymlink(c); why != "" {
		reasons = append(reasons, why)
	}
	if c.After.Type == changes.TypeFile {
		if why := l.ask(c, g.addedLines); why != "" {
			reasons = append(reasons, why)
		}
	}
	return reasons
}

// listed says what of the built-in list holds a path back.
func (g *Gate) listed(c *changes.Change, name string, l *lazy) (reasons []string) {
	if withinGit(c.Path) {
		reasons = append(reasons, gitWhy)
	}
	for i := range g.rules {
		if r := &g.rules[i]; r.check == nil && r.match(name) {
			reasons = append(reasons, r.why)
		}
	}
	return append(reasons, g.checked(c, name, l)...)
}

// checked says what the rules find that look at contents, and at modes.
func (g *Gate) checked(c *changes.Change, name string, l *lazy) (reasons []string) {
	for i := range g.rules {
		r := &g.rules[i]
		if r.check == nil || !r.match(name) {
			continue
		}
		if why := l.ask(c, r.check); why != "" {
			reasons = append(reasons, r.why+" ("+why+")")
		}
	}
	if c.After != nil {
		if why := newExecutable(c); why != "" {
			reasons = append(reasons, why)
		}
	}
	return reasons
}

const gitWhy = "it is within a .git folder: git runs hooks and obeys the configuration in it"

// Protects says why a path must stay as it is while the agent works on the host's own
// folder (direct mode), where nothing is looked at before it is there; "" is that it need
// not. Only the path decides: a rule that looks at contents counts if the file names
// programs whatever is in it (package.json), and not for every source file. A folder is
// protected, with all that is in it, where a rule is about what is in it.
func (g *Gate) Protects(name string, folder bool) string {
	folded := fold(name)
	base := path.Base(folded)
	for i := range g.holds {
		if g.holds[i].match(folded) {
			return g.holds[i].why
		}
	}
	if g.allowed != nil && g.allowed(name) {
		return ""
	}
	if changes.IsDotGit(path.Base(name)) {
		return gitWhy
	}
	// Without it no folder is a repository (gitrepository-layout(5)), and nothing else is
	// called so; "config" is, and is nothing without it.
	if !folder && path.Base(name) == "HEAD" {
		return "with it a folder is a bare git repository, whose configuration git obeys (CVE-2022-24765)"
	}
	for i := range g.rules {
		r := &g.rules[i]
		if r.check != nil && !r.direct || !r.match(folded) {
			continue
		}
		// "Makefile" is about a file: a folder of that name is nobody's build.
		if folder && r.exact[base] && !strings.HasPrefix(base, ".") {
			continue
		}
		return r.why
	}
	return ""
}

// Asks tells whether a rule looks at the content of files of this name, beside what is
// looked for in every file.
func (g *Gate) Asks(name string) bool {
	name = fold(name)
	for i := range g.rules {
		if g.rules[i].check != nil && g.rules[i].match(name) {
			return true
		}
	}
	return false
}

// Compared tells whether what a file of this name is held for is what is new in it
// against what it was, so that Remember is worth its while.
func (g *Gate) Compared(name string) bool {
	name = fold(name)
	for i := range g.rules {
		if g.rules[i].compared && g.rules[i].match(name) {
			return true
		}
	}
	return false
}

// Remember gives of a content what its later one is compared with, which is a short text.
func (g *Gate) Remember(content string) string { return sources(content) }

// lazy reads contents once, and only if something asks for them.
type lazy struct {
	old, now  func() ([]byte, error)
	read      bool
	o, n      string
	oErr, err error
}

// ask runs a check. A content that can't be read is a finding of its own: what nobody
// looked into is not let through.
func (l *lazy) ask(c *changes.Change, f check) string {
	if !l.read {
		l.read = true
		o, err := l.old()
		l.o, l.oErr = string(o), err
		n, err := l.now()
		l.n, l.err = string(n), err
	}
	for _, err := range []error{l.oErr, l.err} {
		if err != nil {
			return "nobody looked into it: " + err.Error()
		}
	}
	return f(c, l.o, l.n)
}

func (r *compiled) match(name string) bool {
	base := path.Base(name)
	if r.exact[base] {
		return true
	}
	for _, p := range r.globs {
		if !strings.Contains(p, "/") && doublestar.MatchUnvalidated(p, base) {
			return true
		}
	}
	// At any depth: what is trusted in the root of a project is trusted in the
	// root of a project within it.
	for _, p := range r.deep {
		if doublestar.MatchUnvalidated(p, name) {
			return true
		}
	}
	return false
}

// fold makes spellings alike that some file system takes for one: it folds case and
// leaves out what is not seen (git's CVE-2014-9390).
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}

func withinGit(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if changes.IsDotGit(part) {
			return true
		}
	}
	return false
}

// newExecutable tells of files that were not executable before.
func newExecutable(c *changes.Change) string {
	executable := func(s *changes.FileState) bool {
		return s != nil && s.Type == changes.TypeFile && s.Mode&0o111 != 0
	}
	if !executable(c.After) || executable(c.Before) {
		return ""
	}
	return "it is a new executable"
}

// leavingSymlink tells of symlinks to somewhere outside the workspace: what opens them
// later reads or writes there (CVE-2024-42472, CVE-2026-39861).
func leavingSymlink(c *changes.Change) string {
	if c.After.Type != changes.TypeSymlink {
		return ""
	}
	target := c.After.Target
	if path.IsAbs(target) {
		return fmt.Sprintf("it is a symlink out of the workspace, to %s", audit.Printable(target))
	}
	// Never above the root at any step: what a ".." leaves depends on the symlinks
	// before it, so that only plain paths count as staying.
	depth := strings.Count(c.Path, "/")
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return fmt.Sprintf("it is a symlink out of the workspace, to %s", audit.Printable(target))
			}
		default:
			depth++
		}
	}
	if withinGit(target) {
		return "it is a symlink into a .git folder"
	}
	return ""
}
