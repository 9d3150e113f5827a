package suite

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// network is everything that listens on the stage. What it sees counts for the set of
// canaries that it is set to.
type network struct {
	authority *authority
	secret    string
	to        atomic.Pointer[seen]

	mu    sync.Mutex
	undo  []func() error
	asked map[string]int // A queries for a name
}

func (n *network) seen() *seen { return n.to.Load() }

// open listens at each address and port that attacks use. IPv6's wildcard takes IPv4
// along; where there is no IPv6, IPv4's alone does.
func (n *network) open() error {
	n.asked = map[string]int{}
	for _, port := range []int{80, 443, 853, 8080, 8081} {
		if err := n.listen(fmt.Sprintf(":%d", port), port == 443); err != nil {
			return err
		}
	}
	for _, server := range nameServers() {
		p, err := net.ListenPacket("udp", net.JoinHostPort(server, "53"))
		if err != nil {
			return fmt.Errorf("the stage's name server: %w", err)
		}
		n.undo = append(n.undo, p.Close)
		go n.serveNames(p)
	}
	for _, address := range []string{serverAddress + ":53", ":443", ":123", ":40000", ":5353", ":9"} {
		p, err := net.ListenPacket("udp", address)
		if err != nil {
			continue // the name server's own, where it is that address
		}
		n.undo = append(n.undo, p.Close)
		go n.receive(p)
	}
	return n.listen(serverAddress+":53", false)
}

func (n *network) close() {
	for _, f := range n.undo {
		_ = f() // the stage ends with its process
	}
}

func (n *network) receive(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		m, _, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		n.seen().add("UDP "+p.LocalAddr().String(), string(buf[:m]))
	}
}

func (n *network) listen(address string, secure bool) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("the stage's servers: %w", err)
	}
	n.undo = append(n.undo, l.Close)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go n.serve(c, secure)
		}
	}()
	return nil
}

// serve reads requests in the most generous way that a server might, so that whatever
// can be understood in a second way is seen.
func (n *network) serve(raw net.Conn, secure bool) {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(canaryPatience))
	c := &peeked{Conn: raw, r: bufio.NewReader(raw)}
	first, err := c.r.Peek(1)
	if err != nil {
		return
	}
	sni, where := "", "TCP "+raw.LocalAddr().String()
	if secure && first[0] == 22 { // a handshake record, RFC 8446 section 5.1
		t := tls.Server(c, &tls.Config{NextProtos: []string{"http/1.1"}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			n.seen().add(where+", TLS name", h.ServerName)
			sni = h.ServerName
			return &n.authority.leaf, nil
		}})
		if t.Handshake() != nil {
			return
		}
		n.requests(t, sni, true, where)
		return
	}
	n.requests(c, "", false, where)
}

// peeked is a connection of which something was looked at already.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

func (n *network) requests(c net.Conn, sni string, secure bool, where string) {
	r := bufio.NewReader(c)
	for {
		head, err := readHead(r)
		if head == "" {
			return
		}
		q := parseRequest(head)
		body := readBody(r, q)
		for _, id := range n.dishonest(q, head+body, sni, secure) {
			n.seen().addMarks(where, []string{id})
		}
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, n.answer(q)); err != nil || strings.EqualFold(q.header("connection"), "close") {
			return
		}
	}
}

// request is what a server makes of a head.
type request struct {
	method, target, host string
	headers              [][2]string // names in lower case
	length               int64
	sized                bool
	chunked              bool
}

func (q request) header(name string) string {
	for _, h := range q.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// readHead reads up to an empty line, whatever ends its lines.
func readHead(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for b.Len() < 64<<10 {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || strings.TrimRight(line, "\r\n") == "" && b.Len() > 2 {
			return b.String(), err
		}
	}
	return b.String(), nil
}

func parseRequest(head string) request {
	lines := strings.Split(strings.ReplaceAll(strings.TrimLeft(head, "\r\n"), "\r\n", "\n"), "\n")
	f := strings.Fields(lines[0])
	q := request{}
	if len(f) >= 2 {
		q.method, q.target = f[0], f[1]
	}
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		h := [2]string{strings.ToLower(strings.TrimSpace(name)), strings.Trim(value, " \t\r\x0b")}
		q.headers = append(q.headers, h)
		switch h[0] {
		case "host":
			q.host = h[1]
		case "content-length":
			// The first of two.
			if l, err := strconv.ParseInt(strings.TrimPrefix(h[1], "+"), 10, 32); err == nil && !q.sized {
				q.length, q.sized = l, true
			}
		case "transfer-encoding":
			q.chunked = q.chunked || strings.Contains(strings.ToLower(h[1]), "chunked")
		}
	}
	return q
}

func readBody(r *bufio.Reader, q request) string {
	if !q.chunked {
		b, _ := io.ReadAll(io.LimitReader(r, q.length)) // what is there counts
		return string(b)
	}
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String()
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		l, err := strconv.ParseInt(size, 16, 32)
		if err != nil || l == 0 {
			end, _ := r.ReadString('\n')
			return b.String() + end
		}
		part, _ := io.ReadAll(io.LimitReader(r, l+2))
		b.Write(part)
	}
}

