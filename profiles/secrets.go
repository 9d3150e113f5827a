package profiles

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// headerName is a token of RFC 9110 section 5.6.2.
var headerName = lazy("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// secret reads a secret block. Where it comes from and where it goes to are one of a
// few each: a secret with two sources would have two values.
func (d *decoder) secret(b *hcl.Block, l *layer) {
	c := d.content(b.Body, secretSchema())
	x := Secret{Name: b.Labels[0], Origin: d.origin(b.DefRange)}
	switch {
	case !hclsyntax.ValidIdentifier(x.Name):
		d.fail(b.LabelRanges[0], "Wrong secret", fmt.Sprintf("%q can't be written as secret.NAME: a name begins with a letter and has letters, digits, \"_\" and \"-\".", x.Name))
	case slices.ContainsFunc(l.secrets, func(o Secret) bool { return o.Name == x.Name }):
		d.fail(b.DefRange, "Duplicate secret", fmt.Sprintf("The secret %q already stands above.", x.Name))
	}
	ready := d.like(c)
	d.secretSource(b, c, &x)
	d.optional(c, &x)
	d.secretUse(b, c, ready, &x)
	likeSecret(&x, ready, c)
	l.secrets = append(l.secrets, x)
}

// one reports where not exactly one of some arguments is there, or of a service of the
// ready list, which says the usual one, more than one.
func (d *decoder) one(b *hcl.Block, c *hcl.BodyContent, like bool, what string, names ...string) bool {
	var found []string
	for _, n := range names {
		if c.Attributes[n] != nil {
			found = append(found, n)
		}
	}
	if len(found) == 1 || len(found) == 0 && like {
		return true
	}
	d.fail(b.DefRange, "Wrong secret", fmt.Sprintf("A secret has exactly one of %s, which says %s; this one has %d.", strings.Join(names, ", "), what, len(found)))
	return false
}

// variableName reads an argument that names an environment variable.
func (d *decoder) variableName(c *hcl.BodyContent, name string, to *string) {
	a := c.Attributes[name]
	if a == nil {
		return
	}
	if t, ok := d.text(a.Expr); ok {
		if !variableName().MatchString(t.s) {
			d.fail(t.rng, "Wrong variable", fmt.Sprintf("%q is no name of an environment variable.", t.s))
		}
		*to = t.s
	}
}

// aws reads the block that makes an AWS key of a secret. Such a key goes nowhere, so
// that nothing else may say where it goes.
func (d *decoder) aws(blocks hcl.Blocks, c *hcl.BodyContent, x *Secret) {
	for _, name := range []string{"header", "format", "query", "basic", "inject"} {
		if a := c.Attributes[name]; a != nil {
			d.fail(a.NameRange, "Wrong secret", fmt.Sprintf("An AWS key signs requests and is not sent: `%s` has no meaning beside `aws`.", name))
		}
	}
	if len(blocks) > 1 {
		d.fail(blocks[1].DefRange, "Duplicate block", fmt.Sprintf("The aws block already stands in line %d.", blocks[0].DefRange.Start.Line))
	}
	in := d.content(blocks[0].Body, awsSchema())
	x.AWS = &AWS{AccessKeyEnv: "AWS_ACCESS_KEY_ID"}
	d.variableName(in, "access_key_env", &x.AWS.AccessKeyEnv)
	d.variableName(in, "session_token_env", &x.AWS.SessionTokenEnv)
	names := []string{x.Variable, x.AWS.AccessKeyEnv, x.AWS.SessionTokenEnv}
	for i, n := range names {
		if n != "" && slices.Contains(names[:i], n) {
			d.fail(blocks[0].DefRange, "Wrong variable", fmt.Sprintf("The variable %s would hold two things: the secret access key, the access key ID and the session token have a variable each.", n))
		}
	}
}

func (d *decoder) secretSource(b *hcl.Block, c *hcl.BodyContent, x *Secret) {
	d.one(b, c, c.Attributes["like"] != nil, "where it comes from", "env", "file", "command")
	d.variableName(c, "env", &x.Env)
	x.Variable = x.Env
	d.variableName(c, "variable", &x.Variable)
	if a := c.Attributes["file"]; a != nil {
		if d.file.builtin {
			d.fail(a.NameRange, "Wrong secret", "A built-in profile reads no file.")
		} else if t, ok := d.text(a.Expr); ok {
			p, err := absolutePath(t.s, d.home, filepath.Dir(d.file.path))
			if err != nil {
				d.wrong(t.rng, "Wrong path", err)
			}
			x.File = p
		}
	}
	if a := c.Attributes["command"]; a != nil {
		x.Command = d.command(a)
	}
}

func (d *decoder) secretUse(b *hcl.Block, c *hcl.BodyContent, ready *Ready, x *Secret) {
	if blocks := c.Blocks.OfType("aws"); len(blocks) > 0 {
		d.aws(blocks, c, x)
		return
	}
	d.one(b, c, c.Attributes["like"] != nil, "where it goes", "header", "query", "basic")
	str := func(name string, to *string) (text, bool) {
		a := c.Attributes[name]
		if a == nil {
			return text{}, false
		}
		t, ok := d.text(a.Expr)
		*to = t.s
		return t, ok
	}
	if t, ok := str("header", &x.Header); ok {
		x.Header = strings.ToLower(t.s)
		switch {
		case !headerName().MatchString(t.s):
			d.fail(t.rng, "Wrong header", fmt.Sprintf("%q is no name of a header: write for example \"authorization\" or \"x-api-key\".", t.s))
		case framingHeader(x.Header):
			d.fail(t.rng, "Wrong header", fmt.Sprintf("The header %q is about the connection and can't carry a secret.", t.s))
		}
	}
	if t, ok := str("format", &x.Format); ok {
		if c.Attributes["header"] == nil && (ready == nil || ready.Header == "") {
			d.fail(t.rng, "Wrong format", "`format` is of a header's value: write header = \"...\" too.")
		}
		if strings.Count(t.s, "%s") != 1 || strings.Count(t.s, "%") != 1 || strings.ContainsAny(t.s, "\r\n\x00") {
			d.fail(t.rng, "Wrong format", fmt.Sprintf("%q does not have the secret in it once: write \"%%s\" in its place, as in \"Bearer %%s\".", t.s))
		}
	}
	if t, ok := str("query", &x.Query); ok && (t.s == "" || strings.ContainsAny(t.s, "&=;#%+ ")) {
		d.fail(t.rng, "Wrong parameter", fmt.Sprintf("%q is no name of a parameter of a query.", t.s))
	}
	if t, ok := str("basic", &x.Basic); ok && (t.s == "" || strings.ContainsAny(t.s, ":\r\n\x00")) {
		d.fail(t.rng, "Wrong user", fmt.Sprintf("%q is no user name of basic authentication (RFC 7617 has no \":\" in it).", t.s))
	}
	if a := c.Attributes["inject"]; a != nil {
		x.Inject, _ = d.boolean(a.Expr)
	}
}

// framingHeader names what belongs to one connection, or says whose request it is.
func framingHeader(name string) bool {
	return slices.Contains([]string{"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
		"proxy-connection", "proxy-authorization", "expect", "content-type", "content-encoding"}, name)
}

// binding is a use of a secret by an allow.
type binding struct {
	secret    string
	rng       hcl.Range
	alsoPlain bool // the allow holds on a protocol that is not TLS too
}

// bind reads the `secret` of an allow: one reference, or a list of them.
func (d *decoder) bind(a *hcl.Attribute, r *NetRule) bool {
	exprs, diags := hcl.ExprList(a.Expr)
	if diags.HasErrors() {
		exprs = []hcl.Expression{a.Expr}
	}
	ok := true
	for _, e := range exprs {
		t, diags := hcl.AbsTraversalForExpr(e)
		var name hcl.TraverseAttr
		fine := !diags.HasErrors() && len(t) == 2 && t.RootName() == "secret"
		if fine {
			name, fine = t[1].(hcl.TraverseAttr)
		}
		if !fine {
			d.fail(e.Range(), "Wrong secret", "A secret is named by its block: write secret = secret.NAME, without quotes, and secret \"NAME\" { ... } beside `network`.")
			ok = false
			continue
		}
		if !slices.Contains(r.Secrets, name.Name) {
			r.Secrets = append(r.Secrets, name.Name)
		}
		d.bindings = append(d.bindings, binding{secret: name.Name, rng: e.Range()})
	}
	return ok
}

// secretsKnown reports references to secrets that no file of the chain has, and
// secrets that go to hosts that the profile's author can't know.
func (l *loader) secretsKnown() {
	known := map[string]bool{}
	for _, layer := range l.layers {
		for _, s := range layer.secrets {
			known[s.Name] = true
		}
	}
	for _, b := range l.bindings {
		if !known[b.secret] {
			l.fail(b.rng.Ptr(), "Unknown secret", fmt.Sprintf("There is no secret %q.%s Write secret %q { ... } beside `network`.", b.secret, didYouMean(b.secret, slices.Sorted(maps.Keys(known))), b.secret))
		}
	}
}

// wildcardSecret warns of a secret that goes to hosts that nobody has named.
func (d *decoder) wildcardSecret(c *hcl.BodyContent, rules []NetRule) {
	a := c.Attributes["secret"]
	for _, r := range rules {
		for _, h := range r.Hosts {
			one := h.Kind == HostExact || h.Kind == HostPrefix && h.Prefix.IsSingleIP()
			if a == nil || one || len(r.Secrets) == 0 {
				continue
			}
			d.diags = append(d.diags, &hcl.Diagnostic{Severity: hcl.DiagWarning, Summary: "Secret goes to a wildcard host", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("Every host that %q covers may get this secret, also one that somebody else runs. Name the hosts that need it.", h)})
			return
		}
	}
}
