package usage

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// fuzzReader checks what holds for every stream: no panic, bounded results, and the
// same whatever the chunks are.
func fuzzReader(f *testing.F, api API, events bool) {
	for _, a := range answers() {
		if a.api == api && strings.HasPrefix(a.body, "data:") == events && len(a.body) < 10_000 {
			f.Add([]byte(a.body), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, step uint16) {
		want := read(api, string(body))
		for _, size := range []int{1, int(step)%97 + 2} {
			r := NewReader(api)
			for chunk := range slices.Chunk(body, size) {
				_, _ = r.Write(chunk)
			}
			if diff := cmp.Diff(want, r.Result()); diff != "" {
				t.Fatalf("in pieces of %d: %s", size, diff)
			}
		}
		k := want.Tokens
		for _, n := range []int64{k.Input, k.Output, k.CacheRead, k.CacheWrite, k.CacheWriteLong} {
			if n < 0 || n > 2*maxTokens {
				t.Fatalf("tokens %+v", k)
			}
		}
		if len(want.Tools) > maxTools || len(want.Model) > maxName+len("…") || !utf8.ValidString(want.Model) {
			t.Fatalf("unbounded: %+v", want)
		}
		if want.Seen == Whole && k == (Tokens{}) && !bytes.Contains(body, []byte("0")) {
			t.Fatalf("zero without a zero: %s", body)
		}
	})
}

func FuzzAnthropicJSON(f *testing.F)   { fuzzReader(f, Anthropic, false) }
func FuzzAnthropicEvents(f *testing.F) { fuzzReader(f, Anthropic, true) }
func FuzzOpenAIJSON(f *testing.F)      { fuzzReader(f, OpenAI, false) }
func FuzzOpenAIEvents(f *testing.F)    { fuzzReader(f, OpenAI, true) }
func FuzzGeminiJSON(f *testing.F)      { fuzzReader(f, Gemini, false) }
func FuzzGeminiEvents(f *testing.F)    { fuzzReader(f, Gemini, true) }

// gathered keeps the texts and scalars of a JSON text.
type gathered struct {
	values []string
	text   []byte
}

func (g *gathered) open(_ []byte, k kind) { g.text = nil }
func (g *gathered) part(_, b []byte)      { g.text = append(g.text, b...) }
func (g *gathered) scalar(_, b []byte)    { g.values = append(g.values, string(b)) }
func (g *gathered) wants([]byte) *digest  { return nil }
func (g *gathered) close(_ []byte, k kind) {
	if k == text {
		g.values = append(g.values, "\""+strings.ToValidUTF8(string(g.text), "\ufffd"))
	}
}

// values are what encoding/json sees.
func values(v any, out *[]string) {
	switch v := v.(type) {
	case string:
		*out = append(*out, "\""+v)
	case json.Number:
		*out = append(*out, v.String()[:min(len(v.String()), maxScalar)])
	case bool:
		*out = append(*out, map[bool]string{true: "true", false: "false"}[v])
	case nil:
		*out = append(*out, "null")
	case []any:
		for _, x := range v {
			values(x, out)
		}
	}
}

// FuzzScanner compares the scanner with encoding/json: what that takes is whole here,
// and has the same values. Lists only, since a map has no order.
func FuzzScanner(f *testing.F) {
	f.Add([]byte(`["a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x\udc00",1,-2.5e+3,true,null,[[],"\ud800\ud800\udc00"]]`))
	f.Add([]byte(`{"a":{"b":[1,{"c":null}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if !utf8.Valid(body) || !json.Valid(body) {
			return
		}
		g := &gathered{}
		s := newScanner(g)
		for _, c := range body {
			s.write([]byte{c})
		}
		s.end()
		if !s.whole() {
			if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) > maxDepth {
				return
			}
			t.Fatalf("not whole: %q", body)
		}
		if bytes.ContainsRune(body, '{') {
			return
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		var want []string
		values(v, &want)
		if diff := cmp.Diff(want, g.values); diff != "" {
			t.Fatalf("%q: %s", body, diff)
		}
	})
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"claude-x","max_tokens":32000,"n":2,"background":true}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		whole, pieces := NewRequestReader(), NewRequestReader()
		_, _ = whole.Write(body)
		for _, c := range body {
			_, _ = pieces.Write([]byte{c})
		}
		got := whole.Result("")
		if diff := cmp.Diff(got, pieces.Result("")); diff != "" {
			t.Fatal(diff)
		}
		if got.Unclear != "" || got.MaxOutput < 0 || got.Choices < 1 {
			return
		}
		// What is clear here is what a decoder reads.
		var v struct {
			Model string `json:"model"`
		}
		if utf8.Valid(body) && json.Unmarshal(body, &v) == nil && v.Model != got.Model {
			t.Fatalf("%q is read as %q, and here as %q", body, v.Model, got.Model)
		}
	})
}
