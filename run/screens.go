package run

import (
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/term"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
	"github.com/agentjail/agentjail/run/screen"
)

// terminalEvent is the audit.Finding.Event of what was taken out of the agent's output.
const terminalEvent = "terminal"

// screens filter what the agent writes to terminals of the caller's. What goes to a pipe or
// to a file is data, of which not a byte is changed: whoever shows it later does so himself.
type screens struct {
	off    bool
	mu     sync.Mutex
	counts map[string]int64
}

func newScreens(p profiles.Process) *screens {
	return &screens{off: p.Terminal == profiles.TerminalPass || mutate.Off(mutate.Terminal), counts: map[string]int64{}}
}

// writer is where the agent's output goes on its way to one end of ours. Close writes what
// the filter held back, and leaves the end open.
func (s *screens) writer(to *os.File) io.WriteCloser {
	if s.off || !isTerminal(to) {
		return keptOpen{to}
	}
	return &filtered{screen.NewWriter(to), s}
}

// isTerminal asks no pipe for its descriptor: File.Fd makes one that does not block into
// one that does, for everybody who has it.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && term.IsTerminal(int(f.Fd()))
}

// layer is what the trail's first event says of the filter; nothing where no end of ours is
// a terminal.
func (s *screens) layer(ends ...*os.File) []jail.Layer {
	switch {
	case !slices.ContainsFunc(ends, isTerminal):
		return nil
	case s.off:
		return []jail.Layer{{Name: "terminal output", State: "off", Detail: "as the agent writes it"}}
	}
	return []jail.Layer{{Name: "terminal output", State: "enforced", Detail: "what draws on the screen comes through", Probe: "it is agentjail's own: no host lacks it"}}
}

// keptOpen is an end that somebody else closes.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// filtered adds up, when it is closed, what was taken out.
type filtered struct {
	*screen.Writer
	all *screens
}

func (f *filtered) Close() error {
	err := f.Writer.Close()
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	for kind, n := range f.Counts() {
		f.all.counts[kind] += n
	}
	return err
}

// taken says on one line what was taken out; "" for nothing.
func (s *screens) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return screen.Text(s.counts)
}

// record is one finding about all that was taken out. Many honest programs ask their
// terminal something and set its title; the clipboard and the printer are another matter.
func (s *screens) record(to audit.Sink) {
	text := s.taken()
	if text == "" {
		return
	}
	severity := "low"
	if s.mu.Lock(); screen.Severe(s.counts) {
		severity = "medium"
	}
	s.mu.Unlock()
	to.Emit(audit.Finding{Title: "taken out of the output to the terminal: " + text, Severity: severity, Outcome: audit.Blocked, Event: terminalEvent,
		Detail: "it acts beyond the screen, or the terminal would have typed an answer; process { terminal = \"pass\" } lets it through"})
}
