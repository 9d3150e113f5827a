package profiles

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
)

// lint warns of what a profile may say and its author hardly means. It speaks of files
// that people write: what is built in is ours to keep right.
func (l *loader) lint(s *Spec) {
	l.neverMatches(s)
	l.publicSuffixes(s)
	l.executedLater(s)
	l.uncountedModels(s)
}

func (l *loader) warn(s *Spec, o Origin, summary, format string, args ...any) {
	if s.builtinOrigin(o) {
		return
	}
	l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: summary, Detail: fmt.Sprintf(format, args...), Subject: l.line(o)})
}

// line is the range of a rule's line; nil where the file is not at hand.
func (l *loader) line(o Origin) *hcl.Range {
	f := l.parsed[o.File]
	if f == nil || o.Line < 1 {
		return nil
	}
	lines := bytes.SplitAfter(f.Bytes, []byte("\n"))
	if o.Line > len(lines) {
		return nil
	}
	offset := 0
	for _, text := range lines[:o.Line-1] {
		offset += len(text)
	}
	text := bytes.TrimRight(lines[o.Line-1], "\r\n")
	lead := len(text) - len(bytes.TrimLeft(text, " \t"))
	return &hcl.Range{Filename: o.File,
		Start: hcl.Pos{Line: o.Line, Column: 1 + utf8.RuneCount(text[:lead]), Byte: offset + lead},
		End:   hcl.Pos{Line: o.Line, Column: 1 + utf8.RuneCount(text), Byte: offset + len(text)}}
}

// neverMatches warns of rules that others decide in every case.
func (l *loader) neverMatches(s *Spec) {
	const summary = "Rule can never match"
	n := &s.Network
	for i := range n.Allow {
		r := &n.Allow[i]
		if o := r.shadowedBy(n.Deny); o != nil {
			l.warn(s, r.Origin, summary, "All that it is about is denied by %s, and a deny holds against every allow.", o.Origin)
		} else if o := r.shadowedBy(n.Ask); o != nil {
			l.warn(s, r.Origin, summary, "All that it is about is asked about by %s, and an ask holds against every allow. Name the hosts in the ask that a person is to decide.", o.Origin)
		} else if o := r.addsNothingTo(n.Allow); o != nil {
			l.warn(s, r.Origin, summary, "It says nothing about requests, and %s, which is about the same hosts, does: what may be asked of them is what is said there.", o.Origin)
		}
	}
	for i := range n.Ask {
		if o := n.Ask[i].shadowedBy(n.Deny); o != nil {
			l.warn(s, n.Ask[i].Origin, summary, "All that it is about is denied by %s, and nobody is asked about what is denied.", o.Origin)
		}
	}
	denied := func(pattern string) (Pattern, bool) {
		i := slices.IndexFunc(s.Files.Deny, func(d Pattern) bool { return globCovers(d.Pattern, pattern) })
		if i < 0 {
			return Pattern{}, false
		}
		return s.Files.Deny[i], true
	}
	for _, p := range slices.Concat(s.Files.Read, s.Files.Write, s.Files.Exec) {
		if s.builtinOrigin(p.Origin) {
			continue // nobody is warned of it, and each run would compare hundreds
		}
		if d, ok := denied(p.Pattern); ok {
			l.warn(s, p.Origin, summary, "%q is denied by %s, and a deny holds against every other rule.", p.Pattern, d.Origin)
		}
	}
	for _, h := range s.Files.Home {
		if d, ok := denied(quotePattern(h.From)); ok {
			l.warn(s, h.Origin, summary, "%q, which it would show, is denied by %s.", h.From, d.Origin)
		}
	}
}

// shadowedBy finds a rule of some that is about every host and port of this one.
func (r *NetRule) shadowedBy(rules []NetRule) *NetRule {
	for i := range rules {
		o := &rules[i]
		ports := !slices.ContainsFunc(r.Ports, func(p uint16) bool { return !slices.Contains(o.Ports, p) })
		if len(o.Ports) > 0 && !ports {
			continue
		}
		if o.Protocol != "" && o.transport() != r.transport() { // an ask; a deny has none
			continue
		}
		if !slices.ContainsFunc(r.Hosts, func(h HostPattern) bool { return !o.coversHost(h) }) {
			return o
		}
	}
	return nil
}

