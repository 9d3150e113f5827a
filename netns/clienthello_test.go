package netns

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

// realHello is the ClientHello that Go's client sends for a name.
func realHello(t testing.TB, name string) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		tls.Client(b, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		b.Close()
	}()
	buf := make([]byte, 16<<10)
	n, err := a.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

type extension struct {
	typ  uint16
	body []byte
}

func sniBody(names ...string) []byte {
	var list []byte
	for _, n := range names {
		list = append(list, 0)
		list = binary.BigEndian.AppendUint16(list, uint16(len(n)))
		list = append(list, n...)
	}
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...)
}

// makeHello builds a ClientHello cut into records of the given size.
func makeHello(record int, exts ...extension) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	var all []byte
	for _, e := range exts {
		all = binary.BigEndian.AppendUint16(all, e.typ)
		all = binary.BigEndian.AppendUint16(all, uint16(len(e.body)))
		all = append(all, e.body...)
	}
	body = binary.BigEndian.AppendUint16(body, uint16(len(all)))
	body = append(body, all...)
	msg := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	var out []byte
	for len(msg) > 0 {
		n := min(record, len(msg))
		out = append(out, 22, 3, 1)
		out = binary.BigEndian.AppendUint16(out, uint16(n))
		out = append(out, msg[:n]...)
		msg = msg[n:]
	}
	return out
}

func TestParseHello(t *testing.T) {
	grease := extension{0x0a0a, nil}
	name := extension{0, sniBody("allowed.example")}
	tests := []struct {
		name string
		b    []byte
		want hello
		err  string
	}{
		{"Go's own", realHello(t, "allowed.example"), hello{sni: "allowed.example"}, ""},
		{"without name", realHello(t, ""), hello{}, ""},
		{"GREASE", makeHello(1<<14, grease, name), hello{sni: "allowed.example"}, ""},
		{"in many records", makeHello(3, grease, name), hello{sni: "allowed.example"}, ""},
		{"ECH", makeHello(1<<14, name, extension{0xfe0d, []byte{0}}), hello{sni: "allowed.example", ech: true}, ""},
		{"two names", makeHello(1<<14, extension{0, sniBody("allowed.example", "evil.example")}), hello{}, "more than one server name"},
		{"the extension twice", makeHello(1<<14, name, extension{0, sniBody("evil.example")}), hello{}, "twice"},
		{"empty name", makeHello(1<<14, extension{0, sniBody("")}), hello{}, "malformed TLS server name"},
		{"empty list", makeHello(1<<14, extension{0, []byte{0, 0}}), hello{}, "malformed TLS server name"},
		{"bytes behind the list", makeHello(1<<14, extension{0, append(sniBody("a.example"), 0)}), hello{}, "malformed TLS server name"},
		{"unknown type of name", makeHello(1<<14, extension{0, []byte{0, 4, 7, 0, 1, 'a'}}), hello{}, "unknown type"},
		{"HTTP", []byte("GET / HTTP/1.1\r\n"), hello{}, "not TLS"},
		{"one byte of it", []byte("G"), hello{}, "not TLS"},
		{"SSLv2", []byte{22, 2, 0, 0, 1}, hello{}, "not TLS"},
		{"empty record", []byte{22, 3, 1, 0, 0}, hello{}, "malformed TLS record"},
		{"long record", []byte{22, 3, 1, 0xff, 0xff}, hello{}, "malformed TLS record"},
		{"another message", []byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, hello{}, "no ClientHello"},
		{"too long", []byte{22, 3, 1, 0, 4, 1, 1, 0, 0}, hello{}, "too long"},
		{"nothing", nil, hello{}, errMore.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseHello(tt.b)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// However the bytes come, the beginning is never judged otherwise than the whole.
func TestParseHelloSlowly(t *testing.T) {
	for _, b := range [][]byte{realHello(t, "allowed.example"), makeHello(5, extension{0, sniBody("allowed.example")})} {
		for i := range b {
			if _, err := parseHello(b[:i]); !errors.Is(err, errMore) {
				t.Fatalf("%d of %d bytes: %v", i, len(b), err)
			}
		}
		if h, err := parseHello(b); err != nil || h.sni != "allowed.example" {
			t.Fatalf("all bytes: %+v %v", h, err)
		}
		if _, err := parseHello(append(bytes.Clone(b), b...)); err != nil {
			t.Fatalf("another record behind it is the relay's affair: %v", err)
		}
	}
}

func FuzzParseHello(f *testing.F) {
	f.Add(realHello(f, "allowed.example"))
	f.Add(makeHello(7, extension{0, sniBody("a", "b")}, extension{0xfe0d, nil}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil && h != (hello{}) {
			t.Errorf("an error and a result: %+v", h)
		}
		if err == nil && len(h.sni) > 0 && !bytes.Contains(joinRecords(b), []byte(h.sni)) {
			t.Errorf("the name %q is not in the input", h.sni)
		}
	})
}

func joinRecords(b []byte) []byte {
	var out []byte
	for len(b) >= 5 {
		n := min(len(b), 5+int(binary.BigEndian.Uint16(b[3:])))
		out, b = append(out, b[5:n]...), b[n:]
	}
	return out
}

func TestJudgeHello(t *testing.T) {
	n := &profiles.Network{Allow: []profiles.NetRule{allow(1, "allowed.example", profiles.ProtocolTLS, "", 443)}}
	tests := []struct {
		name, asked, addr string
		h                 hello
		want              string // "" where it passes
	}{
		{"the name", "allowed.example", "198.18.0.1", hello{sni: "allowed.example"}, ""},
		{"upper case", "allowed.example", "198.18.0.1", hello{sni: "Allowed.EXAMPLE"}, ""},
		{"no name", "allowed.example", "198.18.0.1", hello{}, "without a server name"},
		{"another", "allowed.example", "198.18.0.1", hello{sni: "evil.example"}, "is not allowed.example"},
		{"final dot", "allowed.example", "198.18.0.1", hello{sni: "allowed.example."}, "is not allowed.example"},
		{"NUL", "allowed.example", "198.18.0.1", hello{sni: "allowed.example\x00evil"}, "is not allowed.example"},
		{"Kelvin sign", "k.example", "198.18.0.1", hello{sni: "\u212a.example"}, "is not k.example"},
		{"ECH", "allowed.example", "198.18.0.1", hello{sni: "allowed.example", ech: true}, "ECH"},
		{"by address, no name", "", "8.8.4.4", hello{}, ""},
		{"by address, an allowed name", "", "8.8.4.4", hello{sni: "allowed.example"}, ""},
		{"by address, another name", "", "8.8.4.4", hello{sni: "evil.example"}, "evil.example"},
		{"by address, the address", "", "8.8.4.4", hello{sni: "8.8.4.4"}, ""},
		{"by address, another address", "", "8.8.4.4", hello{sni: "8.8.8.8"}, "is not 8.8.4.4"},
		{"by address, ECH", "", "8.8.4.4", hello{ech: true}, "ECH"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := judgeHello(n, tt.h, tt.asked, netip.MustParseAddr(tt.addr).String(), 443)
			if tt.want == "" && got != "" || tt.want != "" && !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
