package profiles

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Widening is one thing that a profile lets through and another one does not.
type Widening struct {
	Text   string `json:"text"`   // a sentence, without a final stop
	Origin Origin `json:"origin"` // of the line that lets it, or that no longer keeps it; zero where there is none
}

// Diff says what b lets through that a does not. It is never silent about something
// that b widens. What it can't compare (patterns that only a set of files could tell
// apart, conditions, fields that it does not know) it reports, so that it may report
// what is none.
func Diff(a, b *Spec) []Widening {
	d := &differ{a: a, b: b, said: map[Widening]bool{}}
	d.workspace()
	d.files()
	d.network()
	d.secrets()
	d.process()
	d.syscalls()
	d.limits()
	d.rest()
	return d.found
}

type differ struct {
	a, b  *Spec
	found []Widening
	said  map[Widening]bool
}

func (d *differ) wider(o Origin, format string, args ...any) {
	w := Widening{fmt.Sprintf(format, args...), o}
	if !d.said[w] {
		d.said[w] = true
		d.found = append(d.found, w)
	}
}

func (d *differ) workspace() {
	a, b := d.a.Workspace, d.b.Workspace
	modes := []Mode{ModeEmpty, ModeReadonly, ModeOverlay, ModeDirect}
	if slices.Index(modes, b.Mode) > slices.Index(modes, a.Mode) {
		d.wider(b.Origin, "the workspace is %s, not %s", b.Mode, a.Mode)
	}
	if a.Within != b.Within {
		d.wider(b.Origin, "another ceiling says where the workspace lies")
	}
	if a.Path != b.Path {
		d.wider(b.Origin, "the workspace is %s, not %s", b.Path, a.Path)
	}
	if b.Size > a.Size {
		d.wider(b.Origin, "the agent may add %s to the workspace, not %s", FormatSize(b.Size), FormatSize(a.Size))
	}
	if b.Files > a.Files {
		d.wider(b.Origin, "the agent may add %d files to the workspace, not %d", b.Files, a.Files)
	}
	for _, p := range a.Hide {
		if !anyCovers(b.Hide, p.Pattern) {
			d.wider(p.Origin, "%s of the workspace is no longer hidden", p.Pattern)
		}
	}
}

func (d *differ) files() {
	a, b := d.a.Files, d.b.Files
	for _, l := range []struct {
		may   string
		b     []Pattern
		lists [][]Pattern
	}{
		{"read", slices.Concat(b.Read, b.Write, b.Exec), [][]Pattern{a.Read, a.Write, a.Exec}},
		{"write", b.Write, [][]Pattern{a.Write}},
		{"execute", b.Exec, [][]Pattern{a.Exec}},
	} {
		for _, p := range l.b {
			if !slices.ContainsFunc(l.lists, func(list []Pattern) bool { return anyCovers(list, p.Pattern) }) && !anyCovers(b.Deny, p.Pattern) {
				d.wider(p.Origin, "the agent may %s %s", l.may, p.Pattern)
			}
		}
	}
	grants := slices.Concat(b.Read, b.Write, b.Exec)
	for _, h := range b.Home {
		grants = append(grants, Pattern{Pattern: quotePattern(h.From)})
	}
	for _, p := range a.Deny {
		if !anyCovers(b.Deny, p.Pattern) && slices.ContainsFunc(grants, func(g Pattern) bool { return !apart(g.Pattern, p.Pattern) }) {
			d.wider(p.Origin, "%s is no longer denied", p.Pattern)
		}
	}
	for _, h := range b.Home {
		i := slices.IndexFunc(a.Home, func(o HomeSeed) bool { return o.Path == h.Path && o.From == h.From })
		switch {
		case i < 0:
			d.wider(h.Origin, "the home folder begins with %s, from %s", h.Path, h.From)
		case a.Home[i].Redact && !h.Redact:
			d.wider(h.Origin, "what looks like a credential is no longer left out of %s", h.Path)
		}
	}
	for _, l := range a.Limits {
		if !slices.ContainsFunc(b.Limits, func(o FileLimit) bool { return o.Action == l.Action && o.Rate.within(l.Rate) }) {
			d.wider(l.Origin, "the limit of %s on the action %q no longer holds", l.Rate, l.Action)
		}
	}
	if !reflect.DeepEqual(a.Ceiling, b.Ceiling) {
		d.wider(Origin{}, "another ceiling caps the files")
	}
}

