package netns

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// The addresses of the jail. The IPv4 ones are slirp's, which people know from
// containers. The IPv6 ones are of one unique local prefix (RFC 4193). The pools
// stand for names: 198.18.0.0/15 is the benchmarking range (RFC 2544), which no
// host on the Internet has.
var (
	jailAddr4 = netip.MustParseAddr("10.0.2.100")
	jailAddr6 = netip.MustParseAddr("fd61:6a61:696c::100")
	dnsAddr4  = netip.MustParseAddr("10.0.2.3")
	dnsAddr6  = netip.MustParseAddr("fd61:6a61:696c::3")
	pool4     = netip.MustParsePrefix("198.18.0.0/15")
	pool6     = netip.MustParsePrefix("fd61:6a61:696c:1::/64")

	hostLoopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	loopback6 = netip.MustParsePrefix("::1/128")
)

const (
	dnsPort = 53

	// dnsQueues is how many sockets take the questions over UDP. The kernel spreads
	// them by the asker's port (SO_REUSEPORT, socket(7)), and each has room for some 500
	// (net.core.rmem_default, doubled by SO_RCVBUF: see questionRoom). What comes while
	// they are full is lost, and a resolver asks again after seconds: 200 programs that
	// start at once ask 400 questions.
	dnsQueues = 4

	// firstUserPort is where ports begin that a program without
	// CAP_NET_BIND_SERVICE may bind: ip(7), ip_unprivileged_port_start, whose value
	// in a new network namespace is 1024. The agent can't take a socket's place
	// below it.
	firstUserPort = 1024

	// maxDirect bounds the wildcard listeners. SCM_RIGHTS carries at most 253
	// descriptors in a message (unix(7), SCM_MAX_FD); ports beyond the bound go
	// through the redirect.
	maxDirect = 128

	// maxUDP bounds the UDP sockets, of which a port takes two, for the same reason.
	// The profile's own bound is below it, so nothing is ever left out.
	maxUDP = 2 * profiles.MaxUDPPorts

	// nflogGroup is the NFLOG group. The number is of the jail's own namespace.
	nflogGroup = 1
)

// LinkPlan is what SetUp does in the jail's network namespace. It is plain data.
type LinkPlan struct {
	Addresses []netip.Prefix   `json:"addresses"` // put on lo
	Default   []netip.Prefix   `json:"default"`   // routes of type local: every address is this host
	Sockets   []SocketPlan     `json:"sockets"`
	Redirect  []uint16         `json:"redirect"`       // TCP ports that nftables sends to RedirectTo
	Local     []netip.AddrPort `json:"local"`          // of the jail's own addresses, redirected because a rule names them
	To        uint16           `json:"redirect_to"`    // port of the redirect's listener, 0 where there is none
	Group     uint16           `json:"nflog_group"`    //
	Needs     []string         `json:"needs_nftables"` // what the kernel's nftables must be able to do
}

// SocketPlan is one socket that SetUp opens.
type SocketPlan struct {
	Name    string     `json:"name"`
	Kind    SocketKind `json:"kind"`
	Network string     `json:"network"` // "tcp", "tcp4", "udp4" ... as package net has them; "tcp" is dual-stack
	Addr    netip.Addr `json:"addr"`
	Port    uint16     `json:"port"`
}

// SocketKind says who serves a socket.
type SocketKind string

// The kinds of socket.
const (
	SocketDirect   SocketKind = "direct"    // the address asked for is the accepted socket's own
	SocketRedirect SocketKind = "redirect"  // the address asked for is the connection's original one
	SocketDatagram SocketKind = "datagram"  // UDP of one port; each datagram carries the address asked for
	SocketICMP     SocketKind = "icmp"      // to refuse datagrams as the kernel would
	SocketHostPort SocketKind = "host_port" // stands for a port of the host's loopback
	SocketDNS      SocketKind = "dns"
	SocketNFLog    SocketKind = "nflog"
	SocketDiag     SocketKind = "sockdiag" // to find out whose socket one is
)

