package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
)

func sampleLog(t testing.TB, runID string, n int) ([]byte, *Head) {
	t.Helper()
	records := []Record{samples()["start"]}
	for i := range n {
		records = append(records, Exec{Process: Process{PID: i + 2, Name: "make"}, Outcome: Allowed})
	}
	return writeLog(t, func(c *Config) { c.RunID = runID }, append(records, RunEnd{Reason: "exited"})...)
}

func TestVerify(t *testing.T) {
	log, head := sampleLog(t, testRun, 4)
	l := lines(log)
	l[len(l)-1] += "\n"
	other, otherHead := sampleLog(t, "another-run", 4)
	o := lines(other)
	join := func(parts ...string) string { return strings.Join(parts, "") }
	reseal := func(change func(*Head)) *Head { h := *head; change(&h); return &h }

	tests := []struct {
		name   string
		log    string
		head   *Head
		runID  string
		state  State
		line   int
		reason string
	}{
		{"whole", string(log), head, testRun, Sealed, 0, ""},
		{"no head", string(log), nil, testRun, Unsealed, 0, "there is no head"},
		{"killed", string(log[:len(log)-10]), nil, testRun, Unsealed, 0, "the last line is cut off"},
		{"empty, no head", "", nil, testRun, Unsealed, 0, "there is no head"},
		{"edit", strings.Replace(string(log), `"name":"make"`, `"name":"fake"`, 1), head, "", Tampered, 2, "edited"},
		{"edit of white space", strings.Replace(string(log), `"name":"make"`, `"name": "make"`, 1), head, "", Tampered, 2, "canonical"},
		{"edit of a fingerprint", strings.Replace(string(log), head.Fingerprint, strings.Repeat("0", 64), 1), head, "", Tampered, 6, "fingerprint"},
		{"cut", join(l[0], l[1], l[3], l[4], l[5]), head, "", Tampered, 3, "event 4 stands where event 3 should"},
		{"first line cut", join(l[1:]...), head, "", Tampered, 1, "event 2 stands where event 1 should"},
		{"reorder", join(l[0], l[2], l[1], l[3], l[4], l[5]), head, "", Tampered, 2, "event 3 stands where event 2 should"},
		{"doubled", join(l[0], l[1], l[1], l[2], l[3], l[4], l[5]), head, "", Tampered, 3, "event 2 stands where event 3 should"},
		{"swap with another run's", join(l[0], l[1], o[2], l[3], l[4], l[5]), head, "", Tampered, 3, `of run "another-run"`},
		{"another run's", string(other), otherHead, testRun, Tampered, 0, `of run "another-run"`},
		{"another run's, no head", string(other), nil, testRun, Tampered, 1, `of run "another-run"`},
		{"another run's head", string(log), otherHead, "", Tampered, 1, `of run "` + testRun},
		{"tail cut", join(l[:5]...), head, "", Tampered, 6, "ends after 5 events, its head counts 6"},
		{"all cut", "", head, "", Tampered, 1, "ends after 0 events"},
		{"last line torn", string(log[:len(log)-10]), head, "", Tampered, 6, "ends after 5 events"},
		{"last newline cut", string(log[:len(log)-1]), head, "", Tampered, 6, "ends after 5 events"},
		{"longer than its head", string(log), reseal(func(h *Head) { h.Count-- }), "", Tampered, 6, "head counts 5"},
		{"head of another end", string(log), reseal(func(h *Head) { h.Fingerprint = strings.Repeat("0", 64) }), "", Tampered, 6, "not the one that the head names"},
		{"head of another size", string(log), reseal(func(h *Head) { h.Size++ }), "", Tampered, 0, "bytes"},
		{"something added", string(log) + "x", head, "", Tampered, 7, "something follows"},
		{"empty line added", string(log) + "\n", head, "", Tampered, 7, "not JSON"},
		{"line of zeros", string(log) + strings.Repeat("\x00", 100) + "\n", nil, "", Tampered, 7, "not JSON"},
		{"huge line", join(l[0], strings.Repeat("x", MaxLine+1), "\n", l[1]), head, "", Tampered, 2, "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Verifier{Head: tt.head, RunID: tt.runID}.Verify(strings.NewReader(tt.log))
			if err != nil {
				t.Fatal(err)
			}
			if r.State != tt.state || r.Line != tt.line || !strings.Contains(r.Reason, tt.reason) {
				t.Errorf("got %s at line %d: %q; want %s at line %d: %q", r.State, r.Line, r.Reason, tt.state, tt.line, tt.reason)
			}
		})
	}
}

