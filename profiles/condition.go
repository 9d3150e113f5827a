package profiles

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"golang.org/x/text/unicode/norm"
)

// conditionRoot is the one name that a condition refers to.
const conditionRoot = "request"

// requestFields are what a condition can say about a request.
func requestFields() []string { return []string{"method", "host", "path", "query", "headers", "body"} }

// conditionFunctions are what a condition may call: what a profile may, but for what
// looks at the host, since conditions are evaluated beside the agent's bytes.
func conditionFunctions() map[string]function.Function {
	return map[string]function.Function{
		"format":     boundedFormat(),
		"join":       stdlib.JoinFunc,
		"concat":     stdlib.ConcatFunc,
		"lower":      stdlib.LowerFunc,
		"upper":      stdlib.UpperFunc,
		"regex":      stdlib.RegexFunc,
		"jsondecode": stdlib.JSONDecodeFunc,
	}
}

// condition reads a `when`. Its variables are put in as values, so that what is left
// stands for itself.
func (d *decoder) condition(a *hcl.Attribute) *Condition {
	source, at, ok := d.expressionSource(a.Expr)
	if !ok {
		return nil
	}
	c := &Condition{Source: source, Origin: d.origin(a.NameRange)}
	expr, diags := hclsyntax.ParseExpression([]byte(source), d.file.name, at)
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return nil
	}
	for _, ref := range expr.Variables() {
		field, fine := requestField(ref)
		if !fine {
			d.fail(a.Expr.Range(), "Unknown name", fmt.Sprintf("A condition refers to request.%s and to variables of this file (var.NAME), not to %q.", strings.Join(requestFields(), ", request."), traversalText(ref)))
			return nil
		}
		c.Body = c.Body || field == "body"
	}
	// With values that are not known yet, HCL finds wrong calls and wrong types.
	unknown := map[string]cty.Value{}
	for _, f := range requestFields() {
		unknown[f] = cty.UnknownVal(cty.String)
	}
	unknown["query"], unknown["headers"], unknown["body"] = cty.DynamicVal, cty.DynamicVal, cty.DynamicVal
	v, diags := expr.Value(conditionContext(cty.ObjectVal(unknown)))
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return nil
	}
	if t := v.Type(); t != cty.Bool && t != cty.DynamicPseudoType {
		d.fail(a.Expr.Range(), "Wrong type", fmt.Sprintf("A condition is true or false, and this is %s: compare it with something.", kindOf(cty.UnknownVal(t))))
		return nil
	}
	return c
}

// expressionSource is the text of an expression over a request, with the values of its
// variables in it.
func (d *decoder) expressionSource(e hcl.Expression) (source string, at hcl.Pos, ok bool) {
	if !d.varsKnown(e) {
		return "", at, false
	}
	expr, native := e.(hclsyntax.Expression)
	if !native {
		// JSON has no expressions but in templates: "${request.body.x == 1}".
		v, diags := e.Value(nil) // nil: the string as it is written
		if !diags.HasErrors() && v.Type() == cty.String {
			inner, begins := strings.CutPrefix(v.AsString(), "${")
			inner, ends := strings.CutSuffix(inner, "}")
			if begins && ends {
				text, fine := d.withValues(inner)
				return text, e.Range().Start, fine
			}
		}
		d.fail(e.Range(), "Wrong expression", "An expression in JSON is a template: write \"${request.body.project == \\\"web\\\"}\".")
		return "", at, false
	}
	rng := expr.Range()
	text, fine := d.withValues(string(rng.SliceBytes(d.file.src)))
	return text, rng.Start, fine
}

// withValues replaces var.NAME in an expression by its value.
func (d *decoder) withValues(source string) (string, bool) {
	parse := func() (hclsyntax.Expression, hcl.Diagnostics) {
		return hclsyntax.ParseExpression([]byte(source), d.file.name, hcl.Pos{Line: 1, Column: 1})
	}
	expr, diags := parse()
	if _, brackets := expr.(*hclsyntax.ParenthesesExpr); !brackets || diags.HasErrors() {
		source = "(" + source + ")" // so that it may go over several lines
		expr, diags = parse()
	}
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return "", false
	}
	refs := slices.DeleteFunc(expr.Variables(), func(t hcl.Traversal) bool { return t.RootName() != "var" })
	slices.SortFunc(refs, func(a, b hcl.Traversal) int { return b.SourceRange().Start.Byte - a.SourceRange().Start.Byte })
	for _, ref := range refs {
		v, diags := ref.TraverseAbs(d.ctx)
		if diags.HasErrors() || !v.IsWhollyKnown() || v.IsNull() {
			d.diags = append(d.diags, diags...)
			return "", false // what is not known was reported where it is defined
		}
		rng := ref.SourceRange()
		value := hclwrite.TokensForValue(v).Bytes()
		source = source[:rng.Start.Byte] + "(" + string(value) + ")" + source[rng.End.Byte:]
	}
	return source, true
}

