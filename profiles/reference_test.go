package profiles

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// TestReference: the pages are those that the tables give.
func TestReference(t *testing.T) {
	schema, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"profile.md": Reference(), "profile.schema.json": string(schema)} {
		path := filepath.Join("..", "docs", file)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(got), want); diff != "" {
			t.Errorf("%s is not what the language is (go test ./profiles -run TestReference -update writes it):\n%s", file, diff)
		}
	}
}

// TestSchemaDecodes: what the tables say of each attribute is what the decoder takes.
// Its example loads where it stands; a value of another kind does not, and neither does
// a word that is none of the choices; the choices that a diagnostic lists are the
// table's.
func TestSchemaDecodes(t *testing.T) {
	n := 0
	walkBlocks(profileSchema(), nil, func(path []*block, s schema) {
		for _, a := range s.attrs {
			n++
			where := attrPath(path, a)
			if errs := decodeErrors(t, path, a, a.example); len(errs) > 0 {
				t.Errorf("%s = %s is refused: %s", where, a.example, strings.Join(errs, "; "))
			}
			wrong, isWrong := map[string]string{"string": "[]", "array": `"x"`, "number": `"x"`, "boolean": `"x"`, "object": `"x"`}[a.kind.json]
			if isWrong && len(decodeErrors(t, path, a, wrong)) == 0 {
				t.Errorf("%s takes %s, and the table says that it is a %s", where, wrong, a.kind.name)
			}
			for _, w := range a.kind.words {
				if errs := strings.Join(decodeErrors(t, path, a, quote(w)), "; "); strings.Contains(errs, quote(w)+" is no ") {
					t.Errorf("%s has no choice %q: %s", where, w, errs)
				}
			}
			if len(a.kind.words) > 0 {
				errs := strings.Join(decodeErrors(t, path, a, `"no-such-choice"`), "; ")
				if !strings.Contains(errs, "no-such-choice") {
					t.Errorf("%s takes a word that is no choice", where)
				}
				if list := strings.Join(quoteAll(a.kind.words), ", "); strings.Contains(errs, "the choices are") && !strings.Contains(errs, list) {
					t.Errorf("%s has other choices than the table's %s: %s", where, list, errs)
				}
			}
			if a.doc == "" || a.example == "" || a.kind.name == "" {
				t.Errorf("%s is not described", where)
			}
		}
		for _, b := range s.blocks {
			if b.doc == "" {
				t.Errorf("the block %s is not described", b.name)
			}
		}
	})
	if n < 80 {
		t.Errorf("only %d attributes were tried", n)
	}
}

func walkBlocks(s schema, path []*block, f func([]*block, schema)) {
	f(path, s)
	for i := range s.blocks {
		b := &s.blocks[i]
		walkBlocks(b.body(), append(path[:len(path):len(path)], b), f)
	}
}

func attrPath(path []*block, a attr) string {
	var names []string
	for _, b := range path {
		names = append(names, b.name)
	}
	return strings.Join(append(names, a.name), ".")
}

// companions are what must stand beside an attribute for it to be right.
func companions(block, attribute string) []string {
	switch block + "." + attribute {
	case "network.allow.upstream_ca":
		return []string{`upstream = "127.0.0.1:1"`}
	case "test.headers", "test.body":
		return []string{`request = ["GET", "https://a.example/"]`, `expect = "deny"`}
	case "test.expect":
		return []string{`connect = "a.example:443"`}
	}
	switch block {
	case "secret":
		return []string{`env = "X"`, `header = "x"`}
	case "files.limit", "process.limit":
		return []string{`rate = "1/m"`}
	case "test":
		return []string{`expect = "deny"`}
	}
	return nil
}

// labelOf gives a label that a block takes.
func labelOf(b *block, label string) string {
	switch {
	case b.name == "on":
		return "anomaly"
	case b.name == "limit" && label == "action":
		return "delete"
	case b.name == "request" && label == "method":
		return "GET"
	case label == "path" && b.name == "request":
		return "/x"
	case label == "host":
		return "h.example"
	case label == "port":
		return "5432"
	case label == "kind":
		return "status"
	}
	return "a"
}

