package audit

import "fmt"

// An appender is the log file and the end of its chain. One goroutine uses it.
type appender struct {
	file  LogFile
	limit int64
	fail  func(error)

	link      link // after what is in buf
	committed link // after what is in the file
	size      int64
	buf       []byte // whole lines that are not written yet
	marks     []mark

	folds  folds
	dirty  bool  // written, not synced
	full   bool  // the size was reached
	broken bool  // a torn line could not be removed: nothing may follow it
	lost   int64 // records that are not in the log
}

// A mark is the end of a line in buf.
type mark struct {
	end  int
	link link
}

// append adds an event to what is to be written, unless the file would become
// larger than limit.
func (a *appender) append(e *entry, limit int64) bool {
	if e.last && a.lost > 0 {
		var o object
		o.number("not_recorded", a.lost)
		addUnmapped(&e.root, o)
		e.encode()
	}
	before, length := a.link, len(a.buf)
	a.buf = a.link.appendEvent(a.buf, e.event, e.typeUID)
	if a.size+int64(len(a.buf)) > limit {
		a.link, a.buf = before, a.buf[:length]
		return false
	}
	a.marks = append(a.marks, mark{len(a.buf), a.link})
	if len(a.buf) >= batchSize {
		a.commit()
	}
	return true
}

// commit writes the lines that are ready. Where that fails, the file is left with
// the whole lines that arrived, and the chain goes on from the last of them.
func (a *appender) commit() {
	if len(a.buf) == 0 {
		return
	}
	written := 0
	if !a.broken {
		var err error
		if written, err = a.file.Write(a.buf); err != nil {
			a.fail(fmt.Errorf("write the audit trail: %w", err))
		}
	}
	kept, lines := 0, 0
	for lines < len(a.marks) && a.marks[lines].end <= written {
		kept = a.marks[lines].end
		a.committed = a.marks[lines].link
		lines++
	}
	a.lost += int64(len(a.marks) - lines)
	a.size += int64(kept)
	a.dirty = a.dirty || kept > 0
	if written > kept {
		if err := a.file.Truncate(a.size); err != nil {
			a.broken = true
			a.fail(fmt.Errorf("remove a torn line from the audit trail: %w", err))
		}
	}
	a.link = a.committed
	a.buf, a.marks = a.buf[:0], a.marks[:0]
}

// sync makes what was written survive a power cut. After a failed fsync(2) the
// kernel may have dropped the pages and reports that once only, so the error is
// kept like that of a write.
func (a *appender) sync() {
	if !a.dirty {
		return
	}
	a.dirty = false
	if err := a.file.Sync(); err != nil {
		a.fail(fmt.Errorf("sync the audit trail: %w", err))
	}
}
