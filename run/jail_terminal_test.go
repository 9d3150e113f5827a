package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// console is a terminal of the test's own with agentjail in the foreground.
type console struct {
	t      *testing.T
	master *os.File
	slave  *os.File // kept, to read the terminal's modes when agentjail is gone
	cmd    *exec.Cmd
	mu     sync.Mutex
	out    bytes.Buffer
	before *unix.Termios
}

// openConsole starts a command of the caller's on a fresh pty, as a terminal would.
func openConsole(t *testing.T, c *caller, argv ...string) *console {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
	t.Cleanup(cancel)
	return startConsole(t, c.command(ctx, []string{"--quiet"}, argv...))
}

// startConsole is openConsole for any command.
func startConsole(t *testing.T, cmd *exec.Cmd) *console {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("the host lacks /dev/ptmx: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	n := 0
	onFD(t, master, func(fd int) (err error) {
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	})
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("the host lacks /dev/pts: %v", err)
	}
	t.Cleanup(func() { slave.Close() })
	k := &console{t: t, master: master, slave: slave, cmd: cmd}
	k.resize(24, 80)
	k.before = k.modes()
	k.cmd.Stdin, k.cmd.Stdout, k.cmd.Stderr = slave, slave, slave
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			k.mu.Lock()
			k.out.Write(buf[:n])
			k.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return k
}

func (k *console) resize(rows, cols uint16) {
	k.t.Helper()
	onFD(k.t, k.master, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

func (k *console) modes() (modes *unix.Termios) {
	k.t.Helper()
	onFD(k.t, k.slave, func(fd int) (err error) {
		modes, err = unix.IoctlGetTermios(fd, unix.TCGETS)
		return err
	})
	return modes
}

// onFD lends a file's descriptor. File.Fd would make the file blocking, and Close
// would then wait for a Read to end that waits for the Close.
func onFD(t *testing.T, f *os.File, do func(fd int) error) {
	t.Helper()
	conn, err := f.SyscallConn()
	if err == nil {
		err = errors.Join(conn.Control(func(fd uintptr) { err = do(int(fd)) }), err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (k *console) screen() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.out.String()
}

// waitFor waits until the screen has shown a text.
func (k *console) waitFor(text string) {
	k.t.Helper()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(k.screen(), text) {
			return
		}
	}
	k.t.Fatalf("the screen does not show %q but:\n%s", text, k.screen())
}

// asked waits for a question and the prompt under it.
func (k *console) asked(question string) {
	k.t.Helper()
	for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if prompted(k.screen(), question) {
			return
		}
	}
	k.t.Fatalf("the screen does not ask %q but:\n%s", question, k.screen())
}

func (k *console) typed(keys string) {
	k.t.Helper()
	if _, err := k.master.WriteString(keys); err != nil {
		k.t.Fatal(err)
	}
}

// end waits for agentjail and checks that the terminal is as it was found.
func (k *console) end(code int) {
	k.t.Helper()
	if got := exitOf(k.t, k.cmd.Wait()); got != code {
		k.t.Errorf("exit code %d, want %d; the screen:\n%s", got, code, k.screen())
	}
	after := k.modes()
	if *after != *k.before {
		k.t.Errorf("the terminal is left in another mode: %+v, was %+v", *after, *k.before)
	}
}

func TestJailTerminal(t *testing.T) {
	t.Run("is one, of the jail's own", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; stty size; ls -1 /dev/pts; readlink /proc/self/fd/0; exit 7")
		k.end(7)
		// The jail's devpts has one pty, number 0, whatever the host's has.
		for _, want := range []string{"/dev/pts/0\r\n24 80\r\n", "0\r\nptmx\r\n/dev/pts/0\r\n"} {
			if !strings.Contains(k.screen(), want) {
				t.Errorf("the screen has no %q:\n%q", want, k.screen())
			}
		}
	})
	t.Run("is not given without both ends", func(t *testing.T) {
		c := newCaller(t, "")
		if o := c.runWith([]string{"--tty", "always"}, "true"); o.code != 125 || !strings.Contains(o.stderr, "terminal") {
			t.Errorf("--tty=always without a terminal: exit code %d, %s", o.code, o.stderr)
		}
	})
	t.Run("raw while it runs", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "echo ready; read line; echo got $line")
		k.waitFor("ready")
		if during := k.modes(); during.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
			t.Errorf("the host's terminal is not raw: %+v", during)
		}
		k.typed("typed\r")
		k.waitFor("got typed")
		k.end(0)
	})
	t.Run("resize", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", `trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done`)
		k.waitFor("ready")
		k.resize(40, 132)
		k.waitFor("40 132")
		k.end(3)
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "echo ready; exec sleep 1000")
		k.waitFor("ready")
		k.typed("\x03")
		k.end(130)
	})
	t.Run("Ctrl-C is the program's to handle", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", `trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.05; done`)
		k.waitFor("ready")
		k.typed("\x03")
		k.waitFor("caught")
		k.end(4)
	})
	t.Run("Ctrl-D", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "echo ready; cat; echo over")
		k.waitFor("ready")
		k.typed("line\r\x04")
		k.waitFor("over")
		k.end(0)
	})
	t.Run("TERM from outside", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "echo ready; exec sleep 1000")
		k.waitFor("ready")
		if err := k.cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		k.end(143)
	})
	t.Run("closed under it", func(t *testing.T) {
		k := openConsole(t, newCaller(t, ""), "sh", "-c", "echo ready; exec sleep 1000")
		k.waitFor("ready")
		k.slave.Close()
		k.master.Close() // the kernel sends SIGHUP to the session's leader
		if code := exitOf(t, k.cmd.Wait()); code != 129 {
			t.Errorf("exit code %d, want 128 + SIGHUP", code)
		}
	})
}

