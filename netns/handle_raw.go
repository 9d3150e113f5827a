package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/agentjail/agentjail/profiles"
	"github.com/agentjail/agentjail/profiles/mutate"
)

// serveTCP relays an opaque connection.
func (g *gateway) serveTCP(c *conn) {
	up, err := g.dialFor(c)
	if err != nil {
		reset(c.TCPConn)
		return
	}
	defer g.hangUp(c, up)
	c.relay(up)
}

// sshBanner is what a client's first line begins with, and a client sends nothing
// before it: RFC 4253 section 4.2.
const sshBanner = "SSH-2.0-"

// serveSSH relays SSH. A client may wait for the server's line before it sends its
// own, so the server's bytes flow from the start; the client's begin to once its
// line is known to be one.
func (g *gateway) serveSSH(c *conn) {
	up, err := g.dialFor(c)
	if err != nil {
		reset(c.TCPConn)
		return
	}
	defer g.hangUp(c, up)
	c.relayAfter(up, func() ([]byte, error) {
		first := make([]byte, len(sshBanner))
		n := 0
		for n < len(first) {
			m, err := c.Read(first[n:])
			n += m
			if !bytes.HasPrefix([]byte(sshBanner), first[:n]) {
				return nil, errNotSSH
			}
			if err != nil {
				return nil, err
			}
		}
		return first, nil
	})
	if errors.Is(c.err, errNotSSH) {
		g.refuse(c, errNotSSH.Error())
	}
}

var errNotSSH = errors.New("the rule wants ssh, and the first bytes are no SSH-2.0 identification")

// serveTLS relays a TLS connection whose ClientHello names the host.
func (g *gateway) serveTLS(c *conn) {
	h, err := c.readHello()
	if err != nil {
		if isTimeout(err) {
			err = fmt.Errorf("no TLS ClientHello came within %v", helloTimeout)
		} else if errors.Is(err, io.EOF) {
			err = errors.New("the connection was closed before its TLS ClientHello was complete")
		}
		g.refuse(c, err.Error())
		return
	}
	c.sni = h.sni
	if reason := judgeHello(&g.network, h, c.name, c.addr.String(), c.port); reason != "" {
		g.refuse(c, reason)
		return
	}
	if g.policy(c).Access(c.name, c.addr, c.port).Plaintext() {
		g.serveIntercepted(c)
		return
	}
	up, err := g.dialFor(c)
	if err != nil {
		reset(c.TCPConn)
		return
	}
	defer g.hangUp(c, up)
	c.relay(up)
}

// readHello reads until the ClientHello is complete and keeps the bytes in first.
func (c *conn) readHello() (hello, error) {
	if err := c.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return hello{}, err
	}
	for {
		// A client that says nothing holds no buffer.
		buf := buffers.Get().(*[]byte)
		n, rerr := readPooled(c.TCPConn, &buf)
		if buf != nil {
			c.first = append(c.first, (*buf)[:n]...)
			buffers.Put(buf)
		}
		h, err := parseHello(c.first)
		switch {
		case err == nil:
			return h, c.SetReadDeadline(noDeadline)
		case !errors.Is(err, errMore):
			return hello{}, err
		case rerr != nil:
			return hello{}, rerr
		case len(c.first) > 2*maxHello: // records of one byte each
			return hello{}, errors.New("the TLS ClientHello is cut into too many records")
		}
	}
}

// judgeHello says why a ClientHello is refused, or nothing.
//
// Encrypted Client Hello is refused whatever the outer name is: the name that
// counts would be inside, and the server, not the name it was reached by, decides
// what that may be. Browsers that send it as GREASE have a switch for it; nothing
// else does by default. A connection by address may leave the name away; where it
// has one, the profile must allow that too.
func judgeHello(n *profiles.Network, h hello, name, addr string, port uint16) string {
	if mutate.Off(mutate.SNI) {
		return ""
	}
	if h.ech {
		return "encrypted client hello (ECH) hides the host's name; turn it off in the client"
	}
	if name != "" {
		switch sni := asciiLower(h.sni); {
		case sni == "":
			return fmt.Sprintf("TLS without a server name (SNI), where %s was asked for", name)
		case sni != name:
			return fmt.Sprintf("TLS server name (SNI) %q is not %s, which was asked for", clip(h.sni), name)
		}
		return ""
	}
	if h.sni == "" {
		return ""
	}
	sni, literal, err := profiles.CanonicalHost(h.sni)
	switch {
	case err != nil:
		return fmt.Sprintf("TLS server name (SNI): %v", err)
	case literal.IsValid() && literal.String() == addr:
		return ""
	case literal.IsValid():
		return fmt.Sprintf("TLS server name (SNI) %s is not %s, which was asked for", literal, addr)
	}
	if v := n.Connect(sni, netip.Addr{}, port); v.Action != profiles.Allow {
		return fmt.Sprintf("TLS server name (SNI) %s: %s", sni, v.Reason)
	}
	return ""
}

// asciiLower lower-cases ASCII only: a server name is ASCII (RFC 6066 section 3),
// and Unicode's folding knows more letters that end up as one.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func clip(s string) string {
	if len(s) > 255 {
		return s[:255]
	}
	return s
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
