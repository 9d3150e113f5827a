package profiles

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxNesting bounds how deeply HCL's parsers recurse. They do so for every bracket,
// quote, sign and "?" that is open, with up to 9 kB of stack each in hcl 2.25, and Go
// ends the whole program when a stack reaches 1 GB: no error, no diagnostic.
const maxNesting = 200

// maxBroken bounds the brackets of a broken JSON file, of which it can't be said how
// they nest. HCL's JSON parser takes 3 kB of stack for each.
const maxBroken = 10_000

// harmless is the size of a source whose every byte may nest without harm (150 MB of
// stack): most profiles are smaller, and are not read twice before a run starts.
const harmless = 16 << 10

// nativeTooDeep gives the byte in a file of native syntax where it nests too deeply,
// or -1.
func nativeTooDeep(src []byte) int {
	if len(src) <= harmless {
		return -1
	}
	tokens, _ := hclsyntax.LexConfig(src, "", hcl.InitialPos)
	return tokensTooDeep(tokens)
}

// closer says what closes a token, for those that open something.
func closer(t hclsyntax.TokenType) (hclsyntax.TokenType, bool) {
	switch t {
	case hclsyntax.TokenOParen:
		return hclsyntax.TokenCParen, true
	case hclsyntax.TokenOBrack:
		return hclsyntax.TokenCBrack, true
	case hclsyntax.TokenOBrace:
		return hclsyntax.TokenCBrace, true
	case hclsyntax.TokenOQuote:
		return hclsyntax.TokenCQuote, true
	case hclsyntax.TokenOHeredoc:
		return hclsyntax.TokenCHeredoc, true
	case hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
		return hclsyntax.TokenTemplateSeqEnd, true
	}
	return 0, false
}

// tokensTooDeep counts what is open at each token. Whatever closes something else
// than the last thing opened closes nothing, so that a broken file counts as deeper
// than it is and never as less deep.
func tokensTooDeep(tokens hclsyntax.Tokens) int {
	type level struct {
		closer hclsyntax.TokenType
		signs  int // "-", "!" and "?" of the expression that is being read in it
	}
	open := []level{{}}
	depth := 0
	for _, t := range tokens {
		last := &open[len(open)-1]
		c, opens := closer(t.Type)
		switch {
		case opens:
			open = append(open, level{closer: c})
			depth++
		case len(open) > 1 && t.Type == last.closer:
			depth -= 1 + last.signs
			open = open[:len(open)-1]
		case t.Type == hclsyntax.TokenMinus || t.Type == hclsyntax.TokenBang || t.Type == hclsyntax.TokenQuestion:
			last.signs++
			depth++
		case t.Type == hclsyntax.TokenComma,
			t.Type == hclsyntax.TokenNewline && (len(open) == 1 || last.closer == hclsyntax.TokenCBrace):
			depth -= last.signs
			last.signs = 0
		}
		if depth > maxNesting {
			return t.Range.Start.Byte
		}
	}
	return -1
}

// jsonTooDeep is the same for a file of JSON syntax, whose strings are templates.
func jsonTooDeep(src []byte) int {
	d := stdjson.NewDecoder(bytes.NewReader(src))
	depth := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return -1
		}
		if err != nil {
			return brokenTooDeep(src)
		}
		at := max(0, int(d.InputOffset())-1)
		switch t := t.(type) {
		case stdjson.Delim:
			if t == '[' || t == '{' {
				depth++
			} else {
				depth--
			}
		case string:
			tokens, _ := hclsyntax.LexTemplate([]byte(t), "", hcl.InitialPos)
			if tokensTooDeep(tokens) >= 0 {
				return at
			}
		}
		if depth > maxNesting {
			return at
		}
	}
}

// brokenTooDeep stands in for jsonTooDeep where the JSON is broken: HCL's parser reads
// on behind a mistake, so everything that opens counts and nothing that closes.
func brokenTooDeep(src []byte) int {
	depth := 0
	for i, c := range src {
		if c == '[' || c == '{' {
			if depth++; depth > maxBroken {
				return i
			}
		}
	}
	return -1
}
