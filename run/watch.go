package run

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/monitor"
)

// watch is a run's monitor: it samples once a second, keeps the timeline, and tells of
// anomalies.
type watch struct {
	s    *session
	quit chan struct{}
	done chan struct{}

	judging time.Duration // how often the detector looks at the counts

	mu        sync.Mutex
	detector  *monitor.Detector
	fold      *monitor.Fold
	last      monitor.Sample
	before    monitor.Sample // the one before it
	peak      monitor.Usage
	anomalies []monitor.Anomaly
	found     int64
	open      map[uint64]audit.Connect // connections that were allowed and are not closed
	past      *monitor.History         // nil where it can't be had
}

// The bounds of what a watch keeps.
const (
	watchPeriod  = time.Second
	maxAnomalies = 64
	maxOpen      = 4096
)

// historyDir is where all of a user's runs leave what they did for those to come.
func historyDir(d Dirs) string { return filepath.Join(d.State, "monitor") }

// fileMetrics is in a run's state folder.
const fileMetrics = "metrics.prom"

// newWatch knows the profile's earlier runs. What they did may be missing: the run is then
// judged by its own past alone, and the trail says so.
func (s *session) newWatch() *watch {
	w := &watch{s: s, quit: make(chan struct{}), done: make(chan struct{}), open: map[uint64]audit.Connect{}}
	past, err := monitor.OpenHistory(historyDir(s.dirs))
	var earlier []monitor.Past
	if err == nil {
		w.past = past
		earlier, err = past.Load(s.spec.Name)
	}
	if err != nil {
		s.sink.Emit(audit.Finding{Title: "what earlier runs of the profile did is not known", Detail: err.Error(), Severity: "low", Outcome: audit.Failed})
	}
	set := monitor.Default()
	if on := s.spec.Reaction(profiles.EventAnomaly); on.After > 0 {
		set.After = time.Duration(on.After)
	}
	if on := s.spec.Reaction(profiles.EventAnomaly); on.Repeats > 0 {
		set.Repeats = on.Repeats
	}
	w.detector = monitor.NewDetector(set, earlier)
	w.judging = min(watchPeriod, set.Window())
	w.detector.Sample(monitor.Sample{At: time.Now()})
	return w
}

// start begins to monitor the run, whose jail there is.
func (w *watch) start() {
	w.s.watch = w
	go w.run()
}

// liveStats are the stats for whoever may ask before there is a watch; ok says whether
// there is one.
func (s *session) liveStats() (st runStats, ok bool) {
	select {
	case <-s.watching:
		return s.stats(), true
	default:
		return runStats{ID: s.id, Profile: s.spec.Name, Started: s.begun.UTC(), Now: time.Now().UTC()}, false
	}
}

func (w *watch) run() {
	defer close(w.done)
	first := w.look(time.Now()) // which takes a moment, in which the agent starts
	w.mu.Lock()
	w.fold, w.last, w.before = monitor.NewFold(first), first, first
	w.mu.Unlock()
	close(w.s.watching)
	tick, judge := time.NewTicker(watchPeriod), time.NewTicker(w.judging)
	defer tick.Stop()
	defer judge.Stop()
	for {
		select {
		case <-w.quit:
			return
		case at := <-tick.C:
			w.sample(w.look(at))
		case at := <-judge.C:
			w.judge(at)
		}
	}
}

// judge shows the detector the counts. A run that is held does nothing: that is no past
// to judge it by.
func (w *watch) judge(at time.Time) {
	if w.s.still.frozen() {
		return
	}
	w.mu.Lock()
	found := w.detector.Sample(monitor.Sample{At: at, Counts: w.s.sink.progress()})
	w.mu.Unlock()
	w.tell(found)
}

// look takes a sample.
func (w *watch) look(at time.Time) monitor.Sample {
	j := w.s.jail.Sample()
	return monitor.Sample{At: at, Counts: w.s.sink.progress(),
		Usage: monitor.Usage{CPU: j.CPU, Memory: j.Memory, Processes: int64(j.Processes), Network: j.Network, Source: j.Source}}
}

func (w *watch) sample(s monitor.Sample) {
	w.mu.Lock()
	w.before, w.last = w.last, s
	w.peak.Memory, w.peak.Processes = max(w.peak.Memory, s.Usage.Memory), max(w.peak.Processes, s.Usage.Processes)
	full := w.fold.Add(s)
	w.mu.Unlock()
	if full != nil {
		w.s.sink.Emit(*full)
	}
}

// saw takes each record on its way to the trail.
func (w *watch) saw(r audit.Record) {
	now := time.Now()
	w.mu.Lock()
	var found []monitor.Anomaly
	switch r := r.(type) {
	case audit.Exec:
		found = w.detector.Saw(monitor.Exec, r.Process.Path, now)
	case audit.Connect:
		host := r.Name
		if host == "" {
			host = r.Addr
		}
		if r.Direction != audit.Inbound {
			found = w.detector.Saw(monitor.Connect, fmt.Sprintf("%s:%d", host, r.Port), now)
		}
		if r.ID != 0 && len(w.open) < maxOpen {
			w.open[r.ID] = r
		}
	case audit.ConnectClosed:
		delete(w.open, r.ID)
	case audit.HTTP:
		found = w.detector.Saw(monitor.Request, r.Method+" "+r.Host, now)
	}
	w.mu.Unlock()
	w.tell(found)
}

