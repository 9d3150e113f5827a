package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	in := report{DNS: &audit.DNS{Name: "a.example", Process: audit.Process{PID: 1}}}
	if err := writeFrame(&b, in, maxReport); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(b.Bytes())
	var out report
	if err := readFrame(&b, &out, maxReport); err != nil {
		t.Fatal(err)
	}
	rec, err := out.record()
	if d, ok := rec.(audit.DNS); err != nil || !ok || d.Name != "a.example" {
		t.Errorf("record %+v %v", rec, err)
	} else if d.Process.PID != 0 {
		t.Error("the gateway's word on a process was taken")
	}
	if err := readFrame(&b, &out, maxReport); !errors.Is(err, io.EOF) {
		t.Errorf("between two frames: %v", err)
	}
	for name, raw := range map[string][]byte{
		"too long":  binary.BigEndian.AppendUint32(nil, maxReport+1),
		"cut short": whole[:len(whole)-1],
		"no JSON":   {0, 0, 0, 1, '{'},
	} {
		if err := readFrame(bytes.NewReader(raw), &out, maxReport); err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := writeFrame(io.Discard, make([]byte, 100), 10); err == nil {
		t.Error("a message over the limit was written")
	}
}

func TestReportHoldsOneRecord(t *testing.T) {
	for name, r := range map[string]report{
		"none":  {},
		"two":   {DNS: &audit.DNS{}, Finding: &audit.Finding{}},
		"ready": {Ready: &ready{}, DNS: &audit.DNS{}},
	} {
		if rec, err := r.record(); err == nil {
			t.Errorf("%s: %+v", name, rec)
		}
	}
}