// PlanLink plans the jail's side of the network for a profile.
func PlanLink(n profiles.Network) LinkPlan {
	if mutate.Off(mutate.NetNS) {
		return LinkPlan{}
	}
	var low, high, datagram, reserved []uint16
	var local []netip.AddrPort
	for _, r := range n.Allow {
		for _, p := range r.Ports {
			if p == 0 {
				continue
			}
			if r.Protocol == profiles.ProtocolUDP {
				datagram = append(datagram, p)
				continue
			}
			if p < firstUserPort {
				low = append(low, p)
			} else {
				high = append(high, p)
			}
			if p >= firstUserPort {
				local = append(local, namedOwn(r, p)...)
			}
		}
	}
	for _, r := range n.HostPorts {
		// A connection to a port that has no stand-in must find no listener of ours.
		if r.Host < firstUserPort {
			reserved = append(reserved, r.Host)
		}
	}
	low, high = unique(low), unique(high)
	if len(low) > maxDirect {
		high = unique(append(high, low[maxDirect:]...))
		low = low[:maxDirect]
	}

	p := LinkPlan{
		Addresses: []netip.Prefix{
			netip.PrefixFrom(jailAddr4, 24), netip.PrefixFrom(dnsAddr4, 32),
			netip.PrefixFrom(jailAddr6, 128), netip.PrefixFrom(dnsAddr6, 128),
		},
		Default:  []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		Redirect: high,
		Local:    unique2(local),
		Group:    nflogGroup,
		Needs:    []string{"nf_tables", "nft_log", "nfnetlink_log"},
	}
	for _, port := range low {
		p.Sockets = append(p.Sockets, SocketPlan{
			Name: fmt.Sprintf("tcp:%d", port), Kind: SocketDirect,
			Network: "tcp", Addr: netip.IPv6Unspecified(), Port: port,
		})
	}
	if len(high) > 0 {
		p.To = redirectPort(append(reserved, low...))
		p.Needs = append(p.Needs, "nft_chain_nat", "nft_redir", "nft_ct")
		p.Sockets = append(p.Sockets, SocketPlan{
			Name: "redirect", Kind: SocketRedirect,
			Network: "tcp", Addr: netip.IPv6Unspecified(), Port: p.To,
		})
	}
	for _, r := range n.HostPorts {
		if !slices.Contains(low, r.Host) { // its listener has the loopback address too
			p.Sockets = append(p.Sockets, SocketPlan{Name: fmt.Sprintf("host:%d", r.Host), Kind: SocketHostPort, Network: "tcp4", Addr: hostLoopback, Port: r.Host})
		}
	}
	p.datagrams(unique(datagram))
	for range dnsQueues {
		p.Sockets = append(p.Sockets, SocketPlan{Name: "dns:udp4", Kind: SocketDNS, Network: "udp4", Addr: dnsAddr4, Port: dnsPort})
	}
	p.Sockets = append(p.Sockets,
		SocketPlan{Name: "dns:tcp4", Kind: SocketDNS, Network: "tcp4", Addr: dnsAddr4, Port: dnsPort},
		SocketPlan{Name: "dns:udp6", Kind: SocketDNS, Network: "udp6", Addr: dnsAddr6, Port: dnsPort},
		SocketPlan{Name: "dns:tcp6", Kind: SocketDNS, Network: "tcp6", Addr: dnsAddr6, Port: dnsPort},
		SocketPlan{Name: "nflog", Kind: SocketNFLog},
		SocketPlan{Name: "sockdiag", Kind: SocketDiag},
	)
	return p
}

