package audit

import "time"

// foldsMax bounds how many different denials are watched for repeats at a time.
// Beyond it what was counted is written and counting begins anew, so a flood of
// different denials is written in full, up to the log's size.
const foldsMax = 1024

// A repeat is a denial that was written and what followed it that was the same.
type repeat struct {
	entry       *entry // the first one that was not written
	count       int64
	first, last time.Time
}

// folds counts repeated denials: the first is written at once, the rest once a
// second as one event with a count.
type folds struct {
	byKey map[string]*repeat
	order []string // of first appearance, so that the same records give the same log
}

// add reports whether e is a repeat, which is counted and not to be written.
func (f *folds) add(e *entry) bool {
	if e.foldKey == "" {
		return false
	}
	if r := f.byKey[e.foldKey]; r != nil {
		if r.count == 0 {
			r.entry, r.first = e, e.at
		}
		r.count++
		r.last = e.at
		return true
	}
	if f.byKey == nil {
		f.byKey = make(map[string]*repeat)
	}
	f.byKey[e.foldKey] = &repeat{}
	f.order = append(f.order, e.foldKey)
	return false
}

// take gives an entry for each denial that was repeated and forgets those that
// were not; a flood that goes on stays known, and so gives one event a second.
func (f *folds) take() []*entry {
	var entries []*entry
	order := f.order[:0]
	for _, k := range f.order {
		r := f.byKey[k]
		if r.count == 0 {
			delete(f.byKey, k)
			continue
		}
		e := r.entry
		if r.count > 1 {
			fold(&e.root, r.count, r.first, r.last)
			e.encode()
		}
		entries = append(entries, e)
		*r = repeat{}
		order = append(order, k)
	}
	f.order = order
	return entries
}

// drop forgets everything and says how many records were not written.
func (f *folds) drop() (lost int64) {
	for _, r := range f.byKey {
		lost += r.count
	}
	*f = folds{}
	return lost
}

func (f *folds) full() bool  { return len(f.byKey) >= foldsMax }
func (f *folds) empty() bool { return len(f.byKey) == 0 }
