package sanitize

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// body is what is left of a body's content.
func body(t *testing.T, in string) (string, Removed) {
	t.Helper()
	out, removed, err := HTML([]byte("<!DOCTYPE html><body>" + in))
	if err != nil {
		t.Fatalf("%q: %v", in, err)
	}
	s := strings.TrimSuffix(strings.TrimPrefix(string(out), "<!DOCTYPE html><html><head></head><body>"), "</body></html>")
	return s, removed
}

// TestHidden: what hides SECRET in its ways, beside text that everybody sees.
func TestHidden(t *testing.T) {
	const tags = "\U000E0053\U000E0045\U000E0043"
	for _, in := range []string{
		`<!-- SECRET -->`, `<!--[if IE]>SECRET<![endif]-->`, `<?php SECRET ?>`, `<! SECRET >`, `</ SECRET>`,
		`<p hidden>SECRET</p>`, `<p hidden=until-found>SECRET</p>`, `<p HIDDEN="false">SECRET</p>`, `<p popover>SECRET</p>`,
		`<p aria-hidden=true>SECRET</p>`, `<p aria-hidden>SECRET</p>`, `<div hidden><p>a<b>SECRET</b></p></div>`,
		`<input type=hidden value=SECRET>`, `<input type=" HIDDEN " value=SECRET>`, `<dialog>SECRET</dialog>`,
		`<script>SECRET</script>`, `<script type="text/plain">SECRET</script>`, `<style>/* SECRET */</style>`, `<noscript>SECRET</noscript>`, `<noscript><p title="</p>">SECRET</noscript>`,
		`<template>SECRET</template>`, `<template shadowrootmode=open>SECRET</template>`, `<iframe srcdoc="SECRET"></iframe>`, `<iframe>SECRET</iframe>`,
		`<object>SECRET</object>`, `<embed src="SECRET">`, `<video>SECRET</video>`, `<audio>SECRET</audio>`, `<canvas>SECRET</canvas>`, `<noembed>SECRET</noembed>`, `<noframes>SECRET</noframes>`,
		`<datalist><option>SECRET</option></datalist>`, `<svg><text>SECRET</text></svg>`, `<svg><desc>SECRET</desc></svg>`, `<math><annotation>SECRET</annotation></math>`,
		`<svg><foreignObject><p>SECRET</p></foreignObject></svg>`, `<math><mtext><table><mglyph><style><!--</style><img title="--&gt;SECRET">`,
		`<meta name=description content=SECRET>`, `<link title=SECRET>`, `<base href="https://SECRET/">`,
		`<p data-x="SECRET">a</p>`, `<p onclick="SECRET">a</p>`, `<p itemprop="SECRET">a</p>`, `<p class="SECRET">a</p>`, `<p xml:lang="SECRET">a</p>`, `<p style="x:SECRET">a</p>`, `<a href="javascript:SECRET">a</a>`, `<a href="data:text/html,SECRET">a</a>`, `<a href=" JaVaScRiPt:SECRET">a</a>`,
		"<a href=\"java\nscript:SECRET\">a</a>", `<a href="vbscript:SECRET">a</a>`, `<a href="https://SECRET@a.example/">a</a>`, `<img src=x width=1 height=1 alt=SECRET>`, `<img src=x height=0 alt=SECRET>`, `<img srcset=SECRET>`,
		`<p id="a SECRET b">a</p>`, `<SECRET:x>a</SECRET:x>`, `<x-a SECRET>a</x-a>`,

		`<p style="display:none">SECRET</p>`, `<p style="DISPLAY : NONE ! IMPORTANT">SECRET</p>`, `<p style="display:block;display:none">SECRET</p>`, `<p style="display:none!important;display:block">SECRET</p>`,
		`<p style="d\69splay:n\6f ne">SECRET</p>`, `<p style="dis/**/play:x;display:/* a */none">SECRET</p>`, `<p style="content:';display:block';display:none">SECRET</p>`, `<p style="background:url(a;display:block);display:none">SECRET</p>`, `<p style="&#100;isplay:none">SECRET</p>`,
		`<p style="visibility:hidden">SECRET</p>`, `<p style="visibility:collapse"><b>SECRET</b></p>`, `<div style="visibility:hidden"><img src=x alt=SECRET></div>`,
		`<p style="opacity:0">SECRET</p>`, `<p style="opacity:.01">SECRET</p>`, `<p style="opacity:1%">SECRET</p>`, `<p style="opacity:-1">SECRET</p>`, `<p style="filter:blur(1px) opacity(0%)">SECRET</p>`, `<p style="content-visibility:hidden">SECRET</p>`,
		`<p style="font-size:0">SECRET</p>`, `<p style="font-size:1px"><b>SECRET</b></p>`, `<p style="font-size:0.01em">SECRET</p>`, `<p style="font-size:1%">SECRET</p>`, `<p style="font-size:0px"><b style="font-size:9em">SECRET</b></p>`, `<p style="font:bold 0/1 a">SECRET</p>`, `<p style="font-size:.5pt">SECRET</p>`,
		`<p style="width:0;height:0;overflow:hidden">SECRET</p>`, `<p style="height:1px;overflow:hidden">SECRET</p>`, `<p style="max-height:0;overflow-y:clip">SECRET</p>`, `<p style="line-height:0;overflow:hidden">SECRET</p>`,
		`<p style="clip:rect(0,0,0,0);position:absolute">SECRET</p>`, `<p style="clip:rect(1px 1px 1px 1px)">SECRET</p>`, `<p style="clip-path:inset(50%)">SECRET</p>`, `<p style="clip-path:circle(0)">SECRET</p>`, `<p style="clip-path:polygon(0 0, 0 0, 0 0)">SECRET</p>`,
		`<p style="position:absolute;left:-9999px">SECRET</p>`, `<p style="position:fixed;top:-100em">SECRET</p>`, `<p style="position:absolute;left:9999px">SECRET</p>`, `<p style="position:absolute;inset:-200vw 0 0 0">SECRET</p>`, `<p style="text-indent:-9999px">SECRET</p>`, `<p style="text-indent:-100%">SECRET</p>`, `<p style="margin-left:-9999px">SECRET</p>`, `<p style="margin:0 0 0 -1000px">SECRET</p>`,
		`<p style="transform:translateX(-9999px)">SECRET</p>`, `<p style="transform:rotate(1deg) scale(0)">SECRET</p>`, `<p style="transform:scale(1, 0)">SECRET</p>`, `<p style="scale:0">SECRET</p>`, `<p style="translate:-9999px">SECRET</p>`,
		`<p style="color:white;background:white">SECRET</p>`, `<p style="color:#fff;background-color:#fefefe">SECRET</p>`, `<p style="color:snow;background:rgb(255,255,255) url(x)">SECRET</p>`, `<div style="background:#000"><p style="color:rgb(0 0 0)">SECRET</p></div>`, `<p style="color:transparent">SECRET</p>`, `<p style="color:#0000">SECRET</p>`, `<p style="color:rgba(0,0,0,0)">SECRET</p>`, `<p style="color:hsl(0,0%,100%);background:#fff">SECRET</p>`, `<p style="-webkit-text-fill-color:transparent">SECRET</p>`,
		`<p style="` + strings.Repeat("a:b;", 5000) + `display:none">SECRET</p>`,
		"a" + tags + "b", "\u202eTERCES\u202c", `<p title="` + strings.Repeat("x", maxLabel) + `SECRET">a</p>`,
		`<img alt="` + strings.Repeat("\u00e9", maxLabel) + `SECRET">`, `<input value="` + strings.Repeat("x", maxValue) + `SECRET">`, `<a href="https://a.example/` + strings.Repeat("x", maxURL) + `SECRET">a</a>`,
		`<!DOCTYPE html PUBLIC "SECRET" "SECRET">`, `<table><tr hidden><td>SECRET</table>`, `<select hidden><option>SECRET</select>`,
	} {
		got, removed := body(t, "<p>seen</p>"+in)
		if strings.Contains(got, "SECRET") || strings.Contains(got, "\U000E0053") || strings.Contains(got, "\u202e") {
			t.Errorf("%q: %q", in, got)
		}
		if !strings.Contains(got, "<p>seen</p>") {
			t.Errorf("%q: what is seen is gone: %q", in, got)
		}
		if removed == (Removed{}) && !strings.HasPrefix(in, "<!DOCTYPE") { // a second one is not in the tree
			t.Errorf("%q: nothing was counted", in)
		}
	}
}

