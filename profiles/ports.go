package profiles

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// PortRule is one `host_port` or `publish` block: a TCP port of the host's 127.0.0.1
// and the port of the jail's loopback that stands for it.
type PortRule struct {
	Label  string `json:"label"` // as written
	Host   uint16 `json:"host"`
	Jail   uint16 `json:"jail"`
	Reason string `json:"reason,omitempty"`
	Origin Origin `json:"origin"`

	Limit       *Quota `json:"limit,omitempty"`       // connections
	Upload      int64  `json:"upload,omitempty"`      // bytes out of the jail in a run; 0: no cap
	Download    int64  `json:"download,omitempty"`    // bytes into the jail in a run; 0: no cap
	Connections int64  `json:"connections,omitempty"` // at once; 0: no cap
}

// maxPortRules bounds the blocks of each kind in a profile: each has a socket, and all
// of a jail's sockets go through one message (unix(7), SCM_MAX_FD).
const maxPortRules = 32

// portRule reads a host_port or a publish block. Only a publish has two ports: what
// stands for a port of the host's has the same number in the jail, so that an address
// means the same on both sides.
func (d *decoder) portRule(b *hcl.Block, two bool) (r PortRule, ok bool) {
	c := d.content(b.Body, portRuleSchema())
	r = PortRule{Label: b.Labels[0], Origin: d.origin(b.DefRange)}
	host, inside, pair := strings.Cut(r.Label, ":")
	if !pair {
		inside = host
	}
	var herr, jerr error
	r.Host, herr = parsePort(host)
	r.Jail, jerr = parsePort(inside)
	if ok = herr == nil && jerr == nil && (two || !pair); !ok {
		help := "write for example \"5432\""
		if two {
			help = "write for example \"3000\", or \"8080:3000\" for the jail's 3000 as the host's 8080"
		}
		d.fail(b.LabelRanges[0], "Wrong port", fmt.Sprintf("%q is no port: %s.", r.Label, help))
	}
	if a := c.Attributes["reason"]; a != nil {
		r.Reason, _ = d.sentenceText(a.Expr)
	}
	if a := c.Attributes["limit"]; a != nil {
		r.Limit = d.quota(a)
	}
	for _, f := range []struct {
		name string
		to   *int64
	}{{"upload", &r.Upload}, {"download", &r.Download}} {
		if a := c.Attributes[f.name]; a != nil {
			*f.to, _ = d.size(a.Expr, 1, "a port over which nothing may go needs no block")
		}
	}
	if a := c.Attributes["connections"]; a != nil {
		r.Connections, _ = d.integer(a.Expr, "number of connections", math.MaxInt32)
	}
	return r, ok
}

// portRules adds a block to a file's list, where a port stands once.
func (d *decoder) portRules(b *hcl.Block, list *[]PortRule) {
	r, ok := d.portRule(b, b.Type == "publish")
	if !ok {
		return
	}
	if i := slices.IndexFunc(*list, func(o PortRule) bool { return o.Host == r.Host }); i >= 0 {
		d.fail(b.DefRange, "Duplicate port", fmt.Sprintf("The host's port %d already stands in line %d: a port is one port of the jail's.", r.Host, (*list)[i].Origin.Line))
		return
	}
	*list = append(*list, r)
}

// addPorts adds what is not there yet, so that the nearest file's ports stay.
func addPorts(to *[]PortRule, from []PortRule) {
	for _, r := range from {
		if !slices.ContainsFunc(*to, func(o PortRule) bool { return o.Host == r.Host }) {
			*to = append(*to, r)
		}
	}
}

// socketCounts reports a profile with more ports than there are sockets for.
func (l *loader) socketCounts(s *Spec) {
	l.udpPorts(s)
	for _, list := range [][]PortRule{s.Network.HostPorts, s.Network.Publish} {
		if len(list) > maxPortRules {
			l.fail(nil, "Too many ports", fmt.Sprintf("With the block of %s the profile has more than %d of its kind.", list[maxPortRules].Origin, maxPortRules))
		}
	}
}

// HostPort decides a connection to the jail's stand-in for a port of the host's.
func (n *Network) HostPort(port uint16) Verdict {
	for i := range n.HostPorts {
		if r := &n.HostPorts[i]; r.Host == port {
			return n.port(r)
		}
	}
	return Verdict{Action: Deny, Reason: fmt.Sprintf("the profile has no host_port %d", port)}
}

// port is the verdict on a port rule. A deny of the host's loopback address counts as
// everywhere, and so does a ceiling: it has to allow that address and port.
func (n *Network) port(r *PortRule) Verdict {
	loopback := hostLoopback()
	if d := best(n.Deny, deniesPort, "", loopback, r.Host); d != nil {
		return Verdict{Action: Deny, Rule: d, Reason: denyReason("the profile", d, "", loopback)}
	}
	v := Verdict{Action: Allow, Rule: r.Rule(), Reason: r.Reason}
	if n.Ceiling == nil {
		return v
	}
	return v.under(n.Ceiling.decideBy("the ceiling of this machine", tcp, "", loopback, r.Host), r.Host)
}

func hostLoopback() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 1}) }

// HasHostPort says whether the profile is about a port of the host's loopback.
func (n *Network) HasHostPort(port uint16) bool {
	return slices.ContainsFunc(n.HostPorts, func(r PortRule) bool { return r.Host == port })
}

// Publications are the ports of the jail's that the host gets: those that no deny and
// no ceiling takes away.
func (n *Network) Publications() (list []PortRule) {
	for i := range n.Publish {
		if n.port(&n.Publish[i]).Action == Allow {
			list = append(list, n.Publish[i])
		}
	}
	return list
}

// Publication finds the block that publishes a port of the jail's as one of the host's.
func (n *Network) Publication(host uint32) (PortRule, bool) {
	for _, r := range n.Publications() {
		if uint32(r.Host) == host {
			return r, true
		}
	}
	return PortRule{}, false
}

// Rule is a port rule in the form of a rule about a host, by which it is counted.
func (r *PortRule) Rule() *NetRule {
	loopback := hostLoopback()
	return &NetRule{Label: r.Label, Hosts: []HostPattern{{Kind: HostPrefix, Prefix: netip.PrefixFrom(loopback, 32)}}, Ports: []uint16{r.Host},
		Protocol: ProtocolTCP, Upstream: netip.AddrPortFrom(loopback, r.Host).String(), Reason: r.Reason, Origin: r.Origin,
		Limit: r.Limit, Upload: r.Upload, Download: r.Download, Connections: r.Connections}
}
