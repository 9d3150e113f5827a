package suite

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// root is the repository's folder.
const root = "../../.."

// TestCatalogue: every attack can be known by its mark, has something to say, and can
// fail.
func TestCatalogue(t *testing.T) {
	seen := map[string]bool{}
	check := func(a attacks.Attack) {
		if marks := attacks.Marks("x" + attacks.Mark(a.ID) + "y"); !slices.Equal(marks, []string{a.ID}) {
			t.Errorf("%q can't be known by its mark: %q", a.ID, marks)
		}
		if seen[a.ID] {
			t.Errorf("there are two attacks %q", a.ID)
		}
		seen[a.ID] = true
		if a.Line < 1 || a.Line > len(Lines()) || a.What == "" || a.Class == "" || len(a.Stopped) == 0 {
			t.Errorf("%q has no line, text, class or layer", a.ID)
		}
	}
	for _, a := range attacks.All() {
		check(a)
		if a.Try == nil || a.Without == 0 {
			t.Errorf("%q can't be tried", a.ID)
		}
		if a.Without&attacks.Looked == 0 && a.Look != nil || a.Without&(attacks.Looked|attacks.Inside) != 0 && a.Without&(attacks.Plain|attacks.Nested) != 0 {
			t.Errorf("%q is both looked for and tried without a jail", a.ID)
		}
		// Where the answer of an attack that worked is a layer's, something else must decide.
		if a.Layer("ok") != "" && !a.ByMark && a.Record == nil && !slices.Contains([]string{"signal-all", "exec-loader", "deep-tree", "artifacts-names"}, a.ID) {
			t.Errorf("%q can't fail: ok is an answer of %s", a.ID, a.Layer("ok"))
		}
	}
	for _, s := range scenarios() {
		check(s.Attack)
	}
}

// TestLines: every line of the list of escapes is tried by an attack or by a test that
// there is, or says what is not built.
func TestLines(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "dist") {
			if d != nil && d.IsDir() && err == nil {
				return filepath.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+|Fuzz\w+)\(`).FindAllStringSubmatch(string(data), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tried := map[int]bool{}
	for _, a := range attacks.All() {
		tried[a.Line] = true
	}
	for _, s := range scenarios() {
		tried[s.Line] = true
	}
	for i, l := range Lines() {
		if l.Number != i+1 || attacks.GroupOf(l.Number) == "?" {
			t.Errorf("line %d has the number %d", i+1, l.Number)
		}
		if !tried[l.Number] && len(l.Tests) == 0 && l.NotBuilt == "" {
			t.Errorf("line %d (%s) is tried by nothing", l.Number, l.Text)
		}
		for _, name := range l.Tests {
			if !tests[name] {
				t.Errorf("line %d names the test %s, which does not exist", l.Number, name)
			}
		}
	}
}

// TestLedger: docs/security.md has the list as it is.
func TestLedger(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "<!-- ledger -->\n")
	have, _, ok2 := strings.Cut(rest, "<!-- end of the ledger -->")
	if !ok || !ok2 {
		t.Fatal("docs/security.md has no ledger between its marks")
	}
	if have != Ledger() {
		t.Error("docs/security.md is not what `agentjail-attack ledger` prints; put that between the marks")
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args string
		want string // of the error
	}{
		{"--agentjail /x", ""},
		{"--list", ""},
		{"--agentjail /x --group a --group F --attack threads", ""},
		{"--agentjail /x --group K", `there is no group "K"`},
		{"--agentjail /x --group AB", `there is no group "AB"`},
		{"--agentjail /x --attack nonsense", `there is no attack "nonsense"`},
		{"--agentjail /x more", `"more" is more than`},
		{"--json", "no agentjail was named"},
		{"--nonsense", "not defined"},
	} {
		_, err := parse(strings.Fields(tt.args))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.want)
		}
	}
}

// TestDishonest: the stage's servers know an honest request, and see a mark wherever
// else it may be.
func TestDishonest(t *testing.T) {
	n := &network{secret: "ajsecret-0123"}
	mark := attacks.Mark("some-attack")
	for _, tt := range []struct {
		name, head, sni string
		secure, want    bool
	}{
		{"honest", "GET /allowed/" + mark + " HTTP/1.1\r\nHost: requests.attack.example\r\n\r\n", "requests.attack.example", true, false},
		{"honest, with the credential in its place", "GET /allowed/x HTTP/1.1\r\nHost: requests.attack.example\r\nX-Mark: " + mark + "\r\nX-Api-Key: ajsecret-0123\r\n\r\n", "requests.attack.example", true, false},
		{"the credential in another header", "GET /allowed/x HTTP/1.1\r\nHost: requests.attack.example\r\nX-Mark: " + mark + "\r\nX-Other: ajsecret-0123\r\n\r\n", "requests.attack.example", true, true},
		{"the credential twice", "GET /allowed/ajsecret-0123 HTTP/1.1\r\nHost: requests.attack.example\r\nX-Mark: " + mark + "\r\nX-Api-Key: ajsecret-0123\r\n\r\n", "requests.attack.example", true, true},
		{"the credential at another host", "GET /allowed/x HTTP/1.1\r\nHost: other.attack.example\r\nX-Mark: " + mark + "\r\nX-Api-Key: ajsecret-0123\r\n\r\n", "other.attack.example", true, true},
		{"another path", "GET /" + mark + " HTTP/1.1\r\nHost: requests.attack.example\r\n\r\n", "requests.attack.example", true, true},
		{"a path that climbs", "GET /allowed/../" + mark + " HTTP/1.1\r\nHost: requests.attack.example\r\n\r\n", "requests.attack.example", true, true},
		{"another method", "DELETE /allowed/" + mark + " HTTP/1.1\r\nHost: requests.attack.example\r\n\r\n", "requests.attack.example", true, true},
		{"no name in TLS", "GET /allowed/" + mark + " HTTP/1.1\r\nHost: requests.attack.example\r\n\r\n", "", true, true},
		{"another Host than in TLS", "GET /allowed/" + mark + " HTTP/1.1\r\nHost: evil.example\r\n\r\n", "requests.attack.example", true, true},
		{"a mark in a header", "GET /allowed/x HTTP/1.1\nHost: plain.attack.example\nX-Original-Url: /" + mark + "\n\n", "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := n.dishonest(parseRequest(tt.head), tt.head, tt.sni, tt.secure)
			if len(got) > 0 != tt.want {
				t.Errorf("%q, want a mark: %v", got, tt.want)
			}
		})
	}
}
