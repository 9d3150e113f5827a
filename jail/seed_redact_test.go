package jail

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSeedCopyRedacts: a copy that is to be redacted has no credential, and no file that
// nobody could look through; any other copy is as it was.
func TestSeedCopyRedacts(t *testing.T) {
	from := t.TempDir()
	for name, text := range map[string]string{
		"settings.json": `{"theme": "dark", "env": {"MY_TOKEN": "LEAK"}}`,
		"broken.json":   `{"MY_TOKEN": "LEAK"`,
		"sub/note.md":   "key sk-ant-api03-LEAKabcdefghijklmnop\n",
		"plain.json":    `{"theme": "dark"}`,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(from, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(redact bool) (files map[string]string, left []LeftOut) {
		dir := t.TempDir()
		to, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		c := seedCopy{to: to, ids: IDPlan{AgentUID: uint32(os.Getuid()), AgentGID: uint32(os.Getgid())}, redact: redact, origin: "x.hcl:3"}
		if err := c.copy(from, "app"); err != nil {
			t.Fatal(err)
		}
		files = map[string]string{}
		for _, name := range []string{"settings.json", "broken.json", "sub/note.md", "plain.json"} {
			if b, err := os.ReadFile(filepath.Join(dir, "app", name)); err == nil {
				files[name] = string(b)
			}
		}
		return files, c.left
	}
	files, left := read(true)
	if all := fmt.Sprint(files); strings.Contains(all, "LEAK") || !strings.Contains(files["settings.json"], "dark") || !strings.Contains(files["sub/note.md"], "key [redacted:") {
		t.Errorf("copied %q", files)
	}
	if _, there := files["broken.json"]; there {
		t.Error("a file that can't be understood was copied")
	}
	if files["plain.json"] != `{"theme": "dark"}` {
		t.Errorf("a file without credentials is %q", files["plain.json"])
	}
	slices.SortFunc(left, func(a, b LeftOut) int { return strings.Compare(a.Path, b.Path) })
	if text := fmt.Sprint(left); strings.Contains(text, "LEAK") || len(left) != 3 || left[0].Whole == "" || !slices.Equal(left[1].Places, []string{"env.MY_TOKEN"}) ||
		left[2].Path != "app/sub/note.md" || left[2].Origin != "x.hcl:3" {
		t.Errorf("left out %+v", left)
	}
	files, left = read(false)
	if len(left) != 0 || strings.Count(fmt.Sprint(files), "LEAK") != 3 {
		t.Errorf("an ordinary copy is %q, left out %v", files, left)
	}
}

// TestLeftOutFits: what is told fits into a message, whatever the names are.
func TestLeftOutFits(t *testing.T) {
	var left []LeftOut
	for range 1000 {
		l := LeftOut{Path: strings.Repeat("\x01", 500), Whole: strings.Repeat("\"", 500)}
		for range 100 {
			l.Places = append(l.Places, strings.Repeat("\x1b", 500))
		}
		left = append(left, l)
	}
	told := bounded(left)
	text, err := json.Marshal(message{Type: msgReady, LeftOut: told})
	if err != nil || len(text) > maxMessage/2 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if last := told[len(told)-1]; len(told) < 2 || last.Path != "" || last.More != len(left)-len(told)+1 {
		t.Errorf("%d are told, and %d more", len(told), last.More)
	}
}
