package learn

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/text/unicode/norm"
)

// Marker is how a learned profile begins. Only such a file is added to.
const Marker = "# Learned by agentjail learn."

// Header is what a new file says first.
type Header struct {
	Command []string
	Extends string // "" where the file is its own base
}

// Render writes down what was learned: a new file, or old with it added. What came from
// the jail stands in strings that hclwrite quotes, or in comments of one line.
func (p *Profile) Render(old []byte, h Header) ([]byte, error) {
	f := hclwrite.NewEmptyFile()
	if old != nil {
		if !bytes.HasPrefix(old, []byte(Marker)) {
			return nil, errors.New("it was not written by learn, which does not add to what people wrote\nhint: name another file with -o, and let one extend the other")
		}
		var diags hcl.Diagnostics
		if f, diags = hclwrite.ParseConfig(old, "learned.hcl", hcl.InitialPos); diags.HasErrors() {
			return nil, diags
		}
	}
	w := writer{body: f.Body(), old: string(old)}
	if old == nil {
		w.header(h)
	}
	w.files(p)
	w.network(p)
	if len(p.Calls) > 0 {
		w.list(w.block("syscalls").Body(), "allow", p.Calls)
	}
	w.questions(p, h)
	out := emptyBody().ReplaceAll(hclwrite.Format(f.Bytes()), []byte("{}"))
	if _, diags := hclsyntax.ParseConfig(out, "learned.hcl", hcl.InitialPos); diags.HasErrors() {
		return nil, fmt.Errorf("what was learned can't be written down: %w", diags)
	}
	return out, nil
}

// emptyBody is a block with nothing in it. No string and no comment has a line's end.
func emptyBody() *regexp.Regexp { return regexp.MustCompile(`\{\n\s*\}`) }

type writer struct {
	body *hclwrite.Body
	old  string // "" for a new file
}

func (w writer) header(h Header) {
	w.comment(w.body, Marker+" It is what this was refused, and no more than that:")
	w.comment(w.body, "  "+commandText(h.Command))
	for _, line := range []string{
		"Read every line before you use it: the command chose what to ask for. What stands",
		"below as a question was not granted. Which variables of the environment it looked",
		"at can't be seen (process { pass_env }), nor what it would have asked for next: a",
		"program that gives up at the first refusal shows that one alone.",
	} {
		w.comment(w.body, line)
	}
	if h.Extends != "" {
		w.body.SetAttributeValue("extends", cty.ListVal([]cty.Value{cty.StringVal(h.Extends)}))
	}
}

func (w writer) comment(b *hclwrite.Body, text string) {
	text = strings.TrimRight("# "+strings.TrimPrefix(oneLine(text), "# "), " ")
	b.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment, Bytes: []byte(text + "\n")}})
}

// block is the file's block of a type, made where there is none.
func (w writer) block(name string) *hclwrite.Block {
	if b := w.body.FirstMatchingBlock(name, nil); b != nil {
		return b
	}
	w.body.AppendNewline()
	return w.body.AppendNewBlock(name, nil)
}

func (w writer) files(p *Profile) {
	lists := []struct {
		name   string
		grants []Grant
	}{{"read", p.Read}, {"write", p.Write}, {"exec", p.Exec}, {"deny", p.Deny}}
	if !slices.ContainsFunc(lists, func(l struct {
		name   string
		grants []Grant
	}) bool {
		return len(l.grants) > 0
	}) && len(p.Home) == 0 {
		return
	}
	body := w.block("files").Body()
	for _, l := range lists {
		if len(l.grants) > 0 {
			w.list(body, l.name, l.grants)
		}
	}
	for _, g := range p.Home {
		if body.FirstMatchingBlock("home", []string{g.Value}) != nil {
			continue
		}
		w.comment(body, g.Why)
		body.AppendNewBlock("home", []string{g.Value})
	}
}

