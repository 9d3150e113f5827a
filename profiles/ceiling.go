package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// Ceiling is what the machine's owner lets every profile have at most. It is written
// as a profile is, in fewer words: see ceilingWords.
//
// What a ceiling says nothing about it leaves alone; a list that it has caps, also an
// empty one. So `files { read = [...] }` caps what may be read, and a `network` with an
// allow or an ask in it caps what may be reached, while one of denies alone does not.
type Ceiling struct {
	layer  *layer
	said   map[string]bool // lists that it has, as "files.read"
	source Source
}

// ceilingWords are what a ceiling may say, as "block.word". Whatever is not among them
// is refused, since a ceiling that is not carried out caps nothing: what gives
// something (secrets, seeds, variables of the environment), and what stands on
// other files.
func ceilingWords() []string {
	return []string{
		"description",
		"workspace.path", "workspace.mode", "workspace.hide", "workspace.size", "workspace.files",
		"files.read", "files.write", "files.exec", "files.deny", "files.limit.rate",
		"network.allow.hosts", "network.allow.ports", "network.allow.protocol", "network.allow.reason",
		"network.allow.limit", "network.allow.upload", "network.allow.download", "network.allow.connections",
		"network.allow.request.when", "network.allow.request.limit", "network.allow.request.ask", "network.allow.request.reason",
		"network.ask.hosts", "network.ask.ports", "network.ask.protocol", "network.ask.reason",
		"network.deny.hosts", "network.deny.ports", "network.deny.reason",
		"process.pass_env", "process.exec_new", "process.terminal",
		"process.deny.args", "process.deny.reason", "process.ask.args", "process.ask.reason",
		"process.limit.args", "process.limit.rate", "process.limit.reason",
		"syscalls.allow", "ssh_agent.keys",
		"limits.memory", "limits.cpus", "limits.processes", "limits.open_files", "limits.time", "limits.idle", "limits.output", "limits.io_weight", "limits.enforce",
		"artifacts.size", "apply.hold.reason", "audit.size",
		"budget.unit", "budget.each", "budget.per_run", "budget.per_day", "budget.per_week", "budget.ask_above",
		"price.input", "price.output", "price.cache_read", "price.cache_write", "price.cache_write_1h", "price.above",
		"approval.timeout", "approval.quorum",
		"on.action",
	}
}

// CeilingOptions is what a ceiling may know of the host. It is no more than the home
// folder, which must come from the system's table of users: a ceiling that took
// anything from the caller's environment could be talked out of what it says.
type CeilingOptions struct {
	Home string
}

// LoadCeiling reads a ceiling. It reads no other file.
func LoadCeiling(path string, src []byte, o CeilingOptions) (*Ceiling, hcl.Diagnostics, map[string]*hcl.File) {
	l := &loader{o: &Options{Home: o.Home}, parsed: map[string]*hcl.File{}, state: map[string]visit{}, declared: map[string]bool{}}
	f := &file{name: path, base: "ceiling", path: path, dir: -1, src: src}
	l.files = append(l.files, f)
	if len(src) > maxSource {
		l.fail(nil, "Unreadable ceiling", fmt.Sprintf("%s is larger than %s.", path, FormatSize(maxSource)))
		return nil, l.diags, l.parsed
	}
	body := l.parse(f)
	if body == nil {
		return nil, l.diags, l.parsed
	}
	d := &decoder{file: f, home: o.Home, ctx: &hcl.EvalContext{
		Functions: ceilingFunctions(), Variables: map[string]cty.Value{"var": cty.EmptyObjectVal}}}
	c := &Ceiling{said: map[string]bool{}, source: Source{File: f.name, Path: path, SHA256: sum(src)}}
	content := d.content(body, profileSchema())
	d.ceilingWords(content, profileSchema(), "", c)
	if !d.diags.HasErrors() {
		c.layer = d.decode(content)
		d.emptyNetwork(content, c)
	}
	l.diags = append(l.diags, d.diags...)
	sortDiagnostics(l.diags, l.files)
	if l.diags.HasErrors() {
		return nil, l.diags, l.parsed
	}
	return c, l.diags, l.parsed
}

func sum(src []byte) string {
	h := sha256.Sum256(src)
	return hex.EncodeToString(h[:])
}

// ceilingFunctions are the functions that look at nothing but their arguments.
func ceilingFunctions() map[string]function.Function { return conditionFunctions() }

// ceilingWords reports what a ceiling can't say, and notes which lists it has.
func (d *decoder) ceilingWords(c *hcl.BodyContent, s schema, prefix string, ceiling *Ceiling) {
	for name, a := range c.Attributes {
		ceiling.said[prefix+name] = true
		if !slices.Contains(ceilingWords(), prefix+name) {
			d.fail(a.NameRange, "Not for a ceiling", fmt.Sprintf("A ceiling can't say %q: it only takes away from what profiles say.", name))
		}
	}
	quiet := *d // the same content is decoded, and complained about, a second time
	for _, b := range c.Blocks {
		def := s.block(b.Type)
		inner := prefix + b.Type + "."
		if !slices.ContainsFunc(ceilingWords(), func(w string) bool { return len(w) > len(inner) && w[:len(inner)] == inner }) {
			d.fail(b.DefRange, "Not for a ceiling", fmt.Sprintf("A ceiling can't have the block %q: it only takes away from what profiles say.", b.Type))
			continue
		}
		before := len(quiet.diags)
		content := quiet.content(b.Body, def.body())
		quiet.diags = quiet.diags[:before]
		d.ceilingWords(content, def.body(), inner, ceiling)
		ceiling.said[prefix+b.Type] = true
	}
}

