package netns

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"

	"github.com/agentjail/agentjail/profiles"
)

// Secret is a credential as the gateway is told of it; its value is in Keys.
type Secret struct {
	profiles.Secret
	Placeholder string `json:"placeholder"`

	// Part says what of an AWS key it is; its parts follow one another, the secret
	// access key first.
	Part Part `json:"part,omitempty"`
}

// Part is what a value is of a credential that has several.
type Part string

// The parts of an AWS key.
const (
	PartSecret       Part = ""
	PartAccessKey    Part = "access key ID"
	PartSessionToken Part = "session token"
)

// JailVariable is the variable that holds the placeholder in the jail; "" for none.
func (s Secret) JailVariable() string {
	switch s.Part {
	case PartAccessKey:
		return s.AWS.AccessKeyEnv
	case PartSessionToken:
		return s.AWS.SessionTokenEnv
	}
	return s.Variable
}

// Intercept is what the gateway needs to look into TLS and to put secrets in.
type Intercept struct {
	CA      []byte // certificate of NewAuthority, DER
	Secrets []Secret
	Keys    *Keys // owned by Start; overwritten once the gateway has it, or at Close
}

const (
	minSecret = 8       // shorter ones are found in ordinary text
	maxSecret = 8 << 10 // of one header line that servers take
)

// CheckSecret says whether a value can be a secret: it goes into a header, and has to
// be told from other text.
func CheckSecret(value []byte) error {
	switch {
	case len(value) == 0:
		return errors.New("the value is empty")
	case len(value) < minSecret:
		return fmt.Errorf("the value has %d bytes; one of less than %d can't be told from other text", len(value), minSecret)
	case len(value) > maxSecret:
		return fmt.Errorf("the value has %d bytes, more than %d", len(value), maxSecret)
	}
	for _, c := range value {
		if c <= ' ' || c >= 0x7f {
			return errors.New("the value has a space, a line break or another character that no header can carry")
		}
	}
	return nil
}

// keptPrefixes are what programs look at before they take a value for a key, the
// longer ones first: those of the ready list, and of Google's and AWS's short-lived
// tokens and DigitalOcean's, which are not in it.
func keptPrefixes() []string {
	return append(profiles.KeyPrefixes(), "dop_v1_", "ya29.", "AKIA", "ASIA")
}

// NewPlaceholder makes what the jail holds in place of a value: of the same length and
// made of the same kinds of characters in the same places, so that programs take it,
// and otherwise random. A known prefix stays.
func NewPlaceholder(value []byte) (string, error) {
	kept := 0
	for _, p := range keptPrefixes() {
		if bytes.HasPrefix(value, []byte(p)) && len(value)-len(p) >= minSecret {
			kept = len(p)
			break
		}
	}
	for range 100 {
		b := bytes.Clone(value)
		for i := kept; i < len(b); i++ {
			var err error
			if b[i], err = another(b[i]); err != nil {
				return "", err
			}
		}
		if different(b[kept:], value[kept:]) {
			return string(b), nil
		}
		clear(b)
	}
	return "", errors.New("the value has too few letters and digits to make a placeholder of it")
}

// different says whether nothing but chance is left of a value.
func different(a, b []byte) bool {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n >= minSecret/2
}

// another is a random character of the same kind.
func another(c byte) (byte, error) {
	const digits, lower, upper = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, kind := range []string{digits, lower, upper} {
		if strings.IndexByte(kind, c) < 0 {
			continue
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(kind))))
		if err != nil {
			return 0, err
		}
		return kind[n.Int64()], nil
	}
	return c, nil
}

// needle is a form of a secret that an answer may have in it, and what stands in its
// place: as long, so that lengths and offsets stay.
type needle struct{ find, put []byte }

// needles are the forms of a value: as it is, as JSON and URLs escape it, and as it is
// in the middle of base64.
func needles(value []byte, placeholder string) (list []needle) {
	seen := map[string]bool{}
	add := func(find, put string) {
		if len(find) == len(put) && len(find) >= minSecret && !seen[find] {
			seen[find] = true
			list = append(list, needle{[]byte(find), []byte(put)})
		}
	}
	v := string(value)
	add(v, placeholder)
	for _, escape := range []func(string) string{
		url.QueryEscape, url.PathEscape,
		func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
		func(s string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) },
		func(s string) string {
			return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
		},
		func(s string) string {
			return strings.NewReplacer("&", `\u0026`, "<", `\u003c`, ">", `\u003e`).Replace(s)
		},
	} {
		add(escape(v), escape(placeholder))
	}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			add(inBase64(enc, v, offset), inBase64(enc, placeholder, offset))
		}
	}
	return list
}

// inBase64 is the part of base64 text that a value alone decides, where it begins at
// an offset within a group of three bytes (RFC 4648 section 4).
func inBase64(enc *base64.Encoding, s string, offset int) string {
	text := enc.EncodeToString(append(make([]byte, offset), s...))
	skip := []int{0, 2, 3}[offset]
	end := (offset + len(s)) * 8 / 6 // digits of which every bit is known
	return text[skip:end]
}
