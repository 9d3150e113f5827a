package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/agentjail/agentjail/audit"
)

// nflogSnap is how much of a packet the kernel copies: an IPv6 header (40), some
// extension headers, and the ports.
const nflogSnap = 128

// The numbers of linux/netlink.h, linux/netfilter/nfnetlink.h and
// linux/netfilter/nfnetlink_log.h.
const (
	nfnlSubsysULog    = 4
	nfulMsgPacket     = 0
	nfulMsgConfig     = 1
	nfulCfgCmd        = 1
	nfulCfgMode       = 2
	nfulCmdBind       = 1
	nfulCopyPacket    = 2
	nfulaPacketHeader = 1
	nfulaPayload      = 9
	nlmsgHeaderLen    = 16
	nfgenHeaderLen    = 4
)

// parseNFLog reads one datagram of the NFLOG socket, which holds netlink messages
// that hold packets of the agent's making. What it doesn't know it leaves out.
func parseNFLog(b []byte) []refusedPacket {
	var out []refusedPacket
	for len(b) >= nlmsgHeaderLen {
		size := int(binary.NativeEndian.Uint32(b))
		if size < nlmsgHeaderLen || size > len(b) {
			break
		}
		typ := binary.NativeEndian.Uint16(b[4:])
		if typ == nfnlSubsysULog<<8|nfulMsgPacket && size >= nlmsgHeaderLen+nfgenHeaderLen {
			if payload := attribute(b[nlmsgHeaderLen+nfgenHeaderLen:size], nfulaPayload); payload != nil {
				if c, err := parsePacket(payload); err == nil {
					out = append(out, c)
				}
			}
		}
		b = b[min(len(b), align4(size)):]
	}
	return out
}

// attribute finds a netlink attribute.
func attribute(b []byte, want uint16) []byte {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return nil
		}
		// The two upper bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
		if binary.NativeEndian.Uint16(b[2:])&0x3fff == want {
			return b[4:size]
		}
		b = b[min(len(b), align4(size)):]
	}
	return nil
}

func align4(n int) int { return (n + 3) &^ 3 }

var errShortPacket = errors.New("packet is cut short")

// refusedPacket is a packet that the kernel refused: its record, and its ends.
type refusedPacket struct {
	audit.Connect
	from netip.AddrPort
	to   netip.Addr
}

// parsePacket turns an IP packet that was refused into a record.
func parsePacket(b []byte) (refusedPacket, error) {
	c := refusedPacket{Connect: audit.Connect{Outcome: audit.Blocked}}
	var from netip.Addr
	if len(b) < 1 {
		return c, errShortPacket
	}
	var proto byte
	var rest []byte
	switch b[0] >> 4 {
	case 4: // RFC 791
		header := int(b[0]&0xf) * 4
		if header < 20 || len(b) < header {
			return c, errShortPacket
		}
		proto, rest = b[9], b[header:]
		from, c.to = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 { // not the first fragment: no ports in it
			rest = nil
		}
	case 6: // RFC 8200
		if len(b) < 40 {
			return c, errShortPacket
		}
		from, c.to = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		proto, rest = skipExtensions(b[6], b[40:])
	default:
		return c, fmt.Errorf("packet of IP version %d", b[0]>>4)
	}
	c.Addr = c.to.String()
	c.Network = protocolName(proto)
	c.Reason = "no rule allows " + c.Network + " to this address and port"
	switch proto {
	case protoTCP, protoUDP, protoUDPLite, protoSCTP, protoDCCP: // ports come first in each
		if len(rest) >= 4 {
			c.SrcPort = binary.BigEndian.Uint16(rest)
			c.Port = binary.BigEndian.Uint16(rest[2:])
		}
	}
	c.from = netip.AddrPortFrom(from, c.SrcPort)
	return c, nil
}

// skipExtensions walks IPv6's extension headers (RFC 8200 section 4).
func skipExtensions(next byte, b []byte) (byte, []byte) {
	for {
		switch next {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if len(b) < 8 {
				return next, nil
			}
			size := (int(b[1]) + 1) * 8
			if size > len(b) {
				return b[0], nil
			}
			next, b = b[0], b[size:]
		case 44: // fragment
			if len(b) < 8 {
				return next, nil
			}
			if binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				return b[0], nil
			}
			next, b = b[0], b[8:]
		default:
			return next, b
		}
	}
}

// Protocol numbers of IANA's registry.
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoDCCP    = 33
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
)

func protocolName(p byte) string {
	switch p {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMP, protoICMPv6:
		return "icmp"
	}
	return fmt.Sprintf("ip-proto-%d", p)
}
