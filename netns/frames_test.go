package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// frame writes a frame; a key masks it.
func frame(first byte, payload string, key string) []byte {
	b := []byte{first, 0}
	switch n := len(payload); {
	case n <= maxControl:
		b[1] = byte(n)
	case n <= 0xffff:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if key == "" {
		return append(b, payload...)
	}
	b[1] |= 0x80
	b = append(b, key...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

const (
	finText, finBinary, finContinue = 0x81, 0x82, 0x80
	text, binaryFrame, goesOn       = 0x01, 0x02, 0x00
	finPing, finPong, finClose      = 0x89, 0x8a, 0x88
)

// pushed feeds a stream in pieces of a size; 0 is all at once.
func pushed(f *frames, stream []byte, piece int) ([]byte, error) {
	var out []byte
	if piece == 0 {
		piece = max(1, len(stream))
	}
	for len(stream) > 0 {
		n := min(piece, len(stream))
		b, err := f.push(stream[:n])
		if err != nil {
			return out, err
		}
		out = append(out, b...)
		stream = stream[n:]
	}
	return out, nil
}

func TestFramesMask(t *testing.T) {
	const value, holder = "aab-SECRET+/aab-", "xxy-PLACEH+/xxy-"
	forms := needles([]byte(value), holder)
	join := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	for name, tt := range map[string]struct{ in, want []byte }{
		"nothing":             {frame(finText, "hello", ""), frame(finText, "hello", "")},
		"one frame":           {frame(finText, "x"+value+"y", ""), frame(finText, "x"+holder+"y", "")},
		"twice":               {frame(finBinary, value+value, ""), frame(finBinary, holder+holder, "")},
		"in two frames":       {join(frame(text, value[:5], ""), frame(finContinue, value[5:], "")), join(frame(text, holder[:5], ""), frame(finContinue, holder[5:], ""))},
		"in four frames":      {join(frame(binaryFrame, "z"+value[:1], ""), frame(goesOn, value[1:9], ""), frame(goesOn, "", ""), frame(finContinue, value[9:]+"w", "")), join(frame(binaryFrame, "z"+holder[:1], ""), frame(goesOn, holder[1:9], ""), frame(goesOn, "", ""), frame(finContinue, holder[9:]+"w", ""))},
		"around a ping":       {join(frame(text, value[:7], ""), frame(finPing, "p", ""), frame(finContinue, value[7:], "")), join(frame(text, holder[:7], ""), frame(finPing, "p", ""), frame(finContinue, holder[7:], ""))},
		"in a ping":           {frame(finPing, "1"+value, ""), frame(finPing, "1"+holder, "")},
		"in a close":          {frame(finClose, "\x03\xe8"+value, ""), frame(finClose, "\x03\xe8"+holder, "")},
		"in a long frame":     {frame(finText, strings.Repeat("x", 70_000)+value, ""), frame(finText, strings.Repeat("x", 70_000)+holder, "")},
		"in a middling frame": {frame(finText, strings.Repeat("x", 300)+value, ""), frame(finText, strings.Repeat("x", 300)+holder, "")},
		"two messages":        {join(frame(finText, value[:8], ""), frame(finText, value[8:], "")), join(frame(finText, value[:8], ""), frame(finText, value[8:], ""))},
	} {
		for _, piece := range []int{0, 1, 2, 7, 1000} {
			f := &frames{forms: forms}
			if got, err := pushed(f, tt.in, piece); !bytes.Equal(got, tt.want) || err != nil || !f.between() {
				t.Errorf("%s in pieces of %d: %q %v, want %q", name, piece, clip(string(got)), err, clip(string(tt.want)))
			}
		}
	}
}

func TestFramesFind(t *testing.T) {
	const holder = "sk-ant-api03-PLACEHOLDER0123456789"
	forms := needles([]byte(holder), strings.Repeat("*", len(holder)))
	key := "\x01\x82\x73\xf4"
	placed := errors.New("placed")
	scan := func(in []byte, piece int) ([]byte, error) {
		return pushed(&frames{client: true, forms: forms, found: func(int) error { return placed }}, in, piece)
	}
	join := func(list ...[]byte) []byte { return bytes.Join(list, nil) }
	for name, in := range map[string][]byte{
		"one frame":           frame(finText, "x"+holder, key),
		"no mask to speak of": frame(finText, "x"+holder, "\x00\x00\x00\x00"),
		"two frames":          join(frame(text, holder[:20], key), frame(finContinue, holder[20:], "abcd")),
		"a byte in each":      join(frame(text, holder[:1], key), frame(goesOn, holder[1:2], key), frame(goesOn, holder[2:3], "efgh"), frame(finContinue, holder[3:], key)),
		"around a ping":       join(frame(text, holder[:20], key), frame(finPing, "ping", "abcd"), frame(finContinue, holder[20:], key)),
		"in a ping":           frame(finPing, holder, key),
		"behind a message":    join(frame(finText, "fine", key), frame(finBinary, holder, key)),
	} {
		for _, piece := range []int{0, 1, 3} {
			out, err := scan(in, piece)
			if !errors.Is(err, placed) {
				t.Errorf("%s in pieces of %d: %v", name, piece, err)
			}
			// What went on is a beginning of what came, and the placeholder is not in it.
			if !bytes.HasPrefix(in, out) || len(out) > len(in)-len(holder)/2 {
				t.Errorf("%s in pieces of %d: %d of %d bytes went on", name, piece, len(out), len(in))
			}
		}
	}
	fine := join(frame(finText, holder[:len(holder)-1], key), frame(finPing, "", key), frame(text, "sk-ant-", key), frame(finPong, "sk-", key), frame(finContinue, "other", key), frame(finClose, "\x03\xe8bye", key))
	for _, piece := range []int{0, 1, 5} {
		if out, err := scan(fine, piece); err != nil || !bytes.Equal(out, fine) {
			t.Errorf("what is fine, in pieces of %d: %v, %d of %d bytes", piece, err, len(out), len(fine))
		}
	}
}

func TestFramesRefuse(t *testing.T) {
	key := "abcd"
	long := frame(finText, "", key)
	long[1] = 0xff
	for name, in := range map[string][]byte{
		"no frame":          []byte("GET / HTTP/1.1\r\n\r\n"),
		"not masked":        frame(finText, "x", ""),
		"compressed":        frame(finText|0x40, "x", key),
		"reserved bit":      frame(finText|0x10, "x", key),
		"unknown kind":      frame(0x83, "x", key),
		"unknown control":   frame(0x8b, "x", key),
		"ping in pieces":    frame(0x09, "x", key),
		"long ping":         frame(finPing, strings.Repeat("x", 126), key),
		"goes on without":   frame(finContinue, "x", key),
		"begins within":     append(frame(text, "x", key), frame(finText, "x", key)...),
		"impossible length": append(long[:2:2], bytes.Repeat([]byte{0xff}, 12)...),
	} {
		f := &frames{client: true, forms: needles([]byte("sk-0123456789"), "sk-9876543210")}
		if out, err := pushed(f, in, 1); !errors.Is(err, errNoFrame) {
			t.Errorf("%s: %q %v", name, out, err)
		}
		if out, err := f.push(frame(finText, "fine", key)); err == nil {
			t.Errorf("%s: it goes on behind an error: %q", name, out)
		}
	}
	f := &frames{forms: needles([]byte("sk-0123456789"), "sk-9876543210")}
	if _, err := f.push(frame(finText, "x", key)); !errors.Is(err, errNoFrame) {
		t.Errorf("a masked frame of the host: %v", err)
	}
	// Pings behind a message that never goes on do not fill the memory.
	f = &frames{forms: needles([]byte("sk-0123456789"), "sk-9876543210")}
	if _, err := f.push(frame(text, "sk-", "")); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for ; err == nil && n < 1<<20; n += 127 {
		_, err = f.push(frame(finPing, strings.Repeat("p", maxControl), ""))
	}
	if !errors.Is(err, errNoFrame) || n > 2*maxBehind {
		t.Errorf("%d bytes are kept: %v", n, err)
	}
}

// FuzzFrames: however a stream is cut, the same comes of it; what goes on is as long as
// what came; and no secret is left in a message.
func FuzzFrames(f *testing.F) {
	const value, holder = "aab-SECRET+/aab-", "xxy-PLACEH+/xxy-"
	for _, s := range [][]byte{
		frame(finText, "x"+value, ""), append(frame(text, value[:3], ""), frame(finContinue, value[3:], "")...), frame(finText, value, "abcd"), frame(finPing, value, ""),
		append(frame(text, value[:3], "abcd"), append(frame(finPing, "a", "efgh"), frame(finContinue, value[3:], "ijkl")...)...), {0x81, 0xff}, {0x81, 126, 0},
	} {
		f.Add(s, uint8(3), true)
		f.Add(s, uint8(1), false)
	}
	forms := []needle{{[]byte(value), []byte(holder)}}
	f.Fuzz(func(t *testing.T, in []byte, piece uint8, client bool) {
		whole := &frames{client: client, forms: forms}
		out, err := pushed(whole, in, 0)
		cut := &frames{client: client, forms: forms}
		out2, err2 := pushed(cut, in, int(piece)+1)
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(out, out2) {
			t.Fatalf("%q: %q %v; in pieces of %d: %q %v", in, out, err, int(piece)+1, out2, err2)
		}
		if len(out)+len(whole.wire) != len(in) && err == nil {
			t.Fatalf("%q: %d bytes and %d to come", in, len(out), len(whole.wire))
		}
		// The same stream once more finds nothing: all that could be found was replaced.
		again := &frames{client: client, forms: forms, found: func(int) error { return errors.New("found") }}
		if _, err := pushed(again, out, 0); err != nil && strings.Contains(err.Error(), "found") {
			t.Fatalf("%q became %q, which has the secret", in, out)
		}
	})
}
