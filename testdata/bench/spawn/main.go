// Command spawn prints what one start of a program takes, from fork to the end of it:
// the median of many, in seconds.
//
//	spawn N PROGRAM [ARGUMENT...]
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "spawn:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: spawn N PROGRAM [ARGUMENT...]")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of starts", args[0])
	}
	took := make([]time.Duration, 0, n)
	for range n {
		begun := time.Now()
		// Not os/exec, whose pipes and goroutines cost more than what is measured.
		process, err := os.StartProcess(args[1], args[1:], &os.ProcAttr{Env: os.Environ()})
		if err != nil {
			return err
		}
		state, err := process.Wait()
		if err != nil {
			return err
		}
		if !state.Success() {
			return fmt.Errorf("%s: %s", args[1], state)
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	fmt.Println(took[n/2].Seconds())
	return nil
}
