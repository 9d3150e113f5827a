package run

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/run/react"
)

// reachedLimit is a limit that a run has reached, for the summary at its end.
type reachedLimit struct {
	Name   string `json:"name"`
	Text   string `json:"text"`   // "memory: 4GiB limit reached by node (pid 17)"
	Action string `json:"action"` // "killed", "stopped", "held", "refused"
}

// reachedLimits keeps one of each name, the first of them first.
type reachedLimits struct {
	mu   sync.Mutex
	list []reachedLimit
}

func (r *reachedLimits) add(l reachedLimit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		if r.list[i].Name == l.Name {
			r.list[i] = l
			return
		}
	}
	r.list = append(r.list, l)
}

func (r *reachedLimits) all() []reachedLimit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]reachedLimit(nil), r.list...)
}

func limitsText(list []reachedLimit) string {
	texts := make([]string, 0, len(list))
	for _, l := range list {
		texts = append(texts, l.Text)
	}
	return strings.Join(texts, "; ")
}

// hitText says in words that a limit was reached.
func hitText(h audit.LimitHit) string {
	value := strconv.FormatInt(h.Value, 10)
	switch h.Unit {
	case "bytes":
		value = profiles.FormatSize(h.Value)
	case "ns":
		value = profiles.FormatDuration(time.Duration(h.Value))
	default:
		if _, per, ok := strings.Cut(h.Unit, "/"); ok {
			value += "/" + per
		}
	}
	text := h.Limit + ": " + value + " limit reached"
	if h.Process.PID != 0 {
		text += fmt.Sprintf(" by %s (pid %d)", plainName(h.Process.Name), h.Process.PID)
	}
	return text
}

// plainName is a program's name for a terminal: the agent chose it.
func plainName(name string) string {
	const most = 60
	if len(name) > most {
		name = name[:most] + "..."
	}
	plain := name != "" && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._+-", r))
	}) < 0
	if plain {
		return name
	}
	return strconv.QuoteToASCII(name)
}

// hitLimit puts a limit that was reached into the trail and the summary.
func (s *session) hitLimit(h audit.LimitHit) {
	s.reached.add(reachedLimit{h.Limit, hitText(h), h.Action})
	s.sink.Emit(h)
}

// over is a limit that nothing but the end of the run holds: it ends as the profile's
// `on "limit"` says, at once where that says nothing, or only that it be recorded. now is
// false where the main loop goes on until what was asked of it happens. A limit that
// others on the host depend on (canWait false) is not held by a jail that waits.
func (s *session) over(name string, l *profiles.Limit, unit string, canWait bool) (end ending, now bool) {
	h := audit.LimitHit{Limit: name, Value: l.Value, Unit: unit, Rule: l.Origin.String(), Ends: true}
	switch do := s.spec.Reaction(profiles.EventLimit).Action; {
	case do == profiles.ReactStop:
		h.Action = "stopped"
		s.hitLimit(h)
		s.asked.ask(do, react.Event{Kind: profiles.EventLimit, Ends: true, Limit: &react.Limit{Name: name, Value: l.Value, Unit: unit}})
		return ending{}, false
	case canWait && (do == profiles.ReactPause || do == profiles.ReactFreeze):
		h.Action, h.Ends = "held", false
		s.hitLimit(h)
		return ending{}, false
	}
	h.Action = "killed"
	s.hitLimit(h)
	return limitEnding(name, unix.SIGKILL), true
}

// limitEnding is the end of a run of a limit. Of the time limit it has a code of its own.
func limitEnding(name string, sig unix.Signal) ending {
	end := ending{Code: 128 + int(sig), Signal: unix.SignalName(sig), Reason: name + " limit"}
	if name == "time" {
		end.Code, end.Signal = ExitTimeLimit, ""
	}
	return end
}

// stopped is the end of a run that a reaction asked to end, by the signal that did it.
func stopped(e react.Event, sig unix.Signal) ending {
	if e.Kind == profiles.EventLimit && e.Limit != nil {
		return limitEnding(e.Limit.Name, sig)
	}
	return ending{Code: 128 + int(sig), Signal: unix.SignalName(sig), Reason: reasonOf(e)}
}
