package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// ceilingScenarios run a profile that gives everything on a machine whose owner lets
// less. The machine is made for them (attacks.Machine): this one's /etc stays as it is.
func ceilingScenarios() []scenario {
	list := []struct {
		id, what string
		ceiling  func(attacks.Target, string) string // of the target and the suite's program
		take     string                              // says "beyond" where it got what the profile gives, or leaves the file "written"
	}{
		{"ceiling-files", "read and write what the profile grants and the machine's ceiling denies", func(t attacks.Target, _ string) string {
			return fmt.Sprintf("files { deny = [%q, %q] }\n", filepath.Dir(t.Key), t.Dropbox)
		}, `cat "$K" 2>/dev/null | grep -q 'private key' && echo beyond; echo x >>"$D/written"`},
		{"ceiling-workspace", "change the workspace itself where the machine's ceiling wants an overlay", func(attacks.Target, string) string {
			return "workspace { mode = \"overlay\" }\n"
		}, `echo x >>written`},
		{"ceiling-variables", "read a variable that the profile passes and the machine's ceiling does not", func(attacks.Target, string) string {
			return "process { pass_env = [\"LANG\"] }\n"
		}, `[ -n "$AGENTJAIL_ATTACK_CANARY" ] && echo beyond`},
		{"ceiling-network", "connect to what the profile allows and the machine's ceiling does not", func(attacks.Target, string) string {
			return "network {\n  allow \"elsewhere.example\" {}\n}\n"
		}, `"$P" reach "$A" "$M"`},
		{"ceiling-programs", "start what the machine's ceiling denies, by its name and as a copy", func(_ attacks.Target, program string) string {
			return fmt.Sprintf("process {\n  deny %q \"echo\" {}\n}\n", program)
		}, `"$P" echo beyond; cp "$P" ~/c; ~/c echo beyond`},
	}
	var scenarios []scenario
	for _, l := range list {
		scenarios = append(scenarios, scenario{
			attacks.Attack{ID: l.id, Line: 77, What: l.what, Class: "a profile wider than the machine lets", Stopped: []attacks.Stop{{Layer: attacks.Ceiling, Answers: []string{"ok"}}}},
			func(s *scene, c *canaries) (string, error) {
				return ceilingScenario(s, c, l.ceiling(c.target, s.program), l.take)
			}})
	}
	return scenarios
}

func ceilingScenario(s *scene, c *canaries, ceiling, take string) (string, error) {
	address := fmt.Sprintf("127.0.0.1:%d", c.target.Port)
	wide := func(mark string) string {
		return fmt.Sprintf(`description = "all that the machine's owner does not let"
extends     = [%q]

workspace { mode = "direct" }
files {
  read  = [%q]
  write = [%q]
  exec  = [%q]
}
network {
  allow %q { protocol = "tcp" }
}
process {
  pass_env = [%q]
  env      = { K = %q, D = %q, P = %q, A = %q, M = %q }
}
`, s.opt.Profile, filepath.Dir(c.target.Key), c.target.Dropbox, filepath.Dir(s.program), address, c.target.Variable, c.target.Key, c.target.Dropbox, s.program, address, mark)
	}
	run := func(mark, ceiling string) (string, error) {
		if err := s.writeProfile(c, wide(mark)); err != nil {
			return "", err
		}
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		dir, err := os.MkdirTemp(c.dir, "machine")
		if err != nil {
			return "", err
		}
		args := []string{attacks.ArgMachine, dir, ceiling, s.opt.Agentjail, "run", "--quiet", "--profile", c.target.Profile, "--workspace", c.target.Workspace, "--tty", "never"}
		for _, v := range s.opt.Vars {
			args = append(args, "--var", v)
		}
		cmd := exec.CommandContext(ctx, s.program, append(args, "--", "/bin/sh", "-c", take+"; echo tried")...)
		cmd.Dir, cmd.Env, cmd.SysProcAttr, cmd.WaitDelay = c.target.Workspace, s.environment(c), nestedAttr(), 10*time.Second
		// The network stays this machine's: a canary listens on its loopback interface.
		cmd.SysProcAttr.Cloneflags &^= syscall.CLONE_NEWNET
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &out, &out
		err = cmd.Run()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			return "", mootError("the host lacks user namespaces for it: " + err.Error())
		}
		reached := c.seen.has(mark) // the canary on the loopback interface
		for _, dir := range []string{c.target.Workspace, c.target.Dropbox} {
			reached = os.Remove(filepath.Join(dir, "written")) == nil || reached
		}
		if reached {
			out.WriteString(beyond)
		}
		return out.String(), nil
	}
	// A ceiling that says nothing of it: what the profile gives must be had then.
	out, err := run("ceiling-off", "files { deny = [\"/nowhere\"] }\n")
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, beyond) || !strings.Contains(out, "tried") {
		return "", mootError("without the ceiling it does not work either: " + strings.TrimSpace(out))
	}
	if out, err = run("ceiling-on", ceiling); err != nil {
		return "", err
	}
	switch {
	case strings.Contains(out, beyond):
		return "the profile's rule held against the ceiling's: " + strings.TrimSpace(ceiling), nil
	case !strings.Contains(out, "tried"):
		return "", fmt.Errorf("the attack did not come to its end: %s", out)
	}
	return "", nil
}
