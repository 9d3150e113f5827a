package netns

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
)

// echo is a TCP server on the host's loopback that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	return server(t, func(c *net.TCPConn) {
		io.Copy(c, c)
		c.CloseWrite()
	})
}

func server(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

func tlsServer(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "secure world")
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestKernelTLS(t *testing.T) {
	up := tlsServer(t)
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "allowed.example", profiles.ProtocolTLS, up, 443),
		allow(2, "other.example", profiles.ProtocolTLS, up, 443),
		allow(3, "8.8.4.4", profiles.ProtocolTLS, up, 443),
	}})
	if b.sup.Layers() != nil {
		t.Error("the gateway runs before the first packet")
	}
	b.want("ok secure world", "tls", tlsArg{To: "allowed.example:443", SNI: "allowed.example"})
	if len(b.sup.Layers()) == 0 {
		t.Error("the gateway reported no layers")
	}
	c := b.wantConnect("the allowed connection", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Name == "allowed.example" && c.SNI == "allowed.example" &&
			c.Rule == "test.hcl:1" && c.Dialled == up && c.Protocol == "tls" && c.Port == 443
	})
	b.sink.wait(t, "its end", func(r audit.Record) bool {
		e, ok := r.(audit.ConnectClosed)
		return ok && e.ID == c.ID && e.BytesIn > 100 && e.BytesOut > 100
	})

	b.want("remote error: tls: unrecognized name", "tls", tlsArg{To: "allowed.example:443", SNI: "other.example"})
	b.wantConnect("the wrong SNI", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && c.SNI == "other.example" && strings.Contains(c.Reason, "is not allowed.example")
	})
	b.want("remote error: tls: unrecognized name", "tls", tlsArg{To: "allowed.example:443"})
	b.want("ok secure world", "tls", tlsArg{To: "ALLOWED.example.:443", SNI: "Allowed.Example"})
	b.want("NXDOMAIN", "tls", tlsArg{To: "refused.example:443", SNI: "allowed.example"})
	b.sink.wait(t, "the refused name", func(r audit.Record) bool {
		d, ok := r.(audit.DNS)
		return ok && d.Name == "refused.example" && d.Outcome == audit.Blocked && d.RCode == "NXDOMAIN" && d.Reason != ""
	})
	// By address: refused, whatever is said there.
	b.want("remote error: tls: access denied", "tls", tlsArg{To: "8.8.8.8:443", SNI: "allowed.example"})
	b.wantConnect("the connection by address", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && c.Addr == "8.8.8.8" && c.SNI == "allowed.example"
	})
	b.want("remote error: tls: access denied", "tls", tlsArg{To: "[2001:4860:4860::8888]:443", SNI: "allowed.example"})
	b.want("remote error: tls: access denied", "tls", tlsArg{To: "169.254.169.254:443"})
	b.want("remote error: tls: access denied", "tls", tlsArg{To: "127.0.0.1:443", SNI: "allowed.example"})
	b.want("remote error: tls: access denied", "tls", tlsArg{To: "198.18.77.77:443", SNI: "allowed.example"})
	// A rule for an address: no SNI is fine, a foreign one is not.
	b.want("ok secure world", "tls", tlsArg{To: "8.8.4.4:443"})
	b.want("ok secure world", "tls", tlsArg{To: "8.8.4.4:443", SNI: "other.example"})
	b.want("remote error: tls: unrecognized name", "tls", tlsArg{To: "8.8.4.4:443", SNI: "evil.example"})
	// Not TLS at all.
	b.want("ECONNRESET", "send", "allowed.example:443 SSH-2.0-x\r\n")
	b.want("HTTP/1.1 403", "send", "8.8.8.8:443 GET / HTTP/1.1\r\n\r\n")
}

func TestKernelNames(t *testing.T) {
	b := newBox(t, profiles.Network{
		Allow: []profiles.NetRule{allow(1, "*.packages.example", profiles.ProtocolTLS, "127.0.0.1:1", 443)},
		Deny:  []profiles.NetRule{allow(2, "evil.packages.example", "", "")},
	})
	a := b.want("ok 198.18.0.1 fd61:6a61:696c:1::1", "resolve", "a.packages.example")
	b.want("ok 198.18.0.2", "resolve", "b.packages.example")
	if again := b.do("resolve", "A.packages.example."); again != a {
		t.Errorf("the name's address changed: %s, then %s", a, again)
	}
	b.want("NXDOMAIN", "resolve", "packages.example")
	b.want("NXDOMAIN", "resolve", "evil.packages.example")
	if got := b.do("resolve", "foo.localhost"); !strings.Contains(got, "127.0.0.1") || !strings.Contains(got, "::1") {
		t.Errorf("foo.localhost: %s", got)
	}
}

func TestKernelHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			b := make([]byte, 5)
			io.ReadFull(rw, b)
			c.Write(append([]byte("socket "), b...))
			return
		}
		io.WriteString(w, "plain "+r.Host+r.URL.Path+" "+r.Header.Get("X-Forwarded-For"))
	}))
	t.Cleanup(s.Close)
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "web.example", profiles.ProtocolHTTP, s.Listener.Addr().String(), 80, 8080),
	}})
	b.want("200 plain web.example/x ", "http", "http://web.example/x")
	b.want("200 plain web.example:8080/x ", "http", "http://web.example:8080/x")
	got := b.want("403 agentjail: ", "http", "http://web.example/x other.example")
	if !strings.Contains(got, "test.hcl:1") {
		t.Errorf("the refusal names no rule: %s", got)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"absolute form", "GET http://other.example/ HTTP/1.1\r\nHost: web.example\r\n\r\n", "HTTP/1.1 403"},
		{"CONNECT", "CONNECT other.example:443 HTTP/1.1\r\nHost: web.example\r\n\r\n", "HTTP/1.1 403"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: web.example\r\nHost: other.example\r\n\r\n", "HTTP/1.1 400"},
		{"no host", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 403"},
		{"no HTTP", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 400"},
		{"other port", "GET / HTTP/1.1\r\nHost: web.example:81\r\n\r\n", "HTTP/1.1 403"},
	} {
		if got := b.do("send", "web.example:80 "+tt.text); !strings.HasPrefix(got, tt.want) && !strings.HasPrefix(got, strings.Replace(tt.want, "1.1", "1.0", 1)) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	b.want("ok socket frame", "upgrade", "web.example:80")
	// The second request of a connection is judged like the first.
	got = b.do("send", "web.example:80 GET /a HTTP/1.1\r\nHost: web.example\r\n\r\nGET /b HTTP/1.1\r\nHost: other.example\r\n\r\n")
	if !strings.Contains(got, "plain web.example/a") || !strings.Contains(got, "403 Forbidden") || strings.Contains(got, "/b") {
		t.Errorf("pipelined: %q", got)
	}
	b.wantConnect("what was no request", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && strings.Contains(c.Reason, "no request")
	})
}

func TestKernelSSH(t *testing.T) {
	up := server(t, func(c *net.TCPConn) { // speaks first, as servers do
		io.WriteString(c, "SSH-2.0-server\r\n")
		io.Copy(c, c)
	})
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "git.example", profiles.ProtocolSSH, up, 22),
	}})
	got := b.do("ssh", "git.example:22")
	if got != "ok SSH-2.0-server\r\nSSH-2.0-client\r\n" {
		t.Errorf("ssh: %q", got)
	}
	got = b.do("send", "git.example:22 GET / HTTP/1.1\r\n\r\n")
	if strings.Contains(got, "GET") {
		t.Errorf("what is no ssh went through: %q", got)
	}
	b.wantConnect("what was no ssh", func(c audit.Connect) bool {
		return c.Outcome == audit.Blocked && strings.Contains(c.Reason, "ssh")
	})
}

