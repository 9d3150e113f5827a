package sigv4

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// param is one parameter of a query, decoded.
type param struct{ name, value string }

// query reads a query as AWS does: split at "&", percent-decoded. A "+" is refused: it
// is a space to one reader and itself to another.
func query(raw string) ([]param, error) {
	var params []param
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		n, nerr := url.PathUnescape(name)
		v, verr := url.PathUnescape(value)
		if nerr != nil || verr != nil || strings.Contains(pair, "+") {
			return nil, errors.New("the request's query can be read in two ways")
		}
		params = append(params, param{n, v})
	}
	return params, nil
}

// encode writes parameters in their canonical form: encoded, then in order.
func encode(params []param) string {
	list := make([][2]string, len(params))
	for i, p := range params {
		list[i] = [2]string{escape(p.name, false), escape(p.value, false)}
	}
	slices.SortFunc(list, func(a, b [2]string) int {
		if c := strings.Compare(a[0], b[0]); c != 0 {
			return c
		}
		return strings.Compare(a[1], b[1])
	})
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p[0] + "=" + p[1])
	}
	return b.String()
}

// escape is UriEncode() of the documentation: everything but RFC 3986's unreserved
// characters is encoded, with capitals.
func escape(s string, path bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0, c == '/' && path:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// clip keeps what is quoted short.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
