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
)

// text writes a value for people.
func (u unit) text(v float64) string {
	switch {
	case u == bitsPerSecond:
		return fmt.Sprintf("%.2f Gbit/s", v/1e9)
	case u == perSecond:
		return fmt.Sprintf("%.0f /s", v)
	case v < 1:
		return fmt.Sprintf("%.1f ms", v*1e3)
	}
	return fmt.Sprintf("%.2f s", v)
}

// best of some values: the shortest time, the highest rate.
func (u unit) best(values []float64) float64 {
	if u == seconds {
		return slices.Min(values)
	}
	return slices.Max(values)
}

// target is what the ratio of agentjail's median to the peer's should be. The zero
// target is none: the row is there to know.
type target struct {
	atMost  float64
	atLeast float64
}

func (t target) String() string {
	switch {
	case t.atMost > 0:
		return fmt.Sprintf("≤ %.2f", t.atMost)
	case t.atLeast > 0:
		return fmt.Sprintf("≥ %.2f", t.atLeast)
	}
	return "-"
}

// verdict says whether a ratio reaches the target, and if not by how much of it.
func (t target) verdict(ratio float64) string {
	switch {
	case t.atMost > 0 && ratio > t.atMost:
		return fmt.Sprintf("missed by %.1f %%", (ratio/t.atMost-1)*100)
	case t.atLeast > 0 && ratio < t.atLeast:
		return fmt.Sprintf("missed by %.1f %%", (1-ratio/t.atLeast)*100)
	case t.atMost > 0 || t.atLeast > 0:
		return "met"
	}
	return "-"
}

// comparison is one row: agentjail against one peer.
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
		verdict = c.target.verdict(v / p)
	}
	return []string{c.what, c.subject.name, subject, c.peer.name, peer, ratio, c.target.String(), verdict}
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
