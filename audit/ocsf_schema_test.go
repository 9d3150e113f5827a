package audit

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A schemaNode is one file of the OCSF schema: an event class, an object or a profile.
type schemaNode struct {
	Name        string                     `json:"name"`
	Extends     string                     `json:"extends"`
	UID         int                        `json:"uid"`
	Category    string                     `json:"category"`
	Attributes  map[string]json.RawMessage `json:"attributes"`
	Constraints struct {
		AtLeastOne []string `json:"at_least_one"`
		JustOne    []string `json:"just_one"`
	} `json:"constraints"`
}

type schemaAttribute struct {
	Type        string `json:"type"`
	IsArray     bool   `json:"is_array"`
	Requirement string `json:"requirement"`
	Profile     string `json:"profile"`
	Sibling     string `json:"sibling"`
	Enum        map[string]struct {
		Caption string `json:"caption"`
	} `json:"enum"`
	Deprecated json.RawMessage `json:"@deprecated"`
}

// A schema is a whole checkout, resolved on demand.
type schema struct {
	applied    []string // profiles that an event says it has
	version    string
	classes    map[int]string // by class_uid
	events     map[string]schemaNode
	objects    map[string]schemaNode
	profiles   map[string]schemaNode // by path, "profiles/host.json"
	dictionary map[string]schemaAttribute
	types      map[string]struct {
		Type   string `json:"type"`
		Regex  string `json:"regex"`
		MaxLen int    `json:"max_len"`
		Range  []int  `json:"range"`
	}
}

