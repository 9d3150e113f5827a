package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// errPlaceholder ends a request whose body, or what stands behind it, has a placeholder
// in it.
type errPlaceholder struct{ secret, where string }

func (e errPlaceholder) Error() string {
	return fmt.Sprintf("the placeholder of the secret %q is in the request's %s", e.secret, e.where)
}

// maxScanned is the size up to which a body is looked through before anything of it
// is sent. A longer one, and one whose length is not known, is looked through as it
// passes: the host then gets what is before the placeholder, and never the whole of it.
const maxScanned = 64 << 10

// watch looks for placeholders in a request's body and in its trailer. found is called
// for the first.
func (v *vault) watch(r *http.Request, found func(secret, where string)) error {
	if len(v.secrets) == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	body := newReplacer(r.Body, v.placeholders)
	body.found = func(i int) error {
		found(v.owners[i], "the body")
		return errPlaceholder{v.owners[i], "body"}
	}
	watched := &watchedBody{body, func() error {
		if secret := v.inTrailer(r.Trailer); secret != "" {
			found(secret, "the trailer")
			return errPlaceholder{secret, "trailer"}
		}
		return nil
	}}
	if r.ContentLength < 0 || r.ContentLength > maxScanned {
		r.Body = watched
		return nil
	}
	data, err := io.ReadAll(watched)
	if err != nil {
		return err
	}
	r.Body = &readBody{Reader: bytes.NewReader(data), Closer: body}
	return nil
}

// watchedBody looks at the trailer, which is there once the body has been read, before
// anybody hears that the body has ended.
type watchedBody struct {
	io.ReadCloser
	ended func() error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		if terr := b.ended(); terr != nil {
			return 0, terr
		}
	}
	return n, err
}

// inTrailer names the secret whose placeholder is in a trailer.
func (v *vault) inTrailer(h http.Header) string {
	for name, values := range h {
		for _, text := range append([]string{name}, values...) {
			for i, form := range v.placeholders {
				if bytes.Contains([]byte(text), form.find) {
					return v.owners[i]
				}
			}
		}
	}
	return ""
}
