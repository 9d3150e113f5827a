package run

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
)

// Exit codes of agentjail itself; any other is the agent's own, or 128 plus the
// signal that ended it, as a shell has it.
const (
	ExitTimeLimit  = 124 // as timeout(1)
	ExitAgentjail  = 125 // usage, profile, set-up, a layer that is missing
	ExitCannotExec = 126
	ExitNotFound   = 127
)

// ExitError carries the exit code to main, the only place that exits. A nil Err
// says that there is nothing to print.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// exitCode is what an error means for the caller's shell.
func exitCode(err error) int {
	var ee *ExitError
	var ce *jail.CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ee):
		return ee.Code
	case errors.As(err, &ce) && ce.NotFound:
		return ExitNotFound
	case errors.As(err, &ce):
		return ExitCannotExec
	}
	return ExitAgentjail
}

// statusCode is the shell's code for how a process ended.
func statusCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// Printable renders an error for stderr: "agentjail: " before each line, the hint
// on a line of its own.
func Printable(err error) string {
	lines := strings.Split(strings.TrimRight(err.Error(), "\n"), "\n")
	for i, l := range lines {
		lines[i] = "agentjail: " + l
	}
	return strings.Join(lines, "\n") + "\n"
}
