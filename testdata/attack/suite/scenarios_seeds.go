package suite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// The settings of a seed, with a credential that neither leaves nor is in a file of its
// own. It is one of no service.
const seedCredential = "ajseed-4f1c0e9a7b2d4c58"

// seedScenarios attack the host's files by what the agent's home folder begins with.
func seedScenarios() []scenario {
	one := func(id, what, class string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: 78, What: what, Class: class, Stopped: []attacks.Stop{{Layer: attacks.Seeds, Answers: []string{"ok"}}}}, play}
	}
	var list []scenario
	for _, mode := range []string{"copy", "overlay", "readonly"} {
		list = append(list, one("seed-"+mode, "change the host's own files by a seed of the mode "+mode, "changes that nobody has looked at",
			func(s *scene, c *canaries) (string, error) { return seedWriteScenario(s, c, mode) }))
	}
	return append(list,
		one("seed-links", "reach what a seed's symlinks lead to on the host", "CVE-2024-42472, CVE-2026-39861", seedLinksScenario),
		one("seed-denied", "find in a seed what the profile denies or hides", "CVE-2026-25724: an alias of what is denied", seedDeniedScenario),
		one("seed-credentials", "find in the copy of settings a credential that was to be left out", "a credential in reach", seedCredentialsScenario),
	)
}