// emptyNetwork reports a network block that says nothing: its author may have meant
// that nothing may be reached, which is written otherwise.
func (d *decoder) emptyNetwork(c *hcl.BodyContent, ceiling *Ceiling) {
	n := ceiling.layer.network
	for _, b := range c.Blocks {
		if b.Type == "network" && len(n.Allow)+len(n.Ask)+len(n.Deny) == 0 {
			d.fail(b.DefRange, "Nothing said", "This block neither allows nor denies anything, so it would cap nothing. For no network at all, write deny \"everything\" { hosts = [\"*\", \"0.0.0.0/0\", \"::/0\"] }.")
		}
	}
}

// Cap narrows a profile's Spec to what the ceiling lets it have. What the two say about
// hosts and files stays beside each other, and every decision asks both; the rest
// becomes the narrower of the two.
func (c *Ceiling) Cap(s *Spec) {
	l := c.layer
	s.Sources = append(s.Sources, c.source)
	s.Ceiling = &c.source
	c.capWorkspace(&s.Workspace)
	c.capFiles(&s.Files)
	c.capProcess(&s.Process)
	c.capSSHAgent(s)
	if n := l.network; len(n.Allow)+len(n.Ask)+len(n.Deny) > 0 {
		n.Open = len(n.Allow)+len(n.Ask) == 0
		s.Network.Ceiling = &n
	}
	if c.said["syscalls.allow"] {
		capped := append([]Syscall{}, l.syscalls...)
		s.SyscallCeiling = &capped
	}
	s.Limits.cap(l.limits)
	if l.artifactsSize != nil && *l.artifactsSize < s.Artifacts.Size {
		s.Artifacts.Size, s.Artifacts.Origin = *l.artifactsSize, *l.artifactsOrigin
	}
	addHandOffs(&s.Apply.Hold, l.apply.Hold)
	if l.auditSize != nil && *l.auditSize < s.Audit.Size {
		s.Audit.Size, s.Audit.Origin = *l.auditSize, *l.auditOrigin
	}
	if l.approvalTimeout != nil && *l.approvalTimeout < s.Approval.Timeout {
		s.Approval.Timeout, s.Approval.Origin = *l.approvalTimeout, *l.approvalOrigin
	}
	if l.limits.Time != nil && s.Approval.Extend > 0 {
		// The machine's owner caps the time, and no other person gives more.
		s.Approval.Extend, s.Approval.Origin = 0, l.limits.Time.Origin
	}
	if l.approvalQuorum != nil && *l.approvalQuorum > s.Approval.Quorum {
		s.Approval.Quorum, s.Approval.Origin = *l.approvalQuorum, *l.approvalOrigin
	}
	for _, o := range l.on {
		c.capOn(s, o)
	}
	c.capBudgets(s)
	// Whoever says what a call costs says how far a budget goes.
	if len(l.budgets) > 0 || len(l.prices) > 0 {
		s.Prices = append([]Price{}, l.prices...)
	}
}

// capBudgets takes the smaller of each two amounts. A budget of the ceiling's that the
// profile does not have is one of it from then on: what is spent of it is counted.
func (c *Ceiling) capBudgets(s *Spec) {
	for _, b := range c.layer.budgets {
		own := s.Budget(b.Name)
		switch {
		case own == nil:
			s.Budgets = append(s.Budgets, b)
		case own.narrow(b):
			own.Origin = b.Origin
		}
	}
}

// CheckBudgets refuses a profile that counts a budget in another unit than the ceiling:
// neither of the two amounts is then the smaller one.
func (c *Ceiling) CheckBudgets(s *Spec) error {
	for _, b := range c.layer.budgets {
		if own := s.Budget(b.Name); own != nil && own.Unit != b.Unit {
			return fmt.Errorf("%s: the budget %q is in %q, and in %q in this machine's ceiling (%s)\nhint: use the ceiling's unit, or give the budget another name", own.Origin, b.Name, own.Unit, b.Unit, b.Origin)
		}
	}
	return nil
}

// capOn takes the harder of two reactions to an event.
func (c *Ceiling) capOn(s *Spec, o On) {
	i := slices.IndexFunc(s.On, func(e On) bool { return e.Event == o.Event })
	if i < 0 {
		s.On = append(s.On, o)
		return
	}
	rank := func(r Reaction) int { return slices.Index(reactions(), string(r)) }
	if rank(o.Action) > rank(s.On[i].Action) {
		s.On[i].Action, s.On[i].Origin = o.Action, o.Origin
	}
}

