package run

import (
	"github.com/agentjail/agentjail/jail"
)

// building is a jail that is being built, which takes the kernel and libcontainer half of
// a run's start, on another processor.
type building struct {
	meter *meter
	pipes *relay // nil with a terminal

	done chan struct{}
	jail *jail.Jail
	err  error
}

// build begins to build the jail; the run goes on with what needs none of it. What keeps
// it from being begun is told by the same wait as what goes wrong on the way: by then
// there is a trail to record it.
func (s *session) build() *building {
	s.screens = newScreens(s.spec.Process)
	b := &building{done: make(chan struct{}), meter: newMeter(limitValue(s.spec.Limits.Output))}
	opts, err := s.jailOptions(b)
	if err != nil {
		b.err = err
		close(b.done)
		return b
	}
	s.stack.push("end the jail", b.end)
	go func() {
		defer close(b.done)
		b.err = guarded(func() (err error) {
			b.jail, err = jail.Start(s.plan, opts)
			return err
		})
	}()
	return b
}

// jailOptions makes what the jail is handed.
func (s *session) jailOptions(b *building) (jail.Options, error) {
	opts := jail.Options{CABundle: s.bundle, Sink: s.sink, Ask: s.programAsker()}
	if s.plan.Workspace.Disk != "" {
		if err := s.diskUpper(); err != nil {
			return opts, err
		}
	}
	if s.direct != nil {
		opts.Names = s.direct.names.judge
	}
	if !s.terminal {
		var err error
		if b.pipes, err = newPipes(b.meter, s.screens); err != nil {
			return opts, err
		}
		opts.Stdio = b.pipes.inside
		s.stack.push("close the pipes", func() error { b.pipes.close(); return nil })
	}
	return opts, nil
}

// wait waits until the jail is built.
func (b *building) wait() (*jail.Jail, error) {
	<-b.done
	return b.jail, b.err
}

// end ends a jail whose building may still go on.
func (b *building) end() error {
	<-b.done
	if b.jail == nil {
		return nil
	}
	b.jail.Kill()
	return b.jail.Close()
}
