package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/jail"
)

// killOrphans ends the two kinds of process that can outlive a killed supervisor. A
// jail's PID 1 dies with its supervisor from its first line on (jail.Shim), but
// before that line it is libcontainer's, and waits for ever for somebody to open
// libcontainer's fifo. And the process that libcontainer borrows a user namespace of
// for an idmapped mount asks to be traced by its parent (ptrace(2)): where that is
// init by then, it stays stopped.
func killOrphans(uid int) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := killOrphan(pid, uid, filepath.Base(exe)); err != nil {
			errs = append(errs, fmt.Errorf("end process %d of a killed run: %w", pid, err))
		}
	}
	return errors.Join(errs...)
}

func killOrphan(pid, uid int, name string) error {
	if !isOrphan(pid, uid, name) {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	// The number may be another process's by now; the descriptor stays with its own.
	if !isOrphan(pid, uid, name) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	// Its cgroup can't be removed before it is gone.
	const patience = 5 * time.Second
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(patience); ; {
		n, err := unix.Poll(poll, int(time.Until(end).Milliseconds()))
		switch {
		case n > 0:
			return nil
		case errors.Is(err, unix.EINTR) && time.Now().Before(end):
		case err != nil:
			return os.NewSyscallError("poll", err)
		default:
			return fmt.Errorf("it does not die within %v", patience)
		}
	}
}

// isOrphan recognises them: libcontainer's name for its first stages and our program's
// arguments, or its stand-in's arguments and our program; our user; and a parent that
// is no agentjail. runc's own are of another program.
func isOrphan(pid, uid int, name string) bool {
	dir := "/proc/" + strconv.Itoa(pid)
	args := arguments(pid)
	if len(args) != 2 {
		return false
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	switch args[1] {
	case jail.InitArg:
		if filepath.Base(args[0]) != name || !strings.HasPrefix(statusField(status, "Name"), "runc:[") {
			return false
		}
	case "--help":
		exe, err := os.Readlink(dir + "/exe")
		if err != nil || args[0] != "runc" || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != name {
			return false
		}
	default:
		return false
	}
	ids := strings.Fields(statusField(status, "Uid"))
	if len(ids) == 0 {
		return false
	}
	owner, err := strconv.Atoi(ids[0])
	claimed := uid == 0 && owner >= jail.UIDFirst && owner <= jail.UIDLast
	if err != nil || owner != uid && !claimed {
		return false
	}
	parent, err := strconv.Atoi(statusField(status, "PPid"))
	if err != nil {
		return false
	}
	of := arguments(parent)
	return len(of) == 0 || filepath.Base(of[0]) != name
}

// endFrozen ends what a killed run left frozen by the freezer of cgroup v1, whose
// processes don't die of the SIGKILL that they have before they are thawed
// (freezer-subsystem.rst). Each is sent one first, so that none of them does anything
// else. v2's need no help.
func endFrozen(cgroupPaths []string) error {
	const patience = 5 * time.Second
	for _, path := range cgroupPaths {
		state := filepath.Join(path, "freezer.state")
		if data, err := os.ReadFile(state); err != nil || strings.TrimSpace(string(data)) == "THAWED" {
			continue // none of the freezer's, or not frozen
		}
		pids, err := cgroups.GetPids(path)
		if err != nil {
			return err
		}
		for _, pid := range pids { // frozen: no number becomes another's
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("end the frozen process %d: %w", pid, err)
			}
		}
		if err := os.WriteFile(state, []byte("THAWED"), 0); err != nil {
			return err
		}
		for end := time.Now().Add(patience); len(pids) > 0; time.Sleep(time.Millisecond) {
			if pids, err = cgroups.GetPids(path); err != nil {
				return err
			}
			if len(pids) > 0 && time.Now().After(end) {
				return fmt.Errorf("process %d, which was frozen, does not die within %v", pids[0], patience)
			}
		}
	}
	return nil
}

func arguments(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(data, []byte{0})), "\x00")
}
