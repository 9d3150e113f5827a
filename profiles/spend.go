package profiles

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// responseRoot is what a spend refers to beside the request, once there is an answer.
const responseRoot = "response"

func responseFields() []string { return []string{"status", "headers", "body"} }

// Spend is what one request spends of a budget. Before is the amount that the request
// says, which is reserved before anything is sent. After is the amount that the answer
// says; where it is alone, the budget's `each` is reserved until then.
type Spend struct {
	Budget string   `json:"budget"`
	Before *Formula `json:"before,omitempty"`
	After  *Formula `json:"after,omitempty"`
	Origin Origin   `json:"origin"`
}

// Formula is an expression that gives an amount, as source text in which variables are
// replaced by their values.
type Formula struct {
	Source       string `json:"source"`
	Body         bool   `json:"body,omitempty"`          // it refers to the request's body
	Response     bool   `json:"response,omitempty"`      // it refers to the answer
	ResponseBody bool   `json:"response_body,omitempty"` // to its body
	Origin       Origin `json:"origin"`
}

// spend reads the `spend` of a request rule: an object of budgets and amounts.
func (d *decoder) spend(a *hcl.Attribute) (list []Spend, ok bool) {
	pairs, diags := hcl.ExprMap(a.Expr)
	if diags.HasErrors() {
		d.fail(a.Expr.Range(), "Wrong spend", "What a request spends is an object of budgets and amounts: write for example { payments = request.body.amount / 100 }.")
		return nil, false
	}
	ok = true
	for _, p := range pairs {
		key, fine := d.text(p.Key)
		if !fine {
			ok = false
			continue
		}
		s := Spend{Budget: key.s, Origin: d.origin(p.Key.Range())}
		if slices.ContainsFunc(list, func(o Spend) bool { return o.Budget == s.Budget }) {
			d.fail(key.rng, "Duplicate budget", fmt.Sprintf("The budget %q is there twice: add the two amounts.", s.Budget))
			ok = false
			continue
		}
		if !d.formulas(p.Value, &s) {
			ok = false
			continue
		}
		list = append(list, s)
		d.budgetUses = append(d.budgetUses, budgetUse{s, key.rng})
	}
	if ok && len(list) == 0 {
		d.fail(a.Expr.Range(), "Wrong spend", "This spends nothing: name a budget, or take it out.")
		ok = false
	}
	return list, ok
}

// formulas reads one amount, or a list of two: by the request, then by the answer.
func (d *decoder) formulas(e hcl.Expression, s *Spend) bool {
	exprs, diags := hcl.ExprList(e)
	if diags.HasErrors() {
		f := d.formula(e)
		if f == nil {
			return false
		}
		if f.Response {
			s.After = f
		} else {
			s.Before = f
		}
		return true
	}
	if len(exprs) != 2 {
		d.fail(e.Range(), "Wrong spend", "A list of amounts has two: what the request says, then what the answer says.")
		return false
	}
	s.Before, s.After = d.formula(exprs[0]), d.formula(exprs[1])
	if s.Before == nil || s.After == nil {
		return false
	}
	if s.Before.Response {
		d.fail(exprs[0].Range(), "Wrong spend", "The first of the two amounts is reserved before there is an answer, and can't refer to it.")
		return false
	}
	return true
}

