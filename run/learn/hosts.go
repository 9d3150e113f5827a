package learn

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/agentjail/agentjail/profiles"
)

// target is what one allow block is about.
type target struct {
	host     string
	port     uint16
	protocol profiles.Protocol
}

// hosts grants names and public addresses, by the port that was connected to.
func (d *drafter) hosts(hosts []Host) {
	wanted, ports := map[target]*tally{}, map[string]bool{}
	var names []Host // of which no port is known
	for _, h := range hosts {
		t, ok := d.host(h)
		switch {
		case !ok:
		case h.Port == 0:
			names = append(names, h)
		default:
			ports[t.host] = true
			if wanted[t] == nil {
				wanted[t] = &tally{}
			}
			wanted[t].add(h.Count, h.By)
		}
	}
	for _, h := range names {
		t, _ := d.host(h)
		if ports[t.host] {
			continue
		}
		d.ask("name "+t.host, times(h.Count, h.By)+"; nothing was connected to, so that no port is known", allowLine(t.host, 443, profiles.ProtocolTLS))
	}
	notes := map[target]string{}
	widenHosts(wanted, notes)
	for _, t := range slices.SortedFunc(maps.Keys(wanted), func(a, b target) int {
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port), strings.Compare(string(a.protocol), string(b.protocol)))
	}) {
		d.p.Allow = append(d.p.Allow, Allow{Host: t.host, Port: t.port, Protocol: t.protocol, Why: notes[t] + wanted[t].String()})
	}
}

// host decides about one host.
func (d *drafter) host(h Host) (target, bool) {
	what := "connect " + hostText(h)
	who := times(h.Count, h.By)
	no := func(why, rule string) (target, bool) {
		d.ask(what, who+"; "+why, rule)
		return target{}, false
	}
	if h.Rule != "" && h.Port != 0 && d.allowed(h) {
		return no("a rule allows it, and yet: "+h.Reason+" ["+h.Rule+"]", "")
	}
	if h.Rule != "" {
		return no("refused by "+h.Rule+", which holds against every other rule", "")
	}
	t := target{port: h.Port, protocol: protocolOf(h.Network, h.Port)}
	switch {
	case h.Network != "tcp" && h.Network != "udp":
		return no("no rule is about "+h.Network, "")
	case h.Network == "udp" && (h.Port == 53 || h.Port == 443):
		return no("a name server of its own, or QUIC: programs go on without", "")
	}
	if h.Name == "" {
		addr, err := netip.ParseAddr(h.Addr)
		if err != nil || addr.Zone() != "" {
			return no("it is no address", "")
		}
		t.host = addr.Unmap().String()
		if h.Special != "" {
			return no("an address that is "+h.Special, allowLine(t.host, t.port, t.protocol))
		}
		if t.port == 0 {
			return no("no port is known", "")
		}
		return t, true
	}
	name, addr, err := profiles.CanonicalHost(h.Name)
	switch {
	case err != nil || addr.IsValid():
		return no("it is no name that a rule can be about", "")
	case internalName(name):
		return no("a name of this machine, of a private network or of a cloud's metadata", allowLine(name, cmp.Or(t.port, 443), t.protocol))
	}
	t.host = name
	return t, true
}

// allowed says whether the profile lets the host be connected to: what refused it was
// what was said there, or where its name leads.
func (d *drafter) allowed(h Host) bool {
	addr, err := netip.ParseAddr(h.Addr)
	if h.Name != "" || err != nil {
		addr = netip.Addr{}
	}
	if h.Network == "udp" {
		return d.base.Network.Datagram(h.Name, addr, h.Port).Action == profiles.Allow
	}
	return d.base.Network.Connect(h.Name, addr, h.Port).Action == profiles.Allow
}

