package netns

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/agentjail/agentjail/audit"
)

func sprint(v any) string { return fmt.Sprint(v) }

// packet4 is an IPv4 packet to 8.8.8.8 from port 40000 to port 53.
func packet4(proto byte) []byte {
	b := make([]byte, 28)
	b[0], b[9] = 0x45, proto
	copy(b[12:], []byte{10, 0, 2, 100, 8, 8, 8, 8})
	binary.BigEndian.PutUint16(b[20:], 40000)
	binary.BigEndian.PutUint16(b[22:], 53)
	return b
}

// packet6 has a hop-by-hop and a destination options header before its payload.
func packet6(proto byte) []byte {
	b := make([]byte, 40+8+8+8)
	b[0], b[6] = 0x60, 0
	b[24], b[39] = 0x20, 1
	b[40], b[48] = 60, proto
	binary.BigEndian.PutUint16(b[56:], 40000)
	binary.BigEndian.PutUint16(b[58:], 53)
	return b
}

// nflogMessage wraps a packet as the kernel does.
func nflogMessage(packet []byte) []byte {
	b := make([]byte, nlmsgHeaderLen+nfgenHeaderLen+4+4+4+align4(len(packet)))
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], nfnlSubsysULog<<8|nfulMsgPacket)
	binary.NativeEndian.PutUint16(b[20:], 8) // NFULA_PACKET_HDR
	binary.NativeEndian.PutUint16(b[22:], 1)
	binary.NativeEndian.PutUint16(b[28:], uint16(4+len(packet)))
	binary.NativeEndian.PutUint16(b[30:], nfulaPayload)
	copy(b[32:], packet)
	return b
}

func TestParseNFLog(t *testing.T) {
	fragment := packet4(17)
	fragment[7] = 1
	options := append([]byte{0x46}, packet4(17)[1:20]...)
	options = append(options, 0, 0, 0, 0)
	options = append(options, packet4(17)[20:]...)
	for _, tt := range []struct {
		name   string
		packet []byte
		want   string // network addr port source
	}{
		{"udp", packet4(17), "udp 8.8.8.8 53 40000"},
		{"tcp", packet4(6), "tcp 8.8.8.8 53 40000"},
		{"icmp", packet4(1), "icmp 8.8.8.8 0 0"},
		{"sctp", packet4(132), "ip-proto-132 8.8.8.8 53 40000"},
		{"gre", packet4(47), "ip-proto-47 8.8.8.8 0 0"},
		{"IPv4 options", options, "udp 8.8.8.8 53 40000"},
		{"second fragment", fragment, "udp 8.8.8.8 0 0"},
		{"udp over IPv6", packet6(17), "udp 2000::1 53 40000"},
		{"icmp over IPv6", packet6(58), "icmp 2000::1 0 0"},
		{"cut IPv4", packet4(17)[:19], ""},
		{"cut IPv6", packet6(17)[:39], ""},
		{"cut ports", packet4(17)[:22], "udp 8.8.8.8 0 0"},
		{"cut extension", packet6(17)[:44], "ip-proto-0 2000::1 0 0"},
		{"no IP", []byte{0}, ""},
		{"nothing", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			for _, c := range parseNFLog(nflogMessage(tt.packet)) {
				got += fmt.Sprint(c.Network, " ", c.Addr, " ", c.Port, " ", c.SrcPort)
				if c.Outcome != audit.Blocked || c.Reason == "" {
					t.Errorf("%+v", c)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	two := append(nflogMessage(packet4(17)), nflogMessage(packet4(6))...)
	if got := parseNFLog(two); len(got) != 2 || got[1].Network != "tcp" {
		t.Errorf("two messages in one datagram: %+v", got)
	}
}

func FuzzParseNFLog(f *testing.F) {
	f.Add(nflogMessage(packet4(17)))
	f.Add(nflogMessage(packet6(6)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range parseNFLog(b) {
			if c.Outcome != audit.Blocked || c.Addr == "" || c.Network == "" {
				t.Errorf("%+v", c)
			}
		}
	})
}
