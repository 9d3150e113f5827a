package run

import (
	"slices"

	"github.com/agentjail/agentjail/audit"
)

// victims tells which of the processes that ended by SIGKILL the kernel has killed for
// want of memory. The kernel counts its kills and names nobody; the ends come one by one,
// each a while after its kill. So each end is taken for one of the kills that nobody has
// been named for yet, and an agent that is killed by somebody else, long after a child of
// its was, did not run into its limit.
type victims struct {
	counted int64           // kills so far
	open    int64           // of them, those that nobody has been named for
	last    []audit.Process // those that were named last
}

// note takes the kernel's count and the ends since it was last called. The ends were taken
// before the count, so that each one's kill is in it. Where more have ended than the kernel
// has killed, all of them may be meant.
func (v *victims) note(kills int64, ended []audit.Process) {
	v.open += kills - v.counted
	v.counted = kills
	if v.open > 0 && len(ended) > 0 {
		v.open = max(v.open-int64(len(ended)), 0)
		v.last = ended
	}
}

// has says whether a process that ended by SIGKILL is one of them. Its end may not have
// been told yet, or was told of before its limit was looked at.
func (v *victims) has(pid int) bool {
	return v.open > 0 || slices.ContainsFunc(v.last, func(p audit.Process) bool { return p.PID == pid })
}
