package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// benchStages breaks a start down as agentjail itself does (--trace): what each stage
// took since the end of the one before it. The stages inside PID 1 and those of the
// supervisor overlap; their sum is the supervisor's time from its first line to its last.
func benchStages(ctx context.Context, b *bench) ([]comparison, error) {
	argv := b.jailed(b.project, "true")
	argv = append([]string{argv[0], argv[1], "--trace"}, argv[2:]...)
	var order []string
	stages := map[string]*sample{}
	total := &sample{name: "the whole run, inside the supervisor"}
	for range b.rounds * b.runs {
		cmd := b.command(ctx, argv...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if _, err := finish(cmd); err != nil {
			return nil, err
		}
		marks, err := traceMarks(stderr.String())
		if err != nil {
			return nil, err
		}
		for _, m := range marks {
			if stages[m.what] == nil {
				stages[m.what] = &sample{name: m.what}
				order = append(order, m.what)
			}
			stages[m.what].add([]float64{m.took}, nil)
		}
		total.add([]float64{marks[len(marks)-1].at}, nil)
	}
	table := []comparison{{"stage of a start", seconds, total, nil, target{}}}
	for _, what := range order {
		table = append(table, comparison{"stage of a start", seconds, stages[what], nil, target{}})
	}
	return table, nil
}

// traceMark is one line of --trace, in seconds.
type traceMark struct {
	what     string
	at, took float64
}

var traceLine = regexp.MustCompile(`^agentjail: trace +([0-9.]+) ms +\+ *([0-9.]+) +(.+)$`)

// traceMarks reads what --trace printed.
func traceMarks(stderr string) ([]traceMark, error) {
	var marks []traceMark
	for line := range strings.Lines(stderr) {
		fields := traceLine.FindStringSubmatch(strings.TrimSpace(line))
		if fields == nil {
			continue
		}
		at, err1 := strconv.ParseFloat(fields[1], 64)
		took, err2 := strconv.ParseFloat(fields[2], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("--trace: %w", err)
		}
		marks = append(marks, traceMark{fields[3], at / 1e3, took / 1e3})
	}
	if len(marks) == 0 {
		return nil, errors.New("--trace printed no stage")
	}
	return marks, nil
}
