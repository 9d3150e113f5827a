package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// scenario is an attack that is not one program in one jail: it takes something that
// happens on the host, or several runs. It says what got out, or nothing; an error is
// about the scenario itself, a moot one says why it means nothing here.
type scenario struct {
	attacks.Attack
	play func(*scene, *canaries) (escaped string, err error)
}

func scenarios() []scenario {
	one := func(id string, line int, layer, what, class string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: line, What: what, Class: class, Stopped: []attacks.Stop{{Layer: layer, Answers: []string{"ok"}}}}, play}
	}
	return slices.Concat(limitScenarios(), programScenarios(), ceilingScenarios(), seedScenarios(), afterScenarios(), directScenarios(), controlScenarios(), archiveScenarios(),
		metricsScenarios(), terminalScenarios(), []scenario{
			one("mount-swap", 6, attacks.FileView, "swap a granted folder for a symlink to the keys while jails start", "CVE-2021-30465, CVE-2024-45310", swapScenario),
			one("null-replaced", 4, attacks.FileView, "start a jail where /dev/null, which masks are made of, is another file", "CVE-2025-31133, CVE-2025-52565", nullScenario),
			one("argv", 7, attacks.CommandLine, "run a command that is called like a flag, with a line feed in an argument", "CVE-2024-32462", argvScenario),
			one("second-run", 8, attacks.Overlay, "plant a symlink in the workspace and follow it in a second run", "CVE-2024-42472, CVE-2026-34078", secondRunScenario),
			one("learn", 12, attacks.CommandLine, "choose what learn sees so that it grants a key, or writes a line of the program's own", "CVE-2026-25724", learnScenario),
		})
}

// runScenarios plays them, each with canaries of its own.
func (s *scene) runScenarios(list []scenario) ([]Result, error) {
	var results []Result
	for _, sc := range list {
		c, err := plant(filepath.Join(s.dir, sc.ID), s.opt.Agentjail, homeDir())
		if err != nil {
			return nil, err
		}
		c.target.Direct = s.direct
		escaped, err := sc.play(s, c)
		var why mootError
		moot := errors.As(err, &why)
		if rerr := c.remove(); err == nil || moot {
			err = rerr
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", sc.ID, err)
		}
		r := result(sc.Attack)
		if moot {
			r.Verdict, r.Why = Moot, string(why)
			results = append(results, r)
			continue
		}
		r.Verdict, r.Layer = Stopped, sc.Stopped[0].Layer
		if escaped != "" {
			r.Verdict, r.Layer, r.Why = Escaped, "", escaped
		}
		results = append(results, r)
	}
	return results, nil
}

// mootError is why a scenario means nothing on this host.
type mootError string

func (e mootError) Error() string { return string(e) }

func (s *scene) writeProfile(c *canaries, text string) error {
	return os.WriteFile(c.target.Profile, []byte(text), 0o666)
}

// swapRuns is how many jails are started while the folder is being swapped. Each either
// refuses, since it finds something else than it was made for, or shows the folder.
const swapRuns = 8

func swapScenario(s *scene, c *canaries) (string, error) {
	granted, other := c.target.Dropbox+"/granted", c.target.Dropbox+"/other"
	if err := makeDir(granted, 0o777); err != nil {
		return "", err
	}
	keys := filepath.Dir(c.target.Key)
	if err := os.Symlink(keys, other); err != nil {
		return "", err
	}
	// The keys are denied, so that they are not granted when the profile is loaded at a
	// moment at which the link is there.
	if err := s.writeProfile(c, fmt.Sprintf("extends = [%q]\nfiles {\n  read = [%q]\n  deny = [%q]\n}\n", s.opt.Profile, granted, keys)); err != nil {
		return "", err
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, granted, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	})
	defer swapping.Wait()
	defer close(stop)
	for range swapRuns {
		e, err := s.agentjail(c, nil, "", "/bin/cat", granted+"/"+filepath.Base(c.target.Key))
		if err != nil {
			return "", err
		}
		if strings.Contains(e.stdout, "a private key") {
			return "the key was read through the granted folder", nil
		}
	}
	return "", nil
}

// nullScenario runs where a bind mount has put a file in the place of /dev/null: in a
// mount namespace of its own, as root of a user namespace.
func nullScenario(s *scene, c *canaries) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return "", err
	}
	const ran = "the agent ran"
	run := func(source string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		cmd := exec.CommandContext(ctx, s.program, attacks.ArgReplace, source, "/dev/null", s.opt.Agentjail, "run", "--profile", c.target.Profile, "--workspace", c.target.Workspace, "--tty", "never", "--", "echo", ran)
		cmd.Dir, cmd.Env, cmd.SysProcAttr, cmd.WaitDelay = c.target.Workspace, s.environment(c), nestedAttr(), 10*time.Second
		var out bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &out, &out
		err := cmd.Run()
		var ee *exec.ExitError
		if err != nil && !errors.As(err, &ee) {
			return "", mootError("the host lacks user namespaces for it: " + err.Error())
		}
		return out.String(), nil
	}
	// The same with nothing replaced, to know that a jail starts there at all.
	out, err := run("/dev/null")
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, ran) {
		return "", mootError("no jail starts in a user namespace here: " + strings.TrimSpace(out))
	}
	if out, err = run(c.target.Outside); err != nil {
		return "", err
	}
	if strings.Contains(out, ran) {
		return "a jail was started with masks that mask nothing", nil
	}
	return "", nil
}

