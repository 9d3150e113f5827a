package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/agentjail/agentjail/profiles"
)

// nameServer answers every question of type A by the next of some answers, with a
// lifetime of nothing; the last stays.
func nameServer(t *testing.T, answers ...[]string) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var n atomic.Int64
	go func() {
		b := make([]byte, 1500)
		for {
			size, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:size]) != nil {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				i := min(int(n.Add(1)), len(answers)) - 1
				for _, a := range answers[i] {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
					})
				}
			}
			if out, err := m.Pack(); err == nil {
				c.WriteTo(out, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", c.LocalAddr().String())
	}}
}

// TestRebinding: each dial resolves the name and checks every address of the answer, so
// that a name which was fine once opens nothing later.
func TestRebinding(t *testing.T) {
	up := netip.MustParseAddrPort(echo(t))
	n := &profiles.Network{Allow: []profiles.NetRule{
		allow(1, "name.example", profiles.ProtocolTCP, "", up.Port()),
		allow(2, "127.0.0.1", profiles.ProtocolTCP, "", up.Port()), // stands for a public address here
	}}
	for what, second := range map[string][]string{
		"loopback": {"127.0.0.2"}, "private": {"10.0.0.1"}, "metadata": {"169.254.169.254"}, "the good one and another": {"127.0.0.1", "192.168.1.1"}, "unspecified": {"0.0.0.0"},
	} {
		d := newDialer(n, ProxyEnv{}, func(netip.Addr) (bool, error) { return false, nil })
		d.resolver = nameServer(t, []string{"127.0.0.1"}, second)
		// Should the check be missing, nothing leaves the host all the same.
		d.net.Control = func(_, to string, _ syscall.RawConn) error {
			if !netip.MustParseAddrPort(to).Addr().IsLoopback() {
				return fmt.Errorf("the dialler was about to leave for %s", to)
			}
			return nil
		}
		to := target{name: "name.example", port: up.Port(), protocol: profiles.ProtocolTCP}
		c, dialled, err := d.dial(context.Background(), to)
		if err != nil || dialled != up.String() {
			t.Errorf("%s: the first answer: %s %v", what, dialled, err)
			continue
		}
		c.Close()
		if c, dialled, err := d.dial(context.Background(), to); !errors.As(err, new(refusal)) {
			t.Errorf("%s: the second answer was dialled: %s %v", what, dialled, err)
			if c != nil {
				c.Close()
			}
		}
	}
}
