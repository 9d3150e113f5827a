package gate

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
)

// bareRepository tells whether a file named HEAD or config looks like a repository's.
func bareRepository(c *changes.Change, _, now string) string {
	if c.After == nil {
		return ""
	}
	if c.After.Type != changes.TypeFile {
		return "it is a " + c.After.Type
	}
	head := strings.TrimSpace(now)
	if strings.HasPrefix(head, "ref:") || objectID().MatchString(head) {
		return "it reads like a HEAD"
	}
	if section().MatchString(now) {
		return "it reads like a configuration of git"
	}
	return ""
}

var (
	objectID = compileLazily(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	section  = compileLazily(`(?im)^\s*\[\s*(core|include|includeif|filter|alias|remote|url|diff|merge|credential|http|extensions|gpg|submodule|pager|init|safe|uploadpack|ssh)\b`)
	generate = compileLazily(`^//go:generate\b`)
	hostOf   = compileLazily(`(?i)\b(?:git\+|registry\+|sparse\+)?(?:https?|ssh|git|file)://[^\s"'<>\\,)\]}]+`)
)

// packageJSON tells what in a package.json makes a package manager run something new.
func packageJSON(_ *changes.Change, old, now string) string {
	if now == "" {
		return ""
	}
	var before, after map[string]any
	if err := json.Unmarshal([]byte(now), &after); err != nil {
		return "it can't be read: " + err.Error()
	}
	if old != "" {
		if err := json.Unmarshal([]byte(old), &before); err != nil {
			before = nil
		}
	}
	for _, key := range []string{"scripts", "bin", "packageManager", "pnpm", "overrides", "resolutions", "workspaces", "husky", "lint-staged", "simple-git-hooks", "pre-commit", "trustedDependencies", "gypfile", "publishConfig", "config"} {
		if v := after[key]; v != nil && !reflect.DeepEqual(v, before[key]) {
			return fmt.Sprintf("%q changed", key)
		}
	}
	for _, key := range []string{"dependencies", "devDependencies", "optionalDependencies", "peerDependencies", "bundledDependencies"} {
		deps, _ := after[key].(map[string]any)
		had, _ := before[key].(map[string]any)
		for name, v := range deps {
			version, _ := v.(string)
			if v != had[name] && strings.ContainsAny(version, ":/") {
				return fmt.Sprintf("%s of %q comes from elsewhere than the registry", audit.Printable(name), key)
			}
		}
	}
	return ""
}

// pyproject tells whether the tables that name code to run changed.
func pyproject(_ *changes.Change, old, now string) string {
	if now == "" {
		return ""
	}
	for _, table := range []string{"build-system", "project.scripts", "project.gui-scripts", "project.entry-points", "tool.poetry.build", "tool.pdm", "tool.hatch", "tool.pytest", "tool.poe", "tool.setuptools", "tool.uv", "tool.tox", "tool.cibuildwheel"} {
		if tables(now, table) != tables(old, table) {
			return fmt.Sprintf("[%s] changed", table)
		}
	}
	return ""
}

// tables is the text of a TOML table and those below it. That is no parser: what
// another spelling hides from it ("[ build-system ]", a dotted key) is looked for as
// well, and a difference that it sees where there is none only holds more back.
func tables(doc, name string) string {
	var b strings.Builder
	in := false
	for line := range strings.Lines(doc) {
		plain := strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) || r == '"' || r == '\'' {
				return -1
			}
			return r
		}, line)
		if strings.HasPrefix(plain, "[") {
			head := strings.TrimLeft(plain, "[")
			in = strings.HasPrefix(head, name+"]") || strings.HasPrefix(head, name+".")
		}
		if in || strings.HasPrefix(plain, name+".") || strings.HasPrefix(plain, name+"=") || strings.HasPrefix(name, beforeDot(plain)+".") && strings.Contains(plain, "{") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func beforeDot(s string) string {
	i := strings.IndexAny(s, ".=")
	if i < 0 {
		return "\x00"
	}
	return s[:i]
}

