package audit

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	f := newMemFile()
	w, tick := newTestWriter(t, f, nil)
	denied := Connect{Network: "tcp", Name: "evil.example", Port: 443, Outcome: Blocked, Rule: "web.hcl:3", Process: Process{PID: 9}}
	second := func() {
		if err := w.Flush(); err != nil { // all that was emitted is counted
			t.Fatal(err)
		}
		tick <- epoch
	}
	for i := range 1000 {
		denied.SrcPort = uint16(i + 1) // no part of what makes a denial the same
		w.Emit(denied)
	}
	second()
	for range 5 {
		w.Emit(denied)
	}
	second()
	w.Emit(denied)
	second()
	second() // nothing in this one: forgotten
	w.Emit(denied)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var counts []int64
	var total int64
	for _, e := range events(t, f.bytes()) {
		counts = append(counts, e.View().Count)
		total += e.View().Count
		if e.Count > 0 && !strings.Contains(string(e.Raw), `"start_time_dt"`) {
			t.Errorf("an aggregate without its times: %s", e.Raw)
		}
	}
	if !slices.Equal(counts, []int64{1, 999, 5, 1, 1}) || total != 1007 {
		t.Errorf("counts %v", counts)
	}
}

func TestDifferentDenialsAreNotFolded(t *testing.T) {
	p := Process{PID: 9, Name: "a"}
	base := Connect{Network: "tcp", Name: "evil.example", Addr: "198.18.0.1", Port: 443, Outcome: Blocked, Rule: "web.hcl:3", Process: p}
	change := func(f func(*Connect)) Connect { c := base; f(&c); return c }
	records := []Record{
		base,
		change(func(c *Connect) { c.Port = 80 }),
		change(func(c *Connect) { c.Name = "evil2.example" }),
		change(func(c *Connect) { c.Addr = "198.18.0.2" }),
		change(func(c *Connect) { c.Network = "udp" }),
		change(func(c *Connect) { c.Rule = "web.hcl:4" }),
		change(func(c *Connect) { c.Process.PID = 10 }),
		change(func(c *Connect) { c.Process.Name = "b" }),
		DNS{Name: "evil.example", Type: "A", Outcome: Blocked, Process: p},
		DNS{Name: "evil.example", Type: "AAAA", Outcome: Blocked, Process: p},
		Exec{Process: Process{PID: 9, Argv: []string{"a:b"}}, Outcome: Blocked},
		Exec{Process: Process{PID: 9, Argv: []string{"a", "b"}}, Outcome: Blocked},
		Finding{Title: "a", Detail: "bc", Outcome: Blocked},
		Finding{Title: "ab", Detail: "c", Outcome: Blocked},
	}
	log, _ := writeLog(t, nil, slices.Repeat(records, 3)...)
	if n := len(lines(log)); n != 2*len(records) { // one at once, and one for the two repeats
		t.Errorf("%d events of three times %d denials", n, len(records))
	}
	// What was allowed is never folded.
	var allowed []Record
	for _, r := range []Record{change(func(c *Connect) { c.Outcome = Allowed }), Exec{Outcome: Allowed}, DNS{Outcome: Failed}, Finding{Outcome: Allowed}, LimitHit{}} {
		allowed = append(allowed, r, r, r)
	}
	log, _ = writeLog(t, nil, allowed...)
	if n := len(lines(log)); n != len(allowed) {
		t.Errorf("%d events of %d records", n, len(allowed))
	}
}

// A flood of different denials is written in full: none is lost, memory is not used up.
func TestFoldTableIsBounded(t *testing.T) {
	f := newMemFile()
	w, _ := newTestWriter(t, f, nil)
	const n = 3*foldsMax + 5
	for range 2 {
		for i := range n {
			w.Emit(DNS{Name: fmt.Sprint(i), Outcome: Blocked})
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if len(w.log.folds.byKey) > foldsMax {
		t.Errorf("%d denials are watched", len(w.log.folds.byKey))
	}
	var total int64
	for _, e := range events(t, f.bytes()) {
		total += e.View().Count
	}
	if total != 2*n {
		t.Errorf("%d of %d denials are in the log", total, 2*n)
	}
}
