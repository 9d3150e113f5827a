package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxHello bounds what is read of a TLS ClientHello. The largest that clients send
// today, with post-quantum key shares and tickets, are under 8 KiB.
const maxHello = 32 << 10

// errMore says that the bytes so far are the beginning of a ClientHello.
var errMore = errors.New("the TLS ClientHello is not complete")

// hello is what the gateway wants to know of a ClientHello.
type hello struct {
	sni string // as sent; empty where the extension is absent
	ech bool   // the Encrypted Client Hello extension is present
}

// The numbers of RFC 8446 sections 4 and 5, RFC 6066 section 3, RFC 9849.
const (
	recordHandshake      = 22
	handshakeClientHello = 1
	extensionServerName  = 0
	extensionECH         = 0xfe0d
	nameTypeHost         = 0
	maxRecord            = 1 << 14
)

// parseHello reads a ClientHello from the first bytes of a connection, over as
// many records as the client cut it into. It is strict where two readers could
// disagree: two server names, two of one extension, bytes that are left over.
// Whether an ECH extension is real or GREASE can't be told from outside, by design.
func parseHello(b []byte) (hello, error) {
	msg, err := helloMessage(b)
	if err != nil {
		return hello{}, err
	}
	r := reader{b: msg}
	r.skip(2 + 32)     // legacy_version, random
	r.skip(r.u8())     // legacy_session_id
	r.skip(r.u16())    // cipher_suites
	r.skip(r.u8())     // legacy_compression_methods
	if len(r.b) == 0 { // before RFC 3546 there were no extensions
		return hello{}, r.err
	}
	ext := reader{b: r.take(r.u16())}
	if r.err != nil || len(r.b) != 0 {
		return hello{}, errors.New("malformed TLS ClientHello")
	}
	var h hello
	seen := map[uint16]bool{}
	for len(ext.b) > 0 {
		typ := uint16(ext.u16())
		body := ext.take(ext.u16())
		if ext.err != nil {
			return hello{}, errors.New("malformed extension in the TLS ClientHello")
		}
		if seen[typ] {
			return hello{}, fmt.Errorf("TLS ClientHello has extension %d twice", typ)
		}
		seen[typ] = true
		switch typ {
		case extensionServerName:
			if h.sni, err = serverName(body); err != nil {
				return hello{}, err
			}
		case extensionECH:
			h.ech = true
		}
	}
	return h, nil
}

// helloMessage joins the records' fragments up to the end of the first handshake
// message, which must be a ClientHello.
func helloMessage(b []byte) ([]byte, error) {
	var msg []byte
	total := 0
	for {
		// Judged as early as it can be, so that what is not TLS is refused by its
		// first bytes and not by a timeout.
		if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
			return nil, errors.New("not TLS: the first bytes are no handshake record")
		}
		if len(b) < 5 {
			return nil, errMore
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > maxRecord {
			return nil, fmt.Errorf("malformed TLS record of %d bytes", size)
		}
		fragment := b[5:min(len(b), 5+size)]
		msg = append(msg, fragment...)
		if len(msg) > 0 && msg[0] != handshakeClientHello {
			return nil, errors.New("not TLS: the first handshake message is no ClientHello")
		}
		if total == 0 && len(msg) >= 4 {
			total = 4 + int(msg[1])<<16 + int(msg[2])<<8 + int(msg[3])
			if total > maxHello {
				return nil, fmt.Errorf("TLS ClientHello of %d bytes is too long", total)
			}
		}
		if total > 0 && len(msg) >= total {
			// A second message in the same flight is none that a client sends
			// before the server has spoken.
			if len(msg) > total {
				return nil, errors.New("malformed TLS: bytes behind the ClientHello in its record")
			}
			return msg[4:total], nil
		}
		if len(fragment) < size {
			return nil, errMore
		}
		b = b[5+size:]
		if len(b) == 0 {
			return nil, errMore
		}
	}
}

// serverName reads the one host_name of a server_name extension.
func serverName(b []byte) (string, error) {
	r := reader{b: b}
	list := reader{b: r.take(r.u16())}
	if r.err != nil || len(r.b) != 0 {
		return "", errors.New("malformed TLS server name")
	}
	typ := list.u8()
	name := list.take(list.u16())
	switch {
	case list.err != nil || len(name) == 0:
		return "", errors.New("malformed TLS server name")
	case typ != nameTypeHost:
		return "", fmt.Errorf("TLS server name of unknown type %d", typ)
	case len(list.b) != 0:
		return "", errors.New("TLS ClientHello has more than one server name")
	}
	return string(name), nil
}

// reader takes big-endian fields off a byte slice. After the first one that is not
// there, all that follow are zero and err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.b, r.err = nil, errors.New("cut short")
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) u8() int {
	if b := r.take(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (r *reader) u16() int {
	if b := r.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}
