package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// slirp runs argv in new user and network namespaces whose way out is slirp4netns.
//
//	bench ── starts ──▶ unshare → sh   says "in" when it is inside, then waits
//	      ── starts ──▶ slirp4netns    writes "1" to its ready descriptor
//	      ── newline ─▶ sh → argv
func (b *bench) slirp(ctx context.Context, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	client := b.command(ctx, append([]string{"unshare", "--user", "--map-root-user", "--net", "--",
		"sh", "-c", `echo in; read -r go; exec "$@"`, "sh"}, argv...)...)
	stdin, err := client.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := client.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	client.Stderr = &stderr
	if err := client.Start(); err != nil {
		return nil, err
	}
	fail := func(err error) ([]byte, error) {
		cancel()
		client.Wait()
		err = fmt.Errorf("slirp4netns: %w: %s", err, strings.TrimSpace(stderr.String()))
		fmt.Fprintln(os.Stderr, "bench:", err)
		return nil, err
	}
	inside := make([]byte, len("in\n"))
	if _, err := io.ReadFull(stdout, inside); err != nil {
		return fail(err)
	}

	ready, readyChild, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer ready.Close()
	// unshare and sh exec without a fork, so that the pid is the client's.
	slirp := b.command(ctx, "slirp4netns", "--configure", "--mtu=65520", "--ready-fd=3", strconv.Itoa(client.Process.Pid), "tap0")
	slirp.ExtraFiles = []*os.File{readyChild} // descriptor 3
	var said bytes.Buffer
	slirp.Stderr = &said
	err = slirp.Start()
	readyChild.Close()
	if err != nil {
		return fail(err)
	}
	defer func() {
		slirp.Process.Kill()
		slirp.Wait()
	}()
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		slirp.Process.Kill()
		slirp.Wait()
		return fail(errors.New(strings.TrimSpace(said.String())))
	}

	if _, err := io.WriteString(stdin, "\n"); err != nil {
		return fail(err)
	}
	stdin.Close()
	out, err := io.ReadAll(stdout)
	if err != nil {
		return fail(err)
	}
	if err := client.Wait(); err != nil {
		return fail(err)
	}
	return out, nil
}
