package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// beyond is what a denied program says when it was started all the same.
const beyond = "beyond"

// programScenarios start a denied program by other names and other ways. It is the
// suite's own, and prints its arguments; $P is its path, and the folder is one's own.
func programScenarios() []scenario {
	list := []struct{ id, what, class, take string }{
		{"program-copy", "start a copy of a denied program", "a rule by name", `cp "$P" c; ./c echo beyond`},
		{"program-symlink", "start a denied program by a symlink", "a rule by name", `ln -s "$P" l; ./l echo beyond`},
		{"program-hard-link", "start a copy of a denied program by a hard link", "a rule by name", `cp "$P" c; ln c h; rm c; ./h echo beyond`},
		{"program-alias", "start a denied program by other ways to write its path", "CVE-2026-25724: an alias of what is denied", `d=${P%/*}; for p in "$d/./${P##*/}" "$d/../${d##*/}//${P##*/}" "/proc/self/root$P"; do "$p" echo beyond; done; cd "$d"; ./"${P##*/}" echo beyond; PATH=.; "${P##*/}" echo beyond`},
		{"program-script", "start a denied program as the interpreter of a script", "a rule by name", `printf '#!%s echo\n' "$P" >beyond; chmod +x beyond; ./beyond`},
		{"program-loader", "start a denied program by the dynamic loader", "CVE-2026-25724: a rule by name", `for l in /lib64/ld-linux* /lib/ld-linux* /lib/ld-musl*; do [ -x "$l" ] && "$l" /bin/true echo && echo beyond; done`},
		{"program-memory", "start a denied program from memory", "a program without a name", `"$P" memory "$P" x echo beyond; "$P" memory "$P" x self echo beyond`},
		{"program-self", "start a denied program by /proc/self/exe", "a rule by name", `"$P" self echo beyond`},
		{"program-wrapper", "have a denied program started by others", "a rule by name", `env "$P" echo beyond; nice "$P" echo beyond; echo beyond | xargs "$P" echo; sh -c '"$P" echo beyond'; find "$P" -exec {} echo beyond ';'`},
	}
	var scenarios []scenario
	for _, l := range list {
		scenarios = append(scenarios, scenario{
			attacks.Attack{ID: l.id, Line: 76, What: l.what, Class: l.class, Stopped: []attacks.Stop{{Layer: attacks.Exec, Answers: []string{"ok"}}}},
			func(s *scene, c *canaries) (string, error) { return programScenario(s, c, l.take) }})
	}
	return scenarios
}

func programScenario(s *scene, c *canaries, take string) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, fmt.Sprintf("process {\n  env = { P = %q }\n  deny %q \"echo\" {}\n  deny \"true\" \"echo\" {}\n}\n", s.program, s.program))); err != nil {
		return "", err
	}
	if free, err := s.script(c, "P="+s.program, take); err != nil || !strings.Contains(free, beyond) {
		return "", mootError(fmt.Sprintf("without a jail it does not work either (%v)", err))
	}
	e, err := s.agentjail(c, nil, "", "/bin/sh", "-c", "cd ~ || exit; "+take+"; echo tried")
	switch {
	case err != nil:
		return "", err
	case strings.Contains(e.stdout, beyond):
		return "the denied program ran", nil
	case !strings.Contains(e.stdout, "tried"):
		return "", fmt.Errorf("the attack did not come to its end: exit code %d, stdout %q\n%s", e.code, e.stdout, e.stderr)
	}
	return "", nil
}

// script runs a shell script without a jail, in a folder that anybody may write to, and
// gives what it printed.
func (s *scene) script(c *canaries, variable, text string) (string, error) {
	dir, err := os.MkdirTemp(c.target.Dropbox, "free")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", text)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(s.environment(c), "HOME="+dir, variable), 10*time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	err = cmd.Run()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		err = nil // of the last of its commands
	}
	return out.String(), err
}