// decodeErrors loads a profile that has one attribute with a value, and gives the errors
// that are about its line.
func decodeErrors(t *testing.T, path []*block, a attr, value string) (errs []string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("secret \"a\" {\n  env = \"A\"\n  header = \"x\"\n}\nbudget \"payments\" {\n  per_run = 1\n}\n")
	name := ""
	for _, block := range path {
		name = strings.TrimPrefix(name+"."+block.name, ".")
		b.WriteString(block.name)
		for _, l := range block.fixed() {
			label := labelOf(block, l)
			if kind, ok := map[string]string{"delay": "delay", "after": "truncate"}[a.name]; ok && block.name == "fault" {
				label = kind
			}
			if len(path) == 1 && (block.name == "secret" || block.name == "budget") {
				label = "other"
			}
			fmt.Fprintf(&b, " %q", label)
		}
		b.WriteString(" {\n")
	}
	line := strings.Count(b.String(), "\n") + 1
	fmt.Fprintf(&b, "%s = %s\n", a.name, value)
	for _, l := range companions(name, a.name) {
		if !strings.HasPrefix(l, a.name+" ") {
			b.WriteString(l + "\n")
		}
	}
	b.WriteString(strings.Repeat("}\n", len(path)))
	src := string(hclwrite.Format([]byte(b.String())))
	_, diags, _ := Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": src, "/p/ca.pem": ""}))
	for _, d := range diags {
		if d.Subject != nil && d.Subject.Start.Line == line {
			errs = append(errs, d.Detail)
		}
	}
	return errs
}

// TestJSONSchema: it is a JSON schema of every word that JSON may have, and both forms
// of wholeJSON's blocks are in it.
func TestJSONSchema(t *testing.T) {
	b, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	var profile any
	if err := json.Unmarshal([]byte(wholeJSON), &profile); err != nil {
		t.Fatal(err)
	}
	defs := schema["$defs"].(map[string]any)
	if err := conforms(defs, schema, profile, "profile"); err != nil {
		t.Errorf("a profile that loads does not conform: %v", err)
	}
	for _, bad := range []string{`{"worksapce": {}}`, `{"limits": {"cpus": "two"}}`, `{"network": {"allow": {"a": {"prots": [1]}}}}`, `{"workspace": {"mode": "overlayed"}}`, `{"workspace": {"hide": ".env"}}`} {
		if err := json.Unmarshal([]byte(bad), &profile); err != nil {
			t.Fatal(err)
		}
		if conforms(defs, schema, profile, "profile") == nil {
			t.Errorf("%s conforms", bad)
		}
	}
}

// conforms checks a value by as much of JSON Schema as JSONSchema uses.
func conforms(defs, schema map[string]any, v any, where string) error {
	if ref, ok := schema["$ref"].(string); ok {
		def, ok := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: there is no %s", where, ref)
		}
		return conforms(defs, def, v, where)
	}
	if choices, ok := schema["anyOf"].([]any); ok {
		var first error
		for _, s := range choices {
			err := conforms(defs, s.(map[string]any), v, where)
			if err == nil {
				return nil
			}
			if first == nil {
				first = err
			}
		}
		return first
	}
	if enum, ok := schema["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v is none of %v", where, v, enum)
	}
	if s, ok := v.(string); ok && schema["pattern"] != nil && !strings.Contains(s, "${") {
		return fmt.Errorf("%s: %q is no template", where, s)
	}
	types, _ := schema["type"].([]any)
	if t, ok := schema["type"].(string); ok {
		types = []any{t}
	}
	is := map[string]bool{}
	switch v.(type) {
	case string:
		is["string"] = true
	case float64:
		is["number"] = true
	case bool:
		is["boolean"] = true
	case []any:
		is["array"] = true
	case map[string]any:
		is["object"] = true
	}
	if len(types) > 0 && !slices.ContainsFunc(types, func(t any) bool { return is[t.(string)] }) {
		return fmt.Errorf("%s: %v is no %v", where, v, types)
	}
	if list, ok := v.([]any); ok && schema["items"] != nil {
		for _, x := range list {
			if err := conforms(defs, schema["items"].(map[string]any), x, where+"[]"); err != nil {
				return err
			}
		}
	}
	if m, ok := v.(map[string]any); ok {
		properties, _ := schema["properties"].(map[string]any)
		for k, x := range m {
			inner, known := properties[k].(map[string]any)
			if !known {
				extra := schema["additionalProperties"]
				if extra == false {
					return fmt.Errorf("%s: there is no %q", where, k)
				}
				inner, _ = extra.(map[string]any)
			}
			if inner != nil {
				if err := conforms(defs, inner, x, where+"."+k); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
