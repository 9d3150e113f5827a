package sanitize

import (
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// The borders between what is seen and what is not.
const (
	leastFont    = 3.0   // pixels; a letter needs five to be one
	leastSide    = 1.0   // pixels, of a box that shows nothing beyond it
	leastOpacity = 0.1   // of 1
	farAway      = 500.0 // pixels that something is moved to where no window reaches
)

// look is how text in an element looks, as far as inline styles say it. These are the
// properties that what is within inherits and can set anew; what can't be undone from
// within hides an element whole.
type look struct {
	invisible bool // visibility
	tiny      bool // font-size
	color     *color
	ground    *color // not inherited, but seen through
}

func (l look) hidesText() bool {
	return l.invisible || l.tiny ||
		l.color != nil && (l.color.a < leastOpacity || l.ground != nil && l.ground.a > 0 && l.color.near(*l.ground))
}

// of is the look of an element within l, and whether the element is hidden whole.
func (l look) of(n *html.Node) (own look, hidden bool) {
	own = l
	for _, a := range n.Attr {
		if a.Key != "style" || a.Namespace != "" {
			continue
		}
		if len(a.Val) > maxStyle {
			return own, true
		}
		p := declarations(a.Val)
		if hides(p) {
			return own, true
		}
		own.set(p)
	}
	return own, false
}

// set takes over what is inherited.
func (l *look) set(p map[string]string) {
	switch p["visibility"] {
	case "hidden", "collapse":
		l.invisible = true
	case "visible", "initial":
		l.invisible = false
	}
	size, ok := p["font-size"]
	if !ok {
		size = fontOf(p["font"])
	}
	if size != "" {
		l.font(size)
	}
	for _, name := range []string{"color", "-webkit-text-fill-color"} {
		if c, ok := parseColor(p[name]); ok {
			l.color = &c
		}
	}
	for _, name := range []string{"background", "background-color"} {
		for _, word := range append([]string{p[name]}, split(p[name], ' ')...) {
			if c, ok := parseColor(word); ok {
				l.ground = &c
			}
		}
	}
}

func (l *look) font(size string) {
	switch size {
	case "xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "xxx-large", "initial":
		l.tiny = false
		return
	}
	px, ok := length(size)
	if !ok {
		return // calc() and the like: as it was
	}
	relative := strings.HasSuffix(size, "%") || strings.HasSuffix(size, "em") && !strings.HasSuffix(size, "rem")
	if strings.HasSuffix(size, "%") {
		px = px / 10 * 16 / 100 // of the font, not of the window
	}
	switch {
	case px < leastFont:
		l.tiny = true
	case !relative: // ten times nothing is nothing
		l.tiny = false
	}
}

// fontOf finds the size in the shorthand "italic bold 12px/1.5 serif".
func fontOf(font string) string {
	for _, word := range strings.Fields(font) {
		word, _, _ = strings.Cut(word, "/")
		if n, err := strconv.ParseFloat(word, 64); err == nil && n >= 100 {
			continue // a weight
		}
		if _, ok := length(word); ok {
			return word
		}
	}
	return ""
}

// hides says whether a style hides an element with all that is in it.
func hides(p map[string]string) bool {
	if p["display"] == "none" || p["content-visibility"] == "hidden" || faint(p["opacity"]) {
		return true
	}
	if args, ok := call(p["filter"], "opacity"); ok && len(args) > 0 && faint(args[0]) {
		return true
	}
	if n, err := strconv.ParseFloat(strings.TrimSuffix(p["zoom"], "%"), 64); err == nil && n < leastOpacity && p["zoom"] != "0" {
		return true // zoom: 0 is as if it were 1 (CSS Viewport Module)
	}
	return noRoom(p) || clipped(p) || moved(p)
}

func faint(opacity string) bool {
	n, err := strconv.ParseFloat(strings.TrimSuffix(opacity, "%"), 64)
	if err != nil {
		return false
	}
	if strings.HasSuffix(opacity, "%") {
		n /= 100
	}
	return n < leastOpacity
}

// noRoom: a box without a side, of which nothing is shown beyond it.
func noRoom(p map[string]string) bool {
	cuts := false
	for _, name := range []string{"overflow", "overflow-x", "overflow-y", "contain"} {
		for _, word := range strings.Fields(p[name]) {
			cuts = cuts || word == "hidden" || word == "clip" || word == "scroll" || word == "auto" || word == "paint" || word == "strict" || word == "content"
		}
	}
	if !cuts {
		return false
	}
	for _, name := range []string{"width", "height", "max-width", "max-height", "inline-size", "block-size", "max-inline-size", "max-block-size", "line-height"} {
		if px, ok := length(p[name]); ok && px <= leastSide {
			return true
		}
	}
	return false
}

func clipped(p map[string]string) bool {
	if args, ok := call(p["clip"], "rect"); ok && len(args) == 4 {
		side := func(i, j int) bool { // rect(top, right, bottom, left)
			a, aok := length(args[i])
			b, bok := length(args[j])
			return aok && bok && b-a <= leastSide
		}
		if side(0, 2) || side(3, 1) {
			return true
		}
	}
	if args, ok := call(p["clip-path"], "inset"); ok {
		for _, a := range args {
			n, err := strconv.ParseFloat(strings.TrimSuffix(a, "%"), 64)
			if err == nil && strings.HasSuffix(a, "%") && n >= 49 {
				return true
			}
		}
	}
	for _, shape := range []string{"circle", "ellipse"} {
		if args, ok := call(p["clip-path"], shape); ok && len(args) > 0 {
			if px, ok := length(args[0]); ok && px <= leastSide {
				return true
			}
		}
	}
	if args, ok := call(p["clip-path"], "polygon"); ok {
		for _, a := range args {
			if px, ok := length(a); !ok || px != 0 {
				return false
			}
		}
		return true
	}
	return false
}

// moved: something that stands where no window reaches, or has been made nothing.
func moved(p map[string]string) bool {
	for _, name := range []string{"text-indent", "margin", "margin-left", "margin-top", "margin-right", "margin-bottom", "margin-inline", "margin-inline-start",
		"left", "top", "right", "bottom", "inset", "inset-inline", "inset-inline-start", "inset-block-start", "translate"} {
		positioned := name == "text-indent" || name == "translate" || strings.HasPrefix(name, "margin") || p["position"] != "" && p["position"] != "static"
		for _, word := range strings.Fields(p[name]) {
			px, ok := length(word)
			if name == "translate" && strings.HasSuffix(word, "%") {
				continue // of the element itself: how far that is, is not known
			}
			if ok && positioned && (px <= -farAway || px >= 4*farAway) {
				return true
			}
		}
	}
	if p["scale"] != "" {
		if n, err := strconv.ParseFloat(strings.Fields(p["scale"])[0], 64); err == nil && n < leastOpacity && n > -leastOpacity {
			return true
		}
	}
	t := p["transform"]
	for _, name := range []string{"translate", "translatex", "translatey", "translate3d"} {
		args, _ := call(t, name)
		for _, a := range args {
			if px, ok := length(a); ok && !strings.HasSuffix(a, "%") && (px <= -farAway || px >= 4*farAway) {
				return true
			}
		}
	}
	for _, name := range []string{"scale", "scalex", "scaley", "scale3d"} {
		args, _ := call(t, name)
		for i, a := range args {
			if n, err := strconv.ParseFloat(a, 64); err == nil && n < leastOpacity && n > -leastOpacity && i < 2 {
				return true
			}
		}
	}
	return false
}
