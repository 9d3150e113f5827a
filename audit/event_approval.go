package audit

import (
	"cmp"
	"encoding/json"
	"strconv"
	"time"
)

// The steps of an approval; run/approval says when which is taken.
const (
	ApprovalAsked     = "asked"
	ApprovalAnswered  = "answered"
	ApprovalGranted   = "granted"
	ApprovalRefused   = "refused"
	ApprovalTimedOut  = "timed out"
	ApprovalWithdrawn = "withdrawn"
	ApprovalExpired   = "expired" // a grant
	ApprovalFlooded   = "flooded"
)

// Approval is a step of a question to people: that it was asked, each answer with who
// gave it, and what came of it.
type Approval struct {
	Step    string        `json:"step"`
	ID      string        `json:"id,omitempty"` // of the question, in this run
	Kind    string        `json:"about"`        // the kind of thing: "connect", "exec" ...
	What    string        `json:"what"`
	Yes     bool          `json:"yes,omitempty"` // of an answer
	By      string        `json:"by,omitempty"`  // the name that the approver gave
	UID     *uint32       `json:"uid,omitempty"` // the approver's, as the kernel said
	Channel string        `json:"channel,omitempty"`
	Once    bool          `json:"once,omitempty"` // the answer is for what was held
	For     time.Duration `json:"for,omitempty"`
	Until   time.Time     `json:"until,omitzero"` // the grant's end
	Held    int           `json:"held,omitempty"` // actions that waited
	Rule    string        `json:"rule,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Process Process       `json:"process"`
}

func (Approval) record() {}

func identity() class {
	return class{3005, "User Access Management", 3, "Identity & Access Management"}
}

// approval: a yes assigns a privilege to the agent, and whatever ends without one, or
// ends one, revokes it. OCSF has no activity for the question.
func (s source) approval(r Approval, at time.Time) (header, object) {
	h := header{
		class:    identity(),
		activity: activity{99, "Other"},
		severity: informational(),
		verdict:  observed(success()),
		message:  "approval " + r.ID + " " + r.Step + ": " + r.What,
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	switch r.Step {
	case ApprovalGranted:
		h.activity, h.verdict = activity{1, "Assign Privileges"}, verdictOf(Allowed)
	case ApprovalAnswered:
		if h.activity = (activity{2, "Revoke Privileges"}); r.Yes {
			h.activity = activity{1, "Assign Privileges"}
		}
	case ApprovalExpired:
		h.activity = activity{2, "Revoke Privileges"}
	case ApprovalRefused, ApprovalTimedOut, ApprovalWithdrawn:
		h.activity, h.severity, h.verdict = activity{2, "Revoke Privileges"}, low(), verdictOf(Blocked)
	case ApprovalFlooded:
		h.activity, h.severity, h.verdict = activity{2, "Revoke Privileges"}, medium(), verdictOf(Blocked)
	}
	body := make(object, 0, 5)
	actor := make(object, 0, 2)
	if r.Step == ApprovalAnswered {
		user := make(object, 0, 2)
		user.text("name", cmp.Or(r.By, r.Channel, "unknown"))
		if r.UID != nil {
			user.own("uid", strconv.FormatUint(uint64(*r.UID), 10))
		}
		actor.object("user", user)
	} else if process := s.process(r.Process); len(process) > 0 {
		actor.object("process", process)
	} else {
		actor.object("session", s.session)
	}
	body.object("actor", actor)
	body.object("device", s.device)
	resource := make(object, 0, 2)
	resource.text("name", cmp.Or(r.What, "unknown"))
	resource.text("type", r.Kind)
	body.objects("resources", []object{resource})
	agent := make(object, 0, 1)
	agent.own("name", "agent")
	body.object("user", agent)

	approval := make(object, 0, 8)
	approval.text("channel", r.Channel)
	if r.For > 0 {
		approval.number("for_ms", r.For.Milliseconds())
	}
	approval.number("held", int64(r.Held))
	approval.text("id", r.ID)
	if r.Once {
		approval.flag("once", true)
	}
	approval.text("step", r.Step)
	if !r.Until.IsZero() {
		approval.own("until", r.Until.UTC().Format(time.RFC3339Nano))
	}
	if r.Step == ApprovalAnswered {
		approval.flag("yes", r.Yes)
	}
	var u object
	u.object("approval", approval)
	return h, s.root(h, body, u)
}

// approvalView is a step in a person's words.
func (e Event) approvalView() string {
	var u struct {
		Approval struct {
			ID    string `json:"id"`
			Step  string `json:"step"`
			Yes   bool   `json:"yes"`
			Until string `json:"until"`
		} `json:"approval"`
	}
	_ = json.Unmarshal(e.Unmapped, &u) // what another writer left out is empty
	a := u.Approval
	text := a.Step
	switch {
	case a.Step == ApprovalAnswered && a.Yes:
		text = "yes by " + e.approver()
	case a.Step == ApprovalAnswered:
		text = "no by " + e.approver()
	case a.Until != "":
		text += " until " + a.Until
	}
	what := ""
	if len(e.Affected) > 0 {
		what = e.Affected[0].Name
	}
	if a.ID != "" {
		text = "question " + a.ID + " " + text
	}
	return text + ": " + what
}

func (e Event) approver() string {
	if e.Actor.User.UID == "" {
		return e.Actor.User.Name
	}
	return e.Actor.User.Name + " (uid " + e.Actor.User.UID + ")"
}
