package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// finish takes the run down in its order: processes, network, what the agent left,
// the wipe, the trail's end. err is what went wrong before; the trail says so.
func (s *session) finish(end ending, err error) error {
	var errs []error
	if s.jail != nil {
		s.jail.Kill()
	}
	s.trace.done("jail killed")
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
	s.trace.done("changes collected")
	trail := s.popTrail()
	if werr := s.stack.unwind(); werr != nil {
		s.wiped.Left = append(s.wiped.Left, strings.Split(werr.Error(), "\n")...)
		errs = append(errs, fmt.Errorf("wipe: %w", werr))
	}
	s.trace.done("wipe")
	s.wiped.Removed = append(s.wiped.Removed, s.runtime)
	gone, left := leftovers(s.runtime, s.cgroups)
	s.wiped.Gone, s.wiped.Left = gone, append(s.wiped.Left, left...)
	s.sink.Emit(s.wiped)
	counts := s.sink.totals()
	re := audit.RunEnd{ExitCode: end.Code, Signal: end.Signal, Reason: end.Reason, Duration: time.Since(s.begun), Counts: counts,
		UserCPU: end.agent.UserCPU, SysCPU: end.agent.SysCPU, MaxRSS: end.agent.MaxRSS}
	if err != nil {
		re.ExitCode, re.Reason = exitCode(err), "failed to start"
		re.Details = map[string]string{"error": err.Error()}
	}
	s.sink.Emit(re)
	if terr := trail.undo(); terr != nil {
		errs = append(errs, fmt.Errorf("the trail: %w", terr))
	}
	now := time.Now().UTC()
	s.info.Ended, s.info.ExitCode, s.info.Reason, s.info.Refused = &now, &re.ExitCode, re.Reason, refused(counts)
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

// collect writes what the agent left: changes.patch, changes.json, the artifacts.
// Nothing runs in the jail any more.
func (s *session) collect() error {
	w := s.plan.Workspace
	upper := s.jail.Upper
	if upper != nil {
		defer upper.Close()
	}
	lower := w.Path
	if w.Mode == profiles.ModeEmpty {
		lower = ""
	}
	hidden := hiddenSet(w.Hidden)
	// A full disk may keep the artifacts out; the changes are still worth having.
	manifest, aerr := s.artifacts(ArtifactSource{Upper: upper, Lower: lower, Hidden: hidden})
	if upper == nil {
		return aerr
	}
	changes, err := ReadChanges(upper, lower, ChangeOptions{Hidden: hidden})
	if err != nil {
		return errors.Join(aerr, err)
	}
	if aerr == nil {
		changes.MarkArtifacts(manifest)
	}
	s.info.Changes = len(changes.Changes)
	for _, r := range changes.Records() {
		s.sink.Emit(r)
	}
	return errors.Join(aerr, s.writeChanges(changes, upper))
}

// writeChanges writes the patch and the list, here and where the caller looks.
func (s *session) writeChanges(changes *Changes, upper *os.File) error {
	err := writeFile(filepath.Join(s.state, filePatch), func(f io.Writer) error { return WritePatch(f, changes, PatchOptions{}) })
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.state, fileChanges), changes.WriteJSON); err != nil {
		return err
	}
	if s.opt.Artifacts != "" {
		// Where the caller looks: the same two files beside the artifacts.
		for _, name := range []string{filePatch, fileChanges} {
			if err := copyFile(filepath.Join(s.info.Artifacts, name), filepath.Join(s.state, name)); err != nil {
				return err
			}
		}
	}
	if s.opt.Keep {
		return s.keep(upper)
	}
	return nil
}

// artifacts copies what the profile collects.
func (s *session) artifacts(src ArtifactSource) (*Manifest, error) {
	if err := os.MkdirAll(s.info.Artifacts, 0o755); err != nil {
		return nil, fmt.Errorf("artifacts folder: %w", err)
	}
	root, err := os.OpenRoot(s.info.Artifacts)
	if err != nil {
		return nil, fmt.Errorf("artifacts folder: %w", err)
	}
	defer root.Close()
	m, err := CollectArtifacts(src, s.spec.Artifacts.Collect, root, ArtifactCaps{Size: s.spec.Artifacts.Size})
	if err != nil {
		return nil, err
	}
	return m, writeManifest(s.info.Artifacts, m)
}

func writeManifest(dir string, m *Manifest) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "manifest.json"), func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}

// keep copies every file that the agent added or changed, for --keep.
func (s *session) keep(upper *os.File) error {
	dir := filepath.Join(s.state, "kept")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m, err := CollectArtifacts(ArtifactSource{Upper: upper}, []profiles.Pattern{{Pattern: "**"}}, root, ArtifactCaps{Size: s.plan.Workspace.Size})
	if err != nil {
		return err
	}
	// It says which names were made harmless, and what could not be kept.
	return writeManifest(dir, m)
}

// hiddenSet tells which paths the jail could not see.
func hiddenSet(paths []string) func(string) bool {
	set := make(map[string]bool, len(paths))
	for _, p := range paths {
		set[p] = true
	}
	return func(p string) bool { return set[p] }
}

// writeFile makes a new file; one that is there already, or a symlink, is refused.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}

func copyFile(dst, src string) error {
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(dst, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}

// result says how the run ended, on stderr and to --status-fd, and is its exit code.
func (s *session) result(end ending) error {
	st := status{RunID: s.id, Name: s.opt.Name, ExitCode: end.Code, Signal: end.Signal, Reason: end.Reason,
		Duration: time.Since(s.begun).Seconds(), Changes: s.info.Changes, Refused: s.info.Refused,
		Audit: s.info.Audit, State: s.state, Artifacts: s.info.Artifacts}
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
	RunID     string  `json:"run_id"`
	Name      string  `json:"name,omitempty"`
	ExitCode  int     `json:"exit_code"`
	Signal    string  `json:"signal,omitempty"`
	Reason    string  `json:"reason"`
	Duration  float64 `json:"duration_seconds"`
	Changes   int     `json:"changes"`
	Refused   int64   `json:"refused"`
	Audit     string  `json:"audit"`
	State     string  `json:"state"`
	Artifacts string  `json:"artifacts"`
	Error     string  `json:"error,omitempty"`
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
		// A line for a person. That nobody can read it is no failure of the run.
		_, _ = fmt.Fprintf(s.host.Stderr, "agentjail: run %s %s in %s: %s, %d refused; see agentjail logs %s\n",
			s.id, howEnded(st), time.Duration(st.Duration*float64(time.Second)).Round(time.Millisecond), plural(st.Changes, "change"), st.Refused, s.id)
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
