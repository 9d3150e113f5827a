package run_test

import (
	"strconv"
	"testing"
)

// TestJailExecsUnderPressure: no exec waits for ever while the supervisor's memory is
// collected all the time. The kernel writes a notification to where it was told; with
// an address that was taken too early, a stack that had moved meanwhile left the
// program waiting (seen after some 4,000 execs, with GOGC=1 within 6,000).
func TestJailExecsUnderPressure(t *testing.T) {
	c := newCaller(t, "")
	c.env = append(c.env, "GOGC=1")
	o := c.must("sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(soakCount(8000, 8000))+" ]; do /bin/true; i=$((i+1)); done; echo all")
	if o.stdout != "all\n" {
		t.Errorf("the agent said %q", o.stdout)
	}
}