func argvScenario(s *scene, c *canaries) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return "", err
	}
	program, err := os.ReadFile(s.program)
	if err != nil {
		return "", err
	}
	name := "--profile=none"
	if err := os.WriteFile(filepath.Join(c.target.Workspace, name), program, 0o777); err != nil {
		return "", err
	}
	if err := os.Chmod(filepath.Join(c.target.Workspace, name), 0o777); err != nil {
		return "", err
	}
	want := []string{"--bind", "/", "-c", "a\nb", "", "--", "--help", "\x1b]0;x\x07"}
	e, err := s.agentjail(c, nil, "", append([]string{"./" + name, attacks.ArgEcho}, want...)...)
	if err != nil {
		return "", err
	}
	var got []string
	if err := json.Unmarshal([]byte(e.stdout), &got); err != nil || !slices.Equal(got, want) {
		return fmt.Sprintf("the command's arguments arrived as %q (exit code %d): %s", e.stdout, e.code, e.stderr), nil
	}
	// Without its folder the name is looked for in PATH only, and is none of agentjail's flags.
	if e, err = s.agentjail(c, nil, "", name); err != nil {
		return "", err
	}
	if e.code != 127 {
		return fmt.Sprintf("a command %q ended with %d, not 127: %s", name, e.code, e.stderr), nil
	}
	return "", nil
}

func secondRunScenario(s *scene, c *canaries) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return "", err
	}
	link := filepath.Join(c.target.Workspace, "collected")
	if _, err := s.agentjail(c, nil, "", "/bin/ln", "-s", filepath.Dir(c.target.Key), link); err != nil {
		return "", err
	}
	if _, err := os.Lstat(link); err == nil {
		if c.target.Direct {
			_ = os.Remove(link) // the profile lets the agent change the workspace itself
		} else {
			return "the symlink is on the host", nil
		}
	}
	// As if it had been applied: the host has it, and the next run's artifacts go by it.
	if err := os.Symlink(filepath.Dir(c.target.Key), link); err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "", "/bin/cat", link+"/"+filepath.Base(c.target.Key))
	if err != nil {
		return "", err
	}
	if strings.Contains(e.stdout, "a private key") {
		return "the key was read through the symlink", nil
	}
	found := ""
	err = filepath.WalkDir(e.artifacts, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "a private key") {
			found = "the key was collected as an artifact"
		}
		return err
	})
	return found, err
}

// learnScenario lets a hostile program choose what `learn` sees: the key by all the ways
// to write its path, and names that would be lines of a profile.
func learnScenario(s *scene, c *canaries) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return "", err
	}
	const line = "\"]\n}\nnetwork {\n  allow \"*\" {}\n}\n#"
	link := filepath.Join(c.dir, "innocent")
	if err := os.Symlink(c.target.Key, link); err != nil {
		return "", err
	}
	keys := filepath.Dir(c.target.Key)
	asked := []string{c.target.Key, link, keys + "/../" + filepath.Base(keys) + "/" + filepath.Base(c.target.Key), keys, c.target.Outside}
	// Named after a line of a profile, as far as a name goes: by its thread and its path.
	program := filepath.Join(c.target.Workspace, "x\"]\n}\n#")
	cat, err := os.ReadFile("/bin/cat")
	if err != nil {
		return "", mootError("the host has no /bin/cat: " + err.Error())
	}
	if err := os.WriteFile(program, cat, 0o777); err != nil {
		return "", err
	}
	if err := os.Chmod(program, 0o777); err != nil {
		return "", err
	}
	file := filepath.Join(c.dir, "learned.hcl")
	// The second round runs under what the first one learned.
	e, err := s.started(c, []string{"learn", "--rounds", "2", "-o", file}, append(append([]string{program}, asked...), "/"+line)...)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("nothing was learned (exit code %d): %s", e.code, e.stderr)
	}
	text := string(data)
	switch {
	case strings.Contains(e.stdout+e.stderr, "a private key"):
		return "the key was read in the second round", nil
	case !strings.Contains(text, "\""+c.target.Outside+"\","):
		return "", fmt.Errorf("what may be learned was not: %s\n%s", e.stderr, text)
	}
	for _, l := range strings.Split(text, "\n") {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "#") || l == "" {
			continue
		}
		value, _, _ := strings.Cut(l, ", #")
		if strings.Contains(value, keys) || strings.Contains(value, link) {
			return "the key is granted: " + l, nil
		}
		if strings.HasPrefix(l, "network") || strings.HasPrefix(l, "allow") {
			return "the program wrote a rule of its own: " + l, nil
		}
	}
	return "", nil
}
