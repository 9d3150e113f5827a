// Command summary reads the events of `go tool test2json` and says what came of the
// tests: every skip with its reason, failures with their output, and one total line.
//
//	summary [-brief] [-again HALF=FILE]... HALF=FILE...
//	summary -failed HALF=FILE
//
// It exits 1 when anything failed, when a test never ended, and when a file holds no
// verdict at all. A test that failed and passed in its -again file is named with what it
// said the first time, and is not a failure. With -failed it prints the pattern of
// `go test -run` for what failed. It never runs a test.
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

// files are HALF=FILE arguments.
type files []string

func (f *files) String() string     { return strings.Join(*f, " ") }
func (f *files) Set(s string) error { *f = append(*f, s); return nil }

func (f files) read() ([]result, error) {
	var all []result
	for _, arg := range f {
		half, name, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not HALF=FILE", arg)
		}
		results, err := readFile(half, name)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

func run(args []string, out io.Writer) error {
	var again files
	flags := flag.NewFlagSet("summary", flag.ContinueOnError)
	brief := flags.Bool("brief", false, "failures and the total only")
	pattern := flags.Bool("failed", false, "print the pattern of what failed, nothing else")
	flags.Var(&again, "again", "HALF=FILE of tests that failed and were run a second time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	all, err := files(flags.Args()).read()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("no test ran")
	}
	if *pattern {
		fmt.Fprintln(out, failedPattern(all))
		return nil
	}
	second, err := again.read()
	if err != nil {
		return err
	}
	return report(out, merge(all, second), *brief)
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

// report prints the results and fails when one of them is a failure. The failures and
// the total come last: of a long log often only the end is kept.
func report(out io.Writer, results []result, brief bool) error {
	count := map[string]int{}
	for _, r := range results {
		count[r.verdict]++
	}
	if !brief {
		section(out, results, skipped, "skipped", func(r result) string {
			return fmt.Sprintf("  %s: %s\n", r.title(), r.reason())
		})
	}
	told := func(r result) string {
		if brief {
			return fmt.Sprintf("  %s\n%s", r.title(), indent(r.output, len(r.output), len(r.output)))
		}
		return fmt.Sprintf("  %s\n%s", r.title(), indent(r.output, 8, 160))
	}
	section(out, results, unsteady, "failed the first time and passed when run again", told)
	section(out, results, failed, "failed", told)
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", count[passed]+count[unsteady], count[failed], count[skipped])
	if count[failed] > 0 {
		return errFailed
	}
	return nil
}

// section prints the results of one verdict under a title, if there are any.
func section(out io.Writer, results []result, verdict, title string, told func(result) string) {
	for _, r := range results {
		if r.verdict != verdict {
			continue
		}
		if title != "" {
			fmt.Fprintln(out, title+":")
			title = ""
		}
		fmt.Fprint(out, told(r))
	}
}

// indent is the last lines of s, each cut to a width.
func indent(s string, lines, width int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	var b strings.Builder
	for _, line := range all[max(0, len(all)-lines):] {
		b.WriteString("    " + line[:min(len(line), width)] + "\n")
	}
	return b.String()
}
