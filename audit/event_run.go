package audit

import (
	"cmp"
	"path"
	"strconv"
	"strings"
	"time"
)

// runStart: the run's layers, limits and hashes have no attribute in the schema.
func (s source) runStart(r RunStart, at time.Time) (header, object) {
	h := header{
		class:    lifecycle(),
		activity: activity{3, "Start"},
		severity: informational(),
		verdict:  observed(success()),
		message:  "run of " + commandLine(r.Argv) + " started",
		at:       at,
	}
	if r.Learning {
		h.message = "learning " + h.message
	}
	layers := make([]object, 0, len(r.Layers))
	for _, l := range r.Layers {
		layer := make(object, 0, 4)
		layer.text("detail", l.Detail)
		layer.text("name", l.Name)
		layer.text("probe", l.Probe)
		layer.text("state", l.State)
		layers = append(layers, layer)
		if l.State != "enforced" {
			h.severity = low()
		}
	}

	var system object
	system.text("kernel_release", r.Kernel)
	system.own("name", "Linux")
	system.number("type_id", 200) // Linux
	device := append(object(nil), s.device...)
	device.object("os", system)

	var policy object
	policy.flag("is_applied", true)
	policy.text("name", r.Profile)

	var workspace object
	workspace.text("mode", r.WorkspaceMode)
	workspace.text("path", r.Workspace)

	var app object
	app.text("name", cmp.Or(r.Name, program(r.Argv)))
	app.own("uid", s.runID)

	var user object
	user.text("name", r.Caller)
	var actor object
	actor.object("session", s.session)
	actor.object("user", user)

	var body object
	body.object("actor", actor)
	body.object("app", app)
	body.object("device", device)
	if r.Profile != "" {
		body.object("policy", policy)
	}

	var u object
	u.texts("argv", r.Argv)
	u.text("binary_sha256", r.BinaryHash)
	u.text("binary_version", r.Version)
	u.text("cwd", r.Cwd)
	u.objects("layers", layers)
	if r.Learning {
		u.flag("learning", true)
	}
	dict(&u, "limits", r.Limits, (*object).text)
	u.text("mode", r.Mode)
	dict(&u, "profile_sha256", r.ProfileHashes, (*object).text)
	u.text("run_name", r.Name)
	u.texts("syscalls", r.Syscalls)
	u.object("workspace", workspace)
	return h, s.root(h, body, u)
}

func (s source) runEnd(r RunEnd, at time.Time) (header, object) {
	status := failure()
	if r.ExitCode == 0 && r.Signal == "" {
		status = success()
	}
	h := header{
		class:    lifecycle(),
		activity: activity{4, "Stop"},
		severity: informational(),
		verdict:  observed(status),
		message:  "run ended: " + r.Reason + ", exit code " + strconv.Itoa(r.ExitCode),
		reason:   r.Reason,
		at:       at,
	}
	var body object
	s.actor(&body, Process{})
	body.object("app", s.app())
	body.own("status_code", strconv.Itoa(r.ExitCode))

	var u object
	budgets := make([]object, 0, len(r.Budgets))
	for _, b := range r.Budgets {
		o := make(object, 0, 5)
		o.text("limit", b.Limit)
		o.text("name", b.Name)
		o.number("of", b.Of)
		o.number("spent", b.Spent)
		o.text("unit", b.Unit)
		budgets = append(budgets, o)
	}
	u.objects("budgets", budgets)
	dict(&u, "counts", r.Counts, (*object).number)
	dict(&u, "details", r.Details, (*object).text)
	u.number("duration_us", r.Duration.Microseconds())
	u.number("exit_code", int64(r.ExitCode))
	u.number("max_rss_bytes", r.MaxRSS)
	u.text("signal", r.Signal)
	u.number("system_cpu_us", r.SysCPU.Microseconds())
	u.number("user_cpu_us", r.UserCPU.Microseconds())
	return h, s.root(h, body, u)
}

// wipe: what the schema calls Remove. Something that stays is a broken promise.
func (s source) wipe(r Wipe, at time.Time) (header, object) {
	h := header{
		class:    lifecycle(),
		activity: activity{2, "Remove"},
		severity: informational(),
		verdict:  observed(success()),
		message:  "jail wiped, nothing left",
		at:       at,
	}
	if len(r.Left) > 0 {
		h.severity = high()
		h.verdict = observed(failure())
		h.message = "jail wiped, but something is left: " + strings.Join(r.Left, ", ")
		h.reason = strings.Join(r.Left, ", ")
	}
	var body object
	s.actor(&body, Process{})
	body.object("app", s.app())

	var u object
	u.texts("gone", r.Gone)
	u.texts("left", r.Left)
	u.texts("removed", r.Removed)
	return h, s.root(h, body, u)
}

// app is the run as an application.
func (s source) app() object {
	app := make(object, 0, 2)
	app.own("name", "agentjail")
	app.own("uid", s.runID)
	return app
}

// program is the base name of what is run.
func program(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	return path.Base(argv[0])
}

// commandLine joins arguments so that it can be read, and pasted into a shell,
// without doubt: what a shell would take apart is quoted.
func commandLine(argv []string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg != "" && strings.IndexFunc(arg, unsafeInShell) < 0 {
			b.WriteString(arg)
			continue
		}
		b.WriteString("'" + strings.ReplaceAll(arg, "'", `'\''`) + "'")
	}
	return b.String()
}

func unsafeInShell(r rune) bool {
	return !(r < 0x80 && isAlnum(byte(r)) || strings.ContainsRune("%+,-./:=@_", r))
}
