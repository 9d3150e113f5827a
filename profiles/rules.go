package profiles

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
)

func (d *decoder) network(b *hcl.Block, l *layer) {
	c := d.content(b.Body, networkSchema())
	for _, rule := range c.Blocks {
		switch rule.Type {
		case "allow":
			l.network.Allow = append(l.network.Allow, d.allow(rule)...)
		case "deny":
			l.network.Deny = append(l.network.Deny, d.deny(rule)...)
		case "ask":
			l.network.Ask = append(l.network.Ask, d.ask(rule)...)
		case "host_port":
			d.portRules(rule, &l.network.HostPorts)
		case "publish":
			d.portRules(rule, &l.network.Publish)
		}
	}
}

// allow reads one allow block. It becomes several rules where its hosts carry
// ports of their own or come from several lines, or where its ports have different
// default protocols: a rule then says exactly what was written, never the product
// of all hosts and all ports.
func (d *decoder) allow(b *hcl.Block) (rules []NetRule) {
	c := d.content(b.Body, allowSchema())
	ready := d.like(c)
	hosts, ok := d.hosts(b, c, ready)
	ports, fine := d.ports(c.Attributes["ports"])
	ok = ok && fine
	model := NetRule{Label: b.Labels[0]}
	if a := c.Attributes["reason"]; a != nil {
		model.Reason, _ = d.sentenceText(a.Expr)
	}
	if a := c.Attributes["protocol"]; a != nil {
		p, fine := d.protocol(a, ProtocolUDP)
		model.Protocol, ok = p, ok && fine
	}
	if a := c.Attributes["approved"]; a != nil {
		var fine bool
		model.Approved, fine = d.boolean(a.Expr)
		ok = ok && fine
	}
	d.upstream(c, &model)
	bound := len(d.bindings)
	ok = d.requests(c, &model) && ok
	d.provider(c, ready, &model)
	if !ok {
		return nil
	}
	if i := slices.IndexFunc(hosts, func(h host) bool { return len(portsOf(h, ports)) == 0 }); i >= 0 && model.Protocol == ProtocolUDP {
		d.fail(c.Attributes["protocol"].Expr.Range(), "No port", fmt.Sprintf("A UDP rule names its ports: write for example %q or ports = [123].", hosts[i].HostPattern.String()+":123"))
		return nil
	}
	rules = withPorts(hosts, ports, model)
	d.requestProtocol(c, rules)
	d.providerProtocol(c, rules)
	d.wildcardSecret(c, rules)
	withoutTLS(d.bindings[bound:], rules)
	return rules
}

// ask reads one ask block. Like an allow it has ports, 443 without any, and says what
// is spoken there once it is granted.
func (d *decoder) ask(b *hcl.Block) (rules []NetRule) {
	c := d.content(b.Body, askSchema())
	hosts, ok := d.hosts(b, c, nil)
	ports, fine := d.ports(c.Attributes["ports"])
	ok = ok && fine
	model := NetRule{Label: b.Labels[0]}
	if a := c.Attributes["reason"]; a != nil {
		model.Reason, _ = d.sentenceText(a.Expr)
	}
	if a := c.Attributes["protocol"]; a != nil {
		p, fine := d.protocol(a)
		model.Protocol, ok = p, ok && fine
	}
	if !ok {
		return nil
	}
	return withPorts(hosts, ports, model)
}

// protocol reads a protocol: one of the four over TCP, or of more.
func (d *decoder) protocol(a *hcl.Attribute, more ...Protocol) (Protocol, bool) {
	words := []string{string(ProtocolTLS), string(ProtocolHTTP), string(ProtocolSSH), string(ProtocolTCP)}
	for _, p := range more {
		words = append(words, string(p))
	}
	p, ok := d.choice(a.Expr, "protocol", words...)
	return Protocol(p), ok
}

// withPorts makes the rules of an allow or an ask out of its hosts and ports.
func withPorts(hosts []host, ports []uint16, model NetRule) (rules []NetRule) {
	for _, h := range hosts {
		p := portsOf(h, ports)
		if len(p) == 0 {
			p = []uint16{443}
		}
		for _, group := range byProtocol(p, model.Protocol) {
			r := model
			r.Hosts, r.Ports, r.Protocol, r.Origin = []HostPattern{h.HostPattern}, group.ports, group.protocol, h.origin
			r.forProtocol()
			rules = join(rules, r)
		}
	}
	return rules
}

func (d *decoder) deny(b *hcl.Block) (rules []NetRule) {
	c := d.content(b.Body, denySchema())
	hosts, ok := d.hosts(b, c, nil)
	ports, fine := d.ports(c.Attributes["ports"])
	model := NetRule{Label: b.Labels[0]}
	if a := c.Attributes["reason"]; a != nil {
		model.Reason, _ = d.sentenceText(a.Expr)
	}
	if !ok || !fine {
		return nil
	}
	for _, h := range hosts {
		r := model
		r.Hosts, r.Ports, r.Origin = []HostPattern{h.HostPattern}, portsOf(h, ports), h.origin
		rules = join(rules, r)
	}
	return rules
}

// join adds a rule, into the one before where they differ in their hosts alone.
func join(rules []NetRule, r NetRule) []NetRule {
	if n := len(rules); n > 0 {
		last := &rules[n-1]
		if last.Origin == r.Origin && last.Protocol == r.Protocol && slices.Equal(last.Ports, r.Ports) {
			last.Hosts = append(last.Hosts, r.Hosts...)
			return rules
		}
	}
	return append(rules, r)
}

// host is a host pattern as one place of a file writes it; port is 0 where it has none.
type host struct {
	HostPattern
	port   uint16
	origin Origin
}

