package filewatch

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// pen is a scribe on a clock of its own, and what it wrote.
type pen struct {
	*scribe
	counts counters
	now    time.Time
	each   []audit.LiveFile
	mass   []audit.LiveFiles
	bytes  int
}

func newPen(size int64) *pen {
	p := &pen{now: time.Unix(1000, 0)}
	p.scribe = newScribe(&p.counts, size, func(r audit.Record) {
		b, _ := json.Marshal(r)
		p.bytes += len(b)
		switch r := r.(type) {
		case audit.LiveFile:
			p.each = append(p.each, r)
		case audit.LiveFiles:
			p.mass = append(p.mass, r)
		}
	})
	return p
}

func (p *pen) do(op audit.FileOp, path string) { p.add(Change{Op: op, Path: path}, p.now) }

// pass lets time pass, with the ticks that the watch makes of it.
func (p *pen) pass(d time.Duration) {
	for end := p.now.Add(d); p.now.Before(end); {
		p.now = p.now.Add(window / 2)
		if p.pending() {
			p.tick(p.now)
		}
	}
}

func (p *pen) told() (list []string) {
	for _, f := range p.each {
		text := fmt.Sprintf("%s %s", f.Op, f.Path)
		if f.Count > 0 {
			text += fmt.Sprintf(" %d", f.Count)
		}
		list = append(list, text)
	}
	return list
}

// What is written again and again is one event a second, and what is made is written too.
func TestScribeFolds(t *testing.T) {
	p := newPen(200 << 20)
	p.do(audit.FileCreated, "new")
	p.do(audit.FileModified, "new")
	for range 100 {
		p.do(audit.FileModified, "log")
		p.now = p.now.Add(time.Millisecond)
	}
	p.pass(5 * time.Second)
	p.do(audit.FileModified, "new")
	p.do(audit.FileCreated, "brief")
	p.do(audit.FileDeleted, "brief")
	p.do(audit.FileModified, "brief")
	p.add(Change{Op: audit.FileCreated, Path: "t"}, p.now)
	p.add(Change{Op: audit.FileRenamed, Path: "f", Old: "t"}, p.now)
	p.do(audit.FileModified, "f")
	p.end(p.now)
	want := "[created new modified log modified log 99 modified new created brief deleted brief modified brief created t renamed f]"
	if got := fmt.Sprint(p.told()); got != want || len(p.mass) > 0 {
		t.Errorf("got  %s and %+v\nwant %s", got, p.mass, want)
	}
	if got := p.counts.totals(); got != (Totals{Created: 3, Modified: 102, Deleted: 1, Renamed: 1}) {
		t.Errorf("%+v", got)
	}
	if f := p.each[2]; !f.First.Equal(time.Unix(1000, int64(time.Millisecond))) || !f.At.Equal(time.Unix(1000, int64(99*time.Millisecond))) {
		t.Errorf("from %v to %v", f.First, f.At)
	}
}

// More than a few changes in a second are counted, with the folder that they have in common.
func TestScribeMass(t *testing.T) {
	p := newPen(200 << 20)
	for i := range 1254 {
		op := audit.FileCreated
		if i >= 1234 {
			op = audit.FileDeleted
		}
		p.do(op, fmt.Sprintf("web/node_modules/%d/x.js", i))
	}
	p.pass(3 * time.Second)
	p.do(audit.FileCreated, "a")
	p.end(p.now)
	if len(p.each) != 2*singles+1 || len(p.mass) != 1 {
		t.Fatalf("%d events and %+v", len(p.each), p.mass)
	}
	if m := p.mass[0]; m.Created != 1234-singles || m.Deleted != 20-singles || m.Under != "web/node_modules" {
		t.Errorf("%+v", m)
	}
}

// Hours of it at full speed fills a part of the trail, and not more.
func TestScribeBounded(t *testing.T) {
	for _, size := range []int64{audit.MinSize, 1 << 20, 200 << 20} {
		p := newPen(size)
		want := Totals{}
		for second := range 6 * 3600 {
			for i := range 60 {
				p.do(audit.FileCreated, fmt.Sprintf("%d/%d/\x1b\x1b\x1b\x1b", second, i))
				p.do(audit.FileModified, "log")
				want.Created++
				want.Modified++
			}
			p.pass(time.Second)
		}
		p.end(p.now)
		room := min(maxRoom, size/roomPart)
		if int64(p.bytes) > room+2*eventBytes {
			t.Errorf("%d bytes of a trail of %d", p.bytes, size)
		}
		got := Totals{}
		for _, f := range p.each {
			switch f.Op {
			case audit.FileCreated:
				got.Created++
			case audit.FileModified:
				got.Modified += max(f.Count, 1)
			}
		}
		for _, m := range p.mass {
			got.Created += m.Created
			got.Modified += m.Modified
		}
		if got != want || p.counts.totals() != want {
			t.Errorf("size %d: the trail has %+v, counted are %+v of %+v", size, got, p.counts.totals(), want)
		}
		if len(p.young[0]) > maxYoung || len(p.young[1]) > maxYoung || len(p.repeats) > maxRepeats {
			t.Error("it remembers too much")
		}
		t.Logf("a trail of %d bytes: %d events and %d that count, %d bytes", size, len(p.each), len(p.mass), p.bytes)
	}
}

func TestCommon(t *testing.T) {
	for _, c := range [][3]string{{"a/b", "a/b/c", "a/b"}, {"a/b", "a/bc/d", "a"}, {"a", "b", "."}, {".", "a", "."}, {"a/b/c", "a", "."}} {
		if got := common(c[0], c[1]); got != c[2] {
			t.Errorf("%v: %s", c, got)
		}
	}
}
