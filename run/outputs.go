package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// checkOutputs refuses a place that the run could not write to when it ends: an
// agent's hours of work are no time to find that out.
func checkOutputs(o Options, cwd string) error {
	if err := checkName(o.Name); err != nil {
		return err
	}
	if o.Audit != "" {
		if err := checkPath("--audit", o.Audit); err != nil {
			return err
		}
	}
	if o.Artifacts == "" {
		return nil
	}
	if err := checkPath("--artifacts", o.Artifacts); err != nil {
		return err
	}
	return checkArtifacts(absolute(cwd, o.Artifacts))
}

// checkName keeps a run's name apart from what else can stand for a run: a path, the
// word "last".
func checkName(name string) error {
	if name == "" {
		return nil
	}
	if err := checkText("--name", name, "give it a name of visible characters"); err != nil {
		return err
	}
	switch {
	case strings.Contains(name, "/") || strings.HasSuffix(name, ".jsonl"):
		return fmt.Errorf("--name %s looks like a file, as which logs and verify would take it", name)
	case name == "last" || name[0] == '-':
		return fmt.Errorf("--name %s has another meaning where a run is named", name)
	}
	return nil
}

// checkStatusFD makes sure that a descriptor is the caller's and can be written. One
// of our own would pass a check for being open: all of those close on exec, and what
// was inherited by an exec does not.
func checkStatusFD(fd int) error {
	if fd < 0 {
		return nil
	}
	hint := fmt.Sprintf("hint: as in agentjail run --status-fd %d ... %d>status.json", fd, fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return fmt.Errorf("--status-fd %d: this descriptor is not open\n%s", fd, hint)
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || mode&unix.O_ACCMODE == unix.O_RDONLY || mode&unix.O_PATH != 0 {
		return fmt.Errorf("--status-fd %d: this descriptor can't be written\n%s", fd, hint)
	}
	if fd > 2 {
		unix.CloseOnExec(fd) // nothing that we start has any business with it
	}
	return nil
}

// tellFailure writes to --status-fd that agentjail itself failed: who waits for a
// line there gets one in every case.
func (s *session) tellFailure(err error) error {
	if !s.statusOpen {
		return nil
	}
	st := status{RunID: s.info.ID, Name: s.opt.Name, ExitCode: exitCode(err), Reason: failedToStart,
		Duration: time.Since(s.begun).Seconds(), Error: err.Error()}
	if s.trail != nil { // else nothing was kept
		st.Audit, st.State, st.Artifacts = s.info.Audit, s.state, s.info.Artifacts
	}
	if s.info.Ended != nil {
		st.Reason, st.Changes, st.Refused = s.info.Reason, s.info.Changes, s.info.Refused
	}
	line, jerr := json.Marshal(st)
	if jerr != nil {
		return jerr
	}
	if _, werr := unix.Write(s.opt.StatusFD, append(line, '\n')); werr != nil {
		return fmt.Errorf("--status-fd %d: %w", s.opt.StatusFD, werr)
	}
	return nil
}

// checkArtifacts makes sure that the folder can be made or written, and that it does
// not hold another run's files: they are not overwritten.
func checkArtifacts(dir string) error {
	for _, name := range []string{fileManifest, filePatch, fileChanges} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("--artifacts %s: it has a %s already\nhint: name a new folder, or empty this one", dir, name)
		}
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) && at != "/" {
			continue // it will be made, if what is above it can be written
		}
		if err != nil {
			return fmt.Errorf("--artifacts %s: %w", dir, pathCause(err))
		}
		if !info.IsDir() {
			return fmt.Errorf("--artifacts %s: %s is no folder", dir, at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("--artifacts %s: %s can't be written: %w\nhint: name a folder of yours", dir, at, err)
		}
		return nil
	}
}
