package profiles

import (
	"net/url"
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	for raw, want := range map[string]string{
		"/":                       "/",
		"/v1/messages":            "/v1/messages",
		"/v1/":                    "/v1/",
		"/a%20b":                  "/a b",
		"/caf%C3%A9":              "/café",
		"/@scope%2Fname":          "/@scope%2fname",
		"/@scope%2fname":          "/@scope%2fname",
		"/a:b@c!$&'()*+,;=~-._":   "/a:b@c!$&'()*+,;=~-._",
		"/100%25-off":             "/100%-off",
		"/a;v=1/b":                "/a;v=1/b",
		"/...":                    "/...",
		"/.git/config":            "/.git/config",
		"/%40scope":               "/@scope",
		"/what%3F":                "/what?",
		"":                        "",
		"a":                       "",
		"*":                       "",
		"http://x/":               "",
		"//":                      "",
		"//a":                     "",
		"/a//b":                   "",
		"/a//":                    "",
		"/.":                      "",
		"/a/./b":                  "",
		"/a/../b":                 "",
		"/..":                     "",
		"/a/%2e%2e/b":             "",
		"/a/%2E./b":               "",
		"/a/..;/b":                "",
		"/a/.;x=1/b":              "",
		"/a\\..\\b":               "",
		"/a%5cb":                  "",
		"/%61dmin":                "",
		"/a%7eb":                  "",
		"/a%252fb":                "",
		"/a%25%32%66b":            "",
		"/a%252e%252e/b":          "",
		"/a%00":                   "",
		"/a%0d%0ab":               "",
		"/a%7f":                   "",
		"/a\x00b":                 "",
		"/a b":                    "",
		"/caf\xc3\xa9":            "",
		"/a%ff":                   "",
		"/a%c0%afb":               "", // an overlong "/"
		"/cafe%CC%81":             "", // decomposed
		"/a%":                     "",
		"/a%2":                    "",
		"/a%zz":                   "",
		"/a?b":                    "",
		"/a#b":                    "",
		"/a%u002fb":               "",
		"/\xef\xbc\x8f..\xef\xbc": "",
	} {
		got, err := CanonicalPath(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("CanonicalPath(%q) = %q, %v; want %q", raw, got, err, want)
		}
	}
}

func TestMatchPath(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"/", "/", true},
		{"/", "/a", false},
		{"/v1/messages", "/v1/messages", true},
		{"/v1/messages", "/v1/messages/", false},
		{"/v1/messages", "/V1/messages", false},
		{"/v1/*", "/v1/x", true},
		{"/v1/*", "/v1/", false},
		{"/v1/*", "/v1", false},
		{"/v1/*", "/v1/x/y", false},
		{"/*/b", "/a/b", true},
		{"/a*c", "/abc", true},
		{"/a*c", "/ac", true},
		{"/a*c", "/a/c", false},
		{"/a*b*c", "/aXbXbXc", true},
		{"/a*b*c", "/aXc", false},
		{"/**", "/", true},
		{"/**", "/a/b/c", true},
		{"/a/**", "/a", true},
		{"/a/**", "/a/", true},
		{"/a/**", "/ab", false},
		{"/**/c", "/c", true},
		{"/**/c", "/a/b/c", true},
		{"/**/c", "/a/b/cc", false},
		{"/a/**/b/**/c", "/a/b/x/b/c", true},
		{"/a/**/b/**/c", "/a/x/c", false},
		// What could be a slash is matched by what writes it.
		{"/**", "/a%2fb", false},
		{"/*", "/a%2fb", false},
		{"/@*", "/@a%2fb", false},
		{"/@*%2f*", "/@a%2fb", true},
		{"/@*%2f*", "/@a%2fb%2fc", false},
		{"/@*%2f*", "/@a/b", false},
		{"/a.c", "/abc", false},
		{"/[ab]", "/a", false},
		{"/{a,b}", "/a", false},
		{"/{a,b}", "/{a,b}", true},
	} {
		if got := MatchPath(tt.pattern, tt.path); got != tt.want {
			t.Errorf("MatchPath(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
	// No pattern makes a long path expensive.
	MatchPath("/"+strings.Repeat("**/a*a*b/", 50)+"x", "/"+strings.Repeat("aaaaaaaa/", 4000))
}

// FuzzPath: two spellings never get two verdicts. What net/http's own parser, which is
// what the gateway sends on, makes of a path is the text that was judged; and whatever
// a server may do to a path once more (decode, clean) leaves it as it is.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%20b", "/a/%2e%2e/b", "/@a%2fb", "/a%252fb", "/caf%C3%A9", "//a", "/a;b/..;/c", "/%25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		path, err := CanonicalPath(raw)
		if err != nil {
			return
		}
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			t.Fatalf("%q is judged as %q, and net/url can't read it: %v", raw, path, err)
		}
		if u.Host != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
			t.Fatalf("%q is more than a path to net/url: %#v", raw, u)
		}
		if slash := strings.ReplaceAll(path, encodedSlash, "/"); u.Path != slash {
			t.Fatalf("%q is judged as %q, and net/url reads %q", raw, path, u.Path)
		}
		// The other spelling of the same text, everything encoded that may be.
		var other strings.Builder
		for i := 0; i < len(path); i++ {
			switch c := path[i]; {
			case strings.HasPrefix(path[i:], encodedSlash):
				other.WriteString("%2F")
				i += 2
			case c == '/' || isUnreserved(c):
				other.WriteByte(c)
			default:
				other.WriteString("%" + strings.ToUpper(hexByte(c)))
			}
		}
		if again, err := CanonicalPath(other.String()); err != nil || again != path {
			t.Fatalf("%q is %q, and its other spelling %q is %q (%v)", raw, path, other.String(), again, err)
		}
		for _, seg := range strings.Split(path[1:], "/") {
			if seg == "." || seg == ".." || strings.ContainsAny(seg, "\x00\r\n\\") {
				t.Fatalf("%q came through as %q", raw, path)
			}
		}
	})
}

func hexByte(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}
