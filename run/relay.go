package run

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/run/cast"
)

// relay carries the agent's input and output between the jail and our own
// descriptors: the agent never holds one of the host's.
type relay struct {
	inside [3]*os.File // the agent's ends, given away and closed by started
	stdin  *os.File    // our end of the agent's stdin
	out    sync.WaitGroup
	pipes  []*os.File // our ends of stdout and stderr
}

// meter counts the agent's output, and says when there is too much of it.
type meter struct {
	bytes atomic.Int64
	last  atomic.Int64 // time of the last output, Unix nanoseconds
	limit int64        // 0: none
	full  chan struct{}
	once  sync.Once
}

func newMeter(limit int64) *meter {
	m := &meter{limit: limit, full: make(chan struct{})}
	m.last.Store(time.Now().UnixNano())
	return m
}

// writer passes on to w what is within the limit.
func (m *meter) writer(w io.Writer) io.Writer { return meteredWriter{m, w} }

var errOutputLimit = errors.New("the output limit is reached")

type meteredWriter struct {
	m *meter
	w io.Writer
}

func (w meteredWriter) Write(p []byte) (int, error) {
	m := w.m
	m.last.Store(time.Now().UnixNano())
	total := m.bytes.Add(int64(len(p)))
	if m.limit > 0 && total > m.limit {
		keep := max(int64(len(p))-(total-m.limit), 0)
		n, err := w.w.Write(p[:keep])
		m.once.Do(func() { close(m.full) })
		if err == nil {
			err = errOutputLimit
		}
		return n, err
	}
	return w.w.Write(p)
}

// newPipes makes the pipes of a run without a terminal.
func newPipes() (*relay, error) {
	r := &relay{}
	for i := range r.inside {
		pr, pw, err := os.Pipe()
		if err != nil {
			r.close()
			return nil, err
		}
		if i == 0 {
			r.inside[0], r.stdin = pr, pw
		} else {
			r.inside[i] = pw
			r.pipes = append(r.pipes, pr)
		}
	}
	return r, nil
}

// start begins to carry, once the jail holds its own ends.
func (r *relay) start(stdin io.Reader, stdout, stderr *os.File, m *meter, sc *screens) {
	r.closeInside()
	if stdin == nil {
		r.stdin.Close()
	} else {
		go func() {
			// Ends with our stdin, or when the agent closes its own (EPIPE). It may also
			// stay blocked in a read until we exit; there is nothing to wait for.
			_, _ = io.Copy(r.stdin, stdin)
			r.stdin.Close()
		}()
	}
	for i, to := range []*os.File{stdout, stderr} {
		pipe, w := r.pipes[i], sc.writer(to)
		r.out.Add(1)
		go func() {
			defer r.out.Done()
			// A reader that went away is told to the agent as SIGPIPE, by closing.
			_, _ = io.Copy(m.writer(w), pipe)
			_ = w.Close()
			pipe.Close()
		}()
	}
}

// drain waits until everything that the agent wrote was passed on. The jail must
// be dead: then nobody holds the other ends.
func (r *relay) drain() { r.out.Wait() }

func (r *relay) closeInside() {
	for i, f := range r.inside {
		if f != nil {
			f.Close()
			r.inside[i] = nil
		}
	}
}

func (r *relay) close() {
	r.closeInside()
	if r.stdin != nil {
		r.stdin.Close()
	}
	for _, f := range r.pipes {
		f.Close()
	}
}

// terminal relays a pty made in the jail to our own terminal.
type terminal struct {
	host   *os.File // our terminal
	pty    *os.File // the jail's master
	meter  *meter
	screen *screens
	cast   *cast.Writer // nil without a recording
	input  bool         // what is typed is recorded too
	saved  *unix.Termios
	done   chan struct{}
	closed sync.Once
}

// openTerminal puts our terminal into raw mode: every key goes to the jail's pty,
// whose own line discipline makes signals of Ctrl-C and Ctrl-Z.
func openTerminal(host, pty *os.File, m *meter, sc *screens, c *cast.Writer) (*terminal, error) {
	t := &terminal{host: host, pty: pty, meter: m, screen: sc, cast: c, done: make(chan struct{})}
	if err := t.raw(); err != nil {
		return nil, err
	}
	t.resize()
	return t, nil
}

func (t *terminal) raw() error {
	fd := int(t.host.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return os.NewSyscallError("ioctl(TCGETS)", err)
	}
	if t.saved == nil {
		t.saved = old
	}
	raw := *old
	// cfmakeraw(3).
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	return os.NewSyscallError("ioctl(TCSETS)", unix.IoctlSetTermios(fd, unix.TCSETSW, &raw))
}

// restore gives our terminal back as it was found.
func (t *terminal) restore() error {
	err := unix.IoctlSetTermios(int(t.host.Fd()), unix.TCSETSW, t.saved)
	if errors.Is(err, unix.EIO) {
		return nil // it was closed under us, and nobody has it any more
	}
	return os.NewSyscallError("ioctl(TCSETS)", err)
}

// copySize gives the jail's pty our terminal's size; nil where that has none. The kernel
// sends SIGWINCH inside where the size is another one.
func copySize(host, pty *os.File) *unix.Winsize {
	ws, err := unix.IoctlGetWinsize(int(host.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return nil
	}
	_ = unix.IoctlSetWinsize(int(pty.Fd()), unix.TIOCSWINSZ, ws)
	return ws
}

// resize tells the pty, and the recording, our terminal's size.
func (t *terminal) resize() {
	ws := copySize(t.host, t.pty)
	if ws != nil && t.cast != nil {
		t.cast.Resize(int(ws.Col), int(ws.Row))
	}
}

func (t *terminal) start() {
	shown := t.screen.writer(t.host)
	var in, out io.Writer = t.pty, t.meter.writer(shown)
	if t.cast != nil {
		out = recorded(out, t.cast.Output)
		if t.input {
			in = recorded(in, t.cast.Input)
		}
	}
	go func() { _, _ = io.Copy(in, t.host) }()
	go func() {
		defer close(t.done)
		// EIO once the last process with the terminal is gone (pty(7)).
		_, _ = io.Copy(out, t.pty)
		_ = shown.Close()
	}()
}

// drain waits for the last output; the jail must be dead.
func (t *terminal) drain() { <-t.done }

// suspend stops ourselves as Ctrl-Z stopped the agent, so that the caller's shell
// takes its terminal back; it returns when the shell continues us (fg).
func (t *terminal) suspend() error {
	if err := t.restore(); err != nil {
		return err
	}
	// kill returns before every thread has stopped, and the shell must not take its
	// terminal back before we have let go of it: what follows waits for the SIGCONT.
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	// SIGSTOP, which nobody can have ignored, to our whole job.
	if err := unix.Kill(0, unix.SIGSTOP); err != nil {
		return os.NewSyscallError("kill", err)
	}
	<-continued
	if err := t.raw(); err != nil {
		return err
	}
	t.resize()
	return nil
}