func (d *differ) process() {
	a, b := d.a.Process, d.b.Process
	for _, p := range b.PassEnv {
		if !slices.ContainsFunc(a.PassEnv, func(o Pattern) bool { return passesName(o.Pattern, p.Pattern) }) {
			d.wider(p.Origin, "the variable %s is passed on", p.Pattern)
		}
	}
	for _, v := range b.Env {
		if !slices.ContainsFunc(a.Env, func(o EnvVar) bool { return o.Name == v.Name && o.Value == v.Value }) {
			d.wider(v.Origin, "the variable %s is set to %s", v.Name, quote(v.Value))
		}
	}
	refused := func(rules ...[]ExecRule) func(ExecRule) bool {
		return func(r ExecRule) bool {
			return slices.ContainsFunc(slices.Concat(rules...), func(o ExecRule) bool { return o.covers(r) })
		}
	}
	denied, asked := refused(b.Deny), refused(b.Deny, b.Ask)
	for _, r := range a.Deny {
		if !denied(r) {
			d.wider(r.Origin, "the program %s is no longer denied", r.text())
		}
	}
	for _, r := range a.Ask {
		if !asked(r) {
			d.wider(r.Origin, "nobody is asked about the program %s any more", r.text())
		}
	}
	for _, r := range a.Limit {
		kept := denied(r) || slices.ContainsFunc(b.Limit, func(o ExecRule) bool { return o.covers(r) && o.Rate.within(*r.Rate) })
		if !kept {
			d.wider(r.Origin, "the limit of %s on the program %s no longer holds", r.Rate, r.text())
		}
	}
	for _, r := range b.Approved {
		if !slices.ContainsFunc(a.Approved, func(o ExecRule) bool { return o.Program == r.Program && slices.Equal(o.Args, r.Args) }) {
			d.wider(r.Origin, "nobody is asked about %s with exactly these arguments", r.text())
		}
	}
	answers := []ExecNew{ExecNewDeny, ExecNewAsk, ExecNewAllow}
	if slices.Index(answers, b.ExecNew) > slices.Index(answers, a.ExecNew) {
		d.wider(Origin{}, "programs that the agent wrote: %s, not %s", b.ExecNew, a.ExecNew)
	}
	if b.Terminal == TerminalPass && a.Terminal != TerminalPass {
		d.wider(Origin{}, "what the agent writes reaches the caller's terminal as it is")
	}
}

func (r ExecRule) text() string { return strings.Join(append([]string{r.Program}, r.Args...), " ") }

// covers says whether a rule matches every start that another one matches.
func (r ExecRule) covers(o ExecRule) bool {
	name := r.Program == o.Program || !strings.Contains(r.Program, "/") && strings.HasSuffix(o.Program, "/"+r.Program)
	return name && len(r.Args) <= len(o.Args) && slices.Equal(r.Args, o.Args[:len(r.Args)])
}

// within says whether a rate never lets more than another one: no more at once, and no
// more in the long run.
func (r Rate) within(o Rate) bool {
	return r.Count <= o.Count && (r.Per == 0 || o.Per != 0 && r.Per >= o.Per)
}

func (d *differ) syscalls() {
	for _, c := range d.b.Syscalls {
		if !slices.ContainsFunc(d.a.Syscalls, func(o Syscall) bool { return o.Name == c.Name }) {
			d.wider(c.Origin, "the system call %s is opened", c.Name)
		}
	}
	if !reflect.DeepEqual(d.a.SyscallCeiling, d.b.SyscallCeiling) {
		d.wider(Origin{}, "another ceiling caps the system calls")
	}
}

func (d *differ) limits() {
	a, b := d.a.Limits, d.b.Limits
	size := func(l *Limit) string { return FormatSize(l.Value) }
	count := func(l *Limit) string { return fmt.Sprint(l.Value) }
	span := func(l *Limit) string { return FormatDuration(l.Duration()) }
	for _, f := range []struct {
		name string
		a, b *Limit
		text func(*Limit) string
	}{
		{"memory", a.Memory, b.Memory, size},
		{"cpus", a.CPUs, b.CPUs, func(l *Limit) string { return fmt.Sprintf("%g", float64(l.Value)/1000) }},
		{"processes", a.Processes, b.Processes, count}, {"open_files", a.OpenFiles, b.OpenFiles, count},
		{"time", a.Time, b.Time, span}, {"idle", a.Idle, b.Idle, span}, {"output", a.Output, b.Output, size}, {"io_weight", a.IOWeight, b.IOWeight, count},
	} {
		switch {
		case f.a == nil:
		case f.b == nil:
			d.wider(f.a.Origin, "the limit %s = %s no longer holds", f.name, f.text(f.a))
		case f.b.Value > f.a.Value:
			d.wider(f.b.Origin, "the limit %s is %s, not %s", f.name, f.text(f.b), f.text(f.a))
		case f.a.Enforce == EnforceStrict && f.b.Enforce != EnforceStrict:
			d.wider(f.b.Origin, "the limit %s holds only as well as the host can", f.name)
		}
	}
}

