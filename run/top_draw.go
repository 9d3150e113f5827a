package run

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// topColumn is one of the table's. Its texts are as wide as they are, but for the last
// one, which has what is left of the line.
type topColumn struct {
	title string
	left  bool // else its figures stand at the right
	text  func(topRow) string
}

var topColumns = []topColumn{
	{"RUN", true, func(r topRow) string { return audit.Printable(r.ID) }},
	{"NAME", true, topRow.name},
	{"STATE", true, topRow.state},
	{"TIME", false, func(r topRow) string { return shortDuration(r.Now.Sub(r.Started).Round(time.Second)) }},
	{"CPU%", false, figure(func(r topRow) string { return fmt.Sprintf("%.0f", 100*r.CPUs) })},
	{"MEM", false, figure(func(r topRow) string { return profiles.FormatSize(round(r.Usage.Memory)) })},
	{"PROC", false, count(func(r topRow) int64 { return r.Usage.Processes })},
	{"NET", false, figure(func(r topRow) string { return profiles.FormatSize(round(r.Usage.Network)) })},
	{"EXEC", false, count(func(r topRow) int64 { return r.Progress.Execs })},
	{"CONN", false, count(func(r topRow) int64 { return r.Progress.Connects })},
	{"REQ", false, count(func(r topRow) int64 { return r.Progress.Requests })},
	{"FILES", false, count(func(r topRow) int64 { return r.Progress.Created + r.Progress.Changed + r.Progress.Deleted })},
	{"DENY", false, count(func(r topRow) int64 { return r.Progress.Denials })},
	{"TOKENS", false, count(func(r topRow) int64 { return r.Progress.Tokens })},
	{"COST", false, figure(func(r topRow) string { return audit.Dollars(r.Progress.Cost) })},
	{"!", false, count(func(r topRow) int64 { return r.Anomalies })},
	{"PROFILE", true, func(r topRow) string { return shorten(audit.Printable(r.Profile), 20) }},
	{topCommandTitle, true, func(r topRow) string { return shorten(audit.Printable(strings.Join(r.Argv, " ")), 60) }},
}

const topCommandTitle = "COMMAND"

// topYields are the columns that give way on a narrow screen, the first one first. What
// a person acts on stays: which run, how it goes, what it takes, what it was refused.
var topYields = []string{"PROFILE", "NET", "TOKENS", "FILES", "REQ", "CONN", "EXEC", "PROC", "COST", "TIME", "STATE", "CPU%", "MEM", "NAME"}

// topCommandLeast is the narrowest in which a command line says something.
const topCommandLeast = 8

// figure is of a run that answered.
func figure(text func(topRow) string) func(topRow) string {
	return func(r topRow) string {
		if r.Error != "" {
			return "-"
		}
		return text(r)
	}
}

func count(n func(topRow) int64) func(topRow) string {
	return figure(func(r topRow) string { return fmt.Sprint(n(r)) })
}

func (r topRow) name() string {
	if r.Name == "" {
		return "-"
	}
	return shorten(audit.Printable(r.Name), 20)
}

func (r topRow) state() string {
	switch {
	case r.Error != "":
		return "?"
	case r.Frozen:
		return "frozen"
	}
	return "running"
}

// drawTop writes the table: whole where width is 0, else made to fit the screen. Nothing
// in it is obeyed by a terminal.
func drawTop(out io.Writer, rows []topRow, width, height int, colour bool) error {
	lines := []string{fmt.Sprintf("agentjail: %d running", len(rows))}
	if len(rows) > 0 {
		lines = append(lines, topTable(rows, width)...)
	}
	if most := height - 1; height > 0 && len(lines) > most { // the last line's end would scroll
		shown := max(most-1, 1)
		lines = append(lines[:shown], fmt.Sprintf("and %d more", len(rows)-max(shown-2, 0)))
	}
	var b strings.Builder
	for i, l := range lines {
		if width > 0 {
			l = shorten(l, width)
		}
		switch {
		case colour && i == 1:
			l = "\x1b[7m" + l + "\x1b[0m" // ECMA-48 SGR 7: reverse
		case colour && i > 1 && i-2 < len(rows) && (rows[i-2].Anomalies > 0 || rows[i-2].Frozen):
			l = "\x1b[33m" + l + "\x1b[0m"
		}
		b.WriteString(l + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// topTable is the header and a line for each run.
func topTable(rows []topRow, width int) []string {
	columns := slices.Clone(topColumns)
	cells := make([][]string, len(columns)) // by column
	widths := make([]int, len(columns))
	fill := func(i int) {
		cells[i], widths[i] = []string{columns[i].title}, len(columns[i].title)
		for _, r := range rows {
			text := columns[i].text(r)
			cells[i] = append(cells[i], text)
			widths[i] = max(widths[i], len([]rune(text)))
		}
	}
	for i := range columns {
		fill(i)
	}
	command := len(columns) - 1
	shown := map[string]bool{topCommandTitle: true}
	taken := 0 // by all but the command
	for i, c := range columns[:command] {
		shown[c.title] = true
		taken += widths[i] + 2
	}
	if width > 0 {
		// The end of an id is enough to name a run by.
		if before := widths[0]; taken+widths[command] > width {
			columns[0].text = func(r topRow) string { return audit.Printable(strings.TrimSuffix(questionPrefix(r.ID), "-")) }
			fill(0)
			taken += widths[0] - before
		}
		for _, title := range topYields {
			if taken-2 <= width {
				break
			}
			i := slices.IndexFunc(columns, func(c topColumn) bool { return c.title == title })
			shown[title], taken = false, taken-widths[i]-2
		}
		shown[topCommandTitle] = width-taken >= min(topCommandLeast, widths[command])
	}
	lines := make([]string, len(rows)+1)
	for l := range lines {
		var line []string
		for i, c := range columns {
			if !shown[c.title] {
				continue
			}
			pad := strings.Repeat(" ", widths[i]-len([]rune(cells[i][l])))
			switch {
			case i == command:
				line = append(line, cells[i][l])
			case c.left:
				line = append(line, cells[i][l]+pad)
			default:
				line = append(line, pad+cells[i][l])
			}
		}
		lines[l] = strings.TrimRight(strings.Join(line, "  "), " ")
	}
	return lines
}

// round keeps of a size what is read at a glance.
func round(n int64) int64 {
	for unit := int64(1 << 40); unit >= 1<<10; unit >>= 10 {
		if n >= 10*unit {
			return n / unit * unit
		}
	}
	return n
}
