package monitor

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Kind is what was done again and again.
type Kind string

// The kinds.
const (
	Exec    Kind = "exec"
	Connect Kind = "connect"
	Request Kind = "request"
)

// The bounds of what is kept of names, which the agent chooses.
const (
	maxKeys    = 1024
	maxKey     = 200 // bytes
	maxRhythms = 8   // that are told of in a run
	arrivals   = 256 // times that are kept of one name
)

// Saw takes something that the agent did: the program that it executed, the host that it
// connected to.
func (d *Detector) Saw(kind Kind, name string, at time.Time) (found []Anomaly) {
	key := string(kind) + " " + name
	if len(key) > maxKey {
		key = strings.ToValidUTF8(key[:maxKey], "")
	}
	if kind == Exec {
		found = d.repeats.add(d, key)
	}
	// The pause between two beats is no beat.
	if kind == Exec && strings.HasSuffix(name, "/sleep") {
		return found
	}
	return append(found, d.regular.add(d, kind, key, at)...)
}

// repeats counts the executions of each program.
type repeats struct {
	counts map[string]int64
}

func (r *repeats) add(d *Detector, key string) []Anomaly {
	if _, known := r.counts[key]; !known && len(r.counts) >= maxKeys {
		return nil
	}
	r.counts[key]++
	n := r.counts[key]
	if n != d.set.Repeats {
		return nil
	}
	// What earlier runs did as often is what this profile is used for.
	var before []float64
	for _, p := range d.history {
		before = append(before, float64(p.Most[key]))
	}
	if median, _ := center(before); len(before) >= enough && 5*median >= float64(n) {
		return nil
	}
	return []Anomaly{{Signal: "repeat", Title: "anomaly: one program was executed again and again",
		Detail: fmt.Sprintf("%s: %d times", key, n), Figures: map[string]float64{"count": float64(n), "limit": float64(d.set.Repeats)}}}
}

// most are the programs that were executed most often.
func (r *repeats) most(n int) map[string]int64 {
	keys := make([]string, 0, len(r.counts))
	for k := range r.counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if r.counts[a] != r.counts[b] {
			return int(max(min(r.counts[b]-r.counts[a], 1), -1))
		}
		return strings.Compare(a, b)
	})
	most := map[string]int64{}
	for _, k := range keys[:min(n, len(keys))] {
		most[k] = r.counts[k]
	}
	return most
}

// regular looks for what happens at regular intervals for long: a person or a model
// thinks for a while each time, a loop with a sleep in it does not.
type regular struct {
	keys  map[string]*rhythm
	found []string
}

// rhythm is when something happened lately.
type rhythm struct {
	times []time.Time // of the first of each burst, the newest last
	last  time.Time   // of all
	said  bool
}

// What a rhythm is. The network's has to go on for longer: programs ask their servers
// for news now and then, in good faith.
const (
	beats      = 12   // intervals
	netBeats   = 20   //
	netAfter   = 3    // times Settings.After
	offBeat    = 0.15 // of the median that an interval may be off it
	inTime     = 0.8  // share of intervals that must not be
	burstPart  = 300  // of After: what follows sooner is the same beat (one second)
	shortest   = 150  // of After: faster is work, not a rhythm (two seconds)
	knownRuns  = 3    // earlier runs that had a rhythm: it belongs to the profile
	knownAmong = 10   // of the latest so many
)

func (r *regular) add(d *Detector, kind Kind, key string, at time.Time) []Anomaly {
	k := r.keys[key]
	if k == nil {
		if len(r.keys) >= maxKeys {
			return nil
		}
		k = &rhythm{}
		r.keys[key] = k
	}
	burst := d.set.After / burstPart
	follows := !k.last.IsZero() && at.Sub(k.last) < burst
	k.last = at
	if k.said || follows {
		return nil
	}
	if len(k.times) >= arrivals {
		k.times = append(k.times[:0], k.times[1:]...)
	}
	k.times = append(k.times, at)
	need, span := beats, d.set.After
	if kind != Exec {
		need, span = netBeats, netAfter*d.set.After
	}
	median, off, n, ok := k.interval(need, span)
	if !ok || median < d.set.After/shortest {
		return nil
	}
	k.said = true
	if len(r.found) >= maxRhythms {
		return nil
	}
	r.found = append(r.found, key)
	if d.known(key) {
		return nil
	}
	return []Anomaly{{Signal: "regular", Title: "anomaly: something is done at regular intervals",
		Detail:  fmt.Sprintf("%s: every %v, %d times in a row, %.0f %% of the intervals within %.1f %% of it", key, median.Round(time.Millisecond), n, 100*inTime, 100*off),
		Figures: map[string]float64{"interval_seconds": median.Seconds(), "intervals": float64(n), "deviation": off}}}
}

// interval is the median of the newest intervals, and how far off it most of them are at
// most; ok where they are enough, and regular.
func (k *rhythm) interval(need int, span time.Duration) (median time.Duration, off float64, n int, ok bool) {
	last := k.times[len(k.times)-1]
	first := len(k.times) - 1 - need
	for first > 0 && last.Sub(k.times[first]) < span {
		first--
	}
	if first < 0 || last.Sub(k.times[first]) < span {
		return 0, 0, 0, false
	}
	var list []float64
	for i := first + 1; i < len(k.times); i++ {
		list = append(list, k.times[i].Sub(k.times[i-1]).Seconds())
	}
	m, _ := center(list)
	if m <= 0 {
		return 0, 0, 0, false
	}
	for i, x := range list {
		list[i] = math.Abs(x-m) / m
	}
	off = quantile(list, inTime)
	return time.Duration(m * float64(time.Second)), off, len(list), off <= offBeat
}

// known says whether earlier runs had the same rhythm.
func (d *Detector) known(key string) bool {
	n := 0
	for _, p := range d.history[max(0, len(d.history)-knownAmong):] {
		if slices.Contains(p.Regular, key) {
			n++
		}
	}
	return n >= knownRuns
}
