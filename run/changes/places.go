package changes

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles"
)

// A Place is a path of a folder that somebody looked for.
type Place struct {
	Path     string // raw bytes, relative
	Type     string
	Target   string // of a symlink, raw bytes
	Dev, Ino uint64
	Why      string
}

// Places walks a folder of the host's and gives what wanted names, with its word for
// why ("" is that it is not wanted). What is below a folder that is wanted is not looked
// at. No symlink is followed; other file systems below the folder are entered, as a bind
// of it shows them. What can't be read, or is past the limits, is in Unread. seen, if it
// is not nil, is told of each file and symlink that is not wanted.
func Places(root *os.File, wanted func(path string, folder bool) string, seen func(Entry), lim Limits) (Found, error) {
	t, err := openDirTree(root, !treeUpper, false)
	if err != nil {
		return Found{}, err
	}
	defer t.close()
	w := placeWalk{tree: t, wanted: wanted, tell: seen, lim: lim.orDefault(), marks: map[uint64]mark{}}
	w.folder("", t.levels[0].dev)
	return w.Found, nil
}

// Found is what Places found.
type Found struct {
	Places []Place
	Unread []Unread
	Cut    bool // a limit was reached: there may be more
}

// An Entry is a file or symlink that a walk has come by.
type Entry struct {
	Path     string // raw bytes, relative
	Type     string
	Target   string // of a symlink, raw bytes
	Mode     FileMode
	Size     int64
	Dev, Ino uint64
	Changed  unix.Timespec // ctime: the kernel's time of its last change of any kind

	// Marked tells whether its file system sets that time at each change, also through a
	// mapping. It can be asked only while the walk is there.
	Marked func() bool
}

type placeWalk struct {
	tree   *dirTree
	wanted func(string, bool) string
	tell   func(Entry)
	lim    Limits
	seen   int
	marks  map[uint64]mark // by the folder's device
	Found
}

// file tells of what is not wanted.
func (w *placeWalk) file(path, name string, e treeEntry, dev uint64) {
	if w.tell == nil || e.typ != TypeFile && e.typ != TypeSymlink {
		return
	}
	x := Entry{Path: path, Type: e.typ, Mode: FileMode(e.mode), Size: e.size, Dev: e.dev, Ino: e.ino, Changed: e.ctime, Marked: func() bool { return w.marked(e.dev, dev) }}
	if e.typ == TypeSymlink {
		var err error
		if x.Target, err = w.tree.readlink(name); err != nil {
			w.skip(path, readReason(err))
			return
		}
	}
	w.tell(x)
}

func (w *placeWalk) skip(path, reason string) {
	if len(w.Unread) < maxLeftOut {
		w.Unread = append(w.Unread, Unread{path, reason})
	}
}

func (w *placeWalk) folder(path string, dev uint64) {
	names, more, err := w.tree.list(w.lim.Entries)
	if err != nil {
		w.skip(path, readReason(err))
		return
	}
	if more {
		w.Cut = true
		w.skip(path, "it has too many entries")
	}
	for _, name := range names {
		if w.seen++; w.seen > w.lim.Entries {
			if !w.Cut {
				w.Cut = true
				w.skip(path, "the walk ends here: there are too many files")
			}
			return
		}
		at := joinPath(path, name)
		e, ok, err := w.tree.lstat(name)
		if err != nil || !ok {
			if err != nil {
				w.skip(at, readReason(err))
			}
			continue
		}
		folder := e.typ == TypeFolder
		if why := w.wanted(at, folder); why != "" {
			p := Place{Path: at, Type: e.typ, Dev: e.dev, Ino: e.ino, Why: why}
			if e.typ == TypeSymlink {
				if p.Target, err = w.tree.readlink(name); err != nil {
					w.skip(at, readReason(err))
				}
			}
			w.Places = append(w.Places, p)
			continue
		}
		if !folder {
			w.file(at, name, e, dev)
			continue
		}
		if w.tree.depth() >= w.lim.Depth || len(at) > w.lim.Path {
			w.Cut = true
			w.skip(at, "its content is too deep")
			continue
		}
		if err := w.tree.enter(name, e); err != nil {
			w.skip(at, readReason(err))
			continue
		}
		w.folder(at, e.dev)
		w.tree.leave()
	}
}

// TakeOut copies one path of a folder of the host's to dst, as artifacts are, and then
// removes it. Where not all of it could be copied, it stays under another name, which
// nothing reads. What became of it is in the text; an error is that it is still there.
func TakeOut(root string, p Place, dst *os.Root, suffix string) (what string, m *Manifest, err error) {
	pattern := globQuote(p.Path)
	if p.Type == TypeFolder {
		pattern += "/**"
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return "", nil, err
	}
	defer r.Close()
	m, err = CollectArtifacts(ArtifactSource{Lower: root}, []profiles.Pattern{{Pattern: pattern}}, dst, ArtifactCaps{Size: 1 << 62, Files: maxTakenOut})
	whole := err == nil && m.More == 0
	for i := 0; whole && i < len(m.LeftOut); i++ {
		// A symlink's target is in the manifest, and there is nothing to a FIFO or a socket.
		whole = m.LeftOut[i].Type != TypeFile && m.LeftOut[i].Type != TypeFolder
	}
	if whole {
		if err = r.RemoveAll(p.Path); err != nil {
			openUp(r, p.Path)
			err = r.RemoveAll(p.Path)
		}
		if err == nil {
			return "taken out", m, nil
		}
	}
	what, err = setAside(r, p, suffix)
	return what, m, err
}

// SetAside gives a path another name beside it, which nothing reads.
func SetAside(root string, p Place, suffix string) (what string, err error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return setAside(r, p, suffix)
}

func setAside(r *os.Root, p Place, suffix string) (what string, err error) {
	aside := p.Path + suffix
	if _, lerr := r.Lstat(aside); lerr == nil || len(filepath.Base(aside)) > maxStoredName {
		aside = joinPath(parentOf(p.Path), strings.TrimPrefix(suffix, "."))
	}
	if err := r.Rename(p.Path, aside); err != nil {
		return "", err
	}
	return "renamed to " + aside, nil
}

// maxTakenOut bounds the files of one path that are copied.
const maxTakenOut = 1 << 20

// openUp gives the owner of folders his rights back.
func openUp(r *os.Root, name string) {
	_ = r.Chmod(name, 0o700) // a failure shows in the removal
	f, err := r.OpenFile(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	entries, _ := f.ReadDir(-1)
	f.Close()
	for _, e := range entries {
		if e.IsDir() {
			openUp(r, joinPath(name, e.Name()))
		}
	}
}

// globQuote makes a doublestar glob of a path that matches nothing else.
func globQuote(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if strings.IndexByte(`*?[]{}\`, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}
