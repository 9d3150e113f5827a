package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// MaxRecord bounds a record on its way between processes.
const MaxRecord = 64 << 10

// kindOf names a record on the wire.
func kindOf(r Record) (string, bool) {
	switch r.(type) {
	case RunStart:
		return "run_start", true
	case RunEnd:
		return "run_end", true
	case Wipe:
		return "wipe", true
	case Exec:
		return "exec", true
	case Exit:
		return "exit", true
	case Connect:
		return "connect", true
	case ConnectClosed:
		return "connect_closed", true
	case DNS:
		return "dns", true
	case HTTP:
		return "http", true
	case ModelCall:
		return "model_call", true
	case ModelTool:
		return "model_tool", true
	case Signature:
		return "signature", true
	case Approval:
		return "approval", true
	case File:
		return "file", true
	case LiveFile:
		return "live_file", true
	case LiveFiles:
		return "live_files", true
	case LimitHit:
		return "limit", true
	case Resources:
		return "resources", true
	case RunState:
		return "run_state", true
	case Finding:
		return "finding", true
	default:
		return "", false
	}
}

// EncodeRecord writes a record as one JSON object without a newline, with its
// kind as the first member: {"kind":"connect",...}.
func EncodeRecord(r Record) ([]byte, error) {
	kind, ok := kindOf(r)
	if !ok {
		return nil, fmt.Errorf("encode a record: %T is no kind of record", r)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a %s record: %w", kind, err)
	}
	out := append([]byte(`{"kind":"`+kind+`",`), b[1:]...) // every kind has members that are always written
	if len(out) > MaxRecord {
		return nil, fmt.Errorf("encode a %s record: %d bytes are more than the %d that a record may have", kind, len(out), MaxRecord)
	}
	return out, nil
}

// DecodeRecord reads what EncodeRecord wrote, and nothing else: a kind or a member
// that is not known is an error. It says nothing about who may report what: a
// receiver must refuse the kinds that its peer has no business to send.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("decode a record: %d bytes are more than the %d that a record may have", len(b), MaxRecord)
	}
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("decode a record: %w", err)
	}
	switch head.Kind {
	case "run_start":
		return decode[RunStart](b)
	case "run_end":
		return decode[RunEnd](b)
	case "wipe":
		return decode[Wipe](b)
	case "exec":
		return decode[Exec](b)
	case "exit":
		return decode[Exit](b)
	case "connect":
		return decode[Connect](b)
	case "connect_closed":
		return decode[ConnectClosed](b)
	case "dns":
		return decode[DNS](b)
	case "http":
		return decode[HTTP](b)
	case "model_call":
		return decode[ModelCall](b)
	case "model_tool":
		return decode[ModelTool](b)
	case "signature":
		return decode[Signature](b)
	case "approval":
		return decode[Approval](b)
	case "file":
		return decode[File](b)
	case "live_file":
		return decode[LiveFile](b)
	case "live_files":
		return decode[LiveFiles](b)
	case "resources":
		return decode[Resources](b)
	case "run_state":
		return decode[RunState](b)
	case "limit":
		return decode[LimitHit](b)
	case "finding":
		return decode[Finding](b)
	default:
		return nil, fmt.Errorf("decode a record: %q is no kind of record", head.Kind)
	}
}

// decode reads one kind of record. The kind itself is cut off first, which also
// makes sure that it is the first member and is there once.
func decode[T Record](b []byte) (Record, error) {
	var r T
	kind, _ := kindOf(r)
	rest, ok := bytes.CutPrefix(b, []byte(`{"kind":"`+kind+`",`))
	if !ok {
		return nil, fmt.Errorf("decode a %s record: the kind is not the first member", kind)
	}
	d := json.NewDecoder(io.MultiReader(bytes.NewReader([]byte("{")), bytes.NewReader(rest)))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("decode a %s record: %w", kind, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode a %s record: something follows it", kind)
	}
	return r, nil
}
