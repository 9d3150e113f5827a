package run_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// told is what a command or a webhook was given.
type told struct {
	Event, Title, Rule, Action string
	Run                        struct{ ID, Profile, Workspace string }
	Limit                      struct {
		Name  string
		Value int64
	}
	Process struct{ Name string }
}

// on "limit" of an output limit: each action, with a command and a webhook beside.
func TestJailReactions(t *testing.T) {
	var mu sync.Mutex
	var posted []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			posted = append(posted, string(body))
		}
	}))
	defer server.Close()
	for _, tt := range []struct {
		action, script, reason string
		code                   int
	}{
		{"log", "yes", "output limit", 137},
		{"kill", "yes", "output limit", 137},
		{"stop", `trap 'exit 3' TERM; yes & wait`, "output limit", 143},
	} {
		t.Run(tt.action, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "told")
			c := newCaller(t, limits(`output = "64KiB"`)+fmt.Sprintf("on \"limit\" {\n  action = %q\n  command = [\"sh\", \"-c\", \"cat >>$0\", %q]\n  webhook = \"%s/hook\"\n}\n", tt.action, out, server.URL))
			mu.Lock()
			posted = nil
			mu.Unlock()
			o := c.run("/bin/sh", "-c", tt.script)
			if o.code != tt.code || o.status.Reason != tt.reason {
				t.Errorf("exit code %d, %+v, %s", o.code, o.status, o.stderr)
			}
			wantReached(t, o, "output", "output: 64KiB limit reached")
			data, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, text := range append([]string{string(data)}, posted...) {
				var m told
				if err := json.Unmarshal([]byte(text), &m); err != nil {
					t.Fatal(text, err)
				}
				if m.Event != "limit" || m.Limit.Name != "output" || m.Limit.Value != 64<<10 || m.Rule != "test.hcl:2" || m.Action != tt.action || m.Run.ID != o.status.RunID || m.Run.Workspace != c.workspace {
					t.Errorf("%s: %+v", text, m)
				}
			}
			if len(posted) != 1 {
				t.Errorf("the webhook was called %d times", len(posted))
			}
			for _, what := range []string{"the command ", "the webhook "} {
				wantEvent(t, o.events(), what, func(v audit.View, e audit.Event) bool {
					return v.Kind == "finding" && strings.Contains(string(e.Raw), what) && strings.Contains(string(e.Raw), "was told of the event")
				})
			}
		})
	}
	t.Run("programs", func(t *testing.T) {
		c := newCaller(t, "process {\n  limit \"true\" { rate = \"2/run\" }\n}\non \"limit\" { action = \"kill\" }\n")
		o := c.run("/bin/sh", "-c", "for i in 1 2 3; do /bin/true; done; sleep 1000")
		if o.code != 137 {
			t.Errorf("exit code %d, %+v", o.code, o.status)
		}
	})
	t.Run("escape", func(t *testing.T) {
		c := newCaller(t, fmt.Sprintf(execProfile, self(t), `deny "true" "no" {}`)+"on \"escape\" { action = \"kill\" }\n")
		o := c.run("/bin/sh", "-c", self(t)+" "+helperArg+" memfd /bin/true no; sleep 1000")
		if o.code != 137 || !strings.Contains(o.status.Reason, "escape") {
			t.Errorf("exit code %d, %+v, %s", o.code, o.status, o.stderr)
		}
		wantEvent(t, o.events(), "the finding", func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && strings.Contains(string(e.Raw), "a program in memory was refused")
		})
	})
	t.Run("foreign call", func(t *testing.T) {
		// The signal is what the filter answers a foreign ABI with; the process sends it itself.
		// Its parent is PID 1, which can always tell how it ended; of another's child that is told
		// by the kernel alone, since Linux 6.15 (jail/exits.go).
		o := newCaller(t, "").must("/bin/sh", "-c", `(/bin/sh -c 'kill -SYS $$' &); sleep 0.5; echo went on`)
		if o.stdout != "went on\n" {
			t.Errorf("%q", o.stdout)
		}
		wantEvent(t, o.events(), "the finding", func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && strings.Contains(string(e.Raw), "a process was ended by the system call filter")
		})
	})
	t.Run("no such command", func(t *testing.T) {
		o := newCaller(t, "on \"limit\" { command = [\"no-such-program-here\"] }\n").run("true")
		if o.code != 125 || !strings.Contains(o.stderr, "no such program") || !strings.Contains(o.stderr, "hint:") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
	t.Run("the agent's own command", func(t *testing.T) {
		c := newCaller(t, "")
		program := c.write("tell", "#!/bin/sh\n")
		if err := os.Chmod(program, 0o755); err != nil {
			t.Fatal(err)
		}
		c.setProfile(fmt.Sprintf("workspace { mode = \"direct\" }\non \"limit\" { command = [%q] }\n", program))
		if o := c.run("true"); o.code != 125 || !strings.Contains(o.stderr, "the agent can write") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
}