// TestJailJobControl is a person at a shell: Ctrl-Z, the shell's prompt, fg.
func TestJailJobControl(t *testing.T) {
	tmux := needTool(t, "tmux")
	needTool(t, "bash")
	c := newCaller(t, "")
	socket := filepath.Join(c.dir, "tmux")
	ctl := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), hangGuard)
		defer cancel()
		cmd := exec.CommandContext(ctx, tmux, append([]string{"-S", socket, "-f", "/dev/null"}, args...)...)
		// tmux runs the command by a shell; the test's user may have nologin.
		cmd.Env, cmd.Dir = append([]string{"SHELL=/bin/sh"}, c.env...), c.workspace
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = errors.Join(err, errors.New(string(out)))
		}
		return string(out), err
	}
	if _, err := ctl("new-session", "-d", "-x", "160", "-y", "40", "env PS1='prompt> ' HISTFILE= bash --norc -i"); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = ctl("kill-server") }()
	waitFor := func(pattern string) {
		t.Helper()
		re, screen := regexp.MustCompile(pattern), ""
		for end := time.Now().Add(hangGuard); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if screen, _ = ctl("capture-pane", "-p"); re.MatchString(screen) {
				return
			}
		}
		t.Fatalf("the screen does not show %q but:\n%s", pattern, screen)
	}
	keys := func(k ...string) {
		t.Helper()
		if _, err := ctl(append([]string{"send-keys"}, k...)...); err != nil {
			t.Fatal(err)
		}
	}
	// foreground continues the job. What is typed before the terminal is raw again is
	// the terminal's own to edit: a Ctrl-D would be a NUL by the time it is read.
	foreground := func() {
		t.Helper()
		keys("fg", "Enter")
		pane, err := ctl("display-message", "-p", "#{pane_tty}")
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(hangGuard); ; time.Sleep(5 * time.Millisecond) {
			modes, err := exec.Command("stty", "-a", "-F", strings.TrimSpace(pane)).CombinedOutput()
			if err != nil || time.Now().After(end) {
				t.Fatalf("the terminal does not get raw: %v\n%s", err, modes)
			}
			// A shell's line editor leaves opost on, agentjail does not.
			if strings.Contains(string(modes), "-icanon") && strings.Contains(string(modes), "-opost") {
				return
			}
		}
	}
	waitFor(`(?m)^prompt>`)
	keys(fmt.Sprintf("%s run --quiet --profile %s -- sh -c 'echo rea\"\"dy; cat; exit 5'", binary(t), c.profile), "Enter")
	waitFor(`(?m)^ready$`)
	keys("first", "Enter")
	waitFor(`(?m)^first\nfirst$`) // the terminal's echo, and cat's
	keys("C-z")
	waitFor(`Stopped`)
	keys("echo shell $((1+1))", "Enter")
	waitFor(`(?m)^shell 2$`)
	foreground()
	keys("second", "Enter")
	waitFor(`(?m)second\nsecond$`)
	keys("C-z")
	waitFor(`(?s)Stopped.*Stopped`)
	foreground()
	keys("third", "Enter")
	waitFor(`(?m)third\nthird$`) // a late "^Z" may stand before it
	keys("C-d")
	waitFor(`(?m)^third\nprompt>`)
	keys("echo code $?", "Enter")
	waitFor(`(?m)^code 5$`)
}
