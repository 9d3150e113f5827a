package react

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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

const (
	commandTime = 30 * time.Second
	maxSaid     = 1 << 10 // of a failed command's output
)

// runCommand runs a program of the host's as the caller, with the event on its standard
// input. It ends with its whole process group after commandTime.
func runCommand(ctx context.Context, argv, environ []string, dir string, input []byte) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	said := &head{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), said, said
	cmd.Env, cmd.Dir = environ, dir
	// A group of its own: Ctrl-C at the terminal is for the agent, and what the command
	// has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		if errors.Is(err, unix.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = time.Second // for a grandchild that keeps the pipes open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it did not end within %v, and was killed", commandTime)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well and left something behind
	case err != nil && said.Len() > 0:
		return fmt.Errorf("%w, saying %s", err, strconv.QuoteToASCII(said.String()))
	}
	return err
}

// head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	h.Buffer.Write(p[:min(len(p), maxSaid-h.Len())])
	return len(p), nil
}

// Check resolves the programs of a profile's blocks in the caller's PATH, before
// anything is started: one that is not there would be missed when it is needed, and one
// that the agent can write would be the agent's own, run outside of the jail. writable
// are the host's folders that the agent writes to.
func Check(on []profiles.On, path string, writable []string) ([]profiles.On, error) {
	out := make([]profiles.On, len(on))
	for i, o := range on {
		out[i] = o
		if len(o.Command) == 0 {
			continue
		}
		found, err := lookPath(o.Command[0], path)
		if err != nil {
			return nil, fmt.Errorf("%s: on %q { command }: %q: %w\nhint: write the program's absolute path, or a name in your PATH", o.Origin, o.Event, o.Command[0], err)
		}
		real, err := filepath.EvalSymlinks(found)
		if err != nil {
			return nil, fmt.Errorf("%s: on %q { command }: %q: %w", o.Origin, o.Event, found, err)
		}
		for _, dir := range writable {
			for _, p := range []string{found, real} {
				if rel, err := filepath.Rel(dir, p); err == nil && filepath.IsLocal(rel) {
					return nil, fmt.Errorf("%s: on %q { command }: the agent can write %s, which would be run outside of the jail\nhint: keep the program where the agent can't write", o.Origin, o.Event, p)
				}
			}
		}
		out[i].Command = append([]string{found}, o.Command[1:]...)
	}
	return out, nil
}

// lookPath finds a program as a shell does, but never in the working folder.
func lookPath(name, path string) (string, error) {
	var list []string
	switch {
	case filepath.IsAbs(name):
		list = []string{name}
	case strings.Contains(name, "/"):
		return "", errors.New("a path that does not begin with a slash depends on where agentjail is started")
	default:
		for _, dir := range filepath.SplitList(path) {
			if filepath.IsAbs(dir) {
				list = append(list, filepath.Join(dir, name))
			}
		}
	}
	for _, p := range list {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", errors.New("no such program")
}
