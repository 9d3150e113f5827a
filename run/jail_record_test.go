package run_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestJailRecording: a run on a terminal leaves a recording of what was shown, without
// what was typed and without what looks like a credential, and it can be played.
func TestJailRecording(t *testing.T) {
	c := newCaller(t, "")
	k := openConsole(t, c, "sh", "-c", "a=AKIA; stty -echo; echo ready; read secret; printf \"\\033]0;title\\007\\033[31m${a}IOSFODNN7EXAMPLE\\033[m over\\n\"; exit 3")
	k.waitFor("ready")
	k.typed("typedpassword\r")
	k.waitFor("over")
	k.end(3)
	found, err := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/runs/*/session.cast"))
	if err != nil || len(found) != 1 {
		t.Fatalf("recordings: %v, %v", found, err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	cast := string(data)
	for _, want := range []string{`{"version":3,"term":{"cols":80,"rows":24,"type":"xterm"}`, "ready", "aws-access-key", `"x", "3"]`} {
		if !strings.Contains(cast, want) {
			t.Errorf("the recording has no %s:\n%s", want, cast)
		}
	}
	for _, not := range []string{"typedpassword", "AKIAIOSFODNN7EXAMPLE"} {
		if strings.Contains(cast, not) {
			t.Errorf("the recording has %s:\n%s", not, cast)
		}
	}
	if info, err := os.Stat(found[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the recording's mode is %v, %v", info.Mode(), err)
	}
	replay := exec.Command(binary(t), "replay")
	replay.Env, replay.Dir = c.env, c.workspace
	out, err := replay.Output()
	if err != nil || !strings.Contains(string(out), "\x1b[31m") || strings.Contains(string(out), "title") {
		t.Errorf("replay: %v, %q", err, out)
	}

	k = openConsole(t, c, "sh", "-c", "echo without")
	k.end(0)
	c.must("true") // without a terminal
	if found, _ := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/runs/*/session.cast")); len(found) != 2 {
		t.Errorf("%d recordings of two runs on a terminal and one without", len(found))
	}
}
