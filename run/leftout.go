package run

import (
	"fmt"
	"strings"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/jail"
)

// tellLeftOut says what the home folder's copies were made without: who set a credential
// up in a settings file has to know why the agent does not find it.
func (s *session) tellLeftOut() {
	for _, l := range s.jail.LeftOut {
		text := leftOutText(l)
		s.sink.Emit(audit.Finding{Title: text, Detail: "redact = true: what looks like a credential stays outside of the jail", Severity: "low", Outcome: audit.Allowed, Rule: l.Origin})
		if !s.opt.Quiet && !s.opt.JSON {
			// That nobody can read it is no failure of the run.
			_, _ = fmt.Fprintln(s.host.Stderr, "agentjail:", text)
		}
	}
}

// leftOutText is one line. Names come from the host's files, and may be anything.
func leftOutText(l jail.LeftOut) string {
	if l.Path == "" {
		return fmt.Sprintf("%s more of the home folder are copied without what looks like a credential", plural(l.More, "file"))
	}
	path := audit.Printable("~/" + l.Path)
	if l.Whole != "" {
		return fmt.Sprintf("%s is not copied (%s): it can't be looked through for credentials: %s", path, l.Origin, audit.Printable(l.Whole))
	}
	places := make([]string, len(l.Places))
	for i, p := range l.Places {
		places[i] = audit.Printable(p)
	}
	if l.More > 0 {
		places = append(places, fmt.Sprintf("%d more", l.More))
	}
	return fmt.Sprintf("%s is copied without what looks like a credential (%s): %s", path, l.Origin, strings.Join(places, ", "))
}
