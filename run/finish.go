package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/audit"
)

// finish takes the run down in its order: processes, network, what the agent left,
// the wipe, the trail's end. err is what went wrong before; the trail says so.
func (s *session) finish(end ending, err error) error {
	var errs []error
	s.reserve.release()
	if s.jail != nil {
		s.jail.Kill()
	}
	s.trace.done("jail killed")
	s.files.Close()
	s.observe()
	if s.network != nil {
		// Before the trail's end, so that its last records are in it.
		if nerr := s.network.Close(); nerr != nil {
			s.sink.Emit(audit.Finding{Title: "the network ended early", Detail: nerr.Error(), Severity: "medium", Outcome: audit.Failed})
		}
	}
	if s.jail != nil && s.jail.Started() {
		if cerr := s.collect(); cerr != nil {
			errs = append(errs, cerr)
			s.sink.Emit(audit.Finding{Title: "what the agent left could not be collected whole", Detail: cerr.Error(), Severity: "medium", Outcome: audit.Failed})
		}
	}
	if s.jail != nil && s.jail.Started() && s.direct != nil {
		if terr := s.takeOut(); terr != nil {
			errs = append(errs, terr)
		}
	}
	s.trace.done("changes collected")
	kept := s.watch.end(end)
	s.tellCollector()
	// Before the trail's end, so that what became of the last messages is in it.
	errs = append(errs, s.react.Close())
	trail := s.popTrail()
	if werr := s.stack.unwind(); werr != nil {
		s.wiped.Left = append(s.wiped.Left, strings.Split(werr.Error(), "\n")...)
		errs = append(errs, fmt.Errorf("wipe: %w", werr))
	}
	kept()
	s.trace.done("wipe")
	s.wiped.Removed = append(s.wiped.Removed, s.runtime)
	if s.jail != nil {
		s.cgroups = s.jail.Cgroups() // a freeze may have made one
	}
	gone, left := leftovers(s.runtime, s.cgroups)
	s.wiped.Gone, s.wiped.Left = gone, append(s.wiped.Left, left...)
	s.sink.Emit(s.wiped)
	counts := s.sink.totals()
	re := audit.RunEnd{ExitCode: end.Code, Signal: end.Signal, Reason: end.Reason, Duration: time.Since(s.begun), Counts: counts,
		UserCPU: end.agent.UserCPU, SysCPU: end.agent.SysCPU, MaxRSS: end.agent.MaxRSS}
	if list := s.reached.all(); len(list) > 0 {
		re.Details = map[string]string{"limits": limitsText(list)}
	}
	if s.files != nil {
		if re.Details == nil {
			re.Details = map[string]string{}
		}
		re.Details["files seen live"] = s.files.String()
	}
	if s.screens != nil {
		if text := s.screens.taken(); text != "" {
			if re.Details == nil {
				re.Details = map[string]string{}
			}
			re.Details["taken out of the output to the terminal"] = text
		}
	}
	re.Budgets = s.budgetsUsed()
	if err != nil {
		re.ExitCode, re.Reason = exitCode(err), failedToStart
		re.Details = map[string]string{"error": err.Error()}
	}
	s.sink.Emit(re)
	metrics := make(chan error, 1)
	go func() { metrics <- guarded(func() error { return s.writeMetrics(end) }) }()
	if terr := trail.undo(); terr != nil {
		errs = append(errs, fmt.Errorf("the trail: %w", terr))
	}
	s.endCollector()
	if merr := <-metrics; merr != nil {
		errs = append(errs, fmt.Errorf("state folder: %w", merr))
	}
	now := time.Now().UTC()
	s.info.Ended, s.info.ExitCode, s.info.Reason, s.info.Refused = &now, &re.ExitCode, re.Reason, refused(counts)
	s.info.Models = modelsUsed(counts)
	if ierr := writeInfo(s.state, s.info); ierr != nil {
		errs = append(errs, fmt.Errorf("state folder: %w", ierr))
	}
	return errors.Join(errs...)
}

// popTrail takes the trail's closing off the stack: it comes last of all, after
// the wipe that it records.
func (s *session) popTrail() step {
	i := slices.IndexFunc(s.stack.steps, func(st step) bool { return st.what == trailStep })
	st := s.stack.steps[i]
	s.stack.steps = slices.Delete(s.stack.steps, i, i+1)
	return st
}