// varsKnown reports variables that do not exist, with a suggestion.
func (d *decoder) varsKnown(e hcl.Expression) bool {
	ok := true
	for _, ref := range e.Variables() {
		if ref.RootName() != "var" || len(ref) < 2 {
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

// requestField says which part of a request a reference is about.
func requestField(t hcl.Traversal) (string, bool) {
	if t.RootName() != conditionRoot || len(t) < 2 {
		return "", false
	}
	attr, ok := t[1].(hcl.TraverseAttr)
	return attr.Name, ok && slices.Contains(requestFields(), attr.Name)
}

func traversalText(t hcl.Traversal) string {
	s := t.RootName()
	for _, step := range t[1:] {
		attr, ok := step.(hcl.TraverseAttr)
		if !ok {
			break
		}
		s += "." + attr.Name
	}
	return s
}

func conditionContext(request cty.Value) *hcl.EvalContext {
	return &hcl.EvalContext{Functions: conditionFunctions(), Variables: map[string]cty.Value{conditionRoot: request}}
}

// RequestFacts is what a condition is evaluated over. Query, Headers and Body hold
// strings, and Body also what JSON has: numbers as json.Number, lists, objects.
type RequestFacts struct {
	Method, Host, Path string
	Query, Headers     map[string]string
	Body               any
}

// Test is a condition ready to be evaluated. It may be used by any number of
// goroutines.
type Test struct{ expr hclsyntax.Expression }

// Compile reads a condition of a Spec.
func (c *Condition) Compile() (*Test, error) {
	expr, diags := hclsyntax.ParseExpression([]byte(c.Source), c.Origin.File, hcl.Pos{Line: max(1, c.Origin.Line), Column: 1})
	if diags.HasErrors() {
		return nil, diags
	}
	for _, ref := range expr.Variables() {
		if _, ok := requestField(ref); !ok {
			return nil, fmt.Errorf("condition refers to %q", traversalText(ref))
		}
	}
	bounded(expr)
	return &Test{expr}, nil
}

// Holds evaluates the condition. An error (a field that the body does not have, a
// number where a string is compared) means that it does not hold.
func (t *Test) Holds(f RequestFacts) (ok bool, err error) {
	// The expression is the profile's and the values are the agent's: what they make
	// panic together in a library is a condition that does not hold.
	defer func() {
		if p := recover(); p != nil {
			ok, err = false, fmt.Errorf("the condition can't be evaluated: %v", p)
		}
	}()
	request, err := f.value()
	if err != nil {
		return false, err
	}
	v, diags := t.expr.Value(conditionContext(request))
	if diags.HasErrors() {
		return false, firstProblem(diags)
	}
	if v.IsNull() || !v.IsKnown() || v.Type() != cty.Bool {
		return false, errors.New("the condition gives neither true nor false")
	}
	return v.True(), nil
}

func (f RequestFacts) value() (cty.Value, error) {
	text := func(m map[string]string) any {
		out := make(map[string]any, len(m))
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	return ctyValue(map[string]any{"method": f.Method, "host": f.Host, "path": f.Path,
		"query": text(f.Query), "headers": text(f.Headers), "body": f.Body}, 0)
}

// maxValueDepth bounds the recursion over a body.
const maxValueDepth = 100

// ctyValue turns decoded JSON into HCL's values. cty keeps strings in Unicode's
// normal form C and would compare another text than the host gets: what is in
// another form is refused.
func ctyValue(v any, depth int) (cty.Value, error) {
	if depth > maxValueDepth {
		return cty.NilVal, errors.New("the request's body is nested too deeply")
	}
	switch v := v.(type) {
	case nil:
		return cty.NullVal(cty.DynamicPseudoType), nil
	case bool:
		return cty.BoolVal(v), nil
	case string:
		if !norm.NFC.IsNormalString(v) {
			return cty.NilVal, errors.New("the request has text that is not in Unicode's normal form C")
		}
		return cty.StringVal(v), nil
	case number:
		// Written out, as cty does it for text, 1e999999999 has a billion digits.
		_, exponent, _ := strings.Cut(strings.ToLower(v.String()), "e")
		if len(v.String()) > 64 || len(strings.TrimLeft(exponent, "+-0")) > 2 {
			return cty.NilVal, errors.New("the request's body has a number that is too long")
		}
		return cty.ParseNumberVal(v.String())
	case []any:
		list := make([]cty.Value, len(v))
		for i, x := range v {
			var err error
			if list[i], err = ctyValue(x, depth+1); err != nil {
				return cty.NilVal, err
			}
		}
		return cty.TupleVal(list), nil
	case map[string]any:
		m := make(map[string]cty.Value, len(v))
		for k, x := range v {
			if !norm.NFC.IsNormalString(k) {
				return cty.NilVal, errors.New("the request has a name that is not in Unicode's normal form C")
			}
			var err error
			if m[k], err = ctyValue(x, depth+1); err != nil {
				return cty.NilVal, err
			}
		}
		return cty.ObjectVal(m), nil
	}
	return cty.NilVal, fmt.Errorf("the request has a value of an unknown kind (%T)", v)
}

// number is json.Number, whose text is kept as it was sent.
type number interface{ String() string }
