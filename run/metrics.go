package run

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metricsText is a run's metrics in the Prometheus text format 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats): names end in their unit, and
// those that only grow in _total. end is nil while the run goes on.
func metricsText(st runStats, end *ending) []byte {
	var b bytes.Buffer
	run := label("run", st.ID)
	metric := func(name, kind, help string, value float64, labels ...string) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		sampleLine(&b, name, value, append([]string{run}, labels...)...)
	}
	fmt.Fprint(&b, "# HELP agentjail_run_info The run: a constant 1.\n# TYPE agentjail_run_info gauge\n")
	sampleLine(&b, "agentjail_run_info", 1, run, label("name", st.Name), label("profile", st.Profile))
	metric("agentjail_run_start_time_seconds", "gauge", "When the run began, since the epoch.", unixSeconds(st.Started))
	metric("agentjail_run_duration_seconds", "gauge", "How long the run has gone on.", st.Now.Sub(st.Started).Seconds())
	metric("agentjail_run_frozen", "gauge", "1 while the run is held.", boolean(st.Frozen))
	metric("agentjail_run_frozen_seconds_total", "counter", "How long the run was held.", st.Held.Seconds())
	metric("agentjail_cpu_seconds_total", "counter", "CPU time of the jail.", st.Usage.CPU.Seconds())
	metric("agentjail_memory_bytes", "gauge", "Memory of the jail.", float64(st.Usage.Memory))
	metric("agentjail_memory_peak_bytes", "gauge", "The most memory that a sample saw.", float64(st.Peak.Memory))
	metric("agentjail_processes", "gauge", "Processes of the jail.", float64(st.Usage.Processes))
	metric("agentjail_processes_peak", "gauge", "The most processes that a sample saw.", float64(st.Peak.Processes))
	metric("agentjail_network_bytes_total", "counter", "Bytes over the jail's loopback.", float64(st.Usage.Network))
	metric("agentjail_model_tokens_total", "counter", "Tokens of calls of models.", float64(st.Counts[countTokens]))
	metric("agentjail_model_cost_dollars_total", "counter", "What calls of models cost, as far as it is known.", float64(st.Counts[countCost])/1e6)
	metric("agentjail_anomalies_total", "counter", "Anomalies that were found.", float64(st.Anomalies))
	fmt.Fprint(&b, "# HELP agentjail_events_total What was recorded, by kind and outcome.\n# TYPE agentjail_events_total counter\n")
	for _, e := range eventCounts(st.Counts) {
		sampleLine(&b, "agentjail_events_total", float64(e.count), run, label("kind", e.kind), label("outcome", e.outcome))
	}
	if end != nil {
		metric("agentjail_run_exit_code", "gauge", "The run's exit code.", float64(end.Code), label("reason", end.Reason))
	}
	return b.Bytes()
}

// eventCount is how many events of one kind had one outcome.
type eventCount struct {
	kind, outcome string
	count         int64
}

// eventCounts takes a run's counts apart, by name.
func eventCounts(counts map[string]int64) (list []eventCount) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		switch name {
		case countTokens, countCost, countUnpriced, countInexact:
			continue // sums over calls
		}
		e := eventCount{name, "allowed", counts[name]}
		for _, o := range []string{"blocked", "failed"} {
			if k, ok := strings.CutSuffix(name, "_"+o); ok {
				e.kind, e.outcome = k, o
			}
		}
		list = append(list, e)
	}
	return list
}

func sampleLine(b *bytes.Buffer, name string, value float64, labels ...string) {
	fmt.Fprintf(b, "%s{%s} %s\n", name, strings.Join(labels, ","), strconv.FormatFloat(value, 'f', -1, 64))
}

// label writes a label. Values are UTF-8, with backslash, quote and line feed escaped;
// the rest of what a terminal would obey is left out too.
func label(name, value string) string {
	value = strings.ToValidUTF8(value, "\ufffd")
	value = strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r >= 0x7f && r <= 0x9f) {
			return '\ufffd'
		}
		return r
	}, value)
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