// ocsfFolder is a copy of the schema: the one that AGENTJAIL_OCSF names, or one in
// a folder beside the checkout.
func ocsfFolder(t *testing.T) string {
	if dir := os.Getenv("AGENTJAIL_OCSF"); dir != "" {
		return dir
	}
	found, err := filepath.Glob("../../*/ocsf/version.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Skip("the full OCSF schema is missing: set AGENTJAIL_OCSF to a copy of it")
	}
	return filepath.Dir(found[0])
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func loadSchema(t *testing.T) *schema {
	dir := ocsfFolder(t)
	s := &schema{applied: appliedTo(""), classes: map[int]string{}, events: map[string]schemaNode{}, objects: map[string]schemaNode{}, profiles: map[string]schemaNode{}}
	var version struct {
		Version string `json:"version"`
	}
	readJSON(t, filepath.Join(dir, "version.json"), &version)
	s.version = version.Version
	var dictionary struct {
		Attributes map[string]schemaAttribute `json:"attributes"`
		Types      struct {
			Attributes json.RawMessage `json:"attributes"`
		} `json:"types"`
	}
	readJSON(t, filepath.Join(dir, "dictionary.json"), &dictionary)
	s.dictionary = dictionary.Attributes
	if err := json.Unmarshal(dictionary.Types.Attributes, &s.types); err != nil {
		t.Fatal(err)
	}
	var categories struct {
		Attributes map[string]struct {
			UID int `json:"uid"`
		} `json:"attributes"`
	}
	readJSON(t, filepath.Join(dir, "categories.json"), &categories)
	for _, part := range []string{"events", "objects", "profiles"} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
				return err
			}
			var n schemaNode
			readJSON(t, path, &n)
			switch part {
			case "events":
				s.events[n.Name] = n
			case "objects":
				s.objects[n.Name] = n
			case "profiles":
				s.profiles["profiles/"+filepath.Base(path)] = n
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, n := range s.events {
		if n.UID == 0 {
			continue
		}
		category := n.Category
		for up := n; category == "" && up.Extends != ""; category = up.Category {
			up = s.events[up.Extends]
		}
		s.classes[categories.Attributes[category].UID*1000+n.UID] = name
	}
	return s
}

// appliedTo are the profiles that events of a class have.
func appliedTo(class string) []string {
	list := []string{"datetime", "host", "record_integrity", "security_control"}
	if class == "api_activity" {
		list = append([]string{"ai_operation"}, list...)
	}
	return list
}

// A resolved class or object: what its whole line of ancestors and its profiles give.
type resolved struct {
	attributes map[string]schemaAttribute
	atLeastOne []string
	justOne    []string
}

func (s *schema) resolve(table map[string]schemaNode, name string) resolved {
	r := resolved{attributes: map[string]schemaAttribute{}}
	n, ok := table[name]
	if !ok {
		return r
	}
	if n.Extends != "" && n.Extends != name {
		r = s.resolve(table, n.Extends)
	}
	s.overlay(&r, n.Attributes)
	if len(n.Constraints.AtLeastOne) > 0 {
		r.atLeastOne = n.Constraints.AtLeastOne
	}
	if len(n.Constraints.JustOne) > 0 {
		r.justOne = n.Constraints.JustOne
	}
	return r
}

func (s *schema) overlay(r *resolved, attributes map[string]json.RawMessage) {
	if raw, ok := attributes["$include"]; ok {
		var includes []string
		if json.Unmarshal(raw, &includes) == nil {
			for _, path := range includes {
				if slices.Contains(s.applied, s.profiles[path].Name) {
					s.overlay(r, s.profiles[path].Attributes)
				}
			}
		}
	}
	for key, raw := range attributes {
		if key == "$include" {
			continue
		}
		a, known := r.attributes[key]
		if !known {
			a = s.dictionary[key]
		}
		enum := maps.Clone(a.Enum)
		a.Enum, a.Profile = nil, ""
		if json.Unmarshal(raw, &a) != nil || a.Profile != "" && !slices.Contains(s.applied, a.Profile) {
			continue
		}
		if key == "class_uid" || key == "category_uid" {
			enum, a.Enum = nil, nil // the schema's compiler fills these in; the class was found by it
		}
		if a.Enum == nil {
			a.Enum = enum
		}
		for id, v := range enum {
			if _, over := a.Enum[id]; !over {
				a.Enum[id] = v
			}
		}
		r.attributes[key] = a
	}
}

// check gives everything that is wrong with an object of a class or type.
func (s *schema) check(path string, m map[string]any, r resolved) (wrong []string) {
	for key, v := range m {
		at := path + "." + key
		a, ok := r.attributes[key]
		if base, isDT := strings.CutSuffix(key, "_dt"); !ok && isDT {
			if b, has := r.attributes[base]; has && b.Type == "timestamp_t" { // the datetime profile
				a, ok = schemaAttribute{Type: "datetime_t"}, true
			}
		}
		if !ok {
			wrong = append(wrong, at+" is not in the schema")
			continue
		}
		if len(a.Deprecated) > 0 {
			wrong = append(wrong, at+" is deprecated")
		}
		list := []any{v}
		if a.IsArray {
			if list, ok = v.([]any); !ok {
				wrong = append(wrong, at+" is not a list")
				continue
			}
		} else if _, isList := v.([]any); isList && a.Type != "json_t" {
			wrong = append(wrong, at+" is a list")
		}
		for _, item := range list {
			wrong = append(wrong, s.checkValue(at, item, a)...)
		}
		if len(a.Enum) > 0 {
			wrong = append(wrong, checkEnum(at, m, key, v, a)...)
		}
	}
	for key, a := range r.attributes {
		if _, ok := m[key]; !ok && a.Requirement == "required" {
			wrong = append(wrong, path+"."+key+" is required and missing")
		}
	}
	present := func(keys []string) (n int) {
		for _, key := range keys {
			if _, ok := m[key]; ok {
				n++
			}
		}
		return n
	}
	if len(r.atLeastOne) > 0 && present(r.atLeastOne) == 0 {
		wrong = append(wrong, fmt.Sprintf("%s has none of %v", path, r.atLeastOne))
	}
	if len(r.justOne) > 0 && present(r.justOne) != 1 {
		wrong = append(wrong, fmt.Sprintf("%s has not just one of %v", path, r.justOne))
	}
	return wrong
}

// checkEnum checks a value that has an enumeration, and that the caption beside an
// id ("status" beside "status_id") is the id's unless the id is Other.
func checkEnum(at string, m map[string]any, key string, v any, a schemaAttribute) (wrong []string) {
	number, isNumber := v.(float64)
	id := strconv.FormatFloat(number, 'f', -1, 64)
	if !isNumber {
		return nil
	}
	caption, ok := a.Enum[id]
	if !ok {
		return []string{at + " is " + id + ", which is not in its enumeration"}
	}
	sibling := a.Sibling
	if sibling == "" {
		sibling = strings.TrimSuffix(key, "_id")
	}
	text, has := m[sibling]
	if id == "99" && !has {
		wrong = append(wrong, at+" is Other, but nothing says what")
	}
	if has && sibling != key && id != "99" && text != caption.Caption {
		wrong = append(wrong, fmt.Sprintf("%s is %s, but the text beside it is %q, not %q", at, id, text, caption.Caption))
	}
	return wrong
}

func (s *schema) checkValue(at string, v any, a schemaAttribute) []string {
	bad := func(want string) []string { return []string{fmt.Sprintf("%s is %v, want %s", at, v, want)} }
	if n, ok := s.objects[a.Type]; ok {
		m, isObject := v.(map[string]any)
		if !isObject {
			return bad("an object")
		}
		if n.Name == "object" {
			return nil // free by definition
		}
		return s.check(at, m, s.resolve(s.objects, a.Type))
	}
	declared := s.types[a.Type]
	base := a.Type
	for s.types[base].Type != "" {
		base = s.types[base].Type
	}
	switch base {
	case "string_t":
		text, ok := v.(string)
		if !ok {
			return bad("a string")
		}
		if declared.Regex != "" && !regexp.MustCompile(declared.Regex).MatchString(text) {
			return bad("a " + a.Type)
		}
		if declared.MaxLen > 0 && len(text) > declared.MaxLen {
			return bad("a shorter " + a.Type)
		}
	case "integer_t", "long_t":
		number, ok := v.(float64)
		if !ok || number != float64(int64(number)) {
			return bad("an integer")
		}
		if base == "integer_t" && (number > 1<<31-1 || number < -1<<31) {
			return bad("an integer of 32 bits")
		}
		if len(declared.Range) == 2 && (number < float64(declared.Range[0]) || number > float64(declared.Range[1])) {
			return bad("a " + a.Type)
		}
	case "boolean_t":
		if _, ok := v.(bool); !ok {
			return bad("a boolean")
		}
	case "json_t", "float_t":
	default:
		return bad("a known type, not " + a.Type)
	}
	return nil
}

// TestEventsMatchSchema checks every kind of event against the full schema:
// attributes, types, enumerations, captions, required attributes, constraints.
func TestEventsMatchSchema(t *testing.T) {
	s := loadSchema(t)
	if s.version != SchemaVersion {
		t.Errorf("the schema is of version %s, events say %s", s.version, SchemaVersion)
	}
	for name, e := range sampleEvents(t) {
		uid, _ := e["class_uid"].(float64)
		class, ok := s.classes[int(uid)]
		if !ok {
			t.Errorf("%s: class %v is not in the schema", name, uid)
			continue
		}
		s.applied = appliedTo(class)
		if got := fmt.Sprint(e["metadata"].(map[string]any)["profiles"]); got != fmt.Sprint(s.applied) {
			t.Errorf("%s: profiles %s, want %v", name, got, s.applied)
		}
		wrong := s.check("", e, s.resolve(s.events, class))
		slices.Sort(wrong)
		for _, w := range wrong {
			t.Errorf("%s (%s): %s", name, class, w)
		}
	}
}

// A checker that finds nothing wrong proves nothing unless it finds what is.
func TestSchemaCheckFinds(t *testing.T) {
	s := loadSchema(t)
	for name, spoil := range map[string]func(map[string]any){
		"not in the schema":       func(e map[string]any) { e["colour"] = "red" },
		"is required and missing": func(e map[string]any) { delete(e, "severity_id") },
		"want an integer":         func(e map[string]any) { e["time"] = "now" },
		"not in its enumeration":  func(e map[string]any) { e["activity_id"] = 42.0 },
		"the text beside it is":   func(e map[string]any) { e["severity"] = "Grim" },
		"has none of":             func(e map[string]any) { delete(e, "dst_endpoint"); delete(e, "src_endpoint") },
		"want a ip_t":             func(e map[string]any) { e["dst_endpoint"].(map[string]any)["ip"] = "nowhere" },
		"want a port_t":           func(e map[string]any) { e["dst_endpoint"].(map[string]any)["port"] = 70000.0 },
		"want an object":          func(e map[string]any) { e["metadata"] = "x" },
		"is not a list":           func(e map[string]any) { e["attestation_list"] = map[string]any{} },
		".prev_event.uid is required": func(e map[string]any) {
			delete(e["attestation_list"].([]any)[0].(map[string]any)["prev_event"].(map[string]any), "uid")
		},
		"is Other, but nothing":        func(e map[string]any) { e["status_id"] = 99.0; delete(e, "status") },
		"want a datetime_t":            func(e map[string]any) { e["time_dt"] = "soon" },
		".tls.version is required":     func(e map[string]any) { delete(e["tls"].(map[string]any), "version") },
		"want an integer of 32 bits":   func(e map[string]any) { e["metadata"].(map[string]any)["sequence"] = 1e10 },
		"want a boolean":               func(e map[string]any) { e["policy"].(map[string]any)["is_applied"] = "yes" },
		"connection_info.direction_id": func(e map[string]any) { delete(e["connection_info"].(map[string]any), "direction_id") },
	} {
		e := sampleEvents(t)["connect allowed"]
		spoil(e)
		wrong := s.check("", e, s.resolve(s.events, s.classes[4001]))
		if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, name) }) {
			t.Errorf("%q was not found, only %q", name, wrong)
		}
	}
}
