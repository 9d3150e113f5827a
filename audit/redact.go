package audit

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// minSecret is the length from which a secret can be looked for: a shorter one is
// in ordinary text everywhere, and replacing it would tell it rather than hide it.
const minSecret = 4

// minEncoded is the length from which an encoded form of a secret is looked for.
const minEncoded = 6

// A Redactor replaces secrets in strings: the values that it was given, also in
// the encodings that a program would send them in, and whatever looks like a
// well-known kind of credential. It does not change after it is made and may be
// used by any number of goroutines.
//
// Every secret and pattern begins with three known bytes. One pass over a string
// looks each three up in a small bitmap, and only where a bit is set is anything
// compared, so a string without secrets costs about a nanosecond a byte.
type Redactor struct {
	lower  [256]byte // ASCII letters folded
	bitmap [1 << gramBits / 64]uint64
	byGram map[uint32][]matcher
}

const gramBits = 14

// A matcher finds one kind of secret.
type matcher struct {
	label string
	exact string // a known value; empty for a pattern
	find  func(s string, i int) (start, end int)
}

// NewRedactor makes a Redactor for known secret values. An empty value is no
// secret; one too short to be looked for is an error.
func NewRedactor(secrets []string) (*Redactor, error) {
	r := &Redactor{byGram: make(map[uint32][]matcher)}
	for i := range r.lower {
		r.lower[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			r.lower[i] += 'a' - 'A'
		}
	}
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		if len(secret) < minSecret {
			return nil, fmt.Errorf("a secret of %d bytes is too short to be kept out of the audit trail\nhint: use one of at least %d bytes", len(secret), minSecret)
		}
		for _, form := range forms(secret) {
			r.add(form, matcher{label: "secret", exact: form})
		}
	}
	for _, p := range patterns() {
		for _, prefix := range p.prefixes {
			find := p.find
			r.add(prefix, matcher{label: p.label, find: func(s string, i int) (int, int) {
				if len(s)-i < len(prefix) || !r.equalFold(s[i:i+len(prefix)], prefix, p.fold) {
					return 0, 0
				}
				if p.word && i > 0 && isAlnum(s[i-1]) {
					return 0, 0
				}
				return find(s, i, i+len(prefix))
			}})
		}
	}
	return r, nil
}

func (r *Redactor) add(prefix string, m matcher) {
	g := uint32(r.lower[prefix[0]])<<16 | uint32(r.lower[prefix[1]])<<8 | uint32(r.lower[prefix[2]])
	h := gramHash(g)
	r.bitmap[h/64] |= 1 << (h % 64)
	r.byGram[g] = append(r.byGram[g], m)
}

// gramHash spreads 24 bits over gramBits (multiplicative hashing by 2^32/φ, Knuth 6.4).
func gramHash(g uint32) uint32 { return g * 0x9e3779b1 >> (32 - gramBits) }

// equalFold compares in ASCII, without regard to case if fold is set. prefix is
// in lower case then.
func (r *Redactor) equalFold(s, prefix string, fold bool) bool {
	if !fold {
		return s == prefix
	}
	for i := range len(s) {
		if r.lower[s[i]] != prefix[i] {
			return false
		}
	}
	return true
}

// Redact replaces what is secret in s by [redacted:kind] and says how many
// places that were. A string without secrets comes back as it is.
func (r *Redactor) Redact(s string) (string, int) {
	spans := r.find(s)
	if len(spans) == 0 {
		return s, 0
	}
	return replaceSpans(s, spans)
}

// Mask overwrites what is secret in b with asterisks, so that everything else stays
// where it is, and says how many places that were.
func (r *Redactor) Mask(b []byte) int {
	spans := r.find(string(b))
	for _, sp := range spans {
		for i := sp.start; i < sp.end; i++ {
			b[i] = '*'
		}
	}
	return len(spans)
}

// find gives the places of what is secret; they may overlap.
func (r *Redactor) find(s string) []span {
	var spans []span
	var g uint32
	covered := 0 // patterns are not looked for inside what one has matched
	for i := 0; i < len(s); i++ {
		g = (g<<8 | uint32(r.lower[s[i]])) & 0xffffff
		if i < 2 {
			continue
		}
		if h := gramHash(g); r.bitmap[h/64]&(1<<(h%64)) == 0 {
			continue
		}
		at := i - 2
		for _, m := range r.byGram[g] {
			if m.exact != "" {
				if strings.HasPrefix(s[at:], m.exact) {
					spans = append(spans, span{at, at + len(m.exact), m.label})
				}
			} else if at >= covered {
				if start, end := m.find(s, at); end > start {
					spans = append(spans, span{start, end, m.label})
					covered = max(covered, end)
				}
			}
		}
	}
	return spans
}

// A span is a part of a string that is secret.
type span struct {
	start, end int
	label      string
}

// replaceSpans replaces each run of overlapping spans once, so that no part of
// one is left over beside another.
func replaceSpans(s string, spans []span) (string, int) {
	slices.SortStableFunc(spans, func(a, b span) int { return a.start - b.start })
	var b strings.Builder
	count, done := 0, 0
	for i := 0; i < len(spans); {
		run := spans[i]
		for i++; i < len(spans) && spans[i].start < run.end; i++ {
			run.end = max(run.end, spans[i].end)
		}
		b.WriteString(s[done:run.start])
		b.WriteString("[redacted:" + run.label + "]")
		done = run.end
		count++
	}
	b.WriteString(s[done:])
	return b.String(), count
}

// forms are the ways in which a secret is written by programs that send it: as it
// is, percent-encoded, in JSON, in hex, and in base64 at each of the three places
// where a group can begin (as in "user:secret").
func forms(secret string) []string {
	list := []string{secret}
	add := func(form string) {
		if len(form) >= minEncoded && !slices.Contains(list, form) {
			list = append(list, form)
		}
	}
	add(url.QueryEscape(secret))
	add(url.PathEscape(secret))
	quoted := strconv.Quote(secret)
	add(quoted[1 : len(quoted)-1])
	add(hex.EncodeToString([]byte(secret)))
	add(strings.ToUpper(hex.EncodeToString([]byte(secret))))
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			// The characters that hold bits of a neighbour too are left out:
			// offset bytes before it touch the first offset+1 characters, and an
			// incomplete last group touches its last character.
			text := encoding.EncodeToString(append(make([]byte, offset), secret...))
			if offset > 0 {
				text = text[offset+1:]
			}
			if (offset+len(secret))%3 != 0 {
				text = text[:len(text)-1]
			}
			add(text)
		}
	}
	return list
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
