package run

import (
	"os"

	"github.com/agentjail/agentjail/jail"
)

// building is a jail on its way. The kernel and libcontainer take half of a run's start for
// it, which the run uses for what needs none of it: the rest of the plan, the trail.
type building struct {
	pipes *relay // nil with a terminal

	starting *jail.Starting
	finished bool // starting was finished, or has failed and left nothing
}

// begin has the jail's container made.
func (s *session) begin(base jail.Base) error {
	b := &building{}
	var stdio [3]*os.File
	if !s.terminal {
		var err error
		if b.pipes, err = newPipes(); err != nil {
			return err
		}
		stdio = b.pipes.inside
		s.stack.push("close the pipes", func() error { b.pipes.close(); return nil })
	}
	b.starting = jail.Begin(base, stdio)
	s.building = b
	s.stack.push("end the jail", s.endJail)
	return nil
}

// build has the jail built as it is planned.
func (s *session) build() (err error) {
	if err := s.diskUpper(); err != nil {
		return err
	}
	opts := jail.Options{CABundle: s.bundle, Sink: s.sink, Ask: s.programAsker()}
	if s.direct != nil {
		opts.Names = s.direct.names.judge
	}
	s.building.finished = true
	s.jail, err = s.building.starting.Finish(s.plan, opts)
	return err
}

// endJail ends the jail, however far it has come.
func (s *session) endJail() error {
	switch {
	case !s.building.finished:
		return s.building.starting.Abandon()
	case s.jail == nil:
		return nil
	}
	s.jail.Kill()
	return s.jail.Close()
}
