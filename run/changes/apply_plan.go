package changes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"

	"github.com/agentjail/agentjail/audit"
)

// What becomes of each change: first by itself, then by what the others become.

// hostFile is what the host has where a change is.
type hostFile struct {
	state    *FileState // nil: nothing
	entry    treeEntry
	obstacle string // the first part of the path that is missing or is no folder; "" for none
}

// maxGateContent bounds what the gate is shown of one side of a file.
const maxGateContent = 4 << 20

// wellFormed refuses a change that Read would not have written: a list comes from a
// file, and what is written to the host follows it.
func wellFormed(c *Change) error {
	if c.Path == "" || path.Clean("/" + c.Path)[1:] != c.Path || strings.ContainsRune(c.Path, 0) {
		return errors.New("not a clean relative path")
	}
	if c.Before == nil && c.After == nil {
		return errors.New("a change of nothing")
	}
	for _, s := range []*FileState{c.Before, c.After} {
		if s != nil && s.Type == TypeSymlink && (s.Target == "" || strings.ContainsRune(s.Target, 0)) {
			return errors.New("a symlink to nowhere")
		}
	}
	return nil
}

// judge decides about one change by itself.
func (p *Plan) judge(t *dirTree, c *Change) Step {
	s := Step{Change: c}
	give := func(o Outcome, reasons ...string) Step {
		s.Outcome, s.Reasons = o, reasons
		return s
	}
	h, err := lookAt(t, c.Path)
	if err != nil {
		return give(OutcomeConflict, readReason(err))
	}
	s.host = h
	if reason := p.never(c); reason != "" {
		return give(OutcomeRefused, reason)
	}
	if reason := p.foreign(c, h); reason != "" {
		return give(OutcomeRefused, reason)
	}
	if h.obstacle == "" && sameOnHost(h.state, p.allowed(c.After)) || h.obstacle != "" && c.After == nil {
		return give(OutcomeDone)
	}
	if p.o.Selected != nil && !p.o.Selected(c.Path) {
		return give(OutcomeSkipped, "it was not asked for")
	}
	if p.o.Gate != nil && (p.o.Named == nil || !p.o.Named(c.Path)) {
		old := func() ([]byte, error) { return hostContent(t, c.Path, c.Before, h) }
		now := func() ([]byte, error) { return p.newContent(c) }
		if reasons := p.o.Gate(c, old, now); len(reasons) > 0 {
			return give(OutcomeHeld, reasons...)
		}
	}
	if reason := conflict(c, h); reason != "" {
		s.Outcome, s.Reasons = OutcomeConflict, []string{reason}
		if p.o.Conflict == ConflictKeepBoth && c.After != nil && c.After.Type == TypeFile && p.o.Suffix != "" && h.obstacle == "" {
			s.besideOf(t, p.o.Suffix)
		}
		return s
	}
	return give(OutcomeApply)
}

// besideOf finds a name for the jail's file beside the host's.
func (s *Step) besideOf(t *dirTree, suffix string) {
	name := s.Change.Path + suffix
	if h, err := lookAt(t, name); err == nil && h.state == nil && h.obstacle == "" && len(path.Base(name)) <= maxStoredName {
		s.Beside = name
	}
}

// never tells what no apply carries out.
func (p *Plan) never(c *Change) string {
	if c.OverHidden {
		return "the host has something there that was hidden from the jail"
	}
	if b := c.Before; b != nil && (b.Type == TypeSocket || b.Type == TypeDevice) {
		return "the host's " + b.Type + " could not be made again by undo"
	}
	if c.After == nil {
		return ""
	}
	switch c.After.Type {
	case TypeFile:
		if c.Unkept != "" {
			return c.Unkept
		}
		if c.After.At == nil {
			return "its content was not kept"
		}
	case TypeFolder, TypeSymlink:
	case TypeFIFO:
		if !p.o.Undo { // a FIFO of the host's own comes back
			return "a fifo is never made on the host"
		}
	default:
		return "a " + c.After.Type + " is never made on the host"
	}
	return ""
}

// allowed is a state without what is never passed on: setuid, setgid and sticky bits, and
// extended attributes. The host's own come back when it is undone.
func (p *Plan) allowed(s *FileState) *FileState {
	if s == nil || p.o.Undo || s.Mode&^0o777 == 0 && s.Attributes == nil {
		return s
	}
	out := *s
	out.Mode &= 0o777
	out.Attributes = nil // changes.json never has any
	return &out
}

