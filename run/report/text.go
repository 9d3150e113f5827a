package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Style says how a report is shown on a terminal.
type Style struct {
	Color bool
	Zone  *time.Location // UTC if nil
}

// textRows is how much of each list the summary shows.
const textRows = 10

// SGR of ECMA-48.
const (
	sgrBold   = "\x1b[1m"
	sgrRed    = "\x1b[31m"
	sgrYellow = "\x1b[33m"
	sgrReset  = "\x1b[m"
)

// Text writes the summary for a terminal.
func Text(w io.Writer, r *Report, s Style) error {
	r = clean(r)
	zone := s.Zone
	if zone == nil {
		zone = time.UTC
	}
	t := textWriter{color: s.Color}
	title := "run " + r.Run.ID
	if r.Run.Name != "" {
		title += " (" + r.Run.Name + ")"
	}
	t.line(sgrBold, "%s %s after %s", title, r.Run.outcome(), span(r.Run.took()))
	t.line("", "  %s", r.Run.Command)
	t.line("", "  %s, %s", clock(r.Run.Started, zone), strings.Join(r.facts(), ", "))

	t.head("What it ran", fmt.Sprintf("%s, %s", plural(int64(len(r.Programs))+r.More["programs"], "program"), launchWord(r.launches())))
	t.rows(r, "programs", len(r.Programs), func(i int) string {
		p := r.Programs[i]
		row := fmt.Sprintf("%7s  %s", number(p.Launches), p.Path)
		if p.Refused > 0 {
			row += fmt.Sprintf(" (%s refused)", number(p.Refused))
		}
		return row
	})
	t.head("What it changed", r.Files.summary())
	t.rows(r, "files", len(r.Files.List), func(i int) string {
		f := r.Files.List[i]
		return fmt.Sprintf("%-8s  %s", f.Op, f.Path)
	})
	t.head("Whom it talked to", plural(int64(len(r.Hosts))+r.More["hosts"], "host"))
	t.rows(r, "hosts", len(r.Hosts), func(i int) string {
		h := r.Hosts[i]
		name := address(h.Name, h.Port)
		if h.Inbound {
			name += " from the host"
		}
		return fmt.Sprintf("%s: %s", name, h.talk())
	})
	t.head("What was refused", number(r.refused()))
	t.rows(r, "denials", len(r.Denials), func(i int) string {
		d := r.Denials[i]
		row := fmt.Sprintf("%6s×  %s %s", number(d.Count), d.Kind, d.Target)
		if d.Reason != "" {
			row += ": " + d.Reason
		}
		return row + ". " + d.Advice
	})
	t.head("What it cost", "")
	if len(r.Models)+len(r.Budgets) == 0 {
		t.line("", "  no call of a model that the trail knows of")
	}
	t.rows(r, "", len(r.Models), func(i int) string {
		m := r.Models[i]
		return fmt.Sprintf("%s %s: %s, %s, %s", m.Provider, m.Model, plural(m.Calls, "call"), tokens(m), cost(m))
	})
	t.rows(r, "", len(r.Budgets), func(i int) string {
		b := r.Budgets[i]
		text, percent := spent(b)
		return fmt.Sprintf("budget %s %s: %s %d %%, %s", b.Name, b.Limit, bar(percent), percent, text)
	})
	if len(r.Approvals) > 0 {
		t.head("What people were asked", "")
		t.rows(r, "approvals", len(r.Approvals), func(i int) string { return r.Approvals[i].Text })
	}
	t.head("What stood out", "")
	if len(r.Findings)+len(r.States) == 0 {
		t.line("", "  nothing")
	}
	t.rows(r, "findings", len(r.Findings), func(i int) string {
		f := r.Findings[i]
		row := f.Severity + ": " + f.Title
		if f.Count > 1 {
			row += " ×" + number(f.Count)
		}
		if f.Detail != "" {
			row += ": " + f.Detail
		}
		return t.paint(map[string]string{"medium": sgrYellow, "high": sgrRed, "critical": sgrRed}[f.Severity], row)
	})
	t.rows(r, "states", len(r.States), func(i int) string { return "the run was " + r.States[i].Text })
	_, err := io.WriteString(w, t.b.String())
	return err
}

type textWriter struct {
	b     strings.Builder
	color bool
}

func (t *textWriter) paint(sgr, s string) string {
	if !t.color || sgr == "" {
		return s
	}
	return sgr + s + sgrReset
}

func (t *textWriter) line(sgr, format string, args ...any) {
	t.b.WriteString(t.paint(sgr, fmt.Sprintf(format, args...)) + "\n")
}

func (t *textWriter) head(what, sum string) {
	t.b.WriteString("\n" + t.paint(sgrBold, what))
	if sum != "" {
		t.b.WriteString(": " + sum)
	}
	t.b.WriteByte('\n')
}

func (t *textWriter) rows(r *Report, list string, n int, row func(i int) string) {
	for i := range min(n, textRows) {
		t.b.WriteString("  " + row(i) + "\n")
	}
	if more := r.more(list, textRows, n); more != "" {
		t.b.WriteString("  and " + more + "\n")
	}
}

// bar is twenty characters of how much of something is used.
func bar(percent int64) string {
	n := int(min(percent, 100)) / 5
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", 20-n) + "]"
}
