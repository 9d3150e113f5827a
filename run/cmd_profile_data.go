package run

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/profiles"
)

// profileProviders lists the services that `like` knows.
func profileProviders(h Host, c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	list := profiles.ReadyList()
	if c.Bool("json") {
		return writeJSON(h.Stdout, list)
	}
	w := tabwriter.NewWriter(h.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tPROVIDER\tHOSTS\tVARIABLE\tCREDENTIAL\tBEGINS WITH")
	for _, r := range list {
		goes := "header " + r.Header
		switch {
		case r.Basic != "":
			goes = "basic " + r.Basic
		case r.Query != "":
			goes = "query " + r.Query
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Kind, cmp.Or(string(r.Provider), "-"), cmp.Or(strings.Join(r.Hosts, " "), "-"),
			r.Variables[0], goes, cmp.Or(strings.Join(r.Prefixes, " "), "-"))
	}
	return w.Flush()
}

// profilePrices lists the prices that come with agentjail.
func profilePrices(h Host, c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	table := profiles.Prices()
	if c.Bool("json") {
		return writeJSON(h.Stdout, table)
	}
	fmt.Fprintf(h.Stdout, "# %s, as of %s\n", table.Unit, table.Date)
	w := tabwriter.NewWriter(h.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tABOVE\tINPUT\tOUTPUT\tCACHE READ\tCACHE WRITE\tFOR AN HOUR")
	for _, p := range table.Prices {
		above := "-"
		if p.Above > 0 {
			above = fmt.Sprint(p.Above)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Model, above, p.Input, p.Output, p.CacheRead, p.CacheWrite, p.CacheWriteLong)
	}
	return w.Flush()
}
