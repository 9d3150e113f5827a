package monitor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "monitor")
	h, err := OpenHistory(dir)
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := h.Load("web"); err != nil || len(runs) != 0 {
		t.Fatalf("%v %v", runs, err)
	}
	d := NewDetector(Default(), nil)
	var all sync.WaitGroup
	for i := range 3 * maxPast {
		all.Go(func() {
			if err := h.Add("web", d.Past(fmt.Sprint(i), time.Unix(int64(i), 0))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	runs, err := h.Load("web")
	if err != nil || len(runs) != maxPast || runs[0].Span != time.Minute {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	if runs, err := h.Load("../web"); err != nil || len(runs) != 0 {
		t.Errorf("another profile has %d runs, %v", len(runs), err)
	}

	good, err := os.ReadFile(h.path("web"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty": "", "cut": string(good[:len(good)/2]), "zeros": string(make([]byte, 100)),
		"of another": `{"version":1,"profile":"x","runs":[]}`, "newer": `{"version":2,"profile":"web"}`, "below zero": `{"version":1,"profile":"web","runs":[{"peaks":{"exec":-1}}]}`,
	} {
		if err := os.WriteFile(h.path("web"), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if runs, err := h.Load("web"); err == nil || len(runs) > 0 {
			t.Errorf("%s: %d runs, %v", name, len(runs), err)
		}
		if err := h.Add("web", d.Past("new", time.Unix(1, 0))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if runs, err := h.Load("web"); err != nil || len(runs) != 1 {
			t.Errorf("%s: begun anew with %d runs, %v", name, len(runs), err)
		}
	}
}

func FuzzHistory(f *testing.F) {
	good, err := json.Marshal(file{historyForm, "web", []Past{NewDetector(Default(), nil).Past("r", time.Unix(1, 0))}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"profile":"web","runs":[{"peaks":{"exec":1e308},"most":{"exec /bin/sh":-9223372036854775808}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		runs, err := parse(data, "web")
		if err != nil {
			if runs != nil {
				t.Error("a refused history has runs")
			}
			return
		}
		// Whatever it says, the detector goes on.
		v := newVirtual(Settings{After: 3 * time.Second, Repeats: 3}, runs...)
		v.pass(20, func(_ int, c *Counts) { c.Execs += 1000 })
		v.execs("/bin/sh", 5)
	})
}
