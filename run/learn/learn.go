package learn

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/profiles"
)

// Kind is what lies at a path of the host.
type Kind string

// The kinds.
const (
	KindNone   Kind = "" // nothing
	KindFile   Kind = "file"
	KindFolder Kind = "folder"
	KindSocket Kind = "socket"
	KindOther  Kind = "device or pipe"
)

// Use is what was wanted of a path.
type Use string

// The uses.
const (
	Look    Use = "look"
	Read    Use = "read"
	List    Use = "list"
	Write   Use = "write"
	Create  Use = "create"
	Exec    Use = "exec"
	Connect Use = "connect"
)

// File is a path that the agent was refused.
type File struct {
	Path  string   `json:"path"`           // of the host, absolute and clean
	Real  string   `json:"real"`           // its links resolved
	Home  string   `json:"home,omitempty"` // relative to the agent's home folder, where it was asked for there
	Kind  Kind     `json:"kind"`
	Use   Use      `json:"use"`
	Rule  string   `json:"rule,omitempty"` // that hides it
	Count int64    `json:"count"`
	By    []string `json:"by"`
}

// Host is a host and port that the agent was refused. Port 0: only its name was asked
// for.
type Host struct {
	Name    string   `json:"name,omitempty"`
	Addr    string   `json:"addr,omitempty"` // where there is no name
	Port    uint16   `json:"port,omitempty"`
	Network string   `json:"network"`           // "tcp", "udp", ...
	Special string   `json:"special,omitempty"` // what kind of address it is that no profile gets by itself
	Rule    string   `json:"rule,omitempty"`    // that refused it
	Reason  string   `json:"reason,omitempty"`
	Count   int64    `json:"count"`
	By      []string `json:"by"`
}

// Request is a request that the request rules of an allowed host refused.
type Request struct {
	Scheme string   `json:"scheme"`
	Host   string   `json:"host"`
	Port   uint16   `json:"port"`
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Rule   string   `json:"rule,omitempty"`
	Reason string   `json:"reason,omitempty"`
	Count  int64    `json:"count"`
	By     []string `json:"by"`
}

// Call is a system call that the filter refused. Safe says that it reaches nothing but
// the agent's own processes.
type Call struct {
	Name   string   `json:"name"`
	Detail string   `json:"detail,omitempty"`
	Safe   bool     `json:"safe"`
	Count  int64    `json:"count"`
	By     []string `json:"by"`
}

// Other is what else was refused or reached: a program, a limit.
type Other struct {
	What   string `json:"what"`
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"`
	Count  int64  `json:"count"`
}

// Seen is what a run was refused.
type Seen struct {
	Files    []File    `json:"files"`
	Hosts    []Host    `json:"hosts"`
	Requests []Request `json:"requests"`
	Calls    []Call    `json:"calls"`
	Others   []Other   `json:"others"`
	LeftOut  int64     `json:"left_out,omitempty"` // that there was no room for
}

// Grant is one line of a learned profile.
type Grant struct {
	Value string `json:"value"`
	Why   string `json:"why"` // who asked and how often
}

// Allow is one allow block.
type Allow struct {
	Host     string            `json:"host"`
	Port     uint16            `json:"port"`
	Protocol profiles.Protocol `json:"protocol"`
	Requests []Ask             `json:"requests,omitempty"`
	Kept     []Setting         `json:"kept,omitempty"` // what the host's own rule says of it: of two rules alike, one alone counts
	Why      string            `json:"why"`
}

// Setting is an attribute of an allow block, a text.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Ask is one request block.
type Ask struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Why    string `json:"why"`
}

// Question is something that was asked for and is for a person to decide. Rule is the
// line to write then, "" where no profile grants it.
type Question struct {
	What string `json:"what"`
	Why  string `json:"why"`
	Rule string `json:"rule,omitempty"`
}

// Profile is what was learned.
type Profile struct {
	Read  []Grant `json:"read"`
	Write []Grant `json:"write"`
	Exec  []Grant `json:"exec"`
	Deny  []Grant `json:"deny"` // what looks like a credential in a granted folder
	Home  []Grant `json:"home"` // of the home folder, shown read-only
	Allow []Allow `json:"allow"`
	Calls []Grant `json:"syscalls"`

	Questions []Question `json:"questions"`
	LeftOut   int64      `json:"left_out,omitempty"`
}

