package changes

import (
	"fmt"
	"slices"
)

// folder walks the folder that both trees are in, as the jail saw it: the upper layer
// over the lower one. Each tree is in it only if the flag says so.
func (c *collector) folder(path string, inUpper, inLower bool) error {
	var names []string
	whiteFiles := false
	if inUpper {
		if c.lower != nil {
			opaque, x, err := c.marks.folder(c.upper)
			if err != nil {
				c.leaveOut(LeftOut{Path: path, Type: TypeFolder, Reason: markReason(err)})
				return nil
			}
			whiteFiles = x
			if opaque {
				inLower = false
			}
		}
		names = c.list(c.upper, path)
	}
	if inLower {
		names = append(names, c.list(c.lower, path)...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		if err := c.entry(joinPath(path, name), name, inUpper, inLower, whiteFiles); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) list(t *dirTree, path string) []string {
	limit := Limits{}.orDefault().Entries
	names, more, err := t.list(limit)
	if err != nil {
		c.leaveOut(LeftOut{Path: path, Type: TypeFolder, Reason: readReason(err)})
	}
	if more {
		c.leaveOut(LeftOut{Path: path, Type: TypeFolder, Reason: fmt.Sprintf("it has more than %d entries", limit)})
	}
	return names
}

func (c *collector) entry(path, name string, inUpper, inLower, whiteFiles bool) error {
	u, inUpper, err := c.look(c.upper, inUpper, name)
	if err == nil && inUpper && c.lower != nil {
		var white bool
		if white, err = c.marks.whiteout(c.upper, name, u, whiteFiles); white && err == nil {
			return nil
		}
	}
	if err != nil {
		c.leaveOut(LeftOut{Path: path, Type: u.typ, Reason: readReason(err)})
		return nil
	}
	if inLower && c.src.Hidden != nil && c.src.Hidden(path) {
		inLower = false
	}
	l, inLower, err := c.look(c.lower, inLower, name)
	if err != nil {
		c.leaveOut(LeftOut{Path: path, Type: l.typ, Reason: readReason(err)})
		return nil
	}
	switch {
	case inUpper && u.typ != TypeFolder:
		return c.file(path, name, c.upper, u)
	case !inUpper && inLower && l.typ != TypeFolder:
		return c.file(path, name, c.lower, l)
	case !inUpper && !inLower:
		return nil
	}
	return c.descend(path, name, u, l, inUpper, inLower && l.typ == TypeFolder)
}

func (c *collector) look(t *dirTree, in bool, name string) (treeEntry, bool, error) {
	if !in {
		return treeEntry{}, false, nil
	}
	return t.lstat(name)
}

func (c *collector) descend(path, name string, u, l treeEntry, inUpper, inLower bool) error {
	if !slices.ContainsFunc(c.globs, func(g *artifactGlob) bool { return g.below(path) }) {
		return nil
	}
	lim := Limits{}.orDefault()
	out := LeftOut{Path: path, Type: TypeFolder}
	if depth := max(depthOf(c.upper), depthOf(c.lower)); depth >= lim.Depth || len(path) > lim.Path {
		out.Reason = "its content is too deep"
		c.leaveOut(out)
		return nil
	}
	if inUpper {
		if err := c.upper.enter(name, u); err != nil {
			out.Reason = readReason(err)
			c.leaveOut(out)
			return nil
		}
		defer c.upper.leave()
	}
	if inLower {
		if err := c.lower.enter(name, l); err != nil {
			out.Reason = readReason(err)
			c.leaveOut(out)
			return nil
		}
		defer c.lower.leave()
	}
	return c.folder(path, inUpper, inLower)
}

func depthOf(t *dirTree) int {
	if t == nil {
		return 0
	}
	return t.depth()
}
