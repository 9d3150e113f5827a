package profiles

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Op is what is done with a file.
type Op string

// The operations. Reading a folder is listing it.
const (
	OpRead  Op = "read"
	OpWrite Op = "write"
	OpExec  Op = "exec"
)

// FileVerdict is the answer to one operation on one path.
type FileVerdict struct {
	Action Action  `json:"action"`
	Rule   Pattern `json:"rule"`             // zero where nothing matched
	Reason string  `json:"reason,omitempty"` // a sentence, without a final stop
}

// Decide says what the profile's `files` rules make of an operation on a path
// outside the workspace. The path is absolute and clean, with its symbolic links
// resolved by the caller: a rule holds on what a link points to. Deny beats the
// rest; what may be written or executed may also be read, and nothing else follows
// from anything.
func (f *Files) Decide(p string, op Op) FileVerdict {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsRune(p, 0) {
		return FileVerdict{Action: Deny, Reason: fmt.Sprintf("%q is not an absolute, clean path", p)}
	}
	if rule, ok := matchAny(f.Deny, p); ok {
		return FileVerdict{Action: Deny, Rule: rule, Reason: "the profile denies " + rule.Pattern}
	}
	var lists [][]Pattern
	switch op {
	case OpRead:
		lists = [][]Pattern{f.Read, f.Write, f.Exec}
	case OpWrite:
		lists = [][]Pattern{f.Write}
	case OpExec:
		lists = [][]Pattern{f.Exec}
	}
	for _, list := range lists {
		rule, ok := matchAny(list, p)
		if !ok {
			continue
		}
		if _, ok := f.Ceiling.lets(p, op); !ok {
			return FileVerdict{Action: Deny, Reason: fmt.Sprintf("the ceiling of this machine does not let anyone %s %s", op, p)}
		}
		return FileVerdict{Action: Allow, Rule: rule}
	}
	return FileVerdict{Action: Deny, Reason: fmt.Sprintf("no rule of the profile allows to %s %s", op, p)}
}

// Hides says whether a path of the workspace, relative to it, is hidden.
func (w *Workspace) Hides(rel string) (Pattern, bool) { return matchRelative(w.Hide, rel) }

// Collects says whether a path of the workspace, relative to it, is an artifact.
func (a *Artifacts) Collects(rel string) (Pattern, bool) { return matchRelative(a.Collect, rel) }

// Passes says whether a variable of the caller's environment is passed on. What the
// profile sets itself (Env) comes before what it passes.
func (p *Process) Passes(name string) (Pattern, bool) {
	for _, pat := range p.PassEnv {
		if prefix, glob := strings.CutSuffix(pat.Pattern, "*"); pat.Pattern == name || glob && prefix != "" && strings.HasPrefix(name, prefix) {
			return pat, true
		}
	}
	return Pattern{}, false
}

func matchRelative(patterns []Pattern, rel string) (Pattern, bool) {
	if rel == "" || strings.HasPrefix(rel, "/") || path.Clean(rel) != rel {
		return Pattern{}, false
	}
	return matchAny(patterns, rel)
}

// matchAny finds the first pattern that names the path or a folder above it.
func matchAny(patterns []Pattern, p string) (Pattern, bool) {
	for _, pat := range patterns {
		if covers(pat.Pattern, p) {
			return pat, true
		}
	}
	return Pattern{}, false
}

// covers says whether a pattern names the path or a folder above it: whoever names
// a folder means what is in it. That makes a final "/**" mean nothing more, and it is
// taken off, because doublestar 4.10 does not match "x*/**" with the folder "x" itself.
func covers(pattern, p string) bool {
	for strings.HasSuffix(pattern, "/**") {
		pattern = strings.TrimSuffix(pattern, "/**")
	}
	if pattern = strings.TrimSuffix(pattern, "/"); pattern == "" {
		return true
	}
	for {
		if doublestar.MatchUnvalidated(pattern, p) {
			return true
		}
		i := strings.LastIndexByte(p, '/')
		if i <= 0 {
			return false
		}
		p = p[:i]
	}
}

// absolutePattern makes a pattern of `files` absolute and clean. home is literal: a
// star in the home folder's own name is no glob.
func absolutePattern(s, home string) (string, error) {
	if err := checkPattern(s); err != nil {
		return "", err
	}
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		if home == "" {
			return "", fmt.Errorf("path %q needs the home folder, and it is not known", s)
		}
		s = quotePattern(home) + s[1:]
	case strings.HasPrefix(s, "~"):
		return "", fmt.Errorf("path %q names another user's home: write it in full", s)
	case !strings.HasPrefix(s, "/"):
		return "", fmt.Errorf("path %q is relative: write it from \"/\" or from \"~/\"", s)
	}
	return path.Clean(s), nil
}

// relativePattern makes a pattern over the workspace clean.
func relativePattern(s string) (string, error) {
	if err := checkPattern(s); err != nil {
		return "", err
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "~") {
		return "", fmt.Errorf("pattern %q is absolute: write it relative to the workspace, for example \"secrets/**\"", s)
	}
	if s = path.Clean(s); s == "." {
		return "", errors.New("pattern \".\" is the whole workspace: write \"**\" if all of it is meant")
	}
	return s, nil
}

// checkPattern refuses what can't be matched reliably. A ".." is looked for behind
// escapes and inside alternatives too, since both could climb once they are expanded.
func checkPattern(s string) error {
	if s == "" {
		return errors.New("path is empty")
	}
	if err := checkPathBytes(s); err != nil {
		return err
	}
	for part := range strings.FieldsFuncSeq(strings.ReplaceAll(s, `\`, ""), func(r rune) bool { return strings.ContainsRune("/{},", r) }) {
		if part == ".." {
			return fmt.Errorf("path %q has \"..\" in it: write where it leads", s)
		}
	}
	if strings.Contains(s, `\/`) {
		return fmt.Errorf("path %q has a backslash before a \"/\", which needs none", s)
	}
	if !doublestar.ValidatePattern(s) {
		return fmt.Errorf("path %q is not a valid pattern: a bracket or brace is not closed; write \"\\\\[\" or \"\\\\{\" where the character itself is meant", s)
	}
	return nil
}

func checkPathBytes(s string) error {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return fmt.Errorf("path %q has a control character in it", s)
		}
	}
	return nil
}

// quotePattern escapes what doublestar gives a meaning to.
func quotePattern(s string) string { return patternQuoter.Replace(s) }

var patternQuoter = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`)
