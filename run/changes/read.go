package changes

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"runtime"
	"slices"

	"github.com/agentjail/agentjail/audit"
)

// Options says how an upper layer is read. The zero value is what a jail's
// own overlay needs.
type Options struct {
	// Hidden tells which paths of the lower layer the jail could not see; a folder
	// takes what is below with it. Not having them is no deletion.
	Hidden func(path string) bool
	// Ignore tells which paths are left out of the list, with what is below them.
	Ignore func(path string) bool
	// TrustedXattrs: the overlay was mounted without "userxattr".
	TrustedXattrs bool
	// Limits: what is zero is the default.
	Limits Limits
}

// Limits bounds what a hostile tree can make us spend.
type Limits struct {
	Entries   int   // paths in the list; default 500,000
	Depth     int   // folders below one another; default 8,192
	Path      int   // bytes of one path; default 32 KiB
	Paths     int64 // bytes of all paths; default 64 MiB
	HashFile  int64 // bytes of a file that is still hashed; default 4 GiB
	HashTotal int64 // bytes that are hashed in all, of both layers; default 16 GiB
}

const changesMaxDepth = 8192

func (l Limits) orDefault() Limits {
	return Limits{
		Entries:   cmp.Or(l.Entries, 500_000),
		Depth:     cmp.Or(l.Depth, changesMaxDepth),
		Path:      cmp.Or(l.Path, 32<<10),
		Paths:     cmp.Or(l.Paths, 64<<20),
		HashFile:  cmp.Or(l.HashFile, 4<<30),
		HashTotal: cmp.Or(l.HashTotal, 16<<30),
	}
}