// TestSeen: what everybody sees stays, as it is.
func TestSeen(t *testing.T) {
	for in, want := range map[string]string{
		`<h1 id="top">A &amp; B</h1><p lang="fr">caf` + "\u00e9" + ` &lt;x&gt;</p>`:                                   "",
		`<a href="/x?a=1&amp;b=2#c" rel="nofollow" title="more">link</a>`:                                             "",
		`<a href="https://a.example/">a</a><a href="mailto:a@b.example">m</a>`:                                        "",
		`<img src="/p.png" alt="a dog" width="300" height="200"/>`:                                                    "",
		`<table><thead><tr><th scope="col">x</th></tr></thead><tbody><tr><td colspan="2">1</td></tr></tbody></table>`: "",
		`<form action="/s" method="post"><label for="q">Q</label><input type="text" name="q" value="v" placeholder="type"/><select name="s"><option value="1" selected="">one</option></select><textarea name="t">x</textarea><button>go</button></form>`: "",
		"<pre>\n\n  indented\n</pre>":                                           "",
		`<details><summary>more</summary>text</details>`:                        "",
		`<x-note>custom</x-note>`:                                               "",
		`<dialog open="">shown</dialog>`:                                        "",
		`<p aria-hidden="false">a</p>`:                                          `<p>a</p>`,
		`<p style="color:red;font-size:12px;opacity:1">a</p>`:                   `<p>a</p>`,
		`<p style="color:white;background:navy">a</p>`:                          `<p>a</p>`,
		`<p style="background:#fff"><b style="color:#000">a</b></p>`:            `<p><b>a</b></p>`,
		`<p style="overflow:hidden;height:100px">a</p>`:                         `<p>a</p>`,
		`<p style="width:0">a</p>`:                                              `<p>a</p>`, // it flows over
		`<p style="position:relative;left:-20px">a</p>`:                         `<p>a</p>`,
		`<p style="left:-9999px">a</p>`:                                         `<p>a</p>`, // not positioned
		`<p style="margin:0 auto;text-indent:-2em">a</p>`:                       `<p>a</p>`,
		`<p style="transform:translate(-50%,-50%) scale(.8)">a</p>`:             `<p>a</p>`,
		`<p style="font:italic bold 12px/30px serif">a</p>`:                     `<p>a</p>`,
		`<p style="font:400 1rem a">a</p>`:                                      `<p>a</p>`,
		`<p style="display:none;display:block">a</p>`:                           `<p>a</p>`,
		`<p style="--x:display:none">a</p>`:                                     `<p>a</p>`,
		`<p style="visibility:hidden">h<b style="visibility:visible">a</b></p>`: `<p><b>a</b></p>`,
		`<p style="font-size:0"><b style="font-size:16px">a</b> </p>`:           `<p><b>a</b> </p>`,
		`<p style="clip-path:inset(10%)">a</p>`:                                 `<p>a</p>`,
		`<p style="clip:rect(0,100px,100px,0)">a</p>`:                           `<p>a</p>`,
		`<xmp><b>shown</b></xmp>`:                                               `<pre>&lt;b&gt;shown&lt;/b&gt;</pre>`,
		`<plaintext>rest`:                                                       `<pre>rest</pre>`,
		`<p title="a` + "\u200b" + `b">c</p>`:                                   `<p title="ab">c</p>`,
		"na\u00adme\u200d":                                                      "name",
		`<p id="a b">c</p>`:                                                     `<p>c</p>`,
	} {
		if want == "" {
			want = in
		}
		if got, _ := body(t, in); got != want {
			t.Errorf("%q:\n got %q\nwant %q", in, got, want)
		}
	}
	if got, n := body(t, `<p>plain</p>`); got != `<p>plain</p>` || n != (Removed{}) {
		t.Errorf("%q %+v", got, n)
	}
}

