package filewatch

import (
	"slices"
	"strings"

	"github.com/agentjail/agentjail/audit"
)

// Change is one change in the workspace.
type Change struct {
	Op   audit.FileOp
	Path string // relative to the workspace
	Old  string // of a rename
	Dir  bool
}

// kind is what lies at a path.
type kind uint8

const (
	absent kind = iota
	file
	folder
	whiteout // of the overlay: a character device 0:0 (overlayfs.rst)
	other
)

// eyes are what a tree asks of the file systems. Either may be wrong by the time that it
// is answered; the run's end sets it right.
type eyes interface {
	below(path string) kind // what the jail saw there before it changed anything
	now(path string) kind   // what lies in the layer at this moment
}

// The bounds of what a tree remembers, and of how far it goes up.
const (
	maxFolders   = 65_536
	maxWhiteouts = 64
	maxMade      = 1024
	maxDepth     = 2048 // of PATH_MAX: a path of more folders has no name
)

// node is a folder.
type node struct {
	parent  *node
	name    string
	key     string // by which the source knows it
	folders map[string]*node
	fresh   bool // the host's folder has nothing here, and so nothing below
}

// tree turns what happens in an upper layer into changes of the workspace.
//
// An overlay makes many things in its own work folder, which is no part of the tree, and
// moves them in: copies of the host's folders and files (a copy-up), whiteouts, and what
// takes the place of a whiteout. So what arrives from outside is judged by what it is and
// by what the host's folder has there.
type tree struct {
	eyes   eyes
	emit   func(Change)
	writes bool // the kernel tells when a file was closed after it was open for writing

	root  *node
	nodes map[string]*node
	white map[string]bool // keys of whiteouts
	made  map[string]bool // keys of files that were made outside
	dying []*node         // folders that were deleted, see idle
	full  bool            // folders were left out
}

func newTree(rootKey string, e eyes, writes bool, emit func(Change)) *tree {
	t := &tree{eyes: e, emit: emit, writes: writes, nodes: map[string]*node{}, white: map[string]bool{}, made: map[string]bool{}}
	t.root = &node{key: rootKey}
	t.nodes[rootKey] = t.root
	return t
}