// datagrams plans a socket for each UDP port and family, over all addresses. A
// redirect as for TCP would lose the address that was asked for: SO_ORIGINAL_DST is of
// TCP and SCTP alone (getorigdst of net/netfilter/nf_conntrack_proto.c), and
// IP_RECVORIGDSTADDR tells what the header has after the redirect. So the agent can't
// bind a UDP port that a rule names.
func (p *LinkPlan) datagrams(ports []uint16) {
	if len(ports) == 0 {
		return
	}
	ports = ports[:min(len(ports), maxUDP/2)]
	families := []struct {
		suffix string
		any    netip.Addr
	}{{"4", netip.IPv4Unspecified()}, {"6", netip.IPv6Unspecified()}}
	for _, f := range families {
		for _, port := range ports {
			p.Sockets = append(p.Sockets, SocketPlan{Name: fmt.Sprintf("udp%s:%d", f.suffix, port), Kind: SocketDatagram,
				Network: "udp" + f.suffix, Addr: f.any, Port: port})
		}
		p.Sockets = append(p.Sockets, SocketPlan{Name: "icmp" + f.suffix, Kind: SocketICMP, Network: "icmp" + f.suffix, Addr: f.any})
	}
}

// WithoutIPv6 is the same plan for a kernel that has no IPv6 (booted with
// ipv6.disable=1): there is no IPv6 in the jail either then. Where the kernel has
// it, leaving it out would leave a protocol that nobody logs.
func (p LinkPlan) WithoutIPv6() LinkPlan {
	is6 := func(f netip.Prefix) bool { return f.Addr().Is6() }
	p.Addresses = slices.DeleteFunc(slices.Clone(p.Addresses), is6)
	p.Default = slices.DeleteFunc(slices.Clone(p.Default), is6)
	p.Local = slices.DeleteFunc(slices.Clone(p.Local), func(a netip.AddrPort) bool { return a.Addr().Is6() })
	var sockets []SocketPlan
	for _, s := range p.Sockets {
		switch {
		case s.Network == "tcp":
			s.Network, s.Addr = "tcp4", netip.IPv4Unspecified()
		case s.Addr.Is6():
			continue
		}
		sockets = append(sockets, s)
	}
	p.Sockets = sockets
	return p
}

// Files names the descriptors that SetUp returns, in order.
func (p LinkPlan) Files() []string {
	names := make([]string, len(p.Sockets))
	for i, s := range p.Sockets {
		names[i] = s.Name
	}
	return names
}

// direct lists the TCP ports that have a listener of their own.
func (p LinkPlan) direct() []uint16 { return p.portsOf(SocketDirect) }

// datagram lists the UDP ports that have a socket.
func (p LinkPlan) datagram() []uint16 { return p.portsOf(SocketDatagram) }

func (p LinkPlan) portsOf(k SocketKind) []uint16 {
	var ports []uint16
	for _, s := range p.Sockets {
		if s.Kind == k {
			ports = append(ports, s.Port)
		}
	}
	return unique(ports)
}

// ipv6 says whether the plan has an IPv6 half.
func (p LinkPlan) ipv6() bool {
	return slices.ContainsFunc(p.Default, func(f netip.Prefix) bool { return f.Addr().Is6() })
}

// namedOwn lists the jail's own single addresses that a rule names. A connection
// to these is the agent's own affair (its dev server on 127.0.0.1:8080) unless a
// rule asks for exactly that address; a rule over a wider range does not mean it.
func namedOwn(r profiles.NetRule, port uint16) []netip.AddrPort {
	var out []netip.AddrPort
	for _, h := range r.Hosts {
		if h.Kind != profiles.HostPrefix || !h.Prefix.IsSingleIP() {
			continue
		}
		if a := h.Prefix.Addr(); isOwn(a) {
			out = append(out, netip.AddrPortFrom(a, port))
		}
	}
	return out
}

// isOwn says whether an address is the jail's own, where the agent's own servers
// are reached.
func isOwn(a netip.Addr) bool {
	return loopback4.Contains(a) || loopback6.Contains(a) || a == jailAddr4 || a == jailAddr6
}

// redirectPort picks the redirect's listener: the highest port that the agent
// could not bind and that no rule has a listener on.
func redirectPort(low []uint16) uint16 {
	for p := uint16(firstUserPort - 1); ; p-- {
		if !slices.Contains(low, p) {
			return p
		}
	}
}

func unique(ports []uint16) []uint16 {
	slices.Sort(ports)
	return slices.Compact(ports)
}

func unique2(a []netip.AddrPort) []netip.AddrPort {
	slices.SortFunc(a, netip.AddrPort.Compare)
	return slices.Compact(a)
}
