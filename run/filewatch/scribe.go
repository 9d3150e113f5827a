package filewatch

import (
	"hash/maphash"
	"path"
	"strings"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// What the trail has of changes that are seen as they happen. An agent may make a hundred
// thousand of them a second, and a trail that is full ends the run: so there is room for a
// part of the trail only, and what is beyond is counted.
const (
	window     = time.Second
	singles    = 10             // events of one change each, a window and kind: many deletions hide no new file
	slow       = time.Minute    // between events that count, once most of the room is used
	maxRoom    = 8 << 20        // bytes of the trail,
	roomPart   = 8              // and at most such a part of its size
	eventBytes = 1700           // of an event, beside its paths
	lastBytes  = 2 * eventBytes // of the room, for the last one
	massPart   = 1.0 / 2        // of the room, for events that count
	slowPart   = 1.0 / 4        // of the room, for those that come slowly
	maxYoung   = 65_536         // paths
	maxRepeats = 2 * singles    // paths
)

// scribe counts changes and writes what there is room for into the trail. Time comes in
// with what it is told.
type scribe struct {
	counts *counters
	emit   func(audit.Record)
	room   int64 // bytes
	used   int64

	begun   time.Time            // of the window; zero: nothing is in it
	turned  time.Time            // when the one before was over
	written map[audit.FileOp]int // single events in it
	repeats map[string]*repeat
	young   [2]map[uint64]bool // paths that were made in this window and the one before
	seed    maphash.Seed

	mass      audit.LiveFiles
	massBegun time.Time // zero: there are none
}

// repeat is a path whose change was told, and how often it has changed since.
type repeat struct {
	count       int64
	first, last time.Time
}

func newScribe(c *counters, size int64, emit func(audit.Record)) *scribe {
	return &scribe{counts: c, emit: emit, room: min(maxRoom, size/roomPart), repeats: map[string]*repeat{}, written: map[audit.FileOp]int{}, young: [2]map[uint64]bool{{}, {}}, seed: maphash.MakeSeed()}
}

// add takes a change at the time that it was seen.
func (s *scribe) add(c Change, at time.Time) {
	s.tick(at)
	if s.begun.IsZero() {
		s.begun = at
		if at.Sub(s.turned) >= window {
			clear(s.young[1])
		}
	}
	switch c.Op {
	case audit.FileCreated:
		s.grew(c.Path)
	case audit.FileRenamed:
		if s.isYoung(c.Old) {
			s.grew(c.Path)
		}
	case audit.FileDeleted:
		delete(s.young[0], s.hash(c.Path))
		delete(s.young[1], s.hash(c.Path))
	case audit.FileModified:
		if s.isYoung(c.Path) {
			return // what is made is written, too
		}
	}
	s.counts.add(c.Op)
	if r := s.repeats[c.Path]; r != nil && c.Op == audit.FileModified {
		if r.count == 0 {
			r.first = at
		}
		r.count++
		r.last = at
		return
	}
	cost := cost(c.Path, c.Old)
	if s.written[c.Op] >= singles || s.left(massPart) < cost {
		s.tooMany(c, at)
		return
	}
	s.written[c.Op]++
	s.used += cost
	if c.Op == audit.FileModified && len(s.repeats) < maxRepeats {
		s.repeats[c.Path] = &repeat{}
	}
	s.emit(live(c, at))
}

func live(c Change, at time.Time) audit.LiveFile {
	f := audit.LiveFile{At: at, Op: c.Op, Path: c.Path, OldPath: c.Old}
	if c.Dir {
		f.Type = "folder"
	}
	return f
}

// cost is what an event takes of the trail at most. It has a path as such, in its message,
// and the last part of it; JSON writes a control character in six.
func cost(paths ...string) int64 {
	n := 0
	for _, p := range paths {
		n += len(p)
		for i := range len(p) {
			if p[i] < ' ' || p[i] > '~' {
				n += 5
			}
		}
	}
	return int64(eventBytes + 3*n)
}

// left is how much room there is but for a part of it.
func (s *scribe) left(but float64) int64 { return int64(float64(s.room)*(1-but)) - s.used }

// tooMany counts a change that gets no event of its own.
func (s *scribe) tooMany(c Change, at time.Time) {
	m := &s.mass
	if s.massBegun.IsZero() {
		s.massBegun = at
		*m = audit.LiveFiles{Start: at, Under: path.Dir(c.Path)}
	}
	m.End = at
	m.Under = common(m.Under, c.Path)
	switch c.Op {
	case audit.FileCreated:
		m.Created++
	case audit.FileModified:
		m.Modified++
	case audit.FileDeleted:
		m.Deleted++
	case audit.FileRenamed:
		m.Renamed++
		m.Under = common(m.Under, c.Old)
	}
}

// common is the folder that has another one and a path.
func common(dir, p string) string {
	for dir != "." && !strings.HasPrefix(p, dir+"/") {
		dir = path.Dir(dir)
	}
	return dir
}

// pending says whether there is something to write once the window is over.
func (s *scribe) pending() bool { return !s.begun.IsZero() || !s.massBegun.IsZero() }

// tick ends the window where its time is over.
func (s *scribe) tick(now time.Time) {
	if s.begun.IsZero() && s.massBegun.IsZero() || !s.begun.IsZero() && now.Sub(s.begun) < window {
		return
	}
	s.close(now, false)
}

func (s *scribe) close(now time.Time, last bool) {
	for p, r := range s.repeats {
		if r.count == 0 {
			delete(s.repeats, p)
			continue
		}
		if cost := cost(p); s.left(massPart) >= cost {
			s.used += cost
			s.emit(audit.LiveFile{At: r.last, Op: audit.FileModified, Path: p, Count: r.count, First: r.first})
		} else {
			s.tooMany(Change{Op: audit.FileModified, Path: p}, r.last)
			s.mass.Modified += r.count - 1
		}
		*r = repeat{}
	}
	every := window
	if s.left(slowPart) < lastBytes {
		every = slow
	}
	if !s.massBegun.IsZero() && (last || now.Sub(s.massBegun) >= every) && (s.left(0) >= lastBytes || last) {
		s.used += cost(s.mass.Under)
		s.emit(s.mass)
		s.massBegun = time.Time{}
	}
	s.begun, s.turned = time.Time{}, now
	clear(s.written)
	s.young[0], s.young[1] = s.young[1], s.young[0]
	clear(s.young[0])
	if len(s.repeats) > 0 {
		s.begun = now // they go on
	}
}

// end writes what is left.
func (s *scribe) end(now time.Time) { s.close(now, true) }

func (s *scribe) hash(p string) uint64 { return maphash.String(s.seed, p) }

func (s *scribe) grew(p string) {
	if len(s.young[0]) < maxYoung {
		s.young[0][s.hash(p)] = true
	}
}

func (s *scribe) isYoung(p string) bool {
	h := s.hash(p)
	return s.young[0][h] || s.young[1][h]
}
