package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Use is what runs did, as far as their trails tell.
type Use struct {
	Rules    map[string]bool // origins of the rules that let something
	Programs []string        // resolved paths of what was executed
	Secrets  map[string]bool // names of those that were put into a request
}

// Unneeded is a line of a profile that no run needed.
type Unneeded struct {
	Text   string `json:"text"` // a sentence, without a final stop
	Origin Origin `json:"origin"`
}

// Unused says which rules and grants of a profile were not needed. It is about what
// lets something: a deny that nothing ran into is doing its work. It is silent about
// what no trail has: which files were read or written, which variables were looked at,
// which system calls were made. What built-in profiles say is theirs.
func (s *Spec) Unused(u Use) (list []Unneeded) {
	add := func(o Origin, format string, args ...any) {
		x := Unneeded{fmt.Sprintf(format, args...), o}
		if !s.builtinOrigin(o) && !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	for _, rules := range []struct {
		action string
		list   []NetRule
	}{{"allow", s.Network.Allow}, {"ask", s.Network.Ask}} {
		for _, r := range rules.list {
			used := u.Rules[r.Origin.String()]
			for _, q := range r.Requests {
				used = used || u.Rules[q.Origin.String()]
			}
			if !used {
				add(r.Origin, "%s %q: nothing was asked of it", rules.action, r.Label)
				continue
			}
			for _, q := range r.Requests {
				if !u.Rules[q.Origin.String()] {
					add(q.Origin, "request %q %q of %q: no such request was made", strings.Join(q.Methods, "|"), q.Path, r.Label)
				}
			}
		}
	}
	for _, x := range s.Secrets {
		if !u.Secrets[x.Name] {
			add(x.Origin, "secret %q: it was put into no request", x.Name)
		}
	}
	for _, p := range s.Files.Exec {
		if !slices.ContainsFunc(u.Programs, func(path string) bool { return covers(p.Pattern, path) }) {
			add(p.Origin, "exec %s: no program in it was executed (libraries that were only read are in no trail)", p.Pattern)
		}
	}
	return list
}

func (s *Spec) builtinOrigin(o Origin) bool {
	return slices.ContainsFunc(s.Sources, func(src Source) bool { return src.Builtin && src.File == o.File })
}

// Same says whether two Specs were made of the same files, so that the lines of one are
// the lines of the other.
func (s *Spec) Same(o *Spec) bool {
	sums := func(s *Spec) map[string]string {
		m := map[string]string{}
		for _, src := range s.Sources {
			m[src.File] = src.SHA256
		}
		return m
	}
	return maps.Equal(sums(s), sums(o))
}
