package run

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/react"
)

// standstill is for how long a run was held. Its limits of time and idleness count only
// while it goes on: a run that waits for a person must not be ended for it.
type standstill struct {
	turn sync.Mutex // one order is carried out after the other

	mu    sync.Mutex
	how   jail.Frozen
	since time.Time // zero: it goes on
	total time.Duration
}

func (f *standstill) begin(how jail.Frozen) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.how, f.since = how, time.Now()
}

func (f *standstill) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total += time.Since(f.since)
	f.since = time.Time{}
}

// frozen says whether the run is held now.
func (f *standstill) frozen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.since.IsZero()
}

// spent is how long the run was held in all.
func (f *standstill) spent() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() {
		return f.total
	}
	return f.total + time.Since(f.since)
}

// freeze holds the run. who says who asked for it, rule where a profile did.
func (s *session) freeze(who, rule string) (jail.Frozen, error) {
	s.still.turn.Lock()
	defer s.still.turn.Unlock()
	f, err := s.jail.Freeze()
	if err != nil {
		return f, err
	}
	s.still.begin(f)
	s.sink.Emit(audit.RunState{State: "frozen", By: who, How: f.How, Rule: rule,
		Detail: fmt.Sprintf("%d processes, %d threads", f.Processes, f.Threads)})
	return f, nil
}

// thaw lets the run go on.
func (s *session) thaw(who string) error {
	s.still.turn.Lock()
	defer s.still.turn.Unlock()
	if err := s.jail.Thaw(); err != nil {
		return err
	}
	s.still.end()
	s.sink.Emit(audit.RunState{State: "thawed", By: who, Detail: fmt.Sprintf("it was held for %v in all", s.still.spent().Round(time.Millisecond))})
	return nil
}

// stop has the run end as a signal would: the agent is told, and has a grace period. One
// that is frozen is let go for that, since it could not hear of it.
func (s *session) stop(who string) error {
	s.sink.Emit(audit.RunState{State: "stop asked for", By: who})
	if s.still.frozen() {
		if err := s.thaw(who); err != nil {
			return err
		}
	}
	s.asked.ask(profiles.ReactStop, react.Event{Title: "stopped by " + who})
	return nil
}

// kill ends the run at once. One that is frozen does nothing more.
func (s *session) kill(who string) {
	s.sink.Emit(audit.RunState{State: "kill asked for", By: who})
	s.asked.ask(profiles.ReactKill, react.Event{Title: "killed by " + who})
}

// heldBy does what a profile says with "pause" and "freeze". It is false where the run
// has to end instead: it can't be held, or it was packed and nobody is there to look.
func (s *session) heldBy(do profiles.Reaction, e react.Event) bool {
	if s.still.frozen() {
		return true
	}
	who := fmt.Sprintf("on %q", e.Kind)
	if _, err := s.freeze(who, e.Rule); err != nil {
		// What the profile wants held does not go on.
		s.sink.Emit(audit.Finding{Title: "the run could not be held, and is ended", Detail: err.Error(), Severity: "high", Outcome: audit.Failed, Rule: e.Rule})
		return false
	}
	if do == profiles.ReactFreeze {
		if _, err := s.pack(packOptions{who: who}); err != nil {
			s.sink.Emit(audit.Finding{Title: "the frozen run could not be packed", Detail: err.Error(), Severity: "medium", Outcome: audit.Failed})
		}
		if !s.attended() {
			return false
		}
	}
	if !s.opt.Quiet {
		// The agent is held: nothing else writes to this terminal. Raw mode needs \r.
		fmt.Fprintf(s.host.Stderr, "\r\nagentjail: run %s is held (%s: %s)\r\nagentjail: in another terminal: agentjail thaw %s, or agentjail kill %s\r\n",
			s.id, who, audit.Printable(e.Title), s.id, s.id)
	}
	return true
}

// attended says whether a person sits at the run: it shows on a terminal.
func (s *session) attended() bool {
	return s.terminal || s.host.Stderr != nil && term.IsTerminal(int(s.host.Stderr.Fd()))
}
