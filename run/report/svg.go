package report

import (
	"fmt"
	"strconv"
	"strings"
)

// panel is one quantity over time.
type panel struct {
	Title, Says, Path string
}

// panels draws what there is something of.
func (r *Report) panels() (list []panel) {
	t := r.Timeline
	if t == nil {
		return nil
	}
	per := func(n int64) int64 { return n * 1000 / max(t.Step, 1) } // a second
	for _, q := range []struct {
		title string
		of    func(*Points) int64
		says  func(most, sum int64) string
	}{
		{"CPU", func(p *Points) int64 { return p.CPU }, func(most, sum int64) string {
			return fmt.Sprintf("%s in all, at most %.1f CPUs", span(sum/1000), float64(most)/1000/float64(max(t.Step, 1)))
		}},
		{"Memory", func(p *Points) int64 { return p.Memory }, func(most, _ int64) string { return "at most " + size(most) }},
		{"Network", func(p *Points) int64 { return p.Network }, func(most, sum int64) string {
			return size(sum) + " in all, at most " + size(per(most)) + "/s"
		}},
		{"Tokens", func(p *Points) int64 { return p.Tokens }, func(_, sum int64) string { return number(sum) + " in all" }},
		{"Programs", func(p *Points) int64 { return p.Execs }, func(_, sum int64) string { return launchWord(sum) }},
	} {
		values := make([]int64, len(t.Points))
		var most, sum int64
		for i := range t.Points {
			values[i] = max(q.of(&t.Points[i]), 0)
			most, sum = max(most, values[i]), sum+values[i]
		}
		if most == 0 && q.title != "CPU" && q.title != "Memory" {
			continue
		}
		list = append(list, panel{q.title, q.says(most, sum), area(values, most)})
	}
	return list
}

// area is a path over 1000 by 100 units (SVG 2, 9.3), in steps.
func area(values []int64, most int64) string {
	if len(values) == 0 || most <= 0 {
		return "M0 100H1000"
	}
	var b strings.Builder
	b.WriteString("M0 100")
	write := func(letter byte, f float64) {
		b.WriteByte(letter)
		b.WriteString(strconv.FormatFloat(f, 'f', 1, 64))
	}
	for i, v := range values {
		write('V', 100-float64(v)/float64(most)*94)
		write('H', float64(i+1)*1000/float64(len(values)))
	}
	b.WriteString("V100Z")
	return b.String()
}
