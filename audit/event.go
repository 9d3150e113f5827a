package audit

import (
	"strconv"
	"time"
)

// SchemaVersion is the version of OCSF that the events follow.
const SchemaVersion = "1.9.0-dev"

// A class is an OCSF event class.
type class struct {
	uid          int64
	name         string
	categoryUID  int64
	categoryName string
}

// The classes that a run writes, with the ids and captions of the schema.
func fileActivity() class    { return class{1001, "File System Activity", 1, "System Activity"} }
func processActivity() class { return class{1007, "Process Activity", 1, "System Activity"} }
func detection() class       { return class{2004, "Detection Finding", 2, "Findings"} }
func networkActivity() class { return class{4001, "Network Activity", 4, "Network Activity"} }
func dnsActivity() class     { return class{4003, "DNS Activity", 4, "Network Activity"} }
func lifecycle() class       { return class{6002, "Application Lifecycle", 6, "Application Activity"} }

// An activity is one of a class's activities.
type activity struct {
	id   int64
	name string
}

// caption is a value of one of the schema's enumerations: id and caption.
type caption struct {
	id   int64
	name string
}

// The severities.
func informational() caption { return caption{1, "Informational"} }
func low() caption           { return caption{2, "Low"} }
func medium() caption        { return caption{3, "Medium"} }
func high() caption          { return caption{4, "High"} }

// severityOf maps a finding's own word.
func severityOf(s string) caption {
	switch s {
	case "informational":
		return informational()
	case "low":
		return low()
	case "medium":
		return medium()
	case "high":
		return high()
	case "critical":
		return caption{5, "Critical"}
	default:
		return caption{0, "Unknown"}
	}
}

// A verdict is what was done about an attempt, in the terms of OCSF's
// security_control profile, and how the attempt went.
type verdict struct {
	action      caption
	disposition caption
	status      caption // without a name: left out
}

func success() caption { return caption{1, "Success"} }
func failure() caption { return caption{2, "Failure"} }

// observed is the verdict on what no policy decides.
func observed(status caption) verdict {
	return verdict{caption{3, "Observed"}, caption{17, "Logged"}, status}
}

// verdictOf maps an outcome. An unknown one is not passed off as allowed.
func verdictOf(o Outcome) verdict {
	switch o {
	case Allowed:
		return verdict{caption{1, "Allowed"}, caption{1, "Allowed"}, success()}
	case Blocked:
		return verdict{caption{2, "Denied"}, caption{2, "Blocked"}, failure()}
	case Failed:
		return verdict{caption{1, "Allowed"}, caption{27, "Error"}, failure()}
	default:
		return verdict{caption{0, "Unknown"}, caption{0, "Unknown"}, caption{0, "Unknown"}}
	}
}

// severityFor rates an attempt that is not a finding by itself.
func severityFor(o Outcome) caption {
	if o == Blocked {
		return low()
	}
	return informational()
}

// A source is what all events of a run share. The objects are made once, and only
// read afterwards: every event refers to the same.
type source struct {
	runID    string
	product  object
	profiles []field
	ai       []field // the same of events about models
	device   object
	session  object

	pools *pools
	arena *arena // of the event that is being built; nil: the heap
}

// newSource cleans what it is given, since no event does it again.
func newSource(runID, version string, r *Redactor) source {
	s := source{runID: runID, pools: &pools{}}
	s.product.own("name", "agentjail")
	s.product.own("vendor_name", "agentjail")
	s.product.text("version", version)
	clean(&s.product, r, ordinary())
	for _, p := range [...]string{"datetime", "host", "record_integrity", "security_control"} {
		s.profiles = append(s.profiles, field{node: node{kind: kindOwn, str: p}})
	}
	s.ai = append([]field{{node: node{kind: kindOwn, str: "ai_operation"}}}, s.profiles...)
	// The device is the jail: process ids and paths are those inside it.
	s.device.own("type", "Jail")
	s.device.number("type_id", 99) // Other
	s.device.own("uid", runID)
	s.session.own("uid", runID)
	return s
}

// header is what every event has beside its class's own attributes.
type header struct {
	class    class
	activity activity
	severity caption
	verdict  verdict
	message  string
	rule     string // origin of the rule that decided
	reason   string // why: status_detail
	at       time.Time
}

