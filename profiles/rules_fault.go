package profiles

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

const (
	// maxFaultDelay is below every time limit that makes sense for a test.
	maxFaultDelay = time.Hour

	// maxFaultBody bounds what a profile carries in its own text.
	maxFaultBody = 64 << 10
)

// faultOf is what a fault of one kind may hold; every kind has a rate and a seed.
func faultOf(kind FaultKind) schema {
	names := []string{"rate", "seed"}
	switch kind {
	case FaultStatus:
		names = append(names, "status", "body")
	case FaultDelay:
		names = append(names, "delay")
	case FaultTruncate:
		names = append(names, "after")
	case FaultReset:
	}
	s := faultSchema()
	s.attrs = slices.DeleteFunc(s.attrs, func(a attr) bool { return !slices.Contains(names, a.name) })
	return s
}

// fault reads one fault block of an allow.
func (d *decoder) fault(b *hcl.Block) (f Fault, ok bool) {
	f = Fault{Kind: FaultKind(b.Labels[0]), Origin: d.origin(b.DefRange)}
	kinds := []string{string(FaultStatus), string(FaultDelay), string(FaultReset), string(FaultTruncate)}
	switch f.Kind {
	case FaultStatus, FaultDelay, FaultReset, FaultTruncate:
	default:
		help := didYouMean(b.Labels[0], kinds)
		if help == "" {
			help = " The kinds are " + strings.Join(quoteAll(kinds), ", ") + "."
		}
		d.fail(b.LabelRanges[0], "Unknown fault", fmt.Sprintf("There is no fault %q.%s", b.Labels[0], help))
		return f, false
	}
	ok = true
	c := d.content(b.Body, faultOf(f.Kind))
	need := func(name, example string) *hcl.Attribute {
		a := c.Attributes[name]
		if a == nil {
			d.fail(b.DefRange, "Incomplete fault", fmt.Sprintf("A fault %q says its %s: write for example %s.", f.Kind, name, example))
			ok = false
		}
		return a
	}
	if a := need("rate", "rate = 1/10"); a != nil {
		f.Rate, ok = d.faultRate(a.Expr)
	}
	if a := c.Attributes["seed"]; a != nil {
		n, fine := d.integer(a.Expr, "seed", math.MaxInt64)
		f.Seed, ok = &n, ok && fine
	}
	switch f.Kind {
	case FaultStatus:
		if a := need("status", "status = 503"); a != nil {
			n, fine := d.integer(a.Expr, "status", 599)
			if fine && n < 200 {
				d.fail(a.Expr.Range(), "Wrong status", fmt.Sprintf("%d is no status that ends an answer: write one of 200 to 599.", n))
				fine = false
			}
			f.Status, ok = int(n), ok && fine
		}
		if a := c.Attributes["body"]; a != nil {
			t, fine := d.text(a.Expr)
			if fine && (len(t.s) > maxFaultBody || !utf8.ValidString(t.s)) {
				d.fail(t.rng, "Wrong body", fmt.Sprintf("A fault's body is UTF-8 text of at most %s.", FormatSize(maxFaultBody)))
				fine = false
			}
			f.Body, ok = t.s, ok && fine
		}
	case FaultDelay:
		if a := need("delay", `delay = "2s"`); a != nil {
			n, fine := d.duration(a.Expr)
			if fine && (n == 0 || n > maxFaultDelay) {
				d.fail(a.Expr.Range(), "Wrong delay", fmt.Sprintf("A delay is more than nothing and at most %s.", FormatDuration(maxFaultDelay)))
				fine = false
			}
			f.Delay, ok = n, ok && fine
		}
	case FaultTruncate:
		if a := need("after", `after = "1KiB"`); a != nil {
			n, fine := d.size(a.Expr, 0, "")
			f.After, ok = n, ok && fine
		}
	case FaultReset:
	}
	return f, ok
}

// faultRate reads how many of the requests a fault is for: a number above 0 and up to
// 1. HCL reckons "1/10" itself.
func (d *decoder) faultRate(e hcl.Expression) (float64, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	rate := 0.0
	if v.Type() == cty.Number {
		rate, _ = v.AsBigFloat().Float64()
	}
	if !(rate > 0 && rate <= 1) {
		d.fail(e.Range(), "Wrong rate", "A fault's rate is a number above 0 and up to 1, the share of the requests that it is for: write 1/10 for every tenth on average, 1 for each.")
		return 0, false
	}
	return rate, true
}
