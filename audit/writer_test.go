package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.jsonl")
	config := Config{RunID: testRun, Size: MinSize}
	w, err := Create(path, config)
	if err != nil {
		t.Fatal(err)
	}
	w.Emit(RunStart{RunID: testRun})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || len(lines(b)) != 1 {
		t.Fatalf("after Flush the log is %q (%v)", b, err)
	}
	w.Emit(RunEnd{Reason: "exited"})
	if err := errors.Join(w.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	w.Emit(RunEnd{}) // after Close: nothing happens
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}

	head, err := ReadHead(filepath.Join(dir, "audit.head"))
	if err != nil {
		t.Fatal(err)
	}
	if *head != w.Head() {
		t.Errorf("head %+v, Writer.Head %+v", *head, w.Head())
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if r, err := (Verifier{Head: head, RunID: testRun}).Verify(f); err != nil || r.State != Sealed || r.Events != 2 {
		t.Errorf("%+v %v", r, err)
	}
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder has %v (%v)", entries, err)
	}

	// A trail is never written over, and a link in its place is not followed.
	elsewhere := filepath.Join(dir, "elsewhere")
	for _, tt := range []struct {
		name    string
		prepare func() error
	}{
		{"log and head", func() error { return nil }},
		{"head", func() error { return os.Remove(path) }},
		{"link", func() error { return errors.Join(os.Remove(HeadPath(path)), os.Symlink(elsewhere, path)) }},
		{"log", func() error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) }},
	} {
		if err := tt.prepare(); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(path, config); err == nil || !strings.Contains(err.Error(), "exists already") {
			t.Errorf("with a %s: %v", tt.name, err)
		}
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, os.ErrNotExist) {
		t.Error("a link was followed")
	}
}

