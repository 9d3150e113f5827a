package attacks

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// dialTimeout bounds what the kernel of a working jail answers at once.
const dialTimeout = 5 * time.Second

// secondAnswer is how long one that may not come is waited for.
const secondAnswer = 100 * time.Millisecond

// addresses are attacks by address. Everything that they connect to is an address of the
// stage's own network, where a canary listens on every port that they use.
func addresses() []Attack {
	var list []Attack
	// At a port that some rule allows the gateway answers, and says in TLS or HTTP that it
	// refuses; at any other the kernel does.
	add := func(id string, line int, what, class, network, host, port string) {
		list = append(list, Attack{ID: id, Line: line, What: what, Class: class, Network: true, Without: Plain, ByMark: true,
			Stopped: []Stop{by(NetNS, "ECONNREFUSED", "EAFNOSUPPORT", "EADDRNOTAVAIL", "ENETUNREACH", "EHOSTUNREACH", "EACCES", "EINVAL", "ECONNRESET", "refused"), by(Addresses, "ok", "EPIPE"), by(Names, "no such host")},
			Record:  recordFor(network, host, port),
			Try: func(t *Target) string {
				return dialHost(t, network, strings.ReplaceAll(host, "ANOTHER", t.Another), port)
			}})
	}
	for id, host := range map[string]string{"aws": "169.254.169.254", "ecs": "169.254.170.2", "alibaba": "100.100.100.200", "ipv6": "fd00:ec2::254"} {
		add("metadata-"+id, 47, "ask the cloud's metadata service "+host, "CVE-2019-5418 and others: credentials of the machine", "tcp", host, "80")
		add("metadata-tls-"+id, 47, "ask the cloud's metadata service "+host+" at an allowed port", "credentials of the machine", "tcp", host, "443")
	}
	for id, host := range map[string]string{"rfc1918": "10.11.12.13", "rfc1918-b": "172.16.5.5", "rfc1918-c": "192.168.77.1", "cgnat": "100.64.0.10", "link-local": "169.254.77.1", "another": "ANOTHER"} {
		add("private-"+id, 48, "connect to a private address: "+id, "a service of the local network", "tcp", host, "80")
		add("private-port-"+id, 48, "connect to a private address at another port: "+id, "a service of the local network", "tcp", host, "8080")
	}
	for id, host := range map[string]string{"mapped": "::ffff:10.11.12.13", "compatible": "::10.11.12.13",
		"nat64": "64:ff9b::a0b:c0d", "zone": "fe80::1%lo"} {
		add("form-"+id, 46, "another way to write an address: "+host, "CVE-2021-29923: two readings of one address", "tcp", host, "80")
	}
	for id, port := range map[string]string{"dns": "53", "quic": "443", "ntp": "123", "high": "40000"} {
		add("udp-"+id, 56, "send UDP to port "+port, "a protocol that no rule allows", "udp", "10.11.12.13", port)
	}
	add("dot", 50, "DNS over TLS to a server of one's own", "DNS exfiltration", "tcp", "10.11.12.13", "853")
	add("dns-tcp", 50, "DNS over TCP to a server of one's own", "DNS exfiltration", "tcp", "10.11.12.13", "53")
	// What a libc's inet_aton takes for 10.11.12.13, and others ask a name server for.
	for id, host := range map[string]string{"hex": "0x0a0b0c0d", "decimal": "168496141", "octal": "012.013.014.015", "short": "10.722957", "dot": "10.11.12.13"} {
		list = append(list, Attack{ID: "form-" + id, Line: 46, What: "ask for the name " + host, Class: "CVE-2021-29923: two readings of one address", Network: true, Without: Plain,
			Stopped: []Stop{by(Names, "NXDOMAIN", "REFUSED", "FORMERR")}, Record: &Record{"dns", "blocked", host},
			Try: func(*Target) string { return query(dnsmessage.TypeA, host) }})
	}
	for id, host := range map[string]string{"multicast": "224.0.0.251", "broadcast": "255.255.255.255"} {
		list = append(list, Attack{ID: id, Line: 48, What: "send to " + host, Class: "a service of the local network", Network: true, Without: Plain,
			Stopped: []Stop{by(NetNS, "ECONNREFUSED", "ENETUNREACH", "EACCES", "EINVAL", "EPERM")},
			Try:     func(t *Target) string { return dialHost(t, "udp", host, "5353") }})
	}
	return append(list,
		Attack{ID: "add-address", Line: 57, What: "put an address on the loopback interface", Class: "a network of one's own making", Network: true, Without: Nested,
			Try: func(*Target) string { return rtAddress([4]byte{10, 99, 99, 99}) }, Stopped: []Stop{by(UserNS, "EPERM")}},
		Attack{ID: "add-route", Line: 57, What: "add a route", Class: "a network of one's own making", Network: true, Without: Nested,
			Try: func(*Target) string { return rtRoute() }, Stopped: []Stop{by(UserNS, "EPERM")}},
		Attack{ID: "link-down", Line: 57, What: "take the loopback interface down", Class: "a network of one's own making", Network: true, Without: Nested,
			Try: func(*Target) string { return rtLink() }, Stopped: []Stop{by(UserNS, "EPERM")}},
	)
}

