package run

import (
	"fmt"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/otlp"
)

// lastSend is how long a run's end waits for a collector to take what is left, each of
// the two times: before the trail's end, so that the trail can say what came of it, and
// for the trail's last events.
const lastSend = 3 * time.Second

// sendTrail begins to send the trail to the profile's collector.
func (s *session) sendTrail() error {
	if s.spec.Audit.OTLP == "" {
		return nil
	}
	e, err := otlp.Start(otlp.Config{URL: s.spec.Audit.OTLP, Trail: s.info.Audit, Run: s.id, Name: s.opt.Name, Profile: s.spec.Name, Version: s.host.Version, Begun: s.begun,
		Metrics: func() []otlp.Metric {
			st, _ := s.liveStats()
			return otlpMetrics(st)
		}})
	if err != nil {
		return err
	}
	s.collector = e
	return nil
}

// tellCollector records what came of the collector, while there is a trail to record it.
func (s *session) tellCollector() {
	if s.collector == nil {
		return
	}
	if err := s.trail.Commit(); err != nil {
		return // the run's end says so
	}
	o := s.collector.Flush(lastSend)
	if o.Err != nil || o.Refused > 0 {
		detail := fmt.Sprintf("it took %d events and refused %d", o.Sent, o.Refused)
		if o.Err != nil {
			detail += "; the last try: " + o.Err.Error()
		}
		s.sink.Emit(audit.Finding{Title: "the collector did not get the whole trail", Detail: detail, Severity: "low", Outcome: audit.Failed, Rule: s.spec.Audit.Origin.String()})
	}
}

// endCollector sends the trail's last events, and closes.
func (s *session) endCollector() {
	if s.collector == nil {
		return
	}
	// What it did not take is in the trail; that it did not is in there since before.
	_ = s.collector.Flush(lastSend)
	_ = s.collector.Close()
	s.collector = nil
}

// otlpMetrics are the figures of metrics.prom, as OpenTelemetry names units (UCUM).
func otlpMetrics(st runStats) []otlp.Metric {
	m := func(name, unit, help string, v float64, grows bool) otlp.Metric {
		return otlp.Metric{Name: name, Unit: unit, Help: help, Value: v, Grows: grows}
	}
	list := []otlp.Metric{
		m("agentjail.run.duration", "s", "How long the run has gone on.", st.Now.Sub(st.Started).Seconds(), false),
		m("agentjail.run.frozen", "1", "1 while the run is held.", boolean(st.Frozen), false),
		m("agentjail.cpu.time", "s", "CPU time of the jail.", st.Usage.CPU.Seconds(), true),
		m("agentjail.memory.usage", "By", "Memory of the jail.", float64(st.Usage.Memory), false),
		m("agentjail.processes", "{process}", "Processes of the jail.", float64(st.Usage.Processes), false),
		m("agentjail.network.io", "By", "Bytes over the jail's loopback.", float64(st.Usage.Network), true),
		m("agentjail.model.tokens", "{token}", "Tokens of calls of models.", float64(st.Counts[countTokens]), true),
		m("agentjail.model.cost", "{USD}", "What calls of models cost, as far as it is known.", float64(st.Counts[countCost])/1e6, true),
		m("agentjail.anomalies", "{anomaly}", "Anomalies that were found.", float64(st.Anomalies), true),
	}
	for _, e := range eventCounts(st.Counts) {
		x := m("agentjail.events", "{event}", "What was recorded, by kind and outcome.", float64(e.count), true)
		x.Labels = map[string]string{"kind": e.kind, "outcome": e.outcome}
		list = append(list, x)
	}
	return list
}
