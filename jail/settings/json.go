package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// JSON with comments and commas at the end of lists, as settings files of editors and
// agents have them.

func cleanJSON(c *cleaner, data []byte) ([]byte, error) {
	tree, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	tree, _ = c.value(tree, "", nil, 0)
	var flat, out bytes.Buffer
	if err := writeJSON(&flat, tree); err != nil {
		return nil, err
	}
	if err := json.Indent(&out, flat.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

func parseJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(plainJSON(bytes.TrimPrefix(data, []byte("\ufeff")))))
	d.UseNumber()
	v, err := jsonValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON value")
	}
	return v, nil
}

// jsonValue reads a value by its tokens: decoding into a map would lose the order, and
// the first of two members of one name, which another program may take.
func jsonValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		o := &object{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			n, ok := name.(string)
			if !ok || depth > maxDepth {
				return nil, errors.New("its values lie too deep in one another")
			}
			if slices.Contains(o.names, n) {
				return nil, fmt.Errorf("%q comes twice in one object", n)
			}
			v, err := jsonValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			o.names, o.values = append(o.names, n), append(o.values, v)
		}
		_, err := d.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			if depth > maxDepth {
				return nil, errors.New("its values lie too deep in one another")
			}
			v, err := jsonValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return t, nil
}

func writeJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case *object:
		b.WriteByte('{')
		for i, n := range v.names {
			if i > 0 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(n)
			if err != nil {
				return err
			}
			b.Write(name)
			b.WriteByte(':')
			if err := writeJSON(b, v.values[i]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeJSON(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		b.Write(text)
	}
	return nil
}

// plainJSON puts blanks in the place of comments, and of commas before a closing bracket.
func plainJSON(data []byte) []byte {
	out := bytes.Clone(data)
	comma := -1 // the last one, while nothing but blanks and comments has followed
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
			comma = -1
		case c == '/' && i+1 < len(out) && (out[i+1] == '/' || out[i+1] == '*'):
			end := len(out)
			if at := bytes.IndexByte(out[i:], '\n'); out[i+1] == '/' && at >= 0 {
				end = i + at
			}
			if at := bytes.Index(out[i+2:], []byte("*/")); out[i+1] == '*' && at >= 0 {
				end = i + 2 + at + 2
			}
			for ; i < end; i++ {
				out[i] = ' '
			}
			i--
		case c == ',':
			comma = i
		case (c == '}' || c == ']') && comma >= 0:
			out[comma] = ' '
			comma = -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return out
}
