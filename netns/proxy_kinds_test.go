package netns

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

func proxyDialer(proxy string) *dialer {
	n := &profiles.Network{Allow: []profiles.NetRule{allow(1, "*", profiles.ProtocolTCP, "", 22), allow(2, "0.0.0.0/0", profiles.ProtocolTCP, "", 22)}}
	return newDialer(n, ProxyEnv{All: proxy}, func(netip.Addr) (bool, error) { return false, nil })
}

// socks5 serves one CONNECT (RFC 1928, RFC 1929), says what was asked, and greets as
// the host behind it would.
func socks5(t *testing.T, user, password string, asked chan<- string) string {
	return server(t, func(c *net.TCPConn) {
		r := bufio.NewReader(c)
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil || head[0] != 5 {
			return
		}
		methods := make([]byte, head[1])
		io.ReadFull(r, methods)
		want := byte(0)
		if user != "" {
			want = 2
		}
		if !strings.Contains(string(methods), string([]byte{want})) {
			c.Write([]byte{5, 0xff})
			asked <- "no method"
			return
		}
		c.Write([]byte{5, want})
		given := ""
		if want == 2 {
			field := func() string {
				n, _ := r.ReadByte()
				b := make([]byte, n)
				io.ReadFull(r, b)
				return string(b)
			}
			r.ReadByte() // version
			given = field() + ":" + field()
			if given != user+":"+password {
				c.Write([]byte{1, 1})
				asked <- "refused " + given
				return
			}
			c.Write([]byte{1, 0})
		}
		request := make([]byte, 4)
		io.ReadFull(r, request)
		to := ""
		switch request[3] {
		case 1:
			b := make([]byte, 4)
			io.ReadFull(r, b)
			to = net.IP(b).String()
		case 3:
			n, _ := r.ReadByte()
			b := make([]byte, n)
			io.ReadFull(r, b)
			to = string(b)
		}
		port := make([]byte, 2)
		io.ReadFull(r, port)
		asked <- fmt.Sprintf("%d %s:%d %s", request[1], to, binary.BigEndian.Uint16(port), given)
		if strings.HasPrefix(to, "refused") {
			c.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		io.WriteString(c, "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00SSH-2.0-early")
		io.Copy(io.Discard, r)
	})
}

// TestDialThroughSOCKS: the name goes to the proxy as it is, with the password; its
// refusal is an error without the password; and by address nothing goes to it that may
// not be dialled.
func TestDialThroughSOCKS(t *testing.T) {
	asked := make(chan string, 8)
	at := socks5(t, "user", "pass-word", asked)
	d := proxyDialer("socks5://user:pass-word@" + at)
	c, dialled, err := d.dial(context.Background(), target{name: "git.example", port: 22, protocol: profiles.ProtocolSSH})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-asked; got != "1 git.example:22 user:pass-word" || dialled != "proxy "+at {
		t.Errorf("the proxy was asked %q; dialled %q", got, dialled)
	}
	b := make([]byte, len("SSH-2.0-early"))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "SSH-2.0-early" {
		t.Errorf("the tunnel's first bytes: %q %v", b, err)
	}
	if _, _, err := d.dial(context.Background(), target{name: "refused.example", port: 22}); err == nil || strings.Contains(err.Error(), "pass-word") {
		t.Errorf("a host that the proxy refuses: %v", err)
	}
	<-asked
	wrong := proxyDialer("socks5h://user:other-word@" + at)
	if _, _, err := wrong.dial(context.Background(), target{name: "git.example", port: 22}); err == nil || strings.Contains(err.Error(), "other-word") {
		t.Errorf("a wrong password: %v", err)
	}
	if got := <-asked; got != "refused user:other-word" {
		t.Errorf("the proxy was asked %q", got)
	}
	if _, _, err := d.dial(context.Background(), target{addr: netip.MustParseAddr("169.254.169.254"), port: 22}); !errors.As(err, new(refusal)) {
		t.Errorf("metadata through the proxy: %v", err)
	}
	select {
	case got := <-asked:
		t.Errorf("the proxy was asked %q", got)
	default:
	}
	open := socks5(t, "", "", asked)
	c, _, err = proxyDialer("socks5://"+open).dial(context.Background(), target{addr: netip.MustParseAddr("8.8.8.8"), port: 22})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if got := <-asked; got != "1 8.8.8.8:22 " {
		t.Errorf("by address the proxy was asked %q", got)
	}
	for _, scheme := range []string{"socks4", "ftp", "quic"} {
		if c, _, err := proxyDialer(scheme+"://"+at).dial(context.Background(), target{name: "git.example", port: 22}); err == nil {
			c.Close()
			t.Errorf("%s was taken for a proxy", scheme)
		}
	}
}

// TestDialThroughTLSProxy: a proxy that is spoken to over TLS has to prove its name,
// before it gets the password. The host's roots are read once in a process, so that the
// test's own are those of another.
func TestDialThroughTLSProxy(t *testing.T) {
	if os.Getenv("AGENTJAIL_TEST_PROXY") == "" {
		ca, caKey := testCA(t)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, ca, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan string, 8)
		config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
		at := server(t, func(tcp *net.TCPConn) {
			c := tls.Server(tcp, config)
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			asked <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
			io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early")
		})
		roots := filepath.Join(t.TempDir(), "roots.pem")
		if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), 0o644); err != nil {
			t.Fatal(err)
		}
		for name, tt := range map[string]struct {
			roots, host, want string
			asked             bool
		}{
			"known":      {roots, "127.0.0.1", "tunnel SSH-2.0-early", true},
			"unknown":    {"/dev/null", "127.0.0.1", "signed by unknown authority", false},
			"other name": {roots, "localhost", "certificate", false},
		} {
			_, port, _ := net.SplitHostPort(at)
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestDialThroughTLSProxy$", "-test.v")
			cmd.Env = []string{"AGENTJAIL_TEST_PROXY=https://user:pw@" + net.JoinHostPort(tt.host, port), "SSL_CERT_FILE=" + tt.roots, "SSL_CERT_DIR=/nonexistent"}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%s: %v, want %q in\n%s", name, err, tt.want, out)
			}
			select {
			case got := <-asked:
				if !tt.asked || got != "CONNECT git.example:22 Basic dXNlcjpwdw==" {
					t.Errorf("%s: the proxy was asked %q", name, got)
				}
			default:
				if tt.asked {
					t.Errorf("%s: the proxy was not asked", name)
				}
			}
		}
		return
	}
	c, _, err := proxyDialer(os.Getenv("AGENTJAIL_TEST_PROXY")).dial(context.Background(), target{name: "git.example", port: 22, protocol: profiles.ProtocolSSH})
	if err != nil {
		if strings.Contains(err.Error(), "pw") {
			t.Errorf("the password is in the error: %v", err)
		}
		t.Log(err)
		return
	}
	defer c.Close()
	b := make([]byte, len("SSH-2.0-early"))
	_, err = io.ReadFull(c, b)
	t.Logf("tunnel %s %v", b, err)
}
