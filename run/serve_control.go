package run

import (
	"fmt"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/control"
)

// listenControl makes the run's control socket, by which other terminals answer and give
// orders; who connects waits until it is served. Whoever has a method puts it into the
// table here.
func (s *session) listenControl() (*control.Server, error) {
	srv, err := control.Listen(control.Config{Dir: s.runtime, Owner: uint32(s.host.UID), Refused: s.controlRefused})
	if err != nil {
		return nil, err
	}
	s.handleOrders(srv)
	s.approvalMethods(srv)
	s.stack.push("close the control socket", srv.Close)
	return srv, nil
}

// controlRefused records somebody who connected to the control socket and may not.
func (s *session) controlRefused(who control.Peer, why error) {
	s.sink.Emit(audit.Finding{Title: "a stranger connected to the run's control socket",
		Detail: fmt.Sprintf("process %d of uid %d: %v", who.PID, who.UID, why), Severity: "high", Outcome: audit.Blocked})
}
