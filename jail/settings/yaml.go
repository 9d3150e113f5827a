package settings

import (
	"errors"
	"strings"
)

// YAML line by line, of which settings files are made: names with values, lists, text of
// several lines. What can hold a name in another way (tables in braces, names of several
// lines, several documents, tags) is refused.

// yamlEntry is a line with a name: its indentation, with the dashes of lists, the name
// and what follows the colon.
var yamlEntry = lazy(`^((?:\s*- )*\s*)("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'#:{}\[\],&*!|>%@` + "`" + `-][^#:{}\[\],]*?|-[^\s#:{}\[\],][^#:{}\[\],]*?)\s*:(?:\s+(.*))?$`)

// yamlOther are the ways of YAML to write a name that yamlEntry does not see.
var yamlOther = lazy(`^\s*(?:- )*\s*(?:\?|---|\.\.\.|%)|\{\s*[^\s}]|^\s*(?:- )*\s*[&!]|:\s+[&!*]|<<`)

// cleanYAML leaves out lines; the others stay as they are, but for their comments.
func cleanYAML(c *cleaner, data []byte) ([]byte, error) {
	var out []string
	drop := -1 // the column of a name whose value is left out
	for _, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if text := strings.TrimSpace(line); text == "" || strings.HasPrefix(text, "#") {
			continue // of a comment nobody knows whether it has one; blank lines go with them
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if strings.Contains(line[:len(line)-len(strings.TrimLeft(line, " \t"))], "\t") {
			return nil, errors.New("it is indented with tabs")
		}
		if drop >= 0 && (indent > drop || indent == drop && strings.HasPrefix(line[indent:], "- ")) {
			continue
		}
		drop = -1
		if text := strings.TrimSpace(line); text == "---" && len(out) == 0 {
			continue
		}
		if yamlOther().MatchString(line) {
			return nil, errors.New("it is YAML of a kind that is not understood: tables in braces, tags, anchors or several documents")
		}
		m := yamlEntry().FindStringSubmatch(line)
		if m == nil {
			out = append(out, yamlText(c, line, nil))
			continue
		}
		name := strings.Trim(m[2], `"'`)
		if strings.Contains(name, `\`) {
			return nil, errors.New("a name has escapes in it")
		}
		value := strings.TrimSpace(m[3])
		if !secretName(name, nil) || reference(strings.Trim(value, `"'`)) || plainWord(value) {
			out = append(out, yamlText(c, line, []string{name}))
			continue
		}
		c.note([]string{name})
		drop = len(m[1])
		if dash := strings.LastIndex(m[1], "- "); dash >= 0 {
			out = append(out, strings.TrimRight(m[1][:dash+1], " ")) // the list keeps its entry
		}
	}
	return []byte(strings.Join(out, "\n") + "\n"), nil
}

// plainWord is a number or a switch, which are no credentials.
func plainWord(s string) bool {
	return s == "true" || s == "false" || s == "null" || s != "" && strings.Trim(s, "0123456789._") == ""
}

// yamlText masks what has the form of a credential within a line.
func yamlText(c *cleaner, line string, names []string) string {
	masked := line
	if len(names) == 0 {
		names = []string{strings.TrimLeft(line, " -")}
		if i := strings.IndexAny(names[0], "=: "); i >= 0 {
			names[0] = names[0][:i]
		}
		if _, n := c.redactor.Redact(names[0]); n > 0 || len(names[0]) > 40 {
			names[0] = "a line without a name"
		}
	}
	if m, found := maskedFlag(masked); found {
		c.note(names)
		masked = m
	}
	m, n := c.redactor.Redact(masked)
	if n > 0 && m != masked {
		c.note(names)
	}
	return m
}
