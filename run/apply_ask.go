package run

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/agentjail/agentjail/run/changes"
)

// answers are what a person said to each change under --interactive.
type answers struct {
	yes     map[string]bool
	content map[string][]byte // of files of which only some hunks were taken
}

// options lets only through what was said yes to; that is also naming it to the gate.
func (a *answers) options(o *changes.ApplyOptions) {
	said := func(p string) bool { return a.yes[p] }
	o.Selected, o.Named = said, said
	o.Rewrite = func(c *changes.Change) []byte { return a.content[c.Path] }
}

const askHelp = `y  apply this change
n  leave it
h  decide about each hunk of it
a  apply this one and all that follow and are not held back
q  leave this one and all that follow
`

// ask shows each change that could be applied and reads the answers.
func ask(in io.Reader, out io.Writer, p *changes.Plan, d diffText) (*answers, error) {
	a := &answers{yes: map[string]bool{}, content: map[string][]byte{}}
	lines := bufio.NewScanner(in)
	all := false
	for i := range p.Steps {
		s := &p.Steps[i]
		held := s.Outcome == changes.OutcomeHeld
		if s.Outcome != changes.OutcomeApply && !held {
			continue
		}
		if all && !held {
			a.yes[s.Change.Path] = true
			continue
		}
		old, now, err := p.Contents(s)
		if err != nil {
			old, now = nil, nil
		}
		hunks, text := changes.Hunks(old, now)
		fmt.Fprintf(out, "%s\n", d.paint(sgrBold, shown(s.Change.Path)+": "+s.Change.Describe()))
		for _, why := range s.Reasons {
			fmt.Fprintf(out, "  held back: %s\n", why)
		}
		if text {
			d.hunks(out, hunks)
		}
		can := "y,n,a,q,?"
		if text && len(hunks) > 1 {
			can = "y,n,h,a,q,?"
		}
		switch word, err := choose(lines, out, "apply it", can); {
		case err != nil:
			return nil, err
		case word == "q":
			return a, nil
		case word == "y", word == "a":
			a.yes[s.Change.Path] = true
			all = all || word == "a"
		case word == "h":
			if err := a.some(lines, out, s.Change.Path, old, now, hunks, d); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// some asks about each hunk of one file.
func (a *answers) some(lines *bufio.Scanner, out io.Writer, path string, old, now []byte, hunks []changes.Hunk, d diffText) error {
	take := make([]bool, len(hunks))
	any := false
	for n, h := range hunks {
		d.hunks(out, []changes.Hunk{h})
		word, err := choose(lines, out, fmt.Sprintf("apply hunk %d of %d", n+1, len(hunks)), "y,n,q,?")
		if err != nil {
			return err
		}
		if word == "q" {
			break
		}
		take[n] = word == "y"
		any = any || take[n]
	}
	if any {
		a.yes[path] = true
		a.content[path] = changes.TakeHunks(old, now, func(n int) bool { return take[n] })
	}
	return nil
}

// choose reads one of some letters. The end of the input is no answer, and so no.
func choose(lines *bufio.Scanner, out io.Writer, question, can string) (string, error) {
	for {
		fmt.Fprintf(out, "%s [%s]? ", question, can)
		if !lines.Scan() {
			if err := lines.Err(); err != nil {
				return "", err
			}
			return "", errors.New("nobody answered, and nothing was applied")
		}
		word := strings.ToLower(strings.TrimSpace(lines.Text()))
		if len(word) == 1 && word != "," && word != "?" && strings.Contains(can, word) {
			return word, nil
		}
		fmt.Fprint(out, askHelp)
	}
}

// hunks shows stretches of lines.
func (d diffText) hunks(out io.Writer, list []changes.Hunk) {
	for _, h := range list {
		fmt.Fprintln(out, d.paint(sgrCyan, fmt.Sprintf("@@ line %d @@", h.From+1)))
		for line := range strings.Lines(string(h.Removed)) {
			fmt.Fprintln(out, d.paint(sgrRed, "-"+shownLine(strings.TrimSuffix(line, "\n"))))
		}
		for line := range strings.Lines(string(h.Added)) {
			fmt.Fprintln(out, d.paint(sgrGreen, "+"+shownLine(strings.TrimSuffix(line, "\n"))))
		}
	}
}
