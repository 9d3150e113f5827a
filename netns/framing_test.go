package netns

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseHead(t *testing.T) {
	for head, want := range map[string]framing{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                            {},
		"GET / HTTP/1.0\r\n\r\n":                                       {},
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n":    {length: 12},
		"POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n":       {chunked: true},
		"GET / HTTP/1.1\r\nX:\r\nY: \ta b\t\r\nZ: caf\xc3\xa9\r\n\r\n": {},
	} {
		if got, err := parseHead([]byte(head)); err != nil || got != want {
			t.Errorf("%q: %+v, %v", head, got, err)
		}
	}
	for _, head := range []string{
		"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1 \r\n\r\n", "G@T / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nX : y\r\n\r\n", "GET / HTTP/1.1\r\n: y\r\n\r\n", "GET / HTTP/1.1\r\nX\r\n\r\n", "GET / HTTP/1.1\r\nX: a\nY: b\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost_: a\x7f\r\n\r\n", "GET / HTTP/1.1\r\nTransfer_Encoding: chunked\r\n\r\n",
	} {
		if f, err := parseHead([]byte(head)); !errors.Is(err, errNoRequest) {
			t.Errorf("%q: %+v, %v", head, f, err)
		}
	}
}

// strictRun passes bytes through a strictConn in pieces and parses what comes out as
// net/http does.
func strictRun(raw []byte, piece func(io.Reader) io.Reader) (out []byte, refused error, err error) {
	c := newStrictConn(readerConn{r: piece(bytes.NewReader(raw))}, func(why error) { refused = why })
	out, err = io.ReadAll(c)
	return out, refused, err
}

type readerConn struct {
	net.Conn
	r io.Reader
}

func (c readerConn) Read(b []byte) (int, error) { return c.r.Read(b) }

func TestStrictConn(t *testing.T) {
	whole := func(r io.Reader) io.Reader { return r }
	good := "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" +
		"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n" +
		"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
		"GET /d HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, piece := range map[string]func(io.Reader) io.Reader{"whole": whole, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader} {
		out, refused, err := strictRun([]byte(good), piece)
		if string(out) != good || refused != nil || err != nil {
			t.Errorf("%s: %q %v %v", name, out, refused, err)
		}
		// What is refused comes through as far as it was fine, and not further.
		for _, tail := range []string{"GET /e HTTP/1.1\nHost: a\n\n", "\r\nGET /e HTTP/1.1\r\n\r\n", "GET /e HTTP/1.1\r\nA: b\r\n c\r\n\r\n", strings.Repeat("a", maxHTTPHead+1)} {
			out, refused, err := strictRun([]byte(good+tail), piece)
			if string(out) != good || !errors.Is(refused, errNoRequest) || !errors.Is(err, errNoRequest) {
				t.Errorf("%s: %q: %q %v %v", name, clip(tail), out[min(len(good), len(out)):], refused, err)
			}
		}
	}
}

func TestStrictConnUpgraded(t *testing.T) {
	s := newStrictConn(readerConn{r: strings.NewReader("GET / HTTP/1.1\r\nHost: a\r\n\r\n\x81\x00\nraw")}, func(error) {})
	b := make([]byte, 27)
	if _, err := io.ReadFull(s, b); err != nil {
		t.Fatal(err)
	}
	s.upgraded()
	if rest, err := io.ReadAll(s); err != nil || string(rest) != "\x81\x00\nraw" {
		t.Errorf("%q %v", rest, err)
	}
}

// FuzzStrictConn: however the bytes are cut, the same ones come through; and what
// comes through is read by net/http as whole requests with the bodies that were
// counted, so that no server that follows the RFC can see another request in them.
func FuzzStrictConn(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, refused, _ := strictRun(raw, func(r io.Reader) io.Reader { return r })
		again, refused2, _ := strictRun(raw, iotest.OneByteReader)
		if !bytes.HasPrefix(raw, out) || !bytes.HasPrefix(raw, again) || (refused == nil) != (refused2 == nil) {
			t.Fatalf("%q in one piece: %q %v; in bytes: %q %v", raw, out, refused, again, refused2)
		}
		r := bufio.NewReader(bytes.NewReader(out))
		for {
			before := out[len(out)-r.Buffered():]
			if r.Buffered() == 0 {
				if _, err := r.Peek(1); err != nil {
					return
				}
				before = out
			}
			head, _, ok := bytes.Cut(before, []byte("\r\n\r\n"))
			req, err := http.ReadRequest(r)
			if err != nil {
				return // net/http is stricter in places; nothing of it goes on
			}
			if !ok {
				t.Fatalf("net/http reads a head where none is complete: %q", before)
			}
			want, err := parseHead(append(bytes.Clone(head), "\r\n\r\n"...))
			if err != nil {
				t.Fatalf("%q came through: %v", head, err)
			}
			if chunked := len(req.TransferEncoding) > 0; chunked != want.chunked || !chunked && req.ContentLength != want.length {
				t.Fatalf("%q: %+v, net/http has %v %d", head, want, req.TransferEncoding, req.ContentLength)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return // cut off
			}
			if len(out) > 4096 {
				return // behind the buffer, where its place is not known
			}
		}
	})
}