func (d *decoder) formula(e hcl.Expression) *Formula {
	source, at, ok := d.expressionSource(e)
	if !ok {
		return nil
	}
	f := &Formula{Source: source, Origin: d.origin(e.Range())}
	expr, diags := hclsyntax.ParseExpression([]byte(source), d.file.name, at)
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return nil
	}
	if bad := f.refer(expr); bad != "" {
		d.fail(e.Range(), "Unknown name", fmt.Sprintf("An amount refers to request.%s, to response.%s, and to variables of this file (var.NAME), not to %q.",
			strings.Join(requestFields(), ", request."), strings.Join(responseFields(), ", response."), bad))
		return nil
	}
	// With values that are not known yet, HCL finds wrong calls and wrong types.
	unknown := func(fields []string, types map[string]cty.Type) cty.Value {
		m := map[string]cty.Value{}
		for _, name := range fields {
			m[name] = cty.UnknownVal(types[name])
		}
		return cty.ObjectVal(m)
	}
	v, diags := expr.Value(&hcl.EvalContext{Functions: conditionFunctions(), Variables: map[string]cty.Value{
		conditionRoot: unknown(requestFields(), map[string]cty.Type{"method": cty.String, "host": cty.String, "path": cty.String,
			"query": cty.DynamicPseudoType, "headers": cty.DynamicPseudoType, "body": cty.DynamicPseudoType}),
		responseRoot: unknown(responseFields(), map[string]cty.Type{"status": cty.Number, "headers": cty.DynamicPseudoType, "body": cty.DynamicPseudoType}),
	}})
	if diags.HasErrors() {
		d.diags = append(d.diags, diags...)
		return nil
	}
	if t := v.Type(); t != cty.Number && t != cty.DynamicPseudoType {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("An amount is a number, and this is %s.", kindOf(cty.UnknownVal(t))))
		return nil
	}
	if v.IsKnown() && !v.IsNull() {
		if _, _, err := amountOf(v.AsBigFloat()); err != nil {
			d.wrong(e.Range(), "Wrong amount", err)
			return nil
		}
	}
	return f
}

// refer notes what an expression is about, or names what it can't be about.
func (f *Formula) refer(expr hclsyntax.Expression) (bad string) {
	for _, ref := range expr.Variables() {
		if field, ok := requestField(ref); ok {
			f.Body = f.Body || field == "body"
			continue
		}
		var attr hcl.TraverseAttr
		ok := ref.RootName() == responseRoot && len(ref) >= 2
		if ok {
			attr, ok = ref[1].(hcl.TraverseAttr)
		}
		if !ok || !slices.Contains(responseFields(), attr.Name) {
			return traversalText(ref)
		}
		f.Response = true
		f.ResponseBody = f.ResponseBody || attr.Name == "body"
	}
	return ""
}

// ResponseFacts is what an amount is evaluated over once there is an answer.
type ResponseFacts struct {
	Status  int
	Headers map[string]string
	Body    any // as in RequestFacts
}

// Cost is a Formula ready to be evaluated. It may be used by any number of goroutines.
type Cost struct {
	Formula
	expr hclsyntax.Expression
}

// Compile reads a formula of a Spec.
func (f *Formula) Compile() (*Cost, error) {
	expr, diags := hclsyntax.ParseExpression([]byte(f.Source), f.Origin.File, hcl.Pos{Line: max(1, f.Origin.Line), Column: 1})
	if diags.HasErrors() {
		return nil, diags
	}
	c := &Cost{Formula: Formula{Source: f.Source, Origin: f.Origin}, expr: expr}
	if bad := c.refer(expr); bad != "" {
		return nil, fmt.Errorf("amount refers to %q", bad)
	}
	bounded(expr)
	return c, nil
}

// Amount evaluates the formula. Whatever is not an amount (a field that is not there,
// a text that is no number, a negative or endless number) is an error, never nothing.
func (c *Cost) Amount(f RequestFacts, res *ResponseFacts) (a Amount, err error) {
	// As in Test.Holds: what the profile's expression and the agent's values make panic
	// together in a library is no amount.
	defer func() {
		if p := recover(); p != nil {
			a, err = 0, fmt.Errorf("the amount can't be evaluated: %v", p)
		}
	}()
	request, err := f.value()
	if err != nil {
		return 0, err
	}
	vars := map[string]cty.Value{conditionRoot: request}
	if res != nil {
		headers := make(map[string]any, len(res.Headers))
		for k, v := range res.Headers {
			headers[k] = v
		}
		answer, err := ctyValue(map[string]any{"headers": headers, "body": res.Body}, 0)
		if err != nil {
			return 0, err
		}
		fields := answer.AsValueMap()
		fields["status"] = cty.NumberIntVal(int64(res.Status))
		vars[responseRoot] = cty.ObjectVal(fields)
	}
	v, diags := c.expr.Value(&hcl.EvalContext{Functions: conditionFunctions(), Variables: vars})
	if diags.HasErrors() {
		return 0, firstProblem(diags)
	}
	v, err = convert.Convert(v, cty.Number)
	if err != nil || v.IsNull() || !v.IsKnown() {
		return 0, errors.New("the expression gives no number")
	}
	a, _, err = amountOf(v.AsBigFloat())
	return a, err
}
