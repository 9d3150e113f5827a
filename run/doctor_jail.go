package run

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
)

// trialRun is a throw-away run and what was found in force in it.
type trialRun struct {
	layers   []jail.Layer
	gateway  []audit.Layer
	features jail.Features
	rootless bool
	counts   map[string]int64
	inside   string // what its agent found
	terminal bool   // it ran on a terminal
	took     time.Duration
	err      error // nil: every layer was in force, and the agent found what it should
}

// trial runs a probe in a real jail of a profile, as `agentjail run` would, in a
// workspace of its own below dir. Its trail goes with dir.
func trial(h Host, profile, probe, dir string, tty bool) (r trialRun) {
	work, state := filepath.Join(dir, "work"), filepath.Join(dir, "state")
	for _, d := range []string{work, state} {
		if err := os.Mkdir(d, 0o711); err != nil {
			r.err = err
			return r
		}
	}
	// The agent is this binary, because nothing else is sure to be on every host.
	if r.err = copyExecutable(filepath.Join(work, "probe")); r.err != nil {
		return r
	}
	streams, err := openStreams(tty)
	if err != nil {
		r.err = &jail.LayerError{Layer: layerTerminal, Err: err}
		return r
	}
	private := h
	private.Stdin, private.Stdout, private.Stderr = streams.stdin, streams.agent, streams.agent
	private.Cwd = work
	private.Environ = append([]string{"XDG_STATE_HOME=" + state}, without(h.Environ, "XDG_STATE_HOME")...)
	mode := "never"
	if tty {
		mode = "always"
	}
	s := newSession(private, Options{Profile: profile, Workspace: work, Quiet: true, StatusFD: -1, TTY: mode,
		Argv: []string{"./probe", probeArg, probe, "."}})
	begun := time.Now()
	r.err = s.run()
	r.took, r.terminal = time.Since(begun), tty
	output := streams.close()
	r.features = s.features
	if s.jail != nil {
		r.layers = s.jail.Layers
		if s.plan != nil {
			r.layers = append(r.layers, s.ownLayers()...)
			r.rootless = s.plan.Rootless
		}
	}
	if s.network != nil {
		r.gateway = s.network.Layers()
	}
	if s.sink != nil {
		r.counts = s.sink.totals()
	}
	if r.err == nil {
		r.inside, r.err = insideResult(output)
	}
	return r
}

// insideResult finds the agent's one line of JSON in what the run wrote.
func insideResult(output []byte) (string, error) {
	for line := range bytes.Lines(output) {
		var r probeResult
		if json.Unmarshal(bytes.TrimSpace(line), &r) == nil {
			return r.Detail, r.err()
		}
	}
	return "", fmt.Errorf("the probe in the jail said nothing that doctor understands: %q", shorten(string(output), 200))
}

func without(environ []string, name string) []string {
	var rest []string
	for _, kv := range environ {
		if !strings.HasPrefix(kv, name+"=") {
			rest = append(rest, kv)
		}
	}
	return rest
}

func copyExecutable(to string) error {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// streams are what a trial runs on: a pseudo-terminal of doctor's own, or a file.
type streams struct {
	stdin  *os.File
	agent  *os.File // stdout and stderr
	master *os.File // nil without a terminal
	read   chan []byte
}

// endOfOutput is written behind the run's own output to a terminal. A terminal whose
// other end somebody still reads has no end of its own.
const endOfOutput = "\x01doctor-end\x01"

func openStreams(tty bool) (*streams, error) {
	if !tty {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		fd, err := unix.MemfdCreate("agentjail-doctor", unix.MFD_CLOEXEC)
		if err != nil {
			null.Close()
			return nil, os.NewSyscallError("memfd_create", err)
		}
		return &streams{stdin: null, agent: os.NewFile(uintptr(fd), "output")}, nil
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	slave, err := openSlave(int(master.Fd()))
	if err != nil {
		master.Close()
		return nil, err
	}
	s := &streams{stdin: slave, agent: slave, master: master, read: make(chan []byte, 1)}
	go func() {
		var data []byte
		for part := make([]byte, 4096); !bytes.HasSuffix(data, []byte(endOfOutput)); {
			n, err := master.Read(part)
			data = append(data, part[:n]...)
			if err != nil {
				break
			}
		}
		s.read <- data
	}()
	return s, nil
}

// openSlave opens a terminal's other end by its master, whatever /dev/pts is mounted
// here: ioctl_tty(2), TIOCGPTPEER, Linux 4.13.
func openSlave(master int) (*os.File, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, os.NewSyscallError("ioctl(TIOCSPTLCK)", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("ioctl(TIOCGPTPEER): %w", errno)
	}
	return os.NewFile(fd, "terminal"), nil
}

// close ends the streams and gives what was written to them.
func (s *streams) close() []byte {
	defer s.stdin.Close()
	if s.master == nil {
		defer s.agent.Close()
		data, err := io.ReadAll(io.NewSectionReader(s.agent, 0, 1<<20))
		if err != nil {
			return nil // the caller says that nothing was found
		}
		return data
	}
	if _, err := io.WriteString(s.agent, endOfOutput); err != nil {
		s.master.Close()
		return nil
	}
	data := <-s.read
	s.master.Close() // a hang-up, which ends whoever still reads the other end
	return data
}