// Empty says that nothing was granted: another round would learn nothing more.
func (p *Profile) Empty() bool {
	return len(p.Read)+len(p.Write)+len(p.Exec)+len(p.Deny)+len(p.Home)+len(p.Allow)+len(p.Calls) == 0
}

// Place is what drafting must know of the host.
type Place struct {
	Home      string // of the caller
	Workspace string
	// Inside finds what looks like a credential below a folder. It is not complete
	// where there is too much to look through.
	Inside func(folder string) (secrets []string, complete bool)
}

// Draft decides what of it is granted. base is the profile that the run had.
func Draft(base *profiles.Spec, seen Seen, place Place) *Profile {
	d := &drafter{base: base, place: place, p: &Profile{LeftOut: seen.LeftOut}, asked: map[string]bool{}}
	d.files(seen.Files)
	d.hosts(seen.Hosts)
	d.requests(seen.Requests)
	d.calls(seen.Calls)
	for _, o := range seen.Others {
		why := times(o.Count, nil)
		if o.Reason != "" {
			why += ": " + o.Reason
		}
		if o.Rule != "" {
			why += " [" + o.Rule + "]"
		}
		d.ask(o.What, why, "")
	}
	return d.p
}

type drafter struct {
	base  *profiles.Spec
	place Place
	p     *Profile
	asked map[string]bool

	folders []File // that were looked at or listed
}

// maxQuestions bounds what a person is asked; the rest is counted.
const maxQuestions = 200

// maxGrants bounds each list: every path of it is a mount.
const maxGrants = 300

// bounded cuts a list, and counts what is left out.
func (d *drafter) bounded(grants []Grant) []Grant {
	if len(grants) > maxGrants {
		d.p.LeftOut += int64(len(grants) - maxGrants)
		grants = grants[:maxGrants]
	}
	return grants
}

// ask puts something to a person, once.
func (d *drafter) ask(what, why, rule string) {
	if d.asked[what+"\x00"+rule] {
		return
	}
	d.asked[what+"\x00"+rule] = true
	if len(d.p.Questions) >= maxQuestions {
		d.p.LeftOut++
		return
	}
	d.p.Questions = append(d.p.Questions, Question{what, why, rule})
}

// calls grants those that reach nothing but the agent's own processes.
func (d *drafter) calls(calls []Call) {
	for _, c := range calls {
		what := "system call " + c.Name
		if c.Detail != "" {
			what += " (" + c.Detail + ")"
		}
		rule := "syscalls { allow = [" + strconv.Quote(c.Name) + "] }"
		switch {
		case !c.Safe && c.Detail == "" && isCallName(c.Name):
			d.ask(what, times(c.Count, c.By), rule)
		case !c.Safe || !isCallName(c.Name):
			d.ask(what, times(c.Count, c.By), "")
		case !slices.ContainsFunc(d.p.Calls, func(g Grant) bool { return g.Value == c.Name }):
			d.p.Calls = append(d.p.Calls, Grant{c.Name, times(c.Count, c.By)})
		}
	}
}

func isCallName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// times says who asked and how often.
func times(n int64, by []string) string {
	s := "once"
	if n != 1 {
		s = fmt.Sprintf("%d times", n)
	}
	for i, name := range by {
		if i == 0 {
			s += " by " + pathText(name)
		} else {
			s += ", " + pathText(name)
		}
	}
	return s
}

// tally adds up who asked and how often.
type tally struct {
	count int64
	by    []string
}

func (t *tally) add(n int64, by []string) {
	t.count += n
	for _, b := range by {
		if len(t.by) < 3 && !slices.Contains(t.by, b) {
			t.by = append(t.by, b)
		}
	}
}

func (t tally) String() string { return times(t.count, t.by) }

func sortGrants(g []Grant) {
	slices.SortFunc(g, func(a, b Grant) int { return cmp.Compare(a.Value, b.Value) })
}
