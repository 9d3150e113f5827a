package run_test

import (
	"errors"
	"os/exec"
)

// runQuiet runs a program without output and gives its exit code.
func runQuiet(name string, args ...string) (int, error) {
	err := exec.Command(name, args...).Run()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		return ee.ExitCode(), nil
	}
	return 0, err
}