// dishonest are the attacks that a request is of. Honest is a request to a path below
// /allowed/, by GET or POST, with the right names, and with the credential nowhere but
// where the profile puts it. It may have a mark in its own header, X-Mark, and in that
// path.
func (n *network) dishonest(q request, all, sni string, secure bool) []string {
	count := strings.Count(all, n.secret)
	if count > 0 && !(secure && sni == "requests."+domain && count == 1 && strings.Contains(q.header("x-api-key"), n.secret)) {
		return attacks.Marks(q.header("x-mark"))
	}
	rest := all
	if mark := q.header("x-mark"); mark != "" {
		rest = strings.ReplaceAll(rest, mark, "")
	}
	rightHost := q.host == "plain."+domain && !secure || secure && q.host == sni && sni != ""
	overridden := q.header("x-http-method-override") != "" || q.header("x-original-url") != ""
	if (q.method == "GET" || q.method == "POST") && strings.HasPrefix(q.target, "/allowed/") && !strings.Contains(q.target, "..") && !strings.Contains(q.target, "%") && rightHost && !overridden {
		rest = strings.Replace(rest, q.target, "", 1)
	}
	return attacks.Marks(rest)
}

// answer is what an honest server says. Below /allowed/echo/ it is a careless one.
func (n *network) answer(q request) string {
	plain := func(status, headers, body string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s", status, len(body), headers, body)
	}
	key := q.header("x-api-key")
	switch q.target {
	case "/allowed/redirect":
		return plain("302 Found", "Location: https://other."+domain+"/followed\r\n", "")
	case "/allowed/echo/header":
		return plain("200 OK", "X-Echo: "+key+"\r\n", "")
	case "/allowed/echo/body":
		return plain("200 OK", "", "you sent "+key+"\n")
	case "/allowed/echo/error":
		return plain("401 Unauthorized", "", "no such key: "+key+"\n")
	case "/allowed/echo/gzip":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, "you sent "+key+"\n") // to memory
		_ = z.Close()
		return plain("200 OK", "Content-Encoding: gzip\r\n", b.String())
	case "/allowed/echo/chunk":
		var b strings.Builder
		b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, c := range []byte("you sent " + key) {
			fmt.Fprintf(&b, "1\r\n%c\r\n", c)
		}
		return b.String() + "0\r\n\r\n"
	}
	return plain("200 OK", "", "ok")
}

// serveNames is the name server that the host's own is on the stage: it knows the
// suite's names and nothing else, and sees who asks for what.
func (n *network) serveNames(p net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		m, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		var parser dnsmessage.Parser
		h, err := parser.Start(buf[:m])
		if err != nil {
			continue
		}
		q, err := parser.Question()
		if err != nil {
			continue
		}
		host := strings.TrimSuffix(strings.ToLower(q.Name.String()), ".")
		// An allowed wildcard's name is looked up when somebody connects to it, and is
		// honest; a query for anything else that has a mark is not.
		if !strings.HasSuffix(host, ".rebind."+domain) || q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA || strings.Contains(host, strings.Repeat("a", 60)) {
			n.seen().add("the host's name server", host)
		}
		reply := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, Authoritative: true, RecursionDesired: true, RecursionAvailable: true}, Questions: []dnsmessage.Question{q}}
		addresses := n.addresses(host, q.Type)
		if !strings.HasSuffix(host, "."+domain) && len(addresses) == 0 {
			reply.RCode = dnsmessage.RCodeNameError
		}
		owner := q.Name
		if to, ok := aliases()[host]; ok {
			owner = dnsmessage.MustNewName(to + ".")
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeCNAME, Class: dnsmessage.ClassINET}, Body: &dnsmessage.CNAMEResource{CNAME: owner}})
		}
		for _, a := range addresses {
			r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: owner, Type: q.Type, Class: dnsmessage.ClassINET}} // TTL 0
			if a.Is4() {
				r.Body = &dnsmessage.AResource{A: a.As4()}
			} else {
				r.Body = &dnsmessage.AAAAResource{AAAA: a.As16()}
			}
			reply.Answers = append(reply.Answers, r)
		}
		if packed, err := reply.Pack(); err == nil {
			_, _ = p.WriteTo(packed, from)
		}
	}
}

// aliases are the names that lead to another one.
func aliases() map[string]string {
	return map[string]string{"alias." + domain: "tls." + domain, "cname.lead." + domain: "denied.lead." + domain}
}

// addresses is what a name leads to. A public address is only ever spoken of: nothing
// on the stage leads to one.
func (n *network) addresses(host string, kind dnsmessage.Type) []netip.Addr {
	const public = "93.184.216.34"
	list := func(all ...string) (found []netip.Addr) {
		for _, text := range all {
			if a := netip.MustParseAddr(text); a.Is4() == (kind == dnsmessage.TypeA) {
				found = append(found, a)
			}
		}
		return found
	}
	// As a libc reads a name that is a way to write an address.
	if slices.Contains([]string{serverAddress, "0x0a0b0c0d", "168496141", "012.013.014.015", "10.722957"}, host) {
		return list(serverAddress)
	}
	label, below, _ := strings.Cut(host, ".")
	switch below {
	case domain, "spell." + domain:
		return list(serverAddress)
	case "lead." + domain:
		return list(attacks.RuleAddress)
	}
	if below != "rebind."+domain || kind != dnsmessage.TypeA && kind != dnsmessage.TypeAAAA {
		return nil
	}
	switch label {
	case "loopback":
		return list("127.0.0.1")
	case "metadata":
		return list("169.254.169.254")
	case "mixed":
		return list(public, serverAddress)
	case "v6":
		return list("::ffff:" + serverAddress)
	case "host":
		return list(anotherAddress)
	case "second":
		n.mu.Lock()
		defer n.mu.Unlock()
		if kind == dnsmessage.TypeA {
			n.asked[host]++
		}
		if n.asked[host] <= 1 {
			return list(public)
		}
	}
	return list(serverAddress)
}
