package settings

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agentjail/agentjail/audit"
)

// MaxSize bounds what is looked through.
const MaxSize = 4 << 20

// maxDepth bounds how deep values lie in one another.
const maxDepth = 64

// Clean gives a settings file without its credentials, and says where they were:
// "mcpServers.issues.env.ISSUES_TOKEN", or "line 3" of a text. A file with none comes
// back as it is, its comments and its layout too. An error means that the file could not
// be understood, and must not be handed on.
func Clean(name string, data []byte) (clean []byte, left []string, err error) {
	if len(data) > MaxSize {
		return nil, nil, fmt.Errorf("it has more than %d MiB", MaxSize>>20)
	}
	redactor, err := audit.NewRedactor(nil)
	if err != nil {
		return nil, nil, err
	}
	var rewrite func(*cleaner, []byte) ([]byte, error)
	switch strings.ToLower(path.Ext(name)) {
	case ".json", ".jsonc", ".json5":
		rewrite = cleanJSON
	case ".toml":
		rewrite = cleanTOML
	case ".yaml", ".yml":
		rewrite = cleanYAML
	default:
		return cleanText(redactor, data)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return data, nil, nil
	}
	if !utf8.Valid(data) {
		return nil, nil, errors.New("it is not UTF-8")
	}
	c := cleaner{redactor: redactor}
	clean, err = rewrite(&c, data)
	if err != nil {
		return nil, nil, err
	}
	if c.deep {
		return nil, nil, fmt.Errorf("its values lie more than %d deep in one another", maxDepth)
	}
	// What stands in comments is looked for in the whole text, in which references to
	// variables look like credentials too: writing the file anew only costs its comments.
	if _, n := redactor.Redact(string(data)); n == 0 && len(c.left) == 0 {
		return data, nil, nil
	}
	return clean, c.left, nil
}

// object is a list of members in their order: for some programs it has a meaning.
type object struct {
	names  []string
	values []any
}

// cleanText masks what has the form of a credential.
func cleanText(redactor *audit.Redactor, data []byte) ([]byte, []string, error) {
	if bytes.IndexByte(data, 0) >= 0 {
		return data, nil, nil // no text: nobody writes a key into a picture by hand
	}
	// Of the whole, since a private key has many lines; by lines, to say where.
	text, n := redactor.Redact(string(data))
	if n == 0 {
		return data, nil, nil
	}
	var left []string
	for i, line := range strings.Split(string(data), "\n") {
		if _, n := redactor.Redact(line); n > 0 {
			left = append(left, fmt.Sprintf("line %d", i+1))
		}
	}
	if len(left) == 0 {
		left = []string{"several lines"}
	}
	return []byte(text), left, nil
}

// cleaner walks a tree.
type cleaner struct {
	redactor *audit.Redactor
	left     []string
	deep     bool
}

// value gives a value without credentials. gone is true where nothing of it may stay:
// its name says that it is one. names are those that lead to it.
func (c *cleaner) value(v any, name string, names []string, depth int) (out any, gone bool) {
	if depth > maxDepth {
		c.deep = true
		return nil, true
	}
	if secretName(name, names) && holds(v) && !reference(v) {
		c.note(names)
		return nil, true
	}
	switch v := v.(type) {
	case *object:
		kept := &object{}
		for i, n := range v.names {
			if out, gone := c.value(v.values[i], n, append(slices.Clip(names), n), depth+1); !gone {
				kept.names, kept.values = append(kept.names, n), append(kept.values, out)
			}
		}
		return kept, false
	case []any:
		kept := make([]any, 0, len(v))
		for i, e := range v {
			at := append(slices.Clip(names), fmt.Sprintf("[%d]", i))
			// Arguments of a program: the value of --api-key is the next one.
			if i > 0 && secretFlag(v[i-1]) && holds(e) && !reference(e) {
				c.note(at)
				kept = append(kept, mask)
				continue
			}
			if out, gone := c.value(e, "", at, depth+1); !gone {
				kept = append(kept, out)
			}
		}
		return kept, false
	case string:
		return c.text(v, names), false
	}
	return v, false
}

// text masks what has the form of a credential within a value.
func (c *cleaner) text(s string, names []string) string {
	if masked, ok := maskedFlag(s); ok {
		c.note(names)
		s = masked
	}
	if reference(s) {
		return s
	}
	masked, n := c.redactor.Redact(s)
	if n > 0 {
		c.note(names)
	}
	return masked
}

func (c *cleaner) note(names []string) {
	at := strings.ReplaceAll(strings.Join(names, "."), ".[", "[")
	if at == "" {
		at = "its only value"
	}
	if !slices.Contains(c.left, at) {
		c.left = append(c.left, at)
	}
}
