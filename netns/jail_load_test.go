package netns

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

func init() {
	jailFuncs["dnsburst"] = jailDNSBurst
	jailFuncs["flood"] = jailFlood
	jailFuncs["release"] = jailRelease
	jailFuncs["held"] = jailHeld
	jailFuncs["served"] = jailServed
	jailFuncs["timed"] = jailTimed
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
	case "plain": // a request without TLS that does not end
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\nX-Slow: ")
		return c, err
	}
	protos := map[string][]string{"h2": {"h2"}}[kind]
	if protos == nil {
		protos = []string{"http/1.1"}
	}
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
	case "kept": // one request was answered
		if _, err = io.WriteString(t, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err == nil {
			var r *http.Response
			if r, err = http.ReadResponse(bufio.NewReader(t), nil); err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
		}
	case "h2": // the preface and an empty SETTINGS frame, RFC 9113 section 3.4
		_, err = io.WriteString(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	}
	return t, err
}

// jailHeld counts the connections of a flood that the other side has not ended.
func jailHeld(string) string {
	flooding.Lock()
	defer flooding.Unlock()
	held := 0
	for _, c := range flooding.conns {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		rc, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err.Error()
		}
		if err := rc.Control(func(fd uintptr) {
			const established = 1 // TCP_ESTABLISHED of linux/tcp_states.h
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil && info.State == established {
				held++
			}
		}); err != nil {
			return err.Error()
		}
	}
	return strconv.Itoa(held)
}

// jailServed counts the gateway's sockets in the jail that a connection has.
func jailServed(port string) string {
	n, err := tcpSockets("local", port)
	if err != nil {
		return err.Error()
	}
	return strconv.Itoa(n)
}

// tcpSockets counts the sockets of this network namespace that have a connection, by a
// port of theirs or of the other end: proc_pid_net(5), tcp.
func tcpSockets(end, port string) (int, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, err
	}
	suffix, field, n := fmt.Sprintf(":%04X", number), map[string]int{"local": 1, "remote": 2}[end], 0
	for _, file := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(b)) {
			// 06 is TIME_WAIT, which has no descriptor any more; 0A listens.
			if f := strings.Fields(line); strings.HasSuffix(f[field], suffix) && f[3] != "06" && f[3] != "0A" {
				n++
			}
		}
	}
	return n, nil
}

// timing is how long requests took.
type timing struct {
	Fine     int
	P50, P99 time.Duration
	Err      string
}

// jailTimed makes so many requests one after another, each over a new connection.
func jailTimed(arg string) string {
	var a fetchArg
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err.Error()
	}
	var out timing
	var took []time.Duration
	for range a.Count {
		began, c := time.Now(), a.client()
		got := fetch(c, a)
		took = append(took, time.Since(began))
		c.CloseIdleConnections()
		if got.Status == http.StatusOK {
			out.Fine++
		} else {
			out.Err = fmt.Sprintf("%d %s", got.Status, got.Err)
		}
	}
	slices.Sort(took)
	out.P50, out.P99 = took[len(took)/2], took[len(took)*99/100]
	j, err := json.Marshal(out)
	if err != nil {
		return err.Error()
	}
	return string(j)
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
