package run

import (
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// What begins like a credential of the ready list is kept out of the trail, also where
// it is no secret of the run: an agent may find one lying about.
func TestReadyListIsRedacted(t *testing.T) {
	r, err := audit.NewRedactor(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range profiles.KeyPrefixes() {
		rest := strings.Repeat("aB3dE6gH9k", 8)
		switch prefix {
		case "AIza":
			rest = rest[:35]
		case "npm_":
			rest = rest[:36]
		case "pypi-":
			rest = "AgE" + rest
		}
		got, n := r.Redact("found " + prefix + rest + " in .env")
		if n == 0 || strings.Contains(got, rest[3:20]) {
			t.Errorf("%s: %s", prefix, got)
		}
	}
}
