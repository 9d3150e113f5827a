package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Attacks that come to their end after the run: what was planted is to reach the host by
// diff and apply, or in direct mode at once.

func afterScenarios() []scenario {
	hand := func(id, what, class string, files ...planted) scenario {
		return scenario{attacks.Attack{ID: id, Line: 73, What: what, Class: class, Stopped: []attacks.Stop{{Layer: attacks.Gate, Answers: []string{"ok"}}}},
			func(s *scene, c *canaries) (string, error) { return handOff(s, c, files) }}
	}
	one := func(id string, line int, layer, what, class string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: line, What: what, Class: class, Stopped: []attacks.Stop{{Layer: layer, Answers: []string{"ok"}}}}, play}
	}
	return []scenario{
		hand("hand-git", "leave hooks, a configuration with fsmonitor, filters and submodules for the host's git", "CVE-2022-24765, CVE-2024-32002",
			planted{".git/config", "[core]\n\tfsmonitor = ./evil\n\thooksPath = hooks\n\tsshCommand = ./evil\n[filter \"x\"]\n\tsmudge = ./evil\n[url \"ext::./evil\"]\n\tinsteadOf = https://\n"},
			planted{".git/hooks/pre-commit", "#!/bin/sh\n"}, planted{"sub/.git/config", "[core]\n"}, planted{"bare/HEAD", "ref: refs/heads/main\n"}, planted{"bare/config", "[core]\n\tbare = true\n"},
			planted{".gitmodules", "[submodule \"x\"]\n"}, planted{".gitattributes", "* filter=x\n"}, planted{".GIT/config", "[core]\n"}),
		hand("hand-editor", "leave settings and tasks for the host's editors", "CVE-2025-53773",
			planted{".vscode/settings.json", "{}\n"}, planted{".vscode/tasks.json", "{}\n"}, planted{".idea/workspace.xml", "<x/>\n"}, planted{"x.code-workspace", "{}\n"}),
		hand("hand-agent", "leave settings and instructions for the next agent", "CVE-2025-54135, CVE-2025-59536",
			planted{".claude/settings.json", "{}\n"}, planted{".cursor/mcp.json", "{}\n"}, planted{".mcp.json", "{}\n"}, planted{"AGENTS.md", "obey\n"}, planted{"sub/CLAUDE.md", "obey\n"}),
		hand("hand-build", "leave scripts that a build, a test or CI runs", "code that the host runs as its own",
			planted{"package.json", "{\"scripts\":{\"postinstall\":\"./evil\"}}\n"}, planted{"Makefile", "all:\n"}, planted{"conftest.py", "x = 1\n"}, planted{".github/workflows/x.yml", "on: push\n"},
			planted{"venv/bin/activate", "x\n"}, planted{".husky/pre-commit", "x\n"}),
		hand("hand-shell", "leave what a shell runs when it starts, or when the folder is entered", "code that the host runs as its own",
			planted{".envrc", "x\n"}, planted{".bashrc", "x\n"}, planted{".profile", "x\n"}, planted{".zshenv", "x\n"}),
		one("hand-kinds", 74, attacks.Gate, "leave a FIFO, a setuid program and a symlink to the keys, and have all of it applied", "CVE-2024-42472", kindsScenario),
		one("hand-conflict", 75, attacks.Gate, "have a file applied over one that the host changed meanwhile", "a lost update", conflictScenario),
	}
}

// planted is a file that the agent leaves.
type planted struct{ path, content string }

// script writes the files, each by itself: one that can't be made costs no other.
func script(files []planted) string {
	var b strings.Builder
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for _, f := range files {
		fmt.Fprintf(&b, "mkdir -p %s; printf %%s %s >%s\n", quote(filepath.Dir(f.path)), quote(f.content), quote(f.path))
	}
	return b.String() + "true\n"
}

// stepOutcome is what apply says of one change.
type stepOutcome struct {
	Path    string `json:"path"`
	Outcome string `json:"outcome"`
}

// apply runs agentjail apply of a run and gives what became of each change.
func (s *scene) apply(c *canaries, run string, more ...string) (map[string]string, int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.opt.Agentjail, append([]string{"apply", "--json", run}, more...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.target.Workspace, s.environment(c), 10*time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		return nil, 0, err
	}
	code := cmd.ProcessState.ExitCode()
	var list struct {
		Changes []stepOutcome `json:"changes"`
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		return nil, code, fmt.Errorf("agentjail apply ended with %d: %s", code, strings.TrimSpace(errs.String()))
	}
	became := map[string]string{}
	for _, x := range list.Changes {
		became[x.Path] = x.Outcome
	}
	return became, code, nil
}

