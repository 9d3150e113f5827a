package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRead(t *testing.T) {
	log, _ := writeLog(t, nil, RunStart{}, RunEnd{})
	good := lines(log)[0]
	tests := []struct {
		name, in string
		events   int
		errs     []string
	}{
		{"empty", "", 0, nil},
		{"whole", string(log), 2, nil},
		{"torn", string(log[:len(log)-5]), 1, []string{"line 2: the last line is cut off"}},
		{"no newline", string(log[:len(log)-1]), 1, []string{"line 2: the last line is cut off"}},
		{"bad line between", good + "garbage\n" + good, 2, []string{"line 2: not a JSON object"}},
		{"bad JSON", "{\"time\":\n" + good, 1, []string{"line 1: unexpected end of JSON input"}},
		{"wrong type", "{\"time\":\"x\"}\n", 0, []string{"line 1: json: cannot unmarshal"}},
		{"null", "null\n", 0, []string{"line 1: not a JSON object"}},
		{"too long", strings.Repeat("x", MaxLine+1) + "\n" + good, 1, []string{"line 1: the line is longer"}},
		{"too long and torn", good + strings.Repeat("x", MaxLine+1), 1, []string{"line 2: the last line is cut off"}},
		{"as long as may be", `{"a":"` + strings.Repeat("x", MaxLine-8) + "\"}\n", 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			var errs []string
			for _, err := range Read(strings.NewReader(tt.in)) {
				if err != nil {
					errs = append(errs, err.Error())
				} else {
					n++
				}
			}
			if n != tt.events || len(errs) != len(tt.errs) {
				t.Fatalf("%d events, errors %q", n, errs)
			}
			for i := range errs {
				if !strings.HasPrefix(errs[i], tt.errs[i]) {
					t.Errorf("error %q, want %q", errs[i], tt.errs[i])
				}
			}
		})
	}
}

func TestReadStopsAtReadError(t *testing.T) {
	broken := errors.New("input/output error")
	log, _ := writeLog(t, nil, RunStart{})
	r := io.MultiReader(bytes.NewReader(log), errReader{broken})
	var errs []error
	n := 0
	for _, err := range Read(r) {
		if n++; n > 10 {
			t.Fatal("reading goes on for ever")
		}
		errs = append(errs, err)
	}
	if len(errs) != 2 || errs[0] != nil || !errors.Is(errs[1], broken) {
		t.Errorf("%v", errs)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func FuzzRead(f *testing.F) {
	log, _ := sampleLog(f, testRun, 2)
	f.Add(log)
	f.Add([]byte("{}\n{\"unmapped\":{\"argv\":[1]}}\n\n\x00"))
	f.Add([]byte(`{"actor":null,"count":-5,"attestation_list":[null],"type_uid":600203}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for e, err := range Read(bytes.NewReader(b)) {
			n++
			if err != nil {
				continue
			}
			var out strings.Builder
			if err := Render(&out, e, Style{}); err != nil {
				t.Fatal(err)
			}
			checkPlain(t, out.String())
		}
		if max := bytes.Count(b, []byte("\n")) + 1; n > max {
			t.Fatalf("%d events and errors in %d lines", n, max)
		}
		if _, err := Summarize(Read(bytes.NewReader(b))); err != nil {
			t.Fatal(err)
		}
	})
}

// TestFollow feeds a file piece by piece, also in the middle of a line.
func TestFollow(t *testing.T) {
	log, _ := sampleLog(t, testRun, 3)
	for _, piece := range []int{1000, len(log)} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		w, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			for part := range slices.Chunk(log, piece) {
				if _, err := w.Write(part); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * time.Millisecond) // so that the follower sees the pieces; nothing depends on it
			}
		}()
		var got []byte
		for e, err := range Follow(t.Context(), r, time.Millisecond, nil) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(append(got, e.Raw...), '\n')
		}
		if !bytes.Equal(got, log) { // it also ended by itself, at RunEnd
			t.Errorf("pieces of %d: followed %d bytes of %d", piece, len(got), len(log))
		}
	}
}

func TestFollowEnds(t *testing.T) {
	log, _ := writeLog(t, nil, RunStart{}, Exec{Outcome: Allowed})
	torn := string(log[:len(log)-7])

	// The run crashed: what is there is given, and the torn line is reported.
	var got []error
	for _, err := range Follow(t.Context(), strings.NewReader(torn), time.Millisecond, func() bool { return true }) {
		got = append(got, err)
	}
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], ErrTruncated) {
		t.Errorf("crashed: %v", got)
	}

	// Nobody says that it ended: a torn line is one that is being written.
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for _, err := range Follow(ctx, strings.NewReader(torn), time.Millisecond, func() bool { cancel(); return false }) {
		if n++; err != nil {
			t.Errorf("going on: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("going on: %d events", n)
	}
}
