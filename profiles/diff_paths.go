package profiles

import (
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Whether one pattern is about all that another one is about. Both are sound and not
// complete: true is a proof, false is only that none was found.

// anyCovers says whether some pattern of a list names all that a pattern names.
func anyCovers(list []Pattern, pattern string) bool {
	return slices.ContainsFunc(list, func(p Pattern) bool { return globCovers(p.Pattern, pattern) })
}

// globCovers compares two patterns of files, segment by segment. A pattern also means
// what is below what it matches, so that the shorter one may cover the longer one.
func globCovers(p, q string) bool {
	if p == q {
		return true
	}
	ps, qs := segments(p), segments(q)
	if len(ps) > len(qs) {
		return false
	}
	for i, s := range ps {
		switch {
		case crosses(s) || crosses(qs[i]):
			if s != qs[i] {
				return false
			}
		case s == qs[i], s == "*":
		case hasMeta(qs[i]) || !doublestar.MatchUnvalidated(s, qs[i]):
			return false
		}
	}
	return true
}

// apart says whether no path is matched by both patterns or lies below what both match:
// they differ in a segment that neither leaves open.
func apart(p, q string) bool {
	ps, qs := segments(p), segments(q)
	for i := range min(len(ps), len(qs)) {
		if hasMeta(ps[i]) || hasMeta(qs[i]) {
			return false
		}
		if ps[i] != qs[i] {
			return true
		}
	}
	return false
}

// segments splits a pattern at its slashes, without the final "/**" that means nothing
// more. A pattern whose braces reach over a slash is one segment, which equals only
// itself.
func segments(p string) []string {
	for strings.HasSuffix(p, "/**") {
		p = strings.TrimSuffix(p, "/**")
	}
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	if strings.ContainsAny(p, `{\`) {
		return []string{p}
	}
	return strings.Split(p, "/")
}

// crosses says whether a segment may match a slash, or what this file does not know.
func crosses(s string) bool { return strings.Contains(s, "**") || strings.ContainsAny(s, `{\`) }

func hasMeta(s string) bool { return strings.ContainsAny(s, `*?[{\`) }

// pathCovers is the same for the patterns of request rules, which mean nothing below
// themselves; see MatchPath.
func pathCovers(p, q string) bool {
	return coverSegments(strings.Split(strings.TrimPrefix(p, "/"), "/"), strings.Split(strings.TrimPrefix(q, "/"), "/"))
}

func coverSegments(ps, qs []string) bool {
	switch {
	case len(ps) == 0:
		return len(qs) == 0
	case ps[0] == "**":
		if coverSegments(ps[1:], qs) {
			return true
		}
		// "**" matches no segment with an encoded slash; another "**" does not either.
		return len(qs) > 0 && !strings.Contains(qs[0], encodedSlash) && coverSegments(ps, qs[1:])
	case len(qs) == 0 || qs[0] == "**":
		return false
	}
	s, o := ps[0], qs[0]
	fits := s == o ||
		s == "*" && o != "" && !strings.Contains(o, encodedSlash) ||
		!strings.Contains(o, "*") && !strings.Contains(o, encodedSlash) && matchSegment(s, o)
	return fits && coverSegments(ps[1:], qs[1:])
}
