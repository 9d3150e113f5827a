package profiles

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestHostileSource: sources that make a recursive parser recurse end with errors,
// where a stack overflow would end the program. Those of maxSource bytes have one
// more level for every byte or two; those of harmless bytes are parsed without being
// looked at first.
func TestHostileSource(t *testing.T) {
	for _, size := range []int{maxSource, harmless} {
		hostileSources(t, size)
	}
	// A long profile is no deep one, and a slip in it is reported as what it is.
	long := `{"network": {"allow": {"a.example": {}` + strings.Repeat(`, "b.example": {"ports": [-1]}`, 400) + `}}}`
	_, diags, _ := Load("/p/x.json", mapOptions(map[string]string{"/p/x.json": long}))
	if len(diags) != 400 || diags[0].Summary != "Wrong number" {
		t.Errorf("a long profile gives %d diagnostics: %v", len(diags), diags)
	}
	_, diags, _ = Load("/p/x.json", mapOptions(map[string]string{"/p/x.json": long + "]"}))
	if len(diags) == 0 || diags[0].Summary == "Nested too deeply" {
		t.Errorf("a long profile with a slip gives %v", diags)
	}
	long = "description = \"x\"\nnetwork {\n" + strings.Repeat("  allow \"x.example\" {\n    ports = [-1, -1]\n  }\n", 400) + "}\n"
	_, diags, _ = Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": long}))
	if len(diags) != 800 || diags[0].Summary != "Wrong number" {
		t.Errorf("a long profile gives %d diagnostics: %v", len(diags), diags)
	}
}

func hostileSources(t *testing.T, size int) {
	fill := func(before, unit string) string {
		return before + strings.Repeat(unit, (size-len(before))/len(unit))
	}
	for what, src := range map[string]string{
		"brackets":     fill("description = ", "["),
		"parentheses":  fill("description = ", "("),
		"blocks":       fill("", "a {\n"),
		"objects":      fill("description = ", "{a="),
		"templates":    fill("description = \"", "${\""),
		"calls":        fill("description = ", "upper("),
		"for":          fill("description = ", "[for x in "),
		"minus":        fill("description = ", "-"),
		"not":          fill("description = ", "!"),
		"conditionals": fill("description = ", "1?"),
		"operators":    fill("description = 1", "+1"),
		"indexes":      fill("description = a", "[0]"),
		"attributes":   fill("description = a", ".a"),
		"splats":       fill("description = a", "[*]"),
		"closed":       "description = " + strings.Repeat("(", size/2-20) + "1" + strings.Repeat(")", size/2-20),
		"reset":        fill("description = ", ")["),
		"json arrays":  fill(`{"description": `, "["),
		"json objects": fill("", `{"a":`),
		"json reset":   fill(`{"description": `, "]["),
		"json string":  fill(`{"description": "`, "${")[:size-4] + `"}`,
	} {
		for _, path := range []string{"/p/x.hcl", "/p/x.json"} {
			if _, diags, _ := Load(path, mapOptions(map[string]string{path: src})); !diags.HasErrors() {
				t.Errorf("%s: %s of %d bytes loads", path, what, size)
			}
		}
	}
}

// FuzzLoad: whatever the bytes, loading ends with a Spec or with errors, never with
// both, and what it gives survives being written and read again.
func FuzzLoad(f *testing.F) {
	f.Add(fullProfile, false)
	f.Add(`{"network": {"allow": {"a.example": {}}}}`, true)
	for _, name := range Builtins() {
		src, _ := builtinSource(name)
		f.Add(string(src), false)
	}
	f.Fuzz(func(t *testing.T, src string, isJSON bool) {
		path := "/p/x.hcl"
		if isJSON {
			path = "/p/x.json"
		}
		s, diags, files := Load(path, mapOptions(map[string]string{path: src, "/p/note.txt": "n"}))
		if (s == nil) != diags.HasErrors() {
			t.Fatalf("Spec %v beside %v", s, diags)
		}
		if err := Render(io.Discard, diags, files, 78, true); err != nil {
			t.Fatal(err)
		}
		if s == nil {
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &Spec{}); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		for _, r := range s.Network.Allow {
			if len(r.Ports) == 0 || len(r.Hosts) == 0 || r.Protocol == "" {
				t.Fatalf("an allow of nothing: %+v", r)
			}
		}
		var out strings.Builder
		if err := WriteText(&out, s); err != nil {
			t.Fatal(err)
		}
		again, diags, _ := Load("/p/x.hcl", mapOptions(map[string]string{"/p/x.hcl": out.String()}))
		if diags.HasErrors() {
			t.Fatalf("%v\n%s", diags, out.String())
		}
		ignore := cmp.Options{specsEqual, cmpopts.IgnoreFields(Spec{}, "Sources", "Name"), cmpopts.IgnoreTypes(Origin{})}
		if diff := cmp.Diff(s, again, ignore); diff != "" {
			t.Fatal(diff)
		}
	})
}
