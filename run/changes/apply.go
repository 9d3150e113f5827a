package changes

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// An Outcome is what becomes of one change when it is applied to the host's folder.
type Outcome string

// The outcomes. Only what is to be applied is done; a conflict keeps all of it from
// being done, unless the caller said what to do about conflicts.
const (
	OutcomeApply    Outcome = "apply"
	OutcomeDone     Outcome = "done"     // the host has it already
	OutcomeHeld     Outcome = "held"     // the gate holds it back until somebody names it
	OutcomeConflict Outcome = "conflict" // the host's side changed since the run
	OutcomeRefused  Outcome = "refused"  // never applied: a FIFO, a content that was not kept
	OutcomeSkipped  Outcome = "skipped"  // not asked for, or nothing without what is not applied
)

// ConflictMode says what to do about files that changed on the host since the run.
type ConflictMode string

// Refuse applies nothing at all; keep-both writes the jail's file beside the host's;
// skip leaves the host's as it is.
const (
	ConflictRefuse   ConflictMode = "refuse"
	ConflictKeepBoth ConflictMode = "keep-both"
	ConflictSkip     ConflictMode = "skip"
)

// A Gate says why a change should not reach the host before a person has looked at
// it; nil is no reason. It reads the contents of the two sides where it needs them.
type Gate func(c *Change, old, now func() ([]byte, error)) (reasons []string)

// ApplyOptions says what is applied. The zero value holds nothing back and refuses
// conflicts.
type ApplyOptions struct {
	Selected func(path string) bool // nil: all of it
	Named    func(path string) bool // paths that the gate lets through, because somebody named them
	Gate     Gate
	Conflict ConflictMode
	Suffix   string // of the name that ConflictKeepBoth gives the jail's file
	Undo     bool   // the list is an apply's own undo: modes are the host's, and come back as they were

	// Rewrite gives a file another content than the jail's: the hunks of it that a
	// person chose. Nil, or a nil result, is the jail's own.
	Rewrite func(c *Change) []byte
}

// A Step is one change and what becomes of it.
type Step struct {
	Change  *Change
	Outcome Outcome
	Reasons []string // why it is not applied
	Beside  string   // the path that the jail's file gets instead, under ConflictKeepBoth

	host *hostFile
}

// Plan is what apply would do. Nothing is changed before Commit.
type Plan struct {
	Steps []Step

	root *os.File
	data io.ReaderAt
	o    ApplyOptions
}

// ErrConflict is in Commit's error where the host's side changed since the run.
var ErrConflict = errors.New("the host's files changed since the run")

// PlanApply compares a list of changes with the host's folder as it is now and
// decides what becomes of each: three-way, by type, mode, content and target. Symlinks
// are never followed, in the last part of a path or before it, and no mount within
// the folder is entered. data is changes.data; root stays the caller's and must stay
// open until Commit is done.
func PlanApply(root *os.File, l *List, data io.ReaderAt, o ApplyOptions) (*Plan, error) {
	if o.Conflict == "" {
		o.Conflict = ConflictRefuse
	}
	p := &Plan{root: root, data: data, o: o, Steps: make([]Step, len(l.Changes))}
	t, err := openDirTree(root, !treeUpper, true)
	if err != nil {
		return nil, fmt.Errorf("apply: open the workspace: %w", err)
	}
	defer t.close()
	for i := range l.Changes {
		if i > 0 && l.Changes[i-1].Path >= l.Changes[i].Path {
			return nil, fmt.Errorf("apply: the list of changes is not in order at %q\nhint: changes.json was changed after the run", l.Changes[i].Path)
		}
		if err := wellFormed(&l.Changes[i]); err != nil {
			return nil, fmt.Errorf("apply: %q: %w\nhint: changes.json was changed after the run", l.Changes[i].Path, err)
		}
		p.Steps[i] = p.judge(t, &l.Changes[i])
	}
	p.settle(t)
	return p, nil
}

// Count tells how many steps have an outcome.
func (p *Plan) Count(o Outcome) (n int) {
	for i := range p.Steps {
		if p.Steps[i].Outcome == o {
			n++
		}
	}
	return n
}

// Blocked says why Commit would do nothing: conflicts that nobody decided about.
func (p *Plan) Blocked() error {
	if n := p.Count(OutcomeConflict); n > 0 && p.o.Conflict == ConflictRefuse {
		return fmt.Errorf("%w: %d of them, and nothing was applied", ErrConflict, n)
	}
	return nil
}

// Contents gives the two sides of a file that a step is about, as far as they are
// small enough to be looked at: what the host has, where that is what the run began
// with, and what the jail made of it.
func (p *Plan) Contents(s *Step) (old, now []byte, err error) {
	if s.host == nil {
		return nil, nil, nil
	}
	t, err := openDirTree(p.root, !treeUpper, true)
	if err != nil {
		return nil, nil, err
	}
	defer t.close()
	if old, err = hostContent(t, s.Change.Path, s.Change.Before, s.host); err != nil {
		return nil, nil, err
	}
	now, err = p.newContent(s.Change)
	return old, now, err
}