// recordFor is what the trail must say: of an address that is the agent's own nothing,
// since what it does on its own loopback is its own affair.
func recordFor(network, host, port string) *Record {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() {
		return nil
	}
	return &Record{"connect", "blocked", host + ":" + port}
}

// dialHost connects, leaves the mark as an HTTP request, and waits for the answer, which
// comes from the gateway where it is one. Without a jail a canary answers.
func dialHost(t *Target, network, host, port string) string {
	d := net.Dialer{Timeout: dialTimeout, Resolver: resolver()}
	if host == "255.255.255.255" {
		d.Control = func(_, _ string, c rawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) })
		}
	}
	conn, err := d.Dial(network, net.JoinHostPort(host, port))
	if err != nil {
		return netAnswer(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	line := "GET /" + t.Mark() + " HTTP/1.1\r\nHost: " + t.Mark() + "\r\nConnection: close\r\n\r\n"
	if _, err := conn.Write([]byte(line)); err != nil {
		return netAnswer(err)
	}
	if network == "udp" {
		time.Sleep(time.Millisecond) // an ICMP refusal comes with the next call
		_, err := conn.Write([]byte(line))
		return netAnswer(err)
	}
	_, err = conn.Read(make([]byte, 512))
	if err != nil && err.Error() == "EOF" {
		err = nil
	}
	return netAnswer(err)
}

// resolver asks the name server of /etc/resolv.conf as Go does, never glibc's modules.
func resolver() *net.Resolver { return &net.Resolver{PreferGo: true} }

// netAnswer is answer for errors of package net.
func netAnswer(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "no such host"
	}
	return answer(err)
}

