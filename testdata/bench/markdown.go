package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// writeMarkdown writes the table with what one needs to believe it; load is the load
// average before.
func writeMarkdown(ctx context.Context, o options, table []comparison, load string) error {
	var s strings.Builder
	fmt.Fprintf(&s, "Written by `make bench`, parts %s. Everything was measured in one run, agentjail as an ordinary user,\n"+
		"every contestant in each of %d rounds; the numbers are medians and the ratio is agentjail's median to the other's. A peer whose runs differ by more than a factor of two is taken at its best run.\n\n", o.only, o.rounds)
	row := func(cells []string) {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		fmt.Fprintf(&s, "| %s |\n", strings.Join(cells, " | "))
	}
	row(append([]string(nil), header...))
	s.WriteString("|" + strings.Repeat(" --- |", len(header)) + "\n")
	for _, r := range table {
		row(r.cells())
	}
	s.WriteString("\n\"listener\" is a port below 1024, which has a socket of its own in the jail; \"redirect\" is a port above, which goes through nftables.\n" +
		"\"inside\" and \"outside\" are timed by the same program in the same place, so that the jail's own start is not in them.\n" +
		"An exec is measured in the attack suite's test build, which has a switch for its record and is otherwise the same.\n\n### The machine\n\n")
	for _, line := range append(machine(ctx, o), "load average before and after: "+load+" and "+loadAverage()) {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	page, err := os.ReadFile(o.markdown)
	if err != nil {
		return err
	}
	text, err := between(string(page), s.String())
	if err != nil {
		return fmt.Errorf("%s: %w", o.markdown, err)
	}
	return os.WriteFile(o.markdown, []byte(text), 0o644)
}

// The marks between which a page's text is ours: what people wrote around it stays.
const (
	markBegin = "<!-- make bench writes from here -->\n"
	markEnd   = "<!-- to here -->\n"
)

// between puts text between the marks of a page.
func between(page, text string) (string, error) {
	before, rest, ok := strings.Cut(page, markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !ok || !ended {
		return "", fmt.Errorf("no place for the table\nhint: two lines: %s%s", markBegin, markEnd)
	}
	return before + markBegin + text + markEnd + after, nil
}

// loadAverage is of the last minute, 5 and 15 (proc(5), /proc/loadavg): what else the
// machine had to do is in it.
func loadAverage() string {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(data))[:3], " ")
}

// machine is what the numbers depend on.
func machine(ctx context.Context, o options) []string {
	lines := []string{
		time.Now().UTC().Format("2006-01-02"),
		fmt.Sprintf("%d CPUs, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name", ":")),
		"memory: " + field("/proc/meminfo", "MemTotal", ":"),
		strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`),
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		lines = append(lines, "Linux "+unix.ByteSliceToString(name.Release[:]))
	}
	lines = append(lines, runtime.Version())
	for _, argv := range [][]string{
		{o.agentjail, "--version"},
		{"bwrap", "--version"},
		{"firejail", "--version"},
		// Debian's pasta does not know its own version.
		{"dpkg-query", "-W", "-f", "passt ${Version}", "passt"},
		{"slirp4netns", "--version"},
		{"iperf3", "--version"},
		{"hyperfine", "--version"},
		{"git", "--version"},
		{"npm", "--version"},
	} {
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil || first == "" {
			first = argv[len(argv)-1] + ": version unknown"
			if argv[len(argv)-1] == "--version" {
				first = argv[0] + ": version unknown"
			}
		}
		if argv[0] == "npm" { // which says the number alone
			first = "npm " + first
		}
		lines = append(lines, first)
	}
	return lines
}

// field is the first value of a key in a file of "key<separator>value" lines.
func field(file, key, separator string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(name) == key {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
