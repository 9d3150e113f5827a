package profiles

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// A decoder turns one file's bodies into a layer. It goes on after a mistake, so
// that all of a file's mistakes are shown at once; each method's ok is false where
// it has reported one.
type decoder struct {
	file  *file
	home  string
	cwd   string
	ctx   *hcl.EvalContext
	diags hcl.Diagnostics

	bindings   []binding
	budgetUses []budgetUse
}

func (d *decoder) fail(rng hcl.Range, summary, detail string) {
	d.diags = append(d.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: rng.Ptr()})
}

// wrong reports an error of one of this package's own parsers.
func (d *decoder) wrong(rng hcl.Range, summary string, err error) {
	d.fail(rng, summary, sentence(err.Error()))
}

func (d *decoder) origin(rng hcl.Range) Origin {
	return Origin{File: d.file.name, Line: rng.Start.Line}
}

func (d *decoder) eval(e hcl.Expression) (cty.Value, bool) {
	if !d.referencesKnown(e) {
		return cty.NilVal, false
	}
	v, diags := e.Value(d.ctx)
	d.diags = append(d.diags, diags...)
	if diags.HasErrors() {
		return v, false
	}
	if !v.IsWhollyKnown() {
		return v, false // what it is made of was reported where it is defined
	}
	if v.IsNull() {
		d.fail(e.Range(), "No value", "This is null, which is no value. Leave the argument out where nothing is meant.")
		return v, false
	}
	return v, true
}

// referencesKnown reports what an expression refers to and does not exist, before
// HCL does so without a suggestion.
func (d *decoder) referencesKnown(e hcl.Expression) bool {
	ok := true
	for _, ref := range e.Variables() {
		if ref.RootName() != "var" {
			d.fail(ref.SourceRange(), "Unknown name", fmt.Sprintf("There is no %q to refer to: a variable of this file is written var.NAME, and text in quotes.", ref.RootName()))
			ok = false
			continue
		}
		if len(ref) < 2 {
			continue
		}
		attr, isAttr := ref[1].(hcl.TraverseAttr)
		known := slices.Sorted(maps.Keys(d.ctx.Variables["var"].AsValueMap()))
		if isAttr && !slices.Contains(known, attr.Name) {
			d.fail(ref.SourceRange(), "Unknown variable", fmt.Sprintf("This file has no variable %q.%s Write variable %q { default = ... } at its top.", attr.Name, didYouMean(attr.Name, known), attr.Name))
			ok = false
		}
	}
	return ok
}

// text is a string and where it stands.
type text struct {
	s   string
	rng hcl.Range
}

func (d *decoder) text(e hcl.Expression) (text, bool) {
	v, ok := d.eval(e)
	if !ok {
		return text{}, false
	}
	return d.textOf(v, e.Range())
}

func (d *decoder) textOf(v cty.Value, rng hcl.Range) (text, bool) {
	if v.IsNull() || v.Type() != cty.String {
		d.fail(rng, "Wrong type", fmt.Sprintf("A string in quotes is expected here, not %s.", kindOf(v)))
		return text{}, false
	}
	return text{v.AsString(), rng}, true
}

// texts reads a list of strings, each with its own place where the list is written
// out, else with the place of the whole.
func (d *decoder) texts(e hcl.Expression) (list []text, ok bool) {
	ok = true
	for _, item := range d.items(e, &ok) {
		if t, fine := d.textOf(item.v, item.rng); fine {
			list = append(list, t)
		} else {
			ok = false
		}
	}
	return list, ok
}

type item struct {
	v   cty.Value
	rng hcl.Range
}

func (d *decoder) items(e hcl.Expression, ok *bool) (list []item) {
	if exprs, diags := hcl.ExprList(e); !diags.HasErrors() {
		for _, x := range exprs {
			if v, fine := d.eval(x); fine {
				list = append(list, item{v, x.Range()})
			} else {
				*ok = false
			}
		}
		return list
	}
	v, fine := d.eval(e)
	if !fine {
		*ok = false
		return nil
	}
	if t := v.Type(); !t.IsTupleType() && !t.IsListType() && !t.IsSetType() {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("A list is expected here, not %s: write it in square brackets.", kindOf(v)))
		*ok = false
		return nil
	}
	for _, x := range v.Elements() {
		list = append(list, item{x, e.Range()})
	}
	return list
}

// choice reads one of a few words.
func (d *decoder) choice(e hcl.Expression, what string, words ...string) (string, bool) {
	t, ok := d.text(e)
	if !ok {
		return "", false
	}
	if !slices.Contains(words, t.s) {
		d.fail(t.rng, "Unknown "+what, fmt.Sprintf("%q is no %s; the choices are %s.%s", t.s, what, strings.Join(quoteAll(words), ", "), didYouMean(t.s, words)))
		return "", false
	}
	return t.s, true
}

