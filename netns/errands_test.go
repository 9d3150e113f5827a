package netns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

func TestErrandWire(t *testing.T) {
	ends := endpoints{unix.IPPROTO_UDP, netip.MustParseAddrPort("10.0.2.100:4000"), netip.MustParseAddrPort("198.18.0.1:123")}
	for _, e := range []errand{
		{kind: errandWho, id: 7, answer: true, ends: ends},
		{kind: errandPeer, id: 1 << 63, arg: 4711},
		{kind: errandDial, id: 1, arg: 8080},
		{kind: errandAgent, id: 2},
	} {
		if got, err := parseErrand(e.marshal()); err != nil || got != e {
			t.Errorf("%+v is %+v (%v)", e, got, err)
		}
	}
	good := errand{kind: errandWho, id: 7, ends: ends}.marshal()
	for name, change := range map[string]func(b []byte) []byte{
		"short":        func(b []byte) []byte { return b[:errandLen-1] },
		"long":         func(b []byte) []byte { return append(b, 0) },
		"no kind":      func(b []byte) []byte { b[0] = 0; return b },
		"unknown kind": func(b []byte) []byte { b[0] = 5; return b },
		"no id":        func(b []byte) []byte { clear(b[8:16]); return b },
		"protocol":     func(b []byte) []byte { b[1] = unix.IPPROTO_SCTP; return b },
		"two families": func(b []byte) []byte { b[16] = 0x20; return b },
	} {
		if e, err := parseErrand(change(append([]byte(nil), good...))); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// FuzzParseErrand: what is taken at all is taken as it was meant.
func FuzzParseErrand(f *testing.F) {
	f.Add(errand{kind: errandDial, id: 1, arg: 8080}.marshal())
	f.Add(errand{kind: errandWho, id: 7, ends: endpoints{unix.IPPROTO_TCP, netip.MustParseAddrPort("[::1]:1"), netip.MustParseAddrPort("[::2]:2")}}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseErrand(b)
		if err != nil {
			return
		}
		if again, err := parseErrand(e.marshal()); err != nil || again != e {
			t.Errorf("%+v became %+v (%v)", e, again, err)
		}
	})
}

func TestShare(t *testing.T) {
	now := time.Unix(0, 0)
	s := newShare(0.1, 100*time.Millisecond, now)
	if !s.may(now) {
		t.Error("there is nothing at first")
	}
	s.spend(150 * time.Millisecond)
	for _, tt := range []struct {
		after time.Duration
		may   bool
	}{{0, false}, {400 * time.Millisecond, false}, {600 * time.Millisecond, true}, {time.Hour, true}} {
		if got := s.may(now.Add(tt.after)); got != tt.may {
			t.Errorf("after %v: %v", tt.after, got)
		}
	}
	if s.left != 100*time.Millisecond {
		t.Errorf("an hour saved up %v", s.left)
	}
}

func TestAskers(t *testing.T) {
	a := newAskers()
	if p := a.get(1, false); p.PID != 0 {
		t.Error("nobody was named")
	}
	go a.put(1, audit.Process{PID: 11})
	if p := a.get(1, true); p.PID != 11 {
		t.Error("what is on its way was not waited for")
	}
	if p := a.get(2, true); p.PID != 0 {
		t.Error("who never comes is somebody")
	}
	for id := uint64(10); id < 10+maxAskers; id++ {
		a.put(id, audit.Process{PID: int(id)})
	}
	if p := a.get(1, false); p.PID != 0 {
		t.Error("the oldest one is still there")
	}
	if p := a.get(10, false); p.PID != 10 || len(a.by) != maxAskers {
		t.Errorf("of %d, 10 is %+v", len(a.by), p)
	}
}

// TestKernelSockDiag looks up sockets of this process, by the kernel's own word on
// their inodes.
func TestKernelSockDiag(t *testing.T) {
	fd, err := openSockDiag()
	if err != nil {
		t.Fatal(err)
	}
	d := &sockDiag{f: os.NewFile(uintptr(fd), "sockdiag")}
	defer d.close()
	for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		if !d.works(proto) {
			t.Skipf("the host's kernel lacks sock_diag for protocol %d", proto)
		}
	}
	if d.works(unix.IPPROTO_ICMP + 200) {
		t.Error("a protocol that does not exist can be looked up")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	u, err := net.Dial("udp", "127.0.0.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	tcp := endpoints{unix.IPPROTO_TCP, addrPort(c.LocalAddr()), addrPort(c.RemoteAddr())}
	udp := endpoints{unix.IPPROTO_UDP, addrPort(u.LocalAddr()), addrPort(u.RemoteAddr())}
	for _, tt := range []struct {
		c    net.Conn
		ends endpoints
	}{{c, tcp}, {u, udp}} {
		if got, err := d.inode(tt.ends); err != nil || got != inodeOf(t, tt.c) {
			t.Errorf("%+v has inode %d (%v), want %d", tt.ends, got, err, inodeOf(t, tt.c))
		}
	}
	c.Close()
	if inode, err := d.inode(tcp); err == nil {
		t.Errorf("a closed connection has inode %d", inode)
	}
	// The server's own port is still listened on, which must not pass for the connection.
	none := tcp
	none.local, none.peer = none.peer, netip.MustParseAddrPort("127.0.0.1:1")
	if inode, err := d.inode(none); err == nil {
		t.Errorf("a connection that never was has the listener's inode %d", inode)
	}
}

func addrPort(a net.Addr) netip.AddrPort { return netip.MustParseAddrPort(a.String()) }

func inodeOf(t *testing.T, c net.Conn) uint64 {
	t.Helper()
	rc, err := c.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var link string
	if err := rc.Control(func(fd uintptr) { link, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd))) }); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestParseDiag: an answer that is cut short, or about another socket, is none.