func (r *NetRule) coversHost(h HostPattern) bool {
	return slices.ContainsFunc(r.Hosts, func(p HostPattern) bool { return p.covers(h) })
}

// addsNothingTo finds a rule that narrows the same hosts by requests.
func (r *NetRule) addsNothingTo(rules []NetRule) *NetRule {
	if !r.AnyRequest || !r.spoken() || len(r.Secrets) > 0 || r.Provider != "" {
		return nil
	}
	for i := range rules {
		o := &rules[i]
		same := !slices.ContainsFunc(r.Hosts, func(h HostPattern) bool { return !slices.Contains(o.Hosts, h) }) &&
			!slices.ContainsFunc(r.Ports, func(p uint16) bool { return !slices.Contains(o.Ports, p) })
		if same && !o.AnyRequest && o.Protocol == r.Protocol {
			return o
		}
	}
	return nil
}

// uncountedModels warns of providers of models whose answers nobody reads although a
// budget is to count them.
func (l *loader) uncountedModels(s *Spec) {
	if s.Budget(BudgetModel) == nil && s.Budget(BudgetTokens) == nil {
		return
	}
	for i := range s.Network.Allow {
		r := &s.Network.Allow[i]
		if r.Provider != "" {
			continue
		}
		for _, ready := range readyList() {
			known := ready.Provider != "" && slices.ContainsFunc(ready.Hosts, func(host string) bool {
				p, _, err := ParseHostPattern(host)
				return err == nil && slices.Contains(r.Hosts, p)
			})
			if known {
				l.warn(s, r.Origin, "Uncounted calls of models", "The profile has a budget for models, and what is asked of %s is not charged to it: write provider = %q here.", ready.Title, ready.Provider)
				break
			}
		}
	}
}

// publicSuffixes warns of wildcards over names of which everybody can have one.
func (l *loader) publicSuffixes(s *Spec) {
	for _, r := range s.Network.Allow {
		for _, h := range r.Hosts {
			if h.Kind != HostWildcard {
				continue
			}
			switch why := publicSuffix(h.Name); {
			case h.Name == "":
				l.warn(s, r.Origin, "Wildcard over every name", "Any host on the internet may be connected to, also one that an attacker runs: whatever the agent can read can leave. Name the hosts that it needs, or ask about the rest.")
			case why != "":
				l.warn(s, r.Origin, "Wildcard over a public suffix", "Below %s %s, also an attacker: whatever the agent can read can be sent there. Name the hosts that it needs.", h.Name, why)
			}
		}
	}
}

// executedLater warns of writable places that programs of the host act on.
func (l *loader) executedLater(s *Spec) {
	for _, p := range s.Files.Write {
		for _, e := range executedPaths() {
			place, err := absolutePattern(e.path, l.o.Home)
			if err != nil || !globCovers(p.Pattern, place) && !globCovers(place, p.Pattern) {
				continue
			}
			if _, denied := matchAny(s.Files.Deny, place); denied {
				continue
			}
			l.warn(s, p.Origin, "Writable path that the host executes", "The agent may write %s, and %s: what it writes there runs outside the jail. Take it out, or deny it under files { deny = [...] }.", e.path, e.what)
			break
		}
	}
}

// HostExecutes says what the host does with what lies at a path, where it runs or obeys
// it: the places that lint warns of as writable.
func HostExecutes(path, home string) (what string, ok bool) {
	for _, e := range executedPaths() {
		if place, err := absolutePattern(e.path, home); err == nil && covers(place, path) {
			return e.what, true
		}
	}
	return "", false
}

// PublicSuffix says who can have a name below a domain; "" where it is not known that
// others can.
func PublicSuffix(name string) string { return publicSuffix(name) }

// publicSuffix says who can have a name below a suffix; "" where it is not known to be
// one. A suffix of one label is a top-level domain.
func publicSuffix(name string) string {
	switch {
	case name == "":
		return ""
	case !strings.Contains(name, "."):
		return "everybody can register a name"
	case slices.Contains(registries(), name):
		return "everybody can register a name"
	case slices.Contains(userContent(), name):
		return "everybody can put up pages, files or services of their own"
	}
	return ""
}
