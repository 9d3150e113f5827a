package profiles

import (
	"slices"
	"strings"
)

// What WriteText writes of a ceiling: behind each rule which line of it decides, and
// below the profile what the ceiling lets, all of it as comments.

func (t *textWriter) ceiling(s *Spec) {
	if s.Ceiling == nil {
		return
	}
	t.printf("")
	t.printf("# The ceiling %s applies on top: what it caps above has its lines", printable(s.Ceiling.File))
	t.printf("# behind it, and what is not in these lists too is refused.")
	t.indent = "# "
	if c := s.Files.Ceiling; c != nil {
		t.open("files", Origin{})
		for _, l := range []struct {
			name string
			list *[]Pattern
		}{{"read", c.Read}, {"write", c.Write}, {"exec", c.Exec}} {
			if l.list != nil {
				t.patterns(l.name, *l.list)
			}
		}
		t.close()
	}
	if c := s.Network.Ceiling; c != nil {
		t.open("network", Origin{})
		for _, l := range []struct {
			name  string
			rules []NetRule
		}{{"allow", c.Allow}, {"ask", c.Ask}, {"deny", c.Deny}} {
			for _, r := range l.rules {
				t.netRule(l.name, r)
			}
		}
		t.close()
	}
	if s.SyscallCeiling != nil {
		t.open("syscalls", Origin{})
		t.list("allow = [", "]", len(*s.SyscallCeiling), func(i int) (string, Origin) {
			c := (*s.SyscallCeiling)[i]
			return quote(c.Name) + ",", c.Origin
		})
		t.close()
	}
	t.indent = ""
}

// cappedRule is the comment on an allow or ask of a profile that has a ceiling.
func (t *textWriter) cappedRule(action string, r *NetRule) {
	if t.network == nil || t.network.Ceiling == nil || t.commented() || action == "deny" {
		return
	}
	c := t.network.Ceiling
	meets := func(list []NetRule, denies bool) (origins []string) {
		for i := range list {
			o := &list[i]
			ports := denies && len(o.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p uint16) bool { return slices.Contains(o.Ports, p) })
			_, speak := narrowerProtocol(r.Protocol, o.Protocol)
			if ports && (denies || speak) && o.overlaps(r) {
				origins = append(origins, printable(o.Origin.String()))
			}
		}
		return origins
	}
	if denied := meets(c.Deny, true); len(denied) > 0 {
		t.printf("# the ceiling denies some or all of it: %s", strings.Join(denied, ", "))
	}
	if c.Open {
		return
	}
	asked, allowed := meets(c.Ask, false), meets(c.Allow, false)
	if len(asked) > 0 {
		t.printf("# the ceiling asks about some or all of it: %s", strings.Join(asked, ", "))
	}
	if len(allowed) > 0 {
		t.printf("# the ceiling allows of it what is in: %s", strings.Join(allowed, ", "))
	}
	if len(asked)+len(allowed) == 0 {
		t.printf("# refused: the ceiling allows none of it")
	}
}

func (t *textWriter) commented() bool { return strings.HasPrefix(t.indent, "#") }
