package profiles

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
)

// Apply is what a profile says about the way of changes to the host: what is held back
// beside the built-in list, and what of that list is let through. A hold wins over every
// allow, wherever the two stand.
type Apply struct {
	Hold  []HandOff `json:"hold"`
	Allow []HandOff `json:"allow"`
}

// HandOff is one line of it.
type HandOff struct {
	Pattern string `json:"pattern"` // doublestar glob, relative to the workspace
	Reason  string `json:"reason,omitempty"`
	Origin  Origin `json:"origin"`
}

// Allows says whether the profile lets a path through, relative to the workspace, that
// the built-in list would hold back. A pattern is matched as it is written, and a folder
// means what is in it.
func (a *Apply) Allows(rel string) (HandOff, bool) {
	for _, h := range a.Allow {
		if _, ok := matchRelative([]Pattern{{Pattern: h.Pattern}}, rel); ok {
			return h, true
		}
	}
	return HandOff{}, false
}

func (d *decoder) apply(b *hcl.Block, l *layer) {
	c := d.content(b.Body, applySchema())
	for _, inner := range c.Blocks {
		h, ok := d.handOff(inner)
		switch {
		case !ok:
		case inner.Type == "hold":
			l.apply.Hold = append(l.apply.Hold, h)
		default:
			l.apply.Allow = append(l.apply.Allow, h)
		}
	}
}

func (d *decoder) handOff(b *hcl.Block) (h HandOff, ok bool) {
	c := d.content(b.Body, handOffSchema(b.Type == "allow"))
	h.Origin = d.origin(b.DefRange)
	var err error
	if h.Pattern, err = relativePattern(b.Labels[0]); err != nil {
		d.wrong(b.LabelRanges[0], "Wrong pattern", err)
		return h, false
	}
	if a := c.Attributes["reason"]; a != nil {
		if h.Reason, ok = d.sentenceText(a.Expr); !ok {
			return h, false
		}
	}
	// What the host would execute is let through by somebody who said why: without it,
	// nobody could tell later whether it still has to be.
	if b.Type == "allow" && h.Reason == "" {
		d.fail(b.DefRange, "Missing reason", fmt.Sprintf("The host may execute or trust %s later: say why that is wanted, for example reason = \"the agent keeps our build files\".", quote(b.Labels[0])))
		return h, false
	}
	return h, true
}

func addHandOffs(to *[]HandOff, from []HandOff) {
	for _, h := range from {
		known := false
		for i := range *to {
			known = known || (*to)[i].Pattern == h.Pattern
		}
		if !known { // of one pattern, the nearest file's
			*to = append(*to, h)
		}
	}
}

// handOffs compares what is held back and let through.
func (d *differ) handOffs() {
	has := func(list []HandOff, pattern string) bool {
		for i := range list {
			if list[i].Pattern == pattern {
				return true
			}
		}
		return false
	}
	for _, h := range d.a.Apply.Hold {
		if !has(d.b.Apply.Hold, h.Pattern) {
			d.wider(h.Origin, "%s is no longer held back from the host", h.Pattern)
		}
	}
	for _, h := range d.b.Apply.Allow {
		if !has(d.a.Apply.Allow, h.Pattern) {
			d.wider(h.Origin, "%s reaches the host though it may be executed there", h.Pattern)
		}
	}
}

func (t *textWriter) handOffs(a Apply) {
	if len(a.Hold)+len(a.Allow) == 0 {
		return
	}
	t.open("apply", Origin{})
	for _, list := range []struct {
		word  string
		lines []HandOff
	}{{"hold", a.Hold}, {"allow", a.Allow}} {
		for _, h := range list.lines {
			body := "{}"
			if h.Reason != "" {
				body = "{ reason = " + quote(h.Reason) + " }"
			}
			t.rule(h.Origin, "%s %s %s", list.word, quote(h.Pattern), body)
		}
	}
	t.close()
}

func applySchema() schema {
	hold := func() schema { return handOffSchema(false) }
	allow := func() schema { return handOffSchema(true) }
	return schema{blocks: []block{
		{"hold", []string{"pattern"}, true, hold, "Paths of the workspace that are held back, at any depth: `apply` asks for each to be named, and in `direct` mode they are read-only, and can't be made. A hold wins over every `allow`."},
		{"allow", []string{"pattern"}, true, allow, "Paths that reach the host though the built-in list holds them back. The pattern is relative to the workspace; symlinks out of it, and content that hides something, are held all the same."},
	}}
}

func handOffSchema(must bool) schema {
	empty := ""
	if must {
		empty = "must be there"
	}
	return schema{attrs: []attr{
		{"reason", textKind("sentence"), `"it goes to production"`, empty, "Why, for people."},
	}}
}
