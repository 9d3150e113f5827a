package run_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// wantAnomaly makes sure that a run was ended for an anomaly, and that the trail has its
// figures.
func wantAnomaly(t *testing.T, o *outcome, title string, figures ...string) {
	t.Helper()
	if o.code != 143 && o.code != 137 || o.status.Reason != `on "anomaly"` {
		t.Errorf("exit code %d, %+v\n%s", o.code, o.status, o.stderr)
	}
	wantEvent(t, o.events(), title, func(v audit.View, _ audit.Event) bool {
		if v.Kind != "finding" || !strings.Contains(v.Target, title) || !strings.HasPrefix(v.Rule, "test.hcl:") {
			return false
		}
		for _, f := range figures {
			if !strings.Contains(v.Reason, f) {
				return false
			}
		}
		return true
	})
}

// What a run leaves for those to come, and for whoever looks at it afterwards.
func TestJailMonitorLeaves(t *testing.T) {
	c := newCaller(t, "")
	o := c.must("bash", "-c", "for i in 1 2 3; do /bin/true; done; sleep 2")
	events := o.events()
	var r *audit.EventResources
	for _, e := range events {
		if got := e.Resources(); got != nil {
			r = got
		}
	}
	if r == nil || len(r.CPU) == 0 {
		t.Fatalf("no timeline: %+v", r)
	}
	execs := int64(0)
	for _, n := range r.Execs {
		execs += n
	}
	// The first were before the timeline's first sample.
	if execs > 5 || r.Step != 1000 || r.Source == "" {
		t.Errorf("%+v", r)
	}
	metrics, err := os.ReadFile(filepath.Join(o.status.State, "metrics.prom"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# TYPE agentjail_cpu_seconds_total counter\n", `kind="exec",outcome="allowed"} 5` + "\n", `agentjail_run_exit_code{run="` + o.status.RunID + `",reason="exited"} 0` + "\n"} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("metrics.prom lacks %q:\n%s", want, metrics)
		}
	}
	// A history that is damaged keeps no run from going on, and is begun anew.
	files, err := filepath.Glob(filepath.Join(c.home, ".local/state/agentjail/monitor/*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("histories %q, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, c.must("true").events(), "the damage", func(v audit.View, _ audit.Event) bool {
		return v.Kind == "finding" && strings.Contains(v.Target, "earlier runs")
	})
	if now, err := os.ReadFile(files[0]); err != nil || !strings.Contains(string(now), `"runs":[{`) {
		t.Errorf("the history is %q, %v", now, err)
	}
}

// "freeze" without anybody at the terminal: packed, then ended.
func TestJailFreezeReaction(t *testing.T) {
	o := newCaller(t, "on \"anomaly\" {\n action = \"freeze\"\n repeats = 20\n}").run("bash", "-c", "while :; do /bin/true; done")
	wantAnomaly(t, o, "again and again", "20 times")
	if _, err := os.Stat(filepath.Join(o.status.State, "frozen-1.tar.zst")); err != nil {
		t.Error(err)
	}
	wantEvent(t, o.events(), "the archive", func(v audit.View, _ audit.Event) bool {
		return v.Kind == "state" && strings.HasPrefix(v.Target, `packed by on "anomaly"`)
	})
	// "pause" holds until somebody says otherwise.
	c := newCaller(t, "on \"anomaly\" {\n action = \"pause\"\n repeats = 20\n}")
	b := c.background("held", "bash", "-c", "echo begun; while :; do /bin/true; done")
	b.until("the hold", func() bool { out, _ := b.order(0, "top", "--once"); return strings.Contains(out, "frozen") })
	b.order(0, "thaw", "held")
	b.order(0, "stop", "held")
	if code := exitOf(t, <-b.done); code != 143 {
		t.Errorf("exit code %d: %s", code, b.stderr)
	}
}
