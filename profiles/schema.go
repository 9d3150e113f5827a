package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A schema is what one kind of block may hold. What the language has and this
// version does not carry out stands under later: it is refused by name, since a
// rule that is skipped is a hole that nobody sees.
type schema struct {
	attrs  []string
	blocks []string            // without a label
	named  map[string][]string // block type → what its labels are
	later  map[string]struct{} // attributes and blocks
}

func laterSet(names ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return set
}

func profileSchema() schema {
	return schema{
		attrs:  []string{"description", "extends"},
		blocks: []string{"workspace", "files", "network", "process", "syscalls", "limits", "artifacts", "audit"},
		named:  map[string][]string{"variable": {"name"}, "secret": {"name"}},
		later:  laterSet("budget", "approval", "on", "test"),
	}
}

func variableSchema() schema { return schema{attrs: []string{"default"}} }

func workspaceSchema() schema {
	return schema{attrs: []string{"path", "mode", "hide", "size", "upper"}}
}

func filesSchema() schema {
	return schema{attrs: []string{"read", "write", "exec", "deny"}, later: laterSet("home")}
}

func networkSchema() schema {
	return schema{
		named: map[string][]string{"allow": {"host"}, "deny": {"host"}},
		later: laterSet("ask", "host_port", "publish"),
	}
}

func allowSchema() schema {
	return schema{
		attrs: []string{"hosts", "ports", "protocol", "upstream", "upstream_ca", "reason",
			"secret", "limit", "upload", "download", "connections"},
		named: map[string][]string{"request": {"method", "path"}},
		later: laterSet("provider", "sanitize", "fault"),
	}
}

func requestSchema() schema {
	return schema{attrs: []string{"when", "limit", "reason"}, later: laterSet("spend")}
}

func secretSchema() schema {
	return schema{attrs: []string{"env", "file", "command", "variable", "header", "format", "query", "basic", "inject"}}
}

func denySchema() schema { return schema{attrs: []string{"hosts", "ports", "reason"}} }

func processSchema() schema {
	return schema{attrs: []string{"pass_env", "env"}, later: laterSet("deny", "ask", "limit")}
}

func syscallsSchema() schema { return schema{attrs: []string{"allow"}} }

func limitsSchema() schema {
	return schema{attrs: []string{"memory", "cpus", "processes", "open_files", "time", "idle", "output", "enforce"}}
}

func artifactsSchema() schema { return schema{attrs: []string{"collect", "size"}} }

func auditSchema() schema { return schema{attrs: []string{"size"}, later: laterSet("otlp")} }

// hcl gives the schema in HCL's own terms.
func (s schema) hcl() *hcl.BodySchema {
	b := &hcl.BodySchema{}
	for _, a := range s.attrs {
		b.Attributes = append(b.Attributes, hcl.AttributeSchema{Name: a})
	}
	for _, t := range s.blocks {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: t})
	}
	for t, labels := range s.named {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: t, LabelNames: labels})
	}
	return b
}

func (s schema) hasAttr(name string) bool { return slices.Contains(s.attrs, name) }

func (s schema) hasBlock(name string) bool {
	_, named := s.named[name]
	return named || slices.Contains(s.blocks, name)
}

// names lists what may stand in the body.
func (s schema) names() []string {
	return append(append(slices.Clone(s.attrs), s.blocks...), slices.Sorted(maps.Keys(s.named))...)
}

// content splits a body by its schema and reports everything in it that the schema
// does not have. It does not leave that to HCL, which suggests the first name that is
// near and not the nearest, and which would complain of the later blocks' labels.
func (d *decoder) content(body hcl.Body, s schema) *hcl.BodyContent {
	native, ok := body.(*hclsyntax.Body)
	if !ok {
		content, rest, diags := body.PartialContent(s.hcl())
		d.diags = append(d.diags, diags...)
		properties, diags := rest.JustAttributes() // JSON has nothing else
		d.diags = append(d.diags, diags...)
		for name, a := range properties {
			d.unknown("property", name, a.NameRange, s)
		}
		return content
	}
	known := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: native.SrcRange, EndRange: native.EndRange}
	for name, a := range native.Attributes {
		if s.hasAttr(name) {
			known.Attributes[name] = a
		} else {
			d.unknown("argument", name, a.NameRange, s)
		}
	}
	for _, b := range native.Blocks {
		if s.hasBlock(b.Type) {
			known.Blocks = append(known.Blocks, b)
		} else {
			d.unknown("block", b.Type, b.DefRange(), s)
		}
	}
	content, diags := known.Content(s.hcl())
	d.diags = append(d.diags, diags...)
	return content
}

// unknown reports what a schema does not have.
func (d *decoder) unknown(kind, name string, rng hcl.Range, s schema) {
	_, later := s.later[name]
	switch {
	case later:
		d.notYet(kind, name, rng)
	case kind == "argument" && s.hasBlock(name):
		d.fail(rng, "Not an argument", fmt.Sprintf("%q is a block: write it with braces and without \"=\".", name))
	case kind == "block" && s.hasAttr(name):
		d.fail(rng, "Not a block", fmt.Sprintf("%q is an argument: write %s = ... instead of braces.", name, name))
	default:
		help := didYouMean(name, s.names())
		if help == "" {
			help = " What may stand here: " + strings.Join(s.names(), ", ") + "."
		}
		d.fail(rng, "Unknown "+kind, fmt.Sprintf("There is no %s %q here.%s", kind, name, help))
	}
}

func (d *decoder) notYet(kind, name string, rng hcl.Range) {
	d.fail(rng, "Not supported yet", fmt.Sprintf(
		"The language has the %s %q, but this version of agentjail does not carry it out. It is refused because skipping it would drop a rule; take it out, or use a version that has it.", kind, name))
}

// nearest finds the known word that was probably meant; "" where none is close.
// Less than three edits is HCL's own threshold for its suggestions.
func nearest(given string, known []string) string {
	word, least := "", 3
	for _, k := range known {
		d := levenshtein.Distance(given, k, nil)
		if sortedLetters(given) == sortedLetters(k) {
			d = min(d, 1) // letters in another order are one slip, not two edits
		}
		if d < least {
			word, least = k, d
		}
	}
	return word
}

func sortedLetters(s string) string {
	letters := []rune(s)
	slices.Sort(letters)
	return string(letters)
}

// didYouMean is nearest as the end of a sentence's paragraph.
func didYouMean(given string, known []string) string {
	if n := nearest(given, known); n != "" {
		return fmt.Sprintf(" Did you mean %q?", n)
	}
	return ""
}
