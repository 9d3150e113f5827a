package netns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/agentjail/agentjail/netns/usage"
)

// frames looks through one direction of a WebSocket connection (RFC 6455 section 5.2)
// for what it looks for, in the text that the messages have: without the masks, and
// across the borders of frames, between which a ping may stand. It passes the bytes on
// as they are, or with other bytes in the place of what it found, of the same number.
//
//	 0                   1                   2                   3
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| length (7)  |  length (16 or 64, if 126/127)|
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	| masking key (4, if M)         |  payload ...                  |
//
// It holds back what may be the beginning of a match, until the message goes on or
// ends. Compressed frames (RFC 7692) can't be looked into and are no frames here: the
// extension is not offered to the host.
type frames struct {
	client bool // the direction from the client, whose frames are masked
	forms  []needle
	found  func(form int) error // ends the stream where it gives an error; nil: replace
	shown  *usage.SocketReader  // reads the messages' text as it passes; nil: nobody does

	message message // of the data frames
	control message // of one control frame, which has no second one

	current *message // that the frame belongs to
	left    uint64   // of the frame's payload
	final   bool     // it is the message's last
	open    bool     // there is a message whose last frame is still to come
	key     [4]byte
	keyAt   int

	wire  []byte // not passed on yet
	next  int    // in wire: behind what was looked at
	spare []byte // the other buffer: what was passed on lies in one while the other is filled
	text  []byte // scratch
	err   error
}

// message is the end of a message's text that is held back.
type message struct {
	text []byte
	at   []int // where each byte of text is in wire
}

var errNoFrame = errors.New("no WebSocket frame that can be looked into")

const (
	// maxControl is the longest payload of a control frame (RFC 6455 section 5.5).
	maxControl = 125

	// maxBehind bounds what may stand behind a message that is held back: pings.
	maxBehind = 256 << 10
)

// push takes what came and gives what may go on; the latter is valid until the next
// push. After an error nothing goes on any more.
func (f *frames) push(in []byte) ([]byte, error) {
	if f.err != nil {
		return nil, f.err
	}
	f.wire = append(f.wire, in...)
	for f.err == nil && f.step() {
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.release(), nil
}

// release is what is not held back. What is stays at the beginning of wire.
func (f *frames) release() []byte {
	end := f.next
	for _, m := range []*message{&f.message, &f.control} {
		if len(m.at) > 0 {
			end = min(end, m.at[0])
		}
	}
	out, rest := f.wire[:end], f.wire[end:]
	f.wire, f.spare = append(f.spare[:0], rest...), f.wire[:0]
	f.next -= end
	for _, m := range []*message{&f.message, &f.control} {
		for i := range m.at {
			m.at[i] -= end
		}
	}
	if len(rest) > maxBehind {
		f.err = fmt.Errorf("%w: a message does not go on, and too much stands behind it", errNoFrame)
	}
	return out
}

// step looks at a head or at some payload; false says that there is not enough yet.
func (f *frames) step() bool {
	if f.current == nil {
		return f.head()
	}
	n := int(min(f.left, uint64(len(f.wire)-f.next)))
	if n == 0 && f.left > 0 {
		return false
	}
	m := f.current
	f.payload(m, n)
	f.left -= uint64(n)
	if f.left == 0 {
		f.current = nil
		if f.final {
			m.text, m.at = m.text[:0], m.at[:0]
			if f.shown != nil && m == &f.message {
				f.shown.End()
			}
		}
	}
	return f.err == nil
}

// payload looks at the next n bytes, together with what is held back of the message.
func (f *frames) payload(m *message, n int) {
	held, base := len(m.text), f.next
	place := func(i int) int { // of a byte of text in wire
		if i < held {
			return m.at[i]
		}
		return base + i - held
	}
	text := append(append(f.text[:0], m.text...), f.wire[base:base+n]...)
	if f.client {
		for i := held; i < len(text); i++ {
			text[i] ^= f.key[f.keyAt&3]
			f.keyAt++
		}
	}
	f.text, f.next = text, base+n
	if f.shown != nil && m == &f.message {
		f.shown.Text(text[held:])
	}
	for i, form := range f.forms {
		for at := 0; ; {
			j := bytes.Index(text[at:], form.find)
			if j < 0 {
				break
			}
			if f.found != nil {
				if f.err = f.found(i); f.err != nil {
					return
				}
			}
			for k, c := range form.put {
				f.wire[place(at+j+k)] ^= text[at+j+k] ^ c // masked or not
				text[at+j+k] = c
			}
			at += j + len(form.find)
		}
	}
	hold := tailOf(text, f.forms)
	at := make([]int, 0, hold)
	for i := len(text) - hold; i < len(text); i++ {
		at = append(at, place(i))
	}
	m.text, m.at = append(m.text[:0], text[len(text)-hold:]...), at
}

// head reads a frame's head.
func (f *frames) head() bool {
	b := f.wire[f.next:]
	if len(b) < 2 {
		return false
	}
	bad := func(format string, args ...any) bool {
		f.err = fmt.Errorf("%w: %s", errNoFrame, fmt.Sprintf(format, args...))
		return false
	}
	opcode, masked, length, size := b[0]&0x0f, b[1]&0x80 != 0, uint64(b[1]&0x7f), 2
	f.final = b[0]&0x80 != 0
	control := opcode >= 8
	switch {
	case b[0]&0x70 != 0:
		return bad("it uses an extension, and none was agreed on")
	case opcode > 2 && opcode < 8 || opcode > 10:
		return bad("its kind %d is unknown", opcode)
	case masked != f.client:
		return bad("the client's frames are masked and the host's are not (RFC 6455 section 5.1), and this one is the other way about")
	case control && (!f.final || length > maxControl):
		return bad("a control frame is in pieces or too long")
	case !control && (opcode == 0) != f.open:
		return bad("a message begins within another one, or goes on without having begun")
	}
	switch length {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if masked {
		size += 4
	}
	if len(b) < size {
		return false
	}
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if length = binary.BigEndian.Uint64(b[2:]); length > math.MaxInt64 {
			return bad("its length is impossible")
		}
	}
	if masked {
		copy(f.key[:], b[size-4:size])
	}
	f.left, f.keyAt = length, 0
	f.next += size
	f.current = &f.message
	if control {
		f.current = &f.control
	} else {
		f.open = !f.final
	}
	return true
}

// between says whether the stream stands at the border of two frames with nothing held
// back, so that a frame of our own may follow.
func (f *frames) between() bool {
	return f.err == nil && f.current == nil && len(f.wire) == 0
}

// closeFrame tells a client why the connection ends: code 1008 is a breach of policy
// (RFC 6455 section 7.4.1).
func closeFrame(reason string) []byte {
	const policy = 1008
	if len(reason) > maxControl-2 {
		reason = reason[:maxControl-2]
	}
	b := []byte{0x88, byte(2 + len(reason)), policy >> 8, policy & 0xff}
	return append(b, reason...)
}
