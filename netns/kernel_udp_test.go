package netns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// udpEcho is a UDP server on the host's loopback; it answers each datagram with what
// answer makes of it.
func udpEcho(t *testing.T, answer func(from netip.AddrPort, b []byte, send func([]byte))) string {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, maxDatagram)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			answer(from, b[:n], func(b []byte) { c.WriteToUDPAddrPort(b, from) })
		}
	}()
	return c.LocalAddr().String()
}

func upperEcho(t *testing.T) string {
	return udpEcho(t, func(_ netip.AddrPort, b []byte, send func([]byte)) { send([]byte(strings.ToUpper(string(b)))) })
}

func TestKernelUDP(t *testing.T) {
	up := upperEcho(t)
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "ntp.example", profiles.ProtocolUDP, up, 123),
		allow(2, "10.20.0.0/16", profiles.ProtocolUDP, up, 5353),
		allow(3, "2001:db8:5::/48", profiles.ProtocolUDP, up, 5353),
		allow(4, "web.example", profiles.ProtocolTCP, echo(t), 123),
		allow(5, "1.1.1.1", profiles.ProtocolUDP, up, 53),
	}})
	opened := func(name, addr string, port uint16, rule string) {
		t.Helper()
		b.wantConnect("the flow to "+name+addr, func(c audit.Connect) bool {
			return c.Network == "udp" && c.Outcome == audit.Allowed && c.Name == name && (addr == "" || c.Addr == addr) && c.Port == port && c.ID != 0 && c.Rule == "test.hcl:"+rule && c.Dialled == up
		})
	}
	// jailUDP has a connected socket: an answer from another address would not come.
	b.want("ok HELLO", "udp", jailHost(b, "ntp.example", 4)+":123")
	opened("ntp.example", "", 123, "1")
	b.want("ok HELLO", "udp", "["+jailHost(b, "ntp.example", 6)+"]:123")
	b.want("ok HELLO", "udp", "10.20.1.1:5353")
	opened("", "10.20.1.1", 5353, "2")
	b.want("ok HELLO", "udp", "[2001:db8:5::9]:5353")
	opened("", "2001:db8:5::9", 5353, "3")
	b.want("ok HELLO", "udp", "1.1.1.1:53") // a rule's own server, beside the jail's resolver
	b.want("ok ", "resolve", "ntp.example")
	b.want("ok big 60000", "udpbig", "10.20.1.1:5353 60000")

	refused := func(to string) {
		t.Helper()
		b.want("ECONNREFUSED", "udp", to)
		a := netip.MustParseAddrPort(to)
		b.wantConnect("the refused datagram to "+to, func(c audit.Connect) bool {
			return c.Network == "udp" && c.Outcome == audit.Blocked && c.Addr == a.Addr().String() && c.Port == a.Port() && c.Reason != ""
		})
	}
	refused("8.8.8.8:123")          // a port with a socket, another address
	refused("[2001:db8::8]:123")    //
	refused("[2001:db8:6::9]:5353") //
	refused("10.0.2.100:123")       // the jail's own address
	refused("198.18.200.1:123")     // stands for no name
	refused("8.8.8.8:443")          // QUIC: no socket, the kernel's own refusal
	refused("10.21.1.1:5353")       //
	b.want("EADDRINUSE", "udpbind", "0.0.0.0:5353")
	b.want("ok", "udpbind", "0.0.0.0:5354")
	web := jailHost(b, "web.example", 4)
	refused(web + ":123") // a TCP rule is not for datagrams
	b.want("ok hello", "tcp", web+":123")
	b.want("EPERM", "raw", "2 17 224.0.0.251 5353") // multicast, on a port that has a socket
}

// jailHost is the pool address of a name.
func jailHost(b *box, name string, version int) string {
	b.t.Helper()
	for _, s := range strings.Fields(strings.TrimPrefix(b.do("resolve", name), "ok ")) {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() == (version == 4) {
			return s
		}
	}
	b.t.Fatalf("%s has no address of IPv%d", name, version)
	return ""
}

// TestKernelUDPAnswers: only the dialled address answers, and one datagram of the agent
// makes no other host send.
func TestKernelUDPAnswers(t *testing.T) {
	third, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	up := udpEcho(t, func(from netip.AddrPort, _ []byte, send func([]byte)) {
		if _, err := third.WriteToUDPAddrPort([]byte("forged"), from); err != nil {
			t.Error(err)
		}
		send([]byte("genuine"))
	})
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{allow(1, "a.example", profiles.ProtocolUDP, up, 123)}})
	b.want("ok genuine", "udp", jailHost(b, "a.example", 4)+":123")
}

// TestKernelUDPRefusedByHost: that nobody listens at the host comes back as such.
func TestKernelUDPRefusedByHost(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	closed := c.LocalAddr().String()
	c.Close()
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{allow(1, "a.example", profiles.ProtocolUDP, closed, 123)}})
	b.want("ECONNREFUSED", "udp", jailHost(b, "a.example", 4)+":123")
	b.sink.wait(t, "the flow's end", func(r audit.Record) bool {
		e, ok := r.(audit.ConnectClosed)
		return ok && e.Port == 123 && strings.Contains(e.Error, "connection refused")
	})
}

