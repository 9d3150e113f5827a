package profiles

import (
	stdjson "encoding/json"
)

// JSONSchema is docs/profile.schema.json: what a profile in HCL's JSON syntax looks
// like, for editors, in JSON Schema 2020-12. It is written from what decodes profiles.
// It says less than the decoder, which looks into the strings too.
func JSONSchema() ([]byte, error) {
	bodies := map[string]any{}
	root := bodySchema(profileSchema(), "", bodies)
	root["$defs"] = bodies
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "agentjail profile"
	b, err := stdjson.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// bodySchema is what may stand in a body. Those of blocks are kept by their place in the
// language, since each is referred to from several places.
func bodySchema(s schema, path string, bodies map[string]any) map[string]any {
	properties := map[string]any{"//": map[string]any{"description": "A comment (HCL's JSON syntax has no other)."}}
	for _, a := range s.attrs {
		properties[a.name] = a.kind.schema(a)
	}
	for i := range s.blocks {
		b := &s.blocks[i]
		name := path + b.name
		bodies[name] = bodySchema(b.body(), name+".", bodies)
		m := blockSchema(b, map[string]any{"$ref": "#/$defs/" + name}, len(b.fixed()))
		m["description"] = b.doc
		properties[b.name] = m
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// blockSchema is a block below some labels. At each level HCL also takes a list.
func blockSchema(b *block, body map[string]any, labels int) map[string]any {
	one := body
	if labels > 0 {
		one = map[string]any{"type": "object", "additionalProperties": blockSchema(b, body, labels-1)}
	}
	if len(b.fixed()) == 0 && !b.many {
		return map[string]any{"anyOf": []any{one}}
	}
	return map[string]any{"anyOf": []any{one, map[string]any{"type": "array", "items": one}}}
}

// template is text with an expression in it, which may give any type.
func template() map[string]any { return map[string]any{"type": "string", "pattern": `\$\{|%\{`} }

func (k kind) schema(a attr) map[string]any {
	m := map[string]any{"description": a.doc}
	switch k.json {
	case "string":
		m["type"] = "string"
		if len(k.words) > 0 {
			delete(m, "type")
			m["anyOf"] = []any{map[string]any{"enum": k.words}, template()}
		}
	case "array":
		m["anyOf"] = []any{map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "number"}}}, template()}
	case "number", "boolean", "object":
		m["anyOf"] = []any{map[string]any{"type": k.json}, template()}
	}
	return m
}