func TestConfigMistakes(t *testing.T) {
	for name, config := range map[string]Config{
		"no run id":   {Size: MinSize},
		"odd run id":  {RunID: "a/b", Size: MinSize},
		"long run id": {RunID: strings.Repeat("a", maxRunID+1), Size: MinSize},
		"two lines":   {RunID: "a\n", Size: MinSize},
		"no size":     {RunID: "a"},
		"short key":   {RunID: "a", Size: MinSize, Key: []byte("x")},
		"secret":      {RunID: "a", Size: MinSize, Redact: []string{"x"}},
	} {
		if _, err := NewWriter(newMemFile(), config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestConcurrentEmit(t *testing.T) {
	f := newMemFile()
	w, _ := newTestWriter(t, f, nil)
	var wg sync.WaitGroup
	const emitters, each = 8, 3000 // more than the queue holds
	for i := range emitters {
		wg.Go(func() {
			for k := range each {
				w.Emit(Exec{Process: Process{PID: i + 1, Name: fmt.Sprint(k)}, Outcome: Allowed})
			}
		})
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	head := w.Head()
	if r, err := Verify(bytes.NewReader(f.bytes()), &head); err != nil || r.State != Sealed || r.Events != emitters*each {
		t.Fatalf("%+v %v", r, err)
	}
	next := map[int]int{} // each caller's records are in its order
	for _, e := range events(t, f.bytes()) {
		if want := fmt.Sprint(next[e.Process.PID]); e.Process.Name != want {
			t.Fatalf("process %d: %s, want %s", e.Process.PID, e.Process.Name, want)
		}
		next[e.Process.PID]++
	}
}

func TestSync(t *testing.T) {
	f := newMemFile()
	w, tick := newTestWriter(t, f, nil)
	// written waits until the log has n lines.
	written := func(n int) {
		for bytes.Count(f.bytes(), []byte("\n")) < n {
			runtime.Gosched()
		}
	}
	// second is over when what is done each second is done: only then is the next
	// tick taken, for which there is nothing to do.
	second := func() { tick <- epoch; tick <- epoch }
	syncs := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.syncs
	}

	w.Emit(RunStart{})
	written(1)
	for syncs() == 0 { // in the background
		runtime.Gosched()
	}
	second() // nothing new
	if syncs() != 1 {
		t.Errorf("%d syncs of the start event, want 1", syncs())
	}
	w.Emit(Exec{Outcome: Allowed})
	written(2)
	if syncs() != 1 {
		t.Errorf("%d syncs: an ordinary event was synced at once", syncs())
	}
	second()
	if syncs() != 2 {
		t.Errorf("%d syncs after a second, want 2", syncs())
	}
	second() // nothing new: no sync
	if syncs() != 2 {
		t.Errorf("%d syncs, want 2", syncs())
	}
	w.Emit(Exec{Outcome: Allowed})
	if err := w.Close(); err != nil || f.syncs != 3 {
		t.Errorf("%d syncs after Close, want 3 (%v)", f.syncs, err)
	}
}

// The start event goes to the disk at once, not when the first second is over.
func TestStartIsSyncedAtOnce(t *testing.T) {
	f := newMemFile()
	w, _ := newTestWriter(t, f, nil) // whose second is never over
	w.Emit(RunStart{})
	for {
		f.mu.Lock()
		n := f.syncs
		f.mu.Unlock()
		if n == 1 {
			break
		}
		runtime.Gosched()
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFull(t *testing.T) {
	for _, hostile := range []string{"x", "\x01"} {
		f := newMemFile()
		full := make(chan struct{}, 2)
		w, _ := newTestWriter(t, f, func(c *Config) {
			c.Size = MinSize
			c.OnFull = func() { full <- struct{}{} }
		})
		long := strings.Repeat(hostile, 8<<10)
		many := slices.Repeat([]string{long}, 500)
		w.Emit(RunStart{})
		for range 3 {
			w.Emit(Exec{Process: Process{PID: 7}, Outcome: Blocked})
		}
		const n = 2000
		for range n {
			w.Emit(Exec{Process: Process{Path: "/bin/true", Argv: []string{hostile}}, Outcome: Allowed})
		}
		<-full
		w.Emit(Wipe{Removed: many, Gone: many, Left: many})
		w.Emit(RunEnd{Reason: long, Details: map[string]string{long: long}})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-full:
			t.Error("OnFull was called twice")
		default:
		}
		log, head := f.bytes(), w.Head()
		if len(log) > MinSize {
			t.Errorf("the log has %d bytes, %d are allowed", len(log), MinSize)
		}
		if r, err := Verify(bytes.NewReader(log), &head); err != nil || r.State != Sealed {
			t.Errorf("%+v %v", r, err)
		}
		list := events(t, log)
		end := list[len(list)-3:]
		if end[0].Finding.Title != "audit size limit reached" || end[1].TypeUID != 600202 || !end[2].EndsRun() {
			t.Errorf("the log ends with %s, %s, %s", end[0].Message, end[1].Message, end[2].Message)
		}
		written := int64(len(list) - 5) // without start, first denial, limit, wipe, end
		if head.Lost != n-written+2 {
			t.Errorf("%d records are said to be lost, %d are not there", head.Lost, n-written+2)
		}
		if unmapped(t, end[2])["not_recorded"] != float64(head.Lost) {
			t.Errorf("the end says %v, the head %d", unmapped(t, end[2])["not_recorded"], head.Lost)
		}
	}
}

// RunEnd finds room also where the log is all but full and nobody knows it yet.
func TestEndFitsAtTheEdge(t *testing.T) {
	f := newMemFile()
	w, _ := newTestWriter(t, f, func(c *Config) { c.Size = MinSize })
	long := strings.Repeat("\x01", 4<<10)
	for range 2 { // about 50 KiB each
		w.Emit(Exec{Process: Process{Path: long}, Outcome: Allowed})
	}
	many := slices.Repeat([]string{long}, 256)
	w.Emit(Wipe{Removed: many, Gone: many, Left: many})
	w.Emit(RunEnd{Reason: long, Details: map[string]string{"a": long, "b": long, "c": long, "d": long, "e": long, "f": long, "g": long}})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	list := events(t, f.bytes())
	if !list[len(list)-1].EndsRun() || len(f.bytes()) > MinSize || w.Head().Lost != 0 {
		t.Errorf("%d events, %d bytes, %d lost", len(list), len(f.bytes()), w.Head().Lost)
	}
}

func TestNoSpace(t *testing.T) {
	whole, _ := writeLog(t, nil, RunStart{}, Exec{Outcome: Allowed}, Exec{Outcome: Allowed})
	first := len(lines(whole)[0]) + len(lines(whole)[1])
	for _, tt := range []struct {
		name   string
		space  int
		events int64
	}{{"inside a line", first + 10, 2}, {"between lines", first, 2}, {"at once", 5, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			f := newMemFile()
			f.setSpace(tt.space)
			failed := make(chan error, 2)
			w, _ := newTestWriter(t, f, func(c *Config) { c.OnError = func(err error) { failed <- err } })
			w.Emit(RunStart{})
			for range 10 {
				w.Emit(Exec{Outcome: Allowed})
			}
			if err := w.Flush(); !errors.Is(err, errNoSpace) {
				t.Errorf("Flush: %v", err)
			}
			if err := <-failed; !errors.Is(err, errNoSpace) {
				t.Errorf("OnError: %v", err)
			}
			w.Emit(Exec{Outcome: Allowed}) // not tried: the run is being ended
			f.setSpace(-1)
			w.Emit(RunEnd{Reason: "the trail could not be written"})
			if err := w.Close(); !errors.Is(err, errNoSpace) {
				t.Errorf("Close: %v", err)
			}
			head := w.Head()
			r, err := Verify(bytes.NewReader(f.bytes()), &head)
			if err != nil || r.State != Sealed || r.Events != tt.events+1 {
				t.Errorf("%+v %v\n%s", r, err, f.bytes())
			}
			if head.Lost != 12-tt.events || head.Error == "" {
				t.Errorf("head %+v", head)
			}
		})
	}
}

// Where the torn line can't be removed, nothing follows it.
func TestNoSpaceAppendOnly(t *testing.T) {
	f := newMemFile()
	f.noTrim = true
	f.setSpace(5)
	w, _ := newTestWriter(t, f, nil)
	w.Emit(RunStart{})
	if w.Flush() == nil {
		t.Error("no error")
	}
	f.setSpace(-1)
	w.Emit(RunEnd{})
	if w.Close() == nil {
		t.Error("no error")
	}
	head := w.Head()
	if b := f.bytes(); len(b) != 5 || head.Count != 0 || head.Lost != 2 {
		t.Errorf("%q %+v", b, head)
	}
	if r, err := Verify(bytes.NewReader(f.bytes()), &head); err != nil || r.State != Sealed || !r.Truncated {
		t.Errorf("%+v %v", r, err)
	}
}

// TestKilled kills a process that writes as fast as it can: what is left is valid
// up to its last line, whatever the moment.
func TestKilled(t *testing.T) {
	if path := os.Getenv("AUDIT_TEST_WRITE"); path != "" {
		w, err := Create(path, Config{RunID: testRun, Size: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			w.Emit(Exec{Process: Process{PID: i + 1, Argv: slices.Repeat([]string{"argument"}, i%200)}, Outcome: Allowed})
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 10 {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		cmd := exec.Command(self, "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITE="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Wait until there is something, a different amount in each round.
		want := int64(1 + round*100_000)
		for {
			if info, err := os.Stat(path); err == nil && info.Size() >= want {
				break
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // "signal: killed" is what was asked for
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(f, nil)
		f.Close()
		if err != nil || r.State != Unsealed || r.Events == 0 {
			t.Fatalf("round %d: %+v %v", round, r, err)
		}
	}
}

func TestSyncErrorSurfaces(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	writer, _ := newTestWriter(t, w, nil) // a pipe can't be synced: the error must surface
	writer.Emit(RunStart{})
	if _, err := bufio.NewReader(io.LimitReader(r, MaxLine)).ReadBytes('\n'); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), writer.Close()); err == nil || !strings.Contains(err.Error(), "sync") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkWriter writes what an agent's shell does: mostly launches and ends of
// programs, some connections, all with what redaction has to look through.
func BenchmarkWriter(b *testing.B) {
	records := []Record{
		samples()["exec allowed"], samples()["exit"], samples()["exec allowed"], samples()["exit"],
		samples()["connect allowed"], samples()["dns allowed"],
	}
	w, err := Create(filepath.Join(b.TempDir(), "audit.jsonl"), Config{
		RunID: testRun, Version: "1.0.0", Size: 1 << 40,
		Redact: []string{"a-secret-of-some-length", "another-secret-value", "third-secret-value"},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Emit(records[i%len(records)])
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	h := w.Head()
	b.ReportMetric(float64(h.Count)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(h.Size)/float64(h.Count), "B/event")
}
