// Command bench measures agentjail beside its peers, in one run on one machine, and
// prints one table of medians, ratios and targets. It judges only what it measured: a
// peer that is not installed is said to be so, and a run that failed is never a
// number. It opens no network beyond loopback and the namespaces that it makes.
//
//	go run ./testdata/bench [-agentjail FILE] [-only PART,...] [-markdown FILE]
//
// As root it measures as an ordinary user (rootless is what people run), which
// .ci/testuser creates.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	agentjail string
	only      string
	markdown  string
	rounds    int
	runs      int
	duration  time.Duration
	files     int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	order := []string{"start", "stages", "many", "memory", "exec", "net", "https", "work"}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.agentjail, "agentjail", "./agentjail", "the `binary` to measure")
	flags.StringVar(&o.only, "only", strings.Join(order, ","), "`parts` to measure")
	flags.StringVar(&o.markdown, "markdown", "", "also put the table, machine and versions between the marks in `file`")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds, in each of which every contestant has its turn")
	flags.IntVar(&o.runs, "runs", 20, "starts in one turn")
	flags.DurationVar(&o.duration, "t", time.Second, "how long one network measurement takes")
	flags.IntVar(&o.files, "files", 50000, "files in the repository of git status and find")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || o.runs < 1 || o.files < 1 || o.duration < time.Second {
		return errors.New("-rounds, -runs and -files are at least 1, -t at least 1s")
	}
	parts := map[string]func(context.Context, *bench) ([]comparison, error){
		"start":  benchStart,
		"stages": benchStages,
		"many":   benchMany,
		"memory": benchMemory,
		"exec":   benchExec,
		"net":    benchNet,
		"https":  benchHTTPS,
		"work":   benchWork,
	}
	names := strings.Split(o.only, ",")
	for _, name := range names {
		if parts[name] == nil {
			return fmt.Errorf("no part is called %q\nhint: %s", name, strings.Join(order, ", "))
		}
	}

	load := loadAverage()
	b, err := setUp(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()

	var table []comparison
	for _, name := range names {
		fmt.Fprintf(os.Stderr, "bench: %s ...\n", name)
		rows, err := parts[name](ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := ctx.Err(); err != nil { // half a measurement is none
			return err
		}
		table = append(table, rows...)
	}

	writeText(out, table)
	if o.markdown != "" {
		if err := writeMarkdown(ctx, o, table, load); err != nil {
			return err
		}
	}
	// A missed target is a result; agentjail that does not run is none.
	for _, row := range table {
		if row.subject.err != nil {
			return fmt.Errorf("agentjail was not measured: %s: %w", row.what, row.subject.err)
		}
	}
	return nil
}
