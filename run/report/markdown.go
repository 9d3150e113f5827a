package report

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// mdRows is how much of each list the Markdown shows, and mdMost how long it may be:
// GitHub takes 1 MiB of all the summaries of a step.
const (
	mdRows = 25
	mdMost = 128 << 10
)

// Markdown writes the summary for a CI step's page. Whatever came from the jail is in
// code spans, in which neither Markdown nor HTML means anything.
func Markdown(w io.Writer, r *Report) error {
	r = clean(r)
	var b strings.Builder
	sign := "✅"
	if r.Run.failed() {
		sign = "❌"
	}
	fmt.Fprintf(&b, "### %s agentjail: %s %s after %s\n\n", sign, code(r.Run.Command), code(r.Run.outcome()), span(r.Run.took()))
	fmt.Fprintf(&b, "Run %s, %s\n\n", code(r.Run.ID), code(clock(r.Run.Started, time.UTC)+" UTC, "+strings.Join(r.facts(), ", ")))
	fmt.Fprintf(&b, "| ran | changed | hosts | refused | cost |\n| --- | --- | --- | --- | --- |\n| %s | %s | %d | %s | %s |\n\n",
		launchWord(r.launches()), r.Files.summary(), len(r.Hosts), number(r.refused()), r.costs())
	table := func(title, list string, n int, head []string, row func(i int) []string) {
		if n == 0 || b.Len() > mdMost {
			return
		}
		fmt.Fprintf(&b, "<details><summary>%s</summary>\n\n| %s |\n|%s\n", title, strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
		for i := range min(n, mdRows) {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row(i), " | "))
		}
		if more := r.more(list, mdRows, n); more != "" {
			fmt.Fprintf(&b, "\nand %s\n", more)
		}
		b.WriteString("\n</details>\n\n")
	}
	table("What stood out", "findings", len(r.Findings), []string{"severity", "what", "detail"}, func(i int) []string {
		f := r.Findings[i]
		return []string{word(f.Severity), code(f.Title), code(f.Detail)}
	})
	table("What was refused", "denials", len(r.Denials), []string{"times", "what", "why", "and now"}, func(i int) []string {
		d := r.Denials[i]
		return []string{number(d.Count), code(d.Kind + " " + d.Target), code(d.Reason), code(d.Advice)}
	})
	table("What changed", "files", len(r.Files.List), []string{"", "path"}, func(i int) []string {
		return []string{word(r.Files.List[i].Op), code(r.Files.List[i].Path)}
	})
	table("Whom it talked to", "hosts", len(r.Hosts), []string{"host", "what"}, func(i int) []string {
		h := r.Hosts[i]
		return []string{code(address(h.Name, h.Port)), code(h.talk())}
	})
	table("Models", "", len(r.Models), []string{"model", "calls", "tokens", "cost"}, func(i int) []string {
		m := r.Models[i]
		return []string{code(m.Provider + " " + m.Model), number(m.Calls), tokens(m), cost(m)}
	})
	table("Budgets", "", len(r.Budgets), []string{"budget", "spent", ""}, func(i int) []string {
		text, percent := spent(r.Budgets[i])
		return []string{code(r.Budgets[i].Name + " " + r.Budgets[i].Limit), code(text), fmt.Sprintf("%d %%", percent)}
	})
	table("What people were asked", "approvals", len(r.Approvals), []string{"what"}, func(i int) []string { return []string{code(r.Approvals[i].Text)} })
	_, err := io.WriteString(w, b.String())
	return err
}

// costs is what all calls come to.
func (r *Report) costs() string {
	var n, unpriced int64
	for _, m := range r.Models {
		n, unpriced = n+m.Calls, unpriced+m.Unpriced
	}
	switch {
	case n == 0:
		return "-"
	case n == unpriced:
		return "unknown"
	}
	total := r.Models[0]
	for _, m := range r.Models[1:] {
		total.Calls += m.Calls
		total.Unpriced += m.Unpriced
		total.CostMicroUSD += m.CostMicroUSD
	}
	return cost(total)
}

// code is a code span (CommonMark 0.31, 6.1) that is safe in a table (GFM 4.10): fenced
// by more backticks than the text has in a row, and with its pipes escaped.
func code(s string) string {
	if s == "" {
		return ""
	}
	longest, run := 0, 0
	for _, c := range s {
		if c == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	fence := strings.Repeat("`", longest+1)
	// A table's cell ends at a pipe, escaped or not by backslashes of the text's own.
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, "⧵"), "|", `\|`)
	return fence + " " + s + " " + fence
}

// word is one of our own words as it stands, and anything else as code.
func word(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" {
		return s
	}
	return code(s)
}