func TestCounts(t *testing.T) {
	_, got := body(t, `<!--a--><script>b</script><p hidden>c</p><p style="font-size:0" class="x" data-y="z">d</p>e`+"\u200b\u200b")
	if want := (Removed{Elements: 2, Comments: 1, Attributes: 3, Texts: 1, Characters: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want error
	}{
		"long":   {strings.Repeat("x", MaxBytes+1), ErrTooLarge},
		"tags":   {strings.Repeat("<b>", maxTags+1), ErrTooLarge},
		"grows":  {strings.Repeat("&", MaxBytes), ErrTooLarge},
		"nested": {strings.Repeat("<div>", 600), nil},
	} {
		out, _, err := HTML([]byte(tt.in))
		if out != nil || err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %d bytes, %v", name, len(out), err)
		}
	}
}

func TestUTF8(t *testing.T) {
	for _, tt := range []struct{ in, charset, want string }{
		{"caf\u00e9", "", "caf\u00e9"}, {"caf\u00e9", "utf-8", "caf\u00e9"}, {"caf\xe9", "", "caf\u00e9"}, {"caf\xe9", "utf-8", "caf\ufffd"},
		{"caf\xe9", " \"ISO-8859-1\" ", "caf\u00e9"}, {"\x80", "latin1", "\u20ac"}, {"\x92\x9f", "windows-1252", "\u2019\u0178"},
		{"<meta charset='latin1'>\xe9", "", "<meta charset='latin1'>\u00e9"},
		{"<META http-equiv=content-type content='text/html; charset=iso-8859-1'>\xf0", "", "<META http-equiv=content-type content='text/html; charset=iso-8859-1'>\u00f0"},
		{"<meta charset=utf-16le>\u00e9", "", "<meta charset=utf-16le>\u00e9"},
		{"<meta charset=koi8-r>\u00e9", "utf-8", "<meta charset=koi8-r>\u00e9"}, // the header counts
		{"\xef\xbb\xbfcaf\u00e9", "koi8-r", "caf\u00e9"}, {"\xff\xfea\x00\xe9\x00", "utf-8", "a\u00e9"}, {"\xfe\xff\x00a", "", "a"}, {"a\x00b\x00", "utf-16", "ab"},
	} {
		if got, err := UTF8([]byte(tt.in), tt.charset); string(got) != tt.want || err != nil {
			t.Errorf("%q in %q: %q %v, want %q", tt.in, tt.charset, got, err, tt.want)
		}
	}
	for _, charset := range []string{"utf-7", "iso-2022-jp", "shift_jis", "koi8-r", "windows-1251", "x-user-defined", "hz-gb-2312", strings.Repeat("x", 1000)} {
		if got, err := UTF8([]byte("a"), charset); err == nil || len(err.Error()) > 200 {
			t.Errorf("%s: %q %v", clip(charset), got, err)
		}
	}
	if _, err := UTF8([]byte("<meta charset=utf-7>+ADw-"), ""); err == nil {
		t.Error("a page that says it is UTF-7 was read")
	}
}