// Someone who edits an event and makes its own fingerprint right again breaks the
// link of the next; who makes all right again breaks the head.
func TestVerifyRewrittenChain(t *testing.T) {
	log, head := sampleLog(t, testRun, 4)
	forge := func(follow bool) []byte {
		var out []byte
		chain := link{runID: testRun}
		for i, e := range events(t, log) {
			raw := string(e.Raw)
			if i >= 2 && (follow || i == 2) {
				raw = strings.Replace(raw, `"name":"make"`, `"name":"fake"`, 1)
				if follow && i > 2 {
					raw = strings.Replace(raw, e.Attestations[0].Previous.Fingerprint.Value, chain.fingerprint, 1)
				}
				own := "," + fingerprintOpen + e.Attestations[0].Fingerprint.Value + fingerprintClose
				place := strings.Index(raw, own)
				digest := hexDigest(raw[:place] + raw[place+len(own):])
				raw = strings.Replace(raw, e.Attestations[0].Fingerprint.Value, digest, 1)
				chain.fingerprint = digest
			}
			out = append(append(out, raw...), '\n')
		}
		return out
	}
	r, err := Verify(bytes.NewReader(forge(false)), nil)
	if err != nil || r.State != Tampered || r.Line != 4 || !strings.Contains(r.Reason, "was replaced") {
		t.Errorf("one event forged: %+v %v", r, err)
	}
	r, err = Verify(bytes.NewReader(forge(true)), nil)
	if err != nil || r.State != Unsealed || r.Events != 6 {
		t.Errorf("the forger made a mistake, so the next check means nothing: %+v %v", r, err)
	}
	r, err = Verify(bytes.NewReader(forge(true)), head)
	if err != nil || r.State != Tampered || !strings.Contains(r.Reason, "head") {
		t.Errorf("every event forged: %+v %v", r, err)
	}
}

// No byte of a log can be changed or cut out without being found.
func TestVerifyEveryByte(t *testing.T) {
	log, head := sampleLog(t, testRun, 1)
	for i := range log {
		flipped := bytes.Clone(log)
		flipped[i] ^= 1
		if r, err := Verify(bytes.NewReader(flipped), head); err != nil || r.State != Tampered {
			t.Fatalf("byte %d (%q) flipped: %+v %v", i, log[i], r, err)
		}
		cut := append(bytes.Clone(log[:i]), log[i+1:]...)
		if r, err := Verify(bytes.NewReader(cut), head); err != nil || r.State != Tampered {
			t.Fatalf("byte %d (%q) cut out: %+v %v", i, log[i], r, err)
		}
		if i > 0 {
			if r, err := Verify(bytes.NewReader(log[:i]), head); err != nil || r.State != Tampered {
				t.Fatalf("cut after %d bytes: %+v %v", i, r, err)
			}
		}
	}
}

// After a kill at any byte, every whole line holds, and it is not called tampering.
func TestVerifyAfterKill(t *testing.T) {
	log, _ := sampleLog(t, testRun, 2)
	for i := range log {
		r, err := Verify(bytes.NewReader(log[:i]), nil)
		if err != nil || r.State != Unsealed {
			t.Fatalf("killed after %d bytes: %+v %v", i, r, err)
		}
		if want := int64(bytes.Count(log[:i], []byte("\n"))); r.Events != want {
			t.Fatalf("killed after %d bytes: %d events hold, want %d", i, r.Events, want)
		}
		if torn := i > 0 && log[i-1] != '\n'; r.Truncated != torn {
			t.Fatalf("killed after %d bytes: truncated is %v", i, r.Truncated)
		}
	}
}

func TestSignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	log, head := writeLog(t, func(c *Config) { c.Key = private }, RunStart{}, RunEnd{})
	_, unsigned := writeLog(t, nil, RunStart{}, RunEnd{})
	changed := *head
	changed.Lost = 1

	for _, tt := range []struct {
		name  string
		head  *Head
		key   ed25519.PublicKey
		state State
	}{
		{"signed", head, public, Sealed},
		{"by another", head, stranger, Tampered},
		{"head changed", &changed, public, Tampered},
		{"not signed", unsigned, public, Tampered},
		{"bad key", head, public[:31], Tampered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Verifier{Head: tt.head, Key: tt.key}.Verify(bytes.NewReader(log))
			if err != nil || r.State != tt.state || r.Signed != (tt.state == Sealed) {
				t.Errorf("%+v %v", r, err)
			}
		})
	}

	b, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseHead(b)
	if err != nil || *parsed != *head {
		t.Errorf("the head did not survive: %+v %v", parsed, err)
	}
	if err := parsed.CheckSignature(public); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "{", `{"count":1,"new":2}`, `{} {}`, "null", "null x", `{}`, `[]`} {
		if _, err := ParseHead([]byte(bad)); err == nil {
			t.Errorf("head %q was taken", bad)
		}
	}
}

func FuzzVerify(f *testing.F) {
	log, _ := sampleLog(f, testRun, 1)
	f.Add(log)
	f.Add([]byte("{\"attestation_list\":[{}]}\n"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Verify(bytes.NewReader(b), nil)
		if err != nil {
			t.Fatal(err)
		}
		// Nobody can make events that hold by chance.
		if r.Events > 0 && !bytes.HasPrefix(b, log[:bytes.IndexByte(log, '\n')+1]) {
			t.Fatalf("%d events of a forged log hold:\n%s", r.Events, b)
		}
	})
}
