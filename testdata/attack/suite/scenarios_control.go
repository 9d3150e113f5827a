package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Attacks on the control socket: whoever reaches it allows himself what a person would
// have to allow. The attacker is told the socket's path and the question's number, which
// nothing in a jail knows.

func controlScenarios() []scenario {
	one := func(id, what, class, layer string, play func(*scene, *canaries) (string, error)) scenario {
		return scenario{attacks.Attack{ID: id, Line: 79, What: what, Class: class, Stopped: []attacks.Stop{{Layer: layer, Answers: []string{"ok"}}}}, play}
	}
	return []scenario{
		one("control-inside", "answer its own question, by every name that the control socket could have in the jail", "whoever can talk to it is you", attacks.FileView, controlInside),
		one("control-namespace", "answer its own question by the path, as the run's user in another pid namespace", "a jail that got the path", attacks.ControlPeer, controlNamespace),
		one("control-descriptor", "answer another run's question by a connection that the caller left open", "CVE-2024-21626: a leaked descriptor", attacks.Descriptors, controlDescriptor),
		one("ask-unanswered", "start what a person would have to allow while nobody answers", "no answer taken for a yes", attacks.Approval, askUnanswered),
	}
}

// askedCommand is what the profile asks about; it does nothing.
var askedCommand = []string{"/bin/true", "granted"}

func (s *scene) askingProfile(c *canaries, timeout string) error {
	return s.writeProfile(c, s.profile(c.target, fmt.Sprintf("process {\n  ask \"true\" \"granted\" {}\n}\napproval { timeout = %q }\n", timeout)))
}

// asking is a run whose agent waits for a person's word.
type asking struct {
	*live
	in       *os.File
	info     liveInfo
	question string
}