// protocolOf guesses what is spoken on a port: nobody was let speak. The guess is the
// narrowest that fits what IANA's registry and habit say of the port; a wrong one is
// refused, and the next run of learn says so.
func protocolOf(network string, port uint16) profiles.Protocol {
	switch {
	case network == "udp":
		return profiles.ProtocolUDP
	case slices.Contains([]uint16{0, 443, 465, 563, 636, 853, 989, 990, 993, 995, 5061, 5671, 6443, 6697, 8443, 9443}, port):
		return profiles.ProtocolTLS
	case slices.Contains([]uint16{80, 591, 3000, 3128, 5000, 8000, 8008, 8080, 8081, 8888}, port):
		return profiles.ProtocolHTTP
	case port == 22 || port == 2222:
		return profiles.ProtocolSSH
	}
	return profiles.ProtocolTCP
}

// internalName says whether a name is not one of the public internet: RFC 6761, RFC
// 6762, ICANN's .internal, and names of one label.
func internalName(name string) bool {
	if !strings.Contains(name, ".") {
		return true
	}
	for _, end := range []string{"local", "localhost", "internal", "intranet", "private", "corp", "home", "lan", "localdomain", "home.arpa", "arpa", "onion", "consul", "svc"} {
		if strings.HasSuffix(name, "."+end) {
			return true
		}
	}
	return false
}

// widenHosts grants the domain where there are siblings one label below it, unless
// others can have names there too.
func widenHosts(wanted map[target]*tally, notes map[target]string) {
	below := map[target][]target{}
	for t := range wanted {
		if _, err := netip.ParseAddr(t.host); err == nil {
			continue
		}
		if _, domain, ok := strings.Cut(t.host, "."); ok {
			below[target{"*." + domain, t.port, t.protocol}] = append(below[target{"*." + domain, t.port, t.protocol}], t)
		}
	}
	for wild, kids := range below {
		if len(kids) < siblings || publicDomain(strings.TrimPrefix(wild.host, "*.")) {
			continue
		}
		sum := &tally{}
		slices.SortFunc(kids, func(a, b target) int { return strings.Compare(a.host, b.host) })
		for _, k := range kids {
			sum.add(wanted[k].count, wanted[k].by)
			delete(wanted, k)
		}
		wanted[wild] = sum
		notes[wild] = fmt.Sprintf("%d names, %s and others, ", len(kids), kids[0].host)
	}
}

// publicDomain says whether everybody can have a name below a domain: the Public Suffix
// List, its private part too, and the hosts of user content that lint knows.
func publicDomain(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain || profiles.PublicSuffix(domain) != ""
}

func hostText(h Host) string {
	host := cmp.Or(pathText(h.Name), h.Addr)
	if h.Port != 0 {
		host += ":" + strconv.Itoa(int(h.Port))
	}
	if h.Network != "tcp" {
		host += " (" + h.Network + ")"
	}
	return host
}

// requests grants methods and paths of hosts that have request rules.
func (d *drafter) requests(requests []Request) {
	type place struct {
		t      target
		method string
	}
	wanted := map[place]map[string]*tally{}
	for _, r := range requests {
		what := fmt.Sprintf("request %s %s://%s%s", pathText(r.Method), r.Scheme, pathText(r.Host), pathText(r.Path))
		host, addr, err := profiles.CanonicalHost(r.Host)
		p, perr := profiles.CanonicalPath(r.Path)
		if addr.IsValid() {
			host = addr.String()
		}
		switch {
		case r.Rule != "" && !strings.Contains(r.Reason, "no request"):
			d.ask(what, times(r.Count, r.By)+"; refused: "+r.Reason+" ["+r.Rule+"]", "")
			continue
		case err != nil || perr != nil || p != r.Path || !isMethod(r.Method) || plain(p) != "" || strings.Contains(p, "%"):
			d.ask(what, times(r.Count, r.By)+"; no rule can be about it", "")
			continue
		}
		protocol := profiles.ProtocolTLS
		if r.Scheme == "http" {
			protocol = profiles.ProtocolHTTP
		}
		at := place{target{host, r.Port, protocol}, r.Method}
		if wanted[at] == nil {
			wanted[at] = map[string]*tally{}
		}
		if wanted[at][p] == nil {
			wanted[at][p] = &tally{}
		}
		wanted[at][p].add(r.Count, r.By)
	}
	asks := map[target][]Ask{}
	for at, paths := range wanted {
		widenPaths(paths)
		for p, t := range paths {
			asks[at.t] = append(asks[at.t], Ask{at.method, p, t.String()})
		}
	}
	for _, t := range slices.SortedFunc(maps.Keys(asks), func(a, b target) int {
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port), strings.Compare(string(a.protocol), string(b.protocol)))
	}) {
		slices.SortFunc(asks[t], func(a, b Ask) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
		})
		d.grantRequests(t, asks[t])
	}
}

