package run

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
)

// TestNamesJudge: a name is refused for itself, for a folder above it, and for what is in a
// folder that gets it.
func TestNamesJudge(t *testing.T) {
	workspace := t.TempDir()
	for _, dir := range []string{"plain/src", "ci/workflows", "ci/docs", "env/bin", "old/.github/workflows", "allowed/.vscode", "big"} {
		if err := os.MkdirAll(filepath.Join(workspace, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"env/bin/tool", "env/bin/activate.fish"} {
		if err := os.WriteFile(filepath.Join(workspace, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	judge := func(g *directGuard, n jail.Naming) string {
		if n.From != "" {
			f, err := os.Open(filepath.Join(workspace, n.From))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			n.Source, n.Dir = f, true
		}
		return g.names.judge(n)
	}
	for _, allow := range []bool{false, true} {
		spec := &profiles.Spec{}
		if allow {
			spec.Apply.Allow = []profiles.HandOff{{Pattern: "allowed/**"}}
		}
		g, err := guardDirect(spec, workspace)
		if err != nil {
			t.Fatal(err)
		}
		g.early = []string{".claude"}
		for _, tt := range []struct {
			n    jail.Naming
			want string // a part of the reason
		}{
			{jail.Naming{Path: "main.go"}, ""},
			{jail.Naming{Path: "src", Dir: true}, ""},
			{jail.Naming{Path: ".envrc"}, "when the folder is entered"},
			{jail.Naming{Path: "a/b/.git", Dir: true}, "git runs hooks"},
			{jail.Naming{Path: "a/.git/hooks/x"}, "git runs hooks"},
			{jail.Naming{Path: "a/.git/hooks/x", ReadOnly: true}, ""},
			{jail.Naming{Path: ".claude/settings.json", ReadOnly: true}, "next agent"},
			{jail.Naming{Path: "Makefile", Dir: true}, ""},
			{jail.Naming{Path: "Makefile"}, "a build runs"},
			{jail.Naming{Path: ".github", Dir: true}, ""},
			{jail.Naming{Path: ".github", From: "plain"}, ""},
			{jail.Naming{Path: ".github", From: "ci"}, "workflows in it: CI runs it"},
			{jail.Naming{Path: "moved", From: "ci"}, ""},
			{jail.Naming{Path: "bin", From: "env/bin"}, ""}, // as it was
			{jail.Naming{Path: "scripts", From: "env"}, ""},
			{jail.Naming{Path: "renamed", From: "old"}, ""},
			{jail.Naming{Path: ".github", From: "gone-closed", Dir: true}, "can't be looked at"},
			{jail.Naming{Path: "allowed/.vscode", Dir: true}, map[bool]string{false: "an editor", true: ""}[allow]},
			{jail.Naming{Path: "elsewhere", From: "allowed"}, map[bool]string{false: "", true: ".vscode in it: an editor"}[allow]},
		} {
			var why string
			if tt.n.From == "gone-closed" {
				why = g.names.judge(tt.n)
			} else {
				why = judge(g, tt.n)
			}
			if tt.want == "" && why != "" || !strings.Contains(why, tt.want) {
				t.Errorf("%+v (allow %v): %q, want %q", tt.n, allow, why, tt.want)
			}
		}
	}
	g, err := guardDirect(&profiles.Spec{}, workspace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxJudged {
		g.names.judge(jail.Naming{Path: "d" + strings.Repeat("x", i%50) + "/" + string(rune('a'+i%26)) + "/" + strings.Repeat("y", i/50) + "/f"})
	}
	if len(g.names.folders) > maxJudged {
		t.Errorf("%d folders are remembered", len(g.names.folders))
	}
}

// TestEarlyFolders: they are made by another name first, and whenever the run is killed all
// that are empty go, and nothing else.
func TestEarlyFolders(t *testing.T) {
	newSession := func() (*session, string) {
		workspace, state := t.TempDir(), t.TempDir()
		g, err := guardDirect(&profiles.Spec{}, workspace)
		if err != nil {
			t.Fatal(err)
		}
		return &session{id: "20260101-000000-abcdef01", state: state, direct: g}, workspace
	}
	list := func(workspace string) (names []string) {
		entries, err := os.ReadDir(workspace)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	remove := func(s *session) {
		t.Helper()
		if _, err := removeEarly(s.state); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(s.state, fileEarly)); !os.IsNotExist(err) {
			t.Errorf("the record is left: %v", err)
		}
	}

	s, workspace := newSession()
	if err := os.WriteFile(filepath.Join(workspace, ".idea"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.holdEarly(workspace); err != nil {
		t.Fatal(err)
	}
	if got, want := list(workspace), s.direct.gate.Early(); !slices.Equal(got, want) {
		t.Errorf("the workspace has %q, want %q", got, want)
	}
	if slices.Contains(s.direct.early, ".idea") || len(s.direct.early) != len(s.direct.gate.Early())-1 || len(s.direct.protected) != len(s.direct.early) {
		t.Errorf("held are %q, protected %d", s.direct.early, len(s.direct.protected))
	}
	// One got something from the host, one is another folder by now, one is gone.
	if err := os.WriteFile(filepath.Join(workspace, ".claude/x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(workspace, ".zed"), filepath.Join(workspace, "mine")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(workspace, ".zed"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(workspace, ".vs")); err != nil {
		t.Fatal(err)
	}
	remove(s)
	if got, want := list(workspace), []string{".claude", ".idea", ".zed", "mine"}; !slices.Equal(got, want) {
		t.Errorf("afterwards it has %q, want %q", got, want)
	}

	// Killed after each of the steps: before any is made, before all are, before they have
	// their names, before all have.
	for step := range 4 {
		s, workspace := newSession()
		if err := s.holdEarly(workspace); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(s.state, fileEarly))
		if err != nil {
			t.Fatal(err)
		}
		var e earlyFolders
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		for i, name := range e.Names {
			path := filepath.Join(workspace, name)
			if step == 0 || step == 1 && i%2 == 0 {
				err = os.Remove(path)
			} else if step < 3 || i%2 == 0 {
				err = os.Rename(path, filepath.Join(workspace, e.first(i)))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if step < 2 {
			e.Made = nil
			if err := writeEarly(s.state, &e); err != nil {
				t.Fatal(err)
			}
			// With no record of its own, an empty folder of the final name is the host's.
			if err := os.Mkdir(filepath.Join(workspace, ".vscode"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		remove(s)
		want := 0
		if step < 2 {
			want = 1
		}
		if got := list(workspace); len(got) != want {
			t.Errorf("killed at step %d the workspace has %q", step, got)
		}
	}

	// Where it can't be written to that is told, and no error.
	if os.Geteuid() != 0 {
		s, workspace := newSession()
		if err := os.Chmod(workspace, 0o500); err != nil {
			t.Fatal(err)
		}
		if err := s.holdEarly(workspace); err != nil || s.direct.notEarly == nil || len(s.direct.early) > 0 {
			t.Errorf("in a closed workspace: %v, %v, %q", err, s.direct.notEarly, s.direct.early)
		}
		if text := s.direct.layer(&jail.Plan{}).Detail; !strings.Contains(text, "not all of those could be made: mkdirat: permission denied") {
			t.Errorf("it is not told: %s", text)
		}
		if err := os.Chmod(workspace, 0o700); err != nil {
			t.Fatal(err)
		}
		remove(s)
	}

	// Another folder in the workspace's place, and none.
	s, workspace = newSession()
	if err := s.holdEarly(workspace); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(workspace, workspace+"-moved"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkdir(workspace, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(workspace, ".vscode"), 0o700); err != nil {
		t.Fatal(err)
	}
	remove(s)
	if got := list(workspace); !slices.Equal(got, []string{".vscode"}) {
		t.Errorf("another workspace has %q", got)
	}
}

// TestGateLayer: a profile that opens io_uring is said to be held less.
func TestGateLayer(t *testing.T) {
	g, err := guardDirect(&profiles.Spec{}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if l := g.layer(&jail.Plan{}); l.State != "enforced" {
		t.Errorf("%+v", l)
	}
	if l := g.layer(&jail.Plan{Syscalls: []string{"io_uring_enter", "io_uring_setup"}}); l.State != "degraded" || !strings.Contains(l.Detail, "io_uring_setup") {
		t.Errorf("%+v", l)
	}
}
