package audit

import (
	"cmp"
	"strconv"
	"time"
)

// limitHit: a limit that only was logged blocked nothing.
func (s source) limitHit(r LimitHit, at time.Time) (header, object) {
	v := verdictOf(Blocked)
	if r.Action == "logged" {
		v = observed(caption{})
	}
	v.status = caption{1, "New"} // a finding's status is where it stands in its review
	h := header{
		class:    detection(),
		activity: activity{1, "Create"},
		severity: medium(),
		verdict:  v,
		message:  r.Limit + " limit reached at " + strconv.FormatInt(r.Value, 10) + " " + r.Unit + ": " + r.Action,
		rule:     r.Rule,
		at:       at,
	}
	body := make(object, 0, 4)
	s.actor(&body, r.Process)
	body.object("finding_info", findingInfo("limit", r.Limit+" limit reached", r.Detail))
	body.flag("is_alert", false)

	limit := make(object, 0, 4)
	limit.text("action", r.Action)
	limit.text("name", r.Limit)
	limit.text("unit", r.Unit)
	limit.number("value", r.Value)
	var u object
	u.object("limit", limit)
	return h, s.root(h, body, u)
}

func (s source) finding(r Finding, at time.Time) (header, object) {
	v := verdictOf(r.Outcome)
	v.status = caption{1, "New"}
	severity := severityOf(r.Severity)
	h := header{
		class:    detection(),
		activity: activity{1, "Create"},
		severity: severity,
		verdict:  v,
		message:  r.Title,
		rule:     r.Rule,
		at:       at,
	}
	body := make(object, 0, 4)
	s.actor(&body, r.Process)
	body.object("finding_info", findingInfo(cmp.Or(r.Event, "finding"), r.Title, r.Detail))
	body.flag("is_alert", severity.id >= medium().id)

	var u object
	if severity.id == 0 {
		u.text("severity", r.Severity)
	}
	return h, s.root(h, body, u)
}

// findingInfo: the event's uid is the finding's too, since each is reported once.
func findingInfo(detector, title, desc string) object {
	analytic := make(object, 0, 3)
	analytic.own("name", detector)
	analytic.own("type", "Rule")
	analytic.number("type_id", 1)
	o := make(object, 0, 4)
	o.object("analytic", analytic)
	o.text("desc", desc)
	o.text("title", cmp.Or(title, detector))
	return append(o, field{"uid", node{kind: kindUID}})
}