func (d *decoder) boolean(e hcl.Expression) (value, ok bool) {
	v, ok := d.eval(e)
	if !ok {
		return false, false
	}
	if v.Type() != cty.Bool {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("true or false is expected here, not %s.", kindOf(v)))
		return false, false
	}
	return v.True(), true
}

// integer reads a whole number from 1 up to most.
func (d *decoder) integer(e hcl.Expression, what string, most int64) (int64, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	return d.integerOf(v, e.Range(), what, most)
}

func (d *decoder) integerOf(v cty.Value, rng hcl.Range, what string, most int64) (int64, bool) {
	if v.IsNull() || v.Type() != cty.Number {
		d.fail(rng, "Wrong type", fmt.Sprintf("A number without quotes is expected here, not %s.", kindOf(v)))
		return 0, false
	}
	f := v.AsBigFloat()
	n, accuracy := f.Int64()
	if accuracy != big.Exact || n < 1 || n > most {
		d.fail(rng, "Wrong number", fmt.Sprintf("%s is no %s: it is a whole number from 1 to %d.", f.Text('g', 10), what, most))
		return 0, false
	}
	return n, true
}

// size reads a size of at least `least` bytes; why says what the trouble is with a
// smaller one.
func (d *decoder) size(e hcl.Expression, least int64, why string) (int64, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	if v.Type() == cty.Number {
		d.fail(e.Range(), "Wrong size", "A size is a string with its unit: write for example \"512MiB\" or \"2GB\".")
		return 0, false
	}
	t, ok := d.textOf(v, e.Range())
	if !ok {
		return 0, false
	}
	n, err := ParseSize(t.s)
	if err != nil {
		d.wrong(t.rng, "Wrong size", err)
		return 0, false
	}
	if n < least {
		d.fail(t.rng, "Wrong size", fmt.Sprintf("%q is too small: %s.", t.s, why))
		return 0, false
	}
	return n, true
}

func (d *decoder) duration(e hcl.Expression) (time.Duration, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	if v.Type() == cty.Number {
		d.fail(e.Range(), "Wrong duration", "A duration is a string with its unit: write for example \"90s\", \"10m\" or \"2d\".")
		return 0, false
	}
	t, ok := d.textOf(v, e.Range())
	if !ok {
		return 0, false
	}
	n, err := ParseDuration(t.s)
	if err != nil {
		d.wrong(t.rng, "Wrong duration", err)
		return 0, false
	}
	if n == 0 {
		d.fail(t.rng, "Wrong duration", "A limit of no time would end every run at once. Leave it out where no limit is meant.")
		return 0, false
	}
	return n, true
}

// sentenceText reads prose that is shown to people and agents: one line, no final
// stop, nothing that a terminal would obey.
func (d *decoder) sentenceText(e hcl.Expression) (string, bool) {
	t, ok := d.text(e)
	if !ok {
		return "", false
	}
	if strings.ContainsFunc(t.s, unicode.IsControl) {
		d.fail(t.rng, "Wrong text", "This text is shown on one line: write it without line breaks and control characters.")
		return "", false
	}
	return strings.TrimSuffix(strings.TrimSpace(t.s), "."), true
}

// stringMap reads an object whose values are strings, or numbers and booleans that
// are meant as such ("env = { CI = 1 }").
func (d *decoder) stringMap(e hcl.Expression) (keys, values []text, ok bool) {
	ok = true
	add := func(k, v cty.Value, krng, vrng hcl.Range) {
		name, fine := d.textOf(k, krng)
		if !fine {
			ok = false
			return
		}
		s, err := convert.Convert(v, cty.String)
		if err != nil || v.IsNull() {
			d.fail(vrng, "Wrong type", fmt.Sprintf("A string is expected here, not %s.", kindOf(v)))
			ok = false
			return
		}
		keys, values = append(keys, name), append(values, text{s.AsString(), vrng})
	}
	if pairs, diags := hcl.ExprMap(e); !diags.HasErrors() {
		for _, p := range pairs {
			k, fine := d.eval(p.Key)
			v, fine2 := d.eval(p.Value)
			if !fine || !fine2 {
				ok = false
				continue
			}
			add(k, v, p.Key.Range(), p.Value.Range())
		}
		return keys, values, ok
	}
	v, fine := d.eval(e)
	if !fine {
		return nil, nil, false
	}
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("An object is expected here, not %s: write for example { CI = \"1\" }.", kindOf(v)))
		return nil, nil, false
	}
	for k, x := range v.Elements() {
		add(k, x, e.Range(), e.Range())
	}
	return keys, values, ok
}

func kindOf(v cty.Value) string {
	t := v.Type()
	switch {
	case v.IsNull():
		return "null"
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsObjectType() || t.IsMapType():
		return "an object"
	}
	return "a list"
}

func quoteAll(words []string) []string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return quoted
}

// sentence makes an error's text one: HCL's details begin with a capital and end
// with a stop, Go's errors with neither.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:] + "."
}
