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
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Attacks on the terminal that the caller started agentjail at: by what is written to it.
// The suite is that terminal, and looks at what arrives.

func terminalScenarios() []scenario {
	one := func(id, what, class string, write, arrives []string) scenario {
		return scenario{attacks.Attack{ID: id, Line: 72, What: what, Class: class, Stopped: []attacks.Stop{{Layer: attacks.Screen, Answers: []string{"ok"}}}},
			func(s *scene, c *canaries) (string, error) { return terminalScenario(s, c, write, arrives) }}
	}
	const mark = "cm0gLXJmIH4K" // base64, of a command
	return []scenario{
		one("terminal-clipboard", "put a command into the caller's clipboard", "OSC 52: pasted into a shell later",
			[]string{`\033]52;c;` + mark + `\007`, `\033]52;c;` + mark + `\033\134`, `\235` + `52;c;` + mark + `\234`, `\033Ptmux;\033\033]52;c;` + mark + `\007\033\134`},
			[]string{"52;c;" + mark}),
		one("terminal-title", "set the caller's window title and ask for it back", "CVE-2003-0063: the answer is typed into a shell",
			[]string{`\033]0;` + mark + `\007\033[21t`, `\033]2;` + mark + `\033\134\033[21t`, `\033k` + mark + `\033\134`},
			[]string{mark, "\x1b[21t"}),
		one("terminal-query", "ask the caller's terminal what it types the answer of into a shell", "CVE-2003-0063, CVE-2008-2383: answers are typed",
			[]string{`\033[c`, `\033[>c`, `\033[5n`, `\033[?6n`, `\033[x`, `\033[?u`, `\033[>0q`, `\033Z`, `\005`, `\033P$qm\033\134`, `\033P+q544e\033\134`, `\033]11;?\007`, `\033[?2048h`},
			[]string{"\x1b[c", "\x1b[>c", "\x1b[5n", "\x1b[?6n", "\x1b[x", "\x1b[?u", "\x1b[>0q", "\x1bZ", "\x05", "\x1bP", "\x1b]", "\x1b[?2048h"}),
		one("terminal-controls", "ask it in controls of eight bits, in UTF-8, and around what is taken out", "a control by another way to write it",
			[]string{`\2335n`, `\302\2335n`, `\302\033]0;\007\2335n`, `\033\033]0;\007[5n`, `\033[\0005n`, `\033[5\033]0;\007n`, `\300\2335n`},
			[]string{"\x9b5n", "\x1b[5n", "\x1b[\x005n"}),
		one("terminal-printer", "print on the printer at the caller's terminal, and resize its window", "beyond the screen",
			[]string{`\033[5i`, `\033[?5i`, `\033[8;1;1t`, `\033[2t`}, []string{"\x1b[5i", "\x1b[?5i", "\x1b[8;1;1t", "\x1b[2t"}),
	}
}

// terminalScenario writes to the terminal as an agent that has one of its own, which is
// relayed, and as one whose output alone goes there.
func terminalScenario(s *scene, c *canaries, write, arrives []string) (string, error) {
	if err := s.writeProfile(c, s.profile(c.target, "")); err != nil {
		return "", err
	}
	const begin, end = "from here ", " to here"
	argv := []string{"/bin/sh", "-c", "printf '" + begin + strings.Join(write, "") + end + "'; printf '" + strings.Join(write, "") + end + "' >&2"}
	found := func(text string) string {
		for _, a := range arrives {
			if strings.Contains(text, a) {
				return a
			}
		}
		return ""
	}
	free, err := s.atTerminal(c, argv...)
	if err != nil {
		return "", err
	}
	if found(free) == "" {
		return "", mootError(fmt.Sprintf("without a jail it does not arrive either: %q", free))
	}
	passes, err := s.passesTerminal(c)
	if err != nil {
		return "", err
	}
	if passes {
		return "", mootError("the profile passes what is written to the terminal")
	}
	for _, tty := range []string{"always", "never"} {
		args := []string{s.opt.Agentjail, "run", "--quiet", "--tty", tty, "--profile", c.target.Profile, "--workspace", c.target.Workspace}
		for _, v := range s.opt.Vars {
			args = append(args, "--var", v)
		}
		text, err := s.atTerminal(c, append(append(args, "--"), argv...)...)
		if err != nil {
			return "", err
		}
		if a := found(text); a != "" {
			return fmt.Sprintf("%q reached the terminal (--tty %s)", a, tty), nil
		}
		if !strings.Contains(text, begin) || strings.Count(text, end) != 2 {
			return "", fmt.Errorf("the attack did not come to its end: %q", text)
		}
	}
	return "", nil
}

// passesTerminal says whether the profile under attack wants it so.
func (s *scene) passesTerminal(c *canaries) (bool, error) {
	args := []string{"profile", "show", "--json"}
	for _, v := range s.opt.Vars {
		args = append(args, "--var", v)
	}
	cmd := exec.Command(s.opt.Agentjail, append(args, c.target.Profile)...)
	cmd.Dir, cmd.Env = c.target.Workspace, s.environment(c)
	out, err := cmd.Output()
	if err != nil {
		return false, fmt.Errorf("the profile: %w", err)
	}
	var spec struct {
		Process struct {
			Terminal string `json:"terminal"`
		} `json:"process"`
	}
	err = json.Unmarshal(out, &spec)
	return spec.Process.Terminal == "pass", err
}

// atTerminal runs a command at a new terminal and gives all that it wrote there.
func (s *scene) atTerminal(c *canaries, argv ...string) (string, error) {
	master, slave, err := openTerminal()
	if err != nil {
		return "", mootError("the host has no terminals: " + err.Error())
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.target.Workspace, s.environment(c), 10*time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	slave.Close()
	if err != nil {
		return "", errors.Join(err, master.Close())
	}
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = text.ReadFrom(master) // EIO once nobody has the other end (pty(7))
	}()
	err = cmd.Wait()
	select {
	case <-read:
	case <-ctx.Done():
	}
	err = errors.Join(err, master.Close())
	<-read
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) || ctx.Err() != nil {
		return "", fmt.Errorf("%s at a terminal: %w", argv[0], errors.Join(err, ctx.Err()))
	}
	return text.String(), nil
}

// openTerminal makes a terminal, of which the second end is a program's.
func openTerminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	conn, err := master.SyscallConn()
	n := 0
	if err == nil {
		cerr := conn.Control(func(fd uintptr) {
			if n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN); err == nil {
				err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
			}
		})
		err = errors.Join(err, cerr)
	}
	if err == nil {
		slave, err = os.OpenFile(filepath.Join("/dev/pts", fmt.Sprint(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, slave, nil
}
