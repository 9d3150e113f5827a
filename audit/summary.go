package audit

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"
)

// groupsMax bounds the groups of denials that are kept apart; what is beyond is
// counted together.
const groupsMax = 4096

// A Summary is what a trail says in short.
type Summary struct {
	RunID    string           `json:"run_id,omitempty"`
	Program  string           `json:"program,omitempty"` // the command that was run
	Started  int64            `json:"started,omitempty"` // milliseconds since the epoch
	Ended    int64            `json:"ended,omitempty"`   // 0: the run goes on or crashed
	ExitCode int              `json:"exit_code"`
	Reason   string           `json:"reason,omitempty"` // why it ended
	Events   int64            `json:"events"`           // lines
	Counts   map[string]int64 `json:"counts"`           // by kind and by kind and verdict: "exec", "connect_blocked"
	Denials  []Denial         `json:"denials"`          // the most frequent first
	Findings []Denial         `json:"findings"`         // those that no policy blocked too
	Models   []ModelUse       `json:"models"`           // by cost, then tokens
	Broken   int64            `json:"broken,omitempty"` // lines that are no events
}

// A Denial is what was refused, or found, and how often.
type Denial struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	Count  int64  `json:"count"`
}

// Summarize reads a trail to its end. Lines that are no events are counted; an
// error of reading is returned with what was read before it.
func Summarize(events iter.Seq2[Event, error]) (Summary, error) {
	s := Summary{Counts: map[string]int64{}}
	denials, findings, models := groups{}, groups{}, map[EventModel]*ModelUse{}
	for e, err := range events {
		if err != nil {
			var line *LineError
			if !errors.As(err, &line) {
				return s, err
			}
			s.Broken++
			continue
		}
		s.add(e, denials, findings)
		if e.TypeUID == 600301 {
			addModel(models, e)
		}
	}
	s.Denials, s.Findings, s.Models = denials.sorted(), findings.sorted(), sortedModels(models)
	return s, nil
}

func (s *Summary) add(e Event, denials, findings groups) {
	v := e.View()
	s.Events++
	s.RunID = cmp.Or(s.RunID, e.Metadata.CorrelationUID)
	s.Counts[v.Kind] += v.Count
	if v.Verdict == string(Blocked) || v.Verdict == string(Failed) {
		s.Counts[v.Kind+"_"+v.Verdict] += v.Count
	}
	switch {
	case v.Kind == "start":
		s.Started, s.Program = e.Time, e.commandLine()
	case v.Kind == "end":
		s.Ended, s.Reason, s.ExitCode = e.Time, e.StatusDetail, e.exitCode()
	case v.Kind == "finding":
		findings.add(v)
	case v.Verdict == string(Blocked):
		v.Target = denied(e, v)
		denials.add(v)
	}
}

// denied names the target of a denial without what differs between attempts at
// the same thing, such as a pid.
func denied(e Event, v View) string {
	if v.Kind == "exec" {
		return cmp.Or(e.Process.Path, e.Process.Name, e.Process.CommandLine)
	}
	return v.Target
}

// groups counts denials that are the same but for the process.
type groups map[Denial]int64

func (g groups) add(v View) {
	d := Denial{Kind: v.Kind, Target: v.Target, Rule: v.Rule, Reason: v.Reason}
	if _, known := g[d]; !known && len(g) >= groupsMax {
		d = Denial{Kind: v.Kind, Target: "others"}
	}
	g[d] += v.Count
}

func (g groups) sorted() []Denial {
	list := make([]Denial, 0, len(g))
	for d, n := range g {
		d.Count = n
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b Denial) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Kind, b.Kind),
			strings.Compare(a.Target, b.Target), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Reason, b.Reason))
	})
	return list
}

// modelsMax bounds the models that are kept apart: a host may name as many as it likes.
const modelsMax = 256

func addModel(models map[EventModel]*ModelUse, e Event) {
	key := e.Model
	if models[key] == nil && len(models) >= modelsMax {
		key = EventModel{Provider: "others", Name: "others"}
	}
	if models[key] == nil {
		models[key] = &ModelUse{Provider: key.Provider, Model: key.Name}
	}
	models[key].add(e.modelUsage())
}

func sortedModels(models map[EventModel]*ModelUse) []ModelUse {
	list := make([]ModelUse, 0, len(models))
	for _, m := range models {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b ModelUse) int {
		return cmp.Or(cmp.Compare(b.CostMicroUSD, a.CostMicroUSD), cmp.Compare(b.Input+b.Output, a.Input+a.Output),
			strings.Compare(a.Provider, b.Provider), strings.Compare(a.Model, b.Model))
	})
	return list
}