func (h header) typeUID() int64 { return h.class.uid*100 + h.activity.id }

// root makes the whole event from a header, the class's own attributes, and what
// the schema has no attribute for.
//
// Members are added in the order of their keys as far as they are known here: the
// fewer are out of order, the less there is to sort.
func (s source) root(h header, body, unmapped object) object {
	o := s.arena.object(len(body) + 28)
	o.own("action", h.verdict.action.name)
	o.number("action_id", h.verdict.action.id)
	o.number("activity_id", h.activity.id)
	o.own("activity_name", h.activity.name)
	o = append(o, field{"attestation_list", node{kind: kindAttestation}})
	o.own("category_name", h.class.categoryName)
	o.number("category_uid", h.class.categoryUID)
	o.own("class_name", h.class.name)
	o.number("class_uid", h.class.uid)
	o = append(o, body...)
	o.own("disposition", h.verdict.disposition.name)
	o.number("disposition_id", h.verdict.disposition.id)
	o.text("message", h.message)
	o.object("metadata", s.metadata(h.class))
	if h.rule != "" {
		policy := s.arena.object(2)
		policy.flag("is_applied", true)
		policy.text("uid", h.rule)
		o.object("policy", policy)
	}
	o.own("severity", h.severity.name)
	o.number("severity_id", h.severity.id)
	if h.verdict.status.name != "" {
		o.own("status", h.verdict.status.name)
		o.number("status_id", h.verdict.status.id)
	}
	o.text("status_detail", h.reason)
	o.timestamp("time", h.at)
	o.own("type_name", h.class.name+": "+h.activity.name)
	o.number("type_uid", h.typeUID())
	o.object("unmapped", unmapped)
	return o
}

func (s source) metadata(c class) object {
	profiles := s.profiles
	if c == apiActivity() {
		profiles = s.ai
	}
	m := s.arena.object(7) // and is_truncated
	m.own("correlation_uid", s.runID)
	m.object("product", s.product)
	return append(m,
		field{"profiles", node{kind: kindList, sub: profiles}},
		field{"sequence", node{kind: kindSequence}},
		field{"uid", node{kind: kindUID}},
		field{"version", node{kind: kindOwn, str: SchemaVersion}})
}

// timestamp adds a time twice, as the schema's datetime profile does: in
// milliseconds, and in RFC 3339 with the nanoseconds.
func (o *object) timestamp(key string, t time.Time) {
	o.number(key, t.UnixMilli())
	o.own(key+"_dt", t.UTC().Format("2006-01-02T15:04:05.000000000Z"))
}

// fold turns an event into the aggregate of itself and what repeated it: count is
// how many attempts it stands for (OCSF base event: count, start_time, end_time,
// duration; time stays the first one's).
func fold(root *object, count int64, first, last time.Time) {
	root.number("count", count)
	root.number("duration", last.UnixMilli()-first.UnixMilli())
	root.timestamp("start_time", first)
	root.timestamp("end_time", last)
}

// actor names the process that did something, or where that is unknown the run
// that it was in.
func (s source) actor(o *object, p Process) {
	actor := s.arena.object(1)
	if process := s.process(p); len(process) > 0 {
		actor.object("process", process)
	} else {
		actor.object("session", s.session)
	}
	o.object("actor", actor)
}

// process describes a process of the jail; nothing where nothing is known.
func (s source) process(p Process) object {
	if p.PID == 0 && p.Name == "" && p.Path == "" && len(p.Argv) == 0 {
		return nil
	}
	o := s.arena.object(9)
	o.text("cmd_line", commandLine(p.Argv))
	o.text("name", p.Name)
	if p.Parent != 0 {
		parent := s.arena.object(1)
		parent.number("pid", int64(p.Parent))
		o.object("parent_process", parent)
	}
	o.text("path", p.Path)
	if p.PID != 0 {
		o.number("pid", int64(p.PID))
	} else {
		o.own("uid", "unknown") // the schema wants one of pid, uid, cpid
	}
	o.text("working_directory", p.Cwd)
	if len(p.Argv) > 0 {
		attributes := s.arena.object(1)
		attributes.texts("argv", p.Argv)
		o.object("xattributes", attributes)
	}
	return o
}

func pidText(p Process) string {
	if p.PID == 0 {
		return ""
	}
	return "[" + strconv.Itoa(p.PID) + "]"
}