// path is that of a name in a folder; in says whether it is in the workspace.
func (t *tree) path(p *node, name string) (path string, in bool) {
	if p == t.root {
		return name, true
	}
	parts := []string{name}
	for ; p != t.root; p = p.parent {
		if p == nil || len(parts) > maxDepth {
			return "", false
		}
		parts = append(parts, p.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/"), true
}

// put remembers a folder, or that it is in another place now. nil where there is no room.
func (t *tree) put(key string, p *node, name string) *node {
	if key == t.root.key || key == "" {
		return nil
	}
	n := t.nodes[key]
	if n == nil {
		if len(t.nodes) >= maxFolders {
			t.full = true
			return nil
		}
		n = &node{key: key}
		t.nodes[key] = n
	}
	t.detach(n)
	n.parent, n.name = p, name
	if p != nil {
		if p.folders == nil {
			p.folders = map[string]*node{}
		}
		p.folders[name] = n
	}
	return n
}

func (t *tree) detach(n *node) {
	if n.parent != nil && n.parent.folders[n.name] == n {
		delete(n.parent.folders, n.name)
	}
	n.parent = nil
}

// drop forgets a folder. What was in it is not in the workspace any more.
func (t *tree) drop(n *node) {
	if n == nil || n == t.root {
		return
	}
	t.detach(n)
	for _, c := range n.folders {
		c.parent = nil
	}
	delete(t.nodes, n.key)
}

// below is what the jail saw at a path, without a look where that is known.
func (t *tree) below(p *node, path string) kind {
	if p.fresh {
		return absent
	}
	return t.eyes.below(path)
}

// created takes a new name in a folder; p is nil for one that is not known.
func (t *tree) created(p *node, name, key string, dir bool) {
	path, in := t.path(p, name)
	switch {
	case !in && !dir && key != "":
		t.outside(key)
	case dir && in:
		// A copy of the host's folder would have been made elsewhere and moved here.
		if n := t.put(key, p, name); n != nil {
			n.fresh = true
		}
		t.emit(Change{Op: audit.FileCreated, Path: path, Dir: true})
	case in && t.below(p, path) == absent:
		t.emit(Change{Op: audit.FileCreated, Path: path})
	case in && !t.writes:
		// A copy-up, which is followed by the change that it is for. It may be for a change
		// of attributes, too, or a rename.
		t.emit(Change{Op: audit.FileModified, Path: path})
	}
}

// outside takes a file that the overlay made for itself. What has a second name there is
// the whiteout: there is one, and a link of it goes to each place that needs one (since
// Linux 5.8, fs/overlayfs/dir.c, ovl_whiteout). To look at that place may be too late: of a
// folder that is removed with all that is in it, nothing is left.
func (t *tree) outside(key string) {
	if t.made[key] {
		t.whiteout(key)
		return
	}
	if len(t.made) >= maxMade {
		clear(t.made)
	}
	t.made[key] = true
}

func (t *tree) whiteout(key string) {
	if len(t.white) >= maxWhiteouts {
		clear(t.white)
	}
	t.white[key] = true
}

// written takes that a file was closed after it was open for writing.
func (t *tree) written(p *node, name string) {
	if path, in := t.path(p, name); in {
		t.emit(Change{Op: audit.FileModified, Path: path})
	}
}

func (t *tree) deleted(p *node, name, key string, dir bool) {
	path, in := t.path(p, name)
	if n := t.nodes[key]; dir && n != nil {
		t.dying = append(t.dying, n)
	}
	if in && !t.white[key] {
		t.emit(Change{Op: audit.FileDeleted, Path: path, Dir: dir})
	}
}

// idle comes when every event was taken that there was. Until then a folder that was
// deleted is known: fanotify makes one event of its coming and going, if both are in its
// queue, and what happened in it meanwhile comes after that.
func (t *tree) idle() {
	for _, n := range t.dying {
		t.drop(n)
	}
	t.dying = nil
}

func (t *tree) renamed(from *node, old string, to *node, name, key string, dir bool) {
	was, wasIn := t.path(from, old)
	path, in := t.path(to, name)
	var n *node
	switch {
	case dir && in:
		n = t.put(key, to, name)
	case dir:
		t.drop(t.nodes[key])
	}
	switch {
	case wasIn && in:
		if !t.white[key] { // else something took the whiteout's place
			t.emit(Change{Op: audit.FileRenamed, Path: path, Old: was, Dir: dir})
		}
	case in && dir:
		t.folderArrives(to, n, path)
	case in:
		t.fileArrives(to, path, key)
	case wasIn && t.white[key]:
		// It was exchanged for a folder, which has come before.
		if n := from.folders[old]; n != nil {
			n.fresh = true
		}
		t.emit(Change{Op: audit.FileCreated, Path: was, Dir: true})
	}
}

func (t *tree) folderArrives(p, n *node, path string) {
	copied := t.below(p, path) == folder
	if n != nil {
		n.fresh = !copied
	}
	if !copied {
		t.emit(Change{Op: audit.FileCreated, Path: path, Dir: true})
	}
}

func (t *tree) fileArrives(p *node, path, key string) {
	was, is := t.below(p, path), file
	if p.fresh {
		// No whiteout is needed here, and there is nothing to copy.
	} else if t.white[key] {
		is = whiteout
	} else if is = t.eyes.now(path); is == whiteout && key != "" {
		t.whiteout(key)
	}
	// A look may be too late. What is no folder and comes where the host has one is a
	// whiteout, and so is what is gone already: copies of files are not moved in.
	gone := was == folder || was != absent && is == absent
	switch {
	case is == whiteout || gone:
		t.emit(Change{Op: audit.FileDeleted, Path: path, Dir: was == folder})
	case was == absent:
		t.emit(Change{Op: audit.FileCreated, Path: path})
	case is != file || !t.writes: // else it is closed after a write
		t.emit(Change{Op: audit.FileModified, Path: path})
	}
}
