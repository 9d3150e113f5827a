package audit

import (
	"cmp"
	"strconv"
	"time"
)

func (s source) exec(r Exec, at time.Time) (header, object) {
	what := cmp.Or(r.Process.Path, r.Process.Name, program(r.Process.Argv))
	h := header{
		class:    processActivity(),
		activity: activity{1, "Launch"},
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  "launch of " + what + " " + string(r.Outcome),
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	body := s.arena.object(5)
	s.actor(&body, Process{PID: r.Process.Parent}) // exec is asked for by the process that the parent forked
	body.object("device", s.device)
	body.own("launch_type", "Exec")
	body.number("launch_type_id", 3)
	body.object("process", s.launched(r.Process))

	var u object
	if r.Own {
		u.flag("agent_wrote", true)
	}
	if r.ArgBytes > 0 {
		u.number("argument_bytes", int64(r.ArgBytes))
	}
	if r.ArgsCut > 0 {
		u.number("arguments_left_out", int64(r.ArgsCut))
	}
	return h, s.root(h, body, u)
}

// exit is reflexive, as the schema says of a process that ends by itself: actor
// and process are the same.
func (s source) exit(r Exit, at time.Time) (header, object) {
	how := "exit code " + strconv.Itoa(r.ExitCode)
	if r.Signal != "" {
		how = "signal " + r.Signal
	}
	h := header{
		class:    processActivity(),
		activity: activity{2, "Terminate"},
		severity: informational(),
		verdict:  observed(success()), // of the activity: it did end
		message:  cmp.Or(r.Process.Name, "process") + pidText(r.Process) + " ended: " + how,
		at:       at,
	}
	body := s.arena.object(4)
	s.actor(&body, r.Process)
	body.object("device", s.device)
	body.number("exit_code", int64(r.ExitCode))
	body.object("process", s.launched(r.Process))

	var u object
	u.number("max_rss_bytes", r.MaxRSS)
	u.text("signal", r.Signal)
	u.number("system_cpu_us", r.SysCPU.Microseconds())
	u.number("user_cpu_us", r.UserCPU.Microseconds())
	return h, s.root(h, body, u)
}

// launched describes the process that an event is about, which the schema
// requires even where nothing is known of it.
func (s source) launched(p Process) object {
	if o := s.process(p); o != nil {
		return o
	}
	var o object
	o.own("uid", "unknown")
	return o
}
