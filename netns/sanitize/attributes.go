package sanitize

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	// maxNameLength is more than any name of an element, a class or a field has.
	maxNameLength = 64

	// maxLabel is what remains of a text that is seen only by pointing at something or
	// where a picture is missing. Guides to alternative text advise at most some 125
	// characters; instructions to a model are longer.
	maxLabel = 128

	// maxValue is of what stands in a form's field.
	maxValue = 256

	// maxURL is what browsers and servers are agreed on taking.
	maxURL = 2048
)

// attributes keeps what has a meaning for a reader or for somebody who follows a link
// or fills in a form, each within a limit. Everything else goes: data- and on-
// attributes, style (which has been judged), srcset, microdata; class too, in which
// eight words make a sentence.
func (c *cleaner) attributes(n *html.Node) {
	kept := n.Attr[:0]
	seen := map[string]bool{}
	for _, a := range n.Attr {
		value, ok := attribute(a)
		if !ok || seen[a.Key] {
			c.Attributes++
			continue
		}
		seen[a.Key] = true
		if value != a.Val {
			c.Attributes++
		}
		kept = append(kept, html.Attribute{Key: a.Key, Val: value})
	}
	n.Attr = kept
}

func attribute(a html.Attribute) (value string, ok bool) {
	if a.Namespace != "" {
		return "", false
	}
	switch a.Key {
	case "alt", "title", "aria-label", "placeholder", "label", "abbr", "summary":
		value, _ = visible(a.Val)
		value, _ = cut(value, maxLabel)
		return value, true
	case "value":
		value, _ = visible(a.Val)
		value, _ = cut(value, maxValue)
		return value, true
	case "href", "src", "action", "cite", "formaction":
		return a.Val, harmlessURL(a.Val)
	case "id", "name", "for", "headers", "rel", "target", "role", "form",
		"lang", "dir", "type", "method", "scope", "datetime", "colspan", "rowspan", "span", "start", "width", "height",
		"size", "maxlength", "min", "max", "step", "rows", "cols", "enctype", "accept", "autocomplete", "inputmode", "align", "valign":
		return a.Val, word(a.Val)
	case "checked", "disabled", "selected", "readonly", "required", "multiple", "open", "reversed", "ismap", "novalidate":
		return "", true
	}
	return "", false
}

// harmlessURL takes links within a page, relative ones, and those to the web and to
// mail. data: and javascript: have a page or a program in them.
func harmlessURL(s string) bool {
	// Browsers take tabs and line breaks out of a URL before they look at its scheme
	// (WHATWG URL, "basic URL parser"); who wants that hides something.
	if _, n := visible(s); n > 0 || len(s) > maxURL || strings.ContainsAny(s, "\t\n\f\r") {
		return false
	}
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "", "http", "https", "mailto", "tel":
		return u.User == nil
	}
	return false
}

// word takes what has no space in it, and little of it.
func word(s string) bool { return len(s) <= maxNameLength && (s == "" || plainASCII(s)) }

// hiddenByAttribute says whether an element is not shown because an attribute says so.
func hiddenByAttribute(n *html.Node) bool {
	dialogOpen := false
	for _, a := range n.Attr {
		if a.Namespace != "" {
			continue
		}
		value := strings.ToLower(strings.TrimSpace(a.Val))
		switch a.Key {
		case "hidden", "popover": // hidden="until-found" too
			return true
		case "aria-hidden":
			// Shown, but the page itself says that it is not part of what it tells.
			if value != "false" {
				return true
			}
		case "type":
			if n.DataAtom == atom.Input && value == "hidden" {
				return true
			}
		case "width", "height":
			// Pictures that are there to be fetched.
			if (n.DataAtom == atom.Img || n.DataAtom == atom.Image) && (value == "0" || value == "1" || value == "0px" || value == "1px") {
				return true
			}
		case "open":
			dialogOpen = true
		}
	}
	return n.DataAtom == atom.Dialog && !dialogOpen
}
