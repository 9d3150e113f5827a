package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/audit"
)

// builder reads events into a Report. What it keeps is bounded, whatever the trail's
// length: lists that are sorted at the end are kept somewhat longer than they are shown.
type builder struct {
	r        *Report
	programs map[string]*Program
	hosts    map[hostKey]*Host
	denials  map[denialKey]*Denial
	findings map[findingKey]int
	models   modelUses
	tools    map[string]int64
	tree     tree
	points   []rawPoint
	source   string // of the points
	denied   int    // marks of denials
}

type (
	hostKey struct {
		name    string
		port    uint16
		inbound bool
	}
	denialKey  struct{ kind, target, rule, reason string }
	findingKey struct{ title, severity, rule string }
)

// keep is how many entries of a map are kept while the trail is read.
const keep = 4096

// Build reads a trail to its end. An error of reading is returned with what was read
// before it.
func Build(events iter.Seq2[audit.Event, error]) (*Report, error) {
	b := builder{r: &Report{Limits: map[string]string{}, Counts: map[string]int64{}, More: map[string]int64{},
		Layers: []Layer{}, Approvals: []Note{}, States: []Note{}, Marks: []Mark{}, Budgets: []audit.BudgetUse{}, Files: Files{List: []File{}}},
		programs: map[string]*Program{}, hosts: map[hostKey]*Host{}, denials: map[denialKey]*Denial{}, findings: map[findingKey]int{},
		models: modelUses{}, tools: map[string]int64{}, tree: tree{now: map[int]int{}}}
	for e, err := range events {
		if err != nil {
			var line *audit.LineError
			if !errors.As(err, &line) {
				b.finish()
				return b.r, err
			}
			b.r.Trail.Broken++
			continue
		}
		b.add(e)
	}
	b.finish()
	return b.r, nil
}

func (b *builder) add(e audit.Event) {
	v := e.View()
	r := b.r
	r.Trail.Events++
	r.Run.ID = cmp.Or(r.Run.ID, e.Metadata.CorrelationUID)
	r.Run.Last = max(r.Run.Last, e.Time)
	r.count(v)
	switch v.Kind {
	case "start":
		b.start(e, v)
	case "end":
		b.end(e)
	case "exec":
		b.exec(e, v)
	case "exit":
		b.tree.exit(e)
	case "connect", "close", "http":
		b.host(e, v)
	case "file":
		b.file(e)
	case "model":
		b.models.add(e)
	case "tool":
		b.tool(e, v)
	case "finding":
		b.finding(e, v)
	case "approval":
		r.Approvals = bounded(r, "approvals", r.Approvals, maxApprovals, Note{Time: e.Time, Text: v.Target, Verdict: v.Verdict, Detail: v.Reason})
		b.mark("approval", e.Time, v.Target)
	case "state":
		r.States = bounded(r, "states", r.States, maxApprovals, Note{Time: e.Time, Text: v.Target, Detail: v.Reason})
		b.mark("state", e.Time, v.Target)
	case "usage":
		b.usage(e)
	}
	if v.Verdict == string(audit.Blocked) && v.Kind != "finding" {
		b.denial(e, v)
	}
}

func (r *Report) count(v audit.View) {
	if len(r.Counts) >= keep {
		return
	}
	r.Counts[v.Kind] += v.Count
	if v.Verdict == string(audit.Blocked) || v.Verdict == string(audit.Failed) {
		r.Counts[v.Kind+"_"+v.Verdict] += v.Count
	}
}

// bounded appends to a list, or counts what it has no room for.
func bounded[T any](r *Report, name string, list []T, most int, x T) []T {
	if len(list) >= most {
		r.More[name]++
		return list
	}
	return append(list, x)
}

func (b *builder) mark(kind string, at int64, text string) {
	b.r.Marks = bounded(b.r, "marks", b.r.Marks, maxMarks, Mark{Time: at, Kind: kind, Text: text})
}

func (b *builder) start(e audit.Event, v audit.View) {
	var d struct {
		Device struct {
			OS struct {
				Kernel string `json:"kernel_release"`
			} `json:"os"`
		} `json:"device"`
		Unmapped struct {
			Version   string            `json:"binary_version"`
			Layers    []Layer           `json:"layers"`
			Limits    map[string]string `json:"limits"`
			Mode      string            `json:"mode"`
			Name      string            `json:"run_name"`
			Workspace struct {
				Mode string `json:"mode"`
				Path string `json:"path"`
			} `json:"workspace"`
		} `json:"unmapped"`
	}
	_ = json.Unmarshal(e.Raw, &d) // what another writer left out is empty
	r, u := &b.r.Run, d.Unmapped
	r.Command, r.Started, r.Profile, r.Name = v.Target, e.Time, e.Policy.Name, u.Name
	r.Kernel, r.Version, r.Mode = d.Device.OS.Kernel, u.Version, u.Mode
	r.Workspace, r.WorkspaceMode = u.Workspace.Path, u.Workspace.Mode
	b.r.Layers = append(b.r.Layers, u.Layers[:min(len(u.Layers), maxFindings)]...)
	if len(u.Limits) <= maxFindings && u.Limits != nil {
		b.r.Limits = u.Limits
	}
}

