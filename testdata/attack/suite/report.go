package suite

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// finish adds what is not built, sorts and counts.
func (r *Report) finish(o Options) {
	for _, l := range Lines() {
		if l.NotBuilt != "" && o.whole() || l.NotBuilt != "" && slices.Contains(o.Groups, attacks.GroupOf(l.Number)) {
			r.Results = append(r.Results, Result{Group: attacks.GroupOf(l.Number), Line: l.Number, Attack: "-", What: l.Text, Verdict: NotBuilt, Why: l.NotBuilt})
		}
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return a.Line - b.Line })
	for _, x := range r.Results {
		switch {
		case x.Verdict.Failed():
			r.Failed++
		case x.Verdict == Stopped:
			r.Stopped++
		case x.Verdict == Moot:
			r.Moot++
		}
	}
}

// groupNames are the headings of the list of escapes.
func groupNames() map[string]string {
	return map[string]string{"A": "set-up, files, wipe", "B": "proc, sys, dev, mounts", "C": "system calls", "D": "Landlock and IPC", "E": "network",
		"F": "credentials", "G": "resources, audit, life", "H": "after the run",
		"I": "the profile language", "J": "agentjail's own doors"}
}

// write is the report for people: a line an attack, a line a group.
func (r Report) write(w io.Writer) error {
	var b strings.Builder
	if r.Kernel == "" { // a listing
		for _, x := range r.Results {
			fmt.Fprintf(&b, "%s%-3d %-24s %s (%s)\n", x.Group, x.Line, x.Attack, x.What, x.Class)
		}
		_, err := io.WriteString(w, b.String())
		return err
	}
	fmt.Fprintf(&b, "profile %s, %s jails, Linux %s\n\n", audit.Printable(r.Profile), r.Mode, audit.Printable(r.Kernel))
	for _, x := range r.Results {
		verdict := string(x.Verdict)
		switch {
		case x.Verdict == Stopped:
			verdict = "stopped (by " + x.Layer + ")"
		case x.Why != "":
			verdict += ": " + x.Why
		}
		fmt.Fprintf(&b, "%s%-3d %-24s %s: %s\n", x.Group, x.Line, x.Attack, audit.Printable(x.What), audit.Printable(verdict))
	}
	b.WriteByte('\n')
	for _, group := range strings.Split("ABCDEFGHIJ", "") {
		count := map[Verdict]int{}
		for _, x := range r.Results {
			if x.Group == group {
				count[x.Verdict]++
			}
		}
		if len(count) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s %-24s %3d stopped, %d escaped, %d not meaningful here", group, groupNames()[group], count[Stopped], count[Escaped], count[Moot])
		if n := count[Unrecorded]; n > 0 {
			fmt.Fprintf(&b, ", %d not in the trail", n)
		}
		if n := count[NotBuilt]; n > 0 {
			fmt.Fprintf(&b, ", %d not built yet", n)
		}
		b.WriteByte('\n')
	}
	if r.Failed == 0 {
		b.WriteString("\nnothing escaped\n")
	} else {
		fmt.Fprintf(&b, "\n%d ESCAPED or are not in the trail\n", r.Failed)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// listing is the report of a performance that does not take place.
func listing(o Options) Report {
	r := Report{Results: []Result{}}
	for _, a := range attacks.All() {
		if o.wants(a.ID, a.Group()) {
			r.Results = append(r.Results, result(a))
		}
	}
	for _, s := range scenarios() {
		if o.wants(s.ID, s.Group()) {
			r.Results = append(r.Results, result(s.Attack))
		}
	}
	slices.SortStableFunc(r.Results, func(a, b Result) int { return a.Line - b.Line })
	return r
}
