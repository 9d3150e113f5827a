package run

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/react"
)

// ending is how the run ended.
type ending struct {
	Code     int
	Signal   string
	Reason   string // "exited", "signal", "time limit", ...
	agent    jail.End
	agentSet bool
}

// abort names what ends a run from outside its main loop.
type abort string

const (
	abortAudit abort = "audit size"
	abortTrail abort = "the trail can't be written"
)

// abort asks the main loop to end the run. It never blocks: one reason is enough.
func (s *session) abort(why abort) {
	select {
	case s.aborts <- why:
	default:
	}
}

// attend carries the agent's input and output, its signals and its limits until it
// ends or is ended.
func (s *session) attend(ctl *signals, pipes *relay) (end ending, err error) {
	m := newMeter(limitValue(s.spec.Limits.Output))
	var tty *terminal
	if s.terminal {
		recording, err := s.record()
		if err != nil {
			return end, fmt.Errorf("recording: %w", err)
		}
		if tty, err = openTerminal(s.host.Stdin, s.jail.PTY, m, s.screens, recording); err != nil {
			return end, fmt.Errorf("terminal: %w", err)
		}
		tty.input = s.opt.RecordInput
		s.stack.push("restore the terminal", tty.restore)
		tty.start()
	} else {
		var in io.Reader
		if s.host.Stdin != nil {
			in = s.host.Stdin
		}
		pipes.start(in, s.host.Stdout, s.host.Stderr, m, s.screens)
	}
	end, err = s.wait(ctl, m, tty)
	// Everything that still runs ends now; what it wrote before is passed on.
	s.jail.Kill()
	if tty != nil {
		tty.drain()
		if rerr := tty.restore(); rerr != nil && err == nil {
			err = fmt.Errorf("terminal: %w", rerr)
		}
		if tty.cast != nil {
			if cerr := tty.cast.Close(end.Code); cerr != nil {
				s.sink.Emit(audit.Finding{Title: "the recording of the terminal is not whole", Detail: cerr.Error(), Severity: "low", Outcome: audit.Failed})
			}
		}
	} else {
		pipes.drain()
	}
	s.screens.record(s.sink)
	return end, err
}

func (s *session) wait(ctl *signals, m *meter, tty *terminal) (ending, error) {
	var mustEnd, sayEnd, askedEnd <-chan time.Time
	var why *react.Event // the profile's reaction to it ends the run
	clock := s.newClock()
	defer clock.stop()
	idle := newIdle(s.spec.Limits.Idle, m, s.jail, s.waits)
	defer func() { idle.stop() }()
	sampler := s.newSampler()
	defer sampler.stop()
	full := m.full
	for {
		select {
		case e := <-s.jail.Ended():
			if sampler.last(e) {
				end := limitEnding("memory", unix.SIGKILL)
				end.agent = e
				return end, nil
			}
			end, err := s.ended(e)
			if err == nil && (askedEnd != nil || why != nil && why.Ends) {
				by := stopped(*why, unix.SIGTERM)
				end.Code, end.Signal, end.Reason = by.Code, by.Signal, by.Reason
			}
			return end, err
		case <-s.jail.Stopped():
			if tty == nil {
				continue
			}
			if err := tty.suspend(); err != nil {
				return ending{}, err
			}
			if err := s.jail.Resume(); err != nil {
				return ending{}, err
			}
		case sig := <-ctl.ch:
			ends, within := s.signal(ctl, sig.(syscall.Signal), tty)
			if ends && within == 0 {
				return ending{Code: 128 + int(sig.(syscall.Signal)), Signal: unix.SignalName(sig.(syscall.Signal)), Reason: "signal"}, nil
			}
			if ends && mustEnd == nil {
				mustEnd = time.After(within)
			}
		case <-mustEnd:
			return ending{Code: 128 + int(unix.SIGKILL), Signal: "SIGKILL", Reason: "killed after the grace period"}, nil
		case <-s.asked.ready:
			do, e := s.asked.take()
			switch do {
			case profiles.ReactKill:
				return stopped(e, unix.SIGKILL), nil
			case profiles.ReactStop:
				if why == nil {
					why, sayEnd = &e, time.After(sayWhy)
				}
			case profiles.ReactPause, profiles.ReactFreeze:
				if !s.heldBy(do, e) {
					return stopped(e, unix.SIGKILL), nil
				}
			}
		case <-sayEnd:
			// An agent that was stopped at its terminal could not end by itself.
			_ = s.jail.Signal(unix.SIGTERM)
			_ = s.jail.Signal(unix.SIGCONT)
			askedEnd = time.After(grace)
		case <-askedEnd:
			return stopped(*why, unix.SIGKILL), nil
		case <-clock.soon:
			clock.ask()
		case more := <-clock.given:
			clock.extend(more)
		case <-clock.up:
			if clock.again() {
				continue
			}
			if end, now := s.over("time", clock.limit(), "ns", true); now {
				return end, nil
			}
			// Whoever lets a held run go on gives it as much again.
			clock.restart()
		case <-idle.up:
			if end, now := s.over("idle", s.spec.Limits.Idle, "ns", true); now {
				return end, nil
			}
			idle.stop()
			idle = newIdle(s.spec.Limits.Idle, m, s.jail, s.waits)
		case name := <-sampler.over:
			l, unit := s.sampled(name)
			if end, now := s.over(name, l, unit, false); now {
				return end, nil
			}
		case <-full:
			if end, now := s.over("output", s.spec.Limits.Output, "bytes", true); now {
				return end, nil
			}
			full = nil // nothing more comes out
		case why := <-s.aborts:
			return ending{Code: ExitAgentjail, Reason: string(why)}, nil
		}
	}
}