func (b *builder) end(e audit.Event) {
	var u struct {
		ExitCode int               `json:"exit_code"`
		MaxRSS   int64             `json:"max_rss_bytes"`
		Signal   string            `json:"signal"`
		System   int64             `json:"system_cpu_us"`
		User     int64             `json:"user_cpu_us"`
		Budgets  []audit.BudgetUse `json:"budgets"`
	}
	_ = json.Unmarshal(e.Unmapped, &u) // as above
	r := &b.r.Run
	r.Ended, r.ExitCode, r.Signal, r.Reason = e.Time, u.ExitCode, u.Signal, e.StatusDetail
	r.CPU, r.MaxRSS = u.System+u.User, u.MaxRSS
	b.r.Budgets = append(b.r.Budgets, u.Budgets[:min(len(u.Budgets), maxFindings)]...)
}

func (b *builder) exec(e audit.Event, v audit.View) {
	path := cmp.Or(e.Process.Path, e.Process.Name, "unknown")
	p := b.programs[path]
	if p == nil {
		if len(b.programs) >= keep {
			b.r.More["programs"]++
			return
		}
		p = &Program{Path: path}
		b.programs[path] = p
	}
	if v.Verdict == string(audit.Blocked) {
		p.Refused += v.Count
		return
	}
	p.Launches += v.Count
	b.tree.exec(e)
}

func (b *builder) host(e audit.Event, v audit.View) {
	k := hostKey{cmp.Or(e.Dst.Hostname, e.Dst.IP, e.HTTPRequest.URL.Hostname, "unknown"), e.Dst.Port, e.Connection.Direction == "Inbound"}
	h := b.hosts[k]
	if h == nil {
		if len(b.hosts) >= keep {
			b.r.More["hosts"]++
			return
		}
		h = &Host{Name: k.name, Port: k.port, Inbound: k.inbound}
		b.hosts[k] = h
	}
	switch {
	case v.Kind == "close":
		h.In, h.Out = h.In+max(e.Traffic.BytesIn, 0), h.Out+max(e.Traffic.BytesOut, 0)
	case v.Verdict == string(audit.Blocked):
		h.Refused += v.Count
	case v.Kind == "http":
		h.Requests += v.Count
	case v.Verdict == string(audit.Failed):
		h.Failed += v.Count
	default:
		h.Opened += v.Count
	}
}

func (b *builder) file(e audit.Event) {
	f := &b.r.Files
	x := File{Path: e.File.Path, Type: strings.ToLower(e.File.Type), Size: e.File.Size}
	switch e.ActivityID {
	case 1:
		x.Op = "created"
		f.Created++
	case 4:
		x.Op = "deleted"
		f.Deleted++
	case 5:
		x.Op, x.Note, x.Path = "renamed", "was "+e.File.Path, e.FileResult.Path
		f.Renamed++
	default:
		x.Op = "modified"
		f.Modified++
	}
	f.List = bounded(b.r, "files", f.List, maxFiles, x)
}

func (b *builder) tool(e audit.Event, v audit.View) {
	name := cmp.Or(e.API.Operation, "unknown")
	if _, known := b.tools[name]; !known && len(b.tools) >= keep {
		b.r.More["tools"]++
		return
	}
	b.tools[name] += v.Count
}

func (b *builder) finding(e audit.Event, v audit.View) {
	severity := severityName(e.SeverityID)
	k := findingKey{v.Target, severity, v.Rule}
	if i, known := b.findings[k]; known {
		b.r.Findings[i].Count += v.Count
		return
	}
	if len(b.findings) >= keep {
		b.r.More["findings"]++
		return
	}
	b.findings[k] = len(b.r.Findings)
	b.r.Findings = append(b.r.Findings, Finding{Time: e.Time, Title: v.Target, Detail: v.Reason, Severity: severity, Verdict: v.Verdict, Rule: v.Rule, Count: v.Count})
	if e.SeverityID >= 3 {
		b.mark("finding", e.Time, v.Target)
	}
}

func severityName(id int) string {
	names := []string{"unknown", "informational", "low", "medium", "high", "critical", "fatal"}
	if id < 0 || id >= len(names) {
		return "unknown"
	}
	return names[id]
}

// maxDeniedMarks leaves room for what is rarer and says more.
const maxDeniedMarks = maxMarks / 2