func TestParseDiag(t *testing.T) {
	e := endpoints{unix.IPPROTO_TCP, netip.MustParseAddrPort("10.0.2.100:4000"), netip.MustParseAddrPort("1.2.3.4:443")}
	b := make([]byte, nlmsgHeaderLen+inetDiagMsgLen)
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint32(b[8:], 9)
	m := b[nlmsgHeaderLen:]
	m[0], m[1] = unix.AF_INET, 1
	binary.BigEndian.PutUint16(m[4:], 4000)
	binary.BigEndian.PutUint16(m[6:], 443)
	copy(m[8:], e.local.Addr().AsSlice())
	copy(m[24:], e.peer.Addr().AsSlice())
	binary.NativeEndian.PutUint32(m[68:], 4711)
	if inode, seq, err := parseDiag(b, e); inode != 4711 || seq != 9 || err != nil {
		t.Errorf("%d %d %v", inode, seq, err)
	}
	for n := range b {
		if inode, _, err := parseDiag(b[:n], e); err == nil {
			t.Errorf("%d bytes of it are inode %d", n, inode)
		}
	}
	for name, change := range map[string]func([]byte){
		"another port":     func(m []byte) { m[5]++ },
		"another peer":     func(m []byte) { m[24]++ },
		"a listener":       func(m []byte) { m[1] = tcpListen },
		"without an inode": func(m []byte) { clear(m[68:]) },
	} {
		c := append([]byte(nil), b...)
		change(c[nlmsgHeaderLen:])
		if inode, _, err := parseDiag(c, e); err == nil {
			t.Errorf("%s is inode %d", name, inode)
		}
	}
}

// Errands that were never sent keep no record waiting for long, however many are named.
func TestAskersWaits(t *testing.T) {
	a := newAskers()
	a.waits = newShare(0, 50*time.Millisecond, time.Now())
	begun := time.Now()
	for id := range uint64(100) {
		if p := a.get(id+1, true); p.PID != 0 {
			t.Fatalf("%+v", p)
		}
	}
	if d := time.Since(begun); d < 50*time.Millisecond || d > 10*time.Second { // 100 s without a bound
		t.Errorf("a hundred took %v", d)
	}
}