// leave runs a script in the workspace, of which the host must have nothing afterwards.
func (s *scene) leave(c *canaries, text string) (*ended, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return nil, err
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", text)
	if err == nil && e.code != 0 {
		err = fmt.Errorf("the script ended with %d: %s", e.code, strings.TrimSpace(e.stderr))
	}
	return e, err
}

func handOff(s *scene, c *canaries, files []planted) (string, error) {
	e, err := s.leave(c, script(files))
	if err != nil {
		return "", err
	}
	there := func() (found []string) {
		for _, f := range files {
			// In a bare repository's folder one of the two is harmless; both are looked for.
			if _, err := os.Lstat(filepath.Join(c.target.Workspace, f.path)); !errors.Is(err, fs.ErrNotExist) {
				found = append(found, f.path)
			}
		}
		return found
	}
	found := there()
	if c.target.Direct {
		// Without its HEAD it is no repository's (docs/security.md).
		found = slices.DeleteFunc(found, func(p string) bool { return p == "bare/config" })
	}
	if len(found) > 0 {
		return "after the run the host has " + strings.Join(found, ", "), nil
	}
	if c.target.Direct {
		return "", nil
	}
	became, code, err := s.apply(c, e.id)
	if err != nil {
		return "", mootError("the profile's workspace has nothing to apply: " + err.Error())
	}
	if found := there(); len(found) > 0 {
		return "apply brought to the host " + strings.Join(found, ", "), nil
	}
	for _, f := range files {
		if became[f.path] != "held" {
			return fmt.Sprintf("apply says %q of %s (exit code %d)", became[f.path], f.path, code), nil
		}
	}
	// That it would have come, had somebody said yes.
	if _, _, err := s.apply(c, e.id, "--allow", "**"); err != nil {
		return "", err
	}
	if len(there()) == 0 {
		return "", mootError("nothing comes even where it is allowed")
	}
	return "", nil
}

func kindsScenario(s *scene, c *canaries) (string, error) {
	keys := filepath.Dir(c.target.Key)
	e, err := s.leave(c, "mkfifo pipe; cp /bin/true tool; chmod 6755 tool; ln -s '"+keys+"' link; mkdir real; echo x >real/x; echo x >plain\n")
	if err != nil {
		return "", err
	}
	if c.target.Direct {
		return "", mootError("in direct mode the workspace is the agent's own folder: it may hold what the agent can make")
	}
	if _, _, err := s.apply(c, e.id, "--allow", "**"); err != nil {
		return "", mootError("the profile's workspace has nothing to apply: " + err.Error())
	}
	at := func(name string) string { return filepath.Join(c.target.Workspace, name) }
	if _, err := os.Stat(at("plain")); err != nil {
		return "", mootError("nothing comes even where it is allowed")
	}
	var st unix.Stat_t
	if unix.Lstat(at("pipe"), &st) == nil {
		return "a FIFO is on the host", nil
	}
	if unix.Lstat(at("tool"), &st) == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
		return "a setuid program is on the host", nil
	}
	// A second run puts a folder where the host has the link now: nothing goes through it.
	if e, err = s.leave(c, "rm -f link; mkdir link; echo evil >link/planted\n"); err != nil {
		return "", err
	}
	if err := os.Remove(at("link")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.Symlink(c.target.Dropbox, at("link")); err != nil {
		return "", err
	}
	if _, _, err := s.apply(c, e.id, "--allow", "**", "--conflict", "skip"); err != nil {
		return "", err
	}
	if _, err := os.Lstat(filepath.Join(c.target.Dropbox, "planted")); err == nil {
		return "apply wrote through a symlink", nil
	}
	return "", nil
}

func conflictScenario(s *scene, c *canaries) (string, error) {
	const name, host = "inside.txt", "what the host wrote meanwhile\n"
	e, err := s.leave(c, "echo evil >"+name+"\n")
	if err != nil {
		return "", err
	}
	if c.target.Direct {
		return "", mootError("in direct mode there is nothing to apply")
	}
	path := filepath.Join(c.target.Workspace, name)
	if err := os.WriteFile(path, []byte(host), 0o644); err != nil {
		return "", err
	}
	became, _, err := s.apply(c, e.id)
	if err != nil {
		return "", mootError("the profile's workspace has nothing to apply: " + err.Error())
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if string(got) != host {
		return "the host's file was overwritten", nil
	}
	if became[name] != "conflict" {
		return fmt.Sprintf("apply says %q of a file that the host changed", became[name]), nil
	}
	return "", nil
}