// rest compares what is left: what is kept of a run, who is told, what is done.
func (d *differ) rest() {
	a, b := d.a, d.b
	for _, p := range b.Artifacts.Collect {
		if !anyCovers(a.Artifacts.Collect, p.Pattern) {
			d.wider(p.Origin, "%s is handed over as an artifact", p.Pattern)
		}
	}
	if b.Artifacts.Size > a.Artifacts.Size {
		d.wider(b.Artifacts.Origin, "artifacts may have %s, not %s", FormatSize(b.Artifacts.Size), FormatSize(a.Artifacts.Size))
	}
	d.handOffs()
	if b.Audit.OTLP != "" && b.Audit.OTLP != a.Audit.OTLP {
		d.wider(b.Audit.Origin, "the trail is sent to %s", b.Audit.OTLP)
	}
	if b.Approval.Webhook != "" && b.Approval.Webhook != a.Approval.Webhook {
		d.wider(b.Approval.Origin, "%s answers for people", b.Approval.Webhook)
	}
	if b.Approval.Quorum < a.Approval.Quorum {
		d.wider(b.Approval.Origin, "%d must approve, not %d", b.Approval.Quorum, a.Approval.Quorum)
	}
	if b.Approval.Extend > a.Approval.Extend && b.Limits.Time != nil {
		d.wider(b.Approval.Origin, "people may give the run %s more time at once, not %s", FormatDuration(time.Duration(b.Approval.Extend)), FormatDuration(time.Duration(a.Approval.Extend)))
	}
	rank := func(r Reaction) int { return slices.Index(reactions(), string(r)) }
	for _, e := range onEvents() {
		ra, rb := a.Reaction(Event(e)), b.Reaction(Event(e))
		if rank(rb.Action) < rank(ra.Action) {
			d.wider(ra.Origin, "on %q the run is only to %s, not to %s", e, rb.Action, ra.Action)
		}
		if len(rb.Command) > 0 && !slices.Equal(ra.Command, rb.Command) {
			d.wider(rb.Origin, "on %q the host runs %s", e, strings.Join(rb.Command, " "))
		}
		if rb.Webhook != "" && ra.Webhook != rb.Webhook {
			d.wider(rb.Origin, "on %q the event is sent to %s", e, rb.Webhook)
		}
		if rb.Repeats > ra.Repeats && ra.Repeats > 0 || rb.Repeats == 0 && ra.Repeats > 0 {
			d.wider(ra.Origin, "on %q one program may be executed more than %d times", e, ra.Repeats)
		}
		if rb.After > ra.After && ra.After > 0 || rb.After == 0 && ra.After > 0 {
			d.wider(ra.Origin, "on %q the run is judged later than after %s", e, FormatDuration(time.Duration(ra.After)))
		}
	}
	d.unknownFields("the profile", reflect.ValueOf(*a), reflect.ValueOf(*b), Origin{},
		"Name", "Description", "Sources", "Ceiling", "Tests", "Workspace", "Files", "Network", "Secrets", "Process", "Syscalls", "SyscallCeiling", "Limits", "Artifacts", "Apply", "Audit", "Approval", "On")
	d.unknownFields("files", reflect.ValueOf(a.Files), reflect.ValueOf(b.Files), Origin{}, "Read", "Write", "Exec", "Deny", "Home", "Limits", "Ceiling")
	d.unknownFields("process", reflect.ValueOf(a.Process), reflect.ValueOf(b.Process), Origin{}, "PassEnv", "Env", "Deny", "Ask", "Limit", "Approved", "ExecNew", "Terminal")
	d.unknownFields("network", reflect.ValueOf(a.Network), reflect.ValueOf(b.Network), Origin{}, "Allow", "Ask", "Deny", "Ceiling", "Open")
	d.unknownFields("limits", reflect.ValueOf(a.Limits), reflect.ValueOf(b.Limits), Origin{}, "Memory", "CPUs", "Processes", "OpenFiles", "Time", "Idle", "Output", "IOWeight")
}

// unknownFields reports fields of a struct that differ and that nothing above compares,
// so that what the language learns later is not passed over here.
func (d *differ) unknownFields(what string, a, b reflect.Value, o Origin, known ...string) {
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if slices.Contains(known, name) || sameButOrigins(a.Field(i), b.Field(i)) {
			continue
		}
		d.wider(o, "%s of %s differs, and may let more through", strings.ToLower(name), what)
	}
}

// sameButOrigins is reflect.DeepEqual that does not look at where a rule stands.
func sameButOrigins(a, b reflect.Value) bool {
	if a.Type() == reflect.TypeFor[Origin]() {
		return true
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if !sameButOrigins(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !sameButOrigins(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return sameButOrigins(a.Elem(), b.Elem())
	}
	return a.Comparable() && a.Equal(b) || !a.Comparable() && reflect.DeepEqual(a.Interface(), b.Interface())
}