// sameOnHost compares what the host has with one side of a change.
func sameOnHost(host, s *FileState) bool {
	if host == nil || s == nil {
		return host == nil && s == nil
	}
	return sameState(host, s)
}

// conflict tells whether the host's side is no longer what the jail saw.
func conflict(c *Change, h *hostFile) string {
	switch {
	case h.obstacle != "":
		return "" // settled with what becomes of the folders above it
	case sameOnHost(h.state, c.Before):
		return ""
	case c.Before == nil && c.After != nil && c.After.Type == TypeFolder && h.state.Type == TypeFolder:
		return "" // a folder that both have made
	case c.Before == nil:
		return "the host has a " + h.state.Type + " there, which was not there when the run began"
	case h.state == nil:
		return "the host's " + c.Before.Type + " is gone"
	case h.state.Type != c.Before.Type:
		return fmt.Sprintf("the host's %s is a %s now", c.Before.Type, h.state.Type)
	case c.Before.Unhashed != "":
		return "nobody knows whether the host's file changed: " + c.Before.Unhashed
	case h.state.Mode != c.Before.Mode && h.state.SHA256 == c.Before.SHA256:
		return fmt.Sprintf("the host's mode is %04o now, and was %04o", uint32(h.state.Mode), uint32(c.Before.Mode))
	}
	return "the host's " + c.Before.Type + " changed since the run"
}

// lookAt reads what the host has at a path.
func lookAt(t *dirTree, name string) (*hostFile, error) {
	dir, base := splitPath(name)
	if err := t.seek(dir); err != nil {
		at := t.path()
		if !missing(err) {
			return nil, err
		}
		next := dir
		if at != "" {
			next = dir[len(at)+1:]
		}
		part, _, _ := strings.Cut(next, "/")
		return &hostFile{obstacle: joinPath(at, part)}, nil
	}
	e, ok, err := t.lstat(base)
	if err != nil || !ok {
		return &hostFile{}, err
	}
	h := &hostFile{state: stateOf(e), entry: e}
	switch e.typ {
	case TypeSymlink:
		h.state.Target, err = t.readlink(base)
	case TypeFile:
		h.state.SHA256, err = hashFile(t, base, e)
	}
	return h, err
}

