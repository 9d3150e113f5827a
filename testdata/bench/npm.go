package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// packages makes a folder with a project of some 160 packages and npm's cache of all
// of them, so that npm ci needs no network: neither the jail nor this program gives it
// one. The cache is filled first, by npm itself from whatever registry it is set to.
func (b *bench) packages(ctx context.Context) (folder string, argv []string, err error) {
	if err := installed("npm"); err != nil {
		return "", nil, err
	}
	folder = filepath.Join(b.home, "packages")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", nil, err
	}
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", "bench", "npm", name))
		if err != nil {
			return "", nil, err
		}
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return "", nil, err
		}
	}
	npm := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "npm", args...)
		cmd.Dir = folder
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("npm %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		return strings.TrimSpace(string(out)), err
	}
	// The cache's keys are the registry's addresses.
	registry, err := npm("config", "get", "registry")
	if err != nil {
		return "", nil, err
	}
	// No package's own script runs, here or in what is measured.
	args := []string{"ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier",
		"--registry", registry, "--cache", filepath.Join(folder, "cache")}
	if _, err := npm(args...); err != nil {
		return "", nil, err
	}
	argv = append(append([]string{"npm"}, args...), "--offline")
	return folder, argv, b.own(folder)
}
