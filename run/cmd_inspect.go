package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/evidence"
)

func inspectCommand(h Host) *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "list an archive of a frozen run and check its hashes", ArgsUsage: "FILE",
		Description: "Example: agentjail inspect frozen-1.tar.zst\n\nNothing is unpacked; tar --zstd -xf does that, into a folder of its own: what is in it was an agent's.\n" +
			"Exit code 1: something is not what the archive's manifest says.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "as JSON"}},
		Action: func(c *cli.Context) error {
			name, err := atMostOne(c)
			if err == nil && name == "" {
				err = errors.New("inspect needs the name of an archive\nhint: agentjail freeze --pack makes one, in the run's state folder")
			}
			if err != nil {
				return err
			}
			f, err := os.Open(absolute(h.Cwd, name))
			if err != nil {
				return fmt.Errorf("inspect: %w", err)
			}
			defer f.Close()
			l, err := evidence.List(f)
			if err != nil {
				return fmt.Errorf("inspect %s: %w", name, err)
			}
			if c.Bool("json") {
				err = writeJSON(h.Stdout, l)
			} else {
				err = writeListing(h.Stdout, l, time.Local)
			}
			if err == nil && !l.Whole() {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
}

// writeListing writes the table that people read. All names in it are an agent's.
func writeListing(out io.Writer, l *evidence.Listing, zone *time.Location) error {
	m := l.Manifest
	fmt.Fprintf(out, "run %s, packed %s, %d members\n", audit.Printable(m.Run), m.Created.In(zone).Format("2006-01-02 15:04:05"), len(l.Members))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SIZE\tSHA-256\tMASKED\tNAME")
	for _, x := range l.Members {
		note := ""
		if x.Wrong != "" {
			note = "  WRONG: " + x.Wrong
		}
		fmt.Fprintf(w, "%d\t%.16s\t%d\t%s%s\n", x.Size, x.SHA256, x.Masked, audit.Printable(x.Name), note)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, name := range l.Missing {
		fmt.Fprintf(out, "MISSING: %s\n", audit.Printable(name))
	}
	for _, x := range m.LeftOut {
		fmt.Fprintf(out, "left out: %s: %s\n", audit.Printable(x.Name), audit.Printable(x.Why))
	}
	text := "every member is what the manifest says\n"
	if !l.Whole() {
		text = "the archive is NOT what its manifest says\n"
	}
	_, err := io.WriteString(out, text)
	return err
}
