package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/agentjail/agentjail/profiles/mutate"
)

// HostIPv6 says whether the kernel has IPv6 at all; see LinkPlan.WithoutIPv6.
func HostIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return true
}

// SetUp makes the network of the namespace that the process is in, which must be
// the jail's own: link, addresses, routes, nftables, sockets, in this order. It
// wants CAP_NET_ADMIN, and CAP_NET_BIND_SERVICE for the sockets, over that
// namespace. The sockets come back in the order of LinkPlan.Files, and the caller
// closes its copies once they are handed on.
//
// Nothing is undone on an error: the namespace goes with the jail.
func SetUp(p LinkPlan) ([]*os.File, error) {
	if mutate.Off(mutate.NetNS) {
		return nil, nil // the network is the caller's: nothing of it is ours to change
	}
	if err := setUpLink(p); err != nil {
		return nil, err
	}
	files, err := openSockets(p)
	if err != nil {
		return nil, err
	}
	if err := applyRules(p); err != nil {
		closeAll(files)
		return nil, fmt.Errorf("nftables: %w\nhint: the kernel needs nf_tables with %v; try: modprobe nf_tables nft_log nfnetlink_log nft_chain_nat nft_redir nft_ct", err, p.Needs)
	}
	return files, nil
}

// loIndex is lo's in every namespace: the kernel makes it first (LOOPBACK_IFINDEX,
// include/net/net_namespace.h, which drivers/net/loopback.c insists on).
const loIndex = 1

func setUpLink(p LinkPlan) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // one socket for all of it
	if err != nil {
		return fmt.Errorf("network: open a netlink socket: %w", err)
	}
	defer h.Close()
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: loIndex}}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("network: set lo up: %w", err)
	}
	for _, a := range p.Addresses {
		addr := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			// Nobody else is on lo; without this the address would be tentative,
			// and a bind to it would fail, where duplicate detection is forced on.
			addr.Flags = unix.IFA_F_NODAD
		}
		if err := h.AddrAdd(lo, addr); err != nil {
			return fmt.Errorf("network: add address %s to lo: %w", a, err)
		}
	}
	for _, d := range p.Default {
		src := jailAddr4
		if d.Addr().Is6() {
			src = jailAddr6
		}
		// A route of type local makes an address this host's own (ip-route(8)). In
		// the local table it comes before everything else. Without a source the
		// kernel would take the destination for it, and a connection to an
		// ephemeral port could meet itself.
		r := &netlink.Route{
			LinkIndex: loIndex, Dst: ipNet(d), Src: net.IP(src.AsSlice()),
			Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
		}
		if err := h.RouteAdd(r); err != nil {
			return fmt.Errorf("network: add route local %s: %w", d, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   net.IP(p.Addr().AsSlice()),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}
}

func openSockets(p LinkPlan) ([]*os.File, error) {
	var files []*os.File
	for _, s := range p.Sockets {
		fd, err := openSocket(s, p.Group)
		if err != nil {
			closeAll(files)
			if s.Kind == SocketNFLog {
				return nil, fmt.Errorf("nftables: open the log socket: %w\nhint: modprobe nfnetlink_log", err)
			}
			return nil, fmt.Errorf("network: open socket %s: %w", s.Name, err)
		}
		files = append(files, os.NewFile(uintptr(fd), s.Name))
	}
	return files, nil
}

// backlog is how many connections wait for the gateway to accept them; the kernel
// cuts it to net.core.somaxconn, 4096 since Linux 5.4.
const backlog = 4096

func openSocket(s SocketPlan, group uint16) (fd int, err error) {
	if s.Kind == SocketNFLog {
		return openNFLog(group)
	}
	if s.Kind == SocketDiag {
		return openSockDiag()
	}
	if s.Kind == SocketICMP {
		return openICMP(s.Addr.Is6())
	}
	domain, typ := unix.AF_INET, unix.SOCK_STREAM
	if s.Addr.Is6() {
		domain = unix.AF_INET6
	}
	if s.isUDP() {
		typ = unix.SOCK_DGRAM
	}
	fd, err = unix.Socket(domain, typ|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	sock := fd // the results are overwritten on the way out
	defer func() {
		if err != nil {
			unix.Close(sock)
		}
	}()
	opts := []sockopt{}
	if domain == unix.AF_INET6 {
		v6only := 1
		if s.Network == "tcp" {
			v6only = 0
		}
		opts = append(opts, sockopt{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only})
	}
	if s.Port == dnsPort {
		// Where a rule allows port 53 of some host, a wildcard socket and the
		// resolver's own share the port; the lookup prefers the exact address.
		opts = append(opts, sockopt{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
		if s.isUDP() {
			opts = append(opts, sockopt{unix.SOL_SOCKET, unix.SO_RCVBUF, questionRoom})
		}
	}
	if s.Kind == SocketDatagram {
		opts = append(opts, datagramOptions(s.Addr.Is6())...)
	}
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			return -1, fmt.Errorf("setsockopt: %w", err)
		}
	}
	var sa unix.Sockaddr
	if domain == unix.AF_INET6 {
		sa = &unix.SockaddrInet6{Addr: s.Addr.As16(), Port: int(s.Port)}
	} else {
		sa = &unix.SockaddrInet4{Addr: s.Addr.As4(), Port: int(s.Port)}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return -1, fmt.Errorf("bind %s: %w", netip.AddrPortFrom(s.Addr, s.Port), err)
	}
	if typ == unix.SOCK_STREAM {
		if err := unix.Listen(fd, backlog); err != nil {
			return -1, fmt.Errorf("listen: %w", err)
		}
	}
	return fd, nil
}

// questionRoom is what a socket for questions asks the kernel for. The kernel gives
// twice net.core.rmem_max at most (socket(7)), 425,984 bytes where nobody changed it,
// and counts 832 for a small datagram.
const questionRoom = 1 << 20

// sockopt is a socket option whose value is an integer.
type sockopt struct{ level, name, value int }

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