// seed makes the folder that is seeded, and gives its path.
func seed(c *canaries) (string, error) {
	dir := filepath.Join(c.dir, "home", "app")
	for _, d := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "denied")} {
		if err := makeDir(d, 0o777); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{
		"settings.json": fmt.Sprintf("{\"theme\": \"dark\", \"env\": {\"TRACKER_TOKEN\": %q}}\n", seedCredential),
		"settings.toml": fmt.Sprintf("theme = \"dark\"\n[tracker]\napi_key = %q\n", seedCredential),
		"settings.yaml": fmt.Sprintf("theme: dark\ntracker:\n  password: %s\n", seedCredential),
		"sub/notes":     "notes\n",
		"denied/notes":  "denied notes\n",
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(text), 0o666), os.Chmod(path, 0o666)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// seeded writes a profile that stands on the one under attack.
func (s *scene) seeded(c *canaries, more string) error {
	return s.writeProfile(c, fmt.Sprintf("extends = [%q]\n%s", s.opt.Profile, more))
}

// seedWrites is what an agent may try with a file and a folder of its home, in $S.
const seedWrites = `cd "$S" || exit
(echo evil >>settings.json) 2>/dev/null; (echo evil >sub/new) 2>/dev/null; chmod 4777 settings.yaml 2>/dev/null; touch -d 2001-01-01 settings.yaml 2>/dev/null
mv settings.toml moved 2>/dev/null; ln settings.yaml linked 2>/dev/null; ln -s /etc sub/etc 2>/dev/null; rm -rf denied 2>/dev/null; echo tried`

func seedWriteScenario(s *scene, c *canaries, mode string) (string, error) {
	dir, err := seed(c)
	if err != nil {
		return "", err
	}
	if err := s.seeded(c, "process { env = { S = \"/home/agent/.app\" } }\n"+
		fmt.Sprintf("files {\n  home \".app\" {\n    from = %q\n    mode = %q\n  }\n}\n", dir, mode)); err != nil {
		return "", err
	}
	before, err := treeState(dir)
	if err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", "[ -e \"$S/sub/notes\" ] && echo there; "+seedWrites)
	switch {
	case err != nil:
		return "", err
	case e.code == 125 && strings.Contains(e.stderr, "before Linux 6.6"):
		return "", mootError("this kernel has no overlay for a seed, and the run is refused")
	case e.stdout != "there\ntried\n":
		return "", fmt.Errorf("the attack did not come to its end: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
	}
	after, err := treeState(dir)
	if err != nil {
		return "", err
	}
	if after != before {
		return "the host's files are not what they were: " + after, nil
	}
	// The same without a jail, so that it is known that they can be changed.
	if _, err := s.script(c, "S="+dir, seedWrites); err != nil {
		return "", err
	}
	if after, err = treeState(dir); err != nil || after == before {
		return "", mootError(fmt.Sprintf("without a jail nothing changes either (%v)", err))
	}
	return "", nil
}

// treeState is what a folder's files are like, below it too.
func treeState(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		state := "folder"
		if d.Type().IsRegular() {
			if state, err = fileState(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%s: %s; ", strings.TrimPrefix(path, dir), state)
		return nil
	})
	return b.String(), err
}

func seedLinksScenario(s *scene, c *canaries) (string, error) {
	dir, err := seed(c)
	if err != nil {
		return "", err
	}
	keys := filepath.Dir(c.target.Key)
	for name, to := range map[string]string{"key": c.target.Key, "outside": c.target.Outside, "up": "../../" + filepath.Base(c.target.Outside), "folder": keys, "sub/home": "../../.ssh", "proc": "/proc/self/root" + c.target.Key} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	const take = `cd "$S" || exit; for f in key outside up folder/id_ed25519 sub/home/id_ed25519 proc; do cat $f 2>/dev/null; done; echo tried`
	read := func(text string) string {
		for _, what := range []string{"a private key", "outside\n"} {
			if strings.Contains(text, what) {
				return what
			}
		}
		return ""
	}
	if out, err := s.script(c, "S="+dir, take); err != nil || read(out) == "" {
		return "", mootError(fmt.Sprintf("without a jail it does not work either (%v)", err))
	}
	more := ""
	for _, mode := range []string{"copy", "overlay", "readonly"} {
		more += fmt.Sprintf("  home \".%s\" {\n    from = %q\n    mode = %q\n  }\n", mode, dir, mode)
	}
	if !s.overlays(c, dir) {
		more = fmt.Sprintf("  home \".copy\" {\n    from = %q\n    mode = \"copy\"\n  }\n", dir)
	}
	if err := s.seeded(c, "files {\n"+more+"}\n"); err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", `cat ~/.copy/sub/notes; for S in ~/.copy ~/.overlay ~/.readonly; do (`+take+`); done`)
	switch {
	case err != nil:
		return "", err
	case read(e.stdout) != "":
		return fmt.Sprintf("what the symlink leads to was read: %q", read(e.stdout)), nil
	case !strings.HasPrefix(e.stdout, "notes\n") || !strings.Contains(e.stdout, "tried"):
		return "", fmt.Errorf("the attack did not come to its end: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
	}
	return "", nil
}

// overlays says whether this kernel has overlays for seeds.
func (s *scene) overlays(c *canaries, dir string) bool {
	if s.seeded(c, fmt.Sprintf("files {\n  home \".app\" {\n    from = %q\n    mode = \"overlay\"\n  }\n}\n", dir)) != nil {
		return false
	}
	e, err := s.agentjail(c, nil, "", "true")
	return err == nil && e.code == 0
}

func seedDeniedScenario(s *scene, c *canaries) (string, error) {
	dir, err := seed(c)
	if err != nil {
		return "", err
	}
	hidden := filepath.Join(c.target.Workspace, "conf")
	if err := makeDir(hidden, 0o777); err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(filepath.Join(hidden, "secret"), []byte("hidden notes\n"), 0o644), os.WriteFile(filepath.Join(hidden, "open"), []byte("open notes\n"), 0o644)); err != nil {
		return "", err
	}
	keys := filepath.Dir(c.target.Key)
	link := filepath.Join(c.dir, "home", "innocent")
	if err := os.Symlink(keys, link); err != nil {
		return "", err
	}
	if err := s.seeded(c, fmt.Sprintf(`workspace { hide = ["conf/secret"] }
files {
  deny = [%q, %q]
  home ".app" {
    from = %q
    mode = "copy"
  }
  home ".shown" { from = %q }
  home ".keys" { from = %q }
  home ".linked" {
    from = %q
    mode = "copy"
  }
  home ".conf" {
    from = %q
    mode = "copy"
  }
}
`, keys, filepath.Join(dir, "denied"), dir, dir, keys, link, hidden)); err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", `cat ~/.app/sub/notes ~/.shown/sub/notes ~/.conf/open; for d in .app .shown .keys .linked .conf; do find ~/$d/ -type f -exec cat {} + 2>/dev/null; done; cat conf/secret 2>/dev/null; echo tried`)
	if err != nil {
		return "", err
	}
	for what, text := range map[string]string{"what the profile denies below the seed": "denied notes", "a denied folder": "a private key", "what the profile hides in the workspace": "hidden notes"} {
		if strings.Contains(e.stdout, text) {
			return what + " is in the home folder", nil
		}
	}
	if !strings.HasPrefix(e.stdout, "notes\nnotes\nopen notes\n") || !strings.Contains(e.stdout, "tried") {
		return "", fmt.Errorf("the attack did not come to its end: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
	}
	return "", nil
}

func seedCredentialsScenario(s *scene, c *canaries) (string, error) {
	dir, err := seed(c)
	if err != nil {
		return "", err
	}
	if err := s.seeded(c, fmt.Sprintf("files {\n  home \".app\" {\n    from   = %q\n    redact = true\n  }\n}\n", dir)); err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", `cat ~/.app/settings.json ~/.app/settings.toml ~/.app/settings.yaml; grep -rs `+seedCredential[:12]+` ~ /run /tmp /etc; echo tried`)
	switch {
	case err != nil:
		return "", err
	case strings.Contains(e.stdout, seedCredential) || strings.Contains(e.stderr, seedCredential) || strings.Contains(string(e.trail), seedCredential):
		return "the credential of the settings is in the jail, or in what came out of it", nil
	case strings.Count(e.stdout, "dark") != 3 || !strings.Contains(e.stdout, "tried"):
		return "", fmt.Errorf("the settings were not copied: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
	}
	return "", nil
}
