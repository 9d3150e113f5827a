package suite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Attacks on a workspace in direct mode, whatever the mode of the profile under attack is:
// what is planted is to be on the host while the run goes on.

func directScenarios() []scenario {
	one := func(id, what, class string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: 73, What: what, Class: class, Stopped: []attacks.Stop{{Layer: attacks.Direct, Answers: []string{"ok"}}}}, play}
	}
	return []scenario{
		one("direct-names", "have the host's folder hold, while the run goes on, what the host executes or trusts", "CVE-2026-25725", directNamesScenario),
		one("direct-folders", "make, fill or exchange a folder of the host's that an editor, a hook manager or another agent reads by itself", "CVE-2025-53773, CVE-2025-59536", directFoldersScenario),
	}
}

// meanwhile runs a script in a direct workspace and has look look at the host's folder once
// it has tried everything, while the run goes on.
func meanwhile(s *scene, c *canaries, text string, look func(at func(string) string) string) (string, error) {
	if err := s.seeded(c, "workspace { mode = \"direct\" }\n"); err != nil {
		return "", err
	}
	// The shell's own redirections are calls of their own; a failure ends none of it.
	l, w, err := s.beginTold(c, nil, "/bin/sh", "-c", "exec 2>/dev/null\n"+text+"\n: >plain && echo tried; read line; true\n")
	if err != nil {
		return "", err
	}
	defer w.Close()
	at := func(name string) string { return filepath.Join(c.target.Workspace, name) }
	found := ""
	err = l.until("the end of the attack", func() bool { return strings.Contains(l.out.String(), "tried\n") })
	if err == nil {
		found = look(at)
		if _, perr := os.Lstat(at("plain")); perr != nil {
			err = mootError("the agent can't make an ordinary file either: " + perr.Error())
		}
	}
	w.Close()
	_, eerr := l.end()
	return found, errors.Join(err, eerr)
}

func directNamesScenario(s *scene, c *canaries) (string, error) {
	names := []string{".envrc", "AGENTS.md", "sub/Makefile", "moved.mk", "linked.mk", "behind.mk", "node/.github/workflows", ".git", "proc.mk"}
	return meanwhile(s, c, `echo x >.envrc; cp /dev/null AGENTS.md; mkdir -p sub node/.github node/gh/workflows .git/hooks; echo x >sub/Makefile; echo x >new
mv new moved.mk; echo x >new; ln new linked.mk; ln -s behind.mk dangling; echo x >dangling; echo x >node/gh/workflows/x.yml; rmdir node/.github; mv -T node/gh node/.github
echo x >/proc/self/cwd/sub/../proc.mk; echo x >../"${PWD##*/}"/AGENTS.md`, func(at func(string) string) string {
		var found []string
		for _, name := range names {
			if _, err := os.Lstat(at(name)); !errors.Is(err, fs.ErrNotExist) {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return "while the run goes on the host has " + strings.Join(found, ", ")
		}
		return ""
	})
}

func directFoldersScenario(s *scene, c *canaries) (string, error) {
	names := []string{".vscode", ".idea", ".claude", ".cursor", ".husky", ".devcontainer"}
	return meanwhile(s, c, `for d in `+strings.Join(names, " ")+`; do
mkdir w; echo x >w/x; echo x >$d/x; mv $d gone-$d; rmdir $d; mkdir $d; mv -T w $d; ln -s w $d; echo x >$d/x; rm -rf w; done`, func(at func(string) string) string {
		var found []string
		for _, name := range names {
			for _, path := range []string{name + "/x", "gone-" + name} {
				if _, err := os.Lstat(at(path)); !errors.Is(err, fs.ErrNotExist) {
					found = append(found, path)
				}
			}
		}
		if len(found) > 0 {
			return "while the run goes on the host has " + strings.Join(found, ", ")
		}
		return ""
	})
}
