package netns

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"

	"github.com/agentjail/agentjail/profiles"
)

// ProxyEnv is the host's own proxy setting, as its variables have it. It is for
// the gateway's dials and is never shown to the jail.
type ProxyEnv struct {
	HTTP  string `json:"http,omitempty"`  // HTTP_PROXY
	HTTPS string `json:"https,omitempty"` // HTTPS_PROXY
	All   string `json:"all,omitempty"`   // ALL_PROXY
	No    string `json:"no,omitempty"`    // NO_PROXY
}

// For picks the proxy for a destination; nil means none. HTTPS_PROXY is for TLS,
// HTTP_PROXY for plain HTTP, ALL_PROXY for these where they have none of their own
// and for everything else; NO_PROXY and the loopback names are httpproxy's.
func (e ProxyEnv) For(protocol profiles.Protocol, host string, port uint16) (*url.URL, error) {
	own := e.All
	switch {
	case protocol == profiles.ProtocolTLS && e.HTTPS != "":
		own = e.HTTPS
	case protocol == profiles.ProtocolHTTP && e.HTTP != "":
		own = e.HTTP
	}
	if own == "" {
		return nil, nil
	}
	if !isProxyURL(own) && !isProxyURL("http://"+own) {
		// httpproxy takes such a setting for none and would go past the proxy. The
		// value may hold a password: it is not repeated.
		return nil, errors.New("the host's proxy setting is not a URL")
	}
	c := httpproxy.Config{HTTPProxy: own, NoProxy: e.No}
	return c.ProxyFunc()(&url.URL{Scheme: "http", Host: net.JoinHostPort(host, fmt.Sprint(port))})
}

func isProxyURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && u.Host != ""
}

// maxConnectAnswer bounds the head of a proxy's answer.
const maxConnectAnswer = 16 << 10

// dialProxy opens a connection to host:port through a proxy. The name goes to the
// proxy as it is: only the proxy knows what it resolves to, so the address can't
// be checked here, and the proxy's owner answers for it.
func dialProxy(ctx context.Context, d *net.Dialer, u *url.URL, target string) (net.Conn, error) {
	if u.Scheme == "socks5" || u.Scheme == "socks5h" {
		p, err := proxy.FromURL(u, d)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
		}
		c, err := p.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
		if err != nil {
			return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
		}
		return c, nil
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("proxy scheme %q is none of http, https, socks5", u.Scheme)
	}
	c, err := d.DialContext(ctx, "tcp", proxyAddress(u))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	tunnel, err := connect(ctx, c, u, target)
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("proxy %s: %w", u.Host, err)
	}
	return tunnel, nil
}

func proxyAddress(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// connect asks a proxy for a tunnel: RFC 9110 section 9.3.6.
func connect(ctx context.Context, c net.Conn, u *url.URL, target string) (net.Conn, error) {
	if u.Scheme == "https" {
		t := tls.Client(c, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = t
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	head := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if u.User != nil {
		password, _ := u.User.Password()
		auth := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
		head += "Proxy-Authorization: Basic " + auth + "\r\n"
	}
	if _, err := c.Write([]byte(head + "\r\n")); err != nil {
		return nil, err
	}
	// Byte by byte: what follows the head belongs to the tunnel, and a server that
	// speaks first may have sent it already.
	var answer bytes.Buffer
	for b := make([]byte, 1); !bytes.HasSuffix(answer.Bytes(), []byte("\r\n\r\n")); {
		if answer.Len() >= maxConnectAnswer {
			return nil, errors.New("the answer's head is too long")
		}
		if _, err := c.Read(b); err != nil {
			return nil, err
		}
		answer.Write(b)
	}
	resp, err := http.ReadResponse(bufio.NewReader(&answer), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	return c, c.SetDeadline(noDeadline)
}
