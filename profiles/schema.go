package profiles

import (
	"fmt"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A schema is what one kind of block may hold. What the language has and this
// version does not carry out stands under later: it is refused by name, since a
// rule that is skipped is a hole that nobody sees.
type schema struct {
	attrs  []string
	blocks []string            // without a label
	named  map[string]string   // block type → what its one label is
	later  map[string]struct{} // attributes and blocks
}

func laterSet(names ...string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, n := range names {
		set[n] = struct{}{}
	}
	return set
}

func profileSchema() schema {
	return schema{
		attrs:  []string{"description", "extends"},
		blocks: []string{"workspace", "files", "network", "process", "syscalls", "limits", "artifacts", "audit"},
		named:  map[string]string{"variable": "name"},
		later:  laterSet("secret", "budget", "approval", "on", "test"),
	}
}

func variableSchema() schema { return schema{attrs: []string{"default"}} }

func workspaceSchema() schema {
	return schema{attrs: []string{"path", "mode", "hide", "size", "upper"}}
}

func filesSchema() schema {
	return schema{attrs: []string{"read", "write", "exec", "deny"}, later: laterSet("home")}
}

func networkSchema() schema {
	return schema{
		named: map[string]string{"allow": "host", "deny": "host"},
		later: laterSet("ask", "host_port", "publish"),
	}
}

func allowSchema() schema {
	return schema{
		attrs: []string{"hosts", "ports", "protocol", "upstream", "upstream_ca", "reason"},
		later: laterSet("request", "secret", "provider"),
	}
}

func denySchema() schema { return schema{attrs: []string{"hosts", "ports", "reason"}} }

func processSchema() schema {
	return schema{attrs: []string{"pass_env", "env"}, later: laterSet("deny", "ask", "limit")}
}

func syscallsSchema() schema { return schema{attrs: []string{"allow"}} }

func limitsSchema() schema {
	return schema{attrs: []string{"memory", "cpus", "processes", "open_files", "time", "idle", "output", "enforce"}}
}

func artifactsSchema() schema { return schema{attrs: []string{"collect", "size"}} }

func auditSchema() schema { return schema{attrs: []string{"size"}, later: laterSet("otlp")} }

// hcl gives the schema in HCL's own terms, for HCL to find what is unknown in a
// body and to suggest the nearest name.
func (s schema) hcl() *hcl.BodySchema {
	b := &hcl.BodySchema{}
	for _, a := range s.attrs {
		b.Attributes = append(b.Attributes, hcl.AttributeSchema{Name: a})
	}
	for _, t := range s.blocks {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: t})
	}
	for t, label := range s.named {
		b.Blocks = append(b.Blocks, hcl.BlockHeaderSchema{Type: t, LabelNames: []string{label}})
	}
	return b
}

// content splits a body by its schema and reports everything in it that the schema
// does not have.
func (d *decoder) content(body hcl.Body, s schema) *hcl.BodyContent {
	want := s.hcl()
	if native, ok := body.(*hclsyntax.Body); ok {
		// By hand and not by schema, because the later blocks have labels of every
		// number and HCL would complain of those instead.
		kept := &hclsyntax.Body{Attributes: hclsyntax.Attributes{}, SrcRange: native.SrcRange, EndRange: native.EndRange}
		for name, a := range native.Attributes {
			if _, later := s.later[name]; later {
				d.notYet("argument", name, a.NameRange)
				continue
			}
			kept.Attributes[name] = a
		}
		for _, b := range native.Blocks {
			if _, later := s.later[b.Type]; later {
				d.notYet("block", b.Type, b.DefRange())
				continue
			}
			kept.Blocks = append(kept.Blocks, b)
		}
		body = kept
	} else {
		// JSON has properties only, whose labels show once they are read as a block.
		for name := range s.later {
			want.Attributes = append(want.Attributes, hcl.AttributeSchema{Name: name})
		}
	}
	content, diags := body.Content(want)
	d.diags = append(d.diags, diags...)
	for name, a := range content.Attributes {
		if _, later := s.later[name]; later {
			d.notYet("property", name, a.NameRange)
			delete(content.Attributes, name)
		}
	}
	return content
}

func (d *decoder) notYet(kind, name string, rng hcl.Range) {
	d.fail(rng, "Not supported yet", fmt.Sprintf(
		"The language has the %s %q, but this version of agentjail does not carry it out. It is refused because skipping it would drop a rule; take it out, or use a version that has it.", kind, name))
}

// nearest finds the known word that was probably meant; "" where none is close.
// Less than three edits is HCL's own threshold for its suggestions.
func nearest(given string, known []string) string {
	word, least := "", 3
	for _, k := range known {
		if d := levenshtein.Distance(given, k, nil); d < least {
			word, least = k, d
		}
	}
	return word
}

// didYouMean is nearest as the end of a sentence's paragraph.
func didYouMean(given string, known []string) string {
	if n := nearest(given, known); n != "" {
		return fmt.Sprintf(" Did you mean %q?", n)
	}
	return ""
}
