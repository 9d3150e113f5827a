package gate

import (
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/run/changes"
)

func file(mode changes.FileMode) *changes.FileState {
	return &changes.FileState{Type: changes.TypeFile, Mode: mode}
}

// reasons asks the gate about a file with an old and a new content; "" is none.
func reasons(t *testing.T, g *Gate, c *changes.Change, old, now string) string {
	t.Helper()
	give := func(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }
	return strings.Join(g.Reasons(c, give(old), give(now)), "; ")
}

func newGate(t *testing.T, extra ...Extra) *Gate {
	t.Helper()
	g, err := New(extra, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestHeldPaths is ESCAPES H 73 and the classes beside it: each path is held, in its
// root and deeper, and also when letters are written in the other case.
func TestHeldPaths(t *testing.T) {
	g := newGate(t)
	for _, name := range []string{
		".git/config", ".git/hooks/post-checkout", ".git/index", ".GIT/config", ".git /config", "git~1/config", ".g\u200cit/config", "vendor/x/.git", ".gitmodules", ".gitattributes",
		".envrc", ".vscode/settings.json", ".vscode/tasks.json", ".idea/workspace.xml", "x.code-workspace", ".claude/settings.json", ".claude/commands/x.md", ".cursor/mcp.json", ".cursorrules", ".mcp.json",
		"AGENTS.md", "CLAUDE.md", "GEMINI.md", ".github/copilot-instructions.md", ".codex/config.toml", ".gemini/settings.json", ".agentjail.hcl", ".agentjail/x",
		"Makefile", "GNUmakefile", "rules.mk", "CMakeLists.txt", "setup.py", "build.rs", "build.gradle", "build.gradle.kts", "gradlew", "gradle/wrapper/gradle-wrapper.jar", "pom.xml", "Justfile",
		".github/workflows/ci.yml", ".github/actions/x/action.yml", ".gitlab-ci.yml", ".circleci/config.yml", "Jenkinsfile", "azure-pipelines.yml",
		".pre-commit-config.yaml", ".husky/pre-commit", "lefthook.yml", "conftest.py", "x.pth", "sitecustomize.py", "venv/bin/activate", ".venv/bin/python3", "venv/pyvenv.cfg",
		".bashrc", ".profile", ".zshrc", ".config/fish/config.fish", ".ssh/authorized_keys", ".npmrc", ".yarnrc.yml", ".pnpmfile.cjs", ".cargo/config.toml", ".devcontainer/devcontainer.json", "docker-compose.yml",
		".exrc", ".dir-locals.el", "x.desktop", "flake.nix", ".tool-versions",
	} {
		for _, at := range []string{name, "sub/dir/" + name, strings.ToUpper(name)} {
			if reasons(t, g, &changes.Change{Path: at, After: file(0o644)}, "", "x\n") == "" {
				t.Errorf("%q is not held", at)
			}
		}
	}
}

func TestOrdinaryPathsPass(t *testing.T) {
	g := newGate(t)
	for _, name := range []string{"README.md", "src/main.go", "src/app.py", "index.js", "docs/agents/readme.md", "gitignore", ".gitignore", "git/config.go", "headline.txt", "head/x", "lib/config/x.json", "test_conf.py", "Dockerfile", "data.json", "image.png"} {
		if why := reasons(t, g, &changes.Change{Path: name, After: file(0o644)}, "", "text\n"); why != "" {
			t.Errorf("%q is held: %s", name, why)
		}
	}
}

func TestContent(t *testing.T) {
	g := newGate(t)
	tests := []struct {
		path, old, now string
		held           string // part of the reason; "" passes
	}{
		{"package.json", `{"name":"a"}`, `{"name":"a","version":"2"}`, ""},
		{"package.json", `{"name":"a"}`, `{"name":"a","scripts":{"postinstall":"x"}}`, `"scripts" changed`},
		{"package.json", `{"scripts":{"test":"a"}}`, `{"scripts":{"test":"b"}}`, `"scripts" changed`},
		{"package.json", `{"scripts":{"test":"a"}}`, `{"version":"2","scripts":{"test":"a"}}`, ""},
		{"package.json", `{}`, `{"dependencies":{"left-pad":"^1.0.0"}}`, ""},
		{"package.json", `{}`, `{"dependencies":{"left-pad":"git+ssh://evil.example/x"}}`, "elsewhere"},
		{"package.json", `{}`, `{"devDependencies":{"x":"user/repo"}}`, "elsewhere"},
		{"package.json", `{}`, `{"name":`, "can't be read"},
		{"package.json", `not json`, `{"scripts":{"test":"a"}}`, `"scripts" changed`},
		{"sub/package.json", "", `{"scripts":{"install":"x"}}`, `"scripts" changed`},
		{"pyproject.toml", "[project]\nname='a'\n", "[project]\nname='b'\n", ""},
		{"pyproject.toml", "[project]\n", "[project]\n[build-system]\nbuild-backend='evil'\n", "[build-system] changed"},
		{"pyproject.toml", "", " [ build-system ]\nrequires=['x']\n", "[build-system] changed"},
		{"pyproject.toml", "", "build-system.build-backend='evil'\n", "[build-system] changed"},
		{"pyproject.toml", "", "['build-system']\nx=1\n", "[build-system] changed"},
		{"pyproject.toml", "", "tool = { pytest = { ini_options = { addopts = '-p evil' } } }\n", "changed"},
		{"main.go", "package a\n", "package a\n//go:generate sh evil.sh\n", "go:generate"},
		{"main.go", "//go:generate x\n", "//go:generate x\npackage a\n", ""},
		{"HEAD", "", "ref: refs/heads/main\n", "reads like a HEAD"},
		{"deep/HEAD", "", strings.Repeat("a", 40) + "\n", "reads like a HEAD"},
		{"deep/config", "", "[core]\n\tfsmonitor = evil\n", "configuration of git"},
		{"deep/config", "", "[Include]\npath=x\n", "configuration of git"},
		{"deep/config", "", "color = blue\n", ""},
		{"package-lock.json", `"resolved": "https://a.example/x"`, `"resolved": "https://a.example/y"`, ""},
		{"package-lock.json", `"resolved": "https://a.example/x"`, `"resolved": "https://evil.example/x"`, "new: evil.example"},
		{"requirements-dev.txt", "requests\n", "requests\n--index-url http://evil.example/simple\n", "new: evil.example"},
		{"Cargo.lock", "", `source = "git+https://evil.example/x#1"`, "new: evil.example"},
		{"a.txt", "", "admin \u202e ⁦// check⁩\n", "direction of text"},
		{"a.txt", "\u202e\n", "\u202e\nmore\n", ""},
		{"a.txt", "", "hidden \U000E0041\n", "direction of text"},
		{"a.py", "", "def раssword(): pass\n", "look alike"}, // Cyrillic р and а
		{"a.py", "", "print('привет, мир')\n", ""},
		{"a.py", "", "x = 'naïve café Δx µs'\n", ""},
		{"a.env", "", "AWS_KEY=AKIAIOSFODNN7EXAMPLE\n", "credential"},
		{"a.txt", "", "token ghp_abcdefghijklmnopqrstuvwxyz0123456789\n", "credential"},
		{"bin.dat", "", "\x00AKIAIOSFODNN7EXAMPLE\n", ""},
	}
	for _, tt := range tests {
		why := reasons(t, g, &changes.Change{Path: tt.path, Before: file(0o644), After: file(0o644)}, tt.old, tt.now)
		if tt.held == "" && why != "" || tt.held != "" && !strings.Contains(why, tt.held) {
			t.Errorf("%s %q -> %q: %q, want %q", tt.path, tt.old, tt.now, why, tt.held)
		}
	}
}

func TestExecutablesAndSymlinks(t *testing.T) {
	g := newGate(t)
	link := func(target string) *changes.FileState {
		return &changes.FileState{Type: changes.TypeSymlink, Mode: 0o777, Target: target}
	}
	tests := []struct {
		c    changes.Change
		held string
	}{
		{changes.Change{Path: "x", After: file(0o755)}, "new executable"},
		{changes.Change{Path: "x", Before: file(0o644), After: file(0o645)}, "new executable"},
		{changes.Change{Path: "x", Before: file(0o755), After: file(0o755)}, ""},
		{changes.Change{Path: "x", Before: file(0o755)}, ""},
		{changes.Change{Path: "a/b/l", After: link("../c")}, ""},
		{changes.Change{Path: "a/b/l", After: link("../../c")}, ""},
		{changes.Change{Path: "a/b/l", After: link("../../../c")}, "out of the workspace"},
		{changes.Change{Path: "l", After: link("..")}, "out of the workspace"},
		{changes.Change{Path: "l", After: link("a/../../b")}, "out of the workspace"},
		{changes.Change{Path: "l", After: link("/etc/passwd")}, "out of the workspace, to /etc/passwd"},
		{changes.Change{Path: "l", After: link("/\x1b]0;x\a")}, "out of the workspace"},
		{changes.Change{Path: "l", After: link(".git/config")}, ".git folder"},
	}
	for _, tt := range tests {
		why := reasons(t, g, &tt.c, "", "")
		if tt.held == "" && why != "" || !strings.Contains(why, tt.held) || strings.ContainsRune(why, 0x1b) {
			t.Errorf("%+v: %q, want %q", tt.c, why, tt.held)
		}
	}
}

// TestUnreadIsHeld: what nobody looked into is not let through.
func TestUnreadIsHeld(t *testing.T) {
	g := newGate(t)
	fails := func() ([]byte, error) { return nil, strings.NewReader("").UnreadByte() }
	none := func() ([]byte, error) { return nil, nil }
	for _, name := range []string{"package.json", "anything.txt"} {
		c := &changes.Change{Path: name, After: file(0o644)}
		if len(g.Reasons(c, none, fails)) == 0 || len(g.Reasons(c, fails, none)) == 0 {
			t.Errorf("%s passes, though its content can't be read", name)
		}
	}
}

func TestProfileAddsToTheList(t *testing.T) {
	g := newGate(t, Extra{Pattern: "Deploy/**", Why: "it goes to production"})
	if why := reasons(t, g, &changes.Change{Path: "deploy/x", After: file(0o644)}, "", ""); why != "it goes to production" {
		t.Errorf("got %q", why)
	}
	if _, err := New([]Extra{{Pattern: "[", Why: "x"}}, nil); err == nil {
		t.Error("a pattern that is no glob was taken")
	}
}

// TestProfileAllows: an allow takes off what the path is held for, and neither what the
// content hides nor where a symlink leads; the profile's holds stand against it.
func TestProfileAllows(t *testing.T) {
	g, err := New([]Extra{{Pattern: "ci/secret/**", Why: "no"}}, func(p string) bool { return p == "Makefile" || strings.HasPrefix(p, "ci/") })
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, now string
		mode      changes.FileMode
		held      string
	}{
		{"Makefile", "all:\n", 0o644, ""},
		{"sub/Makefile", "all:\n", 0o644, "a build runs"},
		{"ci/run.sh", "x\n", 0o755, ""},
		{"ci/.git/config", "x\n", 0o644, ""},
		{"ci/x", "\u202e\n", 0o644, "direction of text"},
		{"ci/secret/x", "x\n", 0o644, "no"},
	} {
		why := reasons(t, g, &changes.Change{Path: tt.path, After: file(tt.mode)}, "", tt.now)
		if tt.held == "" && why != "" || !strings.Contains(why, tt.held) {
			t.Errorf("%s: %q, want %q", tt.path, why, tt.held)
		}
	}
	if why := reasons(t, g, &changes.Change{Path: "ci/l", After: &changes.FileState{Type: changes.TypeSymlink, Target: "/etc"}}, "", ""); why == "" {
		t.Error("a symlink out of the workspace passes")
	}
	if g.Protects("Makefile", false) != "" || g.Protects("ci/secret/x", false) == "" || g.Protects("sub/Makefile", false) == "" {
		t.Error("direct mode protects other paths than the profile says")
	}
}

// TestChangedInPlace: what the gate says of a file in the host's own folder is what its
// path does not tell; what it was is known of lock files alone, by what is remembered.
func TestChangedInPlace(t *testing.T) {
	g, err := New(nil, func(p string) bool { return strings.HasPrefix(p, "tool/") })
	if err != nil {
		t.Fatal(err)
	}
	lock := "\"https://a.example/x\" git+ssh://b.example/y https://[::1/z\n"
	for _, tt := range []struct {
		path, was, now string
		mode           changes.FileMode
		held           string
	}{
		{"Makefile", "", "all:\n", 0o644, ""},
		{"main.go", "", "package a\n", 0o644, ""},
		{"main.go", "", "//go:generate x\n", 0o644, "it has a go:generate line"},
		{"tool/main.go", "", "//go:generate x\n", 0o755, ""},
		{"tool/main.go", "", "\u202e", 0o644, "direction of text"},
		{"x", "", "", 0o755, "new executable"},
		{"go.mod", lock, lock, 0o644, ""},
		{"go.mod", lock, lock + "https://c.example/", 0o644, "new: c.example"},
		{"go.mod", "", lock, 0o644, "new: "},
	} {
		give := func(s string) func() ([]byte, error) { return func() ([]byte, error) { return []byte(s), nil } }
		old := ""
		if g.Compared(tt.path) {
			old = g.Remember(tt.was)
		}
		why := strings.Join(g.Content(&changes.Change{Path: tt.path, After: file(tt.mode)}, give(old), give(tt.now)), "; ")
		if tt.held == "" && why != "" || !strings.Contains(why, tt.held) {
			t.Errorf("%s %q: %q, want %q", tt.path, tt.now, why, tt.held)
		}
	}
	if !g.Asks("sub/X.GO") || !g.Asks("go.mod") || g.Asks("x.txt") || !g.Compared("Cargo.lock") || g.Compared("main.go") {
		t.Error("the names that rules are about are others")
	}
}

// TestProtects: what direct mode keeps as it is.
func TestProtects(t *testing.T) {
	g := newGate(t)
	for _, tt := range []struct {
		path   string
		folder bool
		want   bool
	}{
		{".git", true, true}, {"sub/.GIT", true, true}, {".git", false, true}, {".vscode", true, true}, {".github/workflows", true, true}, {".github", true, false},
		{".envrc", false, true}, {"package.json", false, true}, {"sub/pyproject.toml", false, true}, {"Makefile", false, true}, {"AGENTS.md", false, true}, {"venv/bin/activate", false, true},
		{"main.go", false, false}, {"package-lock.json", false, false}, {"head", false, false}, {"bare/HEAD", false, true}, {"HEAD", true, false}, {"config", false, false}, {"src", true, false}, {"targets", true, false}, {"build/configure", true, false},
		{"README.md", false, false},
	} {
		if got := g.Protects(tt.path, tt.folder) != ""; got != tt.want {
			t.Errorf("%s (folder %v): %v, want %v", tt.path, tt.folder, got, tt.want)
		}
	}
}

// TestBelow: a folder is looked into before it gets a name that makes something of what is
// in it.
func TestBelow(t *testing.T) {
	g := newGate(t, Extra{Pattern: "deploy/prod/**"}, Extra{Pattern: "conf/{a,b/c}"})
	for name, want := range map[string]bool{
		".github": true, "sub/.GitHub": true, ".config": true, "gradle": true, "bin": true, "venv/bin": true, "project": true, ".yarn": true, "deploy": true, "sub/deploy": true,
		"conf": true,
	} {
		if got := g.Below(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	g = newGate(t, Extra{Pattern: "deploy/prod/**"})
	for name, want := range map[string]bool{"src": false, "github": false, "bin/x": false, "node_modules/a": false, "deploy/x": false, "prod": false, "deploy/prod": true, "a/b/c": false} {
		if got := g.Below(name); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// TestEarly: each of these folders is one of the list, with all that is in it, but those
// that the profile allows.
func TestEarly(t *testing.T) {
	names := newGate(t).Early()
	if len(names) != len(early) {
		t.Errorf("of %q only %q are protected", early, names)
	}
	for _, name := range names {
		if !slices.ContainsFunc(rules(), func(r rule) bool { return slices.Contains(r.patterns, name+"/**") }) {
			t.Errorf("no rule is about all of %s", name)
		}
	}
	g, err := New(nil, func(p string) bool { return p == ".vscode" })
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Early(); len(got) != len(early)-1 || slices.Contains(got, ".vscode") {
		t.Errorf("with .vscode allowed: %q", got)
	}
}

// FuzzReasons: hostile contents make no check panic, and a file that is held stays
// held when text is added to it.
func FuzzReasons(f *testing.F) {
	f.Add("package.json", `{"a":1}`, `{"scripts":{}}`)
	f.Add("pyproject.toml", "[a]", "[build-system]")
	f.Add("go.mod", "", "https://[::1/x")
	g, err := New(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, old, now string) {
		reasons(t, g, &changes.Change{Path: name, Before: file(0o644), After: file(0o644)}, old, now)
		if reasons(t, g, &changes.Change{Path: name + "/.git/config", After: file(0o644)}, old, now) == "" {
			t.Errorf("%q in a .git folder passes", name)
		}
	})
}

// BenchmarkProtects: an agent that creates a file waits for it.
func BenchmarkProtects(b *testing.B) {
	g, err := New(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		g.Protects("src/deep/er/component.test.js", false)
	}
}
