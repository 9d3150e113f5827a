package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

var errNotInstalled = errors.New("not installed")

// sample is what was measured of one contestant, or why nothing was.
type sample struct {
	name   string
	values []float64
	err    error
}

// add takes one measurement. The first failure ends the sample: what is left over
// would be a choice of the good runs.
func (s *sample) add(values []float64, err error) {
	if s.err != nil {
		return
	}
	if err != nil {
		s.err = err
		return
	}
	s.values = append(s.values, values...)
}

func (s *sample) median() (float64, error) {
	if s.err != nil {
		return 0, s.err
	}
	n := len(s.values)
	if n == 0 {
		return 0, errors.New("not measured")
	}
	sorted := slices.Sorted(slices.Values(s.values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2, nil
}

// unsteady says that the middle half of the values lies further apart than a factor
// of two. The median is then luck.
func (s *sample) unsteady() bool {
	n := len(s.values)
	if n < 2 {
		return false
	}
	sorted := slices.Sorted(slices.Values(s.values))
	return sorted[n-1-n/4] > 2*sorted[n/4]
}

// unit of a measurement.
type unit int

const (
	seconds unit = iota
	bitsPerSecond
	perSecond
	bytesPerSecond
	bytesHeld
)

// text writes a value for people.
func (u unit) text(v float64) string {
	switch {
	case u == bitsPerSecond:
		return fmt.Sprintf("%.2f Gbit/s", v/1e9)
	case u == bytesPerSecond:
		return fmt.Sprintf("%.0f MB/s", v/1e6)
	case u == bytesHeld:
		return fmt.Sprintf("%.1f MB", v/1e6)
	case u == perSecond:
		return fmt.Sprintf("%.0f /s", v)
	case v < 0.001:
		return fmt.Sprintf("%.0f µs", v*1e6)
	case v < 1:
		return fmt.Sprintf("%.1f ms", v*1e3)
	}
	return fmt.Sprintf("%.2f s", v)
}

// best of some values: the shortest time, the least memory, the highest rate.
func (u unit) best(values []float64) float64 {
	if u == seconds || u == bytesHeld {
		return slices.Min(values)
	}
	return slices.Max(values)
}

// target is what agentjail's median should be: as a ratio to the peer's, as what it is
// more than the peer's, or in itself. The zero target is none: the row is there to know.
type target struct {
	atMost  float64 // times the peer's
	atLeast float64 // times the peer's
	more    float64 // than the peer's, in the row's unit
	below   float64 // in the row's unit, whatever the peer has
}

func (t target) text(u unit) string {
	switch {
	case t.more > 0:
		return "≤ +" + u.text(t.more)
	case t.below > 0:
		return "≤ " + u.text(t.below)
	case t.atMost > 0:
		return fmt.Sprintf("≤ %.2f", t.atMost)
	case t.atLeast > 0:
		return fmt.Sprintf("≥ %.2f", t.atLeast)
	}
	return "-"
}

// verdict says whether the median v reaches the target beside the peer's p, and if not
// by how much of it.
func (t target) verdict(v, p float64) string {
	ratio := v / p
	switch {
	case t.more > 0 && v-p > t.more:
		return fmt.Sprintf("missed by %.1f %%", ((v-p)/t.more-1)*100)
	case t.below > 0 && v > t.below:
		return fmt.Sprintf("missed by %.1f %%", (v/t.below-1)*100)
	case t.atMost > 0 && ratio > t.atMost:
		return fmt.Sprintf("missed by %.1f %%", (ratio/t.atMost-1)*100)
	case t.atLeast > 0 && ratio < t.atLeast:
		return fmt.Sprintf("missed by %.1f %%", (1-ratio/t.atLeast)*100)
	case t != target{}:
		return "met"
	}
	return "-"
}

// comparison is one row: agentjail against one peer, or against none.
type comparison struct {
	what    string
	unit    unit
	subject *sample
	peer    *sample
	target  target
}

// cells are the row's columns as header names them.
func (c comparison) cells() []string {
	text := func(s *sample) (string, float64, bool) {
		v, err := s.median()
		if err != nil {
			return oneLine(err), 0, false
		}
		return c.unit.text(v), v, true
	}
	subject, v, measured := text(c.subject)
	if c.peer == nil {
		if c.subject.unsteady() {
			subject += " (unsteady)"
		}
		verdict := "not measured"
		if measured {
			verdict = c.target.verdict(v, 0)
		}
		return []string{c.what, c.subject.name, subject, "-", "-", "-", c.target.text(c.unit), verdict}
	}
	peer, p, peerMeasured := text(c.peer)
	if c.subject.unsteady() {
		subject += " (unsteady)"
	}
	// A peer that stalls in half of its turns (pasta 2023-03-09 does, upwards) has no
	// median to be proud of beating: it is taken at its best.
	if peerMeasured && c.peer.unsteady() {
		p = c.unit.best(c.peer.values)
		peer = c.unit.text(p) + " (best; unsteady)"
	}
	ratio, verdict := "-", "not measured"
	if measured && peerMeasured && p > 0 {
		ratio = fmt.Sprintf("%.2f", v/p)
		verdict = c.target.verdict(v, p)
	}
	if measured && peerMeasured && c.target.more > 0 {
		ratio = fmt.Sprintf("%+.0f µs", (v-p)*1e6)
	}
	return []string{c.what, c.subject.name, subject, c.peer.name, peer, ratio, c.target.text(c.unit), verdict}
}

// oneLine cuts an error to what fits into a table; the whole of it is on stderr.
func oneLine(err error) string {
	if errors.Is(err, errNotInstalled) {
		return errNotInstalled.Error()
	}
	s := strings.Join(strings.Fields(err.Error()), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:57]) + "..."
	}
	return "failed: " + s
}

var header = []string{"what", "agentjail", "median", "against", "median", "ratio", "target", "verdict"}

func writeText(out io.Writer, table []comparison) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range table {
		fmt.Fprintln(w, strings.Join(row.cells(), "\t"))
	}
	w.Flush()
}
