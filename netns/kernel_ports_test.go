package netns

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/sys/unix"
)

func TestKernelHostPort(t *testing.T) {
	host := netip.MustParseAddrPort(echo(t)).Port()
	denied := netip.MustParseAddrPort(echo(t)).Port()
	low := uint16(443) // nobody listens there on the host
	o := profiles.Origin{File: "test.hcl", Line: 7}
	b := newBox(t, profiles.Network{
		Allow: []profiles.NetRule{allow(1, "1.2.3.4", profiles.ProtocolTCP, echo(t), low, 8443)},
		Deny:  []profiles.NetRule{allow(9, "127.0.0.1", "", "", denied)},
		HostPorts: []profiles.PortRule{
			{Label: "a", Host: host, Jail: host, Origin: o, Limit: &profiles.Quota{Rate: profiles.Rate{Count: 2}, Origin: o}},
			{Label: "b", Host: denied, Jail: denied, Origin: o},
			{Label: "c", Host: low, Jail: low, Origin: o},
		},
	})
	b.want("ok hello", "tcp", fmt.Sprintf("127.0.0.1:%d", host))
	c := b.wantConnect("the connection", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Addr == "127.0.0.1" && c.Port == host && c.Rule == "test.hcl:7" && c.Dialled == fmt.Sprintf("127.0.0.1:%d", host) && c.Direction == ""
	})
	b.sink.wait(t, "its end", func(r audit.Record) bool {
		e, ok := r.(audit.ConnectClosed)
		return ok && e.ID == c.ID && e.BytesOut == 6 && e.BytesIn == 6
	})
	b.want("ok hello", "tcp", "1.2.3.4:443")
	blocked := func(port uint16, reason string) {
		t.Helper()
		b.wantConnect(reason, func(c audit.Connect) bool {
			return c.Outcome != audit.Allowed && c.Addr == "127.0.0.1" && c.Port == port && strings.Contains(c.Reason, reason)
		})
	}
	b.want("ECONNRESET", "tcp", fmt.Sprintf("127.0.0.1:%d", denied))
	blocked(denied, "the profile denies 127.0.0.1")
	if got := b.do("tcp", "127.0.0.1:443"); strings.HasPrefix(got, "ok") { // over the listener that the allow has
		t.Errorf("the host's 443: %s", got)
	}
	blocked(low, "connection refused")
	for _, to := range []string{"10.0.2.100", "127.0.0.2", "[::1]"} { // the stand-in is 127.0.0.1 alone
		b.want("ECONNREFUSED", "tcp", fmt.Sprintf("%s:%d", to, host))
	}
	b.want("EADDRINUSE", "bind", fmt.Sprintf("127.0.0.1:%d", host))
	b.want("ok hello", "tcp", fmt.Sprintf("127.0.0.1:%d", host))
	b.want("ECONNRESET", "tcp", fmt.Sprintf("127.0.0.1:%d", host))
	blocked(host, "the limit of 2/run connections to 127.0.0.1 is used up")
}

// publication is a box that publishes an echo server; dial stands in for PID 1.
func publication(t *testing.T, r profiles.PortRule, dial func(port uint16) (*os.File, error)) *box {
	t.Helper()
	n := profiles.Network{Publish: []profiles.PortRule{r}}
	files, err := ListenPublished(n)
	if err != nil {
		t.Fatal(err)
	}
	return newBox(t, n, func(c *Config) { c.Published, c.DialJail = files, dial })
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return addrPort(l.Addr()).Port()
}

func talk(to uint16) string {
	c, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", to))
	if err != nil {
		return short(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return short(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil {
		return short(err)
	}
	return "ok " + string(b)
}

func TestKernelPublish(t *testing.T) {
	inside := netip.MustParseAddrPort(echo(t))
	r := profiles.PortRule{Label: "x", Host: freePort(t), Jail: 3000, Origin: profiles.Origin{File: "test.hcl", Line: 7}, Connections: 1, Upload: 12}
	b := publication(t, r, func(port uint16) (*os.File, error) {
		if port != 3000 {
			return nil, errors.New("another port")
		}
		c, err := net.Dial("tcp", inside.String())
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.(*net.TCPConn).File()
	})
	_, err := ListenPublished(profiles.Network{Publish: []profiles.PortRule{r}})
	if err == nil || !strings.Contains(err.Error(), "is taken by another program\nhint: ") {
		t.Errorf("a port that is taken: %v", err)
	}
	if got := talk(r.Host); got != "ok hello" {
		t.Errorf("the published port: %s", got)
	}
	c := b.wantConnect("the inbound connection", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Direction == audit.Inbound && c.Port == r.Host && c.Dialled == "127.0.0.1:3000 in the jail" && c.Rule == "test.hcl:7"
	})
	b.sink.wait(t, "its end", func(x audit.Record) bool {
		e, ok := x.(audit.ConnectClosed)
		return ok && e.ID == c.ID && e.Direction == audit.Inbound && e.BytesOut == 5 && e.BytesIn == 5
	})
	held, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", r.Host))
	if err != nil {
		t.Fatal(err)
	}
	held.Write([]byte("hello"))
	if _, err := io.ReadFull(held, make([]byte, 5)); err != nil {
		t.Error(err)
	}
	if got := talk(r.Host); got != "ECONNRESET" && got != "EPIPE" {
		t.Errorf("a second connection at once: %s", got)
	}
	held.Close()
	b.wantConnect("the limit", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && c.Direction == audit.Inbound && strings.Contains(c.Reason, "there are 1 connections")
	})
	b.sink.wait(t, "the held one's end", func(x audit.Record) bool {
		e, ok := x.(audit.ConnectClosed)
		return ok && e.ID != c.ID
	})
	if got := talk(r.Host); strings.HasPrefix(got, "ok") { // 12 bytes may leave the jail in all
		t.Errorf("beyond the cap: %s", got)
	}
	b.sink.wait(t, "the cap", func(x audit.Record) bool {
		l, ok := x.(audit.LimitHit)
		return ok && l.Limit == "upload"
	})
	if err := b.sup.Close(); err != nil {
		t.Fatal(err)
	}
	if got := talk(r.Host); got != "ECONNREFUSED" {
		t.Errorf("after the run: %s", got)
	}
}

// TestKernelPublishNobody: nobody listens in the jail.
func TestKernelPublishNobody(t *testing.T) {
	r := profiles.PortRule{Label: "x", Host: freePort(t), Jail: 3000}
	b := publication(t, r, func(uint16) (*os.File, error) { return nil, unix.ECONNREFUSED })
	if got := talk(r.Host); got != "ECONNRESET" && got != "EPIPE" {
		t.Errorf("%s", got)
	}
	b.wantConnect("the failure", func(c audit.Connect) bool {
		return c.Outcome == audit.Failed && c.Direction == audit.Inbound && strings.Contains(c.Reason, "port 3000 of the jail")
	})
}
