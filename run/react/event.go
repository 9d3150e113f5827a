package react

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// Event is something that happened to a run.
type Event struct {
	Kind    profiles.Event     `json:"event"`
	Title   string             `json:"title"`
	Detail  string             `json:"detail,omitempty"`
	Rule    string             `json:"rule,omitempty"`
	Process *Process           `json:"process,omitempty"`
	Limit   *Limit             `json:"limit,omitempty"`
	Figures map[string]float64 `json:"figures,omitempty"` // of an anomaly

	// Ends says that what happened ends the run already: there is nothing left to act
	// on but the command and the webhook.
	Ends bool `json:"-"`
}

// Process is a program of the jail.
type Process struct {
	PID  int    `json:"pid"` // as the jail numbers it
	Name string `json:"name"`
}

// Limit is a limit that was reached.
type Limit struct {
	Name  string `json:"name"`
	Value int64  `json:"value"`
	Unit  string `json:"unit"`
}

// Of says whether a record of the trail is an event that a profile may react to. Budgets
// are not among them: the ledger tells of theirs itself, once each.
func Of(r audit.Record) (Event, bool) {
	switch r := r.(type) {
	case audit.LimitHit:
		if strings.HasPrefix(r.Limit, "budget ") {
			return Event{}, false
		}
		e := Event{Kind: profiles.EventLimit, Title: r.Limit + " limit reached at " + strconv.FormatInt(r.Value, 10) + " " + r.Unit, Detail: r.Detail, Rule: r.Rule,
			Limit: &Limit{r.Limit, r.Value, r.Unit}, Ends: r.Ends}
		e.setProcess(r.Process)
		return e, true
	case audit.Exec:
		if !r.Quota {
			return Event{}, false
		}
		e := Event{Kind: profiles.EventLimit, Title: "a limit of programs was reached", Detail: r.Reason, Rule: r.Rule}
		e.setProcess(r.Process)
		return e, true
	case audit.Finding:
		switch kind := profiles.Event(r.Event); kind {
		case profiles.EventEscape, profiles.EventAnomaly:
			e := Event{Kind: kind, Title: r.Title, Detail: r.Detail, Rule: r.Rule, Figures: r.Figures}
			e.setProcess(r.Process)
			return e, true
		}
	}
	return Event{}, false
}

func (e *Event) setProcess(p audit.Process) {
	if p.PID != 0 {
		e.Process = &Process{p.PID, p.Name}
	}
}

// maxText bounds each text of a message; some of it is the agent's own.
const maxText = 2 << 10

// clean bounds a text and leaves out what is no text, and whatever redact knows.
func clean(s string, redact func(string) string) string {
	if len(s) > 2*maxText {
		s = s[:2*maxText] // before the work on it, and again after
	}
	if redact != nil {
		s = redact(s)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// Message is what a command and a webhook are given. Its form is part of what users
// build on (docs/limits.md); a field is never taken away or given another meaning
// without another Version.
type Message struct {
	Version int       `json:"version"`
	ID      string    `json:"id"` // of this message; the same when it is sent again
	Time    time.Time `json:"time"`
	Run     Run       `json:"run"`
	Event
	Action   profiles.Reaction `json:"action"`             // what becomes of the run
	Repeated int64             `json:"repeated,omitempty"` // how often the same happened since the last message about it
}

// Run names the run.
type Run struct {
	ID        string `json:"id"`
	Name      string `json:"name,omitempty"`
	Profile   string `json:"profile"`
	Workspace string `json:"workspace"`
}
