package netns

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func init() {
	for name, f := range map[string]func(string) string{
		"fetch": jailFetch, "stream": jailStream, "duplex": jailDuplex, "tlssend": jailTLSSend, "websocket": jailWebSocket, "parallel": jailParallel,
		"h2raw": jailH2Raw,
	} {
		jailFuncs[name] = f
	}
}

// ask is a request that the jail's process makes.
type fetchArg struct {
	URL, Method string
	Header      map[string][]string
	Body        string
	Bytes       []byte // in place of Body, where that is no text
	Size        int    // of a body of that many bytes, in place of Body
	Discard     bool   // the answer's body is only counted
	H1          bool
	CA          []byte // DER
	Count       int
	Chunked     bool // the body's length is not said
	Follow      bool // redirects
	Host        string
	Raw         []byte              // behind an upgrade
	Trailer     map[string][]string // of the request
}

type fetched struct {
	Err    string
	Status int
	Proto  string
	Header http.Header
	Body   string
	Length int
	Trail  http.Header
}

func (a fetchArg) client() *http.Client {
	pool := x509.NewCertPool()
	if c, err := x509.ParseCertificate(a.CA); err == nil {
		pool.AddCert(c)
	}
	t := &http.Transport{DialContext: jailDialer().DialContext, TLSClientConfig: &tls.Config{RootCAs: pool}, DisableCompression: true, ForceAttemptHTTP2: !a.H1, ExpectContinueTimeout: 10 * time.Second}
	return &http.Client{Transport: t, Timeout: 5 * time.Minute, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if !a.Follow || len(via) > 3 {
			return http.ErrUseLastResponse
		}
		r.Header = via[0].Header.Clone() // a careless client takes its headers along
		return nil
	}}
}

func (a fetchArg) request(body io.Reader) (*http.Request, error) {
	r, err := http.NewRequest(a.Method, a.URL, body)
	if err != nil {
		return nil, err
	}
	if a.Host != "" {
		r.Host = a.Host
	}
	for k, v := range a.Header {
		r.Header[k] = v
	}
	r.Trailer = a.Trailer
	if a.Chunked {
		r.ContentLength = -1
	}
	return r, nil
}

func jailFetch(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	c := a.client()
	defer c.CloseIdleConnections()
	var out fetched
	for range max(1, a.Count) {
		out = fetch(c, a)
	}
	j, _ := json.Marshal(out)
	return string(j)
}

func fetch(c *http.Client, a fetchArg) (out fetched) {
	body := io.Reader(strings.NewReader(a.Body))
	if a.Bytes != nil {
		body = bytes.NewReader(a.Bytes)
	}
	if a.Size > 0 {
		body = io.LimitReader(zeros{}, int64(a.Size))
	}
	r, err := a.request(body)
	if err != nil {
		return fetched{Err: err.Error()}
	}
	resp, err := c.Do(r)
	if err != nil {
		return fetched{Err: err.Error()}
	}
	defer resp.Body.Close()
	if a.Discard {
		n, err := io.Copy(io.Discard, resp.Body)
		out = fetched{Status: resp.StatusCode, Proto: resp.Proto, Length: int(n)}
		if err != nil {
			out.Err = err.Error()
		}
		return out
	}
	b, err := io.ReadAll(resp.Body)
	out = fetched{Status: resp.StatusCode, Proto: resp.Proto, Header: resp.Header, Length: len(b), Trail: resp.Trailer}
	if len(b) < 1<<20 {
		out.Body = string(b)
	}
	if err != nil {
		out.Err = err.Error()
	}
	return out
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// jailParallel makes so many requests at once and counts the answers.
func jailParallel(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	results := make(chan int, a.Count)
	for range a.Count {
		go func() {
			c := a.client()
			defer c.CloseIdleConnections()
			results <- fetch(c, a).Status
		}()
	}
	count := map[int]int{}
	for range a.Count {
		count[<-results]++
	}
	j, _ := json.Marshal(count)
	return string(j)
}

// jailStream reads a stream's first event, then asks for /release, without which the
// server sends no second one.
func jailStream(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	c := a.client()
	defer c.CloseIdleConnections()
	r, err := a.request(strings.NewReader(a.Body))
	if err != nil {
		return err.Error()
	}
	resp, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b := make([]byte, 4096)
	n, err := resp.Body.Read(b)
	if err != nil {
		return fmt.Sprintf("%d %v", resp.StatusCode, err)
	}
	first := string(b[:n])
	a.URL = a.URL[:strings.LastIndexByte(a.URL, '/')] + "/release"
	if got := fetch(c, a); got.Status != 200 {
		return fmt.Sprintf("release: %+v", got)
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return "ok " + first + "|" + string(rest)
}

// jailDuplex talks both ways over one HTTP/2 request, as gRPC does, and gives the
// trailer.
func jailDuplex(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	c := a.client()
	defer c.CloseIdleConnections()
	in, out := io.Pipe()
	r, err := a.request(in)
	if err != nil {
		return err.Error()
	}
	r.ContentLength = -1
	go io.WriteString(out, "one")
	resp, err := c.Do(r)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	b := make([]byte, 100)
	said := ""
	for i := range 2 {
		if i > 0 {
			if _, err := io.WriteString(out, "two"); err != nil {
				return err.Error()
			}
		}
		n, err := resp.Body.Read(b)
		if err != nil {
			return err.Error()
		}
		said += string(b[:n]) + " "
	}
	out.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err.Error()
	}
	return "ok " + said + resp.Proto + " " + resp.Trailer.Get("Grpc-Status")
}

func jailTLSDial(a fetchArg, protos ...string) (*tls.Conn, error) {
	host, _, _ := net.SplitHostPort(a.Host)
	c, err := jailDialer().Dial("tcp", a.Host)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	t := tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: protos})
	return t, t.HandshakeContext(context.Background())
}

// jailTLSSend sends bytes over TLS and returns all that comes.
func jailTLSSend(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	t, err := jailTLSDial(a, "http/1.1")
	if err != nil {
		return short(err)
	}
	defer t.Close()
	// In two halves, so that no check depends on a record's borders.
	for _, part := range []string{a.Body[:len(a.Body)/2], a.Body[len(a.Body)/2:]} {
		if _, err := io.WriteString(t, part); err != nil {
			return short(err)
		}
	}
	b, err := io.ReadAll(t)
	if len(b) == 0 && err != nil {
		return short(err)
	}
	return string(b)
}

func jailWebSocket(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	t, err := jailTLSDial(a, "http/1.1")
	if err != nil {
		return short(err)
	}
	defer t.Close()
	io.WriteString(t, a.Body)
	b := make([]byte, 4096)
	n, err := t.Read(b)
	if err != nil {
		return short(err)
	}
	if !bytes.HasPrefix(b[:n], []byte("HTTP/1.1 101")) {
		return string(b[:n])
	}
	t.Write(a.Raw)
	rest, err := io.ReadAll(t)
	if err != nil && len(rest) == 0 {
		return short(err)
	}
	_, after, _ := bytes.Cut(b[:n], []byte("\r\n\r\n"))
	return "ok " + strconv.Quote(string(after)+string(rest)) // what is no UTF-8 would not come through
}
