package approval

import (
	"strconv"
	"time"
)

// Kind is what sort of thing is asked about.
type Kind string

// The kinds.
const (
	Connect Kind = "connect" // a connection to a host
	Request Kind = "request" // one HTTP request
	Exec    Kind = "exec"    // the start of a program
	Spend   Kind = "spend"   // an amount of a budget
	Extend  Kind = "extend"  // more time for the run
)

// Program is who wants it, as far as it is known. It is hostile text.
type Program struct {
	PID  int      `json:"pid,omitempty"` // in the jail
	Path string   `json:"path,omitempty"`
	Argv []string `json:"argv,omitempty"`
}

// Subject is what is asked about.
type Subject struct {
	Kind Kind
	// Key is what a grant is scoped to: two subjects of the same kind and key are the
	// same thing. It may have any bytes in it; nobody is shown it.
	Key string
	// What is the thing in a sentence's part: "connect to example.com:443". Whatever of it
	// is not ours went through Text.
	What    string
	Rule    string // its place, "web.hcl:14"
	Reason  string // of the rule
	Program Program

	// Amount is what one of it costs, in millionths; a grant is for no more at once.
	// Whatever has one is never joined with others of the same key: one yes is one spend.
	Amount int64

	// Allow is what `--always` would write into a profile; nil where nothing can be.
	Allow *Always
}

// Always is the rule that makes a question superfluous.
type Always struct {
	Host    string   `json:"host,omitempty"` // with Port and Protocol: a network rule
	Port    uint16   `json:"port,omitempty"`
	Proto   string   `json:"protocol,omitempty"`
	Program string   `json:"program,omitempty"` // with Args: a rule about a program
	Args    []string `json:"args,omitempty"`
}

// Approver is who answers. UID is the kernel's word, Name his own; Channel is the way by
// which the answer came.
type Approver struct {
	UID     uint32 `json:"uid"`
	Name    string `json:"name,omitempty"`
	Channel string `json:"channel"` // "control", "webhook"
}

// String is an approver in a line.
func (a Approver) String() string {
	s := "uid " + strconv.FormatUint(uint64(a.UID), 10)
	if a.Channel != "control" {
		s = a.Channel
	}
	if a.Name != "" {
		s = Text(a.Name) + " (" + s + ")"
	}
	return s
}

// Answer is one approver's.
type Answer struct {
	Yes  bool          `json:"yes"`
	Once bool          `json:"once,omitempty"` // for what is held now
	For  time.Duration `json:"for,omitempty"`  // 0 and not Once: for the run
	By   Approver      `json:"by"`
	At   time.Time     `json:"at"`
}

// Question is what people see of a subject.
type Question struct {
	ID       string    `json:"id"`
	Kind     Kind      `json:"kind"`
	What     string    `json:"what"`
	Program  string    `json:"program,omitempty"` // "curl (pid 17): curl https://..."
	Rule     string    `json:"rule,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Asked    time.Time `json:"asked"`
	Deadline time.Time `json:"deadline"`
	Held     int       `json:"held"` // how many wait for the answer
	Before   Before    `json:"before"`
	Quorum   int       `json:"quorum"`
	Answers  []Answer  `json:"answers"`
	Always   *Always   `json:"always,omitempty"`

	Raw Program `json:"-"` // for the trail, which cleans by itself
}

// Before is how often the same was asked before in this run.
type Before struct {
	Asked    int `json:"asked"`
	Yes      int `json:"yes"`
	No       int `json:"no"`
	TimedOut int `json:"timed_out"`
}

// Step is what became of a question.
type Step string

// The steps, in the order of a question's life.
const (
	Asked     Step = "asked"
	Answered  Step = "answered"  // by one approver
	Granted   Step = "granted"   // the question is over: yes
	Refused   Step = "refused"   // over: no
	TimedOut  Step = "timed out" // over: nobody answered
	Withdrawn Step = "withdrawn" // over: nobody waits for it any more
	Expired   Step = "expired"   // a grant is over
	Flooded   Step = "flooded"   // refused without a question: there are too many
)

// Event is a step with what belongs to it, for the trail.
type Event struct {
	Step     Step
	Question Question
	Answer   *Answer // of Answered
	Until    time.Time
	Reason   string
}

// Decision is what whoever asked is told.
type Decision struct {
	Yes    bool
	ID     string // of the question, where there was one
	Reason string // why not, in a sentence for the agent
}

func (p Program) String() string {
	if p.PID == 0 && p.Path == "" && len(p.Argv) == 0 {
		return ""
	}
	s := Text(p.Path)
	if s == "" {
		s = "process"
	}
	if p.PID != 0 {
		s += " (pid " + strconv.Itoa(p.PID) + ")"
	}
	if len(p.Argv) > 0 {
		s += ": " + Words(p.Argv)
	}
	return line(s)
}
