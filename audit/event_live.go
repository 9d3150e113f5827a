package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Live says that an event is of a change that was seen as it happened, and not of what was
// found when the run had ended.
func (e Event) Live() bool {
	var u struct {
		Live bool `json:"live"`
	}
	return e.ClassUID == 1001 && json.Unmarshal(e.Unmapped, &u) == nil && u.Live
}

func (e Event) fileKind() string {
	if e.Live() {
		return "live"
	}
	return "file"
}

// liveFile: neither size nor hash is known, since nobody looked.
func (s source) liveFile(r LiveFile, at time.Time) (header, object) {
	if r.At.IsZero() {
		r.At = at
	}
	var u object
	u.flag("live", true)
	state := s.arena.object(4)
	fileName(&state, r.Path, r.Type)
	h, root := s.fileEvent(File{Op: r.Op, Path: r.Path, OldPath: r.OldPath, Type: r.Type}, r.At, state, u)
	if r.Count > 1 {
		fold(&root, r.Count, r.First, r.At)
	}
	return h, root
}

// liveFiles stands for many changes: the schema's count is how many, and file is the
// folder that they have in common.
func (s source) liveFiles(r LiveFiles, at time.Time) (header, object) {
	if r.Start.IsZero() {
		r.Start, r.End = at, at
	}
	h := header{class: fileActivity(), activity: activity{99, "Other"}, severity: informational(), verdict: observed(success()), at: r.Start}
	var parts []string
	kinds := make(object, 0, 4)
	for _, k := range []struct {
		op FileOp
		n  int64
	}{{FileCreated, r.Created}, {FileDeleted, r.Deleted}, {FileModified, r.Modified}, {FileRenamed, r.Renamed}} {
		kinds.number(string(k.op), k.n)
		if k.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", k.n, k.op))
		}
	}
	h.message = strings.Join(parts, ", ") + " under " + r.Under
	body := s.arena.object(3)
	s.actor(&body, Process{})
	body.object("device", s.device)
	under := s.arena.object(4)
	fileName(&under, r.Under, "folder")
	body.object("file", under)
	var u object
	u.flag("live", true)
	u.object("mass", kinds)
	root := s.root(h, body, u)
	fold(&root, max(r.Created+r.Modified+r.Deleted+r.Renamed, 1), r.Start, r.End)
	return h, root
}
