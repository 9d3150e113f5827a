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

// writeMarkdown writes the table with what one needs to believe it.
func writeMarkdown(ctx context.Context, o options, table []comparison) error {
	var s strings.Builder
	fmt.Fprintf(&s, "# Benchmarks\n\nWritten by `make bench BENCHFLAGS='-markdown %s'`. Everything was measured in one run, agentjail as an ordinary user,\n"+
		"every contestant in each of %d rounds; the numbers are medians and the ratio is agentjail's median to the other's. A peer whose runs differ by more than a factor of two is taken at its best run.\n\n", o.markdown, o.rounds)
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
		"\"inside\" and \"outside\" are timed by the same program in the same place, so that the jail's own start is not in them.\n\n## The machine\n\n")
	for _, line := range machine(ctx, o) {
		fmt.Fprintf(&s, "- %s\n", line)
	}
	return os.WriteFile(o.markdown, []byte(s.String()), 0o644)
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
	} {
		out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if err != nil || first == "" {
			first = argv[len(argv)-1] + ": version unknown"
			if argv[len(argv)-1] == "--version" {
				first = argv[0] + ": version unknown"
			}
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
