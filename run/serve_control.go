package run

import (
	"fmt"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/control"
)

// serveControl serves the run's control socket, by which other terminals answer and
// give orders. Whoever has a method puts it into the table here.
func (s *session) serveControl() error {
	srv, err := control.Listen(control.Config{Dir: s.runtime, Owner: uint32(s.host.UID), Refused: s.controlRefused})
	if err != nil {
		return err
	}
	s.handleOrders(srv)
	s.approvalMethods(srv)
	srv.Serve()
	s.stack.push("close the control socket", srv.Close)
	return nil
}

// controlRefused records somebody who connected to the control socket and may not.
func (s *session) controlRefused(who control.Peer, why error) {
	s.sink.Emit(audit.Finding{Title: "a stranger connected to the run's control socket",
		Detail: fmt.Sprintf("process %d of uid %d: %v", who.PID, who.UID, why), Severity: "high", Outcome: audit.Blocked})
}
