package profiles

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// variables reads a file's variable blocks into the decoder's context as var.NAME.
// They belong to the file: were they shared, a profile could undo the deny of one
// that it extends by giving another value to a variable in it.
func (l *loader) variables(d *decoder, c *hcl.BodyContent) {
	d.ctx.Variables = map[string]cty.Value{"var": cty.EmptyObjectVal}
	values := map[string]cty.Value{}
	first := map[string]hcl.Range{}
	for _, b := range c.Blocks {
		if b.Type != "variable" {
			continue
		}
		name := b.Labels[0]
		switch where, dup := first[name]; {
		case !hclsyntax.ValidIdentifier(name):
			d.fail(b.LabelRanges[0], "Wrong variable", fmt.Sprintf("%q can't be written as var.NAME: a name begins with a letter and has letters, digits, \"_\" and \"-\".", name))
			continue
		case dup:
			d.fail(b.DefRange, "Duplicate variable", fmt.Sprintf("The variable %q already stands in line %d.", name, where.Start.Line))
			continue
		}
		first[name] = b.DefRange
		l.declared[name] = true
		values[name] = d.variable(b, name, l.o)
	}
	d.ctx.Variables["var"] = cty.ObjectVal(values)
}

// VariablePrefix is what the names of environment variables begin with that give a
// profile's variables their values; "-" in a name is "_" there.
const VariablePrefix = "AGENTJAIL_VAR_"

// given finds the value that was given for a variable from outside: on the command
// line, else in the environment.
func (o *Options) given(name string) (string, bool) {
	if v, ok := o.Vars[name]; ok {
		return v, true
	}
	if o.Env == nil {
		return "", false
	}
	return o.Env(VariablePrefix + strings.ReplaceAll(name, "-", "_"))
}

func (d *decoder) variable(b *hcl.Block, name string, o *Options) cty.Value {
	c := d.content(b.Body, variableSchema())
	given, isGiven := o.given(name)
	if err := checkText(given); err != nil {
		d.fail(b.DefRange, "Wrong value", fmt.Sprintf("The value given for the variable %q can't be used: %v.", name, err))
		return cty.DynamicVal
	}
	a := c.Attributes["default"]
	if a == nil {
		if !isGiven {
			d.fail(b.DefRange, "No value", fmt.Sprintf("The variable %q has no value: write default = \"...\" in it, or give one with --var %s=VALUE.", name, name))
			return cty.DynamicVal // so that its uses are no mistakes of their own
		}
		return cty.StringVal(given)
	}
	if refs := a.Expr.Variables(); len(refs) != 0 {
		d.fail(refs[0].SourceRange(), "Wrong default", "A default can't use other variables: it may be a value or a call such as env(\"NAME\").")
		return cty.DynamicVal
	}
	v, ok := d.eval(a.Expr)
	if !ok {
		return cty.DynamicVal
	}
	if !isGiven {
		return v
	}
	conv, err := convert.Convert(cty.StringVal(given), v.Type())
	if err != nil {
		d.fail(b.DefRange, "Wrong value", fmt.Sprintf("%q was given for the variable %q, whose default is %s.", given, name, kindOf(v)))
		return cty.DynamicVal
	}
	return conv
}

// unusedVars reports values that were given for variables that no file declares:
// most likely a slip of the pen, and the default would stand in its place.
func (l *loader) unusedVars() {
	known := slices.Sorted(maps.Keys(l.declared))
	for _, name := range slices.Sorted(maps.Keys(l.o.Vars)) {
		if !l.declared[name] {
			l.fail(nil, "Unknown variable", fmt.Sprintf("A value is given for %q, and no variable of that name is declared.%s", name, didYouMean(name, known)))
		}
	}
}
