package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// routes asks the kernel what it would do with an address ("ip route get"). It is
// the exact answer to "is this one of the host's own", also for addresses that are
// on no interface. The socket is opened before the gateway is confined, which
// can't open one afterwards.
type routes struct {
	mu  sync.Mutex
	fd  int
	seq uint32
}

func openRoutes() (*routes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a routing socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a routing socket: %w", err)
	}
	return &routes{fd: fd}, nil
}

func (r *routes) close() { unix.Close(r.fd) }

// isHost says whether an address is the host's own: one that the kernel would
// deliver here, or to everybody. An address without a route is not.
func (r *routes) isHost(a netip.Addr) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	if err := unix.Sendto(r.fd, routeQuery(a, r.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(r.fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, err
		}
		if n < nlmsgHeaderLen+8 || binary.NativeEndian.Uint32(buf[8:]) != r.seq {
			continue
		}
		switch binary.NativeEndian.Uint16(buf[4:]) {
		case unix.NLMSG_ERROR:
			// No route to it is no host of ours; the dial will say the same.
			return false, nil
		case unix.RTM_NEWROUTE:
			typ := buf[nlmsgHeaderLen+7] // struct rtmsg, rtm_type: rtnetlink(7)
			return typ == unix.RTN_LOCAL || typ == unix.RTN_BROADCAST ||
				typ == unix.RTN_ANYCAST || typ == unix.RTN_MULTICAST, nil
		}
	}
}

// routeQuery makes an RTM_GETROUTE message with a destination.
func routeQuery(a netip.Addr, seq uint32) []byte {
	ip := a.AsSlice()
	b := make([]byte, nlmsgHeaderLen+12+4+len(ip))
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b[16] = unix.AF_INET
	if a.Is6() {
		b[16] = unix.AF_INET6
	}
	b[17] = byte(len(ip) * 8) // rtm_dst_len
	binary.NativeEndian.PutUint16(b[28:], uint16(4+len(ip)))
	binary.NativeEndian.PutUint16(b[30:], unix.RTA_DST)
	copy(b[32:], ip)
	return b
}
