// Command https measures what requests over TLS cost on a path.
//
//	https certs FOLDER NAME...                       a CA and a certificate for the names
//	https serve FOLDER ADDRESS                       the origin
//	https proxy FOLDER ADDRESS NAME UPSTREAM         a bare reverse proxy, TLS on both sides
//	https get [flags] URL                            prints one figure
//
// The proxy is what net/http and httputil give with nothing added: the least that
// anything in Go can do which ends TLS and speaks it again.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "https:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	usage := errors.New("usage: https certs FOLDER NAME... | serve FOLDER ADDRESS | proxy FOLDER ADDRESS NAME UPSTREAM | get [flags] URL")
	switch {
	case len(args) > 2 && args[0] == "certs":
		return certs(args[1], args[2:])
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2], http.HandlerFunc(origin))
	case len(args) == 5 && args[0] == "proxy":
		p, err := proxy(args[1], args[3], args[4])
		if err != nil {
			return err
		}
		return serve(args[1], args[2], p)
	case len(args) > 1 && args[0] == "get":
		return get(args[1:])
	}
	return usage
}

// origin answers /bytes/N with as many.
func origin(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(filepath.Base(r.URL.Path), 10, 64)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.Copy(w, io.LimitReader(zeros{}, n)) // the client counts
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func serve(folder, address string, h http.Handler) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	return s.ServeTLS(l, filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem"))
}

func proxy(folder, name, upstream string) (http.Handler, error) {
	roots, err := pool(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: "https", Host: name}) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 64, DisableCompression: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, upstream)
			},
		},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}, nil
}

func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return p, nil
}

// get makes requests over connections that stay open and prints requests or bytes a
// second, or the median time of one in seconds.
func get(args []string) error {
	flags := flag.NewFlagSet("get", flag.ContinueOnError)
	ca := flags.String("ca", "", "`file` of the roots; empty is the system's")
	to := flags.String("to", "", "`address` to dial in place of the URL's")
	h1 := flags.Bool("h1", false, "HTTP/1.1")
	what := flags.String("figure", "requests", "requests, bytes or latency")
	n := flags.Int("n", 1, "requests at once")
	duration := flags.Duration("t", 2*time.Second, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	t := &http.Transport{ForceAttemptHTTP2: !*h1, MaxIdleConnsPerHost: *n, MaxConnsPerHost: *n, DisableCompression: true, TLSClientConfig: &tls.Config{}}
	if *to != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, *to)
		}
	}
	if *ca != "" {
		var err error
		if t.TLSClientConfig.RootCAs, err = pool(*ca); err != nil {
			return err
		}
	}
	m := measurement{client: &http.Client{Transport: t}, url: flags.Arg(0), major: 2}
	if *h1 {
		m.major = 1
	}
	if err := m.warmUp(*n); err != nil {
		return err
	}
	if err := m.run(*n, *duration); err != nil {
		return err
	}
	switch *what {
	case "requests":
		fmt.Println(float64(m.count.Load()) / m.took.Seconds())
	case "bytes":
		fmt.Println(float64(m.bytes.Load()) / m.took.Seconds())
	case "latency":
		slices.Sort(m.times)
		fmt.Println(m.times[len(m.times)/2].Seconds())
	default:
		return fmt.Errorf("no figure is called %q", *what)
	}
	return nil
}

type measurement struct {
	client       *http.Client
	url          string
	major        int
	count, bytes atomic.Int64
	took         time.Duration
	times        []time.Duration // of the first of those that ask
}

// warmUp opens the connections.
func (m *measurement) warmUp(n int) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { _, errs[i] = m.one() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (m *measurement) run(n int, d time.Duration) error {
	began := time.Now()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for errs[i] == nil && time.Since(began) < d {
				start := time.Now()
				var size int64
				size, errs[i] = m.one()
				m.count.Add(1)
				m.bytes.Add(size)
				if i == 0 {
					m.times = append(m.times, time.Since(start))
				}
			}
		})
	}
	wg.Wait()
	m.took = time.Since(began)
	return errors.Join(errs...)
}

func (m *measurement) one() (int64, error) {
	resp, err := m.client.Get(m.url)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || resp.ProtoMajor != m.major) {
		err = fmt.Errorf("%s %s", resp.Proto, resp.Status)
	}
	return n, err
}
