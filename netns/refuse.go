package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

// TLS alerts of RFC 8446 section 6: fatal, in a record of TLS 1.2's version, which
// every client reads before anything is agreed.
const (
	alertAccessDenied     = 49
	alertUnrecognizedName = 112
)

func alert(description byte) []byte { return []byte{21, 3, 3, 0, 2, 2, description} }

// explain ends a connection that no rule allows. By its first bytes it finds out in
// which words to say so.
func (g *gateway) explain(c *conn) {
	_ = c.SetReadDeadline(time.Now().Add(refuseTimeout))
	buf := make([]byte, 0, 2048)
	for len(buf) < cap(buf) {
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		h, herr := parseHello(buf)
		if herr == nil {
			c.sni = h.sni
		}
		if err != nil || !errors.Is(herr, errMore) {
			break
		}
	}
	g.report(c, audit.Blocked, c.verdict.Reason)
	switch {
	case len(buf) > 0 && buf[0] == recordHandshake:
		c.say(alert(alertAccessDenied))
	case looksLikeHTTP(buf):
		c.say(forbidden(denial(c.verdict)))
	default:
		reset(c.TCPConn)
	}
}

// refuse ends a connection of an allowed host that does not say what it must.
func (g *gateway) refuse(c *conn, reason string) {
	v := c.verdict
	v.Action, v.Reason = profiles.Deny, reason
	if !c.inbound { // its program may be gone as soon as it knows
		c.who = g.errands.who(c.id, unix.IPPROTO_TCP, remote(c.TCPConn), c.asked, true)
	}
	g.report(c, audit.Blocked, reason)
	switch {
	case len(c.first) > 0 && c.first[0] == recordHandshake:
		c.say(alert(alertUnrecognizedName))
	case looksLikeHTTP(c.first):
		c.say(forbidden(denial(v)))
	default:
		reset(c.TCPConn)
	}
}

// say sends a last word. Closing with unread bytes would make the kernel reset the
// connection, and the word could be lost with it: RFC 9293 section 3.10.4; so what
// the client still sends is read for a moment.
func (c *conn) say(b []byte) {
	_ = c.SetDeadline(time.Now().Add(refuseTimeout))
	if _, err := c.Write(b); err != nil {
		return
	}
	_ = c.CloseWrite()
	_, _ = io.CopyN(io.Discard, c.TCPConn, 64<<10)
	_ = c.Close()
}

func forbidden(sentence string) []byte {
	body := sentence + "\n"
	return fmt.Appendf(nil, "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

// looksLikeHTTP says whether bytes begin like a request line: a method, a space.
func looksLikeHTTP(b []byte) bool {
	method, _, ok := bytes.Cut(b, []byte(" "))
	if !ok || len(method) < 3 || len(method) > 10 {
		return false
	}
	for _, m := range method {
		if m < 'A' || m > 'Z' {
			return false
		}
	}
	return true
}
