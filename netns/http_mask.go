package netns

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// maxZstdWindow is what RFC 9659 section 3 allows for zstd as a content coding.
const maxZstdWindow = 8 << 20

// forms are what an answer of a host must not have in it.
func forms(bound []*credential) (list []needle) {
	for _, s := range bound {
		list = append(list, s.forms...)
	}
	return list
}

// askReadable makes the request's answer one that can be looked through: coded only
// as it can be decoded here, and where that is wanted whole, since a part of it could
// have a part of a secret in it.
func askReadable(out *http.Request, whole bool) {
	if whole {
		out.Header.Del("Range")
		out.Header.Del("If-Range")
	}
	values := out.Header.Values("Accept-Encoding")
	if len(values) == 0 {
		return
	}
	var codings []string
	for token := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(token), ";")
		switch asciiLower(strings.TrimSpace(name)) {
		case "gzip", "br", "zstd", "identity":
			codings = append(codings, strings.TrimSpace(token))
		}
	}
	if len(codings) == 0 {
		codings = []string{"identity"}
	}
	out.Header.Set("Accept-Encoding", strings.Join(codings, ", "))
}

var errCoding = errors.New("the answer is coded in a way that can't be looked into, and the host has a secret")

// mask takes the secrets out of an answer.
func mask(res *http.Response, list []needle, whole bool) error {
	if len(list) == 0 || mutate.Off(mutate.Masking) {
		return nil
	}
	maskHeader(res.Header, list)
	if res.StatusCode == http.StatusSwitchingProtocols {
		return nil // frames are looked through by upgradedConn
	}
	if res.Body == nil || res.Body == http.NoBody || res.Request.Method == http.MethodHead {
		return nil
	}
	if res.StatusCode == http.StatusPartialContent && whole {
		return errCoding // nobody asked for a part
	}
	body, err := decoded(res)
	if err != nil {
		return err
	}
	r := newReplacer(body, list)
	r.ended = func() { maskHeader(res.Trailer, list) }
	res.Body = r
	return nil
}

func maskHeader(h http.Header, list []needle) {
	for _, values := range h {
		for i, v := range values {
			values[i] = replaceText(v, list)
		}
	}
}

// decoded takes the content coding off, in constant memory. What is left is passed on
// as it is: nobody has to take a coding that he offered.
func decoded(res *http.Response) (io.ReadCloser, error) {
	coding := asciiLower(strings.TrimSpace(strings.Join(res.Header.Values("Content-Encoding"), ",")))
	body := &decoder{src: res.Body}
	switch coding {
	case "", "identity":
		return res.Body, nil
	case "gzip", "x-gzip":
		body.open = func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }
	case "br":
		body.open = func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil }
	case "zstd":
		body.open = func(r io.Reader) (io.Reader, error) {
			d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
			if err != nil {
				return nil, err
			}
			body.end = d.Close
			return d, nil
		}
	default:
		return nil, fmt.Errorf("%w (%s)", errCoding, clip(coding))
	}
	for _, name := range bodyHeaders() {
		res.Header.Del(name)
	}
	res.Header.Del("Content-Length")
	res.ContentLength, res.Uncompressed = -1, true
	return body, nil
}

// bodyHeaders are about the bytes of a body, and wrong once these are others.
func bodyHeaders() []string {
	return []string{"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"}
}

// decoder opens its reader at the first read: the beginning of a stream may be long in
// coming, and the head of the answer doesn't wait for it.
type decoder struct {
	src  io.ReadCloser
	open func(io.Reader) (io.Reader, error)
	r    io.Reader
	end  func()
}

func (d *decoder) Read(p []byte) (int, error) {
	if d.r == nil {
		r, err := d.open(d.src)
		if err != nil {
			return 0, fmt.Errorf("decode the answer: %w", err)
		}
		d.r = r
	}
	return d.r.Read(p)
}

func (d *decoder) Close() error {
	if d.end != nil {
		d.end()
	}
	return d.src.Close()
}
