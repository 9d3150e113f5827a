package suite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// Verdict is what became of an attack.
type Verdict string

// The verdicts. An escape and a missing record are failures.
const (
	Stopped    Verdict = "stopped"
	Escaped    Verdict = "ESCAPED"
	Unrecorded Verdict = "UNRECORDED" // stopped, but the trail does not say so
	Moot       Verdict = "not meaningful here"
	NotBuilt   Verdict = "not built yet"
)

// Failed says whether a verdict is one.
func (v Verdict) Failed() bool { return v == Escaped || v == Unrecorded }

// Result is one line of the report.
type Result struct {
	Group   string  `json:"group"`
	Line    int     `json:"line"`
	Attack  string  `json:"attack"`
	What    string  `json:"what"`
	Class   string  `json:"class,omitempty"`
	Verdict Verdict `json:"verdict,omitempty"`
	Layer   string  `json:"layer,omitempty"`  // that stopped it
	Answer  string  `json:"answer,omitempty"` // in the jail
	Why     string  `json:"why,omitempty"`
}

// evidence is what there is to judge an attack by.
type evidence struct {
	answer   string // in the jail; "" where it was not tried
	marked   bool   // its mark turned up on a canary
	recorded bool   // the trail has what it must have
	needs    string // what the host lacks for it
	opened   []string
	trials   []trial
}

// trial is one without a jail.
type trial struct {
	where  attacks.Without
	answer string
	marked bool
}

func result(a attacks.Attack) Result {
	return Result{Group: a.Group(), Line: a.Line, Attack: a.ID, What: a.What, Class: a.Class}
}

// judge is the whole decision. An attack that reached something has escaped, whatever
// else is known of it; one that did not counts only if it could have.
func judge(a attacks.Attack, e evidence) Result {
	r := result(a)
	r.Answer = e.answer
	for _, c := range a.Calls {
		if slices.Contains(e.opened, c) {
			r.Verdict, r.Why = Moot, "the profile opens "+c
			return r
		}
	}
	if e.needs != "" {
		r.Verdict, r.Why = Moot, "it takes "+e.needs
		return r
	}
	if e.answer == "" {
		r.Verdict, r.Why = Escaped, "the jail gave no answer, so nothing is known of it"
		return r
	}
	r.Layer = a.Layer(e.answer)
	switch {
	case e.marked:
		r.Verdict, r.Layer, r.Why = Escaped, "", "its mark is on a canary of the host"
		return r
	case r.Layer == "" && a.ByMark:
		r.Layer = a.Stopped[0].Layer
	case r.Layer == "":
		r.Verdict, r.Why = Escaped, "no layer answers "+e.answer
		return r
	}
	if why := moot(a, e); why != "" {
		r.Verdict, r.Layer, r.Why = Moot, "", why
		return r
	}
	if a.Record != nil && !e.recorded {
		r.Verdict, r.Why = Unrecorded, fmt.Sprintf("the trail has no %s event for it", a.Record.Kind)
		return r
	}
	r.Verdict = Stopped
	return r
}

// moot says why an attack that was stopped shows nothing; "" where it does.
func moot(a attacks.Attack, e evidence) string {
	if a.Without == attacks.Inside {
		return ""
	}
	var answers []string
	for _, t := range e.trials {
		switch {
		case a.Without == attacks.Looked && t.answer == "present",
			a.Without != attacks.Looked && a.ByMark && t.marked,
			a.Without != attacks.Looked && !a.ByMark && a.Layer(t.answer) == "":
			return ""
		}
		answers = append(answers, t.answer)
	}
	switch {
	case len(e.trials) == 0:
		return "the host lacks what it takes to try it without a jail"
	case a.Without == attacks.Looked:
		return "the host has none (" + strings.Join(answers, ", ") + ")"
	}
	return "without a jail it does not work either (" + strings.Join(answers, ", ") + ")"
}
