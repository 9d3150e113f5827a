package filewatch

import (
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/agentjail/agentjail/audit"
)

// Totals are the changes that were seen since the run began. They only grow.
type Totals struct {
	Created, Modified, Deleted, Renamed int64
	Lost                                int64 // how often the kernel's queue was full, or something could not be watched
}

// All of them.
func (t Totals) All() int64 { return t.Created + t.Modified + t.Deleted + t.Renamed }

// Counts are the totals by name, without those that there were none of.
func (t Totals) Counts() map[string]int64 {
	m := map[string]int64{}
	for _, c := range []struct {
		n    int64
		what string
	}{{t.Created, "created"}, {t.Modified, "changed"}, {t.Deleted, "deleted"}, {t.Renamed, "renamed"}, {t.Lost, "lost"}} {
		if c.n > 0 {
			m[c.what] = c.n
		}
	}
	return m
}

// String says how many of each kind, without those that there were none of.
func (t Totals) String() string {
	var parts []string
	for _, c := range []struct {
		n    int64
		what string
	}{{t.Created, "created"}, {t.Modified, "changed"}, {t.Deleted, "deleted"}, {t.Renamed, "renamed"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// counters are Totals that others read while they are counted.
type counters struct{ created, modified, deleted, renamed, lost atomic.Int64 }

func (c *counters) add(op audit.FileOp) {
	switch op {
	case audit.FileCreated:
		c.created.Add(1)
	case audit.FileModified:
		c.modified.Add(1)
	case audit.FileDeleted:
		c.deleted.Add(1)
	case audit.FileRenamed:
		c.renamed.Add(1)
	}
}

func (c *counters) totals() Totals {
	return Totals{c.created.Load(), c.modified.Load(), c.deleted.Load(), c.renamed.Load(), c.lost.Load()}
}
