// Package sanitize takes out of an HTML page what somebody who reads it in a browser
// would not see. A language model reads the source: a comment, a hidden paragraph or a
// row of invisible characters is how a page speaks to the model alone.
//
// It is pure: bytes in, bytes out. What comes out is a page of its own, built from the
// parsed tree and not cut out of the text, so that no second parser finds something
// else in it than was judged here.
//
// Not seen here, since no stylesheet is evaluated: what rules of a stylesheet or a
// script hide, white text on the page's own white, text under a picture.
package sanitize

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	// MaxBytes is the largest page. The tree of one takes some ten times as much.
	MaxBytes = 4 << 20

	// maxTags bounds the tree, whose nodes cost far more than the three bytes that it
	// takes to write one.
	maxTags = 100_000

	// maxRounds is how often what came out may be read again until it stays as it is.
	// Real pages need two rounds: the second finds nothing to do.
	maxRounds = 6
)

// What a page can be refused for.
var (
	ErrTooLarge = fmt.Errorf("the page is larger than %d MiB or has more than %d tags", MaxBytes>>20, maxTags)
	ErrUnstable = errors.New("the page is built so that each reading of it gives another page")
)

// Removed is how much was taken out.
type Removed struct {
	Elements   int64 // with all that was in them
	Comments   int64 // and processing instructions
	Attributes int64 // left out or cut
	Texts      int64 // that their style hid
	Characters int64 // that have no shape
}

// HTML sanitizes a page of UTF-8 text. Sanitizing what it returns changes nothing. An
// error means that there is no page that could be vouched for.
func HTML(src []byte) ([]byte, Removed, error) {
	var r Removed
	if len(src) > MaxBytes || bytes.Count(src, []byte("<")) > maxTags {
		return nil, r, ErrTooLarge
	}
	// The reader of what comes out parses it anew, and a tree can be such that its text
	// gives another tree (a form in a form, a table in a paragraph). So what comes out
	// is judged again until it is its own text.
	for range maxRounds {
		out, changed, err := once(src, &r)
		if err != nil {
			return nil, r, err
		}
		if bytes.Equal(out, src) && changed == (Removed{}) {
			return out, r, nil
		}
		if len(out) > 2*MaxBytes {
			return nil, r, ErrTooLarge // "&" and the like grow when they are escaped
		}
		src = out
	}
	return nil, r, ErrUnstable
}

// once parses, sanitizes and renders. changed is what this round took out.
func once(src []byte, total *Removed) (out []byte, changed Removed, err error) {
	// With scripting on, as a browser has it: noscript then holds text and goes whole.
	doc, err := html.Parse(bytes.NewReader(src))
	if err != nil {
		return nil, changed, fmt.Errorf("the page can't be read: %w", err)
	}
	c := cleaner{}
	c.children(doc, look{})
	var b bytes.Buffer
	if err := html.Render(&b, doc); err != nil {
		return nil, changed, fmt.Errorf("the page can't be written: %w", err)
	}
	total.Elements += c.Elements
	total.Comments += c.Comments
	total.Attributes += c.Attributes
	total.Texts += c.Texts
	total.Characters += c.Characters
	return b.Bytes(), c.Removed, nil
}

// cleaner takes a tree apart in place.
type cleaner struct{ Removed }

// children sanitizes what is in a node, which has a look.
func (c *cleaner) children(n *html.Node, l look) {
	for child := n.FirstChild; child != nil; {
		next := child.NextSibling
		if !c.keep(child, l) {
			n.RemoveChild(child)
		}
		child = next
	}
}

// keep sanitizes one node and what is in it, and says whether it stays.
func (c *cleaner) keep(n *html.Node, l look) bool {
	switch n.Type {
	case html.TextNode:
		return c.text(n, l)
	case html.ElementNode:
		return c.element(n, l)
	case html.DoctypeNode:
		// Its name and identifiers are text that nobody sees.
		n.Data, n.Attr = "html", nil
		return true
	case html.CommentNode:
		c.Comments++
		return false
	default:
		c.Elements++
		return false
	}
}

func (c *cleaner) text(n *html.Node, l look) bool {
	shown, removed := visible(n.Data)
	c.Characters += removed
	n.Data = shown
	if shown == "" {
		return false
	}
	if l.hidesText() && strings.TrimSpace(shown) != "" {
		c.Texts++
		return false
	}
	return true
}

func (c *cleaner) element(n *html.Node, l look) bool {
	// What is in svg and math has parsing rules of its own, and its own many ways of
	// hiding text (defs, desc, fill="none", annotation).
	if n.Namespace != "" || dropped(n.DataAtom) || n.DataAtom == 0 && !customName(n.Data) {
		c.Elements++
		return false
	}
	if hiddenByAttribute(n) {
		c.Elements++
		return false
	}
	own, hidden := l.of(n)
	if hidden {
		c.Elements++
		return false
	}
	switch n.DataAtom {
	case atom.Plaintext, atom.Xmp, atom.Listing:
		// Their text is raw, and plaintext has no end: pre shows the same.
		n.DataAtom, n.Data = atom.Pre, "pre"
	case atom.Image:
		n.DataAtom, n.Data = atom.Img, "img"
	}
	if own.hidesText() && replaced(n.DataAtom) {
		c.Elements++
		return false
	}
	c.attributes(n)
	c.children(n, own)
	return true
}

// dropped says which elements are never seen, or whose text isn't.
func dropped(a atom.Atom) bool {
	switch a {
	case atom.Script, atom.Noscript, atom.Template,
		// A stylesheet is not read by the reader of the page, and can hold any text.
		// Without it some of what it hid is still there: the package's comment says so.
		atom.Style, atom.Link, atom.Meta, atom.Base, atom.Basefont, atom.Bgsound,
		// Other pages within the page: srcdoc is one in an attribute.
		atom.Iframe, atom.Frame, atom.Frameset, atom.Noframes, atom.Object, atom.Embed, atom.Applet, atom.Noembed,
		// Shown in place of a picture or film, where there is none.
		atom.Audio, atom.Video, atom.Canvas, atom.Source, atom.Track, atom.Param, atom.Area, atom.Map,
		// Not displayed, or only once a script wants it.
		atom.Datalist, atom.Rp, atom.Menuitem, atom.Command, atom.Keygen, atom.Isindex,
		atom.Svg, atom.Math:
		return true
	}
	return false
}

// replaced says which elements show something without having text in them.
func replaced(a atom.Atom) bool {
	return a == atom.Img || a == atom.Input || a == atom.Textarea || a == atom.Select || a == atom.Button
}

// customName says whether an element that HTML does not know is written as a plain
// name: any other text could speak by its tag.
func customName(s string) bool {
	if s == "" || len(s) > maxNameLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
