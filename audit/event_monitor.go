package audit

import (
	"encoding/json"
	"strconv"
	"time"
)

// maxPoints is the most points that one Resources event has; what is beyond is cut. A
// list may have no more than the bounds of every event say.
const maxPoints = 240

// Point is what a run used and did in one step of time.
type Point struct {
	CPU       time.Duration `json:"cpu"`       // of all of the jail's processes, within the step
	Memory    int64         `json:"memory"`    // bytes, the most that a sample of the step saw
	Processes int64         `json:"processes"` // the most that a sample of the step saw
	Network   int64         `json:"network"`   // bytes over the jail's loopback within the step: all of its traffic, headers with it
	Execs     int64         `json:"execs"`     // within the step, as all that follow
	Connects  int64         `json:"connects"`
	Requests  int64         `json:"requests"`
	Denials   int64         `json:"denials"`
	Tokens    int64         `json:"tokens"`
	Cost      int64         `json:"cost"` // millionths of a dollar
}

// Resources is a stretch of a run's timeline.
type Resources struct {
	Start  time.Time     `json:"start"`  // of the first step
	Step   time.Duration `json:"step"`   // each point's, but that the last one may be shorter
	End    time.Time     `json:"end"`    // of the last step
	Source string        `json:"source"` // what told CPU, memory and processes: "cgroup v2", "cgroup v1", "proc"
	Points []Point       `json:"points"`
}

// RunState is a change in whether a run goes on: "frozen", "thawed", "packed" and what
// else somebody asked for.
type RunState struct {
	State  string `json:"state"`
	By     string `json:"by,omitempty"`  // who asked: "uid 1000", "on anomaly"
	How    string `json:"how,omitempty"` // by what it is held: "cgroup v1 freezer"
	Detail string `json:"detail,omitempty"`
	Rule   string `json:"rule,omitempty"`
}

func (Resources) record() {}
func (RunState) record()  {}

// resources: the schema has no class for usage over time. The columns are lists of the
// same length, since an object for each point would take three times the room.
func (s source) resources(r Resources, at time.Time) (header, object) {
	h := header{
		class:    lifecycle(),
		activity: activity{99, "Other"},
		severity: informational(),
		verdict:  observed(success()),
		message:  "what the run used, in " + strconv.Itoa(len(r.Points)) + " steps",
		at:       at,
	}
	body := make(object, 0, 4)
	s.actor(&body, Process{})
	body.object("app", s.app())

	points := r.Points[:min(len(r.Points), maxPoints)]
	column := func(o *object, key string, of func(Point) int64) {
		list := make([]int64, len(points))
		for i, p := range points {
			list[i] = of(p)
		}
		o.numbers(key, list)
	}
	o := make(object, 0, 14)
	column(&o, "connects", func(p Point) int64 { return p.Connects })
	column(&o, "cost_microusd", func(p Point) int64 { return p.Cost })
	column(&o, "cpu_us", func(p Point) int64 { return p.CPU.Microseconds() })
	column(&o, "denials", func(p Point) int64 { return p.Denials })
	o.number("end", r.End.UnixMilli())
	column(&o, "execs", func(p Point) int64 { return p.Execs })
	column(&o, "memory_bytes", func(p Point) int64 { return p.Memory })
	column(&o, "network_bytes", func(p Point) int64 { return p.Network })
	column(&o, "processes", func(p Point) int64 { return p.Processes })
	column(&o, "requests", func(p Point) int64 { return p.Requests })
	o.text("source", r.Source)
	o.number("start", r.Start.UnixMilli())
	o.number("step_ms", r.Step.Milliseconds())
	column(&o, "tokens", func(p Point) int64 { return p.Tokens })
	var u object
	u.object("resources", o)
	return h, s.root(h, body, u)
}

func (s source) runState(r RunState, at time.Time) (header, object) {
	h := header{
		class:    lifecycle(),
		activity: activity{99, "Other"},
		severity: low(),
		verdict:  observed(success()),
		message:  "run " + r.State,
		rule:     r.Rule,
		reason:   r.Detail,
		at:       at,
	}
	if r.By != "" {
		h.message += " by " + r.By
	}
	body := make(object, 0, 4)
	s.actor(&body, Process{})
	body.object("app", s.app())
	state := make(object, 0, 3)
	state.text("by", r.By)
	state.text("how", r.How)
	state.text("state", r.State)
	var u object
	u.object("run_state", state)
	return h, s.root(h, body, u)
}

// EventResources is the timeline that an event has: lists of the same length.
type EventResources struct {
	Start     int64   `json:"start"`   // milliseconds since the epoch
	End       int64   `json:"end"`     // of the last step
	Step      int64   `json:"step_ms"` //
	Source    string  `json:"source"`
	CPU       []int64 `json:"cpu_us"`
	Memory    []int64 `json:"memory_bytes"`
	Processes []int64 `json:"processes"`
	Network   []int64 `json:"network_bytes"`
	Execs     []int64 `json:"execs"`
	Connects  []int64 `json:"connects"`
	Requests  []int64 `json:"requests"`
	Denials   []int64 `json:"denials"`
	Tokens    []int64 `json:"tokens"`
	Cost      []int64 `json:"cost_microusd"`
}

// Resources reads the timeline out of an event; nil where it has none, or one that is
// not whole.
func (e Event) Resources() *EventResources {
	var u struct {
		Resources *EventResources `json:"resources"`
	}
	if e.TypeUID != 600299 || json.Unmarshal(e.Unmapped, &u) != nil || u.Resources == nil {
		return nil
	}
	r := u.Resources
	for _, l := range [][]int64{r.Memory, r.Processes, r.Network, r.Execs, r.Connects, r.Requests, r.Denials, r.Tokens, r.Cost} {
		if len(l) != len(r.CPU) {
			return nil
		}
	}
	if r.Step <= 0 {
		return nil
	}
	return r
}

// stateView says a state's change in a person's words; ok where the event is one.
func (e Event) stateView() (kind, target string) {
	var u struct {
		State struct {
			State string `json:"state"`
			By    string `json:"by"`
			How   string `json:"how"`
		} `json:"run_state"`
	}
	if json.Unmarshal(e.Unmapped, &u) == nil && u.State.State != "" {
		target = u.State.State
		if u.State.By != "" {
			target += " by " + u.State.By
		}
		if u.State.How != "" {
			target += " (" + u.State.How + ")"
		}
		return "state", target
	}
	if r := e.Resources(); r != nil {
		return "usage", strconv.Itoa(len(r.CPU)) + " steps of " + (time.Duration(r.Step) * time.Millisecond).String()
	}
	return "600299", e.Message
}
