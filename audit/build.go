package audit

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"
)

// An entry is an event on its way to the file: cleaned, not yet numbered.
type entry struct {
	root    object
	typeUID int64
	at      time.Time
	size    int    // of its text, for the queue's bound
	foldKey string // the same for repeats of the same denial; empty if it is none
	first   bool   // RunStart: on the disk before anything else happens
	last    bool   // RunEnd, Wipe: space is kept for them
	record  Record // of what is last, to be built again within tighter bounds
	barrier chan<- error
}

// build turns a record into an entry. Records are passed by value; it panics on a
// pointer to one, which is a mistake in the caller's code and not in its input.
func build(s source, r *Redactor, record Record, at time.Time, b bounds) entry {
	var h header
	var root object
	e := entry{at: at}
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
	case File:
		h, root = s.file(record, at)
	case LimitHit:
		h, root = s.limitHit(record, at)
	case Finding:
		h, root = s.finding(record, at)
	default:
		panic(fmt.Sprintf("audit: record of unknown type %T", record))
	}
	e.typeUID = h.typeUID()
	e.foldKey = foldKey(record)
	e.size = clean(&root, r, b)
	e.root = root
	return e
}

// foldKey is the same for denials that differ in nothing but their time: class,
// target, rule and process.
func foldKey(record Record) string {
	switch r := record.(type) {
	case Exec:
		if r.Outcome == Blocked {
			return key("exec", r.Process, append([]string{r.Rule, r.Reason}, r.Process.Argv...)...)
		}
	case Connect:
		if r.Outcome == Blocked {
			return key("connect", r.Process, r.Network, r.Name, r.Addr, strconv.Itoa(int(r.Port)), r.SNI, r.Rule, r.Reason)
		}
	case DNS:
		if r.Outcome == Blocked {
			return key("dns", r.Process, r.Name, r.Type, r.RCode, r.Rule, r.Reason)
		}
	case Finding:
		if r.Outcome == Blocked {
			return key("finding", r.Process, r.Title, r.Detail, r.Severity, r.Rule)
		}
	}
	return ""
}

// key hashes parts with their lengths, so that no two lists of parts give the same
// and a key is small whatever the jail put into it.
func key(class string, p Process, parts ...string) string {
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
