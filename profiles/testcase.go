package profiles

import (
	stdjson "encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Case is one `test` block: a question and the answer that the profile must give.
// Exactly one of the questions is set.
type Case struct {
	Name    string             `json:"name"`
	Connect string             `json:"connect,omitempty"` // host:port
	Resolve string             `json:"resolve,omitempty"`
	Request []string           `json:"request,omitempty"` // method, URL
	Headers map[string]string  `json:"headers,omitempty"`
	Body    stdjson.RawMessage `json:"body,omitempty"`
	Read    string             `json:"read,omitempty"`
	Write   string             `json:"write,omitempty"`
	Exec    string             `json:"exec,omitempty"`
	Start   []string           `json:"start,omitempty"` // absolute path, arguments
	Expect  Action             `json:"expect"`
	Origin  Origin             `json:"origin"`
}

// questions are the attributes of a test of which there is exactly one.
func questions() []string {
	return []string{"connect", "resolve", "request", "read", "write", "exec", "start"}
}

func (d *decoder) test(b *hcl.Block, l *layer) {
	c := d.content(b.Body, testSchema())
	x := Case{Name: b.Labels[0], Origin: d.origin(b.DefRange)}
	if x.Name == "" || strings.ContainsFunc(x.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		d.fail(b.LabelRanges[0], "Wrong name", "A test needs a name on one line.")
	}
	var found []string
	for _, q := range questions() {
		if c.Attributes[q] != nil {
			found = append(found, q)
		}
	}
	if len(found) != 1 {
		d.fail(b.DefRange, "Wrong test", fmt.Sprintf("A test asks exactly one of %s; this one has %d.", strings.Join(questions(), ", "), len(found)))
		return
	}
	d.question(c.Attributes[found[0]], &x)
	d.requestParts(c, found[0], &x)
	a := c.Attributes["expect"]
	if a == nil {
		d.fail(b.DefRange, "Nothing expected", "The test does not say what it expects: write expect = \"allow\", \"ask\" or \"deny\".")
		return
	}
	if s, ok := d.choice(a.Expr, "answer", string(Allow), string(Ask), string(Deny)); ok {
		x.Expect = Action(s)
	}
	l.tests = append(l.tests, x)
}

// question reads the one question of a test.
func (d *decoder) question(a *hcl.Attribute, x *Case) {
	if a.Name == "request" || a.Name == "start" {
		words, ok := d.texts(a.Expr)
		if !ok {
			return
		}
		var list []string
		for _, w := range words {
			list = append(list, w.s)
		}
		var err error
		if a.Name == "start" {
			x.Start, err = list, checkStart(list)
		} else {
			x.Request = list
			_, err = parseTestRequest(list)
		}
		if err != nil {
			d.wrong(a.Expr.Range(), "Wrong test", err)
		}
		return
	}
	t, ok := d.text(a.Expr)
	if !ok {
		return
	}
	var err error
	switch a.Name {
	case "connect":
		x.Connect = t.s
		_, _, err = parseTestTarget(t.s)
	case "resolve":
		x.Resolve = t.s
		if t.s == "" {
			err = fmt.Errorf("host is empty")
		}
	default:
		var p string
		p, err = absolutePath(t.s, d.home, "")
		*map[string]*string{"read": &x.Read, "write": &x.Write, "exec": &x.Exec}[a.Name] = p
	}
	if err != nil {
		d.wrong(t.rng, "Wrong test", err)
	}
}

// requestParts reads what only a request has.
func (d *decoder) requestParts(c *hcl.BodyContent, question string, x *Case) {
	for _, name := range []string{"headers", "body"} {
		if a := c.Attributes[name]; a != nil && question != "request" {
			d.fail(a.NameRange, "Wrong test", fmt.Sprintf("`%s` is of a request, and this test has none.", name))
			return
		}
	}
	if a := c.Attributes["headers"]; a != nil {
		keys, values, _ := d.stringMap(a.Expr)
		x.Headers = map[string]string{}
		for i, k := range keys {
			x.Headers[strings.ToLower(k.s)] = values[i].s
		}
	}
	if a := c.Attributes["body"]; a != nil {
		v, ok := d.eval(a.Expr)
		if !ok {
			return
		}
		b, err := ctyjson.Marshal(v, v.Type())
		if err != nil {
			d.fail(a.Expr.Range(), "Wrong body", fmt.Sprintf("The body can't be written as JSON: %v.", err))
			return
		}
		x.Body = b
	}
}

// parseTestTarget reads a host and its port; unlike a pattern, the host may be any
// spelling that an agent could use, also one that every profile refuses.
func parseTestTarget(s string) (host string, port uint16, err error) {
	host, port, err = splitPort(s)
	switch {
	case err != nil:
		return "", 0, err
	case host == "":
		return "", 0, fmt.Errorf("%q has no host", s)
	case port == 0:
		return "", 0, fmt.Errorf("%q has no port: write for example \"%s:443\"", s, s)
	}
	return host, port, nil
}

func parseTestRequest(list []string) (*url.URL, error) {
	if len(list) != 2 || !methodName().MatchString(list[0]) {
		return nil, fmt.Errorf("a request is a method and a URL: write for example [\"GET\", \"https://example.com/x\"]")
	}
	u, err := url.Parse(list[1])
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%q is no URL of https or http", list[1])
	}
	return u, nil
}

func checkStart(list []string) error {
	if len(list) == 0 || !strings.HasPrefix(list[0], "/") {
		return fmt.Errorf("a start is an absolute path and arguments: write for example [\"/usr/bin/git\", \"push\"]")
	}
	if slices.ContainsFunc(list, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return fmt.Errorf("an argument can't have a NUL in it")
	}
	return nil
}

// bodyText writes a body as a profile does.
func bodyText(b stdjson.RawMessage) string {
	t, err := ctyjson.ImpliedType(b)
	if err != nil {
		return "null"
	}
	v, err := ctyjson.Unmarshal(b, t)
	if err != nil {
		return "null"
	}
	return valueText(v)
}

func valueText(v cty.Value) string { return string(tokensOf(v)) }
