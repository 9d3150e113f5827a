package report

import (
	"cmp"

	"github.com/agentjail/agentjail/audit"
)

// rawPoint is a step as the trail has it.
type rawPoint struct {
	at, step int64
	Points
}

// Of times: the year 10,000, and a run's length, in milliseconds.
const (
	farthest = 253_402_300_800_000
	longest  = int64(366*24) * 3600 * 1000
)

// maxRaw bounds the steps that are kept while the trail is read: two weeks of them.
const maxRaw = 50_000

func (b *builder) usage(e audit.Event) {
	u := e.Resources()
	// A trail that was written by another may have any numbers in it.
	if u == nil || u.Start < 0 || u.Start > farthest || u.Step > longest {
		return
	}
	b.source = cmp.Or(b.source, u.Source)
	for i := range u.CPU {
		if len(b.points) >= maxRaw {
			b.r.More["timeline"]++
			return
		}
		b.points = append(b.points, rawPoint{u.Start + int64(i)*u.Step, u.Step, Points{
			CPU: u.CPU[i], Memory: u.Memory[i], Processes: u.Processes[i], Network: u.Network[i],
			Tokens: u.Tokens[i], Execs: u.Execs[i], Denials: u.Denials[i]}})
	}
}

// resample gives steps of one length, maxPoints of them at most: sums of what adds up,
// and the most of what does not. A step of the trail that is longer than one of these is
// spread evenly over those that it covers.
func resample(raw []rawPoint) *Timeline {
	if len(raw) == 0 {
		return nil
	}
	start, end, least := raw[0].at, raw[0].at, raw[0].step
	for _, p := range raw {
		start, end, least = min(start, p.at), max(end, p.at+p.step), min(least, p.step)
	}
	if least <= 0 || end-start <= 0 || end-start > longest {
		return nil
	}
	t := &Timeline{Start: start, Step: max(least, (end-start+maxPoints-1)/maxPoints)}
	t.Points = make([]Points, (end-start+t.Step-1)/t.Step)
	for _, p := range raw {
		first := (p.at - start) / t.Step
		last := min(max((p.at+p.step-1-start)/t.Step, first), int64(len(t.Points))-1)
		n := last - first + 1
		for i := first; i <= last; i++ {
			q := &t.Points[i]
			share := func(total int64) int64 { // what does not divide goes to the first
				if i == first {
					return total - total/n*(n-1)
				}
				return total / n
			}
			q.CPU += share(p.CPU)
			q.Network += share(p.Network)
			q.Tokens += share(p.Tokens)
			q.Execs += share(p.Execs)
			q.Denials += share(p.Denials)
			q.Memory, q.Processes = max(q.Memory, p.Memory), max(q.Processes, p.Processes)
		}
	}
	return t
}
