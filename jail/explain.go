package jail

import (
	"fmt"
	"slices"

	seccomp "github.com/seccomp/libseccomp-golang"

	"github.com/agentjail/agentjail/profiles"
)

// CallVerdict says what the agent's filter makes of one system call.
type CallVerdict struct {
	Number  int // on this architecture; -1 where there is no such call
	Allowed bool
	Only    string          // the arguments with which it is allowed, in words; "" for any
	Answer  string          // what a refused one answers: "EPERM", "ENOSYS"
	Opened  profiles.Origin // the line that opens it; zero where no profile does
}

// conditionalCalls are those whose arguments the filter looks at (filter.go).
var conditionalCalls = map[string]string{
	"clone":       "without a new namespace",
	"ioctl":       "any request but TIOCSTI and TIOCLINUX",
	"personality": "PER_LINUX, or to ask",
	"socket":      "AF_UNIX, TCP and UDP over IPv4 and IPv6, and NETLINK_ROUTE",
	"socketpair":  "AF_UNIX",
}

// OwnProcessesOnly says whether a call that a profile may open reaches nothing but the
// agent's own processes and their memory.
func OwnProcessesOnly(name string) bool {
	return slices.Contains(syscallGroups["@ptrace"], name) || slices.Contains(syscallGroups["@numa"], name)
}

// ExplainCall says what a profile's filter answers to a call by its name. The error is
// a name that no kernel has.
func ExplainCall(name string, opened []profiles.Syscall) (CallVerdict, error) {
	number, numbered := numberedCalls[name]
	if !numbered {
		n, err := seccomp.GetSyscallFromName(name)
		if err != nil {
			return CallVerdict{}, fmt.Errorf("%q is not a system call that this build knows\nhint: names are those of syscalls(2), as in agentjail why syscall ptrace", name)
		}
		number = int(n)
	}
	v := CallVerdict{Number: max(number, -1), Answer: "EPERM"}
	for _, s := range opened {
		if s.Name == name || slices.Contains(syscallGroups[s.Name], name) {
			v.Allowed, v.Opened = true, s.Origin
			return v, nil
		}
	}
	only, conditional := conditionalCalls[name]
	switch {
	case conditional:
		v.Allowed, v.Only = true, only
	case slices.Contains(allowedCalls, name), slices.Contains(notifiedCalls, name):
		v.Allowed = true
	case slices.Contains(absentCalls, name), numbered:
		v.Answer = "ENOSYS"
	}
	return v, nil
}
