package audit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gowebpki/jcs"
)

// headMax bounds a head file.
const headMax = 64 << 10

// headContext is what is signed before the head itself, so that a signature over
// a head can't be passed off as one over something else.
const headContext = "agentjail audit head v1\n"

// A Head seals a log: it says how long the chain is and where it ends. Without it
// nobody can tell that a log's tail was cut off.
type Head struct {
	RunID       string `json:"run_id"`
	Count       int64  `json:"count"`       // events in the log
	Fingerprint string `json:"fingerprint"` // of the last one, hex; empty if there is none
	Size        int64  `json:"size"`        // bytes of the log
	Time        string `json:"time"`        // when the log was closed, RFC 3339
	Lost        int64  `json:"lost"`        // records that are not in the log: it was full, or writing failed
	Error       string `json:"error,omitempty"`
	PublicKey   string `json:"public_key,omitempty"` // Ed25519, base64
	Signature   string `json:"signature,omitempty"`  // base64
}

// Sign signs the head with Ed25519 (RFC 8032).
func (h *Head) Sign(key ed25519.PrivateKey) error {
	if len(key) != ed25519.PrivateKeySize {
		return fmt.Errorf("the key to sign the audit trail with has %d bytes, an Ed25519 key has %d", len(key), ed25519.PrivateKeySize)
	}
	public, _ := key.Public().(ed25519.PublicKey)
	h.PublicKey = base64.StdEncoding.EncodeToString(public)
	message, err := h.message()
	if err != nil {
		return err
	}
	h.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, message))
	return nil
}

// CheckSignature says whether the head was signed with a key that the caller
// trusts. The public key in the head itself proves nothing: whoever rewrites a
// log can sign it anew.
func (h *Head) CheckSignature(trusted ed25519.PublicKey) error {
	if len(trusted) != ed25519.PublicKeySize {
		return fmt.Errorf("the public key has %d bytes, an Ed25519 key has %d", len(trusted), ed25519.PublicKeySize)
	}
	if h.Signature == "" {
		return errors.New("the head is not signed")
	}
	signature, err := base64.StdEncoding.DecodeString(h.Signature)
	if err != nil {
		return errors.New("the head's signature is not base64")
	}
	message, err := h.message()
	if err != nil {
		return err
	}
	if !ed25519.Verify(trusted, message, signature) {
		return errors.New("the head's signature does not hold for this key")
	}
	return nil
}

// message is what is signed: the head in canonical form without its signature.
func (h *Head) message() ([]byte, error) {
	unsigned := *h
	unsigned.Signature = ""
	raw, err := json.Marshal(unsigned)
	if err != nil {
		return nil, fmt.Errorf("encode the head: %w", err)
	}
	canonical, err := jcs.Transform(raw)
	if err != nil {
		return nil, fmt.Errorf("encode the head: %w", err)
	}
	return append([]byte(headContext), canonical...), nil
}

// HeadPath is where the head of a log is: audit.head beside audit.jsonl.
func HeadPath(log string) string { return strings.TrimSuffix(log, ".jsonl") + ".head" }

// ParseHead reads a head, strictly: an unknown member would not be covered by
// the signature.
func ParseHead(b []byte) (*Head, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	h := new(Head)
	if err := d.Decode(h); err != nil {
		return nil, fmt.Errorf("the head is not valid: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the head is not valid: something follows it")
	}
	if h.RunID == "" {
		return nil, errors.New("the head is not valid: it names no run")
	}
	return h, nil
}

// ReadHead reads a head file. A missing one is fs.ErrNotExist: the run is still
// going on, or it crashed.
func ReadHead(path string) (*Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the head of the audit trail: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, headMax+1))
	if err != nil {
		return nil, fmt.Errorf("read the head of the audit trail: %w", err)
	}
	if len(b) > headMax {
		return nil, fmt.Errorf("the head %s is larger than %d bytes", path, headMax)
	}
	return ParseHead(b)
}

// write puts the head beside the log, whole or not at all.
func (h *Head) write(path string) (err error) {
	b, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the head: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".audit-head-*")
	if err != nil {
		return fmt.Errorf("write the head of the audit trail: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the head of the audit trail: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a new name survive a power cut (fsync(2): syncing a file does not
// sync the entry in its directory).
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