// names are attacks by name, on the jail's name server.
func names() []Attack {
	nowhere := []Stop{by(Names, "NXDOMAIN", "REFUSED", "no such host", "SERVFAIL", "FORMERR", "NOTIMP", "no data", "no address")}
	make := func(id string, line int, what, class string, try func(*Target) string) Attack {
		return Attack{ID: id, Line: line, What: what, Class: class, Network: true, Without: Plain, ByMark: true, Try: try,
			Stopped: append([]Stop{by(NetNS, "ok", "timeout", "ECONNREFUSED")}, nowhere...)}
	}
	ask := func(kind dnsmessage.Type, host func(*Target) string) func(*Target) string {
		return func(t *Target) string { return query(kind, host(t)) }
	}
	list := []Attack{
		make("dns-refused", 50, "tell a name server something by a name", "DNS exfiltration", ask(dnsmessage.TypeA, func(t *Target) string { return t.Mark() + "." + t.Hosts.Refused })),
		make("dns-txt", 50, "tell a name server something by a TXT query", "DNS exfiltration", ask(dnsmessage.TypeTXT, func(t *Target) string { return t.Mark() + "." + t.Hosts.Refused })),
		make("dns-null", 50, "tell a name server something by a NULL query", "DNS exfiltration", ask(dnsmessage.Type(10), func(t *Target) string { return t.Mark() + "." + t.Hosts.Refused })),
		make("dns-allowed-txt", 50, "tell an allowed wildcard's name server something by a TXT query", "DNS exfiltration", ask(dnsmessage.TypeTXT, func(t *Target) string { return t.Mark() + ".txt." + t.Hosts.Rebind })),
		make("dns-allowed-long", 50, "tell an allowed wildcard's name server something by long labels", "DNS exfiltration",
			ask(dnsmessage.TypeA, func(t *Target) string { return strings.Repeat("a", 60) + "." + t.Mark() + "." + t.Hosts.Rebind })),
		make("dns-reverse", 50, "tell a name server something by a PTR query", "DNS exfiltration", ask(dnsmessage.TypePTR, func(t *Target) string { return t.Mark() + ".in-addr.arpa" })),
		make("dns-edge", 54, "a name with a NUL, a line feed and userinfo in it", "two readings of one name", func(t *Target) string {
			for _, host := range []string{t.Hosts.TLS + "\x00." + t.Mark() + "." + t.Hosts.Refused, t.Hosts.TLS + "\r\n." + t.Mark() + "." + t.Hosts.Refused, "u@" + t.Mark() + "." + t.Hosts.Refused} {
				if r := query(dnsmessage.TypeA, host); r == "ok" {
					return r
				}
			}
			return "NXDOMAIN"
		}),
		make("dns-lookalike", 54, "a name that looks like an allowed one", "Unicode lookalikes", func(t *Target) string {
			// U+0430, a Cyrillic a, for the first a.
			return query(dnsmessage.TypeA, t.Mark()+"."+strings.Replace(t.Hosts.TLS, "a", "\u0430", 1))
		}),
		make("name-refused", 55, "connect to a name that no rule allows", "an empty list that means everything", func(t *Target) string {
			return dialHost(t, "tcp", t.Hosts.Refused, "80")
		}),
		make("proxy-variables", 55, "go by a proxy variable of one's own", "a check that only sits in a proxy variable", func(t *Target) string {
			return dialHost(t, "tcp", t.Another, "8080")
		}),
	}
	for id, what := range map[string]string{"loopback": "127.0.0.1", "metadata": "169.254.169.254", "private": "10.11.12.13", "mixed": "a public and a private address",
		"second": "a private address the second time", "cname": "another name, which leads to a private address", "v6": "::ffff:10.11.12.13", "host": "the host's own address"} {
		a := make("rebind-"+id, 49, "connect to an allowed name that leads to "+what, "DNS rebinding", func(t *Target) string {
			host := id + "." + t.Hosts.Rebind
			r := dialTLS(t, host)
			if id == "second" {
				r = dialTLS(t, host)
			}
			return r
		})
		a.Stopped = append(a.Stopped, by(Addresses, "EOF", "ECONNRESET", "EPIPE", "alert"))
		list = append(list, a)
	}
	return list
}

// query sends one query to the first name server of /etc/resolv.conf, as it is: other
// programs than resolvers send what they want.
func query(kind dnsmessage.Type, host string) string {
	server := "127.0.0.1"
	data, _ := os.ReadFile("/etc/resolv.conf")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" {
			server = f[1]
			break
		}
	}
	n, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return "no address"
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: dnsmessage.ClassINET}}}
	packed, err := m.Pack()
	if err != nil {
		return "no address"
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", net.JoinHostPort(server, "53"))
	if err != nil {
		return answer(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := conn.Write(packed); err != nil {
		return answer(err)
	}
	reply := make([]byte, 4096)
	size, err := conn.Read(reply)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "timeout"
		}
		return answer(err)
	}
	var p dnsmessage.Parser
	h, err := p.Start(reply[:size])
	if err != nil {
		return "no answer"
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess:
		return "ok"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	}
	return "NOTIMP"
}
