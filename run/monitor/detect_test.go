package monitor

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// virtual is a run on a clock of its own.
type virtual struct {
	d      *Detector
	now    time.Time
	counts Counts
	found  []Anomaly
}

func newVirtual(set Settings, history ...Past) *virtual {
	v := &virtual{d: NewDetector(set, history), now: time.Unix(1000, 0)}
	v.found = v.d.Sample(Sample{At: v.now})
	return v
}

// pass lets seconds pass, in each of which do changes the counts.
func (v *virtual) pass(seconds int, do func(i int, c *Counts)) {
	for i := range seconds {
		v.now = v.now.Add(time.Second)
		do(i, &v.counts)
		v.found = append(v.found, v.d.Sample(Sample{At: v.now, Counts: v.counts})...)
	}
}

func (v *virtual) execs(name string, n int) {
	for range n {
		v.found = append(v.found, v.d.Saw(Exec, name, v.now)...)
	}
}

func (v *virtual) signals() string {
	var list []string
	for _, a := range v.found {
		list = append(list, a.Signal)
	}
	return strings.Join(list, " ")
}

// A model call every twenty seconds or so, that grows, and then takes ten times as much.
func TestTokensJump(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	v := newVirtual(Default())
	per := func(factor int64) func(int, *Counts) {
		return func(i int, c *Counts) {
			if i%20 == 0 {
				c.Tokens += factor * int64(20_000+r.Intn(20_000)+10*i)
			}
		}
	}
	v.pass(1800, per(1))
	if len(v.found) > 0 {
		t.Fatalf("an ordinary half hour: %+v", v.found)
	}
	v.pass(300, per(10))
	if v.signals() != "tokens" {
		t.Fatalf("found %+v", v.found)
	}
	if a := v.found[0]; a.Figures["rate"] < 5*a.Figures["median"] || a.Figures["limit"] <= a.Figures["median"] || !strings.Contains(a.Detail, "tokens a second") {
		t.Errorf("figures %+v", a)
	}
}

// What ordinary work looks like, at the start and in the middle of a run.
func TestOrdinaryWork(t *testing.T) {
	quiet := func(_ int, c *Counts) {}
	install := func(i int, c *Counts) { c.Execs += 60; c.Connects += 20; c.Requests += 50 } // npm ci: ninety seconds
	build := func(i int, c *Counts) { c.Execs += 35 }                                       // go build, for minutes
	for name, run := range map[string]func(v *virtual){
		"npm ci at once":     func(v *virtual) { v.pass(90, install); v.pass(1200, quiet) },
		"npm ci later":       func(v *virtual) { v.pass(1200, quiet); v.pass(90, install); v.pass(600, quiet) },
		"go build at once":   func(v *virtual) { v.pass(600, build); v.pass(600, quiet) },
		"go build later":     func(v *virtual) { v.pass(900, quiet); v.pass(600, build); v.pass(900, quiet) },
		"all day, on and on": func(v *virtual) { v.pass(8*3600, func(i int, c *Counts) { c.Execs += int64(i % 7); c.Requests++ }) },
		"a model's pace": func(v *virtual) {
			r := rand.New(rand.NewSource(2))
			for range 500 {
				v.pass(5+r.Intn(60), quiet)
				v.execs("/usr/bin/git", 1+r.Intn(4))
				v.execs("/usr/bin/rg", 1)
			}
		},
		"waiting for a server": func(v *virtual) {
			for range 60 {
				v.pass(1, quiet)
				v.execs("/usr/bin/curl", 1)
			}
		},
		"a large make": func(v *virtual) { v.execs("/bin/sh", 40_000) },
	} {
		t.Run(name, func(t *testing.T) {
			var history []Past
			for i := range 10 {
				history = append(history, Past{Run: fmt.Sprint(i), Span: time.Minute, Peaks: map[string]float64{"exec": 0.1}})
			}
			for _, h := range [][]Past{nil, history} {
				v := newVirtual(Default(), h...)
				run(v)
				if len(v.found) > 0 {
					t.Errorf("found %+v", v.found)
				}
			}
		})
	}
}

func TestExecFlood(t *testing.T) {
	v := newVirtual(Default())
	v.pass(600, func(i int, c *Counts) { c.Execs += int64(i % 3) })
	v.pass(300, func(i int, c *Counts) { c.Execs += 400 })
	if v.signals() != "exec" {
		t.Errorf("found %+v", v.found)
	}
	// Told once while it goes on, and once more when it comes back.
	v.pass(1200, func(i int, c *Counts) { c.Execs += 400 })
	if v.signals() != "exec" {
		t.Errorf("it was told again: %+v", v.found)
	}
}

func TestDenials(t *testing.T) {
	v := newVirtual(Default())
	v.pass(400, func(i int, c *Counts) {})
	v.pass(120, func(i int, c *Counts) { c.Denials += 20 })
	if v.signals() != "denial" {
		t.Errorf("found %+v", v.found)
	}
}

func TestEarlierRuns(t *testing.T) {
	var history []Past
	for i := range 6 {
		history = append(history, Past{Span: time.Minute, Peaks: map[string]float64{"exec": 2 + float64(i), "tokens": 400}})
	}
	flood := func(i int, c *Counts) { c.Execs += 300 }
	for n, want := range map[int]string{4: "", 5: "exec", 6: "exec"} {
		v := newVirtual(Default(), history[:n]...)
		v.pass(120, flood)
		if v.signals() != want {
			t.Errorf("%d earlier runs: found %+v", n, v.found)
		}
	}
	// Peaks of another span are of no use.
	for i := range history {
		history[i].Span = time.Second
	}
	v := newVirtual(Default(), history...)
	if v.pass(120, flood); len(v.found) > 0 {
		t.Errorf("judged by other spans: %+v", v.found)
	}
}