// forbidden names what must not be in what comes out.
func forbidden(n *html.Node) string {
	switch n.Type {
	case html.CommentNode:
		return "a comment"
	case html.TextNode:
		if s, _ := visible(n.Data); s != n.Data {
			return "a character without a shape"
		}
	case html.ElementNode:
		if dropped(n.DataAtom) || n.Namespace != "" {
			return "the element " + n.Data
		}
		if hiddenByAttribute(n) {
			return "a hidden element"
		}
		for _, a := range n.Attr {
			if v, ok := attribute(a); !ok || v != a.Val || a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "data-") {
				return "the attribute " + a.Key
			}
		}
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if what := forbidden(c); what != "" {
			return what
		}
	}
	return ""
}

// FuzzHTML: whatever comes in, what comes out has nothing forbidden in it when it is
// read again, with scripting or without; and sanitizing it again changes nothing.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{
		"<p>a</p>", "<table><tr><td><form><form>x", "<svg><style><!--</style><img title='--><p hidden>x'>", "<p style='display:none'>x", "<plaintext><script>",
		"<noscript><p title='</noscript><img src=x>'>", "<math><mi><table><mglyph><style>", "<a><table><a>x", "<select><textarea><p>x", "<pre>\n\nx", "<frameset><noframes>x",
		strings.Repeat("<b><i>", 20), "<p><!DOCTYPE a PUBLIC 'x'><table>", "\u202e<p title='\u200b'>", "<image alt=x>", "<isindex prompt=x>", "<template><template>x</template>y", "<a href='java\tscript:x'>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, _, err := HTML(bytes.ToValidUTF8(in, []byte("\ufffd")))
		if err != nil {
			return
		}
		for _, scripting := range []bool{true, false} {
			doc, err := html.ParseWithOptions(bytes.NewReader(out), html.ParseOptionEnableScripting(scripting))
			if err != nil {
				t.Fatalf("%q became %q: %v", in, out, err)
			}
			if what := forbidden(doc); what != "" {
				t.Fatalf("%q became %q, which has %s", in, out, what)
			}
		}
		again, removed, err := HTML(out)
		if err != nil || !bytes.Equal(again, out) || removed != (Removed{}) {
			t.Fatalf("%q became %q, and that %q (%+v, %v)", in, out, again, removed, err)
		}
	})
}

