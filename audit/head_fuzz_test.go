package audit

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

// FuzzParseHead reads a head that somebody who could write to the folder made up.
func FuzzParseHead(f *testing.F) {
	f.Add([]byte(`{"run_id":"x","count":3,"fingerprint":"00","size":10,"time":"2026-03-04T05:06:07Z","lost":0}`))
	f.Add([]byte(`{"run_id":"x","public_key":"AAAA","signature":"AAAA"}`))
	f.Add([]byte(`{"run_id":"x","count":-1,"size":-1}{}`))
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		f.Fatal(err)
	}
	log, _ := sampleLog(f, testRun, 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHead(b)
		if err != nil {
			return
		}
		if h.RunID == "" {
			t.Error("a head that names no run is valid")
		}
		if h.CheckSignature(public) == nil {
			t.Errorf("a signature by nobody holds: %q", b)
		}
		// It was not made with this log.
		if r, err := Verify(bytes.NewReader(log), h); err == nil && r.State == Sealed {
			t.Errorf("a made-up head seals a log: %q", b)
		}
		if err := h.Sign(private); err != nil {
			t.Error(err)
		} else if err := h.CheckSignature(public); err != nil {
			t.Errorf("what was signed does not hold: %v", err)
		}
	})
}