func (s *scene) asking(c *canaries) (*asking, error) {
	if err := s.askingProfile(c, "1h"); err != nil {
		return nil, err
	}
	const name = "asking"
	l, w, err := s.beginTold(c, []string{"--name", name}, s.program, attacks.ArgDoors)
	if err != nil {
		return nil, err
	}
	a := &asking{live: l, in: w}
	if err = a.say(attacks.Doors{Ask: askedCommand}); err == nil {
		err = l.until("the attack", func() bool { return l.triedBy().Began })
	}
	if err == nil {
		a.info, err = l.info(name)
	}
	if err == nil {
		err = l.until("the question", func() bool {
			a.question, err = s.question(c)
			return err != nil || a.question != ""
		})
	}
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

// question is the number of the only open one.
func (s *scene) question(c *canaries) (string, error) {
	out, err := s.order(c, "approve", "--json")
	if err != nil {
		return "", err
	}
	var runs []struct {
		Questions []struct {
			ID string `json:"id"`
		} `json:"questions"`
	}
	if err := json.Unmarshal([]byte(out), &runs); err != nil {
		return "", err
	}
	for _, r := range runs {
		for _, q := range r.Questions {
			return q.ID, nil
		}
	}
	return "", nil
}

// say gives the attacker a line.
func (a *asking) say(d attacks.Doors) error {
	line, err := json.Marshal(d)
	if err == nil {
		_, err = a.in.Write(append(line, '\n'))
	}
	return err
}

// answer is the request that says yes.
func (a *asking) answer(yes bool) string {
	return fmt.Sprintf(`{"version":1,"method":"answer","params":{"id":%q,"yes":%t,"once":true}}`, a.question, yes)
}

func (a *asking) socket() string { return filepath.Join(a.info.Runtime, "control.sock") }

// stop ends the run whatever became of it.
func (a *asking) stop() error {
	a.in.Close()
	_ = a.cmd.Process.Signal(syscall.SIGKILL)
	_, _ = a.end()
	return nil
}

// refuse shows that the attack's own words work, from where a person sits: it says no in
// them. Then it gives what the agent came to.
func (a *asking) refuse(conn net.Conn) (*ended, attacks.Tried, error) {
	if conn == nil {
		var err error
		if conn, err = dialControl(a.socket()); err != nil {
			return nil, attacks.Tried{}, errors.Join(err, a.stop())
		}
		defer conn.Close()
	}
	var res struct {
		Error  string          `json:"error"`
		Result json.RawMessage `json:"result"`
	}
	_ = conn.SetDeadline(time.Now().Add(hangGuard))
	_, err := io.WriteString(conn, a.answer(false)+"\n")
	if err == nil {
		err = json.NewDecoder(conn).Decode(&res)
	}
	if err == nil && res.Error != "" && !a.triedBy().Granted {
		err = fmt.Errorf("a person's own answer was refused: %s", res.Error)
	}
	if err != nil {
		return nil, attacks.Tried{}, errors.Join(err, a.stop())
	}
	if err := a.until("the end of what was asked about", func() bool { return a.triedBy().Ended }); err != nil {
		return nil, attacks.Tried{}, errors.Join(err, a.stop())
	}
	a.in.Close()
	e, err := a.end()
	return e, a.triedBy(), err
}

func dialControl(path string) (net.Conn, error) {
	short, done, err := attacks.ShortSocket(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.Dial("unix", short)
}

// reached says what got out.
func reached(t attacks.Tried) string {
	switch {
	case len(t.Reached) > 0:
		return strings.Join(t.Reached, "; ")
	case t.Granted:
		return "what a person refused was started"
	}
	return ""
}

func controlInside(s *scene, c *canaries) (string, error) {
	a, err := s.asking(c)
	if err != nil {
		return "", err
	}
	err = a.say(attacks.Doors{Socket: a.socket(), Answer: a.answer(true)})
	if err == nil {
		err = a.until("the end of the attack", func() bool { return a.triedBy().Over })
	}
	if t := a.triedBy(); err != nil || len(t.Reached) > 0 {
		return reached(t), errors.Join(err, a.stop())
	}
	_, t, err := a.refuse(nil)
	return reached(t), err
}

func controlNamespace(s *scene, c *canaries) (string, error) {
	a, err := s.asking(c)
	if err != nil {
		return "", err
	}
	order, err := json.Marshal(attacks.Doors{Socket: a.socket(), Answer: a.answer(true), PathOnly: true})
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	cmd := exec.CommandContext(a.ctx, s.program, attacks.ArgDoors)
	cmd.Stdin, cmd.WaitDelay = strings.NewReader("{}\n"+string(order)+"\n"), 10*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if !privileged() {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	}
	out, err := cmd.Output()
	if err != nil {
		return "", errors.Join(mootError("the host gives this user no pid namespace: "+err.Error()), a.stop())
	}
	var outside attacks.Tried
	for line := range bytes.Lines(out) {
		if err := json.Unmarshal(line, &outside); err != nil {
			return "", errors.Join(err, a.stop())
		}
	}
	if !outside.Over {
		return "", errors.Join(fmt.Errorf("the attack did not come to its end: %s", out), a.stop())
	}
	if len(outside.Reached) > 0 {
		return reached(outside), a.stop()
	}
	if err := a.say(attacks.Doors{}); err != nil {
		return "", errors.Join(err, a.stop())
	}
	e, t, err := a.refuse(nil)
	if err != nil {
		return "", err
	}
	if !e.has("finding", "a stranger connected to the run's control socket") {
		return "the trail has no finding of it", nil
	}
	return reached(t), nil
}

// has says whether the trail has an event of a kind with a text in it.
func (e *ended) has(kind, text string) bool {
	for _, event := range e.events {
		if event.View().Kind == kind && bytes.Contains(event.Raw, []byte(text)) {
			return true
		}
	}
	return false
}

func controlDescriptor(s *scene, c *canaries) (string, error) {
	a, err := s.asking(c)
	if err != nil {
		return "", err
	}
	conn, err := dialControl(a.socket())
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	defer conn.Close()
	passed, err := conn.(*net.UnixConn).File()
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	defer passed.Close()
	order, err := json.Marshal(attacks.Doors{Socket: a.socket(), Answer: a.answer(true)})
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	second, err := s.begin(c, nil, strings.NewReader("{}\n"+string(order)+"\n"), []*os.File{passed}, s.program, attacks.ArgDoors)
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	e, err := second.end()
	tried := second.triedBy()
	if err == nil && !tried.Over {
		err = fmt.Errorf("the attack did not come to its end: exit code %d: %s", e.code, e.stderr)
	}
	if err == nil && len(tried.Reached) > 0 {
		return reached(tried), a.stop()
	}
	if err == nil {
		err = a.say(attacks.Doors{})
	}
	if err != nil {
		return "", errors.Join(err, a.stop())
	}
	// The connection works: the person's own no goes by it.
	_, t, err := a.refuse(conn)
	return reached(t), err
}

func askUnanswered(s *scene, c *canaries) (string, error) {
	if err := s.askingProfile(c, "1s"); err != nil {
		return "", err
	}
	e, err := s.agentjail(c, nil, "{\"ask\":[\"/bin/true\",\"granted\"]}\n{}\n", s.program, attacks.ArgDoors)
	if err != nil {
		return "", err
	}
	t := (&live{out: said{b: *bytes.NewBufferString(e.stdout)}}).triedBy()
	switch {
	case !t.Ended:
		return "", fmt.Errorf("the attack did not come to its end: exit code %d, %q: %s", e.code, e.stdout, e.stderr)
	case !t.Granted && !e.has("approval", "timed out"):
		return "the trail has no question that nobody answered", nil
	}
	return reached(t), nil
}
