package jail

import "github.com/agentjail/agentjail/audit"

// What the supervisor sees of attempts to get out. `on "escape"` is about them, and each
// is a finding of the trail.

// escapeEvent is what a finding calls it (audit.Finding).
const escapeEvent = "escape"

// killedByFilter tells of a process that the filter killed: it made a system call of a
// foreign ABI (int 0x80, x32), which no ordinary program does. A process may also send
// itself that signal, and then has only cried wolf.
func killedByFilter(sink audit.Sink, x audit.Exit) {
	if x.Signal != "SIGSYS" {
		return
	}
	sink.Emit(audit.Finding{Title: "a process was ended by the system call filter", Detail: "by SIGSYS, which a call of a foreign ABI answers (int 0x80, x32)",
		Severity: "high", Outcome: audit.Blocked, Process: x.Process, Event: escapeEvent})
}

// refusedMemory tells of a program in memory, without a file, that the rules refused: it
// is how a denied program is brought in under no name.
func refusedMemory(sink audit.Sink, rec audit.Exec) {
	sink.Emit(audit.Finding{Title: "a program in memory was refused", Detail: rec.Reason, Rule: rec.Rule,
		Severity: "high", Outcome: audit.Blocked, Process: rec.Process, Event: escapeEvent})
}
