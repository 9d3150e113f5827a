package run

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/cast"
)

// maxRecording is the most that session.cast may take.
const maxRecording = 64 << 20

// record begins the recording of a run on a terminal; nil where there is none. It has
// what the agent showed, and what was typed only where the caller asked for that: a
// password that the agent asks for is not shown.
func (s *session) record() (*cast.Writer, error) {
	if !s.terminal || s.opt.NoRecord {
		return nil, nil
	}
	r, err := audit.NewRedactor(s.tls.redact)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.state, fileCast), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	s.stack.push("close the recording", f.Close)
	h := cast.Header{Timestamp: s.begun.Unix(), Command: strings.Join(s.opt.Argv, " "), Title: "agentjail run " + s.id}
	if ws, err := unix.IoctlGetWinsize(int(s.host.Stdin.Fd()), unix.TIOCGWINSZ); err == nil {
		h.Term.Cols, h.Term.Rows = int(ws.Col), int(ws.Row)
	}
	h.Term.Type = s.host.getenv("TERM")
	return cast.NewWriter(f, h, cast.Options{Max: maxRecording, Mask: func(t string) string {
		t, _ = r.Redact(t)
		return t
	}}), nil
}

// recorded is w, and what is written to it goes into a recording too.
func recorded(w io.Writer, into func([]byte)) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		n, err := w.Write(p)
		into(p[:n])
		return n, err
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
