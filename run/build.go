package run

import (
	"os"

	"github.com/agentjail/agentjail/jail"
)

// building is a jail on its way. The kernel and libcontainer take half of a run's start for
// it, which the run uses for what needs none of it: the rest of the plan, the trail.
type building struct {
	meter *meter
	pipes *relay // nil with a terminal

	starting *jail.Starting
	taken    bool          // starting is Finish's, which ends it where it fails
	done     chan struct{} // nil before the plan is there
	jail     *jail.Jail
	err      error
}

// begin has the jail's container made.
func (s *session) begin(base jail.Base) error {
	s.screens = newScreens(s.spec.Process)
	b := &building{meter: newMeter(limitValue(s.spec.Limits.Output))}
	var stdio [3]*os.File
	if !s.terminal {
		var err error
		if b.pipes, err = newPipes(b.meter, s.screens); err != nil {
			return err
		}
		stdio = b.pipes.inside
		s.stack.push("close the pipes", func() error { b.pipes.close(); return nil })
	}
	b.starting = jail.Begin(base, stdio)
	s.stack.push("end the jail", b.end)
	s.building = b
	return nil
}

// build has the jail built as it is planned. What goes wrong is told by wait: by then there
// is a trail to record it.
func (s *session) build() {
	b := s.building
	b.done = make(chan struct{})
	opts := jail.Options{CABundle: s.bundle, Sink: s.sink, Ask: s.programAsker()}
	if s.direct != nil {
		opts.Names = s.direct.names.judge
	}
	if b.err = s.diskUpper(); b.err != nil {
		close(b.done)
		return
	}
	b.taken = true
	go func() {
		defer close(b.done)
		b.err = guarded(func() (err error) {
			b.jail, err = b.starting.Finish(s.plan, opts)
			return err
		})
	}()
}

// wait waits until the jail is built.
func (b *building) wait() (*jail.Jail, error) {
	<-b.done
	return b.jail, b.err
}

// end ends a jail whose building may still go on.
func (b *building) end() error {
	if !b.taken {
		return b.starting.Abandon()
	}
	<-b.done
	if b.jail == nil {
		return nil
	}
	b.jail.Kill()
	return b.jail.Close()
}