// Read compares an overlay's upper layer with the host's folder below it.
// upper may be an O_PATH descriptor and its mount may be gone from every namespace;
// it must stay open until WritePatch is done. lower is the host's folder, symlinks
// resolved, or "" for a workspace that began empty. Nothing may be running in the jail.
//
// What can't be read or exceeds a limit is in Unread and makes Complete false: it is
// never an error, since a hostile tree must not be able to keep the rest from being
// listed. The mode of the workspace's root is not compared, because the overlay's
// maker chose it. A folder or file of the upper layer whose mode keeps the caller
// out is made readable for the moment of reading.
func Read(upper *os.File, lower string, o Options) (*List, error) {
	if upper == nil {
		return nil, errors.New("read changes: there is no upper layer\nhint: only an overlay or an empty workspace has a list of changes")
	}
	defer runtime.KeepAlive(upper)
	marks, err := newOverlayMarks(o.TrustedXattrs)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	r := &changeReader{
		o: o, lim: o.Limits.orDefault(), marks: marks, hash: sha256.New(),
		out: &List{Complete: true, source: changeSource{upper, lower}},
	}
	r.hashLeft = r.lim.HashTotal
	if r.upper, err = openDirTree(upper, treeUpper, true); err != nil {
		return nil, fmt.Errorf("read changes: open the upper layer: %w", err)
	}
	defer r.upper.close()
	if lower != "" {
		if r.lower, err = openLowerTree(lower, true); err != nil {
			return nil, fmt.Errorf("read changes: open workspace %s: %w", lower, err)
		}
		defer r.lower.close()
	}
	r.folder("", place{merged: lower != ""})
	slices.SortFunc(r.out.Changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return r.out, nil
}

// changeReader is one comparison. Both trees are walked in step: the lower one is in
// the folder of the same path whenever place.merged says so.
type changeReader struct {
	o            Options
	lim          Limits
	marks        overlayMarks
	upper, lower *dirTree
	out          *List
	paths        int64
	hashLeft     int64
	hash         hash.Hash
	full         bool // a limit of the list is reached: nothing more is added
}

// place is what is known about a folder of the upper layer.
type place struct {
	merged     bool // the lower layer has a folder here that the jail could see
	opaque     bool // ... but the overlay doesn't merge it: what upper lacks is deleted
	overHidden bool // the host has something hidden here or above
}

// folder compares the folder that both walks are in and reports how many names the
// jail has in it.
func (r *changeReader) folder(path string, p place) (entries int) {
	xwhiteouts := false
	if r.lower != nil {
		opaque, x, err := r.marks.folder(r.upper)
		if err != nil {
			r.unread(path, markReason(err))
			return 1
		}
		xwhiteouts = x
		// A folder under an opaque one has no lower layer either, marked or not.
		p.opaque = p.opaque || opaque
	}
	names, all := r.list(r.upper, path)
	if !all {
		entries++ // whatever it is
	}
	gone := map[string]bool{}
	if p.merged && p.opaque && all {
		below, _ := r.list(r.lower, path)
		for _, name := range below {
			gone[name] = true
		}
	}
	for _, name := range names {
		if r.full {
			return 1
		}
		delete(gone, name)
		if r.entry(path, name, p, xwhiteouts) {
			entries++
		}
	}
	for _, name := range sortedKeys(gone) {
		r.deleted(joinPath(path, name), name)
	}
	return entries
}

// entry compares one name of the upper layer and tells whether the jail sees it.
func (r *changeReader) entry(parent, name string, p place, xwhiteouts bool) (visible bool) {
	path := joinPath(parent, name)
	if r.tooLong(path) || (r.o.Ignore != nil && r.o.Ignore(path)) {
		return true
	}
	u, ok, err := r.upper.lstat(name)
	if err != nil || !ok {
		r.unread(path, readReason(cmp.Or(err, errTreeChanged)))
		return true
	}
	// An empty workspace is a plain folder: there are no whiteouts, and the jail may
	// have made what looks like one.
	if r.lower != nil {
		white, err := r.marks.whiteout(r.upper, name, u, xwhiteouts)
		if err != nil {
			r.unread(path, readReason(err))
			return true
		}
		if white {
			if p.merged {
				r.deleted(path, name)
			}
			return false
		}
	}
	var before *FileState
	var l treeEntry
	overHidden := p.overHidden
	if p.merged {
		var exists bool
		if l, exists, err = r.lower.lstat(name); err != nil {
			r.unread(path, readReason(err))
			return true
		}
		switch {
		case exists && r.hidden(path):
			overHidden = true
		case exists:
			before = stateOf(l)
		}
	}
	after := stateOf(u)
	if after.Type != TypeFolder {
		r.leaf(path, name, before, l, after, u, overHidden)
		return true
	}
	at := r.add(Change{Op: opOf(before), Path: path, Before: before, After: after, OverHidden: overHidden},
		before != nil && before.Type == TypeFolder && before.Mode == after.Mode)
	n := r.descend(path, name, u, l, place{
		merged: before != nil && before.Type == TypeFolder, opaque: p.opaque, overHidden: overHidden,
	})
	if at >= 0 {
		r.out.Changes[at].hollow = n == 0
		if before != nil && before.Type != TypeFolder {
			r.content(&r.out.Changes[at], r.lower, name, l, before)
		}
	}
	return true
}

// descend compares a folder of the upper layer, and of the lower one if it is merged.
func (r *changeReader) descend(path, name string, u, l treeEntry, p place) (entries int) {
	if r.upper.depth() >= r.lim.Depth {
		r.unread(path, fmt.Sprintf("its content is more than %d folders deep", r.lim.Depth))
		return 1
	}
	if err := r.upper.enter(name, u); err != nil {
		r.unread(path, readReason(err))
		return 1
	}
	defer r.upper.leave()
	if p.merged {
		if err := r.lower.enter(name, l); err != nil {
			r.unread(path, readReason(err))
			return 1
		}
		defer r.lower.leave()
	}
	return r.folder(path, p)
}

// leaf compares what is no folder in the upper layer.
func (r *changeReader) leaf(path, name string, before *FileState, l treeEntry, after *FileState, u treeEntry, overHidden bool) {
	c := Change{Op: opOf(before), Path: path, Before: before, After: after, OverHidden: overHidden}
	r.content(&c, r.upper, name, u, after)
	if before != nil && before.Type != TypeFolder {
		r.content(&c, r.lower, name, l, before)
	}
	at := r.add(c, before != nil && sameState(before, after))
	if before == nil || before.Type != TypeFolder {
		return
	}
	keeps := true
	if err := r.lower.enter(name, l); err != nil {
		r.unread(path, readReason(err))
	} else {
		defer r.lower.leave()
		keeps, _ = r.deletedBelow(path)
	}
	if at >= 0 {
		r.out.Changes[at].keeps = keeps
	}
}

// deleted lists what the lower layer has under a name that the jail deleted. The
// lower walk is in the parent. keeps: the host still has something there.
func (r *changeReader) deleted(path, name string) (keeps bool) {
	if r.full || r.hidden(path) || r.tooLong(path) || (r.o.Ignore != nil && r.o.Ignore(path)) {
		return true
	}
	l, ok, err := r.lower.lstat(name)
	if err != nil {
		r.unread(path, readReason(err))
		return true
	}
	if !ok {
		return false // the overlay also leaves whiteouts over what never was
	}
	before := stateOf(l)
	c := Change{Op: audit.FileDeleted, Path: path, Before: before}
	if before.Type != TypeFolder {
		r.content(&c, r.lower, name, l, before)
		r.add(c, false)
		return false
	}
	at := r.add(c, false)
	if r.lower.depth() >= r.lim.Depth {
		r.unread(path, fmt.Sprintf("its content is more than %d folders deep", r.lim.Depth))
		return true
	}
	if err := r.lower.enter(name, l); err != nil {
		r.unread(path, readReason(err))
		keeps = true
	} else {
		defer r.lower.leave()
		var n int
		keeps, n = r.deletedBelow(path)
		if at >= 0 {
			r.out.Changes[at].hollow = n == 0
		}
	}
	if at >= 0 {
		r.out.Changes[at].keeps = keeps
	}
	return keeps
}

func (r *changeReader) deletedBelow(path string) (keeps bool, entries int) {
	names, all := r.list(r.lower, path)
	keeps = !all
	for _, name := range names {
		if r.deleted(joinPath(path, name), name) {
			keeps = true
		}
	}
	return keeps, len(names)
}

func opOf(before *FileState) audit.FileOp {
	if before == nil {
		return audit.FileCreated
	}
	return audit.FileModified
}

func stateOf(e treeEntry) *FileState {
	return &FileState{Type: e.typ, Mode: FileMode(e.mode), Size: e.size, rdev: e.rdev}
}

// sameState tells whether a copied-up file is as it was. Content that was not read
// is taken as changed. A symlink's mode means nothing (symlink(7)).
func sameState(a, b *FileState) bool {
	if a.Type != b.Type {
		return false
	}
	if a.Type == TypeSymlink {
		return a.Target == b.Target
	}
	if a.Mode != b.Mode || a.rdev != b.rdev {
		return false
	}
	return a.Type != TypeFile || (a.Size == b.Size && a.SHA256 != "" && a.SHA256 == b.SHA256)
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