func goGenerate(c *changes.Change, old, now string) string {
	for _, line := range added(old, now) {
		if generate().MatchString(line) {
			return gains(c) + " a go:generate line"
		}
	}
	return ""
}

// gains is "it has" where nobody knows what the file had before, or there was none.
func gains(c *changes.Change) string {
	if c.Before == nil {
		return "it has"
	}
	return "it gains"
}

// newHosts tells of hosts that a lock file names and did not before.
func newHosts(_ *changes.Change, old, now string) string {
	had := hosts(old)
	var more []string
	for h := range hosts(now) {
		if !had[h] {
			more = append(more, audit.Printable(h))
		}
	}
	if len(more) == 0 {
		return ""
	}
	slices.Sort(more)
	if len(more) > 3 {
		more = append(more[:3], "...")
	}
	return "new: " + strings.Join(more, ", ")
}

func hosts(doc string) map[string]bool {
	found := map[string]bool{}
	for _, m := range hostOf().FindAllString(doc, -1) {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" {
			found[m] = true // a host that can't be read is one of its own
			continue
		}
		found[strings.ToLower(u.Host)] = true
	}
	return found
}

// sources is a text that names the hosts of a document, and no others.
func sources(doc string) string {
	var b strings.Builder
	for h := range hosts(doc) {
		if strings.Contains(h, "://") {
			b.WriteString(h + "\n")
		} else {
			b.WriteString("https://" + h + "\n")
		}
	}
	return b.String()
}

// maxAdded bounds the lines that are looked at; a file with more is held back.
const maxAdded = 200_000

// addedLines looks at what a text file gained: characters that make it read as
// something else, and credentials.
func (g *Gate) addedLines(c *changes.Change, old, now string) string {
	if strings.IndexByte(now, 0) >= 0 || now == "" {
		return "" // nobody reads it as text
	}
	lines := added(old, now)
	if len(lines) > maxAdded {
		return "nobody looked into it: " + gains(c) + " too many lines"
	}
	for _, line := range lines {
		if r, ok := bidi(line); ok {
			return fmt.Sprintf("%s a character that turns the direction of text (%U), so that it does not read as it runs (CVE-2021-42574)", gains(c), r)
		}
		if word := mixedScript(line); word != "" {
			return fmt.Sprintf("%s a word of letters that look alike, %s (CVE-2021-42694)", gains(c), audit.Printable(fmt.Sprintf("%+q", word)))
		}
		if _, n := g.redactor.Redact(line); n > 0 {
			return gains(c) + " what looks like a credential"
		}
	}
	return ""
}

// added gives the lines of now that old does not have, as often as it has more of them.
func added(old, now string) (lines []string) {
	had := map[string]int{}
	for line := range strings.Lines(old) {
		had[line]++
	}
	for line := range strings.Lines(now) {
		if had[line] > 0 {
			had[line]--
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

// bidi finds the embeddings, overrides and isolates of Unicode's bidirectional
// algorithm (UAX #9, section 2), and the tag characters, which nobody sees.
func bidi(s string) (rune, bool) {
	for _, r := range s {
		switch {
		case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, r >= 0xE0000 && r <= 0xE007F:
			return r, true
		}
	}
	return 0, false
}

// mixedScript finds a word that mixes Latin letters with Cyrillic or Greek ones that
// look the same (UTS #39, "confusables"): the commonest way to name one thing as
// another.
func mixedScript(line string) string {
	if isASCII(line) {
		return ""
	}
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' }) {
		latin, alike := false, false
		for _, r := range word {
			switch {
			case unicode.Is(unicode.Latin, r):
				latin = true
			case strings.ContainsRune(lookalikes, r):
				alike = true
			}
		}
		if latin && alike {
			return word
		}
	}
	return ""
}

// lookalikes are the Cyrillic, Greek and Armenian letters that confusables.txt of
// UTS #39 maps to a single Latin one, and the fullwidth Latin ones are Latin already.
const lookalikes = "аеорсухіјѕԁԛԝһӏАВЕКМНОРСТХІЈЅԌԚԜ" + "ονυιραΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "օսոցհ"

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
