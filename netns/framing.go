package netns

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// framing says how long the body of an HTTP/1 request is.
type framing struct {
	chunked bool
	length  int64 // where it is not chunked
}

// maxChunkLine bounds a chunk's size line: 15 hexadecimal digits are more than any
// body has.
const maxChunkLine = 15

// errNoRequest stands before what is wrong with a head.
var errNoRequest = errors.New("no request that can be judged")

// parseHead makes sure that the head of a request (its final empty line included) can
// be read in one way only, and says how long its body is. It is stricter than
// net/http, which reads the same bytes after it: RFC 9112 lets a server accept much
// (a bare line feed, folded lines, two lengths) that the next server reads
// differently, and that is how one request becomes two (section 11.2).
func parseHead(head []byte) (framing, error) {
	bad := func(format string, args ...any) (framing, error) {
		return framing{}, fmt.Errorf("%w: %s", errNoRequest, fmt.Sprintf(format, args...))
	}
	if err := checkBytes(head); err != nil {
		return bad("%v", err)
	}
	lines := strings.Split(strings.TrimSuffix(string(head), "\r\n\r\n"), "\r\n")
	method, rest, _ := strings.Cut(lines[0], " ")
	target, version, _ := strings.Cut(rest, " ")
	switch {
	case !isToken(method) || target == "" || strings.ContainsAny(lines[0], "\t"):
		return bad("the request line is malformed")
	case version != "HTTP/1.1" && version != "HTTP/1.0":
		return bad("the request line does not end in HTTP/1.1")
	}
	count := map[string]int{}
	f := framing{}
	for _, line := range lines[1:] {
		name, value, err := parseField(line)
		if err != nil {
			return bad("%v", err)
		}
		if count[name]++; count[name] > 1 && (name == "host" || name == "content-length" || name == "transfer-encoding") {
			return bad("there are two %s headers", name)
		}
		switch name {
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 63)
			if err != nil || strings.Trim(value, "0123456789") != "" {
				return bad("the Content-Length is no number")
			}
			f.length = n
		case "transfer-encoding":
			if !strings.EqualFold(value, "chunked") {
				return bad("the Transfer-Encoding is not chunked")
			}
			f.chunked = true
		}
	}
	switch {
	case f.chunked && count["content-length"] > 0:
		return bad("it has both Content-Length and Transfer-Encoding")
	case f.chunked && version == "HTTP/1.0":
		return bad("HTTP/1.0 has no Transfer-Encoding")
	}
	return f, nil
}

// checkBytes refuses line feeds without a carriage return, carriage returns without a
// line feed, and every other control character but the tab.
func checkBytes(b []byte) error {
	for i, c := range b {
		switch {
		case c == '\n' && (i == 0 || b[i-1] != '\r'):
			return errors.New("a line ends in a bare line feed")
		case c == '\r' && (i+1 >= len(b) || b[i+1] != '\n'):
			return errors.New("there is a bare carriage return in it")
		case c < ' ' && c != '\t' && c != '\r' && c != '\n' || c == 0x7f:
			return fmt.Errorf("the control character %#02x is in it", c)
		}
	}
	return nil
}

// parseField reads a header line. The name is in lower case.
func parseField(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, ":")
	switch {
	case line == "":
		return "", "", errors.New("there is an empty line in it")
	case line[0] == ' ' || line[0] == '\t':
		return "", "", errors.New("a header is folded over two lines")
	case !ok:
		return "", "", errors.New("a header line has no colon")
	case !isToken(name):
		return "", "", errors.New("a header's name is malformed")
	}
	name = asciiLower(name)
	// CGI makes "_" of "-", so that behind some servers both are the same header.
	if sane := strings.ReplaceAll(name, "_", "-"); sane != name && (sane == "host" || sane == "content-length" || sane == "transfer-encoding") {
		return "", "", fmt.Errorf("the header %s is another spelling of %s", name, sane)
	}
	return name, strings.Trim(value, " \t"), nil
}

// isToken is of RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// parseChunkSize reads a chunk's size line, without its line end. Extensions are
// refused: nobody uses them, and servers disagree on where one ends (CVE-2023-46846,
// CVE-2025-55315).
func parseChunkSize(line []byte) (int64, error) {
	if bytes.IndexByte(line, ';') >= 0 {
		return 0, fmt.Errorf("%w: a chunk has an extension", errNoRequest)
	}
	if len(line) == 0 || len(line) > maxChunkLine || strings.Trim(string(line), "0123456789abcdefABCDEF") != "" {
		return 0, fmt.Errorf("%w: a chunk's size is malformed", errNoRequest)
	}
	return strconv.ParseInt(string(line), 16, 63)
}

// parseTrailer checks the lines behind the last chunk.
func parseTrailer(lines []byte) error {
	if err := checkBytes(lines); err != nil {
		return fmt.Errorf("%w: %v", errNoRequest, err)
	}
	text := strings.TrimSuffix(string(lines), "\r\n\r\n")
	for line := range strings.SplitSeq(text, "\r\n") {
		name, _, err := parseField(line)
		if err != nil {
			return fmt.Errorf("%w: %v", errNoRequest, err)
		}
		if name == "host" || name == "content-length" || name == "transfer-encoding" {
			return fmt.Errorf("%w: %s stands behind the body", errNoRequest, name)
		}
	}
	return nil
}
