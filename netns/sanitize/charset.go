package sanitize

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxPrescan is how far into a page browsers look for its encoding (WHATWG HTML,
// "prescan a byte stream").
const maxPrescan = 1024

// UTF8 gives a page's text in UTF-8. The charset is what its Content-Type says, or "".
// A byte order mark counts before it, then what the page says of itself; without any of
// them, what is no UTF-8 is windows-1252, as browsers have it (WHATWG Encoding). Other
// encodings than the ones here are an error: a page that is read in another encoding
// than the reader's is another page.
func UTF8(src []byte, charset string) ([]byte, error) {
	switch {
	case bytes.HasPrefix(src, []byte("\xef\xbb\xbf")):
		return valid(src[3:]), nil
	case bytes.HasPrefix(src, []byte("\xfe\xff")):
		return fromUTF16(src[2:], binary.BigEndian), nil
	case bytes.HasPrefix(src, []byte("\xff\xfe")):
		return fromUTF16(src[2:], binary.LittleEndian), nil
	}
	label := strings.ToLower(strings.Trim(charset, " \t\"'"))
	if label == "" {
		label = declared(src)
		if strings.HasPrefix(label, "utf-16") {
			label = "utf-8" // as WHATWG has it: it was read as bytes to here
		}
	}
	if label == "" {
		label = "utf-8"
		if !utf8.Valid(src) {
			label = "windows-1252"
		}
	}
	switch label {
	case "utf-8", "utf8", "unicode-1-1-utf-8":
		return valid(src), nil
	case "utf-16", "utf-16le", "unicode", "ucs-2":
		return fromUTF16(src, binary.LittleEndian), nil
	case "utf-16be":
		return fromUTF16(src, binary.BigEndian), nil
	}
	if !latin1(label) {
		return nil, fmt.Errorf("the page is in the encoding %q, which is not read here", clip(label))
	}
	high := []rune(windows1252)
	var b bytes.Buffer
	for _, c := range src {
		r := rune(c)
		if 0x80 <= c && c < 0xa0 {
			r = high[c-0x80]
		}
		b.WriteRune(r)
	}
	return b.Bytes(), nil
}

// declared finds the encoding that a page says of itself, in <meta charset=x> or in
// <meta http-equiv=content-type content="text/html; charset=x">: what stands behind
// "charset" and "=" in a meta element.
func declared(src []byte) string {
	text := strings.ToLower(string(src[:min(len(src), maxPrescan)]))
	for {
		_, rest, ok := strings.Cut(text, "<meta")
		if !ok {
			return ""
		}
		element, _, _ := strings.Cut(rest, ">")
		for {
			_, value, ok := strings.Cut(element, "charset")
			if !ok {
				break
			}
			element = value
			if value, ok = strings.CutPrefix(strings.TrimLeft(value, blanks), "="); !ok {
				continue
			}
			value = strings.TrimLeft(value, blanks+"\"'")
			if i := strings.IndexAny(value, blanks+"\"';/"); i >= 0 {
				value = value[:i]
			}
			if value != "" {
				return value
			}
		}
		text = rest
	}
}

const blanks = " \t\n\f\r"

// windows1252 is what differs from Latin-1: 0x80 to 0x9f. The tables of the older
// encodings that few pages still have would add a hundred kilobytes to the program.
const windows1252 = "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f" +
	"\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178"

// latin1 knows the labels of windows-1252, which ASCII and Latin-1 are to a browser
// (WHATWG Encoding, section 4.2).
func latin1(label string) bool {
	switch label {
	case "windows-1252", "cp1252", "x-cp1252", "iso-8859-1", "iso8859-1", "iso_8859-1", "iso88591", "latin1", "l1", "us-ascii", "ascii", "ansi_x3.4-1968":
		return true
	}
	return false
}

func valid(src []byte) []byte { return bytes.ToValidUTF8(src, []byte("\ufffd")) }

func fromUTF16(src []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, 0, len(src)/2)
	for ; len(src) >= 2; src = src[2:] {
		units = append(units, order.Uint16(src))
	}
	return []byte(string(utf16.Decode(units)))
}

func clip(s string) string {
	if len(s) > maxNameLength {
		return s[:maxNameLength]
	}
	return s
}
