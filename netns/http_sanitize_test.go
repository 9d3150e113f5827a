package netns

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/netns/sanitize"
)

// TestPageShare: pages that nobody reads on are bounded together, and what is closed
// is given back.
func TestPageShare(t *testing.T) {
	p := newPages()
	var shares []*pageShare
	var err error
	for range 100 {
		s := &pageShare{pages: p, Closer: io.NopCloser(nil)}
		shares = append(shares, s)
		if _, err = s.read(strings.NewReader(strings.Repeat("x", sanitize.MaxBytes)), sanitize.MaxBytes, io.ErrShortBuffer); err != nil {
			break
		}
	}
	if n := len(shares); !errors.Is(err, errBusy) || n > maxPages/sanitize.MaxBytes+1 {
		t.Errorf("%d pages of the largest size are held: %v", n-1, err)
	}
	for _, s := range shares {
		s.Close()
		s.Close()
	}
	if n := p.held.Load(); n != 0 {
		t.Errorf("%d bytes were not given back", n)
	}
}

func TestPageType(t *testing.T) {
	for _, tt := range []struct {
		types   []string
		kind    pageKind
		charset string
	}{
		{nil, unknownPage, ""}, {[]string{""}, unknownPage, ""}, {[]string{"*/*"}, unknownPage, ""}, {[]string{"text/html"}, htmlPage, ""},
		{[]string{"Text/HTML ; Charset=\"KOI8-R\""}, htmlPage, "KOI8-R"}, {[]string{"application/xhtml+xml; charset=utf-8"}, htmlPage, "utf-8"},
		{[]string{"text/html;;;"}, htmlPage, ""}, {[]string{"text/plain, text/html"}, htmlPage, ""}, {[]string{"text/plain", "text/html"}, htmlPage, ""},
		{[]string{"multipart/byteranges; boundary=x"}, htmlPage, ""}, {[]string{"application/json"}, otherPage, ""}, {[]string{"text/htmlx"}, otherPage, ""},
	} {
		kind, charset := pageType(http.Header{"Content-Type": tt.types})
		if kind != tt.kind || charset != tt.charset {
			t.Errorf("%q: %v %q", tt.types, kind, charset)
		}
	}
}
