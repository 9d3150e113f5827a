package profiles

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// A secret that is `optional` need not be there. What names it is then not in force:
// a rule of an agent that can work with several services is written for each of them,
// and holds for those that the caller has a credential of.

// Without takes out of force what needs secrets that are not there. A rule that names
// several holds while one of them is there. One that has none left lets nothing, and
// still covers its hosts: were it gone, a wider rule would decide them, and let more than
// the profile says of them.
func (s *Spec) Without(missing []string) {
	for i := range s.Network.Allow {
		r := &s.Network.Allow[i]
		had := r.Secrets
		r.Secrets = slices.DeleteFunc(slices.Clone(had), func(name string) bool { return slices.Contains(missing, name) })
		if len(had) == 0 || len(r.Secrets) > 0 {
			continue
		}
		r.AnyRequest, r.Requests, r.Secrets = false, nil, nil
		r.Inactive = fmt.Sprintf("the rule is not in force, because its credential is not there: %s", s.sources(had))
	}
}

// sources says where secrets would come from.
func (s *Spec) sources(names []string) string {
	var list []string
	for _, name := range names {
		switch x := s.Secret(name); {
		case x == nil:
		case x.Env != "":
			list = append(list, "the variable "+x.Env+" is not set")
		case x.File != "":
			list = append(list, "there is no file "+x.File)
		}
	}
	return strings.Join(list, ", ")
}

// optional reads whether a secret may be missing. Whether a command has one is only
// known once it has run, and it may ask a person: a run that needs none of it would wait.
func (d *decoder) optional(c *hcl.BodyContent, x *Secret) {
	a := c.Attributes["optional"]
	if a == nil {
		return
	}
	x.Optional, _ = d.boolean(a.Expr)
	if x.Optional && len(x.Command) > 0 {
		d.fail(a.NameRange, "Wrong secret", "A secret that a command prints can't be optional: nobody knows before it has run. Take it from `env` or `file`, or take `optional` out.")
	}
}

// withoutTLS marks an allow's uses of secrets where it holds on other protocols too,
// where no secret goes.
func withoutTLS(uses []binding, rules []NetRule) {
	for i := range uses {
		uses[i].alsoPlain = slices.ContainsFunc(rules, func(r NetRule) bool { return r.Protocol != ProtocolTLS })
	}
}

// optionalPlain reports allows that would hold without their secret, by another protocol.
func (l *loader) optionalPlain() {
	secrets := map[string]Secret{}
	for _, layer := range l.layers { // the nearest file's comes last
		for _, s := range layer.secrets {
			secrets[s.Name] = s
		}
	}
	for _, b := range l.bindings {
		if b.alsoPlain && secrets[b.secret].Optional {
			l.fail(b.rng.Ptr(), "Not only TLS", fmt.Sprintf("The secret %q is optional, and this rule also allows what is not TLS, where no secret goes: it would hold there without it. Put those ports into an allow of their own.", b.secret))
		}
	}
}
