package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/gowebpki/jcs"
)

// Every line is what the library makes of it, and its fingerprint is what anyone
// who follows OCSF's description finds, by another way than the writer's.
func TestLinesAreCanonical(t *testing.T) {
	all := samples()
	var records []Record
	for _, k := range slices.Sorted(maps.Keys(all)) {
		records = append(records, all[k])
	}
	log, _ := writeLog(t, nil, records...)
	for i, e := range events(t, log) {
		canonical, err := jcs.Transform(e.Raw)
		if err != nil {
			t.Fatalf("line %d: %v", i+1, err)
		}
		if !bytes.Equal(canonical, e.Raw) {
			t.Errorf("line %d is not canonical:\n%s\n%s", i+1, e.Raw, canonical)
		}
		var m map[string]any
		if err := json.Unmarshal(e.Raw, &m); err != nil {
			t.Fatal(err)
		}
		attestation := m["attestation_list"].([]any)[0].(map[string]any)
		delete(attestation, "fingerprint")
		delete(attestation, "signatures")
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if canonical, err = jcs.Transform(raw); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(canonical)
		if got := e.Attestations[0].Fingerprint.Value; got != hex.EncodeToString(sum[:]) {
			t.Errorf("line %d: fingerprint %s, want %x", i+1, got, sum)
		}
	}
}

func TestSameRecordsSameLog(t *testing.T) {
	r := samples()
	one, _ := writeLog(t, nil, r["start"], r["end"])
	for range 20 { // map order is random
		if two, _ := writeLog(t, nil, r["start"], r["end"]); !bytes.Equal(one, two) {
			t.Fatalf("two logs of the same records differ:\n%s\n%s", one, two)
		}
	}
}

func TestAppendString(t *testing.T) {
	for r := rune(0); r < 0x300; r++ {
		raw, err := json.Marshal("a" + string(r) + "b")
		if err != nil {
			t.Fatal(err)
		}
		want, err := jcs.Transform(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString(nil, "a"+string(r)+"b"); !bytes.Equal(got, want) {
			t.Errorf("%U: %s, want %s", r, got, want)
		}
	}
}

func TestCompareKeys(t *testing.T) {
	// The order of RFC 8785 section 3.2.3's example, and the pair in which UTF-8 and
	// UTF-16 disagree.
	want := []string{"\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33", "\uffff"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareKeys)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever the jail puts into a record, in values and in keys, the line is
// canonical, one line, verifiable, and bounded.
func FuzzEmit(f *testing.F) {
	f.Add("plain", "b", uint16(443), int64(5))
	f.Add("\x1b[31m\n\r\x00\x7f\u009b\u2028", "\xff\xfe", uint16(0), int64(1<<62))
	f.Add("\ufb33", "\U0001f600", uint16(1), int64(-1<<63))
	f.Add("sk-ant-api03-abcdefghijkl", `"\{}`, uint16(1), int64(0))
	f.Fuzz(func(t *testing.T, a, b string, port uint16, n int64) {
		log, head := writeLog(t, nil,
			RunStart{RunID: a, Argv: []string{a, b}, Limits: map[string]string{a: b, b: a, a + b: a}, Profile: b},
			Exec{Process: Process{PID: int(port), Name: a, Path: b, Argv: []string{b, a}}, Outcome: Outcome(a), Rule: b},
			Connect{Network: a, Name: b, Addr: a, Port: port, SNI: b, Outcome: Blocked},
			DNS{Name: a, Type: b, RCode: a, Answers: []string{b}, Outcome: Allowed},
			File{Op: FileRenamed, Path: a, OldPath: b, Type: a, Size: n},
			RunEnd{Reason: a, Counts: map[string]int64{a: n, b: n}},
		)
		if n := bytes.Count(log, []byte("\n")); n != 6 {
			t.Fatalf("%d lines", n)
		}
		for _, line := range bytes.SplitAfter(log, []byte("\n")) {
			for _, c := range bytes.TrimSuffix(line, []byte("\n")) {
				if c < 0x20 || c == 0x7f {
					t.Fatalf("control character %#x in %q", c, line)
				}
			}
		}
		report, err := Verify(bytes.NewReader(log), head)
		if err != nil || report.State != Sealed || report.Events != 6 {
			t.Fatalf("%+v %v\n%s", report, err, log)
		}
	})
}