// ended turns the agent's own end into the run's.
func (s *session) ended(e jail.End) (ending, error) {
	end := ending{agent: e, agentSet: true, Code: statusCode(e.Status), Reason: "exited"}
	var ce *jail.CommandError
	if errors.As(e.Err, &ce) {
		return end, e.Err
	}
	if e.Err != nil {
		return end, &jail.LayerError{Layer: "container", Err: e.Err, Hint: "something on the host killed it (out of memory?); its end is in the kernel's log"}
	}
	if e.Status.Signaled() {
		end.Reason, end.Signal = "signal", unix.SignalName(e.Status.Signal())
	}
	return end, nil
}

// signal passes a signal on, or handles it if it is about our terminal.
func (s *session) signal(ctl *signals, sig syscall.Signal, tty *terminal) (ends bool, within time.Duration) {
	switch sig {
	case unix.SIGWINCH:
		if tty != nil {
			tty.resize()
		}
		return false, 0
	case unix.SIGTSTP:
		// Ctrl-Z without a pty of the jail's: stop the agent, then ourselves. Errors
		// mean that it has just ended.
		// Not continued here: kill returns before we have stopped. SIGCONT does it.
		_ = s.jail.Signal(unix.SIGSTOP)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		return false, 0
	case unix.SIGCONT:
		if tty == nil {
			_ = s.jail.Signal(unix.SIGCONT)
		}
		return false, 0
	}
	if !s.still.frozen() { // nobody would take it
		_ = s.jail.Signal(sig)
	}
	return ctl.ends(sig)
}

// waits says whether the run does nothing because it is not let: it is frozen, or a person
// has yet to answer.
func (s *session) waits() bool { return s.still.frozen() || s.approvals.Holds() }

// idle watches for a run in which nothing happens: no output and no CPU time.
type idle struct {
	up   chan struct{}
	quit chan struct{}
}

func newIdle(l *profiles.Limit, m *meter, j *jail.Jail, held func() bool) *idle {
	i := &idle{up: make(chan struct{}), quit: make(chan struct{})}
	if l == nil {
		return i
	}
	go func() {
		every := min(max(l.Duration()/10, 100*time.Millisecond), 5*time.Second)
		tick := time.NewTicker(every)
		defer tick.Stop()
		cpu, since := time.Duration(-1), time.Now()
		for {
			select {
			case <-i.quit:
				return
			case now := <-tick.C:
				used := j.CPUTime()
				// A hundredth of the time is what timers and pollers cost.
				busy := cpu < 0 || used-cpu > every/100
				cpu = used
				if last := time.Unix(0, m.last.Load()); last.After(since) {
					since = last
				}
				if busy || held() {
					since = now
				}
				if now.Sub(since) >= l.Duration() {
					close(i.up)
					return
				}
			}
		}
	}()
	return i
}

func (i *idle) stop() { close(i.quit) }
