package profiles

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCanonicalHost(t *testing.T) {
	for _, c := range []struct{ in, want string }{ // want "" is a refusal
		{"example.com", "example.com"},
		{"EXAMPLE.Com", "example.com"},
		{"example.com.", "example.com"},
		{"example.com..", ""},
		{"example。com", "example.com"},
		{"example.com。", "example.com"},
		{"ｅxample.com", "example.com"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"bu\u0308cher.example", "xn--bcher-kva.example"},
		{"XN--bcher-KVA.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example.", "xn--bcher-kva.example"},
		{"xn--a.example", ""},
		{"xn--example-.com", ""}, // Punycode of ASCII: a second spelling
		{"straße.example", "xn--strae-oqa.example"},
		{"exa\u00admple.com", "example.com"}, // soft hyphen: UTS 46 drops it
		{"r3---sn-x.example", "r3---sn-x.example"},
		{"localhost", "localhost"},
		{"a.1b", "a.1b"},
		{"1.example", "1.example"},
		{strings.Repeat("a", 63) + ".example", strings.Repeat("a", 63) + ".example"},
		{strings.Repeat("a", 64) + ".example", ""},
		{strings.Repeat("a.", 126) + "b", strings.Repeat("a.", 126) + "b"},
		{strings.Repeat("a.", 127) + "b", ""},
		{"", ""},
		{".", ""},
		{".example.com", ""},
		{"a..b", ""},
		{"-a.example", ""},
		{"a-.example", ""},
		{"under_score.example", ""},
		{"*.example.com", ""},
		{"example.com:443", ""},
		{"user@example.com", ""},
		{"https://example.com", ""},
		{"example.com/x", ""},
		{"example.com\x00.evil.example", ""},
		{"example.com\r\n", ""},
		{"exa mple.com", ""},
		{"example%2ecom", ""},
		{"\xff.example", ""},
		{"exa\u202emple.com", ""},

		{"1.2.3.4", "1.2.3.4"},
		{"1.2.3.4.", "1.2.3.4"},
		{"１.２.３.４", "1.2.3.4"},
		{"127.1", ""},
		{"127.0.1", ""},
		{"2130706433", ""},
		{"0x7f000001", ""},
		{"0X7F.1", ""},
		{"0x7f.0.0.1", ""},
		{"0177.0.0.1", ""},
		{"127.0.0.01", ""},
		{"1.2.3.4.5", ""},
		{"256.1.1.1", ""},
		{"example.0x1f", ""},
		{"example.0x", ""},
		{"example.123", ""},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"0:0:0:0:0:0:0:1", "::1"},
		{"2001:DB8::A", "2001:db8::a"},
		{"::ffff:1.2.3.4", "1.2.3.4"},
		{"::ffff:102:304", "1.2.3.4"},
		{"[::ffff:1.2.3.4]", "1.2.3.4"},
		{"fe80::1%eth0", ""},
		{"[fe80::1%25eth0]", ""},
		{"[1.2.3.4]", ""},
		{"[::1", ""},
		{"::1]", ""},
		{"[[::1]]", ""},
		{"[]", ""},
		{":", ""},
		{"1:2:3", ""},
	} {
		name, addr, err := CanonicalHost(c.in)
		got := name
		if addr.IsValid() {
			got = addr.String()
		}
		if (err == nil) != (c.want != "") || got != c.want {
			t.Errorf("CanonicalHost(%q) = %q, %v, %v; want %q", c.in, name, addr, err, c.want)
		}
	}
}

