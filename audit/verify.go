package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gowebpki/jcs"
)

// A State is what Verify found a trail to be.
type State string

// The states.
const (
	Sealed   State = "sealed"   // every event holds and the head agrees
	Unsealed State = "unsealed" // every whole line holds, but there is no head: the run goes on or crashed
	Tampered State = "tampered" // something does not hold
)

// A Report is the result of a verification.
type Report struct {
	State     State  `json:"state"`
	RunID     string `json:"run_id,omitempty"`    // that the events claim
	Events    int64  `json:"events"`              // that hold, from the beginning
	Line      int    `json:"line,omitempty"`      // first one that does not hold; 0 if all do
	Reason    string `json:"reason,omitempty"`    // why it does not, or why it is unsealed
	Truncated bool   `json:"truncated,omitempty"` // the last line is torn, as a crash leaves it
	Signed    bool   `json:"signed,omitempty"`    // by Verifier.Key
	Lost      int64  `json:"lost,omitempty"`      // records that the writer says it did not write
}

// A Verifier says what a trail is checked against.
type Verifier struct {
	Head  *Head             // nil: there is none
	RunID string            // the run that the trail must be of; empty: any
	Key   ed25519.PublicKey // a head must be signed with it; nil: it need not be signed
}

// Verify checks a trail against its head, which may be nil. It can't know which
// run's trail this should be: use a Verifier for that.
func Verify(r io.Reader, head *Head) (Report, error) { return Verifier{Head: head}.Verify(r) }

// Verify reads a trail and finds the first event that does not hold. The error is
// one of reading; what is wrong with the trail is in the report.
func (v Verifier) Verify(r io.Reader) (Report, error) {
	report := Report{RunID: v.RunID}
	chain := link{runID: v.RunID}
	if v.Head != nil {
		if v.RunID != "" && v.Head.RunID != v.RunID {
			report.tampered(0, fmt.Sprintf("the head is of run %q, not of %q", v.Head.RunID, v.RunID))
			return report, nil
		}
		chain.runID = v.Head.RunID
		report.Lost = v.Head.Lost
	}

	lines := newLineReader(r)
	var size int64
	for {
		raw, err := lines.next(true)
		var bad *LineError
		switch {
		case errors.Is(err, io.EOF):
			report.RunID = chain.runID
			v.end(&report, chain, size)
			return report, nil
		case errors.Is(err, ErrTruncated):
			report.Truncated = true
			report.RunID = chain.runID
			v.end(&report, chain, size)
			return report, nil
		case errors.As(err, &bad):
			report.tampered(bad.Line, bad.Err.Error())
			return report, nil
		case err != nil:
			return report, fmt.Errorf("read the audit trail: %w", err)
		}
		size += int64(len(raw)) + 1
		if err := chain.check(raw); err != nil {
			report.RunID = chain.runID
			report.tampered(lines.line, err.Error())
			return report, nil
		}
		report.Events++
	}
}

// end compares the end of the chain with the head.
func (v Verifier) end(report *Report, chain link, size int64) {
	h := v.Head
	switch {
	case h == nil && report.Truncated:
		report.State = Unsealed
		report.Reason = "the last line is cut off and there is no head: the run was killed while it wrote"
	case h == nil:
		report.State = Unsealed
		report.Reason = "there is no head: the run is still going on, or it was killed; a tail that was cut off would not show"
	case chain.sequence < h.Count:
		report.tampered(int(chain.sequence)+1, fmt.Sprintf("the log ends after %d events, its head counts %d", chain.sequence, h.Count))
	case chain.sequence > h.Count:
		report.tampered(int(h.Count)+1, fmt.Sprintf("the log has %d events, its head counts %d", chain.sequence, h.Count))
	case chain.fingerprint != h.Fingerprint:
		report.tampered(int(chain.sequence), "the last event is not the one that the head names")
	case report.Truncated && h.Error == "":
		report.tampered(int(chain.sequence)+1, "something follows the last event")
	case size != h.Size:
		report.tampered(0, fmt.Sprintf("the log has %d bytes, its head says %d", size, h.Size))
	default:
		report.State = Sealed
	}
	if report.State == Sealed && v.Key != nil {
		if err := h.CheckSignature(v.Key); err != nil {
			report.tampered(0, err.Error())
			return
		}
		report.Signed = true
	}
}

func (r *Report) tampered(line int, reason string) {
	r.State, r.Line, r.Reason = Tampered, line, reason
}

// check takes the next line of a chain, or says why it is not the next.
//
// It asks for the very bytes that a Writer would write: canonical JSON with the
// attestation of this place in the chain. Whatever else a line may be that some
// reader takes for the same event, it is an edit.
func (l *link) check(raw []byte) error {
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return fmt.Errorf("the line is not JSON: %w", err)
	}
	if !bytes.Equal(canonical, raw) {
		return errors.New("the line was edited: it is not in canonical form")
	}
	var e Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("the line is no event: %w", err)
	}
	if len(e.Attestations) != 1 {
		return errors.New("the event has no attestation")
	}
	claim := e.Attestations[0]
	if l.runID == "" { // the first event says whose trail this is
		l.runID = claim.ChainUID
	}
	if claim.ChainUID != l.runID {
		return fmt.Errorf("the event is of run %q, not of %q", claim.ChainUID, l.runID)
	}
	if e.Metadata.Sequence != l.sequence+1 {
		return fmt.Errorf("event %d stands where event %d should: a line was cut, added or moved", e.Metadata.Sequence, l.sequence+1)
	}
	if e.Metadata.CorrelationUID != l.runID || e.Metadata.UID != string(appendUID(nil, l.runID, l.sequence+1)) {
		return errors.New("the event's uid is not that of its place in the log")
	}
	if p := claim.Previous; p != nil && p.Fingerprint.Value != l.fingerprint {
		return errors.New("the event follows another one than the line before: that line was replaced")
	}

	next := *l
	next.sequence++
	expected, at := next.appendAttestation(nil)
	fingerprint := "," + fingerprintOpen + claim.Fingerprint.Value + fingerprintClose
	with := `"attestation_list":` + string(expected[:at]) + fingerprint + string(expected[at:])
	if bytes.Count(raw, []byte(with)) != 1 {
		return errors.New("the event's attestation is not that of its place in the log")
	}
	place := bytes.Index(raw, []byte(with)) + len(`"attestation_list":`) + at
	digest := sha256.New()
	digest.Write(raw[:place])
	digest.Write(raw[place+len(fingerprint):])
	if hex.EncodeToString(digest.Sum(nil)) != claim.Fingerprint.Value {
		return errors.New("the event was edited: its fingerprint does not match")
	}
	if e.TypeUID != int64(e.ClassUID)*100+int64(e.ActivityID) {
		return errors.New("the event's type is not that of its class and activity: " + strconv.FormatInt(e.TypeUID, 10))
	}
	next.fingerprint, next.typeUID = claim.Fingerprint.Value, e.TypeUID
	*l = next
	return nil
}
