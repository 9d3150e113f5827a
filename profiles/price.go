package profiles

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Price is what a model costs, in USD for a million tokens.
type Price struct {
	Model string `json:"model"` // pattern: "*" is any characters
	// Above is the number of tokens in the request from which on, the number itself
	// left out, the price is this one: some providers charge more for long requests.
	Above          int64  `json:"above,omitempty"`
	Input          Amount `json:"input"`
	Output         Amount `json:"output"`
	CacheRead      Amount `json:"cache_read"`
	CacheWrite     Amount `json:"cache_write"`
	CacheWriteLong Amount `json:"cache_write_1h"`
	Origin         Origin `json:"origin,omitzero"`
}

// UsedTokens are the tokens of one call; the four counts are of different tokens, and
// CacheWriteLong is a part of CacheWrite.
type UsedTokens struct{ Input, Output, CacheRead, CacheWrite, CacheWriteLong int64 }

// Cost is what a call costs. It is exact, and what is less than a millionth of a dollar
// is rounded up once.
func (p *Price) Cost(t UsedTokens) Amount {
	sum := new(big.Int)
	for _, part := range []struct {
		tokens int64
		price  Amount
	}{
		{t.Input, p.Input}, {t.Output, p.Output}, {t.CacheRead, p.CacheRead},
		{t.CacheWrite - t.CacheWriteLong, p.CacheWrite}, {t.CacheWriteLong, p.CacheWriteLong},
	} {
		sum.Add(sum, new(big.Int).Mul(big.NewInt(max(0, part.tokens)), big.NewInt(int64(part.price))))
	}
	million := big.NewInt(1_000_000)
	sum.Add(sum, big.NewInt(999_999)).Quo(sum, million)
	if sum.Cmp(big.NewInt(int64(MaxAmount))) > 0 {
		return MaxAmount
	}
	return Amount(sum.Int64())
}

//go:embed prices.json
var pricesJSON []byte

// PriceTable is the prices that come with agentjail.
type PriceTable struct {
	Date    string   `json:"date"` // when they were compared with their sources
	Unit    string   `json:"unit"`
	Sources []string `json:"sources"`
	Prices  []Price  `json:"prices"`
}

// priceEntry is a line of the table: what it leaves out costs what other input costs.
type priceEntry struct {
	Models         []string `json:"models"`
	Above          int64    `json:"above"`
	Input          Amount   `json:"input"`
	Output         Amount   `json:"output"`
	CacheRead      *Amount  `json:"cache_read"`
	CacheWrite     *Amount  `json:"cache_write"`
	CacheWriteLong *Amount  `json:"cache_write_1h"`
}

// Prices is the table that comes with agentjail, read when it is first needed.
var priceTable = sync.OnceValue(func() PriceTable {
	var file struct {
		PriceTable
		Prices []priceEntry `json:"prices"`
	}
	if err := json.Unmarshal(pricesJSON, &file); err != nil {
		panic(fmt.Sprintf("profiles: prices.json: %v", err)) // it is part of the binary
	}
	for _, e := range file.Prices {
		for _, m := range e.Models {
			p := Price{Model: m, Above: e.Above, Input: e.Input, Output: e.Output}
			p.cache(e.CacheRead, e.CacheWrite, e.CacheWriteLong)
			file.PriceTable.Prices = append(file.PriceTable.Prices, p)
		}
	}
	return file.PriceTable
})

// Prices is the table that comes with agentjail.
func Prices() PriceTable { return priceTable() }

// cache fills in the prices of cached tokens. What is not said costs as much as any
// input; tokens that are kept for an hour, which Anthropic alone counts, cost twice
// that there (https://platform.claude.com/docs/en/about-claude/pricing).
func (p *Price) cache(read, write, long *Amount) {
	p.CacheRead, p.CacheWrite = p.Input, p.Input
	if read != nil {
		p.CacheRead = *read
	}
	if write != nil {
		p.CacheWrite = *write
	}
	p.CacheWriteLong = max(p.CacheWrite, p.Input.Add(p.Input))
	if long != nil {
		p.CacheWriteLong = *long
	}
}

// dated is how providers name a model's fixed version behind its name.
var dated = lazy(`^(.+?)(?:-latest|[-@]\d{8}|-\d{4}-\d{2}-\d{2})$`)