// An agent that loops curl every thirty seconds.
func TestCurlLoop(t *testing.T) {
	loop := func(v *virtual, n int) {
		r := rand.New(rand.NewSource(3))
		for range n {
			v.now = v.now.Add(30*time.Second + time.Duration(r.Intn(900))*time.Millisecond)
			v.execs("/usr/bin/curl", 1)
			v.execs("/usr/bin/sleep", 1)
		}
	}
	v := newVirtual(Default())
	if loop(v, beats); len(v.found) > 0 {
		t.Errorf("after %d: %+v", beats, v.found)
	}
	loop(v, 100)
	if v.signals() != "regular" || !strings.Contains(v.found[0].Detail, "/usr/bin/curl") || v.found[0].Figures["interval_seconds"] < 29 {
		t.Fatalf("found %+v", v.found)
	}
	// What earlier runs of the profile did as well is no news.
	var history []Past
	for range knownRuns {
		history = append(history, v.d.Past("x", v.now))
	}
	again := newVirtual(Default(), history...)
	if loop(again, 100); len(again.found) > 0 {
		t.Errorf("known: %+v", again.found)
	}
}

// Bash ninety thousand times.
func TestRepeat(t *testing.T) {
	v := newVirtual(Default())
	v.execs("/bin/bash", 49_999)
	if len(v.found) > 0 {
		t.Fatalf("found %+v", v.found)
	}
	v.execs("/bin/bash", 40_001)
	if v.signals() != "repeat" || v.found[0].Figures["count"] != 50_000 || !strings.Contains(v.found[0].Detail, "/bin/bash") {
		t.Errorf("found %+v", v.found)
	}
	var history []Past
	for range enough {
		history = append(history, Past{Most: map[string]int64{"exec /bin/bash": 60_000}})
	}
	v = newVirtual(Default(), history...)
	if v.execs("/bin/bash", 90_000); len(v.found) > 0 {
		t.Errorf("what earlier runs did: %+v", v.found)
	}
}

// Names are the agent's: any number of any length costs little.
func TestBounded(t *testing.T) {
	v := newVirtual(Settings{After: time.Minute, Repeats: 2})
	for i := range 100_000 {
		v.now = v.now.Add(time.Second)
		v.execs(strings.Repeat("\xff", 4000)+fmt.Sprint(i), 1)
		v.execs(fmt.Sprintf("/tmp/%d", i), 1)
	}
	if len(v.d.repeats.counts) > maxKeys || len(v.d.regular.keys) > maxKeys {
		t.Errorf("%d counts, %d rhythms", len(v.d.repeats.counts), len(v.d.regular.keys))
	}
	for k, r := range v.d.regular.keys {
		if len(k) > maxKey || len(r.times) > arrivals {
			t.Errorf("a key of %d bytes, %d times", len(k), len(r.times))
		}
	}
}

// Thousands of files that are gone at once, and what only looks like it.
func TestDeletions(t *testing.T) {
	quiet := func(i int, c *Counts) { c.Changed += int64(i % 2) }
	at := func(second int, deleted, created int64) func(int, *Counts) {
		return func(i int, c *Counts) {
			if i == second {
				c.Deleted += deleted
				c.Created += created
			}
		}
	}
	v := newVirtual(Default())
	v.pass(600, quiet)
	v.pass(120, at(3, 5000, 0))
	if v.signals() != "deletion" || v.found[0].Figures["rate"] < 80 {
		t.Fatalf("5,000 files at once: %+v", v.found)
	}
	if v.pass(600, quiet); len(v.found) != 1 {
		t.Errorf("it was told again: %+v", v.found)
	}
	for name, run := range map[string]func(v *virtual){
		"at once":      func(v *virtual) { v.pass(60, at(3, 5000, 0)); v.pass(600, quiet) },
		"a few":        func(v *virtual) { v.pass(600, quiet); v.pass(60, at(3, 500, 0)); v.pass(600, quiet) },
		"git checkout": func(v *virtual) { v.pass(600, quiet); v.pass(60, at(3, 20_000, 21_000)); v.pass(600, quiet) },
		"npm ci": func(v *virtual) {
			v.pass(600, quiet)
			v.pass(10, at(0, 30_000, 0))
			v.pass(50, func(_ int, c *Counts) { c.Created += 600 })
			v.pass(600, quiet)
		},
		"an archive that is unpacked": func(v *virtual) { v.pass(600, quiet); v.pass(60, at(3, 0, 60_000)); v.pass(600, quiet) },
	} {
		t.Run(name, func(t *testing.T) {
			var history []Past
			for i := range 10 {
				history = append(history, Past{Run: fmt.Sprint(i), Span: time.Minute, Peaks: map[string]float64{"exec": 0.1}})
			}
			for _, h := range [][]Past{nil, history} {
				v := newVirtual(Default(), h...)
				if run(v); len(v.found) > 0 {
					t.Errorf("found %+v", v.found)
				}
			}
		})
	}
	// Against earlier runs it takes no past of the run's own.
	var history []Past
	for range enough {
		history = append(history, Past{Span: time.Minute, Peaks: map[string]float64{"deletion": 0.5}})
	}
	v = newVirtual(Default(), history...)
	if v.pass(90, at(3, 20_000, 0)); v.signals() != "deletion" {
		t.Errorf("found %+v", v.found)
	}
}

func TestFileFlood(t *testing.T) {
	v := newVirtual(Default())
	v.pass(600, func(i int, c *Counts) { c.Changed += int64(i % 3) })
	if v.pass(200, func(i int, c *Counts) { c.Changed += 1000 }); v.signals() != "file" {
		t.Errorf("found %+v", v.found)
	}
}
