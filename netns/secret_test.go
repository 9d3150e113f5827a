package netns

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestNewPlaceholder(t *testing.T) {
	for value, prefix := range map[string]string{
		"sk-ant-api03-abcDEF123456":   "sk-ant-api03-",
		"sk-proj-abcDEF123456":        "sk-proj-",
		"ghp_0123456789abcdefABCDEF":  "ghp_",
		"AIzaSyA-1234567890":          "AIza",
		"plainpassword":               "",
		"0123456789":                  "",
		"eyJhbGci.eyJzdWIi.SflKxwRJ_": "",
		"sk-12345678":                 "sk-",
		"sk-1234567":                  "", // too little would be left
	} {
		seen := map[string]bool{}
		for range 20 {
			p, err := NewPlaceholder([]byte(value))
			if err != nil {
				t.Fatalf("%s: %v", value, err)
			}
			if len(p) != len(value) || !strings.HasPrefix(p, prefix) || p == value || seen[p] {
				t.Errorf("%s: %s", value, p)
			}
			for i := range p {
				if kind(p[i]) != kind(value[i]) {
					t.Errorf("%s: %s has another kind of character at %d", value, p, i)
				}
			}
			seen[p] = true
		}
	}
	for _, value := range []string{"--------", "________1", "!!!!!!!!!!"} {
		if p, err := NewPlaceholder([]byte(value)); err == nil {
			t.Errorf("%s: %s", value, p)
		}
	}
}

func kind(c byte) string {
	switch {
	case '0' <= c && c <= '9':
		return "digit"
	case 'a' <= c && c <= 'z':
		return "lower"
	case 'A' <= c && c <= 'Z':
		return "upper"
	}
	return string(c)
}

func TestCheckSecret(t *testing.T) {
	if err := CheckSecret([]byte("sk-12345678")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "short", "with space", "line\nbreak", "caf\xc3\xa9-12345", "tab\t12345678", strings.Repeat("a", maxSecret+1)} {
		if err := CheckSecret([]byte(bad)); err == nil || len(bad) > 3 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", clip(bad), err)
		}
	}
}

// replaced runs a stream through a replacer.
func replaced(text string, list []needle, piece func(io.Reader) io.Reader) (string, error) {
	b, err := io.ReadAll(newReplacer(io.NopCloser(piece(strings.NewReader(text))), list))
	return string(b), err
}

func TestReplacer(t *testing.T) {
	const value, holder = "aab-SECRET+/aab-", "xxy-PLACEH+/xxy-"
	list := needles([]byte(value), holder)
	pieces := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "data with the end": iotest.DataErrReader,
	}
	pad := strings.Repeat("a", replaceBuffer-3)
	for in, want := range map[string]string{
		"":                     "",
		"nothing":              "nothing",
		value:                  holder,
		value + value:          holder + holder,
		"a" + value + "aab-":   "a" + holder + "aab-",
		"aaab-SECRET+/aab-":    "a" + holder,
		value[:15]:             value[:15],
		pad + value + pad:      pad + holder + pad,
		"aab-SECRET%2B%2Faab-": "xxy-PLACEH%2B%2Fxxy-",
		`aab-SECRET+\/aab-`:    `xxy-PLACEH+\/xxy-`,
		base64.StdEncoding.EncodeToString([]byte(value)): base64.StdEncoding.EncodeToString([]byte(holder)),
	} {
		for name, piece := range pieces {
			if got, err := replaced(in, list, piece); got != want || err != nil {
				t.Errorf("%s, %s: %q, want %q (%v)", clip(in), name, clip(got), clip(want), err)
			}
		}
	}
	for offset := range 3 {
		for tail := range 3 {
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
				in := enc.EncodeToString([]byte(strings.Repeat("u", offset) + value + strings.Repeat("v", tail)))
				got, err := replaced(in, list, iotest.OneByteReader)
				if err != nil || len(got) != len(in) {
					t.Fatalf("%s: %s %v", in, got, err)
				}
				plain, err := enc.DecodeString(got)
				if err != nil || strings.Contains(string(plain), value[1:len(value)-1]) {
					t.Errorf("the secret is in %q (%v)", plain, err)
				}
			}
		}
	}
}

