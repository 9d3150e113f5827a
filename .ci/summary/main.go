// Command summary reads the events of `go tool test2json` and says what came of the
// tests: failures with their output, every skip with its reason, and one total line.
//
//	summary [-brief] HALF=FILE...
//
// It exits 1 when anything failed, when a test never ended, and when a file holds no
// verdict at all. It never runs a test.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

var errFailed = errors.New("tests failed")

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "summary:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("summary", flag.ContinueOnError)
	brief := flags.Bool("brief", false, "failures and the total only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var all []result
	for _, arg := range flags.Args() {
		half, name, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not HALF=FILE", arg)
		}
		results, err := readFile(half, name)
		if err != nil {
			return err
		}
		all = append(all, results...)
	}
	if len(all) == 0 {
		return errors.New("no test ran")
	}
	return report(out, all, *brief)
}

func readFile(half, name string) ([]result, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	results, err := read(half, f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return results, nil
}

// report prints the results and fails when one of them is a failure.
func report(out io.Writer, results []result, brief bool) error {
	count := map[string]int{}
	for _, r := range results {
		count[r.verdict]++
	}
	if count[failed] > 0 {
		fmt.Fprintln(out, "failed:")
		for _, r := range results {
			if r.verdict == failed {
				fmt.Fprintf(out, "  %s\n", r.title())
				if brief { // the whole run's summary comes after these and only names them
					fmt.Fprint(out, indent(r.output))
				}
			}
		}
	}
	if !brief && count[skipped] > 0 {
		fmt.Fprintln(out, "skipped:")
		for _, r := range results {
			if r.verdict == skipped {
				fmt.Fprintf(out, "  %s: %s\n", r.title(), r.reason())
			}
		}
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", count[passed], count[failed], count[skipped])
	if count[failed] > 0 {
		return errFailed
	}
	return nil
}

func indent(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
