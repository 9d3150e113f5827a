package monitor

import (
	"fmt"
	"time"
)

// Settings say when the detector speaks.
type Settings struct {
	// After is how long it watches before it judges a rate, and how long something has to
	// go on at regular intervals. All other times are parts of it.
	After time.Duration
	// Repeats is how often one program may be executed in a run.
	Repeats int64
}

// Default is what holds where a profile says nothing. An npm ci or the build of a large
// program executes no single program fifty thousand times, and is over, or goes on as it
// began, before five minutes are.
func Default() Settings { return Settings{After: 5 * time.Minute, Repeats: 50_000} }

// Window is the time that a rate is taken over.
func (s Settings) Window() time.Duration { return max(s.After/windows, 50*time.Millisecond) }

// Parts of Settings.After.
const (
	windows   = 30 // of After: a window is ten seconds by default
	peakParts = 6  // windows of a peak: a minute by default
	kept      = 360
)

// Anomaly is something that stands out, with the figures that say so.
type Anomaly struct {
	Signal  string             // "exec", "connect", "request", "tokens", "denial", "file", "deletion", "repeat", "regular"
	Title   string             // without anything of the agent's
	Detail  string             // with the figures, and with names that the agent chose
	Figures map[string]float64 //
}

// signal is a rate that is judged. Floors are below what an ordinary program does in
// good faith: a build, an install, a test suite.
type signal struct {
	name, unit string
	of         func(Counts) int64
	floor      float64 // a second, against the run's own past
	sustain    int     // windows in a row that it must be beyond
	peak       float64 // a second, against earlier runs
	sparse     bool    // windows without any are no part of its past
	smooth     bool    // a window is judged by the mean of itself and those before it, of a peak
}

func signals() []signal {
	return []signal{
		{"exec", "executions", func(c Counts) int64 { return c.Execs }, 50, 12, 160, false, false},
		{"connect", "connections", func(c Counts) int64 { return c.Connects }, 30, 12, 100, false, false},
		{"request", "requests", func(c Counts) int64 { return c.Requests }, 30, 12, 100, false, false},
		{"tokens", "tokens", func(c Counts) int64 { return c.Tokens }, 1000, 4, 5000, true, false},
		{"denial", "refusals", func(c Counts) int64 { return c.Denials }, 5, 6, 20, false, false},
		{"file", "files made or changed", func(c Counts) int64 { return c.Created + c.Changed }, 200, 12, 1000, false, false},
		// Thousands of files are deleted in an instant, so no window after it has any. What an
		// install or a checkout deletes it makes anew: less what was made within a minute, not
		// much is gone at its end, and it is at no six windows in a row.
		{"deletion", "files deleted and not made anew", func(c Counts) int64 { return c.Deleted - c.Created }, 50, peakParts, 160, false, true},
	}
}

// active is how many windows of a sparse signal are a past.
const active = 10

// Detector judges one run. It is not safe for several goroutines.
type Detector struct {
	set     Settings
	history []Past
	window  time.Duration
	tracks  []*track
	begun   time.Time
	start   time.Time // of the window
	base    Counts
	seen    int // windows
	repeats repeats
	regular regular
}

// track is one signal's past in the run.
type track struct {
	signal
	past   []float64 // rates of windows, the newest last
	streak []float64 // those that are beyond, not yet a part of the past
	last   [peakParts]float64
	peak   float64 // the highest mean of peakParts windows
	said   bool    // the streak, and it has not ended
	tall   bool    // earlier runs' peaks were left behind
}

// NewDetector begins to judge a run by its own past and by earlier ones.
func NewDetector(set Settings, history []Past) *Detector {
	d := &Detector{set: set, history: history, window: set.Window()}
	for _, s := range signals() {
		d.tracks = append(d.tracks, &track{signal: s})
	}
	d.repeats.counts = map[string]int64{}
	d.regular.keys = map[string]*rhythm{}
	return d
}

