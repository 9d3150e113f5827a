package run

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/run/changes"
)

// What only the content tells, in direct mode. An edit of a source file is what direct
// mode is for, so nothing is taken out for it: the files that were changed while the run
// went on are looked into when it has ended, and what the gate finds is told.
//
// Which files those are, their ctime tells, which the kernel sets at each change and
// nobody can (only somebody who sets the clock; see stepped). Of what they were before
// there is no copy, nor would git's be one to trust: the agent may have written to it in
// an earlier run. So all of a file counts as new, but for what is worth remembering of
// the few whose rule compares.

// Bounds of the look. They keep the end of a run short after an agent has built something
// large; what is past them is counted, and told.
const (
	maxLookedInto   = 20_000           // files
	maxLookedBytes  = 256 << 20        // of all
	maxLookedFile   = 4 << 20          // of one, as for apply's gate
	maxLookTime     = 10 * time.Second // a build's output may be slow to read
	maxRemembered   = 512              // files whose rule compares, and of executables by a hundredfold
	maxTellFindings = 1000             // findings of their own in the trail
)

// Flagged is a file in the host's own folder that a person should look at.
type Flagged struct {
	Path string   `json:"path"`
	Why  []string `json:"why"`
}

// before is what is known of the workspace as it was when the run began.
type before struct {
	clock       clockAt
	executables map[string]bool
	remembered  map[string]string // what the gate remembers, by path
	forgot      bool              // there were more executables than that
}

// clockAt is one moment by the clock that files are marked with, and by one that nobody sets.
type clockAt struct{ wall, boot unix.Timespec }

func clockNow() (c clockAt, err error) {
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &c.wall); err != nil {
		return c, err
	}
	return c, unix.ClockGettime(unix.CLOCK_BOOTTIME, &c.boot)
}

// stepped tells whether the wall clock was set back since: then a file that was changed
// may have a ctime from before the run.
func (c clockAt) stepped(now clockAt) bool {
	const tick = 20 * time.Millisecond // two ticks of the coarse clock, at 100 a second
	wall := time.Duration(now.wall.Nano() - c.wall.Nano())
	boot := time.Duration(now.boot.Nano() - c.boot.Nano())
	return wall < boot-tick
}

// remember notes of a file that is there when the run begins what will be asked of it.
func (g *directGuard) remember(list *[]changes.Entry) func(changes.Entry) {
	b := &g.was
	b.executables, b.remembered = map[string]bool{}, map[string]string{}
	return func(e changes.Entry) {
		if e.Type != changes.TypeFile {
			return
		}
		if e.Mode&0o111 != 0 {
			if len(b.executables) < 100*maxRemembered {
				b.executables[e.Path] = true
			} else {
				b.forgot = true
			}
		}
		if len(*list) < maxRemembered && g.gate.Compared(e.Path) {
			e.Marked = nil
			*list = append(*list, e)
		}
	}
}

// readRemembered reads what is compared later. What can't be read counts as new later.
func (g *directGuard) readRemembered(workspace string, list []changes.Entry) error {
	if len(list) == 0 {
		return nil
	}
	root, err := openWorkspace(workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxLookedBytes / 8)
	return changes.Contents(root, list, maxLookedFile, func(e changes.Entry, content []byte, err error) bool {
		if err == nil {
			g.was.remembered[e.Path] = g.gate.Remember(string(content))
		}
		left -= int64(len(content))
		return left > 0
	})
}

// changedFiles collects what was changed since the run began, the files that a rule is
// about first.
type changedFiles struct {
	first, rest []changes.Entry
	unlooked    int // that there was no room for
}

func (g *directGuard) collect(now clockAt) (*changedFiles, func(changes.Entry)) {
	c := &changedFiles{}
	all := g.was.clock.stepped(now)
	return c, func(e changes.Entry) {
		if !all && changes.Later(g.was.clock.wall, e.Changed) && e.Marked() {
			return
		}
		e.Marked = nil
		list := &c.rest
		if e.Type == changes.TypeSymlink || g.gate.Asks(e.Path) {
			list = &c.first
		}
		if len(*list) >= maxLookedInto {
			c.unlooked++
			return
		}
		*list = append(*list, e)
	}
}

