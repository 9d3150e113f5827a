package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// isUDP says whether a planned socket is one of UDP.
func (s SocketPlan) isUDP() bool { return s.Network == "udp4" || s.Network == "udp6" }

// datagramOptions make the kernel tell with each datagram which address it was sent to
// (IP_PKTINFO, ip(7); IPV6_RECVPKTINFO, RFC 3542 section 6.2), and let answers come
// from that address. For IPv4 that needs nothing, since every address is a local one
// here; IPv6 wants an address that an interface has, or IPV6_FREEBIND (Linux 4.15;
// ip6_datagram_send_ctl of net/ipv6/datagram.c).
func datagramOptions(v6 bool) []sockopt {
	if !v6 {
		return []sockopt{{unix.IPPROTO_IP, unix.IP_PKTINFO, 1}}
	}
	return []sockopt{{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1}, {unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1}}
}

// pktinfoSpace is room for the control message of either family.
var pktinfoSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

var errNoPktinfo = errors.New("the kernel did not say which address the datagram was sent to")

// askedAddr takes the destination of a datagram out of its control messages. They are
// the kernel's own.
func askedAddr(oob []byte) (netip.Addr, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, m := range msgs {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(m.Data[8:12])), nil // in_pktinfo.ipi_addr: the header's
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(m.Data[:16])), nil // in6_pktinfo.ipi6_addr
		}
	}
	return netip.Addr{}, errNoPktinfo
}

// answerFrom is the control message that makes a datagram come from an address.
func answerFrom(a netip.Addr) []byte {
	if a.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}

// openICMP opens a raw socket in the current namespace, which wants CAP_NET_RAW over
// it. The gateway holds a socket for each UDP port of the profile, so the kernel takes
// every datagram to that port as delivered; what the profile refuses of it is answered
// as the kernel would have. It only sends: a filter keeps everything else out.
func openICMP(v6 bool) (fd int, err error) {
	domain, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if v6 {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return -1, fmt.Errorf("raw socket: %w", err)
	}
	if v6 {
		f := unix.ICMPv6Filter{}
		for i := range f.Data {
			f.Data[i] = ^uint32(0)
		}
		err = unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, 1, &f) // ICMPV6_FILTER of linux/icmpv6.h
	} else {
		err = unix.SetsockoptInt(fd, unix.SOL_RAW, 1, -1) // ICMP_FILTER, raw(7): a bit for each type
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("setsockopt: %w", err)
	}
	return fd, nil
}

// unreachable makes an ICMP "port unreachable" about a datagram: RFC 792 (type 3, code
// 3), RFC 4443 section 3.1 (type 1, code 4). Of the datagram it holds the headers, by
// which the kernel finds the socket that sent it.
func unreachable(from, to netip.AddrPort, size int) []byte {
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(min(8+size, 1<<16-1)))
	udp = append(udp, 0, 0)
	if to.Addr().Is6() {
		b := []byte{1, 4, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0} // the kernel fills in the checksum: RFC 3542 section 3.1
		b = binary.BigEndian.AppendUint16(b, uint16(min(8+size, 1<<16-1)))
		b = append(b, unix.IPPROTO_UDP, 64)
		b = append(b, from.Addr().AsSlice()...)
		b = append(b, to.Addr().AsSlice()...)
		return append(b, udp...)
	}
	b := []byte{3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(min(28+size, 1<<16-1)))
	b = append(b, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	b = append(b, from.Addr().AsSlice()...)
	b = append(b, to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[18:], checksum(b[8:28]))
	b = append(b, udp...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// refuser sends ICMP messages, one family each; nil where the kernel lacks the family.
type refuser struct{ v4, v6 net.PacketConn }

// refuse tells the sender of a datagram that nobody takes it. It may be gone already,
// or have more errors waiting than it reads: there is nobody else to tell.
func (r *refuser) refuse(from, to netip.AddrPort, size int) {
	c := r.v4
	if to.Addr().Is6() {
		c = r.v6
	}
	if c != nil {
		_, _ = c.WriteTo(unreachable(from, to, size), &net.IPAddr{IP: from.Addr().AsSlice()})
	}
}
