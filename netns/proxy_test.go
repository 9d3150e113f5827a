package netns

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/profiles"
)

func TestProxyFor(t *testing.T) {
	e := ProxyEnv{HTTP: "http://plain:3128", HTTPS: "http://user:pw@secure:3128", No: "internal.example,.corp.example,10.0.0.0/8"}
	all := ProxyEnv{All: "socks5://all:1080", No: "*"}
	for _, tt := range []struct {
		env   ProxyEnv
		proto profiles.Protocol
		host  string
		want  string
	}{
		{e, profiles.ProtocolTLS, "a.example", "secure:3128"},
		{e, profiles.ProtocolHTTP, "a.example", "plain:3128"},
		{e, profiles.ProtocolSSH, "a.example", ""},
		{e, profiles.ProtocolTCP, "a.example", ""},
		{e, profiles.ProtocolTLS, "internal.example", ""},
		{e, profiles.ProtocolTLS, "x.corp.example", ""},
		{e, profiles.ProtocolTLS, "10.1.1.1", ""},
		{e, profiles.ProtocolTLS, "127.0.0.1", ""},
		{ProxyEnv{All: "socks5://all:1080"}, profiles.ProtocolSSH, "a.example", "all:1080"},
		{all, profiles.ProtocolTCP, "a.example", ""},
		{ProxyEnv{}, profiles.ProtocolTLS, "a.example", ""},
	} {
		u, err := tt.env.For(tt.proto, tt.host, 443)
		got := ""
		if u != nil {
			got = u.Host
		}
		if err != nil || got != tt.want {
			t.Errorf("%s %s: %q %v, want %q", tt.proto, tt.host, got, err, tt.want)
		}
	}
	if _, err := (ProxyEnv{All: "http://secret-password@%zz"}).For(profiles.ProtocolTCP, "a", 1); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a malformed setting: %v", err)
	}
}

// TestDialThroughProxy: the name goes to the proxy as it is, with the password, and
// what the server says right behind the proxy's answer is not lost.
func TestDialThroughProxy(t *testing.T) {
	asked := make(chan string, 3)
	at := server(t, func(c *net.TCPConn) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		asked <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		if strings.HasPrefix(r.Host, "refused") {
			io.WriteString(c, "HTTP/1.1 407 No\r\n\r\n")
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early")
	})
	n := &profiles.Network{Allow: []profiles.NetRule{allow(1, "*", profiles.ProtocolTCP, "", 22), allow(2, "0.0.0.0/0", profiles.ProtocolTCP, "", 22)}}
	d := newDialer(n, ProxyEnv{All: "http://user:pw@" + at}, func(netip.Addr) (bool, error) { return false, nil })
	c, dialled, err := d.dial(context.Background(), target{name: "git.example", port: 22, protocol: profiles.ProtocolSSH})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-asked; got != "CONNECT git.example:22 Basic dXNlcjpwdw==" || dialled != "proxy "+at {
		t.Errorf("the proxy was asked %q; dialled %q", got, dialled)
	}
	b := make([]byte, len("SSH-2.0-early"))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "SSH-2.0-early" {
		t.Errorf("the tunnel's first bytes: %q %v", b, err)
	}
	if _, _, err := d.dial(context.Background(), target{name: "refused.example", port: 22}); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("a proxy that refuses: %v", err)
	}
	<-asked
	// By address the proxy is not asked for what may not be dialled.
	_, _, err = d.dial(context.Background(), target{addr: netip.MustParseAddr("169.254.169.254"), port: 22})
	if !errors.As(err, new(refusal)) {
		t.Errorf("metadata through the proxy: %v", err)
	}
	select {
	case got := <-asked:
		t.Errorf("the proxy was asked %q", got)
	default:
	}
}

func TestJudgeRequest(t *testing.T) {
	for _, tt := range []struct {
		head, name string
		port       uint16
		want       string
	}{
		{"GET / HTTP/1.1\r\nHost: web.example", "web.example", 80, ""},
		{"GET / HTTP/1.1\r\nHost: WEB.example:80", "web.example", 80, ""},
		{"OPTIONS * HTTP/1.1\r\nHost: web.example", "web.example", 80, ""},
		{"GET / HTTP/1.1\r\nHost: web.example:8080", "web.example", 8080, ""},
		{"GET / HTTP/1.1\r\nHost: web.example", "web.example", 8080, "another port"},
		{"GET / HTTP/1.1\r\nHost: web.example:81", "web.example", 80, "another port"},
		{"GET / HTTP/1.1\r\nHost: evil.example", "web.example", 80, "is not web.example"},
		{"GET / HTTP/1.1\r\nHost: user@web.example", "web.example", 80, "userinfo"},
		{"GET / HTTP/1.1\r\nHost: 8.8.8.8", "web.example", 80, "is not web.example"},
		{"GET / HTTP/1.1\r\nHost: 8.8.8.8", "", 80, ""},
		{"GET / HTTP/1.1\r\nHost: web.example", "", 80, "is not 8.8.8.8"},
		{"GET / HTTP/1.1\r\nHost: 134744072", "", 80, "ends in a number"},
		{"GET http://evil.example/ HTTP/1.1\r\nHost: web.example", "web.example", 80, "whole URL"},
		{"GET http://web.example/ HTTP/1.1\r\nHost: web.example", "web.example", 80, "whole URL"},
		{"CONNECT web.example:80 HTTP/1.1\r\nHost: web.example", "web.example", 80, "CONNECT"},
		{"GET / HTTP/1.0\r\nX: y", "web.example", 80, "no Host"},
	} {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(tt.head + "\r\n\r\n")))
		if err != nil {
			t.Fatalf("%q: %v", tt.head, err)
		}
		got := judgeRequest(r, tt.name, netip.MustParseAddr("8.8.8.8"), tt.port, "http")
		if tt.want == "" && got != "" || tt.want != "" && !strings.Contains(got, tt.want) {
			t.Errorf("%q: got %q, want %q", tt.head, got, tt.want)
		}
	}
}