func TestKernelRefusals(t *testing.T) {
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "allowed.example", profiles.ProtocolTCP, echo(t), 443, 8443),
	}})
	blocked := func(network, addr string, port uint16) {
		t.Helper()
		b.wantConnect(network+" to "+addr, func(c audit.Connect) bool {
			return c.Outcome == audit.Blocked && c.Network == network && c.Addr == addr && c.Port == port
		})
	}
	b.want("ECONNREFUSED", "tcp", "8.8.8.8:80")
	blocked("tcp", "8.8.8.8", 80)
	b.want("ECONNREFUSED", "tcp", "169.254.169.254:80")
	blocked("tcp", "169.254.169.254", 80)
	b.want("ECONNREFUSED", "tcp", "[2001:db8::1]:25")
	blocked("tcp", "2001:db8::1", 25)
	b.want("ECONNREFUSED", "tcp", "9.9.9.9:853")
	b.want("ECONNREFUSED", "udp", "8.8.8.8:53")
	blocked("udp", "8.8.8.8", 53)
	b.want("ECONNREFUSED", "udp", "[2001:db8::1]:443")
	blocked("udp", "2001:db8::1", 443)
	b.want("ECONNRESET", "tcp", "8.8.8.8:8443") // redirected, then refused by the gateway
	blocked("tcp", "8.8.8.8", 8443)
	// The redirect's own listener is no way in.
	b.want("ECONNRESET", "tcp", netip.AddrPortFrom(jailAddr4, b.plan.To).String())
	b.want("ECONNRESET", "tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), b.plan.To).String())
	// Multicast, broadcast, pings: an error at once, and a record.
	b.want("EPERM", "raw", "2 17 224.0.0.251 5353")
	blocked("udp", "224.0.0.251", 5353)
	b.want("EPERM", "raw", "2 17 ff02::fb 5353")
	b.want("EPERM", "ping", "8.8.8.8")
	blocked("icmp", "8.8.8.8", 0)
	b.want("EPERM", "ping", "2001:db8::1")
	b.want("ok", "ping", "127.0.0.1")
	// MPTCP is TCP to the kernel's tables; SCTP has no socket anywhere.
	b.want("ECONNREFUSED", "raw", "1 262 8.8.8.8 81")
	blocked("tcp", "8.8.8.8", 81)
	if got := b.do("raw", "1 132 8.8.8.8 81"); got == "ok" || got == "timeout" {
		t.Errorf("sctp: %s", got)
	} else if got == "ECONNREFUSED" {
		blocked("ip-proto-132", "8.8.8.8", 81)
	}
	for _, r := range b.sink.all() {
		if c, ok := r.(audit.Connect); ok && strings.HasPrefix(c.Addr, "127.") && c.Port != b.plan.To {
			t.Errorf("the agent's own loopback was logged: %+v", c)
		}
	}
}

func TestKernelHighPorts(t *testing.T) {
	up := echo(t)
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "db.example", profiles.ProtocolTCP, up, 5432),
		allow(2, "10.20.0.0/16", profiles.ProtocolTCP, up, 5432),
		allow(3, "127.0.0.1", profiles.ProtocolTCP, up, 6000),
		allow(4, "2001:db8:5::/48", profiles.ProtocolTCP, up, 5432),
	}})
	b.want("ok hello", "tcp", "db.example:5432")
	b.wantConnect("the redirected connection", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Name == "db.example" && c.Port == 5432
	})
	b.want("ok hello", "tcp", "10.20.1.1:5432")
	b.want("ok hello", "tcp", "[2001:db8:5::7]:5432")
	b.wantConnect("the redirected connection over IPv6", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Addr == "2001:db8:5::7" && c.Port == 5432
	})
	b.want("ok own server", "own", "127.0.0.1:5432 127.0.0.1:5432")
	b.want("ok own server", "own", "0.0.0.0:5432 10.0.2.100:5432")
	b.want("ok own server", "own", "[::]:5432 [::1]:5432")
	b.want("ok own server", "own", "[::]:5432 ["+jailAddr6.String()+"]:5432")
	b.want("ok hello", "own", "0.0.0.0:5432 db.example:5432") // its own server is not in the way
	b.want("ok hello", "own", "127.0.0.2:6000 127.0.0.1:6000")
	b.want("ECONNREFUSED", "tcp", "127.0.0.1:5432")
	b.want("EADDRINUSE", "bind", "127.0.0.1:1023")
}

func TestKernelRelay(t *testing.T) {
	half := server(t, func(c *net.TCPConn) {
		q, _ := io.ReadAll(c)
		io.WriteString(c, "answer to "+string(q))
	})
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "echo.example", profiles.ProtocolTCP, echo(t), 443, 9000),
		allow(2, "half.example", profiles.ProtocolTCP, half, 443),
		allow(3, "1.2.3.4", profiles.ProtocolTCP, echo(t), 443),
	}})
	b.want("ok answer to question", "halfclose", "half.example:443")
	size := much(50_000_000)
	b.want(fmt.Sprint("ok ", size), "bulk", fmt.Sprint("echo.example:443 ", size))
	b.want(fmt.Sprint("ok ", size), "bulk", fmt.Sprint("echo.example:9000 ", size))
	b.want(`{"ok":1000}`, "many", "1.2.3.4:443 1000")
	b.sink.wait(t, "the bulk's bytes", func(r audit.Record) bool {
		c, ok := r.(audit.ConnectClosed)
		return ok && c.BytesIn == int64(size) && c.BytesOut == int64(size) && c.Error == ""
	})
}

