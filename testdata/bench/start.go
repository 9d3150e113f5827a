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
	contestants := b.starts()
	samples := make([]*sample, len(contestants))
	for i, c := range contestants {
		samples[i] = &sample{name: c.name, err: installed(c.argv[0])}
	}
	// One turn each in every round: a machine that slows down slows all of them.
	for range b.rounds {
		for i, c := range contestants {
			if samples[i].err == nil {
				samples[i].add(b.hyperfine(ctx, b.runs, c.argv))
			}
		}
	}
	const what = "start to exit of true"
	jail := samples[0]
	return []comparison{
		{what, seconds, jail, samples[1], target{}},
		{what, seconds, jail, samples[2], target{atMost: 0.5}},
		{what, seconds, jail, samples[3], target{atMost: 0.35}},
	}, nil
}

// contestant is a program that runs true in what it makes.
type contestant struct {
	name string
	argv []string
}

// starts are agentjail and its peers, agentjail first.
func (b *bench) starts() []contestant {
	return []contestant{
		{"network on", b.jailed(b.project, "true")},
		{"bwrap", []string{"bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"}},
		{"firejail", []string{"firejail", "--net=none", "--private", "--seccomp", "--caps.drop=all", "--quiet", "true"}},
		{"pasta", []string{"pasta", "--", "true"}},
	}
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
