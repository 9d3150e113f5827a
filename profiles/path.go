package profiles

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// encodedSlash is how a percent-encoded slash stands in a canonical path and in a
// pattern. A server may read it as a slash or as a character of a segment, so no "*"
// matches it: only a pattern that has it itself does.
const encodedSlash = "%2f"

// CanonicalPath gives the path of a request its one spelling: percent-decoded, but
// for encodedSlash. The path is as it came, without the query. Whatever one server
// could read as another path than the next one does is refused (RFC 3986 section 6.2
// and what servers make of it): "." and ".." however they are written, "//",
// backslashes, control characters, what is encoded twice or needlessly, and text that
// is not UTF-8 in its normal form C.
func CanonicalPath(raw string) (string, error) {
	if !strings.HasPrefix(raw, "/") {
		return "", errors.New("the path does not begin with \"/\"")
	}
	path, err := decodePath(raw)
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(path) {
		return "", errors.New("the path is not UTF-8")
	}
	if !norm.NFC.IsNormalString(path) {
		return "", errors.New("the path is not in Unicode's normal form C")
	}
	segments := strings.Split(path[1:], "/")
	for i, s := range segments {
		// Servlet containers cut a segment at ";" before they look at its dots.
		name, _, _ := strings.Cut(s, ";")
		switch {
		case name == "." || name == "..":
			return "", fmt.Errorf("the path has %q in it, which leads to another path", name)
		case s == "" && i < len(segments)-1:
			return "", errors.New("the path has an empty segment (\"//\") in it")
		}
	}
	return path, nil
}

func decodePath(raw string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c <= ' ' || c >= 0x7f:
			return "", fmt.Errorf("the path has the byte %#02x in it, which must be percent-encoded", c)
		case c == '\\' || c == '#' || c == '?':
			return "", fmt.Errorf("the path has %q in it", c)
		case c != '%':
			b.WriteByte(c)
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return "", errors.New("the path has a \"%\" without two hexadecimal digits behind it")
		}
		code := raw[i : i+3]
		d := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		i += 2
		switch {
		case d < ' ' || d == 0x7f:
			return "", fmt.Errorf("the path has the control character %s in it", code)
		case d == '\\':
			return "", fmt.Errorf("the path has a backslash (%s) in it", code)
		case d == '/':
			b.WriteString(encodedSlash)
		case isUnreserved(d):
			return "", fmt.Errorf("the path has %s in it, which is another spelling of %q", code, d)
		case d == '%' && i+2 < len(raw) && isHex(raw[i+1]) && isHex(raw[i+2]):
			return "", errors.New("the path is percent-encoded twice")
		default:
			b.WriteByte(d)
		}
	}
	return b.String(), nil
}

// isUnreserved is of RFC 3986 section 2.3: what never needs to be encoded.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

// parsePathPattern reads the path of a request block: "*" is any characters of one
// segment, "**" as a segment is any number of segments, the rest is literal and
// decoded.
func parsePathPattern(s string) (string, error) {
	if !strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("path %q does not begin with \"/\": write for example \"/v1/**\"", s)
	}
	for i := 0; i+2 < len(s); i++ {
		if s[i] != '%' || !isHex(s[i+1]) || !isHex(s[i+2]) {
			continue
		}
		if !strings.EqualFold(s[i:i+3], encodedSlash) {
			return "", fmt.Errorf("path %q has %q in it: write the character itself, since a request's path is decoded before it is compared", s, s[i:i+3])
		}
		s = s[:i] + encodedSlash + s[i+3:]
	}
	segments := strings.Split(s[1:], "/")
	for i, seg := range segments {
		switch {
		case seg == "" && i < len(segments)-1:
			return "", fmt.Errorf("path %q has an empty segment, and requests with one are always refused", s)
		case seg == "." || seg == "..":
			return "", fmt.Errorf("path %q has %q in it, and requests with that are always refused", s, seg)
		case seg != "**" && strings.Contains(seg, "**"):
			return "", fmt.Errorf("path %q has \"**\" beside other characters: it stands for whole segments, as in \"/v1/**\"", s)
		}
	}
	for _, r := range s {
		switch {
		case r <= ' ' || r == 0x7f:
			return "", fmt.Errorf("path %q has a space or control character in it", s)
		case r == '?' || r == '#':
			return "", fmt.Errorf("path %q has %q in it: the query is no part of the path; compare request.query in `when`", s, r)
		case r == '\\':
			return "", fmt.Errorf("path %q has a backslash in it, and requests with one are always refused", s)
		}
	}
	return s, nil
}

// MatchPath says whether a canonical path is among those that a pattern means.
func MatchPath(pattern, path string) bool {
	ps, segs := pathSegments(pattern), pathSegments(path)
	// reach[j]: the pattern's segments so far can mean the path's first j segments.
	reach := make([]bool, len(segs)+1)
	reach[0] = true
	for _, p := range ps {
		next := make([]bool, len(segs)+1)
		for j := range reach {
			switch {
			case p == "**":
				next[j] = reach[j] || j > 0 && next[j-1] && !strings.Contains(segs[j-1], "\x00")
			case j > 0:
				next[j] = reach[j-1] && matchSegment(p, segs[j-1])
			}
		}
		reach = next
	}
	return reach[len(segs)]
}

// pathSegments has a NUL for each encoded slash: there is no control character in a path.
func pathSegments(path string) []string {
	return strings.Split(strings.ReplaceAll(strings.TrimPrefix(path, "/"), encodedSlash, "\x00"), "/")
}

// matchSegment compares one segment, in which "*" is any number of characters but
// no encoded slash. A "*" alone is at least one.
func matchSegment(pattern, s string) bool {
	if pattern == "*" && s == "" {
		return false
	}
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0 && s[from] != 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
