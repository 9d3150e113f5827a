package profiles

import (
	"errors"
	"math/big"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// maxExponent is, in bits, how large and how small a number may be that is computed
// with. HCL takes text for a number where it needs one, and "1e600000000" is a short
// text; adding one to it takes math/big a quarter of a gigabyte, the remainder seconds.
const maxExponent = 1024

var errExponent = errors.New("a number is too large or too small to be computed with")

func computable(v cty.Value) error {
	f := v.AsBigFloat()
	if e := f.MantExp(nil); f.IsInf() || e > maxExponent || e < -maxExponent {
		return errExponent
	}
	return nil
}

// bounded makes every arithmetic of an expression refuse numbers that are not fit for
// it. The expression is the caller's own, parsed for this.
func bounded(expr hclsyntax.Expression) {
	safe := map[*hclsyntax.Operation]*hclsyntax.Operation{}
	for _, op := range []*hclsyntax.Operation{hclsyntax.OpAdd, hclsyntax.OpSubtract, hclsyntax.OpMultiply, hclsyntax.OpDivide, hclsyntax.OpModulo} {
		safe[op] = &hclsyntax.Operation{Impl: boundedOperation(op.Impl), Type: op.Type}
	}
	// The visitor reports nothing.
	_ = hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		if b, ok := n.(*hclsyntax.BinaryOpExpr); ok && safe[b.Op] != nil {
			b.Op = safe[b.Op]
		}
		return nil
	})
}

func boundedOperation(impl function.Function) function.Function {
	return function.New(&function.Spec{
		Params: impl.Params(),
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for _, v := range args {
				if err := computable(v); err != nil {
					return cty.UnknownVal(cty.Number), err
				}
			}
			return impl.Call(args)
		},
	})
}

// boundedFormat is `format` without numbers that would be written out in millions of
// digits.
func boundedFormat() function.Function {
	impl := stdlib.FormatFunc
	return function.New(&function.Spec{
		Params:   impl.Params(),
		VarParam: impl.VarParam(),
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for _, v := range args[1:] {
				if v.Type() == cty.String && !v.IsNull() && strings.ContainsAny(v.AsString(), "eEpP") {
					if f, _, err := big.ParseFloat(v.AsString(), 10, 64, big.ToNearestEven); err == nil {
						v = cty.NumberVal(f)
					}
				}
				if v.Type() == cty.Number && !v.IsNull() {
					if err := computable(v); err != nil {
						return cty.UnknownVal(cty.String), err
					}
				}
			}
			return impl.Call(args)
		},
	})
}

// firstProblem is the first of an evaluation's diagnostics in one line. cty puts a
// panic's stack behind it, which is for nobody who reads a refusal.
func firstProblem(diags hcl.Diagnostics) error {
	detail, _, _ := strings.Cut(diags[0].Detail, "\n")
	return errors.New(diags[0].Summary + ": " + detail)
}
