package jail

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// LayerError says which layer could not be put in force, why, and the mend. A run
// that meets one ends with exit code 125 before the agent's first instruction.
type LayerError struct {
	Layer string // "user namespace", "landlock", "seccomp" ...
	Err   error
	Hint  string // one sentence; empty where there is none
}

func (e *LayerError) Error() string {
	s := fmt.Sprintf("%s: %v", e.Layer, e.Err)
	if e.Hint != "" {
		s += "\nhint: " + e.Hint
	}
	return s
}

func (e *LayerError) Unwrap() error { return e.Err }

// CommandError says that the agent's command could not be executed. It is not a
// layer's fault: the shell's exit codes 126 and 127 stand for it.
type CommandError struct {
	Command  string
	NotFound bool
	Err      error
	Hint     string // of who knows the host; else there is a general one
}

func (e *CommandError) Error() string {
	if e.NotFound {
		return fmt.Sprintf("command %q was not found in the jail\nhint: %s", e.Command, cmp.Or(e.Hint,
			"the jail sees only what the profile reads or executes; name its folder in files { exec = [...] }"))
	}
	return fmt.Sprintf("command %q can't be executed in the jail: %v", e.Command, e.Err)
}

func (e *CommandError) Unwrap() error { return e.Err }

// layerError wraps err unless it already names its layer.
func layerError(layer string, err error, hint string) error {
	var le *LayerError
	if err == nil || errors.As(err, &le) {
		return err
	}
	return &LayerError{Layer: layer, Err: err, Hint: hint}
}

// containerHint translates libcontainer's early failures, which carry the errno
// only in their text ("... can't get final child's PID from pipe: EOF").
func containerHint(err error) (layer, hint string) {
	s := err.Error()
	switch {
	case strings.Contains(s, "unshare") && strings.Contains(s, "No space left"),
		errors.Is(err, unix.ENOSPC):
		return "user namespace", "the host allows no more user namespaces: raise user.max_user_namespaces (sysctl -w user.max_user_namespaces=15000)"
	case strings.Contains(s, "unshare") && strings.Contains(s, "Operation not permitted"),
		strings.Contains(s, "unshare") && strings.Contains(s, "Permission denied"):
		return "user namespace", "the host refuses user namespaces to this user; `agentjail doctor` names the mend"
	case strings.Contains(s, "setgroups") && strings.Contains(s, "Read-only"),
		strings.Contains(s, "uid_map"), strings.Contains(s, "gid_map"):
		return "user namespace", "/proc must be writable to map the jail's user; in a container, run it without a read-only /proc"
	case strings.Contains(s, `"proc"`) && strings.Contains(s, "operation not permitted"):
		return "proc", "a part of /proc is mounted over (as Docker does), so the kernel refuses a fresh one; run the container with --security-opt systempaths=unconfined"
	// A filter of a container engine's may let namespaces through and not these two
	// (Docker's with CAP_SYS_ADMIN added).
	case strings.Contains(s, "pivot_root"):
		return "file view", ""
	case strings.Contains(s, "session keyring"):
		return "session keyring", ""
	// libcontainer names the flag of mount_setattr(2); EINVAL is a file system that
	// can't.
	case strings.Contains(s, "MOUNT_ATTR_IDMAP"):
		return "idmapped mount", "work in a folder on ext4, xfs or btrfs, or run agentjail as an ordinary user, who needs no such mount"
	case strings.Contains(s, "cgroup"):
		return "cgroup", "the host gives no cgroup to put the limits on; `agentjail doctor` names the mend"
	}
	return "container", ""
}