// FindPrice finds what a model costs in a request of some tokens: by the profile's own
// prices, and where none of these is about the model, by the table that comes with
// agentjail; nil where nobody knows. A name with a date behind it is the same model as
// without, unless it has a price of its own.
func FindPrice(own []Price, model string, prompt int64) *Price {
	model = strings.TrimPrefix(model, "models/") // Gemini's resource names
	names := []string{model}
	if m := dated().FindStringSubmatch(model); m != nil {
		names = append(names, m[1])
	}
	for _, list := range [][]Price{own, priceTable().Prices} {
		for _, name := range names {
			if p := bestPrice(list, name, prompt); p != nil {
				return p
			}
		}
	}
	return nil
}

// bestPrice takes the pattern that writes out the most, and of its prices the one whose
// bound is the highest below the request.
func bestPrice(list []Price, model string, prompt int64) (found *Price) {
	for i := range list {
		p := &list[i]
		if !globModel(p.Model, model) || prompt <= p.Above && p.Above > 0 {
			continue
		}
		if found == nil || literal(p.Model) > literal(found.Model) || literal(p.Model) == literal(found.Model) && p.Above > found.Above {
			found = p
		}
	}
	return found
}

func literal(pattern string) int { return len(strings.ReplaceAll(pattern, "*", "")) }

// globModel matches a name; "*" is any characters. Its time is the product of the two
// lengths at most.
func globModel(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return strings.HasSuffix(name, parts[last])
}

// modelPattern is what names of models are made of, and "*".
var modelPattern = lazy(`^[A-Za-z0-9._:/@+*-]{1,128}$`)

// price reads a price block.
func (d *decoder) price(b *hcl.Block, l *layer) {
	c := d.content(b.Body, priceSchema())
	p := Price{Model: b.Labels[0], Origin: d.origin(b.DefRange)}
	if !modelPattern().MatchString(p.Model) {
		d.fail(b.LabelRanges[0], "Wrong model", fmt.Sprintf("%q is no pattern for names of models: write for example \"claude-sonnet-*\".", p.Model))
	}
	if a := c.Attributes["above"]; a != nil {
		p.Above, _ = d.integer(a.Expr, "number of tokens", 1_000_000_000)
	}
	amount := func(name string) *Amount {
		a := c.Attributes[name]
		if a == nil {
			return nil
		}
		n, ok := d.dollars(a.Expr)
		if !ok {
			return nil
		}
		return &n
	}
	for _, f := range []struct {
		name string
		to   *Amount
	}{{"input", &p.Input}, {"output", &p.Output}} {
		if c.Attributes[f.name] == nil {
			d.fail(b.DefRange, "Incomplete price", fmt.Sprintf("A price says what input and output cost; `%s` is missing. What costs nothing costs 0.", f.name))
		} else if n := amount(f.name); n != nil {
			*f.to = *n
		}
	}
	p.cache(amount("cache_read"), amount("cache_write"), amount("cache_write_1h"))
	for _, o := range l.prices {
		if o.Model == p.Model && o.Above == p.Above {
			d.fail(b.DefRange, "Duplicate price", fmt.Sprintf("The price of %q already stands in line %d.", p.Model, o.Origin.Line))
		}
	}
	l.prices = append(l.prices, p)
}

// dollars reads an amount of money, exactly.
func (d *decoder) dollars(e hcl.Expression) (Amount, bool) {
	v, ok := d.eval(e)
	if !ok {
		return 0, false
	}
	if v.Type() != cty.Number {
		d.fail(e.Range(), "Wrong type", fmt.Sprintf("A number without quotes is expected here, not %s: write for example 3 or 0.25.", kindOf(v)))
		return 0, false
	}
	n, exact, err := amountOf(v.AsBigFloat())
	switch {
	case err != nil:
		d.wrong(e.Range(), "Wrong price", err)
		return 0, false
	case !exact:
		d.fail(e.Range(), "Wrong price", "A price has at most six digits behind the point.")
		return 0, false
	}
	return n, true
}

func priceSchema() schema {
	return schema{attrs: []attr{
		{"input", numberKind("USD for a million tokens"), "3", "must be there", "What the tokens of a request cost."},
		{"output", numberKind("USD for a million tokens"), "15", "must be there", "What the tokens of an answer cost, thoughts included."},
		{"cache_read", numberKind("USD for a million tokens"), "0.3", "as `input`", "What tokens cost that come out of the provider's cache."},
		{"cache_write", numberKind("USD for a million tokens"), "3.75", "as `input`", "What tokens cost that are put into it."},
		{"cache_write_1h", numberKind("USD for a million tokens"), "6", "twice `input`", "And where they are kept for an hour (Anthropic)."},
		{"above", numberKind("whole number"), "200000", "", "The price holds for requests of more tokens than this."},
	}}
}
