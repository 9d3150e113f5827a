package profiles

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// A layer is what one file says, before the files that it extends are put below it.
// A nil pointer is a scalar that the file does not set.
type layer struct {
	description string

	path            *string
	mode            *Mode
	upper           *Upper
	workspaceSize   *int64
	workspaceFiles  *int64
	hide            []Pattern
	workspaceOrigin *Origin

	files    Files
	network  Network
	secrets  []Secret
	prices   []Price
	budgets  []Budget
	sshAgent *SSHAgent
	passEnv  []Pattern
	env      []EnvVar
	syscalls []Syscall
	limits   Limits

	collect         []Pattern
	artifactsSize   *int64
	artifactsOrigin *Origin

	apply Apply

	auditSize   *int64
	auditOTLP   *string
	auditOrigin *Origin

	execDeny, execAsk, execLimit, execApproved []ExecRule
	execNew                                    *ExecNew
	terminal                                   *Terminal

	approvalTimeout *int64
	approvalQuorum  *int64
	approvalExtend  *int64
	approvalNotify  []string
	approvalOrigin  *Origin
	approvalWebhook *string

	approvalWebhookKey *Secret

	on    []On
	tests []Case
}

// decode reads all of a file but its variables and what it extends.
func (d *decoder) decode(content *hcl.BodyContent) *layer {
	l := &layer{}
	if a := content.Attributes["description"]; a != nil {
		l.description, _ = d.sentenceText(a.Expr)
	}
	seen := map[string]hcl.Range{}
	for _, b := range content.Blocks {
		// One of a kind, so that its scalars have one place; limits come in groups
		// that differ in `enforce`.
		if first, dup := seen[b.Type]; dup && !profileSchema().block(b.Type).many {
			d.fail(b.DefRange, "Duplicate block", fmt.Sprintf("The %s block already stands in line %d: put both into one.", b.Type, first.Start.Line))
		}
		seen[b.Type] = b.DefRange
		switch b.Type {
		case "workspace":
			d.workspace(b, l)
		case "files":
			d.files(b, l)
		case "network":
			d.network(b, l)
		case "secret":
			d.secret(b, l)
		case "price":
			d.price(b, l)
		case "budget":
			d.budget(b, l)
		case "process":
			d.process(b, l)
		case "syscalls":
			d.syscalls(b, l)
		case "limits":
			d.limits(b, l)
		case "artifacts":
			d.artifacts(b, l)
		case "apply":
			d.apply(b, l)
		case "ssh_agent":
			d.sshAgent(b, l)
		case "audit":
			d.audit(b, l)
		case "approval":
			d.approval(b, l)
		case "on":
			d.on(b, l)
		case "test":
			d.test(b, l)
		}
	}
	return l
}

func (d *decoder) workspace(b *hcl.Block, l *layer) {
	c := d.content(b.Body, workspaceSchema())
	l.workspaceOrigin = new(d.origin(b.DefRange))
	if a := c.Attributes["path"]; a != nil {
		if t, ok := d.text(a.Expr); ok {
			if p, err := absolutePath(t.s, d.home, d.cwd); err != nil {
				d.wrong(t.rng, "Wrong path", err)
			} else {
				l.path = &p
			}
		}
	}
	if a := c.Attributes["mode"]; a != nil {
		if s, ok := d.choice(a.Expr, "workspace mode", string(ModeOverlay), string(ModeDirect), string(ModeReadonly), string(ModeEmpty)); ok {
			l.mode = new(Mode(s))
		}
	}
	if a := c.Attributes["upper"]; a != nil {
		if s, ok := d.choice(a.Expr, "place for the upper layer", string(UpperAuto), string(UpperMemory), string(UpperDisk)); ok {
			l.upper = new(Upper(s))
		}
	}
	if a := c.Attributes["size"]; a != nil {
		// tmpfs(5) reads a size of 0 as no limit, the opposite of what is written.
		if n, ok := d.size(a.Expr, 1, "an agent that may add nothing has a workspace with mode = \"readonly\""); ok {
			l.workspaceSize = &n
		}
	}
	if a := c.Attributes["files"]; a != nil {
		if n, ok := d.integer(a.Expr, "number of files", math.MaxInt32); ok {
			l.workspaceFiles = &n
		}
	}
	l.hide = d.patterns(c.Attributes["hide"], relativePattern)
}