func (b *builder) denial(e audit.Event, v audit.View) {
	target := v.Target // without what differs between attempts at the same
	switch v.Kind {
	case "exec":
		target = cmp.Or(e.Process.Path, e.Process.Name, e.Process.CommandLine)
	case "dns":
		target = e.Query.Hostname
	}
	if b.denied < maxDeniedMarks {
		b.denied++
		b.mark("denied", e.Time, v.Kind+" "+target)
	}
	k := denialKey{v.Kind, target, v.Rule, v.Reason}
	d := b.denials[k]
	if d == nil {
		if len(b.denials) >= keep {
			b.r.More["denials"]++
			return
		}
		d = &Denial{Kind: v.Kind, Target: target, Rule: v.Rule, Reason: v.Reason, First: e.Time}
		d.Advice, d.Add = advise(e, v)
		b.denials[k] = d
	}
	d.Count += v.Count
}

// finish sorts and cuts what was kept.
func (b *builder) finish() {
	r := b.r
	r.Programs = sorted(r, "programs", b.programs, maxPrograms, func(x, y Program) int {
		return cmp.Or(cmp.Compare(y.Launches+y.Refused, x.Launches+x.Refused), strings.Compare(x.Path, y.Path))
	})
	r.Hosts = sorted(r, "hosts", b.hosts, maxHosts, func(x, y Host) int {
		return cmp.Or(cmp.Compare(y.In+y.Out, x.In+x.Out), cmp.Compare(y.Opened+y.Refused, x.Opened+x.Refused), strings.Compare(x.Name, y.Name), cmp.Compare(x.Port, y.Port))
	})
	r.Denials = sorted(r, "denials", b.denials, maxDenials, func(x, y Denial) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), strings.Compare(x.Kind, y.Kind), strings.Compare(x.Target, y.Target), strings.Compare(x.Rule, y.Rule), strings.Compare(x.Reason, y.Reason))
	})
	slices.SortStableFunc(r.Findings, func(x, y Finding) int { return cmp.Compare(rank(y.Severity), rank(x.Severity)) })
	if n := len(r.Findings); n > maxFindings {
		r.Findings = r.Findings[:maxFindings]
		r.More["findings"] += int64(n - maxFindings)
	}
	if r.Findings == nil {
		r.Findings = []Finding{}
	}
	r.Tools = []Tool{}
	for name, n := range b.tools {
		r.Tools = append(r.Tools, Tool{name, n})
	}
	slices.SortFunc(r.Tools, func(x, y Tool) int { return cmp.Or(cmp.Compare(y.Count, x.Count), strings.Compare(x.Name, y.Name)) })
	if n := len(r.Tools); n > maxTools {
		r.Tools = r.Tools[:maxTools]
		r.More["tools"] += int64(n - maxTools)
	}
	r.Models = b.models.sorted()
	r.Processes = b.tree.list(r)
	if t := resample(b.points); t != nil {
		t.Source, r.Timeline = b.source, t
	}
	slices.SortStableFunc(r.Marks, func(x, y Mark) int { return cmp.Compare(x.Time, y.Time) })
}

func rank(severity string) int {
	return slices.Index([]string{"unknown", "informational", "low", "medium", "high", "critical", "fatal"}, severity)
}

func sorted[K comparable, T any](r *Report, name string, m map[K]*T, most int, by func(x, y T) int) []T {
	list := make([]T, 0, len(m))
	for _, x := range m {
		list = append(list, *x)
	}
	slices.SortFunc(list, by)
	if n := len(list); n > most {
		r.More[name] += int64(n - most)
		list = list[:most]
	}
	return list
}

// modelUses sums the calls of each model, as audit.Summarize does.
type modelUses map[audit.EventModel]*audit.ModelUse

func (m modelUses) add(e audit.Event) {
	k := e.Model
	if m[k] == nil && len(m) >= maxTools {
		k = audit.EventModel{Provider: "others", Name: "others"}
	}
	if m[k] == nil {
		m[k] = &audit.ModelUse{Provider: k.Provider, Model: k.Name}
	}
	m[k].Add(e)
}

func (m modelUses) sorted() []audit.ModelUse {
	list := make([]audit.ModelUse, 0, len(m))
	for _, u := range m {
		list = append(list, *u)
	}
	slices.SortFunc(list, func(x, y audit.ModelUse) int {
		return cmp.Or(cmp.Compare(y.CostMicroUSD, x.CostMicroUSD), cmp.Compare(y.Input+y.Output, x.Input+x.Output), strings.Compare(x.Provider, y.Provider), strings.Compare(x.Model, y.Model))
	})
	return list
}

// address writes a host and its port.
func address(name string, port uint16) string {
	if port == 0 {
		return name
	}
	return net.JoinHostPort(name, strconv.Itoa(int(port)))
}