// FuzzStyle: no style makes the reading of it fail or never end, and what declares
// display: none at its end hides.
func FuzzStyle(f *testing.F) {
	for _, s := range []string{"color:red", "a:b;/*", "content:'\\", "x:url(;", "font:12px/1 a", "clip:rect(", "transform:scale(", "d\\69 splay:none", "color:hsl(1e999,2,3)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := &html.Node{Type: html.ElementNode, DataAtom: atom.P, Data: "p", Attr: []html.Attribute{{Key: "style", Val: s}}}
		look{}.of(n)
		if strings.ContainsAny(s, "/'\"\\(") || len(s) > maxStyle-40 {
			return // what may be open at its end
		}
		n.Attr[0].Val = s + ";display:none!important"
		if _, hidden := (look{}).of(n); !hidden {
			t.Fatalf("%q is not hidden", n.Attr[0].Val)
		}
	})
}

// TestNamedColors: the table is whole and in order.
func TestNamedColors(t *testing.T) {
	words := strings.Fields(named)
	if len(words) != 2*148 {
		t.Fatalf("%d names", len(words)/2)
	}
	for i := 0; i < len(words); i += 2 {
		if i > 0 && words[i] <= words[i-2] {
			t.Errorf("%s stands behind %s", words[i], words[i-2])
		}
		if c, ok := parseColor(words[i]); !ok || c.a != 1 {
			t.Errorf("%s: %+v", words[i], c)
		}
	}
	if c, _ := parseColor("rebeccapurple"); c != (color{0x66, 0x33, 0x99, 1}) {
		t.Errorf("%+v", c)
	}
	for _, s := range []string{"", "nocolor", "f0f8ff", "#12345", "rgb(1,2)", "white black", "aqua 00ffff aquamarine"} {
		if c, ok := parseColor(s); ok {
			t.Errorf("%q: %+v", s, c)
		}
	}
}

// BenchmarkHTML is of a page of a quarter of a megabyte.
func BenchmarkHTML(b *testing.B) {
	page := []byte(strings.Repeat(`<div class="row"><a href="/x">link</a><p style="color:red">some text of a page</p></div>`, 3000))
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := HTML(page); err != nil {
			b.Fatal(err)
		}
	}
}
