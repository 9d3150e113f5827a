package run

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/react"
)

// checkReactions finds the programs of `on` blocks before anything is started.
// workspace is its real path.
func (s *session) checkReactions(workspace string) (err error) {
	var writable []string
	if s.spec.Workspace.Mode == profiles.ModeDirect {
		writable = append(writable, workspace)
	}
	for _, p := range s.spec.Files.Write {
		writable = append(writable, p.Pattern)
	}
	s.on, err = react.Check(s.spec.On, s.host.getenv("PATH"), writable)
	return err
}

// openReactions begins to do what the profile's `on` blocks say.
func (s *session) openReactions() error {
	r, err := audit.NewRedactor(s.tls.redact)
	if err != nil {
		return err
	}
	s.masking = r
	s.react = react.New(react.Config{
		Run:    react.Run{ID: s.id, Name: s.opt.Name, Profile: s.spec.Name, Workspace: s.spec.Workspace.Path},
		On:     s.on,
		Sink:   s.sink,
		Redact: func(text string) string { text, _ = r.Redact(text); return text },
		Act:    s.asked.ask,
		// Of the caller, like its folder: the workspace may hold what the agent wrote.
		Environ: s.host.Environ, Dir: "/",
	})
	s.sink.happen = s.happened
	s.stack.push("end the profile's reactions", s.react.Close)
	return nil
}

// happened takes each event of the trail. A limit of what is done with files stops the run
// where the profile does not say otherwise: the agent was refused once already, and what
// it does next with its files is for a person to see.
func (s *session) happened(e react.Event) {
	s.react.Happened(e)
	if e.Kind != profiles.EventLimit || e.Limit == nil || e.Limit.Name != jail.LimitDelete {
		return
	}
	h := audit.LimitHit{Limit: e.Limit.Name, Value: e.Limit.Value, Unit: e.Limit.Unit}
	if e.Process != nil {
		h.Process = audit.Process{PID: e.Process.PID, Name: e.Process.Name}
	}
	s.reached.add(reachedLimit{e.Limit.Name, hitText(h), "refused"})
	if !slices.ContainsFunc(s.spec.On, func(o profiles.On) bool { return o.Event == profiles.EventLimit }) {
		s.asked.ask(profiles.ReactStop, e)
	}
}

// asked is what reactions ask of the main loop. Many events may come before it looks:
// the hardest of what they ask for counts.
type asked struct {
	ready chan struct{}
	mu    sync.Mutex
	do    profiles.Reaction
	event react.Event
}

func newAsked() *asked { return &asked{ready: make(chan struct{}, 1)} }

// hardness is the order of the reactions that end or hold a run.
func hardness(r profiles.Reaction) int {
	return slices.Index([]profiles.Reaction{profiles.ReactLog, profiles.ReactStop, profiles.ReactPause, profiles.ReactFreeze, profiles.ReactKill}, r)
}

// ask never waits.
func (a *asked) ask(do profiles.Reaction, e react.Event) {
	a.mu.Lock()
	if a.do == "" || hardness(do) > hardness(a.do) {
		a.do, a.event = do, e
	}
	a.mu.Unlock()
	select {
	case a.ready <- struct{}{}:
	default:
	}
}

// take is what is asked; ReactLog for nothing any more.
func (a *asked) take() (profiles.Reaction, react.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	do, e := a.do, a.event
	a.do, a.event = "", react.Event{}
	if do == "" {
		do = profiles.ReactLog
	}
	return do, e
}

// reasonOf is why a run ended that a reaction ended. Its exit code is 128 and the number
// of the signal that ended it, SIGTERM or SIGKILL, whatever the agent made of that.
func reasonOf(e react.Event) string {
	switch {
	case e.Kind == "":
		return e.Title // somebody's order
	case e.Kind == profiles.EventBudget:
		return "budget limit"
	case e.Kind == profiles.EventLimit && e.Limit != nil:
		return e.Limit.Name + " limit"
	}
	return fmt.Sprintf("on %q", e.Kind)
}

// sayWhy is how long a run goes on before it is stopped, so that the agent reads the
// answer that tells it why: the gateway has yet to send it.
const sayWhy = time.Second
