package profiles

import "slices"

// FilesCeiling caps Files. A list that is not there caps nothing.
type FilesCeiling struct {
	Read  *[]Pattern `json:"read,omitempty"`
	Write *[]Pattern `json:"write,omitempty"`
	Exec  *[]Pattern `json:"exec,omitempty"`
}

// lets says whether the ceiling lets a file be used, and if so by which of its lines.
// As in a profile, what may be written or executed may be read; whoever may not read a
// file may not write or execute it either.
func (c *FilesCeiling) lets(p string, op Op) (Pattern, bool) {
	rule, ok := Pattern{}, true
	for _, list := range c.Lists(op) {
		if rule, ok = matchAny(list, p); !ok {
			return Pattern{}, false
		}
	}
	return rule, ok
}

func deref(list *[]Pattern) []Pattern {
	if list == nil {
		return nil
	}
	return *list
}

// Patterns are all patterns of the ceiling.
func (c *FilesCeiling) Patterns() []Pattern {
	if c == nil {
		return nil
	}
	return slices.Concat(deref(c.Read), deref(c.Write), deref(c.Exec))
}

// Lists are the ceiling's lists that cap an operation: a file must be in one pattern of
// each.
func (c *FilesCeiling) Lists(op Op) (lists [][]Pattern) {
	if c == nil {
		return nil
	}
	if c.Read != nil {
		lists = append(lists, slices.Concat(*c.Read, deref(c.Write), deref(c.Exec)))
	}
	if own := map[Op]*[]Pattern{OpWrite: c.Write, OpExec: c.Exec}[op]; own != nil {
		lists = append(lists, *own)
	}
	return lists
}
