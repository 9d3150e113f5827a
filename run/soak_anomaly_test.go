package run_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Nothing but the anomaly ends the agents of these tests.

// TestSoakAnomalyRegular: an agent that asks a host for something by curl, waits, and does
// so again for ever. The short form's clock is fifty times as fast: there a busy machine's
// delays are more of an interval, so that the curl is not a part of it.
func TestSoakAnomalyRegular(t *testing.T) {
	needTool(t, "curl")
	ca := newAuthority(t)
	upstream := ca.serve(t, "allowed.example", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "nothing new\n")
	}))
	pause, after := "1.5", "after = \"6s\"\n"
	if soakFor(t) > 0 {
		pause, after = "30", ""
	}
	o := newCaller(t, allowHost("allowed.example", upstream, ca)+"on \"anomaly\" {\n action = \"stop\"\n "+after+"}").
		run("bash", "-c", "while :; do curl -sS --max-time 20 https://allowed.example/jobs & sleep "+pause+"; wait; done")
	wantAnomaly(t, o, "at regular intervals", "/curl", "every ", "times in a row")
	logAnomalies(t, o)
}

// TestSoakAnomalyRepeats: an agent that runs bash again and again.
func TestSoakAnomalyRepeats(t *testing.T) {
	n := soakCount(300, 90_000)
	c := newCaller(t, "")
	told := filepath.Join(c.dir, "told")
	c.setProfile(fmt.Sprintf("on \"anomaly\" {\n action = \"kill\"\n repeats = %d\n command = [%q, %q]\n}\naudit { size = \"1GiB\" }\n", n, needTool(t, "tee"), told))
	o := c.run("bash", "-c", "while :; do bash -c :; done")
	wantAnomaly(t, o, "again and again", "/bash", fmt.Sprintf("%d times", n))
	if text, err := os.ReadFile(told); err != nil || !strings.Contains(string(text), fmt.Sprintf(`"figures":{"count":%d,"limit":%d}`, n, n)) {
		t.Errorf("the command was told %q, %v", text, err)
	}
	logAnomalies(t, o)
}

// modelsMain asks a model for something again and again: its argument is the URL. It is
// neither regular nor often enough to be another anomaly.
func modelsMain(args []string) int {
	for pause := 10 * time.Millisecond; ; pause = 80*time.Millisecond - pause {
		res, err := http.Post(args[0], "application/json", strings.NewReader(`{"model":"claude-sonnet-4-5"}`))
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
		time.Sleep(pause)
	}
}

// TestSoakAnomalyTokens: an agent whose calls of a model use ten times as many tokens as
// before, from some moment on. On a machine that is just then much slower than before the
// rate does not jump as far; so there are more such moments, each tenfold, until it is
// found.
func TestSoakAnomalyTokens(t *testing.T) {
	const jump = 10
	// A past takes 30 windows, a thirtieth of `after` each: as long as that.
	after, calm := 3*time.Second, 6*time.Second
	if soakFor(t) > 0 {
		after, calm = time.Minute, 90*time.Second
	}
	ca := newAuthority(t)
	var first, jumps atomic.Int64
	addr := ca.serve(t, "api.anthropic.com", "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		first.CompareAndSwap(0, time.Now().UnixNano())
		n := min(time.Since(time.Unix(0, first.Load()))/calm, 4)
		jumps.Store(int64(n))
		tokens := 30 // what can be used with them in a second is below the floor of this anomaly
		for range n {
			tokens *= jump
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"model": "claude-sonnet-4-5", "usage": map[string]int{"input_tokens": tokens / 2, "output_tokens": tokens / 2}})
	}))
	o := newCaller(t, execSelf(t)+fmt.Sprintf(`
network {
  allow "anthropic" {
    like        = "anthropic"
    upstream    = %q
    upstream_ca = %q
  }
}
on "anomaly" {
  action = "stop"
  after  = %q
}
`, addr, ca.file, after)).run(self(t), helperArg, "models", "https://api.anthropic.com/v1/messages")
	wantAnomaly(t, o, "far more tokens than in this run so far", "tokens a second", "the median of", "beyond")
	if jumps.Load() == 0 {
		t.Error("it was found before anything had changed")
	}
	t.Logf("found after %d jumps", jumps.Load())
	logAnomalies(t, o)
}

// logAnomalies shows the figures of what was found.
func logAnomalies(t *testing.T, o *outcome) {
	t.Helper()
	for _, e := range o.events() {
		if v := e.View(); v.Kind == "finding" && strings.HasPrefix(v.Target, "anomaly") {
			t.Logf("%s: %s", v.Target, v.Reason)
		}
	}
}
