package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/ledger"
)

func budgetCommand(h Host) *cli.Command {
	asJSON := func() []cli.Flag { return []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}} }
	list := func(c *cli.Context) error {
		if err := noArguments(c); err != nil {
			return err
		}
		return listBudgets(h, c.Bool("json"))
	}
	return &cli.Command{
		Name:        "budget",
		Usage:       "what your runs have spent of their budgets",
		Description: "A budget is yours by its name: all profiles that have a budget of this name spend from it, each within its\nown limits. Days and weeks (from Monday) are those of UTC.",
		Flags:       asJSON(),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return subcommandOnly(c)
			}
			return list(c)
		},
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the budgets", Flags: asJSON(), Action: list},
			{
				Name: "reset", Usage: "begin a budget anew, as if nothing had been spent", ArgsUsage: "NAME", Flags: asJSON(),
				BashComplete: completeBudgets(h),
				Action: func(c *cli.Context) error {
					name, err := atMostOne(c)
					if err == nil && name == "" {
						err = errors.New("budget reset needs the name of a budget\nhint: agentjail budget lists them")
					}
					if err != nil {
						return err
					}
					return resetBudget(h, name, c.Bool("json"))
				},
			},
		},
	}
}

// openLedger opens the folder of the budgets where there is one already.
func openLedger(h Host) (*ledger.Store, error) {
	d, err := findDirs(h.getenv, h.Home, h.UID)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(budgetsDir(d)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return ledger.Open(budgetsDir(d))
}

func budgetEntries(h Host) ([]ledger.Entry, error) {
	store, err := openLedger(h)
	if store == nil || err != nil {
		return nil, err
	}
	return store.List()
}

// budgetRow is a budget as it is listed.
type budgetRow struct {
	Name  string          `json:"name"`
	Unit  string          `json:"unit,omitempty"`
	Day   *budgetWindow   `json:"day,omitempty"`
	Week  *budgetWindow   `json:"week,omitempty"`
	Total profiles.Amount `json:"total"`
	Error string          `json:"error,omitempty"` // why it can't be read
}

type budgetWindow struct {
	Spent profiles.Amount `json:"spent"`
	Ends  time.Time       `json:"ends"`
}

func newBudgetRow(e ledger.Entry) budgetRow {
	row := budgetRow{Name: e.Name}
	if e.Err != nil {
		row.Error = e.Err.Error()
		return row
	}
	a := e.Account
	row.Unit, row.Total = a.Unit, a.Total
	row.Day, row.Week = &budgetWindow{a.Day.Spent, a.DayEnds()}, &budgetWindow{a.Week.Spent, a.WeekEnds()}
	return row
}

// listBudgets prints what is spent. A budget that can't be read is in the list, and
// makes it an error: runs that need it refuse to start.
func listBudgets(h Host, asJSON bool) error {
	entries, err := budgetEntries(h)
	if err != nil {
		return err
	}
	rows := make([]budgetRow, len(entries))
	var broken []error
	for i, e := range entries {
		rows[i] = newBudgetRow(e)
		if e.Err != nil {
			broken = append(broken, e.Err)
		}
	}
	if asJSON {
		err = writeJSON(h.Stdout, rows)
	} else {
		err = writeBudgets(h.Stdout, rows, time.Local)
		if len(rows) == 0 {
			fmt.Fprintln(h.Stderr, "agentjail: no run of yours has spent anything of a budget yet")
		}
	}
	return errors.Join(append(broken, err)...)
}

func writeBudgets(out io.Writer, rows []budgetRow, zone *time.Location) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tUNIT\tTHIS DAY\tTHIS WEEK\tIN ALL\tDAY ENDS\tWEEK ENDS")
	for _, r := range rows {
		if r.Error != "" {
			fmt.Fprintf(w, "%s\t-\tunreadable\t-\t-\t-\t-\n", r.Name)
			continue
		}
		unit := "-"
		if r.Unit != "" {
			unit = audit.Printable(r.Unit)
		}
		at := func(t time.Time) string { return t.In(zone).Format("2006-01-02 15:04 MST") }
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, unit, r.Day.Spent, r.Week.Spent, r.Total, at(r.Day.Ends), at(r.Week.Ends))
	}
	return w.Flush()
}

func resetBudget(h Host, name string, asJSON bool) error {
	unknown := fmt.Errorf("nothing was ever spent of a budget %q\nhint: agentjail budget lists them", name)
	store, err := openLedger(h)
	if err != nil {
		return err
	}
	if store == nil {
		return unknown
	}
	err = store.Reset(context.Background(), name)
	if errors.Is(err, fs.ErrNotExist) {
		entries, lerr := store.List()
		var names []string
		for _, e := range entries {
			names = append(names, e.Name)
		}
		if best := nearest(name, names); lerr == nil && best != "" {
			return fmt.Errorf("nothing was ever spent of a budget %q\nhint: did you mean %s?", name, best)
		}
		return unknown
	}
	if err != nil {
		return err
	}
	if asJSON {
		return writeJSON(h.Stdout, struct {
			Reset string `json:"reset"`
		}{name})
	}
	_, err = fmt.Fprintf(h.Stdout, "the budget %s begins anew\n", name)
	return err
}

// completeBudgets offers the budgets' names.
func completeBudgets(h Host) cli.BashCompleteFunc {
	return func(*cli.Context) {
		entries, err := budgetEntries(h)
		if err != nil {
			return // nothing to offer, and nowhere to say so
		}
		for _, e := range entries {
			fmt.Fprintln(h.Stdout, e.Name)
		}
	}
}