// tell records anomalies; the sink has the profile's reaction come about.
func (w *watch) tell(found []monitor.Anomaly) {
	for _, a := range found {
		w.mu.Lock()
		w.found++
		if len(w.anomalies) < maxAnomalies {
			w.anomalies = append(w.anomalies, a)
		}
		w.mu.Unlock()
		on := w.s.spec.Reaction(profiles.EventAnomaly)
		w.s.sink.Emit(audit.Finding{Title: a.Title, Detail: a.Detail, Severity: "medium", Outcome: audit.Allowed, Rule: on.Origin.String(), Event: string(profiles.EventAnomaly), Figures: a.Figures})
	}
}

// end writes what is left of the timeline, and keeps what the run did for those to come,
// unless it was ended for it: what a person wants ended is not what is usual. The function
// that it returns waits until that is kept.
func (w *watch) end(e ending) (kept func()) {
	if w == nil {
		return func() {}
	}
	close(w.quit)
	<-w.done
	w.s.sink.watch(nil)
	w.mu.Lock()
	last := w.fold.End()
	past := w.detector.Past(w.s.id, time.Now())
	w.mu.Unlock()
	if last != nil {
		w.s.sink.Emit(*last)
	}
	if w.past == nil || e.Reason != "exited" {
		return func() {}
	}
	done := make(chan error, 1)
	go func() { done <- guarded(func() error { return w.past.Add(w.s.spec.Name, past) }) }()
	return func() {
		if err := <-done; err != nil {
			w.s.sink.Emit(audit.Finding{Title: "what the run did can't be kept for those to come", Detail: err.Error(), Severity: "low", Outcome: audit.Failed})
		}
	}
}

// runStats is how a run does, for `top`, for its metrics and for its archive.
type runStats struct {
	ID        string            `json:"id"`
	Name      string            `json:"name,omitempty"`
	Profile   string            `json:"profile"`
	Argv      []string          `json:"argv"`
	Workspace string            `json:"workspace"`
	Started   time.Time         `json:"started"`
	Now       time.Time         `json:"now"`
	Frozen    bool              `json:"frozen"`
	Held      time.Duration     `json:"held"` // how long it was frozen in all, nanoseconds
	CPUs      float64           `json:"cpus"` // used in the last second
	Usage     monitor.Usage     `json:"usage"`
	Peak      monitor.Usage     `json:"peak"`
	Counts    map[string]int64  `json:"counts"`
	Progress  monitor.Counts    `json:"progress"`
	Rate      monitor.Counts    `json:"rate"` // within the last second
	Anomalies int64             `json:"anomalies"`
	Limits    map[string]string `json:"limits,omitempty"`
}

// stats are made of the last sample: asking often costs nothing.
func (s *session) stats() runStats {
	st := runStats{ID: s.id, Name: s.opt.Name, Profile: s.spec.Name, Argv: s.opt.Argv, Workspace: s.spec.Workspace.Path, Started: s.begun.UTC(), Now: time.Now().UTC(),
		Frozen: s.still.frozen(), Held: s.still.spent(), Counts: s.sink.totals(), Progress: s.sink.progress(), Limits: limitTexts(s.spec, s.features)}
	w := s.watch
	if w == nil {
		return st
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	st.Usage, st.Peak, st.Anomalies = w.last.Usage, w.peak, w.found
	if span := w.last.At.Sub(w.before.At); span > 0 {
		st.CPUs = max(0, (w.last.Usage.CPU-w.before.Usage.CPU).Seconds()/span.Seconds())
		st.Rate = w.last.Counts.Minus(w.before.Counts)
	}
	return st
}

// gatewayState is what the run's network is at this moment: what it may reach, what is
// open, what is spent. No credential is in it, not even a placeholder.
func (s *session) gatewayState() any {
	type connection struct {
		ID       uint64 `json:"id"`
		Network  string `json:"network"`
		Name     string `json:"name,omitempty"`
		Addr     string `json:"addr"`
		Port     uint16 `json:"port"`
		Protocol string `json:"protocol,omitempty"`
		Program  string `json:"program,omitempty"`
		PID      int    `json:"pid,omitempty"`
	}
	var g struct {
		Link    any          `json:"link"`
		Open    []connection `json:"open_connections"`
		Secrets []string     `json:"secrets"` // their names
		Budgets any          `json:"budgets,omitempty"`
	}
	g.Link, g.Open, g.Secrets = s.link, []connection{}, []string{}
	for _, x := range s.spec.Secrets {
		g.Secrets = append(g.Secrets, x.Name)
	}
	if s.ledger != nil {
		g.Budgets = s.ledger.States()
	}
	if s.watch != nil {
		s.watch.mu.Lock()
		defer s.watch.mu.Unlock()
		for _, c := range s.watch.open {
			g.Open = append(g.Open, connection{c.ID, c.Network, c.Name, c.Addr, c.Port, c.Protocol, c.Process.Path, c.Process.PID})
		}
	}
	return g
}

// writeMetrics leaves the run's metrics in its state folder.
func (s *session) writeMetrics(end ending) error {
	if s.watch == nil {
		return nil
	}
	st := s.stats()
	return os.WriteFile(filepath.Join(s.state, fileMetrics), metricsText(st, &end), 0o600)
}