func (c *Ceiling) capWorkspace(w *Workspace) {
	l := c.layer
	// From the narrowest: without the host's files, without writing, with changes kept
	// apart, with changes that reach the host.
	modes := []Mode{ModeEmpty, ModeReadonly, ModeOverlay, ModeDirect}
	if l.mode != nil && slices.Index(modes, *l.mode) < slices.Index(modes, w.Mode) {
		w.Mode, w.Origin = *l.mode, *l.workspaceOrigin
	}
	if l.workspaceSize != nil && *l.workspaceSize < w.Size {
		w.Size, w.Origin = *l.workspaceSize, *l.workspaceOrigin
	}
	if l.workspaceFiles != nil && *l.workspaceFiles < w.Files {
		w.Files, w.Origin = *l.workspaceFiles, *l.workspaceOrigin
	}
	if l.path != nil {
		w.Within = *l.path
	}
	addPatterns(&w.Hide, l.hide)
}

// Lies says whether a folder may be the workspace: where the ceiling names one, that one
// or one below it. The path has its symbolic links resolved, and the ceiling's is taken
// as it is written: a link in it that a user can change would lead anywhere.
func (w *Workspace) Lies(real string) bool {
	return w.Within == "" || w.Within == "/" || real == w.Within || strings.HasPrefix(real, w.Within+"/")
}

func (c *Ceiling) capFiles(f *Files) {
	l := c.layer.files
	addPatterns(&f.Deny, l.Deny)
	f.Limits = append(f.Limits, l.Limits...)
	list := func(word string, patterns []Pattern) *[]Pattern {
		if !c.said[word] {
			return nil
		}
		capped := append([]Pattern{}, patterns...)
		return &capped
	}
	ceiling := FilesCeiling{Read: list("files.read", l.Read), Write: list("files.write", l.Write), Exec: list("files.exec", l.Exec)}
	if ceiling != (FilesCeiling{}) {
		f.Ceiling = &ceiling
	}
	f.Home = slices.DeleteFunc(f.Home, func(h HomeSeed) bool {
		_, ok := f.Ceiling.lets(h.From, OpRead)
		return !ok
	})
}

func (c *Ceiling) capProcess(p *Process) {
	l := c.layer
	p.Deny = append(p.Deny, l.execDeny...)
	if len(l.execAsk) > 0 {
		// What the machine's owner wants to be asked nobody approves for good. By which of
		// its names a program is meant is told at its start alone, so that none is left.
		p.Approved = []ExecRule{}
	}
	p.Ask = append(p.Ask, l.execAsk...)
	p.Limit = append(p.Limit, l.execLimit...)
	answers := []ExecNew{ExecNewAllow, ExecNewAsk, ExecNewDeny}
	if l.execNew != nil && slices.Index(answers, *l.execNew) > slices.Index(answers, p.ExecNew) {
		p.ExecNew = *l.execNew
	}
	if l.terminal != nil && *l.terminal == TerminalFilter {
		p.Terminal = TerminalFilter
	}
	if c.said["process.pass_env"] {
		p.PassEnv = namesInBoth(p.PassEnv, l.passEnv)
	}
}

// namesInBoth intersects two lists of names and beginnings of names ("LC_*"). Two of
// them share nothing, or the longer one is all that they share.
func namesInBoth(a, b []Pattern) []Pattern {
	both := []Pattern{}
	for _, x := range a {
		for _, y := range b {
			switch {
			case passesName(y.Pattern, x.Pattern):
				addPatterns(&both, []Pattern{x})
			case passesName(x.Pattern, y.Pattern):
				addPatterns(&both, []Pattern{y})
			}
		}
	}
	return both
}

// passesName says whether a pattern of pass_env is about all that another one, or a
// name, is about.
func passesName(pattern, name string) bool {
	prefix, glob := cutStar(pattern)
	inner, innerGlob := cutStar(name)
	if !glob {
		return !innerGlob && pattern == name
	}
	return prefix != "" && len(inner) >= len(prefix) && inner[:len(prefix)] == prefix
}

func cutStar(s string) (string, bool) {
	if n := len(s); n > 0 && s[n-1] == '*' {
		return s[:n-1], true
	}
	return s, false
}

// cap takes the smaller of each two limits. One that either of the two wants enforced
// strictly is.
func (l *Limits) cap(o Limits) {
	for _, f := range []struct{ to, from **Limit }{
		{&l.Memory, &o.Memory}, {&l.CPUs, &o.CPUs}, {&l.Processes, &o.Processes}, {&l.OpenFiles, &o.OpenFiles},
		{&l.Time, &o.Time}, {&l.Idle, &o.Idle}, {&l.Output, &o.Output}, {&l.IOWeight, &o.IOWeight},
	} {
		if *f.from == nil {
			continue
		}
		capped := **f.from
		if own := *f.to; own != nil {
			if own.Value <= capped.Value {
				capped.Value, capped.Origin = own.Value, own.Origin
			}
			if own.Enforce == EnforceStrict {
				capped.Enforce = EnforceStrict
			}
		}
		*f.to = &capped
	}
}
