package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// spawns in one turn: enough for a median that a stray interrupt does not move.
const spawns = 400

// benchExec measures what the record of each exec costs. A release has no switch for
// it, so the build of the attack suite's own test (package profiles/mutate) is measured
// with the record and without, everything else in the jail being the same.
func benchExec(ctx context.Context, b *bench) ([]comparison, error) {
	tool := filepath.Join(b.project, "spawn")
	if err := build(ctx, tool, []string{"CGO_ENABLED=0"}, "./testdata/bench/spawn"); err != nil {
		return nil, err
	}
	mutate := filepath.Join(b.folder, "agentjail-mutate")
	mutateErr := buildMutate(ctx, mutate)
	if err := b.own(tool); err != nil {
		return nil, err
	}
	program, err := exec.LookPath("true")
	if err != nil {
		return nil, err
	}
	// The jail has no symlinks of the caller's: /bin is one on Debian since 12.
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	argv := []string{tool, strconv.Itoa(spawns), program}
	mutated := append([]string{mutate}, b.jailed(b.project, argv...)[1:]...)

	release := &sample{name: "audited"}
	audited := &sample{name: "audited, test build", err: mutateErr}
	silent := &sample{name: "the same jail, not audited", err: mutateErr}
	bwrap := &sample{name: "bwrap", err: installed("bwrap")}
	native := &sample{name: "native"}
	for range b.rounds {
		for _, turn := range []struct {
			sample *sample
			argv   []string
		}{
			{release, b.jailed(b.project, argv...)},
			{audited, mutated},
			{silent, append([]string{"env", "AGENTJAIL_MUTATE=exec"}, mutated...)},
			{bwrap, append([]string{"bwrap", "--unshare-all", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc"}, argv...)},
			{native, argv},
		} {
			if turn.sample.err != nil {
				continue
			}
			out, err := b.output(ctx, turn.argv...)
			if err != nil {
				turn.sample.add(nil, err)
				continue
			}
			v, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			turn.sample.add([]float64{v}, err)
		}
	}
	const what = "one exec: start to end of true"
	return []comparison{
		{what, seconds, audited, silent, target{more: 30e-6}},
		{what, seconds, release, bwrap, target{}},
		{what, seconds, release, native, target{}},
	}, nil
}

// build makes a program of this module.
func build(ctx context.Context, to string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false", "-o", to}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build of %s: %w: %s", filepath.Base(to), err, bytes.TrimSpace(out))
	}
	return nil
}

// buildMutate makes agentjail with the layers' switches, as the Makefile makes it
// without them.
func buildMutate(ctx context.Context, to string) error {
	tags, ldflags := os.Getenv("TAGS"), os.Getenv("LDFLAGS")
	if tags == "" || ldflags == "" {
		return errors.New("TAGS and LDFLAGS are not set\nhint: make bench sets them")
	}
	return build(ctx, to, nil, "-trimpath", "-tags", tags+" mutate", "-ldflags", ldflags, ".")
}