// newContent is what the host would get, as far as the gate looks.
func (p *Plan) newContent(c *Change) ([]byte, error) {
	if c.After == nil || c.After.Type != TypeFile {
		return nil, nil
	}
	if c.After.Size > maxGateContent {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	err := c.After.content(&b, p.data)
	return b.Bytes(), err
}

var errTooLarge = errors.New("it is too large to be looked into")

func hostContent(t *dirTree, name string, before *FileState, h *hostFile) ([]byte, error) {
	if before == nil || before.Type != TypeFile || h.state == nil || !sameOnHost(h.state, before) {
		return nil, nil
	}
	if before.Size > maxGateContent {
		return nil, errTooLarge
	}
	var b bytes.Buffer
	if reason := copyContent(&b, t, name, before); reason != "" {
		return nil, errors.New(reason)
	}
	return b.Bytes(), nil
}

func hashFile(t *dirTree, name string, e treeEntry) (string, error) {
	f, err := t.open(name, e)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := newSum()
	n, err := io.Copy(sum, io.LimitReader(f, e.size+1))
	if err == nil && n != e.size {
		err = errTreeChanged
	}
	return sum.hex(), err
}

// settle decides about changes that depend on others.
func (p *Plan) settle(t *dirTree) {
	index := make(map[string]int, len(p.Steps))
	for i := range p.Steps {
		index[p.Steps[i].Change.Path] = i
	}
	// A folder that was not asked for comes with what is in it and was.
	for i := len(p.Steps) - 1; i >= 0; i-- {
		if s := &p.Steps[i]; s.Outcome == OutcomeApply && s.Change.After != nil {
			p.takeFolder(index, parentOf(s.Change.Path))
		}
	}
	for i := range p.Steps {
		p.needsFolder(index, &p.Steps[i])
	}
	for i := len(p.Steps) - 1; i >= 0; i-- {
		p.emptied(t, index, i)
	}
	p.dropHollow()
}

// takeFolder applies the folder that the jail made for something that is applied. The
// folder's own comes when its turn does.
func (p *Plan) takeFolder(index map[string]int, dir string) {
	i, ok := index[dir]
	if !ok {
		return
	}
	s := &p.Steps[i]
	if s.Outcome == OutcomeSkipped && s.Change.After != nil && s.Change.After.Type == TypeFolder &&
		(s.Change.Before == nil || s.Change.Before.Type != TypeFolder) && conflict(s.Change, s.host) == "" {
		s.Outcome, s.Reasons = OutcomeApply, nil
	}
}

// needsFolder takes back what has no folder to go to.
func (p *Plan) needsFolder(index map[string]int, s *Step) {
	if s.Outcome != OutcomeApply || s.Change.After == nil || s.host.obstacle == "" {
		return
	}
	// The steps are in order: what becomes of the folder is settled.
	dir := parentOf(s.Change.Path)
	i, ok := index[dir]
	switch {
	case !ok:
		s.Outcome, s.Reasons = OutcomeConflict, []string{fmt.Sprintf("the host's %s is gone or no folder any more", quoted(s.host.obstacle))}
	case p.Steps[i].Outcome != OutcomeApply:
		s.Outcome, s.Reasons = OutcomeSkipped, []string{fmt.Sprintf("%s, in which it would be, is not applied", quoted(dir))}
	}
}

// emptied takes back the removal of a folder in which the host keeps something. The
// steps behind i are settled.
func (p *Plan) emptied(t *dirTree, index map[string]int, i int) {
	s := &p.Steps[i]
	c := s.Change
	if s.Outcome != OutcomeApply || c.Before == nil || c.Before.Type != TypeFolder || c.After != nil && c.After.Type == TypeFolder {
		return
	}
	stays, err := p.staysIn(t, index, c.Path)
	if err != nil {
		s.Outcome, s.Reasons = OutcomeConflict, []string{readReason(err)}
		return
	}
	if stays == "" {
		return
	}
	s.Outcome, s.Reasons = OutcomeSkipped, []string{fmt.Sprintf("the host keeps %s in it", quoted(stays))}
	if c.After != nil {
		s.Outcome = OutcomeConflict
	}
}

// staysIn finds something in a folder of the host's that is not removed.
func (p *Plan) staysIn(t *dirTree, index map[string]int, dir string) (string, error) {
	if err := t.seek(dir); err != nil {
		return "", err
	}
	names, more, err := t.list(Limits{}.orDefault().Entries)
	if err != nil {
		return "", err
	}
	if more {
		return dir + "/...", nil
	}
	for _, name := range names {
		at := joinPath(dir, name)
		i, ok := index[at]
		if !ok || p.Steps[i].Change.After != nil || p.Steps[i].Outcome != OutcomeApply {
			return at, nil
		}
	}
	return "", nil
}

// dropHollow takes back folders that would be made for nothing, as all that the jail
// put into them is held back.
func (p *Plan) dropHollow() {
	for i := len(p.Steps) - 1; i >= 0; i-- {
		s := &p.Steps[i]
		c := s.Change
		if s.Outcome != OutcomeApply || c.Op != audit.FileCreated || c.After.Type != TypeFolder {
			continue
		}
		below, applied := p.below(c.Path), false
		for k := 0; k < len(below) && !applied; k++ {
			applied = below[k].Outcome == OutcomeApply
		}
		if len(below) > 0 && !applied {
			s.Outcome, s.Reasons = OutcomeSkipped, []string{"nothing that is in it is applied"}
		}
	}
}

// below is the steps of what is in a folder.
func (p *Plan) below(dir string) []Step {
	prefix := dir + "/"
	from := sort.Search(len(p.Steps), func(k int) bool { return p.Steps[k].Change.Path >= prefix })
	to := from + sort.Search(len(p.Steps)-from, func(k int) bool { return !strings.HasPrefix(p.Steps[from+k].Change.Path, prefix) })
	return p.Steps[from:to]
}

func splitPath(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func parentOf(name string) string {
	dir, _ := splitPath(name)
	return dir
}

func quoted(name string) string { return audit.Printable(gitQuote(name)) }
