package netns

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

// BenchmarkRequests compares what the gateway does for a request with what a bare
// reverse proxy does: client, proxy and origin are in one process, and the figure is
// the processor's time of all three, which a busy machine does not change.
func BenchmarkRequests(b *testing.B) {
	const name = "api.example"
	o := newOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		var n int64
		fmt.Sscan(r.URL.Path[1:], &n)
		w.Header().Set("Content-Length", fmt.Sprint(n))
		_, _ = io.Copy(w, io.LimitReader(zeros{}, n))
	}, name)
	o.quiet = true
	for _, size := range []int{500, 1 << 20} {
		for _, h1 := range []bool{true, false} {
			for _, way := range []struct {
				name  string
				serve func(testing.TB, *origin, string) (addr string, ca *x509.Certificate)
			}{{"bare", serveBare}, {"gateway", serveGateway}, {"gateway with a secret", serveGatewaySecret}} {
				b.Run(fmt.Sprintf("%s/%d/h1=%v", way.name, size, h1), func(b *testing.B) {
					addr, ca := way.serve(b, o, name)
					roots := x509.NewCertPool()
					roots.AddCert(ca)
					t := &http.Transport{ForceAttemptHTTP2: !h1, DisableCompression: true, MaxIdleConnsPerHost: 8, MaxConnsPerHost: 8,
						TLSClientConfig: &tls.Config{RootCAs: roots},
						DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
							var d net.Dialer
							return d.DialContext(ctx, network, addr)
						}}
					defer t.CloseIdleConnections()
					one := func() error {
						resp, err := (&http.Client{Transport: t}).Get(fmt.Sprintf("https://%s/%d", name, size))
						if err != nil {
							return err
						}
						defer resp.Body.Close()
						n, err := io.Copy(io.Discard, resp.Body)
						if err == nil && (resp.StatusCode != 200 || n != int64(size)) {
							err = fmt.Errorf("%s, %d bytes", resp.Status, n)
						}
						return err
					}
					if err := one(); err != nil {
						b.Fatal(err)
					}
					before := processTime(b)
					b.ResetTimer()
					b.SetParallelism(4)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if err := one(); err != nil {
								b.Error(err)
								return
							}
						}
					})
					b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
				})
			}
		}
	}
}

func processTime(tb testing.TB) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func listenLocal(tb testing.TB) net.Listener {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	return l
}

func serveBare(tb testing.TB, o *origin, name string) (string, *x509.Certificate) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(o.pem)
	p := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "https", Host: name}) },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64, DisableCompression: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, o.addr)
			}},
		FlushInterval: -1,
	}
	spec := benchSpec(tb, o, "")
	der, key, err := NewAuthority("bench", &spec.Network, 0)
	if err != nil {
		tb.Fatal(err)
	}
	leaf, err := newLeaves(der, key)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	s := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return leaf.get(name) }}}
	l := listenLocal(tb)
	go s.ServeTLS(l, "", "")
	tb.Cleanup(func() { s.Close() })
	return l.Addr().String(), ca
}

func benchSpec(tb testing.TB, o *origin, secret string) *profiles.Spec {
	spec := loadNetwork(tb, fmt.Sprintf(`
network {
  allow "api.example" {
    %s
    request "GET" "/**" {}
  }
}
secret "key" {
  env    = "KEY"
  header = "x-api-key"
}`, secret))
	for i := range spec.Network.Allow {
		spec.Network.Allow[i].Upstream, spec.Network.Allow[i].UpstreamCA = o.addr, caPath
	}
	return spec
}

func serveGateway(tb testing.TB, o *origin, name string) (string, *x509.Certificate) {
	return serveSpec(tb, o, name, benchSpec(tb, o, ""))
}

func serveGatewaySecret(tb testing.TB, o *origin, name string) (string, *x509.Certificate) {
	return serveSpec(tb, o, name, benchSpec(tb, o, "secret = secret.key"))
}

// serveSpec is the gateway behind a listener of this process.
func serveSpec(tb testing.TB, o *origin, name string, spec *profiles.Spec) (string, *x509.Certificate) {
	der, key, err := NewAuthority("bench", &spec.Network, 0)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	holder, err := NewPlaceholder([]byte(apiKey))
	if err != nil {
		tb.Fatal(err)
	}
	keys, err := NewKeys(key, []byte(apiKey))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { keys.Close() })
	r := newReporter(io.Discard)
	tb.Cleanup(r.close)
	s := start{Network: spec.Network, CA: der, UpstreamCAs: map[string][]byte{caPath: o.pem}, Secrets: []Secret{{Secret: spec.Secrets[0], Placeholder: holder}}}
	g, err := newGateway(s, shareFiles(wantedFiles), keys, func(netip.Addr) (bool, error) { return false, nil }, r.send)
	if err != nil {
		tb.Fatal(err)
	}
	l := listenLocal(tb)
	go g.accept(l.(*net.TCPListener), func(tcp *net.TCPConn) (*conn, bool) {
		c := &conn{TCPConn: tcp, id: g.ids.Add(1), began: time.Now(), name: name, port: 443, addr: netip.MustParseAddr("198.18.0.1")}
		c.verdict = g.network.Connect(name, netip.Addr{}, 443)
		return c, true
	}, g.serveConn)
	tb.Cleanup(g.close)
	return l.Addr().String(), ca
}