func (d *decoder) files(b *hcl.Block, l *layer) {
	c := d.content(b.Body, filesSchema())
	absolute := func(s string) (string, error) { return absolutePattern(s, d.home) }
	l.files = Files{
		Read:  d.patterns(c.Attributes["read"], absolute),
		Write: d.patterns(c.Attributes["write"], absolute),
		Exec:  d.patterns(c.Attributes["exec"], absolute),
		Deny:  d.patterns(c.Attributes["deny"], absolute),
	}
	for _, inner := range c.Blocks {
		if inner.Type == "home" {
			d.homeSeed(inner, l)
		} else {
			d.fileLimit(inner, l)
		}
	}
}

// patterns reads a list of patterns, each through parse.
func (d *decoder) patterns(a *hcl.Attribute, parse func(string) (string, error)) (list []Pattern) {
	if a == nil {
		return nil
	}
	items, _ := d.texts(a.Expr)
	for _, t := range items {
		p, err := parse(t.s)
		if err != nil {
			d.wrong(t.rng, "Wrong path", err)
			continue
		}
		list = append(list, Pattern{p, d.origin(t.rng)})
	}
	return list
}

var (
	// variableName is a name as POSIX has it (XBD 8.1), with lower case let in.
	variableName = lazy(`^[A-Za-z_][A-Za-z0-9_]*$`)
	syscallName  = lazy(`^@?[a-z_][a-z0-9_-]*$`)
)

func (d *decoder) process(b *hcl.Block, l *layer) {
	c := d.content(b.Body, processSchema())
	if a := c.Attributes["pass_env"]; a != nil {
		names, _ := d.texts(a.Expr)
		for _, t := range names {
			if !variableName().MatchString(strings.TrimSuffix(t.s, "*")) {
				d.fail(t.rng, "Wrong variable", fmt.Sprintf("%q is no name of an environment variable. Write one name, or the beginning of some names and one \"*\" after it, as in \"LC_*\"; a \"*\" alone would pass on every secret.", t.s))
				continue
			}
			l.passEnv = append(l.passEnv, Pattern{t.s, d.origin(t.rng)})
		}
	}
	if a := c.Attributes["env"]; a != nil {
		keys, values, _ := d.stringMap(a.Expr)
		for i, k := range keys {
			switch {
			case !variableName().MatchString(k.s):
				d.fail(k.rng, "Wrong variable", fmt.Sprintf("%q is no name of an environment variable: it is made of letters, digits and \"_\".", k.s))
			case strings.ContainsRune(values[i].s, 0):
				d.fail(values[i].rng, "Wrong variable", fmt.Sprintf("The value of %q has a NUL in it, which no environment can hold.", k.s))
			default:
				l.env = append(l.env, EnvVar{k.s, values[i].s, d.origin(k.rng)})
			}
		}
	}
	if a := c.Attributes["exec_new"]; a != nil {
		if s, ok := d.choice(a.Expr, "answer", string(ExecNewAllow), string(ExecNewAsk), string(ExecNewDeny)); ok {
			l.execNew = new(ExecNew(s))
		}
	}
	if a := c.Attributes["terminal"]; a != nil {
		if s, ok := d.choice(a.Expr, "answer", string(TerminalFilter), string(TerminalPass)); ok {
			l.terminal = new(Terminal(s))
		}
	}
	d.execRules(c.Blocks, l)
}

func (d *decoder) syscalls(b *hcl.Block, l *layer) {
	c := d.content(b.Body, syscallsSchema())
	if a := c.Attributes["allow"]; a != nil {
		names, _ := d.texts(a.Expr)
		for _, t := range names {
			if !syscallName().MatchString(t.s) {
				d.fail(t.rng, "Wrong system call", fmt.Sprintf("%q is no name of a system call: write for example \"ptrace\", or \"@ptrace\" for the group of calls that belong to it.", t.s))
				continue
			}
			l.syscalls = append(l.syscalls, Syscall{t.s, d.origin(t.rng)})
		}
	}
}

