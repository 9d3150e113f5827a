package netns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/agentjail/agentjail/profiles"
)

const (
	// maxJudgedBody is how much of a request a condition can be about.
	maxJudgedBody = 1 << 20

	maxBodyDepth = 64
	maxFields    = 10_000
)

var errBodyTooLarge = fmt.Errorf("the body is larger than %s, which is more than a condition looks at", profiles.FormatSize(maxJudgedBody))

// judgedBody is a request's body as a condition sees it: read once, where some
// condition asks for it.
type judgedBody struct {
	read  bool
	value any
	err   error
}

// load reads the body and leaves the same bytes in the request.
func (b *judgedBody) load(r *http.Request) {
	if b.read {
		return
	}
	b.read = true
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxJudgedBody+1))
	rest := r.Body
	r.Body = &readBody{Reader: io.MultiReader(bytes.NewReader(data), rest), Closer: rest}
	switch {
	case err != nil:
		b.err = fmt.Errorf("the body can't be read: %w", err)
	case len(data) > maxJudgedBody:
		b.err = errBodyTooLarge
	default:
		b.value, b.err = decodeBody(r.Header, data)
	}
}

type readBody struct {
	io.Reader
	io.Closer
}

// decodeBody reads JSON and forms, and nothing else. What one parser reads in another
// way than the next one is an error: the condition is about what the host will read.
func decodeBody(h http.Header, data []byte) (any, error) {
	if len(data) == 0 {
		return nil, nil
	}
	if e := strings.Join(h.Values("Content-Encoding"), ","); e != "" && !strings.EqualFold(e, "identity") {
		return nil, errors.New("the body is compressed, and a condition looks at it")
	}
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return nil, fmt.Errorf("the body has %d content types, and a condition looks at it", len(types))
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil {
		return nil, fmt.Errorf("the body's content type is malformed: %w", err)
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return nil, fmt.Errorf("the body is in %s, and a condition looks at it", clip(c))
	}
	switch {
	case kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json"):
		return decodeJSON(data)
	case kind == "application/x-www-form-urlencoded":
		return decodeForm(data)
	}
	return nil, fmt.Errorf("the body is %s, and a condition looks only at JSON and forms", clip(kind))
}

// decodeJSON is strict where parsers differ (RFC 8259 sections 4 and 8): names that
// come twice, also if they differ in case alone, text that is not UTF-8, something
// behind the value.
func decodeJSON(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	p := jsonParser{d: d}
	v, err := p.value(0)
	if err != nil {
		return nil, fmt.Errorf("the body is no JSON that is read in one way only: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the body's JSON")
	}
	return v, nil
}

type jsonParser struct {
	d      *json.Decoder
	fields int
}

func (p *jsonParser) value(depth int) (any, error) {
	if depth > maxBodyDepth {
		return nil, errors.New("it is nested too deeply")
	}
	if p.fields++; p.fields > maxFields {
		return nil, errors.New("it has too many values")
	}
	t, err := p.d.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := t.(json.Delim)
	if s, isText := t.(string); isText && strings.ContainsRune(s, utf8.RuneError) {
		return nil, errors.New("it has a broken character") // a lone surrogate
	}
	if !ok {
		return t, nil
	}
	if delim == '[' {
		list := []any{}
		for p.d.More() {
			v, err := p.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = p.d.Token()
		return list, err
	}
	object, folded := map[string]any{}, map[string]bool{}
	for p.d.More() {
		k, err := p.d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := k.(string)
		if !ok || strings.ContainsRune(name, utf8.RuneError) {
			return nil, errors.New("a name is broken")
		}
		// Go's own decoder, for one, takes "Name" for "name".
		fold := strings.ToLower(strings.ToUpper(name))
		if folded[fold] {
			return nil, fmt.Errorf("the name %q is there twice", clip(name))
		}
		folded[fold] = true
		if object[name], err = p.value(depth + 1); err != nil {
			return nil, err
		}
	}
	_, err = p.d.Token()
	return object, err
}

// decodeForm reads a form. A field that comes twice is left out, since one server
// takes the first and another the last. What could be JSON as well is refused.
func decodeForm(data []byte) (any, error) {
	if bytes.ContainsAny(data, "{}[]\"<>\\ \t\r\n\x00;") {
		return nil, errors.New("the body is no form that is read in one way only")
	}
	values, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, fmt.Errorf("the body is no form: %w", err)
	}
	form := map[string]any{}
	for k, v := range single(values) {
		form[k] = v
	}
	return form, nil
}

// single keeps the fields that are there once and are UTF-8.
func single(values url.Values) map[string]string {
	out := map[string]string{}
	for k, v := range values {
		if len(v) == 1 && utf8.ValidString(k) && utf8.ValidString(v[0]) {
			out[k] = v[0]
		}
	}
	return out
}

// facts are what a condition is told of a request. A query that can't be read in one
// way has no fields.
func facts(r *http.Request, host, path string, body any) profiles.RequestFacts {
	f := profiles.RequestFacts{Method: r.Method, Host: host, Path: path, Headers: map[string]string{}, Body: body}
	for k, v := range r.Header {
		f.Headers[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	if q, err := url.ParseQuery(r.URL.RawQuery); err == nil {
		f.Query = single(q)
	}
	return f
}
