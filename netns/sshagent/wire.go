package sshagent

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Numbers of messages: draft-ietf-sshm-ssh-agent section 6.1.
const (
	failure           = 5
	requestIdentities = 11
	identitiesAnswer  = 12
	signRequest       = 13
	signResponse      = 14
	extension         = 27
)

// maxMessage is OpenSSH's own limit (AGENT_MAX_LEN of its authfd.c).
const maxMessage = 256 << 10

// maxKeys bounds the keys of a list (MAX_AGENT_IDENTITIES of OpenSSH's ssh-agent is
// 2048).
const maxKeys = 2048

// Kind is what a request is.
type Kind int

// The kinds of request. Other is everything that is refused.
const (
	Other Kind = iota
	List
	Sign
	Bind
)

// Request is one message of a client.
type Request struct {
	Kind Kind
	Type byte   // the message's number
	Name string // of an extension

	Key  []byte // sign: the public key
	Data []byte // sign: what is signed

	HostKey []byte // bind: of the server that the session is with
}

// Key is a key that an agent has.
type Key struct {
	Blob    []byte
	Comment string
}

var errShort = errors.New("the message is cut short")

// Read reads one message, without its length.
func Read(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, io.ErrUnexpectedEOF
	}
	return b, nil
}

// Write writes one message with its length.
func Write(w io.Writer, b []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	return err
}

// Failure is the answer to what is refused.
func Failure() []byte { return []byte{failure} }

// Signed says whether an answer is a signature.
func Signed(answer []byte) bool { return len(answer) > 0 && answer[0] == signResponse }

// text takes a string off the front: a length of four bytes and as many bytes
// (RFC 4251 section 5).
func text(b []byte) (s, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errShort
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, errShort
	}
	return b[4 : 4+n], b[4+n:], nil
}

// Parse reads a client's request. What it does not know is Other and no error.
func Parse(b []byte) (r Request, err error) {
	if len(b) == 0 {
		return r, errShort
	}
	r.Type = b[0]
	rest := b[1:]
	switch r.Type {
	case requestIdentities:
		if len(rest) != 0 {
			return r, errors.New("a request for the keys has something behind it")
		}
		r.Kind = List
	case signRequest:
		if r.Key, rest, err = text(rest); err != nil {
			return r, err
		}
		if r.Data, rest, err = text(rest); err != nil {
			return r, err
		}
		if len(rest) != 4 { // flags
			return r, errors.New("a request for a signature does not end with its flags")
		}
		r.Kind = Sign
	case extension:
		name, rest, err := text(rest)
		if err != nil {
			return r, err
		}
		r.Name = string(name)
		if r.Name != "session-bind@openssh.com" {
			return r, nil
		}
		// PROTOCOL.agent of OpenSSH, section 1.
		if r.HostKey, _, err = text(rest); err != nil {
			return r, err
		}
		r.Kind = Bind
	}
	return r, nil
}

// Keys reads an agent's list of keys.
func Keys(answer []byte) ([]Key, error) {
	if len(answer) < 5 || answer[0] != identitiesAnswer {
		return nil, errors.New("the agent does not list its keys")
	}
	n, rest := binary.BigEndian.Uint32(answer[1:]), answer[5:]
	if n > maxKeys {
		return nil, fmt.Errorf("the agent has %d keys", n)
	}
	var keys []Key
	for range n {
		blob, after, err := text(rest)
		if err != nil {
			return nil, err
		}
		comment, after, err := text(after)
		if err != nil {
			return nil, err
		}
		keys, rest = append(keys, Key{blob, string(comment)}), after
	}
	if len(rest) != 0 {
		return nil, errors.New("the agent's list of keys has something behind it")
	}
	return keys, nil
}

// ListOf is the answer that lists these keys.
func ListOf(keys []Key) []byte {
	b := binary.BigEndian.AppendUint32([]byte{identitiesAnswer}, uint32(len(keys)))
	for _, k := range keys {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(k.Blob))), k.Blob...)
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(k.Comment))), k.Comment...)
	}
	return b
}

// AskForKeys is the request for the list.
func AskForKeys() []byte { return []byte{requestIdentities} }

// Fingerprint is a public key's fingerprint as ssh-add -l shows it.
func Fingerprint(blob []byte) string {
	sum := sha256.Sum256(blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
