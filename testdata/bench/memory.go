package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// benchMemory measures what a jail holds whose agent sleeps, after one connection: the
// first packet starts the gateway. It needs root, since the gateway is non-dumpable and
// its smaps_rollup is for no one else (proc(5); ptrace(2), "Ptrace access mode checking").
func benchMemory(ctx context.Context, b *bench) ([]comparison, error) {
	what := map[string]*sample{}
	for _, process := range []string{"supervisor", "PID 1", "supervisor and PID 1", "gateway"} {
		for _, kind := range []string{"Rss", "Pss"} {
			what[kind+process] = &sample{name: process}
		}
	}
	fail := func(err error) {
		for _, s := range what {
			s.add(nil, err)
		}
	}
	for range b.rounds {
		sizes, err := b.idle(ctx)
		if err != nil {
			fail(err)
			break
		}
		for key, s := range what {
			s.add([]float64{sizes[key]}, nil)
		}
	}
	limit := func(key string) target {
		switch key {
		case "Rsssupervisor and PID 1":
			return target{below: 25e6}
		case "Rssgateway":
			return target{below: 20e6}
		}
		return target{}
	}
	var table []comparison
	for _, kind := range []string{"Rss", "Pss"} {
		for _, process := range []string{"supervisor", "PID 1", "supervisor and PID 1", "gateway"} {
			table = append(table, comparison{"memory of an idle jail, " + strings.ToUpper(kind), bytesHeld, what[kind+process], nil, limit(kind + process)})
		}
	}
	return table, nil
}

// idle starts a jail, waits until its agent sleeps, and reads the sizes of our processes.
func (b *bench) idle(ctx context.Context) (_ map[string]float64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	argv := b.jailed(b.project, "sh", "-c", fmt.Sprintf("%s dial -n 1 -t 200ms %s:%d >/dev/null && echo idle && exec sleep 600", quote(b.cps), b.servers.echo.name, portListener))
	cmd := b.command(ctx, argv...)
	// TERM, so that the jail is wiped; a jail that is killed is wiped by the next one.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		cancel()
		// The interrupt's exit code is what was asked for.
		var exit *exec.ExitError
		if werr := cmd.Wait(); err == nil && werr != nil && !errors.As(werr, &exit) && !errors.Is(werr, context.Canceled) {
			err = werr
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "idle\n" {
		return nil, fmt.Errorf("the jail said %q: %w", line, err)
	}
	// A process gives back what only its start needed a second after that (package residue).
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(2 * time.Second):
	}
	return sizesOf("/proc", cmd.Process.Pid)
}

// sizesOf adds up the memory of a supervisor's own process and of its children: PID 1
// of the jail, and the gateway, which is in the caller's pid namespace.
func sizesOf(proc string, supervisor int) (map[string]float64, error) {
	sizes := map[string]float64{}
	entries, err := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, folder := range entries {
		status, err := os.ReadFile(filepath.Join(folder, "status"))
		if err != nil {
			continue // it has ended
		}
		pid, parent, inner := identity(string(status))
		name := ""
		switch {
		case pid == supervisor:
			name = "supervisor"
		case parent == supervisor && inner == 1:
			name = "PID 1"
		case parent == supervisor && inner == 0:
			name = "gateway"
		default:
			continue
		}
		found[name]++
		rollup, err := os.ReadFile(filepath.Join(folder, "smaps_rollup"))
		if err != nil {
			return nil, fmt.Errorf("memory of the %s: %w\nhint: run the bench as root", name, err)
		}
		for _, kind := range []string{"Rss", "Pss"} {
			kilobytes, err := rollupField(string(rollup), kind)
			if err != nil {
				return nil, err
			}
			sizes[kind+name] += kilobytes * 1024
			if name != "gateway" {
				sizes[kind+"supervisor and PID 1"] += kilobytes * 1024
			}
		}
	}
	for _, name := range []string{"supervisor", "PID 1", "gateway"} {
		if found[name] != 1 {
			return nil, fmt.Errorf("found %d processes that could be the %s", found[name], name)
		}
	}
	return sizes, nil
}

// identity reads /proc/PID/status: the process, its parent, and its number in the
// pid namespace below ours, 0 if it is in ours (proc(5), "NSpid").
func identity(status string) (pid, parent, inner int) {
	for line := range strings.Lines(status) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		number := func(s string) int { n, _ := strconv.Atoi(s); return n }
		switch fields[0] {
		case "Pid:":
			pid = number(fields[1])
		case "PPid:":
			parent = number(fields[1])
		case "NSpid:":
			if len(fields) > 2 {
				inner = number(fields[len(fields)-1])
			}
		}
	}
	return pid, parent, inner
}

// rollupField reads a field of smaps_rollup, in kB.
func rollupField(rollup, name string) (float64, error) {
	for line := range strings.Lines(rollup) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == name+":" && fields[2] == "kB" {
			return strconv.ParseFloat(fields[1], 64)
		}
	}
	return 0, fmt.Errorf("smaps_rollup has no %s", name)
}
