package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/netns/sanitize"
)

const (
	// maxPages bounds the bytes of the pages that are on their way at a time: a host may
	// take as long as it wants over sending each, and the agent over reading it.
	maxPages = 8 * sanitize.MaxBytes

	// maxTrees bounds the pages that are taken apart at a time. A tree takes some ten
	// times its page.
	maxTrees = 2
)

var errBusy = fmt.Errorf("more than %d MiB of pages and bodies are on their way already", maxPages>>20)

// pages is the memory that pages which are sanitized, and bodies that are signed, may
// take.
type pages struct {
	held  atomic.Int64
	trees chan struct{}
}

func newPages() *pages { return &pages{trees: make(chan struct{}, maxTrees)} }

// unsanitized is why an answer is not passed on.
type unsanitized struct{ why string }

func (e unsanitized) Error() string {
	return "the profile wants the host's pages sanitized, and this one can't be: " + e.why
}

// sanitize takes out of an HTML answer what its reader would not see. Any other answer
// passes as it is.
func (a *ask) sanitize(ctx context.Context, res *http.Response) error {
	if res.StatusCode == http.StatusNotModified || res.StatusCode == http.StatusSwitchingProtocols {
		weaken(res.Header)
		return nil
	}
	kind, charset := pageType(res.Header)
	empty := res.Body == nil || res.Body == http.NoBody || res.Request.Method == http.MethodHead
	switch {
	case kind == otherPage:
		return nil
	case res.StatusCode == http.StatusPartialContent:
		return unsanitized{"it is a part of a page, which nobody asked for"}
	case empty && kind == unknownPage:
		return nil
	case empty:
		relabel(res.Header)
		res.Header.Del("Content-Length") // that of the page before
		res.ContentLength = -1
		return nil
	}
	body, err := decoded(res)
	if errors.Is(err, errCoding) {
		return unsanitized{"it is coded in a way that can't be looked into"}
	} else if err != nil {
		return err
	}
	if kind == unknownPage {
		// Browsers look at the beginning where there is no type (WHATWG MIME Sniffing);
		// net/http has their table.
		head, err := io.ReadAll(io.LimitReader(body, sniffed))
		if err != nil {
			return err
		}
		res.Body = &readBody{Reader: io.MultiReader(bytes.NewReader(head), body), Closer: body}
		if !strings.HasPrefix(http.DetectContentType(head), "text/html") {
			return nil
		}
		body = res.Body
	}
	return a.sanitizePage(ctx, res, body, charset)
}

const sniffed = 512 // bytes, of http.DetectContentType

func (a *ask) sanitizePage(ctx context.Context, res *http.Response, body io.ReadCloser, charset string) error {
	p := a.x.g.pages
	share := &pageShare{pages: p, Closer: body}
	page, err := share.read(body, sanitize.MaxBytes, unsanitized{sanitize.ErrTooLarge.Error()})
	if err == nil {
		err = a.replacePage(ctx, res, page, charset, share)
	}
	if err != nil {
		share.hold(0)
	}
	if errors.Is(err, errBusy) {
		return unsanitized{err.Error()}
	}
	return err
}

// replacePage puts the sanitized page in the place of the one that came.
func (a *ask) replacePage(ctx context.Context, res *http.Response, page []byte, charset string, share *pageShare) error {
	p := share.pages
	text, err := sanitize.UTF8(page, charset)
	if err != nil {
		return unsanitized{err.Error()}
	}
	select {
	case p.trees <- struct{}{}:
		defer func() { <-p.trees }()
	case <-ctx.Done():
		return ctx.Err()
	}
	out, removed, err := sanitize.HTML(text)
	if err != nil {
		return unsanitized{err.Error()}
	}
	a.rec.Sanitized = &audit.Sanitized{Elements: removed.Elements, Comments: removed.Comments, Attributes: removed.Attributes,
		Texts: removed.Texts, Characters: removed.Characters, Bytes: int64(len(page))}
	relabel(res.Header)
	res.Header.Set("Content-Length", strconv.Itoa(len(out)))
	res.ContentLength, res.Trailer = int64(len(out)), nil
	share.hold(int64(len(out)))
	res.Body = &readBody{Reader: bytes.NewReader(out), Closer: share}
	return nil
}

// pageShare is what one page takes of the memory for pages, until it is closed.
type pageShare struct {
	*pages
	io.Closer
	taken int64
}

// hold takes or gives back; false says that there is too much taken.
func (s *pageShare) hold(n int64) bool {
	ok := s.held.Add(n-s.taken) <= maxPages
	s.taken = n
	return ok
}

func (s *pageShare) Close() error {
	s.hold(0)
	return s.Closer.Close()
}

// read reads a page whole, as far as there is memory for it and it is no larger than
// most.
func (s *pageShare) read(body io.Reader, most int64, tooLarge error) (page []byte, err error) {
	for size := int64(64 << 10); ; size = min(2*size, most+1) {
		if !s.hold(size) {
			return nil, errBusy
		}
		page = slices.Grow(page, int(size)-len(page))
		n, err := io.ReadFull(body, page[len(page):size])
		page = page[:len(page)+n]
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return page, nil
		case err != nil:
			return nil, err
		case int64(len(page)) > most:
			return nil, tooLarge
		}
	}
}

type pageKind int

const (
	otherPage   pageKind = iota
	htmlPage             // or what could hold one
	unknownPage          // it has no type
)

// pageType reads the type of an answer. Where there are several, one that says HTML
// is enough: some clients take the first and others the last.
func pageType(h http.Header) (kind pageKind, charset string) {
	kind = unknownPage
	for _, value := range h.Values("Content-Type") {
		for one := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(one, ";")
			switch name = asciiLower(strings.TrimSpace(name)); name {
			case "text/html", "application/xhtml+xml", "multipart/byteranges":
				// A page in XML comes out as one in HTML: it is read as such, and
				// labelled so.
				kind = htmlPage
				if _, params, err := mime.ParseMediaType(one); err == nil && charset == "" {
					charset = params["charset"]
				}
			case "", "*/*", "unknown/unknown", "application/unknown":
			default:
				if kind == unknownPage {
					kind = otherPage
				}
			}
		}
	}
	return kind, charset
}

// relabel makes the head of an answer that of the page which was made of it.
func relabel(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	for _, name := range bodyHeaders() {
		h.Del(name)
	}
	weaken(h)
}

// weaken makes the validator of an answer one that does not promise the same bytes
// (RFC 9110 section 8.8.1, as proxies do that compress); asking with it still works.
func weaken(h http.Header) {
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag)
	}
}
