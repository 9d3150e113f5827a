package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// live is a run of agentjail that goes on.
type live struct {
	scene     *scene
	canaries  *canaries
	cmd       *exec.Cmd
	ctx       context.Context
	cancel    context.CancelFunc
	out, errs said
	status    *os.File // what --status-fd writes
	artifacts string
	over      chan struct{}
	err       error // of the run's end, once it is over
}

// said gathers what a program writes.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// beginTold is begin with a pipe by which the command is told more.
func (s *scene) beginTold(c *canaries, flags []string, argv ...string) (*live, *os.File, error) {
	// No io.Pipe: Wait would wait for whoever copies from it.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	l, err := s.begin(c, flags, r, nil, argv...)
	if err != nil {
		return nil, nil, errors.Join(err, w.Close())
	}
	return l, w, nil
}

// begin starts a command in a jail of the scene's profile. extra are descriptors that the
// caller forgot to close.
func (s *scene) begin(c *canaries, flags []string, stdin io.Reader, extra []*os.File, argv ...string) (*live, error) {
	l := &live{scene: s, canaries: c}
	var err error
	if l.artifacts, err = os.MkdirTemp(filepath.Join(c.dir, "artifacts"), "run"); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	l.status = r
	// The root folder of the host is one of them, always.
	root, err := os.Open("/")
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	defer root.Close()
	args := []string{"run", "--profile", c.target.Profile, "--workspace", c.target.Workspace, "--artifacts", l.artifacts, "--tty", "never", "--quiet", "--status-fd", "3"}
	for _, v := range s.opt.Vars {
		args = append(args, "--var", v)
	}
	l.ctx, l.cancel = context.WithTimeout(context.Background(), hangGuard)
	l.cmd = exec.CommandContext(l.ctx, s.opt.Agentjail, append(append(append(args, flags...), "--"), argv...)...)
	l.cmd.Dir, l.cmd.Env, l.cmd.WaitDelay = c.target.Workspace, s.environment(c), 10*time.Second
	l.cmd.Stdin, l.cmd.Stdout, l.cmd.Stderr = stdin, &l.out, &l.errs
	l.cmd.ExtraFiles = append([]*os.File{w, root}, extra...)
	if err := l.cmd.Start(); err != nil {
		l.cancel()
		return nil, errors.Join(fmt.Errorf("run %s: %w", s.opt.Agentjail, err), r.Close())
	}
	l.over = make(chan struct{})
	go func() {
		l.err = l.cmd.Wait()
		close(l.over)
	}()
	return l, nil
}

// end waits for the run's end and reads what it left.
func (l *live) end() (*ended, error) {
	defer l.cancel()
	defer l.status.Close()
	<-l.over
	err := l.err
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		return nil, fmt.Errorf("run %s: %w", l.scene.opt.Agentjail, err)
	}
	if l.ctx.Err() != nil {
		return nil, fmt.Errorf("a jail did not end within %v", hangGuard)
	}
	e := &ended{stdout: l.out.String(), stderr: l.errs.String(), code: l.cmd.ProcessState.ExitCode(), artifacts: l.artifacts}
	data, err := io.ReadAll(l.status)
	if err != nil {
		return nil, err
	}
	var status struct {
		RunID string `json:"run_id"`
		Audit string `json:"audit"`
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &status); err != nil {
			return nil, fmt.Errorf("what agentjail said of its end: %w", err)
		}
	}
	if e.id = status.RunID; status.Audit != "" {
		return e, e.readTrail(status.Audit)
	}
	return e, nil
}

// until waits for what a run that goes on has to come to. The run's own time is bounded.
func (l *live) until(what string, ok func() bool) error {
	for {
		over := false
		select {
		case <-l.over:
			over = true
		case <-time.After(10 * time.Millisecond):
		}
		if ok() {
			return nil
		}
		if over {
			return fmt.Errorf("%s did not come about before the run's end: %s%s", what, l.out.String(), strings.TrimSpace(l.errs.String()))
		}
	}
}

// liveInfo is what run.json says of a run.
type liveInfo struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Runtime string `json:"runtime"`
	Metrics string `json:"metrics"`
	state   string
}

// info finds the run whose name it is among those of the scenario.
func (l *live) info(name string) (info liveInfo, err error) {
	err = l.until("the run's "+name+" run.json", func() bool {
		files, err := filepath.Glob(filepath.Join(l.canaries.target.State, "agentjail", "runs", "*", "run.json"))
		if err != nil {
			return false
		}
		for _, path := range files {
			data, err := os.ReadFile(path)
			info = liveInfo{}
			if err == nil && json.Unmarshal(data, &info) == nil && info.Name == name {
				info.state = filepath.Dir(path)
				return true
			}
		}
		return false
	})
	return info, err
}

// order runs another of agentjail's commands as the same user.
func (s *scene) order(c *canaries, args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.opt.Agentjail, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.target.Workspace, s.environment(c), 10*time.Second
	out, err := cmd.Output()
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		err = fmt.Errorf("agentjail %s ended with %d: %s", strings.Join(args, " "), ee.ExitCode(), strings.TrimSpace(string(ee.Stderr)))
	}
	return string(out), err
}

// kill ends the run at once.
func (l *live) kill(id string) (*ended, error) {
	_, err := l.scene.order(l.canaries, "kill", id)
	e, eerr := l.end()
	return e, errors.Join(err, eerr)
}

// triedBy reads what a program at the doors has said.
func (l *live) triedBy() (all attacks.Tried) {
	for line := range strings.Lines(l.out.String()) {
		var t attacks.Tried
		if !strings.HasSuffix(line, "\n") || json.Unmarshal([]byte(line), &t) != nil {
			continue
		}
		all.Reached = append(all.Reached, t.Reached...)
		all.Began, all.Over, all.Granted, all.Ended = all.Began || t.Began, all.Over || t.Over, all.Granted || t.Granted, all.Ended || t.Ended
	}
	return all
}
