package audit

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type ocsfClass struct {
	Caption      string            `json:"caption"`
	ClassUID     float64           `json:"class_uid"`
	CategoryUID  float64           `json:"category_uid"`
	CategoryName string            `json:"category_name"`
	Activities   map[string]string `json:"activities"`
	Required     []string          `json:"required"`
	AtLeastOne   []string          `json:"at_least_one"`
}

type ocsfObject struct {
	Name       string   `json:"name"`
	Paths      []string `json:"paths"`
	Required   []string `json:"required"`
	AtLeastOne []string `json:"at_least_one"`
}

func readTable(t *testing.T, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "ocsf", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// sampleEvents gives every kind of event, by the name of its sample; a repeated
// denial too, which has a count.
func sampleEvents(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	parse := func(name string, log []byte) {
		list := lines(log)
		var m map[string]any
		if err := json.Unmarshal([]byte(list[len(list)-1]), &m); err != nil {
			t.Fatal(err)
		}
		out[name] = m
	}
	for name, r := range samples() {
		log, _ := writeLog(t, nil, RunStart{}, r) // so that there is an event before
		if _, folded := out["folded"]; !folded && foldKey(r) != "" {
			again, _ := writeLog(t, nil, r, r, r, r)
			parse("folded", again)
		}
		parse(name, log)
	}
	return out
}

// TestEventsMatchTable checks every kind of event against the project's own table.
func TestEventsMatchTable(t *testing.T) {
	var classes struct {
		Version string      `json:"version"`
		Classes []ocsfClass `json:"classes"`
	}
	var objects struct {
		Objects []ocsfObject `json:"objects"`
	}
	readTable(t, "classes.json", &classes)
	readTable(t, "objects.json", &objects)
	if classes.Version != SchemaVersion {
		t.Errorf("the table is of version %s, events say %s", classes.Version, SchemaVersion)
	}
	byUID := map[float64]ocsfClass{}
	for _, c := range classes.Classes {
		byUID[c.ClassUID] = c
	}
	byPath := map[string]ocsfObject{}
	for _, o := range objects.Objects {
		for _, p := range o.Paths {
			byPath[p] = o
		}
	}

	seen := map[float64]bool{}
	for name, e := range sampleEvents(t) {
		uid, _ := e["class_uid"].(float64)
		class, ok := byUID[uid]
		if !ok {
			t.Errorf("%s: class %v is not in the table", name, e["class_uid"])
			continue
		}
		seen[uid] = true
		activity, _ := e["activity_id"].(float64)
		for key, want := range map[string]any{
			"class_name":    class.Caption,
			"category_uid":  class.CategoryUID,
			"category_name": class.CategoryName,
			"activity_name": class.Activities[strconv.Itoa(int(activity))],
			"type_uid":      uid*100 + activity,
			"type_name":     class.Caption + ": " + class.Activities[strconv.Itoa(int(activity))],
		} {
			if e[key] != want {
				t.Errorf("%s: %s is %v, want %v", name, key, e[key], want)
			}
		}
		checkMembers(t, name, e, class.Required, class.AtLeastOne)
		// What every event of ours has beyond what the schema requires.
		checkMembers(t, name, e, []string{"action", "disposition", "action_id", "disposition_id", "message", "time_dt", "attestation_list"}, nil)
		metadata, _ := e["metadata"].(map[string]any)
		checkMembers(t, name+" metadata", metadata, []string{"uid", "sequence", "correlation_uid", "product", "profiles"}, nil)
		if metadata["version"] != SchemaVersion || metadata["correlation_uid"] != testRun {
			t.Errorf("%s: metadata %v", name, metadata)
		}
		checkObjects(t, name, "", e, byPath)
	}
	if len(seen) != len(classes.Classes) {
		t.Errorf("the table has %d classes, the samples %d", len(classes.Classes), len(seen))
	}
}

func checkMembers(t *testing.T, name string, m map[string]any, required, atLeastOne []string) {
	t.Helper()
	for _, key := range required {
		if _, ok := m[key]; !ok {
			t.Errorf("%s: %s is missing", name, key)
		}
	}
	if len(atLeastOne) > 0 && !slices.ContainsFunc(atLeastOne, func(key string) bool { _, ok := m[key]; return ok }) {
		t.Errorf("%s: none of %v is there", name, atLeastOne)
	}
}

// checkObjects looks at every object inside an event. One that is not in the table
// is a mistake: nobody has looked up what it needs.
func checkObjects(t *testing.T, name, path string, m map[string]any, table map[string]ocsfObject) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if key == "unmapped" || key == "xattributes" { // free by definition
			continue
		}
		at := strings.TrimPrefix(path+"."+key, ".")
		if strings.HasSuffix(at, ".parent_process") {
			continue // a process again
		}
		list, _ := m[key].([]any)
		if object, ok := m[key].(map[string]any); ok {
			list = []any{object}
		}
		for _, item := range list {
			object, ok := item.(map[string]any)
			if !ok {
				continue
			}
			entry, known := table[at]
			if !known {
				t.Errorf("%s: the object at %s is not in the table", name, at)
				continue
			}
			checkMembers(t, name+" "+at, object, entry.Required, entry.AtLeastOne)
			checkObjects(t, name, at, object, table)
		}
	}
}
