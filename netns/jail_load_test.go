package netns

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func init() {
	jailFuncs["dnsburst"] = jailDNSBurst
	jailFuncs["flood"] = jailFlood
	jailFuncs["release"] = jailRelease
}

func dnsQuery(name string, id uint16) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// jailDNSBurst asks so many questions at once, each from a socket of its own as a
// resolver does, and counts the answers.
func jailDNSBurst(arg string) string {
	name, count, _ := strings.Cut(arg, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err.Error()
	}
	to := net.JoinHostPort(dnsAddr4.String(), strconv.Itoa(dnsPort))
	conns := make([]net.Conn, n)
	for i := range conns {
		if conns[i], err = net.Dial("udp", to); err != nil {
			return short(err)
		}
		defer conns[i].Close()
	}
	for i, c := range conns {
		if _, err := c.Write(dnsQuery(name, uint16(i))); err != nil {
			return short(err)
		}
	}
	results := map[string]int{}
	for _, c := range conns {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 512)); err != nil {
			results[short(err)]++
			break // what is lost does not come; one is enough to know
		}
		results["ok"]++
	}
	return counted(results)
}

func counted(results map[string]int) string {
	j, err := json.Marshal(results)
	if err != nil {
		return err.Error()
	}
	return string(j)
}

// floodArg says how many connections are opened at once and what becomes of them.
type floodArg struct {
	To    string // name:port
	Count int
	Kind  string
}

// flooding are connections that stay open until "release".
var flooding struct {
	sync.Mutex
	conns []net.Conn
}

// jailFlood opens many connections at once, up to the point that their kind says, and
// keeps them. It counts what came of each.
func jailFlood(arg string) string {
	var a floodArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	host, port, _ := net.SplitHostPort(a.To)
	// The name is asked for once: it is the connections that are many.
	dialer := jailDialer()
	dialer.Timeout = time.Minute // an emulated processor needs several seconds for 256 at once
	addrs, err := dialer.Resolver.LookupHost(context.Background(), host)
	if err != nil {
		return err.Error()
	}
	to := net.JoinHostPort(addrs[0], port)
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[string]int{}
	gate := make(chan struct{}, 256) // a listener's backlog is bounded, too
	for range a.Count {
		gate <- struct{}{}
		wg.Go(func() {
			c, err := floodOne(dialer, to, host, a.Kind)
			<-gate
			mu.Lock()
			defer mu.Unlock()
			results[short(err)]++
			if c != nil {
				flooding.Lock()
				flooding.conns = append(flooding.conns, c)
				flooding.Unlock()
			}
		})
	}
	wg.Wait()
	return counted(results)
}

func floodOne(dialer *net.Dialer, to, host, kind string) (net.Conn, error) {
	c, err := dialer.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	switch kind {
	case "silent":
		return c, nil
	case "hello": // a TLS record's head, and nothing of what it announces
		_, err = c.Write([]byte{22, 3, 1, 1, 0})
		return c, err
	case "half":
		return c, c.(*net.TCPConn).CloseWrite()
	case "reset":
		c.(*net.TCPConn).SetLinger(0)
		return nil, c.Close()
	case "echo": // talked over once
		if _, err = c.Write([]byte("hello\n")); err == nil {
			_, err = io.ReadFull(c, make([]byte, 6))
		}
		return c, err
	}
	protos := map[string][]string{"head": {"http/1.1"}, "body": {"http/1.1"}, "idle": {"http/1.1"}, "h2": {"h2"}}[kind]
	t := tls.Client(c, &tls.Config{ServerName: host, InsecureSkipVerify: true, NextProtos: protos})
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	switch kind {
	case "head": // a request that does not end
		_, err = io.WriteString(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\nX-Slow: ")
	case "body":
		_, err = io.WriteString(t, "POST / HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 1000\r\n\r\nx")
	case "h2": // the preface and an empty SETTINGS frame, RFC 9113 section 3.4
		_, err = io.WriteString(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	}
	return t, err
}

func jailRelease(string) string {
	flooding.Lock()
	defer flooding.Unlock()
	for _, c := range flooding.conns {
		c.Close()
	}
	n := len(flooding.conns)
	flooding.conns = nil
	return "ok " + strconv.Itoa(n)
}
