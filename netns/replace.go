package netns

import (
	"bytes"
	"io"
)

// replacer passes a stream on and puts other bytes in the place of what it looks for,
// of the same number. It holds back no more than the beginning of what may become a
// match, so that a stream which pauses (server-sent events) is not delayed.
type replacer struct {
	src   io.ReadCloser
	forms []needle
	found func(form int) error // ends the stream where it gives an error
	ended func()               // at the end of src

	buf  []byte // the replacer's own memory
	out  []byte // looked through, in buf
	held []byte // behind out in buf: may be the beginning of a match
	err  error
}

const replaceBuffer = 16 << 10

func newReplacer(src io.ReadCloser, forms []needle) *replacer {
	return &replacer{src: src, forms: forms}
}

func (r *replacer) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

func (r *replacer) fill() {
	if r.buf == nil {
		longest := 0
		for _, f := range r.forms {
			longest = max(longest, len(f.find))
		}
		r.buf = make([]byte, longest+replaceBuffer)
	}
	have := copy(r.buf, r.held)
	n, err := r.src.Read(r.buf[have:])
	text := r.buf[:have+n]
	if ferr := r.replace(text); ferr != nil {
		r.err, r.held = ferr, nil
		return
	}
	hold := 0
	if err == nil {
		hold = tailOf(text, r.forms)
	} else {
		r.err = err
		if r.ended != nil {
			r.ended()
		}
	}
	r.out, r.held = text[:len(text)-hold], text[len(text)-hold:]
}

// replace works in place, since what it puts in is as long as what it takes out.
func (r *replacer) replace(text []byte) error {
	for i, f := range r.forms {
		for at := 0; ; {
			j := bytes.Index(text[at:], f.find)
			if j < 0 {
				break
			}
			if r.found != nil {
				if err := r.found(i); err != nil {
					return err
				}
			}
			copy(text[at+j:], f.put)
			at += j + len(f.find)
		}
	}
	return nil
}

// tailOf is the length of the longest end of text that a match may begin with.
func tailOf(text []byte, forms []needle) int {
	longest := 0
	for _, f := range forms {
		for n := min(len(f.find)-1, len(text)); n > longest; n-- {
			if text[len(text)-n] == f.find[0] && bytes.HasPrefix(f.find, text[len(text)-n:]) {
				longest = n
				break
			}
		}
	}
	return longest
}

func (r *replacer) Close() error { return r.src.Close() }

// replaceText does the same to a short text.
func replaceText(s string, forms []needle) string {
	b := []byte(s)
	r := replacer{forms: forms}
	_ = r.replace(b) // without found there is no error
	return string(b)
}