// TestKernelUDPDestinations lets the gateway find the address by itself: what a wide
// rule allows is not the host.
func TestKernelUDPDestinations(t *testing.T) {
	up := netip.MustParseAddrPort(upperEcho(t))
	wide := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "0.0.0.0/0", profiles.ProtocolUDP, "", up.Port()),
		allow(2, "127.0.0.1", profiles.ProtocolTCP, "", up.Port()), // another transport names it
		allow(3, "localtest.example", profiles.ProtocolUDP, "", up.Port()),
	}})
	for _, a := range []string{"127.0.0.1", "169.254.169.254", "192.168.0.1"} {
		wide.want("ECONNREFUSED", "udp", fmt.Sprintf("%s:%d", a, up.Port()))
		wide.wantConnect("the refused destination "+a, func(c audit.Connect) bool {
			return c.Network == "udp" && c.Outcome == audit.Blocked && c.Addr == a && strings.Contains(c.Reason, "which no rule names")
		})
	}
	narrow := newBox(t, profiles.Network{Allow: []profiles.NetRule{allow(1, "127.0.0.1", profiles.ProtocolUDP, "", up.Port())}})
	narrow.want("ok HELLO", "udp", up.String())
}

// TestKernelUDPQuotas: flows are counted like connections, and bytes in both directions.
func TestKernelUDPQuotas(t *testing.T) {
	up := upperEcho(t)
	limited := allow(1, "10.1.0.1", profiles.ProtocolUDP, up, 123)
	limited.Limit = &profiles.Quota{Rate: profiles.Rate{Count: 2}, Origin: limited.Origin}
	capped := allow(2, "10.1.0.2", profiles.ProtocolUDP, up, 123)
	capped.Upload = 12 // two datagrams of five
	few := allow(3, "10.1.0.3", profiles.ProtocolUDP, up, 123)
	few.Connections = 1
	down := allow(4, "10.1.0.4", profiles.ProtocolUDP, up, 123)
	down.Download = 7
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{limited, capped, few, down}})
	blocked := func(addr, reason string) {
		t.Helper()
		b.wantConnect("the refusal of "+addr, func(c audit.Connect) bool {
			return c.Outcome == audit.Blocked && c.Addr == addr && strings.Contains(c.Reason, reason)
		})
	}
	b.want("ok HELLO", "udp", "10.1.0.1:123")
	b.want("ok HELLO", "udp", "10.1.0.1:123")
	b.want("ECONNREFUSED", "udp", "10.1.0.1:123")
	blocked("10.1.0.1", "the limit of 2/run flows to 10.1.0.1 is used up")
	b.want("ok HELLO", "udp", "10.1.0.2:123")
	b.want("ok HELLO", "udp", "10.1.0.2:123")
	b.want("ECONNREFUSED", "udp", "10.1.0.2:123")
	b.want("ok HELLO", "udp", "10.1.0.3:123") // its flow stays for a while
	b.want("ECONNREFUSED", "udp", "10.1.0.3:123")
	blocked("10.1.0.3", "there are 1 flows to 10.1.0.3 already")
	b.want("ok HELLO", "udp", "10.1.0.4:123")
	if got := b.do("udpquiet", "10.1.0.4:123"); got != "quiet" {
		t.Errorf("beyond the cap came %q", got)
	}
	for _, what := range []string{"upload", "download", "2/run", "connections"} {
		b.sink.wait(t, "the limit "+what, func(r audit.Record) bool {
			l, ok := r.(audit.LimitHit)
			return ok && l.Limit == what
		})
	}
}

// TestKernelUDPFlows: the table of flows is bounded, the oldest one makes room, and all
// that were opened are closed in the trail.
func TestKernelUDPFlows(t *testing.T) {
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{allow(1, "10.1.0.1", profiles.ProtocolUDP, upperEcho(t), 123)}})
	n := maxFlows + 50
	b.want(fmt.Sprintf("ok %d", n), "udpmany", fmt.Sprintf("10.1.0.1:123 %d", n))
	ended := map[uint64]bool{}
	b.sink.wait(t, "the ends of the flows beyond the table", func(r audit.Record) bool {
		if e, ok := r.(audit.ConnectClosed); ok {
			ended[e.ID] = true
		}
		return len(ended) >= n-maxFlows
	})
	if err := b.sup.Close(); err != nil {
		t.Fatal(err)
	}
	var opened, closed []uint64
	for _, r := range b.sink.all() {
		switch r := r.(type) {
		case audit.Connect:
			opened = append(opened, r.ID)
		case audit.ConnectClosed:
			if r.BytesOut != 5 || r.BytesIn != 5 {
				t.Errorf("%+v", r)
			}
			closed = append(closed, r.ID)
		}
	}
	slices.Sort(opened)
	slices.Sort(closed)
	if len(opened) != n || !slices.Equal(opened, closed) {
		t.Errorf("%d flows opened, %d closed", len(opened), len(closed))
	}
}