// lookInto tells what the gate finds in the files that were changed.
func (s *session) lookInto(c *changedFiles) error {
	g, workspace := s.direct, s.plan.Workspace.Path
	// What lies near the root is what people open.
	slices.SortStableFunc(c.rest, func(x, y changes.Entry) int {
		return cmp.Compare(strings.Count(x.Path, "/"), strings.Count(y.Path, "/"))
	})
	list := slices.Concat(c.first, c.rest)
	if n := len(list) - maxLookedInto; n > 0 {
		list, c.unlooked = list[:maxLookedInto], c.unlooked+n
	}
	root, err := openWorkspace(workspace)
	if err != nil {
		return err
	}
	defer root.Close()
	left, deadline, looked, more := int64(maxLookedBytes), time.Now().Add(maxLookTime), 0, 0
	tell := func(e changes.Entry, why []string) {
		if len(why) == 0 {
			return
		}
		if len(s.info.Flagged) >= maxTellFindings {
			more++
			return
		}
		s.info.Flagged = append(s.info.Flagged, Flagged{strings.ToValidUTF8(e.Path, "\ufffd"), why})
		s.sink.Emit(audit.Finding{Title: "changed in the host's own folder: " + e.Path, Detail: strings.Join(why, "; ") + "; it stays there: look at it before anything runs or trusts it", Severity: "medium", Outcome: audit.Allowed})
	}
	err = changes.Contents(root, list, maxLookedFile, func(e changes.Entry, content []byte, err error) bool {
		if left -= int64(len(content)); left < 0 || time.Now().After(deadline) {
			return false
		}
		looked++
		tell(e, g.reasons(e, content, err))
		return true
	})
	s.info.Unlooked = c.unlooked + len(list) - looked
	if s.info.Unlooked > 0 {
		s.sink.Emit(audit.Finding{Title: "nobody looked into all that was changed in the host's own folder", Severity: "medium", Outcome: audit.Failed,
			Detail: fmt.Sprintf("%s; at most %d files and %d MiB are looked into, for %s", plural(s.info.Unlooked, "file"), maxLookedInto, maxLookedBytes>>20, maxLookTime)})
	}
	if more > 0 {
		s.sink.Emit(audit.Finding{Title: "more was changed in the host's own folder than is told one by one", Detail: plural(more, "file") + " more", Severity: "medium", Outcome: audit.Allowed})
	}
	return err
}

// reasons asks the gate about one file.
func (g *directGuard) reasons(e changes.Entry, content []byte, err error) []string {
	c := &changes.Change{Path: e.Path, After: &changes.FileState{Type: e.Type, Mode: e.Mode, Size: e.Size, Target: e.Target}}
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone since
		return nil
	case err != nil && bytes.IndexByte(content, 0) >= 0 && !g.gate.Asks(e.Path):
		err = nil // too large, and nobody reads it as text
	}
	// That it can be executed is told where it could not be before.
	if g.was.forgot || g.was.executables[e.Path] {
		c.After.Mode &^= 0o111
	}
	old := func() ([]byte, error) { return []byte(g.was.remembered[e.Path]), nil }
	return g.gate.Content(c, old, func() ([]byte, error) { return content, err })
}

func openWorkspace(workspace string) (*os.File, error) {
	root, err := os.OpenFile(workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("workspace %s: %w", workspace, pathCause(err))
	}
	return root, nil
}

// flaggedText is for people: the first of them, each with its first reason.
func (s *session) flaggedText() string {
	const most = 5
	var b strings.Builder
	for i, f := range s.info.Flagged {
		if i == most {
			fmt.Fprintf(&b, "agentjail:   and %d more: agentjail report %s\n", len(s.info.Flagged)-most, s.id)
			break
		}
		fmt.Fprintf(&b, "agentjail:   %s: %s\n", shown(f.Path), f.Why[0])
	}
	return b.String()
}
