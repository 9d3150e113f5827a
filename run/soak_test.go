package run_test

import (
	"os"
	"testing"
	"time"
)

// The tests named TestSoak... have a short form, which is part of `make test`, and a
// long one, which `make soak` runs: there SOAK says how long what takes time takes.

// soakFor is how long the long form goes on; 0 in the short one.
func soakFor(t testing.TB) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("SOAK=%s is no length of time, such as 1h", text)
	}
	return d
}

// soakCount is how often to do something. On the emulated processor of `make vmtest` a
// fifth of the short form takes as long as the whole elsewhere.
func soakCount(short, long int) int {
	switch {
	case os.Getenv("SOAK") != "":
		return long
	case os.Getenv("AGENTJAIL_VM") != "":
		return max(short/5, min(short, 10)) // a few moments might all miss
	}
	return short
}
