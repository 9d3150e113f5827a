package netns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/agentjail/agentjail/audit"
	"golang.org/x/sys/unix"
)

const (
	maxDNSQuery    = 4096
	dnsIdleTimeout = 10 * time.Second // RFC 7766 section 6.2.3 leaves it to the server
)

// serveDNSPackets answers questions over UDP, one after the other: an answer costs
// less than a goroutine.
func (g *gateway) serveDNSPackets(c *net.UDPConn) {
	buf := make([]byte, maxDNSQuery)
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP error of an asker that has gone
			continue
		}
		ends := endpoints{unix.IPPROTO_UDP, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), local}
		if msg := g.answerDNS(buf[:n], ends); msg != nil {
			// An asker that has gone needs no answer.
			_, _ = c.WriteToUDPAddrPort(msg, from)
		}
	}
}

// serveDNSConn answers questions over TCP (RFC 7766).
func (g *gateway) serveDNSConn(c *conn) {
	ends := endpoints{unix.IPPROTO_TCP, remote(c.TCPConn), c.LocalAddr().(*net.TCPAddr).AddrPort()}
	for {
		if c.SetDeadline(time.Now().Add(dnsIdleTimeout)) != nil {
			return
		}
		var head [2]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(head[:]))
		if size > maxDNSQuery {
			return
		}
		query := make([]byte, size)
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		msg := g.answerDNS(query, ends)
		if msg == nil {
			return
		}
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)); err != nil {
			return
		}
	}
}

// answerDNS answers a question of the program whose socket has these ends. It is named
// before the answer is sent: most programs close the socket at once.
func (g *gateway) answerDNS(query []byte, ends endpoints) []byte {
	who := g.errands.who(g.ids.Add(1), ends.proto, ends.local, ends.peer, true)
	msg, rec, err := g.resolver.answer(query)
	if err != nil {
		g.reports(report{DNS: &audit.DNS{
			RCode: "none", Outcome: audit.Blocked, Reason: "malformed: " + err.Error(),
		}, Who: who})
		return nil
	}
	g.reports(report{DNS: &rec, Who: who})
	return msg
}
