package attacks

import (
	"golang.org/x/sys/unix"
)

// sockets are attacks that open sockets of families and protocols that no agent needs.
func sockets() []Attack {
	make := func(id string, line int, class string, stop Stop, family, typ, proto uintptr) Attack {
		return Attack{ID: id, Line: line, What: "open a socket: " + id, Class: class, Without: Plain | Nested, Stopped: []Stop{stop}, Calls: []string{"socket"},
			Try: func(*Target) string { return opening(unix.SYS_SOCKET, family, typ|unix.SOCK_CLOEXEC, proto) }}
	}
	refused, family := by(Seccomp, "EPERM"), by(Seccomp, "EAFNOSUPPORT")
	const passesBy = "it passes by Landlock's rules for TCP"
	return []Attack{
		make("raw-ipv4", 30, "packets of one's own making", refused, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
		make("raw-ipv6", 30, "packets of one's own making", refused, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
		make("ping", 56, "packets of one's own making", refused, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
		make("mptcp", 40, passesBy, by(Seccomp, "EPROTONOSUPPORT"), unix.AF_INET, unix.SOCK_STREAM, 262), // IPPROTO_MPTCP
		make("sctp", 40, passesBy, refused, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
		make("udplite", 40, passesBy, refused, unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
		make("af-packet", 30, "CVE-2020-14386", family, unix.AF_PACKET, unix.SOCK_RAW, 0),
		make("af-packet-high", 30, "a filter that compares 64 bits", family, 1<<32|unix.AF_PACKET, unix.SOCK_RAW, 0),
		make("af-alg", 30, "CVE-2026-31431", family, unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		make("af-vsock", 30, "CVE-2025-21756", family, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
		make("af-key", 30, "a part of the kernel that many of its bugs were in", family, unix.AF_KEY, unix.SOCK_RAW, 2),
		make("af-rxrpc", 30, "CVE-2026-43500", family, unix.AF_RXRPC, unix.SOCK_DGRAM, unix.AF_INET),
		make("af-tipc", 30, "CVE-2022-0435", family, unix.AF_TIPC, unix.SOCK_STREAM, 0),
		make("af-xdp", 30, "packets of one's own making", family, unix.AF_XDP, unix.SOCK_RAW, 0),
		make("netlink-netfilter", 30, "CVE-2024-1086", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
		make("netlink-xfrm", 30, "CVE-2026-43284", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM),
		make("netlink-kobject", 30, "events of the host's devices", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT),
		make("netlink-generic", 30, "a part of the kernel that many of its bugs were in", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC),
		make("netlink-sock-diag", 30, "other programs' connections", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG),
		make("netlink-audit", 30, "the host's audit trail", refused, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
	}
}
