package run

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/agentjail/agentjail/jail"
	"github.com/agentjail/agentjail/run/changes"
)

// Bounds of what is remembered of folders, and of what is looked through of one that is
// moved while its mover waits.
const (
	maxJudged = 4096
	maxMoved  = 20_000
)

// names judges what the agent would make in the workspace, before it does. One goroutine
// of the jail's asks.
type names struct {
	guard   *directGuard
	allows  bool              // the profile lets something through of the gate
	folders map[string]string // what was said of them
}

// judge says why a name may not be given: the gate protects it, or a folder that it would
// be in, or something of a folder that is moved there.
func (w *names) judge(n jail.Naming) string {
	if top, _, _ := strings.Cut(n.Path, "/"); n.ReadOnly && !slices.Contains(w.guard.early, top) {
		return "" // what was there at the start: git tries to write to its folder all the time
	}
	if why := w.within(path.Dir(n.Path)); why != "" {
		return why
	}
	if why := w.guard.gate.Protects(n.Path, n.Dir); why != "" {
		return why
	}
	if !n.Dir || n.From == "" || !w.allows && !w.guard.gate.Below(n.Path) {
		return ""
	}
	const unseen = "what is in it could be what the host executes or trusts by this name, and can't be looked at"
	if n.Source == nil {
		return unseen
	}
	found, err := changes.Places(n.Source, func(p string, folder bool) string {
		if w.guard.gate.Protects(n.From+"/"+p, folder) != "" {
			return "" // as it was
		}
		return w.guard.gate.Protects(n.Path+"/"+p, folder)
	}, nil, changes.Limits{Entries: maxMoved})
	switch {
	case err != nil:
		return unseen
	case len(found.Places) > 0:
		return found.Places[0].Path + " in it: " + found.Places[0].Why
	case found.Cut || len(found.Unread) > 0:
		return unseen
	}
	return ""
}

// layer is what the trail's first event says of the gate.
func (g *directGuard) layer(p *jail.Plan) jail.Layer {
	l := jail.Layer{Name: "gate", State: "enforced", Probe: "each mount's device and inode compared with the plan",
		Detail: fmt.Sprintf("%d paths that the host executes or trusts are read-only; new ones are refused at the call, and taken out when the run ends where they were made all the same", len(g.protected))}
	if len(g.early) > 0 {
		l.Detail += "; empty folders of the workspace for the time of the run: " + strings.Join(g.early, " ")
	}
	if g.notEarly != nil {
		l.Detail += "; not all of those could be made: " + g.notEarly.Error()
	}
	if past := jail.PastFilter(p.Syscalls); past != "" {
		l.State = "degraded"
		l.Detail += "; the profile opens " + past + ", which makes files that nobody is asked about"
	}
	return l
}

// within says why nothing may be made in a folder: the gate protects it or one above it. No
// such folder can be written to that was there when the run began.
func (w *names) within(dir string) string {
	if dir == "." {
		return ""
	}
	if why, ok := w.folders[dir]; ok {
		return why
	}
	why := w.within(path.Dir(dir))
	if why == "" {
		why = w.guard.gate.Protects(dir, true)
	}
	if len(w.folders) >= maxJudged {
		clear(w.folders)
	}
	w.folders[dir] = why
	return why
}
