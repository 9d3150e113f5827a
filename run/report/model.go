package report

import "github.com/agentjail/agentjail/audit"

// The model's bounds. Trails have no bound but their size; a report that nobody can
// read to its end tells nothing.
const (
	maxHosts     = 500
	maxPrograms  = 500
	maxProcesses = 1000 // of the tree
	maxFiles     = 2000
	maxDenials   = 300
	maxFindings  = 300
	maxApprovals = 300
	maxTools     = 200
	maxMarks     = 600 // of the timeline's events
	maxPoints    = 720 // of the timeline
)

// Report is what a run did.
type Report struct {
	Run       Run               `json:"run"`
	Trail     Trail             `json:"trail"`
	Layers    []Layer           `json:"layers"`
	Limits    map[string]string `json:"limits"`
	Counts    map[string]int64  `json:"counts"`
	Programs  []Program         `json:"programs"`  // the most frequent first
	Processes []Process         `json:"processes"` // the tree, each behind its parent
	Hosts     []Host            `json:"hosts"`     // the most bytes first
	Files     Files             `json:"files"`
	Denials   []Denial          `json:"denials"`  // the most frequent first
	Findings  []Finding         `json:"findings"` // in their order, the gravest kept
	Approvals []Note            `json:"approvals"`
	States    []Note            `json:"states"` // frozen, thawed ...
	Models    []audit.ModelUse  `json:"models"`
	Tools     []Tool            `json:"tools"` // that models asked for
	Budgets   []audit.BudgetUse `json:"budgets"`
	Timeline  *Timeline         `json:"timeline,omitempty"` // nil where the trail has no samples
	Marks     []Mark            `json:"marks"`              // what stands out, by time
	More      map[string]int64  `json:"more,omitempty"`     // of each list, what was left out
}

// Run is what ran. Times are milliseconds since the epoch.
type Run struct {
	ID            string `json:"id"`
	Name          string `json:"name,omitempty"`
	Command       string `json:"command"`
	Profile       string `json:"profile,omitempty"`
	Workspace     string `json:"workspace,omitempty"`
	WorkspaceMode string `json:"workspace_mode,omitempty"`
	Mode          string `json:"mode,omitempty"` // root or rootless
	Kernel        string `json:"kernel,omitempty"`
	Version       string `json:"version,omitempty"`
	Started       int64  `json:"started,omitempty"`
	Ended         int64  `json:"ended,omitempty"` // 0: it goes on, or was killed
	Last          int64  `json:"last,omitempty"`  // of the last event
	ExitCode      int    `json:"exit_code"`
	Signal        string `json:"signal,omitempty"`
	Reason        string `json:"reason,omitempty"`
	CPU           int64  `json:"cpu_us"`
	MaxRSS        int64  `json:"max_rss_bytes"`
}

// Trail is what the report was read from.
type Trail struct {
	Events  int64  `json:"events"`
	Broken  int64  `json:"broken,omitempty"` // lines that are no events
	Verdict string `json:"verdict,omitempty"`
}

// Layer is a layer of the jail as the first event has it.
type Layer struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

// Program is a program that was started.
type Program struct {
	Path     string `json:"path"`
	Launches int64  `json:"launches"`
	Refused  int64  `json:"refused,omitempty"`
}

// Process is one of the tree.
type Process struct {
	PID     int    `json:"pid"`
	Depth   int    `json:"depth"`
	Command string `json:"command"`
	Execs   int64  `json:"execs"`          // programs that it became, one after the other
	Count   int64  `json:"count"`          // processes like it, of the same parent
	Exit    string `json:"exit,omitempty"` // how it ended
	Failed  bool   `json:"failed,omitempty"`
	CPU     int64  `json:"cpu_us,omitempty"`
}

// Host is whom the agent talked to, or wanted to.
type Host struct {
	Name     string `json:"name"`
	Port     uint16 `json:"port,omitempty"`
	Opened   int64  `json:"opened"`
	Failed   int64  `json:"failed,omitempty"`
	Refused  int64  `json:"refused,omitempty"`
	Requests int64  `json:"requests,omitempty"`
	Out      int64  `json:"bytes_out"`
	In       int64  `json:"bytes_in"`
	Inbound  bool   `json:"inbound,omitempty"`
}

// Files is what changed in the workspace.
type Files struct {
	Created  int64  `json:"created"`
	Modified int64  `json:"modified"`
	Deleted  int64  `json:"deleted"`
	Renamed  int64  `json:"renamed,omitempty"`
	List     []File `json:"list"`
}

// File is one of them. The difference is there where somebody gave it.
type File struct {
	Op      string   `json:"op"`
	Path    string   `json:"path"`
	Type    string   `json:"type,omitempty"`
	Size    int64    `json:"size,omitempty"`
	Added   int      `json:"added,omitempty"`
	Removed int      `json:"removed,omitempty"`
	Note    string   `json:"note,omitempty"` // why there are no lines
	Diff    []string `json:"diff,omitempty"` // lines of a unified diff
	Cut     bool     `json:"diff_cut,omitempty"`
}

// Denial is what was refused, and how often.
type Denial struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	Count  int64  `json:"count"`
	First  int64  `json:"first"`
	Advice string `json:"advice"` // a sentence: whether to add a rule

	Add []string `json:"add,omitempty"` // the lines of the rule, where one could be added
}

// Finding is what stood out.
type Finding struct {
	Time     int64  `json:"time"`
	Title    string `json:"title"`
	Detail   string `json:"detail,omitempty"`
	Severity string `json:"severity"`
	Verdict  string `json:"verdict,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Count    int64  `json:"count"`
}

// Note is a line about one moment.
type Note struct {
	Time    int64  `json:"time"`
	Text    string `json:"text"`
	Verdict string `json:"verdict,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// Tool is one that models asked for.
type Tool struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// Timeline is what the run used over time, in steps of one length.
type Timeline struct {
	Start  int64    `json:"start"`
	Step   int64    `json:"step_ms"`
	Source string   `json:"source,omitempty"`
	Points []Points `json:"points"`
}

// Points is one step.
type Points struct {
	CPU       int64 `json:"cpu_us"`
	Memory    int64 `json:"memory_bytes"`
	Processes int64 `json:"processes"`
	Network   int64 `json:"network_bytes"`
	Tokens    int64 `json:"tokens"`
	Execs     int64 `json:"execs"`
	Denials   int64 `json:"denials"`
}

// Mark is an event that the timeline shows.
type Mark struct {
	Time int64  `json:"time"`
	Kind string `json:"kind"` // "denied", "finding", "approval", "state"
	Text string `json:"text"`
}
