package run_test

import (
	"strings"
	"testing"
)

// TestJailRefusedPlan: a plan that is refused when its container is on the way already
// leaves nothing of that, and no run.
func TestJailRefusedPlan(t *testing.T) {
	c := newCaller(t, "files { read = [\"/proc/version\"] }\n")
	c.ownTemp()
	o := c.run("true")
	if o.code != 125 || !strings.Contains(o.stderr, "/proc/version belongs to the kernel and can't be in the jail's view") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if ids := c.runIDs(); len(ids) > 0 {
		t.Errorf("there are runs: %q", ids)
	}
	c.wantNothingLeft()
}