func (d *decoder) limits(b *hcl.Block, l *layer) {
	c := d.content(b.Body, limitsSchema())
	enforce := EnforceStrict
	if a := c.Attributes["enforce"]; a != nil {
		if s, ok := d.choice(a.Expr, "way to enforce", string(EnforceStrict), string(EnforceBestEffort)); ok {
			enforce = Enforce(s)
		}
	}
	size := func(e hcl.Expression) (int64, bool) {
		return d.size(e, 1, "leave it out where no limit is meant")
	}
	count := func(e hcl.Expression) (int64, bool) { return d.integer(e, "limit", math.MaxInt32) }
	span := func(e hcl.Expression) (int64, bool) { n, ok := d.duration(e); return int64(n), ok }
	for _, f := range []struct {
		name string
		to   **Limit
		read func(hcl.Expression) (int64, bool)
	}{
		{"memory", &l.limits.Memory, size},
		{"cpus", &l.limits.CPUs, d.cpus},
		{"processes", &l.limits.Processes, count},
		{"open_files", &l.limits.OpenFiles, count},
		{"time", &l.limits.Time, span},
		{"idle", &l.limits.Idle, span},
		{"output", &l.limits.Output, size},
		{"io_weight", &l.limits.IOWeight, d.ioWeight},
	} {
		a := c.Attributes[f.name]
		if a == nil {
			continue
		}
		if *f.to != nil {
			d.fail(a.NameRange, "Duplicate limit", fmt.Sprintf("The limit %s already stands in line %d: keep one of the two.", f.name, (*f.to).Origin.Line))
			continue
		}
		if n, ok := f.read(a.Expr); ok {
			*f.to = &Limit{Value: n, Enforce: enforce, Origin: d.origin(a.NameRange)}
		}
	}
}

// ioWeight reads a share of the disk: the range of cgroup v1, which v2's is made of.
func (d *decoder) ioWeight(e hcl.Expression) (int64, bool) {
	const least, most = 10, 1000 // blkio.weight, Documentation/admin-guide/cgroup-v1/blkio-controller.rst
	n, ok := d.integer(e, "weight", most)
	if ok && n < least {
		d.fail(e.Range(), "Wrong weight", fmt.Sprintf("A weight is from %d to %d; everybody else's is 100.", least, most))
		return 0, false
	}
	return n, ok
}

// cpus reads a number of CPUs, in thousandths.
func (d *decoder) cpus(e hcl.Expression) (int64, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	if v.Type() != cty.Number {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("A number without quotes is expected here, not %s: write for example 2 or 0.5.", kindOf(v)))
		return 0, false
	}
	f, _ := v.AsBigFloat().Float64()
	if n := math.Round(f * 1000); n >= 1 && n <= 1e6*1000 {
		return int64(n), true
	}
	d.fail(e.Range(), "Wrong number", fmt.Sprintf("%v is no number of CPUs: it is from 0.001 to 1000000.", f))
	return 0, false
}

func (d *decoder) artifacts(b *hcl.Block, l *layer) {
	c := d.content(b.Body, artifactsSchema())
	l.artifactsOrigin = new(d.origin(b.DefRange))
	l.collect = d.patterns(c.Attributes["collect"], relativePattern)
	if a := c.Attributes["size"]; a != nil {
		if n, ok := d.size(a.Expr, 0, ""); ok {
			l.artifactsSize = &n
		}
	}
}

// leastAudit holds a run's first and last events with room to spare: a trail that
// can't even say how the run ended is none.
const leastAudit = 1 << 20

func (d *decoder) audit(b *hcl.Block, l *layer) {
	c := d.content(b.Body, auditSchema())
	l.auditOrigin = new(d.origin(b.DefRange))
	if a := c.Attributes["size"]; a != nil {
		if n, ok := d.size(a.Expr, leastAudit, "the audit trail needs at least 1MiB"); ok {
			l.auditSize = &n
		}
	}
	if a := c.Attributes["otlp"]; a != nil {
		l.auditOTLP = new(d.url(a, "http", "https"))
	}
}

// absolutePath makes a literal path (no glob) absolute and clean.
func absolutePath(s, home, base string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("path is empty: write \".\" for the folder that agentjail is started in")
	}
	if err := checkPathBytes(s); err != nil {
		return "", err
	}
	switch {
	case s == "~" || strings.HasPrefix(s, "~/"):
		if home == "" {
			return "", fmt.Errorf("path %q needs the home folder, and it is not known", s)
		}
		return filepath.Join(home, s[1:]), nil
	case strings.HasPrefix(s, "~"):
		return "", fmt.Errorf("path %q names another user's home: write it in full", s)
	case filepath.IsAbs(s):
		return filepath.Clean(s), nil
	case !filepath.IsAbs(base):
		return "", fmt.Errorf("path %q is relative, and the folder that it is relative to is not known", s)
	}
	return filepath.Join(base, s), nil
}