// Sample takes the run's counts at a moment.
func (d *Detector) Sample(s Sample) (found []Anomaly) {
	if d.begun.IsZero() {
		d.begun, d.start, d.base = s.At, s.At, s.Counts
		return nil
	}
	span := s.At.Sub(d.start)
	if span < d.window {
		return nil
	}
	did := s.Counts.Minus(d.base)
	for _, t := range d.tracks {
		found = append(found, t.judge(d, float64(t.of(did))/span.Seconds())...)
	}
	d.start, d.base = s.At, s.Counts
	d.seen++
	return found
}

func (t *track) judge(d *Detector, rate float64) (found []Anomaly) {
	copy(t.last[:], t.last[1:])
	t.last[peakParts-1] = rate
	mean := 0.0
	for _, r := range t.last {
		mean += r / peakParts
	}
	if d.seen+1 >= peakParts && mean > t.peak {
		t.peak = mean
		found = append(found, t.againstEarlier(d)...)
	}
	if t.smooth {
		rate = max(mean, 0)
	}
	return append(found, t.againstOwn(d, rate)...)
}

// againstOwn judges a window by those before it.
func (t *track) againstOwn(d *Detector, rate float64) []Anomaly {
	if t.sparse && rate == 0 {
		return nil
	}
	ready := d.seen >= windows && len(t.past) >= active
	if !ready {
		t.remember(rate)
		return nil
	}
	limit, median := beyond(t.past, 0.95, t.floor)
	if rate <= limit {
		for _, r := range t.streak { // it was a short one, and belongs to the past
			t.remember(r)
		}
		t.streak, t.said = nil, false
		t.remember(rate)
		return nil
	}
	if t.said {
		t.remember(rate) // what goes on becomes what is usual
		return nil
	}
	t.streak = append(t.streak, rate)
	if len(t.streak) < t.sustain {
		return nil
	}
	now, _ := center(t.streak)
	for _, r := range t.streak {
		t.remember(r)
	}
	t.streak, t.said = nil, true
	return []Anomaly{{Signal: t.name, Title: "anomaly: far more " + t.unit + " than in this run so far",
		Detail: fmt.Sprintf("%s %s a second for %v; the median of %d windows of %v before was %s, and beyond %s is an anomaly",
			figure(now), t.unit, time.Duration(t.sustain)*d.window, len(t.past)-t.sustain, d.window, figure(median), figure(limit)),
		Figures: map[string]float64{"rate": now, "median": median, "limit": limit, "windows": float64(t.sustain)}}}
}

func (t *track) remember(rate float64) {
	if len(t.past) >= kept {
		t.past = append(t.past[:0], t.past[1:]...)
	}
	t.past = append(t.past, rate)
}

// enough is how many earlier runs are a past.
const enough = 5

// againstEarlier judges the run's peak by those of the profile's earlier runs.
func (t *track) againstEarlier(d *Detector) []Anomaly {
	if t.tall {
		return nil
	}
	var peaks []float64
	for _, p := range d.history {
		// Runs of an older agentjail have no peak of what it did not look at.
		if peak, ok := p.Peaks[t.name]; ok && p.Span == d.peakSpan() {
			peaks = append(peaks, peak)
		}
	}
	if len(peaks) < enough {
		return nil
	}
	limit, median := beyond(peaks, 1, t.peak0())
	if t.peak <= limit {
		return nil
	}
	t.tall = true
	return []Anomaly{{Signal: t.name, Title: "anomaly: far more " + t.unit + " than in earlier runs of the profile",
		Detail: fmt.Sprintf("%s %s a second over %v; the median of the peaks of %d earlier runs is %s, and beyond %s is an anomaly",
			figure(t.peak), t.unit, d.peakSpan(), len(peaks), figure(median), figure(limit)),
		Figures: map[string]float64{"peak": t.peak, "median": median, "limit": limit, "runs": float64(len(peaks))}}}
}

func (t *track) peak0() float64 { return t.signal.peak }

func (d *Detector) peakSpan() time.Duration { return peakParts * d.window }

// figure writes a rate as people read it.
func figure(f float64) string {
	if f >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}
