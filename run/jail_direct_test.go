package run_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

// direct is a profile in direct mode, with what it says of the gate.
func direct(apply string) string {
	return "workspace {\n mode = \"direct\"\n}\n" + apply
}

// TestJailDirectProtects: what the host executes or trusts can't be written, replaced,
// removed or renamed, by any way that the shell has; what lies beside it can.
func TestJailDirectProtects(t *testing.T) {
	c := newCaller(t, direct(""))
	was := map[string]string{".git/config": "[core]\n", ".git/hooks/pre-commit": "#!/bin/sh\n", ".envrc": "x\n", ".vscode/settings.json": "{}\n",
		"package.json": "{}\n", "sub/Makefile": "all:\n", "sub/.github/workflows/ci.yml": "on: push\n", "docs/rules.md": "be kind\n"}
	for name, content := range was {
		c.write(name, content)
	}
	// A symlink that is trusted protects what it leads to.
	if err := os.Symlink("docs/rules.md", filepath.Join(c.workspace, "AGENTS.md")); err != nil {
		t.Fatal(err)
	}
	c.write("main.go", "package main\n")
	o := c.must("sh", "-c", `
exec 2>/dev/null
for f in .git/config .git/hooks/pre-commit .envrc .vscode/settings.json package.json sub/Makefile sub/.github/workflows/ci.yml docs/rules.md AGENTS.md; do
  (echo evil >$f) && echo "wrote $f"
  (echo evil >>$f) && echo "appended $f"
  rm -f $f; [ -L $f ] || [ -e $f ] || [ $f = AGENTS.md ] || echo "removed $f"
  mv $f moved && echo "renamed $f"
  echo evil >new; mv -f new $f && [ "$f" != AGENTS.md ] && echo "replaced $f"
  ln -f new $f && [ "$f" != AGENTS.md ] && echo "linked over $f"
  chmod 777 $f && [ "$f" != AGENTS.md ] && echo "chmod $f"
  rm -f new moved
done
mkdir .git/hooks/x && echo "made a folder in .git"
echo x >.git/hooks/post-checkout && echo "made a hook"
mv .git git2 && echo "renamed .git"
rm -rf .vscode; [ -d .vscode ] || echo "removed .vscode"
echo 'package x' >main.go && echo wrote-main
cat .envrc`)
	if o.stdout != "wrote-main\nx\n" {
		t.Errorf("the agent could: %q", o.stdout)
	}
	if got, err := os.Readlink(filepath.Join(c.workspace, "AGENTS.md")); err != nil || got != "docs/rules.md" {
		t.Errorf("AGENTS.md on the host: %q %v", got, err)
	}
	for name, content := range was {
		if got, err := os.ReadFile(filepath.Join(c.workspace, name)); err != nil || string(got) != content {
			t.Errorf("%s on the host: %q %v", name, got, err)
		}
	}
	wantEvent(t, o.events(), "the gate among the layers", func(v audit.View, e audit.Event) bool {
		return v.Kind == "start" && strings.Contains(string(e.Raw), "that the host executes or trusts are read-only")
	})
}

// TestJailDirectTakesOut: what was not there and was made all the same is taken out before
// the run returns, with its content kept, and the trail says so; what is no concern of the
// gate's stays. That it is made takes a race, which TestJailDirectEarly wins; here nobody is
// asked about names, and no folder stands for what is missing.
func TestJailDirectTakesOut(t *testing.T) {
	c := newCaller(t, direct(""))
	c.without("naming,early")
	c.write("sub/.vscode/settings.json", "{}\n")
	if err := os.Symlink("elsewhere", filepath.Join(c.workspace, ".envrc")); err != nil {
		t.Fatal(err)
	}
	o := c.must("sh", "-c", `
mkdir -p .git/hooks node/x .idea a/b
printf '#!/bin/sh\n' >.git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit
echo evil >node/x/Makefile
ln -s /etc/passwd .idea/link
echo '{"scripts":{"postinstall":"evil"}}' >a/b/package.json
mkdir w; echo x >w/settings; mv w .zed
rm .envrc; echo evil >.envrc
mv sub moved; mkdir -p sub/.vscode; echo evil >sub/.vscode/tasks.json
echo fine >a/b/index.js
mkdir .husky; echo x >.husky/pre-commit; chmod 000 .husky
mkdir -p shut/shut; echo x >shut/shut/Makefile; chmod 000 shut/shut; chmod 000 shut`)
	for _, name := range []string{"shut", "shut/shut"} {
		if err := os.Chmod(filepath.Join(c.workspace, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".git", "node/x/Makefile", ".idea", "a/b/package.json", ".zed", "sub/.vscode", ".husky", "shut/shut/Makefile"} {
		if _, err := os.Lstat(filepath.Join(c.workspace, name)); !os.IsNotExist(err) {
			t.Errorf("%s is on the host: %v", name, err)
		}
	}
	if got, err := os.Readlink(filepath.Join(c.workspace, ".envrc")); err != nil || got != "elsewhere" {
		t.Errorf(".envrc on the host: %q %v", got, err)
	}
	for name, want := range map[string]string{"a/b/index.js": "fine\n", "moved/.vscode/settings.json": "{}\n"} {
		if got, err := os.ReadFile(filepath.Join(c.workspace, name)); err != nil || string(got) != want {
			t.Errorf("%s on the host: %q %v", name, got, err)
		}
	}
	if !strings.Contains(o.stderr, "taken out of the workspace") {
		t.Errorf("nobody is told: %s", o.stderr)
	}
	data, err := os.ReadFile(filepath.Join(o.status.State, "taken", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Files []struct{ Path, Stored, SHA256 string } `json:"files"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, f := range m.Files {
		kept[f.Path] = f.SHA256 != ""
	}
	for _, name := range []string{".git/hooks/pre-commit", "node/x/Makefile", "a/b/package.json", ".zed/settings", ".envrc", "sub/.vscode/tasks.json"} {
		if !kept[name] {
			t.Errorf("%s is not kept: %s", name, data)
		}
	}
	for _, name := range []string{".git", "a/b/package.json"} {
		wantEvent(t, o.events(), name, func(v audit.View, e audit.Event) bool {
			return v.Kind == "finding" && strings.HasSuffix(v.Target, ": "+name) && v.Verdict == "blocked"
		})
	}
}

// TestJailDirectProfile: the profile adds to the gate and lets through of it.
func TestJailDirectProfile(t *testing.T) {
	c := newCaller(t, direct(`apply {
  allow "Makefile" { reason = "the agent keeps it" }
  allow "ci/**" { reason = "the agent keeps it" }
  hold "deploy/**" { reason = "it goes to production" }
}
`))
	c.write("Makefile", "all:\n")
	c.write("deploy/run", "x\n")
	o := c.must("sh", "-c", `echo new >Makefile; mkdir -p ci/.github/workflows; echo x >ci/.github/workflows/x.yml
(echo evil >deploy/run) 2>/dev/null && echo wrote; mkdir -p sub/deploy && echo x >sub/deploy/y; true`)
	if o.stdout != "" {
		t.Errorf("the agent could: %q", o.stdout)
	}
	for name, want := range map[string]string{"Makefile": "new\n", "ci/.github/workflows/x.yml": "x\n", "deploy/run": "x\n"} {
		if got, err := os.ReadFile(filepath.Join(c.workspace, name)); err != nil || string(got) != want {
			t.Errorf("%s on the host: %q %v", name, got, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(c.workspace, "sub/deploy")); !os.IsNotExist(err) {
		t.Errorf("sub/deploy is on the host: %v", err)
	}
}
