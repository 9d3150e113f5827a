package changes

import (
	"fmt"
	"sort"
	"strings"
	"unicode"
)

// gitMaxPath is the longest path that git can open: PATH_MAX without the NUL.
const gitMaxPath = 4095

// patchStep is what a change becomes in the patch. Neither half and no reason: the
// patch says it by other means, as a folder by what is in it.
type patchStep struct {
	old, now bool   // the sides whose contents are needed
	reason   string // why the change is left out
}

// planPatch decides which changes a patch can hold. The list is sorted by path. git
// apply takes all of a patch or nothing, so that one part that can't be applied
// would cost the user the whole: a creation that needs a removal which is not in the
// patch is left out too.
func planPatch(list []Change, maxFile int64) []patchStep {
	steps := make([]patchStep, len(list))
	stays := map[string]bool{} // what the jail removed and the patch does not
	for i := range list {
		steps[i] = planStep(&list[i], maxFile)
		if b := list[i].Before; b != nil && b.Type != TypeFolder && removes(&list[i]) && steps[i].reason != "" {
			stays[list[i].Path] = true
		}
	}
	for i := range list {
		c := &list[i]
		if !steps[i].now || steps[i].reason != "" {
			continue
		}
		if p := ancestorIn(c.Path, stays); p != "" {
			steps[i] = patchStep{reason: fmt.Sprintf("%s is in its way, whose removal is not in the patch", gitQuote(p))}
		} else if c.Before != nil && c.Before.Type == TypeFolder && folderStays(list, i, stays) {
			steps[i] = patchStep{reason: "the folder in its way holds something whose removal is not in the patch"}
		}
	}
	return steps
}

// removes tells whether the old file has to go, rather than to become another.
func removes(c *Change) bool { return c.After == nil || c.After.Type != c.Before.Type }

func planStep(c *Change, maxFile int64) patchStep {
	if c.OverHidden {
		return patchStep{reason: "the host has something there that was hidden from the jail"}
	}
	if len(c.Path) > gitMaxPath {
		return patchStep{reason: "its path is longer than git can open"}
	}
	s := patchStep{
		old: c.Before != nil && c.Before.Type != TypeFolder,
		now: c.After != nil && c.After.Type != TypeFolder,
	}
	symlink := false
	for _, side := range []*FileState{c.Before, c.After} {
		if side == nil {
			continue
		}
		switch side.Type {
		case TypeFile, TypeFolder:
		case TypeSymlink:
			symlink = true
		default:
			return patchStep{reason: "git has no " + side.Type}
		}
		if side.Unhashed != "" {
			return patchStep{reason: "its content was not read: " + side.Unhashed}
		}
	}
	if !s.old && !s.now {
		return planFolder(c)
	}
	if gitRefuses(c.Path, symlink) {
		return patchStep{reason: "git refuses a path like this in a patch"}
	}
	if s.now && c.After.Size > maxFile {
		return patchStep{reason: fmt.Sprintf("it is larger than %d bytes", maxFile)}
	}
	if s.old && s.now && !removes(c) {
		if c.Before.Size > maxFile {
			return patchStep{reason: fmt.Sprintf("it was larger than %d bytes", maxFile)}
		}
		if sameButMode(c.Before, c.After) && gitMode(c.Before) == gitMode(c.After) {
			return patchStep{reason: "git records of a mode only whether the file is executable"}
		}
	}
	return s
}

func planFolder(c *Change) patchStep {
	switch {
	case c.Before != nil && c.After != nil:
		return patchStep{reason: "git does not record a folder's mode"}
	case c.hollow:
		return patchStep{reason: "git does not record an empty folder"}
	}
	return patchStep{}
}

func sameButMode(a, b *FileState) bool {
	return a.Type == TypeFile && a.SHA256 != "" && a.SHA256 == b.SHA256
}

// ancestorIn finds a folder above the path that is in the set.
func ancestorIn(path string, set map[string]bool) string {
	if len(set) == 0 {
		return ""
	}
	for i := range len(path) {
		if path[i] == '/' && set[path[:i]] {
			return path[:i]
		}
	}
	return ""
}

// folderStays tells whether the folder that list[i] replaces is still there once the
// patch has removed files: git removes a folder only when it is empty then.
func folderStays(list []Change, i int, stays map[string]bool) bool {
	if list[i].keeps {
		return true
	}
	prefix := list[i].Path + "/"
	below := list[i+1:]
	from := sort.Search(len(below), func(k int) bool { return below[k].Path >= prefix })
	for _, c := range below[from:] {
		if !strings.HasPrefix(c.Path, prefix) {
			break
		}
		if c.hollow || c.keeps || stays[c.Path] {
			return true
		}
	}
	return false
}

// gitMode is the mode that git gives a file: only the owner's execute bit counts.
func gitMode(s *FileState) uint32 {
	switch {
	case s.Type == TypeSymlink:
		return gitSymlink
	case s.Mode&0o100 != 0:
		return gitExecutable
	}
	return gitFile
}

// gitRefuses tells whether git rejects a path in a patch (verify_path in read-cache.c,
// with core.protectNTFS and core.protectHFS, CVE-2014-9390, CVE-2019-1352): anything
// within .git, by whatever name a file system takes for it, and a symlink named as
// git's own files are. Too much is refused here rather than too little.
func gitRefuses(path string, symlink bool) bool {
	for part := range strings.SplitSeq(path, "/") {
		if IsDotGit(part) {
			return true
		}
		if symlink {
			plain := gitPlain(part)
			for _, name := range []string{".gitmodules", "gitmod~", "gi7eb"} {
				if strings.HasPrefix(plain, name) {
					return true
				}
			}
		}
	}
	return false
}

// IsDotGit tells whether some file system takes a name for .git.
func IsDotGit(name string) bool {
	for part := range strings.SplitSeq(name, `\`) {
		if i := strings.IndexByte(part, ':'); i >= 0 {
			part = part[:i] // an alternate data stream of NTFS
		}
		plain := strings.TrimRight(gitPlain(part), " .")
		if plain == ".git" || plain == "git~1" {
			return true
		}
	}
	return false
}

// gitPlain folds case and leaves out what HFS+ ignores in a name; git's list
// (utf8.c, next_hfs_char) is within the format characters of Unicode.
func gitPlain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
}
