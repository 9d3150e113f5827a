package run

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// writeDiagnosis writes what people read.
func writeDiagnosis(out io.Writer, d *diagnosis, colour bool) error {
	mode := "an ordinary user's (rootless) jails"
	if d.Mode == "root" {
		mode = "root's jails, with a range of host uids each"
	}
	if _, err := fmt.Fprintf(out, "agentjail %s on Linux %s: %s\n\n", d.Version, d.Kernel, mode); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range d.Layers {
		fmt.Fprintf(w, "%s\t%s\t%s\n", paintState(l.State, colour), l.Name, l.Detail)
		for i, m := range l.Mend {
			label := ""
			if i == 0 {
				label = "mend:"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", paintState("", colour), label, "  "+m)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	last := "a run with the default profile works here"
	if !d.Runs {
		last = "a run with the default profile is refused here: " + d.Refusal
	}
	_, err := fmt.Fprintf(out, "\n%s\n", last)
	return err
}

// paintState colours a state (ECMA-48 SGR). Every cell of its column gets as many
// bytes of it, since tabwriter counts them.
func paintState(state string, colour bool) string {
	if !colour {
		return state
	}
	code := map[string]string{stateWorks: "32", stateDegraded: "33", stateMissing: "31", "": "39"}[state]
	return "\x1b[" + code + "m" + state + "\x1b[0m"
}