// TestReplacerHoldsBack: what can't be the beginning of a secret is not waited with.
func TestReplacerHoldsBack(t *testing.T) {
	r, w := io.Pipe()
	m := newReplacer(r, needles([]byte("sk-0123456789"), "sk-9876543210"))
	b := make([]byte, 100)
	for _, tt := range []struct{ write, read string }{
		{"data: one\n\n", "data: one\n\n"},
		{"data: task\n\nsk", "data: task\n\n"},
		{"y\n", "sky\n"},
		{"sk-012345678", ""},
		{"9!", "sk-9876543210!"},
	} {
		got := ""
		go io.WriteString(w, tt.write)
		if tt.read == "" {
			m.fill() // nothing comes out of it
			if len(m.out) != 0 {
				t.Fatalf("%q: %q came out", tt.write, m.out)
			}
			continue
		}
		for len(got) < len(tt.read) {
			n, err := m.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			got += string(b[:n])
		}
		if got != tt.read {
			t.Errorf("%q: %q, want %q", tt.write, got, tt.read)
		}
	}
}

func FuzzReplacer(f *testing.F) {
	f.Add("xxaab-SECRET+/aab-yy", 1)
	f.Add("aab-SECaab-SECRET+/aab-", 3)
	const value, holder = "aab-SECRET+/aab-", "xxy-PLACEH+/xxy-"
	list := needles([]byte(value), holder)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		text = strings.ReplaceAll(text, "S!", value)
		got, err := replaced(text, list, iotest.OneByteReader)
		whole, err2 := replaced(text, list, func(r io.Reader) io.Reader { return r })
		if err != nil || err2 != nil || len(got) != len(text) || len(whole) != len(text) {
			t.Fatalf("%q: %q %q", text, got, whole)
		}
		for _, n := range list {
			if strings.Contains(got, string(n.find)) && !strings.Contains(replaceText(text, list), string(n.find)) {
				t.Fatalf("%q: %s is left in %q", text, n.find, got)
			}
		}
		if !strings.Contains(text, value) && !strings.Contains(text, "aab-SECRET") && !strings.ContainsAny(text, "YmWh") && got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

func TestKeys(t *testing.T) {
	one, two := []byte("first value"), []byte("")
	k, err := NewKeys(one, two, []byte("third"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, make([]byte, len(one))) {
		t.Errorf("the caller's value is still %q", one)
	}
	var wire bytes.Buffer
	if err := k.send(&wire); err != nil {
		t.Fatal(err)
	}
	got, err := receiveKeys(&wire)
	if err != nil {
		t.Fatal(err)
	}
	values, err := got.values()
	if err != nil || len(values) != 3 || string(values[0]) != "first value" || string(values[1]) != "" || string(values[2]) != "third" {
		t.Errorf("%q %v", values, err)
	}
	k.Close()
	k.Close()
	got.Close()
	(*Keys)(nil).Close()
	for _, bad := range []string{"", "\x00\x00\x00\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x05abc"} {
		if k, err := receiveKeys(strings.NewReader(bad)); err == nil {
			t.Errorf("%q: %v", bad, k)
		}
	}
	if k, err = receiveKeys(strings.NewReader("\x00\x00\x00\x05\x00\x00\x00\x09x")); err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if v, err := k.values(); err == nil {
		t.Errorf("malformed: %q", v)
	}
}

func TestDecodeBody(t *testing.T) {
	header := func(kind string) http.Header { return http.Header{"Content-Type": {kind}} }
	if v, err := decodeBody(header("application/json"), []byte(`{"a":[1,"x",null,true,{"b":1e3}]}`)); err != nil || v == nil {
		t.Errorf("%v %v", v, err)
	}
	if v, err := decodeBody(header("application/x-www-form-urlencoded"), []byte("a=1&b=%41&c=1&c=2")); err != nil || len(v.(map[string]any)) != 2 || v.(map[string]any)["b"] != "A" {
		t.Errorf("%v %v", v, err)
	}
	for name, tt := range map[string]struct{ kind, body string }{
		"not UTF-8":       {"application/json", "{\"a\":\"\xff\"}"},
		"lone surrogate":  {"application/json", `{"a":"\ud800"}`},
		"deep":            {"application/json", strings.Repeat("[", 100) + strings.Repeat("]", 100)},
		"many":            {"application/json", "[" + strings.Repeat("1,", maxFields) + "1]"},
		"twice":           {"application/json", `{"a":1,"a":2}`},
		"twice escaped":   {"application/json", `{"a":1,"\u0061":2}`},
		"twice folded":    {"application/json", `{"key":1,"\u212aey":2}`}, // KELVIN SIGN
		"behind":          {"application/json", `1 2`},
		"comment":         {"application/json", `{/*x*/}`},
		"form with quote": {"application/x-www-form-urlencoded", `a="b"`},
		"form broken":     {"application/x-www-form-urlencoded", "a=%zz"},
		"multipart":       {"multipart/form-data; boundary=x", "--x--"},
		"no type":         {"", "{}"},
		"broken type":     {"application/json; charset", "{}"},
	} {
		if v, err := decodeBody(header(tt.kind), []byte(tt.body)); err == nil {
			t.Errorf("%s: %v", name, v)
		}
	}
}