func TestKernelGatewayDies(t *testing.T) {
	b := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "1.2.3.4", profiles.ProtocolTCP, echo(t), 443, 8443),
	}})
	b.want("ok hello", "tcp", "1.2.3.4:443")
	if err := syscall.Kill(gatewayPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-b.sup.Done()
	b.want("ECONNREFUSED", "tcp", "1.2.3.4:443")
	b.want("ECONNREFUSED", "tcp", "1.2.3.4:8443")
	b.want("ECONNREFUSED", "udp", "10.0.2.3:53")
	b.sink.wait(t, "the gateway's death", func(r audit.Record) bool {
		f, ok := r.(audit.Finding)
		return ok && f.Severity == "high"
	})
	if b.sup.Err() == nil {
		t.Error("no error says so")
	}
}

// TestKernelClose: what is open when the run ends is closed and reported, and
// afterwards there is nothing to connect to.
func TestKernelClose(t *testing.T) {
	b := newBox(t, testPolicy(echo(t)))
	b.want("ok", "hold", "1.2.3.4:443")
	c := b.wantConnect("the held connection", func(c audit.Connect) bool { return c.Outcome == audit.Allowed })
	pid := gatewayPID(t)
	for range 2 {
		if err := b.sup.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ended := false
	for _, r := range b.sink.all() {
		e, ok := r.(audit.ConnectClosed)
		ended = ended || ok && e.ID == c.ID && e.BytesOut == 6
	}
	if !ended {
		t.Errorf("the end of the held connection was not reported:\n%s", b.sink.text())
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the gateway is still there: %v", err)
	}
	b.want("ECONNREFUSED", "tcp", "1.2.3.4:443")
}

// TestKernelCloseUnused: a run that never talks has no gateway, and ends well.
func TestKernelCloseUnused(t *testing.T) {
	b := newBox(t, testPolicy(echo(t)))
	b.want("ECONNREFUSED", "udp", "8.8.8.8:53")
	if err := b.sup.Close(); err != nil || b.sup.Layers() != nil {
		t.Errorf("close: %v, layers %v", err, b.sup.Layers())
	}
	if len(b.sink.all()) != 1 {
		t.Errorf("what the kernel logged before the end was not read:\n%s", b.sink.text())
	}
}

// TestKernelDestinations lets the gateway dial by itself, without an upstream: what
// a wide rule allows does not reach the host, and what a narrow one names does.
func TestKernelDestinations(t *testing.T) {
	up := netip.MustParseAddrPort(echo(t))
	wide := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "0.0.0.0/0", profiles.ProtocolTCP, "", up.Port()),
		allow(2, "127.0.0.1", profiles.ProtocolTCP, "", 1), // another port
	}})
	for _, a := range []string{"10.1.2.3", "169.254.169.254", "192.168.0.1", "198.18.200.1"} {
		wide.want("ECONNRESET", "tcp", netip.AddrPortFrom(netip.MustParseAddr(a), up.Port()).String())
		wide.wantConnect("the refused destination "+a, func(c audit.Connect) bool {
			return c.Outcome == audit.Blocked && c.Addr == a && c.Reason != ""
		})
	}
	narrow := newBox(t, profiles.Network{Allow: []profiles.NetRule{
		allow(1, "127.0.0.1", profiles.ProtocolTCP, "", up.Port()),
	}})
	narrow.want("ok hello", "tcp", up.String())
	narrow.wantConnect("the named destination", func(c audit.Connect) bool {
		return c.Outcome == audit.Allowed && c.Dialled == up.String()
	})
}

// gatewayPID finds the gateway among this process's children.
func gatewayPID(t *testing.T) int {
	t.Helper()
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range children {
		b, _ := os.ReadFile(f)
		for _, pid := range strings.Fields(string(b)) {
			cmdline, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if args := strings.Split(string(cmdline), "\x00"); len(args) > 1 && args[1] == GatewayArg {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	t.Fatal("no gateway is running")
	return 0
}
