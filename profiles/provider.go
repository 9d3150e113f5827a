package profiles

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// Provider says how a host's answers tell what they cost.
type Provider string

// The providers. ProviderCompatible speaks OpenAI's language and may leave out what a
// call used, which then is unknown and never nothing.
const (
	ProviderAnthropic  Provider = "anthropic"
	ProviderOpenAI     Provider = "openai"
	ProviderGemini     Provider = "gemini"
	ProviderCompatible Provider = "openai-compatible"
)

func providerWords() []string {
	return []string{string(ProviderAnthropic), string(ProviderOpenAI), string(ProviderGemini), string(ProviderCompatible)}
}

// Names of the budgets that what providers read is charged to.
const (
	BudgetModel  = "model"  // money, in USD
	BudgetTokens = "tokens" // of all kinds
)

// Provider is how the host's answers are read; "" where none of its rules says so.
func (a Access) Provider() Provider {
	for _, r := range a.Rules {
		if r.Provider != "" {
			return r.Provider
		}
	}
	return ""
}

// like reads the `like` of a block.
func (d *decoder) like(c *hcl.BodyContent) *Ready {
	a := c.Attributes["like"]
	if a == nil {
		return nil
	}
	t, ok := d.text(a.Expr)
	if !ok {
		return nil
	}
	r := FindReady(t.s)
	if r == nil {
		d.fail(t.rng, "Unknown service", fmt.Sprintf("There is no %q in the ready list.%s `agentjail profile providers` prints it.", t.s, didYouMean(t.s, readyNames())))
	}
	return r
}

// provider reads an allow's `provider`, and what `like` says of it.
func (d *decoder) provider(c *hcl.BodyContent, ready *Ready, r *NetRule) {
	if ready != nil {
		r.Provider = ready.Provider
	}
	if a := c.Attributes["provider"]; a != nil {
		if s, ok := d.choice(a.Expr, "provider", providerWords()...); ok {
			r.Provider = Provider(s)
		}
	}
}

// providerProtocol reports a provider where nobody looks into what is said.
func (d *decoder) providerProtocol(c *hcl.BodyContent, rules []NetRule) {
	a := c.Attributes["provider"]
	if a == nil {
		return
	}
	for _, r := range rules {
		if r.Protocol != ProtocolTLS && r.Protocol != ProtocolHTTP {
			d.fail(a.NameRange, "Not HTTP", fmt.Sprintf("A provider's answers are read on TLS and HTTP, and this rule also allows %s. Put its ports into an allow of their own.", r.Protocol))
			return
		}
	}
}

// readyHosts are those of `like`, where the block names none itself: its label is then
// the service's name.
func (d *decoder) readyHosts(b *hcl.Block, c *hcl.BodyContent, ready *Ready) (list []text, ok bool) {
	if ready == nil || c.Attributes["hosts"] != nil || b.Labels[0] != ready.Name {
		return nil, false
	}
	rng := c.Attributes["like"].Expr.Range()
	if len(ready.Hosts) == 0 {
		d.fail(rng, "No host", fmt.Sprintf("The ready list has no host for %q. Name it in hosts = [...].", ready.Name))
	}
	for _, h := range ready.Hosts {
		list = append(list, text{h, rng})
	}
	return list, true
}

// likeSecret fills in what a secret's block leaves out.
func likeSecret(x *Secret, ready *Ready, c *hcl.BodyContent) {
	if ready == nil {
		return
	}
	x.Like = ready.Name
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return c.Attributes[n] != nil })
	}
	if !has("env", "file", "command") {
		x.Env = ready.Variables[0]
	}
	if !has("variable") {
		x.Variable = ready.Variables[0]
		if x.Env != "" {
			x.Variable = x.Env
		}
	}
	if x.AWS == nil && !has("header", "query", "basic") {
		x.Header, x.Query, x.Basic = ready.Header, ready.Query, ready.Basic
		if !has("format") {
			x.Format = ready.Format
		}
	}
}