// grantRequests adds requests to a host. Where the host's own rule counts what is asked
// of it, a second rule would have counts of its own beside those: that is a question.
func (d *drafter) grantRequests(t target, asks []Ask) {
	r := d.base.Network.Connect(t.host, netip.Addr{}, t.port).Rule
	if r == nil || r.Limit == nil && r.Upload == 0 && r.Download == 0 {
		d.p.Allow = append(d.p.Allow, Allow{Host: t.host, Port: t.port, Protocol: t.protocol, Requests: asks, Kept: settings(r), Why: "its request rules refused these"})
		return
	}
	for _, a := range asks {
		d.ask(fmt.Sprintf("request %s %s of %s", a.Method, pathText(a.Path), t.host), a.Why+"; what is asked of it is counted by "+r.Origin.String()+": say it there", "request "+hclString(a.Method)+" "+hclString(a.Path)+" {}")
	}
}

// settings are those of the rule that lets a host be connected to. A block about the same
// host takes its place, and must lead to the same upstream under the same caps; secrets
// and request rules of both count (profiles.Access).
func settings(r *profiles.NetRule) (list []Setting) {
	if r == nil {
		return nil
	}
	add := func(name, value string) {
		if value != "" {
			list = append(list, Setting{name, value})
		}
	}
	add("provider", string(r.Provider))
	add("upstream", r.Upstream)
	add("upstream_ca", r.UpstreamCA)
	add("sanitize", string(r.Sanitize))
	if r.Connections > 0 {
		add("connections", strconv.FormatInt(r.Connections, 10))
	}
	return list
}

// widenPaths puts "*" for the last segment where there are siblings.
func widenPaths(paths map[string]*tally) {
	folders := map[string][]string{}
	for p := range paths {
		if dir, last := path.Split(p); last != "" && dir != "/" {
			folders[dir] = append(folders[dir], p)
		}
	}
	for dir, kids := range folders {
		if len(kids) < siblings {
			continue
		}
		sum := &tally{}
		slices.Sort(kids)
		for _, k := range kids {
			sum.add(paths[k].count, paths[k].by)
			delete(paths, k)
		}
		paths[dir+"*"] = sum
	}
}

func isMethod(s string) bool {
	return s != "" && len(s) <= 20 && !strings.ContainsFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' })
}

// allowLine is a block for one host.
func allowLine(host string, port uint16, protocol profiles.Protocol) string {
	body := allowBody(port, protocol)
	if len(body) > 1 { // HCL has one attribute in a block of one line
		return "allow " + hclString(fmt.Sprintf("%s:%d", bracketed(host), port)) + " { " + body[1] + " }"
	}
	return strings.Replace("allow "+hclString(host)+" { "+strings.Join(body, "")+" }", "{  }", "{}", 1)
}

// bracketed is a host before a port.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// allowBody are the attributes beyond what goes without saying.
func allowBody(port uint16, protocol profiles.Protocol) (lines []string) {
	if port != 443 {
		lines = append(lines, fmt.Sprintf("ports = [%d]", port))
	}
	if protocol != profiles.ProtocolTLS {
		lines = append(lines, "protocol = "+hclString(string(protocol)))
	}
	return lines
}