// hosts reads the hosts of a rule: the list `hosts`, and only without one the label.
func (d *decoder) hosts(b *hcl.Block, c *hcl.BodyContent, ready *Ready) (list []host, ok bool) {
	label := text{b.Labels[0], b.LabelRanges[0]}
	if label.s == "" {
		d.fail(label.rng, "Wrong host", "The rule has an empty label. Write the host there, or a word of your own and the hosts in hosts = [...].")
		return nil, false
	}
	texts, ok := []text{label}, true
	a := c.Attributes["hosts"]
	if a != nil {
		texts, ok = d.texts(a.Expr)
		if ok && len(texts) == 0 {
			d.fail(a.Expr.Range(), "No host", "The list is empty, so the rule is about no host. Name one, or take the rule out.")
			return nil, false
		}
	}
	if known, fine := d.readyHosts(b, c, ready); fine {
		texts = known
		ok = len(known) > 0
	}
	hasPorts := c.Attributes["ports"] != nil
	for _, t := range texts {
		p, port, err := ParseHostPattern(t.s)
		switch {
		case err != nil:
			d.wrong(t.rng, "Wrong host", err)
			ok = false
		case port != 0 && hasPorts:
			d.fail(t.rng, "Port given twice", fmt.Sprintf("%q has a port, and the rule has ports = [...] too. Keep one of the two.", t.s))
			ok = false
		default:
			list = append(list, host{p, port, d.origin(t.rng)})
		}
	}
	return list, ok
}

func (d *decoder) ports(a *hcl.Attribute) (ports []uint16, ok bool) {
	if a == nil {
		return nil, true
	}
	ok = true
	items := d.items(a.Expr, &ok)
	for _, it := range items {
		n, fine := d.integerOf(it.v, it.rng, "port", 65535)
		ok = ok && fine
		if fine && !slices.Contains(ports, uint16(n)) {
			ports = append(ports, uint16(n))
		}
	}
	if ok && len(ports) == 0 {
		d.fail(a.Expr.Range(), "No port", "The list is empty, so the rule is about no port. Name one, or leave `ports` out: an allow then means 443, a deny every port.")
		return nil, false
	}
	return ports, ok
}

func portsOf(h host, ports []uint16) []uint16 {
	if h.port != 0 {
		return []uint16{h.port}
	}
	return append([]uint16{}, ports...)
}

type portGroup struct {
	protocol Protocol
	ports    []uint16
}

// byProtocol groups ports by what is spoken on them: what the rule says, else what
// IANA registers for 80 and 22, else TLS.
func byProtocol(ports []uint16, said Protocol) (groups []portGroup) {
	for _, port := range ports {
		p := said
		switch {
		case p != "":
		case port == 80:
			p = ProtocolHTTP
		case port == 22:
			p = ProtocolSSH
		default:
			p = ProtocolTLS
		}
		i := slices.IndexFunc(groups, func(g portGroup) bool { return g.protocol == p })
		if i < 0 {
			groups = append(groups, portGroup{protocol: p})
			i = len(groups) - 1
		}
		groups[i].ports = append(groups[i].ports, port)
	}
	return groups
}

// upstream reads what is dialled instead of the host, and what vouches for it.
func (d *decoder) upstream(c *hcl.BodyContent, r *NetRule) {
	if a := c.Attributes["upstream"]; a != nil {
		if t, ok := d.text(a.Expr); ok {
			s, err := parseUpstream(t.s)
			if err != nil {
				d.wrong(t.rng, "Wrong upstream", err)
			}
			r.Upstream = s
		}
	}
	a := c.Attributes["upstream_ca"]
	if a == nil {
		return
	}
	if c.Attributes["upstream"] == nil {
		d.fail(a.NameRange, "No upstream", "`upstream_ca` says which certificates the upstream may show, and the rule has no `upstream`. Write upstream = \"host:port\", or take `upstream_ca` out.")
	}
	if r.Protocol != "" && r.Protocol != ProtocolTLS {
		d.fail(a.NameRange, "No TLS", fmt.Sprintf("`upstream_ca` is for TLS, and the rule's protocol is %q.", r.Protocol))
	}
	if t, ok := d.text(a.Expr); ok {
		p, err := absolutePath(t.s, d.home, filepath.Dir(d.file.path))
		if err != nil {
			d.wrong(t.rng, "Wrong path", err)
		}
		r.UpstreamCA = p
	}
}

func parseUpstream(s string) (string, error) {
	p, port, err := ParseHostPattern(s)
	switch {
	case err != nil:
		return "", err
	case p.Kind == HostWildcard, p.Kind == HostPrefix && !p.Prefix.IsSingleIP():
		return "", fmt.Errorf("%q is not one host: write for example \"127.0.0.1:8443\"", s)
	case port == 0:
		return "", errors.New("an upstream needs its port: write for example \"127.0.0.1:8443\"")
	}
	return net.JoinHostPort(p.String(), strconv.Itoa(int(port))), nil
}

// MaxUDPPorts is how many different UDP ports a profile may name: each takes two
// sockets in the jail, and all of a jail's sockets go through one message of at most
// 253 descriptors (unix(7), SCM_MAX_FD).
const MaxUDPPorts = 32

// udpPorts reports a profile that names more UDP ports than there are sockets for.
func (l *loader) udpPorts(s *Spec) {
	ports := map[uint16]bool{}
	for _, r := range s.Network.Allow {
		if r.transport() != udp {
			continue
		}
		for _, p := range r.Ports {
			ports[p] = true
		}
		if len(ports) > MaxUDPPorts {
			l.fail(nil, "Too many UDP ports", fmt.Sprintf("With the rule of %s the profile names more than %d different UDP ports.", r.Origin, MaxUDPPorts))
			return
		}
	}
}