const trailStep = "close the trail"

// result says how the run ended, on stderr and to --status-fd, and is its exit code.
func (s *session) result(end ending) error {
	s.summarize()
	st := status{RunID: s.id, Name: s.opt.Name, ExitCode: end.Code, Signal: end.Signal, Reason: end.Reason,
		Duration: time.Since(s.begun).Seconds(), Changes: s.info.Changes, Refused: s.info.Refused, Taken: s.info.Taken, Flagged: s.info.Flagged, Unlooked: s.info.Unlooked, Models: s.info.Models,
		Limits: s.reached.all(), Audit: s.info.Audit, State: s.state, Artifacts: s.info.Artifacts}
	if err := s.report(st); err != nil {
		return err
	}
	if end.Code == 0 {
		return nil
	}
	return &ExitError{Code: end.Code}
}

// status is the end message's machine form.
type status struct {
	RunID    string `json:"run_id"`
	Name     string `json:"name,omitempty"`
	ExitCode int    `json:"exit_code"`
	Signal   string `json:"signal,omitempty"`
	Reason   string `json:"reason"`

	Limits []reachedLimit `json:"limits,omitempty"` // that were reached, whether they ended the run or not

	Duration  float64      `json:"duration_seconds"`
	Changes   int          `json:"changes"`
	Refused   int64        `json:"refused"`
	Taken     []string     `json:"taken,omitempty"`
	Flagged   []Flagged    `json:"flagged,omitempty"`
	Unlooked  int          `json:"unlooked,omitempty"`
	Models    *modelTotals `json:"models,omitempty"`
	Audit     string       `json:"audit"`
	State     string       `json:"state"`
	Artifacts string       `json:"artifacts"`
	Error     string       `json:"error,omitempty"`
}

func (s *session) report(st status) error {
	line, err := json.Marshal(st)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if s.opt.StatusFD >= 0 {
		if _, err := syscall.Write(s.opt.StatusFD, line); err != nil {
			return fmt.Errorf("--status-fd %d: %w", s.opt.StatusFD, err)
		}
	}
	switch {
	case s.opt.JSON:
		_, err = s.host.Stderr.Write(line)
	case !s.opt.Quiet:
		if n := len(s.info.Taken); n > 0 {
			_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: taken out of the workspace, since the host would execute or trust it: %s; it is in %s\n", s.takenNames(), filepath.Join(s.state, dirTaken))
		}
		if n := len(s.info.Flagged); n > 0 {
			_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: look at %s in the workspace before anything runs or trusts it:\n%s", plural(n, "changed file"), s.flaggedText())
		}
		if st.Unlooked > 0 {
			_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: nobody looked into %s more that changed\n", plural(st.Unlooked, "file"))
		}
		models := ""
		if st.Models != nil {
			models = ", " + st.Models.String()
		}
		limits := ""
		if others := slices.DeleteFunc(slices.Clone(st.Limits), func(l reachedLimit) bool { return st.Reason == l.Name+" limit" }); len(others) > 0 {
			limits = ", " + limitsText(others)
		}
		// A line for a person. That nobody can read it is no failure of the run.
		changed := plural(st.Changes, "change")
		if s.direct != nil {
			changed = "changes made in the workspace itself"
		}
		_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: run %s %s in %s: %s, %d refused%s%s; see agentjail logs %s\n",
			s.id, howEnded(st), time.Duration(st.Duration*float64(time.Second)).Round(time.Millisecond), changed, st.Refused, models, limits, s.id)
	}
	return err
}

func howEnded(st status) string {
	switch st.Reason {
	case "exited":
		return fmt.Sprintf("exited %d", st.ExitCode)
	case "signal":
		return "was ended by " + st.Signal
	}
	for _, l := range st.Limits {
		if st.Reason == l.Name+" limit" {
			return "was ended: " + l.Text
		}
	}
	return "was ended: " + st.Reason
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// gatewayUser is a user of the claimed range that owns nothing.
func gatewayUser(id uint32) *syscall.Credential {
	return &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
}
