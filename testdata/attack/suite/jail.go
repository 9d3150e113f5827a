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
	"syscall"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// hangGuard ends a jail or a trial that would otherwise never end. Nothing is judged by it.
const hangGuard = 90 * time.Second

// scene is where attacks are tried: the host itself, or the stage.
type scene struct {
	opt     Options
	dir     string // of the scene, passable for everybody
	program string // this program, where the jail may run it
	env     []string
	direct  bool // the profile lets the agent change the workspace itself
}

// profile is the one under attack with what the suite adds to it: its own program, the
// canaries that are granted, and one that is denied. Rules only add up.
func (s *scene) profile(t attacks.Target, more string) string {
	return fmt.Sprintf(`description = "the attack suite's, on top of the profile that is under attack"
extends     = [%q]

files {
  read = [%q]
  exec = [%q]
  deny = [%q]
}

artifacts { collect = ["collected/**"] }
%s`, s.opt.Profile, t.Readonly, filepath.Dir(s.program), t.Readonly+"/denied", more)
}

// ended is one run of agentjail.
type ended struct {
	stdout, stderr string
	code           int
	events         []audit.Event
	trail          []byte // as it is in the file
	trouble        string // what is wrong with the trail
	artifacts      string
	id             string
}

// started runs a command by another of agentjail's commands, in a jail of the scene's
// profile.
func (s *scene) started(c *canaries, how []string, argv ...string) (*ended, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	args := append(slices.Clone(how), "--profile", c.target.Profile, "--workspace", c.target.Workspace, "--tty", "never")
	for _, v := range s.opt.Vars {
		args = append(args, "--var", v)
	}
	cmd := exec.CommandContext(ctx, s.opt.Agentjail, append(append(args, "--"), argv...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.target.Workspace, s.environment(c), 10*time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		return nil, fmt.Errorf("run %s: %w", s.opt.Agentjail, err)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("a jail did not end within %v", hangGuard)
	}
	return &ended{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}, nil
}

// agentjail runs a command in a jail of the scene's profile.
func (s *scene) agentjail(c *canaries, flags []string, stdin string, argv ...string) (*ended, error) {
	l, err := s.begin(c, flags, strings.NewReader(stdin), nil, argv...)
	if err != nil {
		return nil, err
	}
	return l.end()
}

func (e *ended) readTrail(path string) error {
	head, err := audit.ReadHead(audit.HeadPath(path))
	if err != nil {
		return err
	}
	if e.trail, err = os.ReadFile(path); err != nil {
		return err
	}
	report, err := audit.Verifier{Head: head, RunID: e.id}.Verify(bytes.NewReader(e.trail))
	if err != nil {
		return err
	}
	if report.State != audit.Sealed {
		e.trouble = fmt.Sprintf("the trail is %s: %s", report.State, report.Reason)
	}
	for event, err := range audit.Read(bytes.NewReader(e.trail)) {
		if err != nil {
			e.trouble = "the trail can't be read: " + err.Error()
			break
		}
		e.events = append(e.events, event)
	}
	return nil
}

// records says whether the trail has what an attack must leave in it.
func (e *ended) records(a attacks.Attack) bool {
	if a.Record == nil {
		return false
	}
	text := strings.ReplaceAll(a.Record.Text, "MARK", attacks.Mark(a.ID))
	return slices.ContainsFunc(e.events, func(event audit.Event) bool {
		v := event.View()
		return v.Kind == a.Record.Kind && (a.Record.Verdict == "" || v.Verdict == a.Record.Verdict) &&
			(strings.Contains(v.Target, text) || bytes.Contains(event.Raw, []byte(text)))
	})
}

// environment is the caller's with canaries in it.
func (s *scene) environment(c *canaries) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"XDG_STATE_HOME", "SSH_AUTH_SOCK", "AWS_SECRET_ACCESS_KEY"}, name)
	})
	return append(append(env, "XDG_STATE_HOME="+c.target.State, c.target.Variable+"=in the caller's environment",
		"SSH_AUTH_SOCK=/agentjail-canary/ssh-agent", "AWS_SECRET_ACCESS_KEY=agentjail-canary"), s.env...)
}

// jailed tries attacks in a jail. One that ends the program costs itself and not the
// others: the rest is tried again in a new jail.
func (s *scene) jailed(c *canaries, list []attacks.Attack) (map[string]string, []*ended, error) {
	answers := map[string]string{}
	var runs []*ended
	target := c.target
	target.Jailed, target.ProcPID = true, 1
	for left := ids(list); len(left) > 0; {
		order, err := json.Marshal(attacks.Order{Attacks: left, Target: target})
		if err != nil {
			return nil, nil, err
		}
		e, err := s.agentjail(c, nil, string(order), s.program, attacks.ArgTry)
		if err != nil {
			return nil, nil, err
		}
		got := decode(e.stdout, answers)
		if e.id == "" || got == 0 && e.code >= 125 {
			return nil, nil, fmt.Errorf("the jail did not come to be (exit code %d): %s", e.code, strings.TrimSpace(e.stderr))
		}
		runs = append(runs, e)
		left = slices.DeleteFunc(left, func(id string) bool { _, ok := answers[id]; return ok })
		if len(left) > 0 && got == 0 || e.code != 0 && len(left) > 0 {
			answers[left[0]] = fmt.Sprintf("the attacking program ended with %d", e.code)
			left = left[1:]
		}
	}
	return answers, runs, nil
}

func ids(list []attacks.Attack) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.ID
	}
	return out
}

// decode reads answers and counts the new ones.
func decode(stdout string, into map[string]string) (n int) {
	for line := range strings.Lines(stdout) {
		var a attacks.Answer
		if json.Unmarshal([]byte(line), &a) == nil && a.Attack != "" {
			if _, ok := into[a.Attack]; !ok {
				into[a.Attack] = a.Answer
				n++
			}
		}
	}
	return n
}

// without tries attacks without a jail. No answer at all is an answer too: what it takes
// to try them is lacking.
func (s *scene) without(c *canaries, list []attacks.Attack, where attacks.Without) map[string]string {
	answers := map[string]string{}
	target := c.target
	target.ProcPID = c.target.PID
	for left := ids(list); len(left) > 0; {
		order, err := json.Marshal(attacks.Order{Attacks: left, Look: where == attacks.Looked, Target: target})
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		cmd := exec.CommandContext(ctx, s.program, attacks.ArgTry)
		cmd.Dir, cmd.Env, cmd.WaitDelay = c.target.Workspace, append(s.environment(c), "TMPDIR="+c.target.Dropbox), 10*time.Second
		cmd.Stdin = bytes.NewReader(order)
		if root, err := os.Open("/"); err == nil {
			defer root.Close()
			cmd.ExtraFiles = []*os.File{root}
		}
		if where == attacks.Nested {
			cmd.SysProcAttr = nestedAttr()
		}
		out, err := cmd.Output()
		cancel()
		got := decode(string(out), answers)
		left = slices.DeleteFunc(left, func(id string) bool { _, ok := answers[id]; return ok })
		if err != nil && got == 0 && len(answers) == 0 {
			return nil
		}
		if len(left) > 0 && (err != nil || got == 0) {
			answers[left[0]] = "the attacking program ended"
			left = left[1:]
		}
	}
	return answers
}

// nestedAttr makes namespaces with the caller as their root. A mount namespace of
// another user namespace passes no mount back (mount_namespaces(7)).
func nestedAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
}
