package netns

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnreachable(t *testing.T) {
	// The sums were checked by hand: RFC 1071's of all of the message is 0.
	b := unreachable(netip.MustParseAddrPort("10.0.2.100:40000"), netip.MustParseAddrPort("198.18.0.1:123"), 48)
	if len(b) != 36 || b[0] != 3 || b[1] != 3 {
		t.Fatalf("%x", b)
	}
	if checksum(b) != 0 || checksum(b[8:28]) != 0 {
		t.Errorf("the checksums are wrong: %x", b)
	}
	if got, want := hex.EncodeToString(b[20:]), "0a000264c61200019c40007b00380000"; got != want {
		t.Errorf("addresses and ports %s, want %s", got, want)
	}
	b = unreachable(netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:123"), 48)
	if len(b) != 56 || b[0] != 1 || b[1] != 4 || b[14] != unix.IPPROTO_UDP {
		t.Errorf("%x", b)
	}
}

func TestChecksum(t *testing.T) {
	// The example of RFC 1071 section 3.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
	if got := checksum([]byte{0x12}); got != ^uint16(0x1200) {
		t.Errorf("odd length: %#x", got)
	}
}

func TestAskedAddr(t *testing.T) {
	for _, s := range []string{"198.18.0.7", "fd61:6a61:696c:1::7"} {
		a := netip.MustParseAddr(s)
		oob := answerFrom(a)
		if a.Is4() {
			// What is sent has the address in ipi_spec_dst, what is received in ipi_addr.
			copy(oob[24:28], oob[20:24]) // behind cmsghdr and ipi_ifindex
		}
		if got, err := askedAddr(oob); err != nil || got != a {
			t.Errorf("%s is %v (%v)", a, got, err)
		}
	}
	if _, err := askedAddr(nil); err == nil {
		t.Error("no control message is an address")
	}
}
