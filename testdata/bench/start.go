package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// benchStart measures the time from start to exit of a program that does nothing.
// The peers get what they can do of our layers; the network is on in agentjail and in
// pasta, which is more than bwrap and firejail are asked for.
func benchStart(ctx context.Context, b *bench) ([]comparison, error) {
	if err := installed("hyperfine"); err != nil {
		return nil, fmt.Errorf("%w\nhint: make deps, or apt-get install hyperfine", err)
	}
	contestants := []struct {
		sample *sample
		argv   []string
	}{
		{&sample{name: "network on"}, b.jailed(b.project, "true")},
		{&sample{name: "bwrap"}, []string{"bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"}},
		{&sample{name: "firejail"}, []string{"firejail", "--net=none", "--private", "--seccomp", "--caps.drop=all", "--quiet", "true"}},
		{&sample{name: "pasta"}, []string{"pasta", "--", "true"}},
	}
	for _, c := range contestants {
		c.sample.err = installed(c.argv[0])
	}
	// One turn each in every round: a machine that slows down slows all of them.
	for range b.rounds {
		for _, c := range contestants {
			if c.sample.err == nil {
				c.sample.add(b.hyperfine(ctx, b.runs, c.argv))
			}
		}
	}
	const what = "start to exit of true"
	jail := contestants[0].sample
	return []comparison{
		{what, seconds, jail, contestants[1].sample, target{}},
		{what, seconds, jail, contestants[2].sample, target{atMost: 0.7}},
		{what, seconds, jail, contestants[3].sample, target{atMost: 0.35}},
	}, nil
}

// hyperfine times a command's runs, in seconds.
func (b *bench) hyperfine(ctx context.Context, runs int, argv []string) ([]float64, error) {
	export := filepath.Join(b.home, "hyperfine.json")
	if _, err := b.output(ctx, hyperfineArgs(1, runs, export, argv)...); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(export)
	if err != nil {
		return nil, err
	}
	return hyperfineTimes(data)
}

// hyperfineArgs times argv without a shell around it.
func hyperfineArgs(warmup, runs int, export string, argv []string) []string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = quote(word)
	}
	return []string{"hyperfine", "-N", "--style", "none", "--warmup", strconv.Itoa(warmup), "--runs", strconv.Itoa(runs),
		"--export-json", export, strings.Join(words, " ")}
}

// quote makes one word for hyperfine, which splits a command as a shell would.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func hyperfineTimes(data []byte) ([]float64, error) {
	var report struct {
		Results []struct{ Times []float64 }
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return nil, fmt.Errorf("hyperfine's report: %w", err)
	}
	if len(report.Results) != 1 || len(report.Results[0].Times) == 0 {
		return nil, fmt.Errorf("hyperfine's report has no times")
	}
	return report.Results[0].Times, nil
}
