package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// The numbers of linux/sock_diag.h, linux/inet_diag.h and net/tcp_states.h; see
// sock_diag(7).
const (
	sockDiagByFamily = 20
	inetDiagReqLen   = 56 // struct inet_diag_req_v2
	inetDiagMsgLen   = 72 // struct inet_diag_msg
	tcpListen        = 10
)

// sockDiag finds a socket of the jail's network by its addresses. Its netlink socket
// was made by PID 1 in the jail's namespace, which is the one that it asks about. One
// socket is looked up at a time; the table is never dumped. No capability is wanted.
type sockDiag struct {
	mu  sync.Mutex
	f   *os.File
	seq uint32
}

// openSockDiag opens the netlink socket in the current namespace.
func openSockDiag() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, err
	}
	// A lookup is answered before its sendto returns; the limit is for a kernel that
	// would not.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (d *sockDiag) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f != nil {
		d.f.Close()
		d.f = nil
	}
}

// endpoints are the two ends of a socket, as the socket itself has them.
type endpoints struct {
	proto       byte // unix.IPPROTO_TCP or unix.IPPROTO_UDP
	local, peer netip.AddrPort
}

var (
	errNoSocket = errors.New("there is no such socket any more")
	errNoDiag   = errors.New("there is no socket to look others up with")
)

// inode is the inode of the jail's socket with these ends.
func (d *sockDiag) inode(e endpoints) (inode uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return 0, errNoDiag
	}
	rc, err := d.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	d.seq++
	cerr := rc.Control(func(fd uintptr) { inode, err = d.ask(int(fd), e) })
	if cerr != nil {
		return 0, cerr
	}
	return inode, err
}

func (d *sockDiag) ask(fd int, e endpoints) (uint64, error) {
	if err := unix.Sendto(fd, diagRequest(e, d.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("ask for a socket: %w", err)
	}
	buf := make([]byte, 1024)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("ask for a socket: %w", err)
		}
		inode, seq, err := parseDiag(buf[:n], e)
		if seq == d.seq { // else what is late of an earlier one
			return inode, err
		}
	}
}

// diagRequest asks for one socket. The kernel takes a UDP socket's ends the other way
// round: udp_dump_one of net/ipv4/udp_diag.c, "src and dst are swapped for historical
// reasons".
func diagRequest(e endpoints, seq uint32) []byte {
	b := make([]byte, nlmsgHeaderLen+inetDiagReqLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], seq)
	r := b[nlmsgHeaderLen:]
	r[0], r[1] = unix.AF_INET, e.proto
	if e.local.Addr().Is6() {
		r[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // in any state
	src, dst := e.local, e.peer
	if e.proto == unix.IPPROTO_UDP {
		src, dst = dst, src
	}
	binary.BigEndian.PutUint16(r[8:], src.Port())
	binary.BigEndian.PutUint16(r[10:], dst.Port())
	copy(r[12:28], src.Addr().AsSlice())
	copy(r[28:44], dst.Addr().AsSlice())
	copy(r[48:56], []byte{255, 255, 255, 255, 255, 255, 255, 255}) // INET_DIAG_NOCOOKIE
	return b
}

// parseDiag reads the answer. Where the connection is gone the kernel's lookup goes on
// to the sockets that listen on its port: such an answer is none.
func parseDiag(b []byte, e endpoints) (inode uint64, seq uint32, err error) {
	if len(b) < nlmsgHeaderLen+4 {
		return 0, 0, errors.New("the kernel's answer is too short")
	}
	seq = binary.NativeEndian.Uint32(b[8:])
	switch binary.NativeEndian.Uint16(b[4:]) {
	case unix.NLMSG_ERROR:
		// ENOENT says both that there is no such socket and that the kernel has no
		// udp_diag or tcp_diag; works tells which.
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[nlmsgHeaderLen:])))
		if errno == unix.ENOENT {
			return 0, seq, errNoSocket
		}
		return 0, seq, errno
	case sockDiagByFamily:
	default:
		return 0, seq, errors.New("the kernel's answer is of another kind")
	}
	m := b[nlmsgHeaderLen:]
	if len(m) < inetDiagMsgLen {
		return 0, seq, errors.New("the kernel's answer is too short")
	}
	local := diagAddr(m[0], m[8:24], binary.BigEndian.Uint16(m[4:]))
	peer := diagAddr(m[0], m[24:40], binary.BigEndian.Uint16(m[6:]))
	same := local.Port() == e.local.Port()
	if e.proto == unix.IPPROTO_TCP {
		same = m[1] != tcpListen && local == e.local && peer == e.peer
	}
	if inode = uint64(binary.NativeEndian.Uint32(m[68:])); !same || inode == 0 {
		return 0, seq, errNoSocket
	}
	return inode, seq, nil
}

// works says whether the kernel can look up sockets of a protocol at all: it then also
// lists those in no state, of which there are none.
func (d *sockDiag) works(proto byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return false
	}
	rc, err := d.f.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	cerr := rc.Control(func(fd uintptr) {
		d.seq++
		none := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		m := diagRequest(endpoints{proto, none, none}, d.seq)
		binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		binary.NativeEndian.PutUint32(m[nlmsgHeaderLen+4:], 0)
		if unix.Sendto(int(fd), m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
			return
		}
		buf := make([]byte, 4096)
		n, _, err := unix.Recvfrom(int(fd), buf, 0)
		// The end of a list holds the error that ended it: netlink_dump_done of
		// net/netlink/af_netlink.c.
		ok = err == nil && n >= nlmsgHeaderLen+4 && binary.NativeEndian.Uint16(buf[4:]) == unix.NLMSG_DONE &&
			binary.NativeEndian.Uint32(buf[nlmsgHeaderLen:]) == 0
	})
	return cerr == nil && ok
}

func diagAddr(family byte, b []byte, port uint16) netip.AddrPort {
	if family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[:4])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), port)
}
