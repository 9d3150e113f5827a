package audit

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// An entry is an event on its way to the file: cleaned, not yet numbered.
type entry struct {
	event   encoded
	root    object // of what may still be added to: a denial, the last events
	typeUID int64
	at      time.Time
	size    int    // of its text, for the queue's bound
	foldKey string // the same for repeats of the same denial; empty if it is none
	first   bool   // RunStart: on its way to the disk at once
	last    bool   // RunEnd, Wipe: space is kept for them
	record  Record // of what is last, to be built again within tighter bounds
	barrier chan<- error
	synced  bool // the barrier waits for the disk, too
}

// encode writes an entry's event anew after something was added to it.
func (e *entry) encode() {
	e.event = encoded{e.event.raw[:0], e.event.holes[:0]}
	e.event.object(e.root)
}

// pools have memory that building events takes and gives back.
type pools struct {
	arenas  sync.Pool // of *arena
	entries sync.Pool // of *entry
}

// recycle takes an entry back that was written and that nobody keeps.
func (p *pools) recycle(e *entry) {
	const largest = 16 << 10 // an unusually large one is not kept
	if e.root != nil || e.barrier != nil || cap(e.event.raw) > largest {
		return
	}
	*e = entry{event: encoded{e.event.raw[:0], e.event.holes[:0]}}
	p.entries.Put(e)
}

// An arena gives memory for the members of one event, which is thrown away as a
// whole: most of an event's cost would be the collector's otherwise.
type arena struct {
	fields []field
	used   int
}

// object gives room for n members. More can be added; they move to the heap.
func (a *arena) object(n int) object {
	if a == nil {
		return make(object, 0, n)
	}
	if a.used+n > len(a.fields) {
		// What was given out goes on living in the old memory.
		a.fields, a.used = make([]field, max(256, n)), 0
	}
	o := object(a.fields[a.used : a.used : a.used+n])
	a.used += n
	return o
}

// reset forgets everything that was given out, and the strings in it.
func (a *arena) reset() {
	clear(a.fields[:a.used])
	a.used = 0
}

// build turns a record into an entry. Records are passed by value; it panics on a
// pointer to one, which is a mistake in the caller's code and not in its input.
func build(s source, r *Redactor, record Record, at time.Time, b bounds) *entry {
	key := foldKey(record)
	space, _ := s.pools.arenas.Get().(*arena)
	if space == nil {
		space = &arena{}
	}
	defer s.pools.arenas.Put(space)
	defer space.reset()
	s.arena = space
	switch record.(type) {
	case RunEnd, Wipe:
		s.arena = nil // what is kept is on the heap
	default:
		if key != "" {
			s.arena = nil
		}
	}

	var h header
	var root object
	e, _ := s.pools.entries.Get().(*entry)
	if e == nil {
		e = &entry{}
	}
	e.at = at
	switch record := record.(type) {
	case RunStart:
		h, root = s.runStart(record, at)
		e.first = true
	case RunEnd:
		h, root = s.runEnd(record, at)
		e.last, e.record = true, record
	case Wipe:
		h, root = s.wipe(record, at)
		e.last, e.record = true, record
	case Exec:
		h, root = s.exec(record, at)
	case Exit:
		h, root = s.exit(record, at)
	case Connect:
		h, root = s.connect(record, at)
	case ConnectClosed:
		h, root = s.connectClosed(record, at)
	case DNS:
		h, root = s.dns(record, at)
	case HTTP:
		h, root = s.http(record, at)
	case Signature:
		h, root = s.signature(record, at)
	case ModelCall:
		h, root = s.modelCall(record, at)
	case ModelTool:
		h, root = s.modelTool(record, at)
	case Approval:
		h, root = s.approval(record, at)
	case File:
		h, root = s.file(record, at)
	case LiveFile:
		h, root = s.liveFile(record, at)
	case LiveFiles:
		h, root = s.liveFiles(record, at)
	case Resources:
		h, root = s.resources(record, at)
	case RunState:
		h, root = s.runState(record, at)
	case LimitHit:
		h, root = s.limitHit(record, at)
	case Finding:
		h, root = s.finding(record, at)
	default:
		panic(fmt.Sprintf("audit: record of unknown type %T", record))
	}
	e.typeUID = h.typeUID()
	e.foldKey = key
	e.size = clean(&root, r, b)
	if s.arena == nil {
		e.root = root
	}
	e.event.object(root)
	return e
}

// foldKey is the same for denials that differ in nothing but their time: class,
// target, rule and process.
func foldKey(record Record) string {
	switch r := record.(type) {
	case Exec:
		if r.Outcome == Blocked {
			return digestKey("exec", r.Process, append([]string{r.Rule, r.Reason}, r.Process.Argv...)...)
		}
	case Connect:
		if r.Outcome == Blocked {
			return digestKey("connect", r.Process, r.Network, r.Name, r.Addr, strconv.Itoa(int(r.Port)), r.SNI, r.Rule, r.Reason)
		}
	case DNS:
		if r.Outcome == Blocked {
			return digestKey("dns", r.Process, r.Name, r.Type, r.RCode, r.Rule, r.Reason)
		}
	case HTTP:
		return httpFoldKey(r)
	case Signature:
		if r.Outcome == Blocked {
			return digestKey("signature", r.Process, r.Key, r.Purpose, r.Rule, r.Reason)
		}
	case Approval:
		if r.Step == ApprovalFlooded {
			return digestKey("approval", Process{}, r.Kind, r.Rule, r.Reason)
		}
	case Finding:
		if r.Outcome == Blocked {
			return digestKey("finding", r.Process, r.Title, r.Detail, r.Severity, r.Rule)
		}
	}
	return ""
}

// digestKey hashes parts with their lengths, so that no two lists of parts give the same
// and a key is small whatever the jail put into it.
func digestKey(class string, p Process, parts ...string) string {
	b := make([]byte, 0, 128)
	b = append(b, class...)
	b = strconv.AppendInt(append(b, ' '), int64(p.PID), 10)
	b = strconv.AppendInt(append(b, ' '), int64(p.Parent), 10)
	for _, list := range [...][]string{{p.Name, p.Path}, parts} {
		for _, part := range list {
			b = strconv.AppendInt(append(b, ' '), int64(len(part)), 10)
			b = append(append(b, ':'), part...)
		}
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}
