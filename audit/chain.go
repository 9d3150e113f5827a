package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// authority names who attests: the product, not a person.
const authority = "agentjail"

// The text around a fingerprint, in canonical form. The ids are those of OCSF's
// fingerprint object: 3 is SHA-256, 1 is hex, 2 is JCS.
const (
	fingerprintOpen  = `"fingerprint":{"algorithm":"SHA-256","algorithm_id":3,"encoding":"Hex","encoding_id":1,"serialization":"JCS","serialization_id":2,"value":"`
	fingerprintClose = `"}`

	fingerprintLength = len(","+fingerprintOpen) + 2*sha256.Size + len(fingerprintClose)
)

// A link is the end of a chain: what the next event refers to.
type link struct {
	runID       string
	sequence    int64  // of the event that is being written; afterwards of the last one
	fingerprint string // of the event before; empty before the first
	typeUID     int64  // of the event before
}

// appendEvent writes the next event of a chain, with its fingerprint and a
// newline, and moves the link on.
//
// The event is written without its fingerprint, hashed, and the fingerprint set
// in: the bytes that are hashed are the canonical form of the event without it.
func (l *link) appendEvent(b []byte, e encoded, typeUID int64) []byte {
	l.sequence++
	start, done, place := len(b), 0, 0
	for _, h := range e.holes {
		b = append(b, e.raw[done:h.at]...)
		done = h.at
		switch h.kind {
		case kindUID:
			b = append(b, '"')
			b = appendUID(b, l.runID, l.sequence)
			b = append(b, '"')
		case kindSequence:
			b = strconv.AppendInt(b, l.sequence, 10)
		case kindAttestation:
			b, place = l.appendAttestation(b)
		}
	}
	b = append(b, e.raw[done:]...)
	sum := sha256.Sum256(b[start:])

	var space [fingerprintLength]byte
	f := append(space[:0], ","+fingerprintOpen...)
	f = hex.AppendEncode(f, sum[:])
	l.fingerprint = string(f[len(","+fingerprintOpen):])
	f = append(f, fingerprintClose...)

	end := len(b)
	b = append(b, f...)
	copy(b[place+len(f):], b[place:end])
	copy(b[place:], f)
	l.typeUID = typeUID
	return append(b, '\n')
}

// appendAttestation writes attestation_list without the fingerprint and says
// where it belongs: after chain_uid, before prev_event, in the order of keys.
func (l *link) appendAttestation(b []byte) ([]byte, int) {
	b = append(b, `[{"authority_uid":"`+authority+`","chain_uid":`...)
	b = appendString(b, l.runID)
	at := len(b)
	if l.fingerprint != "" {
		b = append(b, `,"prev_event":{`...)
		b = append(b, fingerprintOpen...)
		b = append(b, l.fingerprint...)
		b = append(b, fingerprintClose...)
		b = append(b, `,"type_uid":`...)
		b = strconv.AppendInt(b, l.typeUID, 10)
		b = append(b, `,"uid":"`...)
		b = appendUID(b, l.runID, l.sequence-1)
		b = append(b, `"}`...)
	}
	return append(b, `}]`...), at
}

// appendUID writes the uid of an event: the run's and its number.
func appendUID(b []byte, runID string, sequence int64) []byte {
	b = append(b, runID...)
	b = append(b, '-')
	return strconv.AppendInt(b, sequence, 10)
}