func TestParseHostPattern(t *testing.T) {
	for _, c := range []struct {
		in   string
		kind HostKind
		want string // the pattern's String; "" is a refusal
		port uint16
	}{
		{"example.com", HostExact, "example.com", 0},
		{"Example.com.:8443", HostExact, "example.com", 8443},
		{"*", HostWildcard, "*", 0},
		{"*:80", HostWildcard, "*", 80},
		{"*.Bücher.example:80", HostWildcard, "*.xn--bcher-kva.example", 80},
		{"*.com", HostWildcard, "*.com", 0},
		{"1.2.3.4:22", HostPrefix, "1.2.3.4", 22},
		{"::1", HostPrefix, "::1", 0},
		{"[::1]:22", HostPrefix, "::1", 22},
		{"[::1]", HostPrefix, "::1", 0},
		{"::ffff:10.0.0.1", HostPrefix, "10.0.0.1", 0},
		{"10.0.0.0/8", HostPrefix, "10.0.0.0/8", 0},
		{"0.0.0.0/0", HostPrefix, "0.0.0.0/0", 0},
		{"::/0", HostPrefix, "::/0", 0},
		{"2001:db8::/32", HostPrefix, "2001:db8::/32", 0},
		{"::ffff:10.0.0.0/104", HostPrefix, "10.0.0.0/8", 0},
		{"::ffff:0:0/95", "", "", 0},
		{"10.0.0.1/8", "", "", 0},
		{"10.0.0.0/33", "", "", 0},
		{"10.0.0.0/08", "", "", 0},
		{"10.0.0.0/8:22", "", "", 0},
		{"10.0/8", "", "", 0},
		{"fe80::%eth0/64", "", "", 0},
		{"[::]/0", "", "", 0},
		{"*.*.example", "", "", 0},
		{"a.*", "", "", 0},
		{"*example.com", "", "", 0},
		{"**.example.com", "", "", 0},
		{"*.", "", "", 0},
		{"*.1.2.3.4", "", "", 0},
		{"*.[::1]", "", "", 0},
		{"example.com:", "", "", 0},
		{"example.com:0", "", "", 0},
		{"example.com:65536", "", "", 0},
		{"example.com:0443", "", "", 0},
		{"example.com:+443", "", "", 0},
		{"example.com:https", "", "", 0},
		{"[::1]22", "", "", 0},
		{"user:pw@example.com", "", "", 0},
		{"https://example.com", "", "", 0},
		{"example.com/x", "", "", 0},
		{" example.com", "", "", 0},
		{"", "", "", 0},
	} {
		p, port, err := ParseHostPattern(c.in)
		if c.want == "" {
			if err == nil {
				t.Errorf("ParseHostPattern(%q) = %v, want an error", c.in, p)
			}
			continue
		}
		if err != nil || p.Kind != c.kind || p.String() != c.want || port != c.port {
			t.Errorf("ParseHostPattern(%q) = %v %q, %d, %v; want %v %q, %d", c.in, p.Kind, p, port, err, c.kind, c.want, c.port)
		}
	}
}

// FuzzCanonicalHost: what is canonical stays as it is, and is nothing that some
// other program could read as another host.
func FuzzCanonicalHost(f *testing.F) {
	for _, s := range []string{"example.com", "BÜCHER.example.", "127.1", "::ffff:1.2.3.4", "[::1]", "xn--bcher-kva", "１.1.1.1", "a。", "*.x", "0x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, addr, err := CanonicalHost(s)
		if err != nil {
			if name != "" || addr.IsValid() {
				t.Fatalf("%q: a value beside the error: %q %v", s, name, addr)
			}
			return
		}
		if (name == "") == !addr.IsValid() {
			t.Fatalf("%q: not exactly one of name and address: %q %v", s, name, addr)
		}
		if addr.IsValid() {
			if addr.Is4In6() || addr.Zone() != "" {
				t.Fatalf("%q: address %v is not canonical", s, addr)
			}
			if _, again, err := CanonicalHost(addr.String()); err != nil || again != addr {
				t.Fatalf("%q: %v becomes %v, %v", s, addr, again, err)
			}
			return
		}
		if again, _, err := CanonicalHost(name); err != nil || again != name {
			t.Fatalf("%q: %q becomes %q, %v", s, name, again, err)
		}
		if len(name) > 253 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.Contains("."+name+".", "..") {
			t.Fatalf("%q: %q is no host name", s, name)
		}
		if _, err := netip.ParseAddr(name); err == nil {
			t.Fatalf("%q: the name %q is an address", s, name)
		}
	})
}