// list adds lines to a list attribute, which it makes where there is none.
func (w writer) list(body *hclwrite.Body, name string, grants []Grant) {
	var lines hclwrite.Tokens
	had := ""
	tokens := hclwrite.Tokens{
		{Type: hclsyntax.TokenOBrack, Bytes: []byte("[")},
		{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")},
		{Type: hclsyntax.TokenCBrack, Bytes: []byte("]")},
	}
	if a := body.GetAttribute(name); a != nil {
		tokens = closed(a.Expr().BuildTokens(nil))
		had = string(tokens.Bytes())
	}
	for _, g := range grants {
		value := hclwrite.TokensForValue(cty.StringVal(g.Value))
		if strings.Contains(had, string(value.Bytes())+",") {
			continue
		}
		lines = append(lines, value...)
		lines = append(lines, &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")},
			&hclwrite.Token{Type: hclsyntax.TokenComment, Bytes: []byte("# " + oneLine(g.Why) + "\n")})
	}
	end := len(tokens) - 1 // the closing bracket, behind a line's end
	body.SetAttributeRaw(name, slices.Concat(tokens[:end], lines, tokens[end:]))
}

// closed is a list's tokens with a comma behind the last value, and the bracket on a
// line of its own: people edit files.
func closed(tokens hclwrite.Tokens) hclwrite.Tokens {
	end := len(tokens) - 1
	last := end - 1
	for last > 0 && (tokens[last].Type == hclsyntax.TokenNewline || tokens[last].Type == hclsyntax.TokenComment) {
		last--
	}
	out := slices.Clone(tokens[:last+1])
	if t := tokens[last].Type; t != hclsyntax.TokenComma && t != hclsyntax.TokenOBrack {
		out = append(out, &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")})
	}
	rest := tokens[last+1 : end]
	if len(rest) == 0 {
		rest = hclwrite.Tokens{{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")}}
	}
	return append(append(out, rest...), tokens[end])
}

func (w writer) network(p *Profile) {
	if len(p.Allow) == 0 {
		return
	}
	body := w.block("network").Body()
	for _, a := range p.Allow {
		w.comment(body, a.Why)
		allow := body.AppendNewBlock("allow", []string{a.Host}).Body()
		if a.Port != 443 {
			allow.SetAttributeValue("ports", cty.ListVal([]cty.Value{cty.NumberUIntVal(uint64(a.Port))}))
		}
		if line := allowBody(443, a.Protocol); len(line) > 0 {
			allow.SetAttributeValue("protocol", cty.StringVal(string(a.Protocol)))
		}
		for _, s := range a.Kept {
			if n, err := strconv.ParseInt(s.Value, 10, 64); s.Name == "connections" && err == nil {
				allow.SetAttributeValue(s.Name, cty.NumberIntVal(n))
				continue
			}
			allow.SetAttributeValue(s.Name, cty.StringVal(s.Value))
		}
		for _, r := range a.Requests {
			w.comment(allow, r.Why)
			allow.AppendNewBlock("request", []string{r.Method, r.Path})
		}
	}
}

// questions stand at the end, all in comments.
func (w writer) questions(p *Profile, h Header) {
	questions := slices.DeleteFunc(slices.Clone(p.Questions), func(q Question) bool { return strings.Contains(w.old, "# - "+oneLine(q.What)+": ") })
	if len(questions) == 0 && p.LeftOut == 0 {
		return
	}
	w.body.AppendNewline()
	if w.old == "" {
		w.comment(w.body, "Not granted, and for you to decide. What is no line of a profile is granted by none.")
	} else {
		w.comment(w.body, "Asked for by "+commandText(h.Command)+", and not granted:")
	}
	for _, q := range questions {
		w.comment(w.body, "- "+q.What+": "+q.Why)
		if q.Rule != "" {
			w.comment(w.body, "    "+q.Rule)
		}
	}
	if p.LeftOut > 0 {
		w.comment(w.body, fmt.Sprintf("There was no room for %d more.", p.LeftOut))
	}
}

// maxComment bounds one comment.
const maxComment = 400

// oneLine makes text of whatever origin into one line that reads as what it is: nothing
// that ends a line, moves a cursor or turns the direction of writing stays as it is.
func oneLine(s string) string {
	var b strings.Builder
	for i, r := range s {
		if b.Len() > maxComment {
			fmt.Fprintf(&b, "... (%d bytes more)", len(s)-i)
			break
		}
		if r == unicode.ReplacementChar || r != ' ' && !unicode.IsPrint(r) || r == 0x85 {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	if text := b.String(); norm.NFC.IsNormalString(text) {
		return text
	}
	return strings.Trim(strconv.QuoteToASCII(b.String()), `"`) // profiles want the normal form, in comments too
}

// commandText is a command for a comment.
func commandText(argv []string) string {
	words := make([]string, len(argv))
	for i, a := range argv {
		words[i] = a
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$`") {
			words[i] = fmt.Sprintf("%q", a)
		}
	}
	return strings.Join(words, " ")
}
