package profiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// A schema is what one kind of block may hold. It decodes the block, and the
// reference page and the JSON schema are written from it, so that they say what the
// decoder takes.
type schema struct {
	attrs  []attr
	blocks []block
}

// attr is an attribute of a block.
type attr struct {
	name    string
	kind    kind
	example string // of a value, as a profile writes it
	none    string // what holds where the attribute is not there
	doc     string // sentences
}

// block is a kind of block in a body.
type block struct {
	name   string
	labels []string // what each label is; nil: a block without
	many   bool     // may come more than once in one body
	body   func() schema
	doc    string
}

// kind is a type of value: what the page calls it, and what JSON has for it.
type kind struct {
	name  string
	json  string   // string, number, boolean, array (of strings or numbers), object, any
	words []string // the choices, of a choice
}

func textKind(name string) kind       { return kind{name: name, json: "string"} }
func listKind(name string) kind       { return kind{name: "list of " + name, json: "array"} }
func numberKind(name string) kind     { return kind{name: name, json: "number"} }
func choiceKind(words ...string) kind { return kind{name: "choice", json: "string", words: words} }
func flagKind() kind                  { return kind{name: "true or false", json: "boolean"} }
func objectKind(name string) kind     { return kind{name: name, json: "object"} }
func anyKind(name string) kind        { return kind{name: name, json: "any"} }

// hcl gives the schema in HCL's own terms.
func (s schema) hcl() *hcl.BodySchema {
	b := &hcl.BodySchema{}
	for _, a := range s.attrs {
		b.Attributes = append(b.Attributes, hcl.AttributeSchema{Name: a.name})
	}
	for _, t := range s.blocks {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: t.name, LabelNames: t.fixed()})
	}
	return b
}

func (s schema) hasAttr(name string) bool {
	return slices.ContainsFunc(s.attrs, func(a attr) bool { return a.name == name })
}

func (s schema) hasBlock(name string) bool { return s.block(name) != nil }

func (s schema) block(name string) *block {
	if i := slices.IndexFunc(s.blocks, func(b block) bool { return b.name == name }); i >= 0 {
		return &s.blocks[i]
	}
	return nil
}

// fixed are the labels that there must be.
func (b *block) fixed() []string {
	if b.variadic() {
		return b.labels[:len(b.labels)-1]
	}
	return b.labels
}

// variadic says whether any number of labels may stand behind the fixed ones. HCL has
// no such blocks: its native parser takes them, and its JSON one can't tell a label
// from an attribute.
func (b *block) variadic() bool {
	return len(b.labels) > 0 && strings.HasSuffix(b.labels[len(b.labels)-1], "...")
}

// names lists what may stand in the body.
func (s schema) names() (names []string) {
	for _, a := range s.attrs {
		names = append(names, a.name)
	}
	for _, b := range s.blocks {
		names = append(names, b.name)
	}
	return names
}

// content splits a body by its schema and reports everything in it that the schema
// does not have. It does not leave that to HCL, which suggests the first name that is
// near and not the nearest, and which would complain of unknown blocks' labels.
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
		d.nullBlocks(body, s)
		return content
	}
	known := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: native.SrcRange, EndRange: native.EndRange}
	var variadic hcl.Blocks
	for name, a := range native.Attributes {
		if s.hasAttr(name) {
			known.Attributes[name] = a
		} else {
			d.unknown("argument", name, a.NameRange, s)
		}
	}
	for _, b := range native.Blocks {
		switch def := s.block(b.Type); {
		case def == nil:
			d.unknown("block", b.Type, b.DefRange(), s)
		case def.variadic() && len(b.Labels) > len(def.fixed()):
			variadic = append(variadic, b.AsHCLBlock())
		default:
			known.Blocks = append(known.Blocks, b)
		}
	}
	content, diags := known.Content(s.hcl())
	d.diags = append(d.diags, diags...)
	content.Blocks = append(content.Blocks, variadic...)
	slices.SortStableFunc(content.Blocks, func(a, b *hcl.Block) int { return a.DefRange.Start.Byte - b.DefRange.Start.Byte })
	return content
}

// nullBlocks reports blocks of JSON that are null. HCL takes them as not being there,
// and a deny that is not there is a hole that nobody sees.
func (d *decoder) nullBlocks(body hcl.Body, s schema) {
	properties, _ := body.JustAttributes() // what is wrong in it was reported
	for _, b := range s.blocks {
		a := properties[b.name]
		if a == nil {
			continue
		}
		if v, diags := a.Expr.Value(nil); !diags.HasErrors() && hasNull(v, len(b.fixed())) {
			d.fail(a.Range, "No value", fmt.Sprintf("There is a null in %q, which is no block. Write {} for one that says nothing, or take it out.", b.name))
		}
	}
}

// hasNull looks for null in the place of a block, below so many labels.
func hasNull(v cty.Value, labels int) bool {
	if v.IsNull() {
		return true
	}
	list := v.Type().IsTupleType()
	if !list && (labels == 0 || !v.Type().IsObjectType()) {
		return false
	}
	if !list {
		labels--
	}
	for _, x := range v.Elements() {
		if hasNull(x, labels) {
			return true
		}
	}
	return false
}

// unknown reports what a schema does not have.
func (d *decoder) unknown(kind, name string, rng hcl.Range, s schema) {
	switch {
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
