package netns

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// TestCloseDrains: what the agent sent before its end arrives, by a connection of its own
// and by one from the host; a host that takes nothing is not waited for.
func TestCloseDrains(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // more than waits in a socket
	for name, inbound := range map[string]bool{"its own": false, "from the host": true} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{open: map[net.Conn]bool{}}
			agent, jail := tcpPair(t)
			host, client := tcpPair(t)
			relayed(t, g, jail, host, inbound)
			got := make(chan []byte, 1)
			go func() {
				time.Sleep(20 * time.Millisecond) // it takes it late
				b, _ := io.ReadAll(client)
				got <- b
			}()
			if _, err := agent.Write(sent); err != nil {
				t.Fatal(err)
			}
			agent.Close()
			g.close()
			if b := <-got; !bytes.Equal(b, sent) {
				t.Errorf("%d bytes of %d arrived", len(b), len(sent))
			}
		})
	}
	t.Run("to nobody", func(t *testing.T) {
		g := &gateway{open: map[net.Conn]bool{}}
		agent, jail := tcpPair(t)
		host, _ := tcpPair(t)
		relayed(t, g, jail, host, false)
		go func() { // more than all sockets on the way hold
			for {
				if _, err := agent.Write(sent); err != nil {
					return
				}
			}
		}()
		g.close()
		if n := len(g.open); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// relayed has a connection relayed as the gateway's are.
func relayed(t *testing.T, g *gateway, jail, host *net.TCPConn, inbound bool) {
	t.Helper()
	c, up := jail, host
	if inbound {
		c, up = host, jail
	}
	if !g.track(c) || !g.track(up) {
		t.Fatal("the gateway is closed")
	}
	x := &conn{TCPConn: c, inbound: inbound, splices: make(chan struct{}, 2)}
	x.mayLeave(&g.leaving)
	go func() {
		x.relay(up)
		x.hasLeft()
		for _, c := range []net.Conn{c, up} {
			g.forget(c)
			g.conns.Done()
		}
	}()
}

func tcpPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}
