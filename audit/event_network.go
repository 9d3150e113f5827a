package audit

import (
	"cmp"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

func (s source) connect(r Connect, at time.Time) (header, object) {
	h := header{
		class:    networkActivity(),
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  r.Network + " connection to " + target(r.Name, r.Addr, r.Port) + " " + string(r.Outcome),
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	switch r.Outcome {
	case Allowed:
		h.activity = activity{1, "Open"}
	case Failed:
		h.activity = activity{4, "Fail"}
	default:
		h.activity = activity{5, "Refuse"}
	}

	body := s.arena.object(6)
	var u object
	s.actor(&body, r.Process)
	body.text("app_protocol_name", r.Protocol)
	body.object("connection_info", s.connection(r.Network, r.Addr, r.Direction, r.ID))
	body.object("dst_endpoint", s.endpoint(&u, r.Name, r.Addr, r.Port))
	if r.SrcPort != 0 {
		src := s.arena.object(2)
		src.own("name", sourceName(r.Direction))
		src.number("port", int64(r.SrcPort))
		body.object("src_endpoint", src)
	}
	if r.SNI != "" {
		tls := s.arena.object(2)
		tls.text("sni", r.SNI)
		tls.own("version", "unknown") // required by the schema; a ClientHello only offers
		body.object("tls", tls)
	}
	u.text("dialled", r.Dialled)
	return h, s.root(h, body, u)
}

func (s source) connectClosed(r ConnectClosed, at time.Time) (header, object) {
	status := success()
	if r.Error != "" {
		status = failure()
	}
	h := header{
		class:    networkActivity(),
		activity: activity{2, "Close"},
		severity: informational(),
		verdict:  observed(status),
		message: "connection to " + target(r.Name, r.Addr, r.Port) + " closed, " +
			strconv.FormatInt(r.BytesOut, 10) + " bytes out, " + strconv.FormatInt(r.BytesIn, 10) + " in",
		reason: r.Error,
		at:     at,
	}
	body := s.arena.object(4)
	var u object
	s.actor(&body, Process{})
	body.object("connection_info", s.connection("", r.Addr, r.Direction, r.ID))
	body.object("dst_endpoint", s.endpoint(&u, r.Name, r.Addr, r.Port))
	traffic := s.arena.object(3)
	traffic.number("bytes", r.BytesIn+r.BytesOut)
	traffic.number("bytes_in", r.BytesIn)
	traffic.number("bytes_out", r.BytesOut)
	body.object("traffic", traffic)
	u.number("duration_us", r.Duration.Microseconds())
	return h, s.root(h, body, u)
}

func (s source) dns(r DNS, at time.Time) (header, object) {
	h := header{
		class:    dnsActivity(),
		activity: activity{1, "Query"},
		severity: severityFor(r.Outcome),
		verdict:  verdictOf(r.Outcome),
		message:  "query for " + r.Type + " " + r.Name + " " + string(r.Outcome),
		rule:     r.Rule,
		reason:   r.Reason,
		at:       at,
	}
	body := s.arena.object(6)
	s.actor(&body, r.Process)
	answers := make([]object, 0, len(r.Answers))
	for _, answer := range r.Answers {
		o := s.arena.object(2)
		o.text("rdata", answer)
		o.text("type", r.Type)
		answers = append(answers, o)
	}
	body.objects("answers", answers)
	resolver := s.arena.object(2)
	resolver.own("name", "the jail's resolver")
	resolver.number("port", 53)
	body.object("dst_endpoint", resolver)

	query := s.arena.object(3)
	query.own("class", "IN")
	query.text("hostname", cmp.Or(r.Name, ".")) // an empty name is the root (RFC 1035 section 3.1)
	query.text("type", r.Type)
	body.object("query", query)

	code := rcode(r.RCode)
	body.text("rcode", code.name)
	body.number("rcode_id", code.id)
	return h, s.root(h, body, nil)
}

// rcode maps the mnemonic of RFC 6895 section 2.3 to the schema's caption.
func rcode(s string) caption {
	switch strings.ToUpper(s) {
	case "NOERROR":
		return caption{0, "NoError"}
	case "FORMERR":
		return caption{1, "FormError"}
	case "SERVFAIL":
		return caption{2, "ServError"}
	case "NXDOMAIN":
		return caption{3, "NXDomain"}
	case "NOTIMP":
		return caption{4, "NotImp"}
	case "REFUSED":
		return caption{5, "Refused"}
	default:
		return caption{99, cmp.Or(s, "unknown")}
	}
}

// endpoint is the other end as the jail named it. An address that is none is
// kept under unmapped: the schema's ip attribute must be an address.
func (s source) endpoint(u *object, name, addr string, port uint16) object {
	o := s.arena.object(3)
	o.text("hostname", name)
	if _, err := netip.ParseAddr(addr); err == nil {
		o.own("ip", addr)
	} else {
		u.text("addr", addr)
		if name == "" {
			o.own("name", "unknown")
		}
	}
	if port != 0 {
		o.number("port", int64(port))
	}
	return o
}

// sourceName is where a connection came from.
func sourceName(direction string) string {
	if direction == Inbound {
		return "host"
	}
	return "jail"
}

// connection describes the transport. The numbers are IANA's protocol numbers.
func (s source) connection(network, addr, direction string, id uint64) object {
	o := s.arena.object(6)
	if direction == Inbound {
		o.own("direction", "Inbound")
		o.number("direction_id", 1)
	} else {
		o.own("direction", "Outbound")
		o.number("direction_id", 2)
	}
	o.text("protocol_name", network)
	ip, err := netip.ParseAddr(addr)
	switch number, isNumber := strings.CutPrefix(network, "ip-proto-"); {
	case isNumber:
		if n, err := strconv.ParseUint(number, 10, 8); err == nil {
			o.number("protocol_num", int64(n))
		}
	case network == "tcp":
		o.number("protocol_num", 6)
	case network == "udp":
		o.number("protocol_num", 17)
	case network == "icmp" && err == nil && ip.Is6() && !ip.Is4In6():
		o.number("protocol_num", 58) // ICMPv6
	case network == "icmp":
		o.number("protocol_num", 1)
	}
	if err == nil {
		if ip.Unmap().Is4() {
			o.number("protocol_ver_id", 4)
		} else {
			o.number("protocol_ver_id", 6)
		}
	}
	if id != 0 {
		o.own("uid", strconv.FormatUint(id, 10))
	}
	return o
}

// target names an endpoint for people.
func target(name, addr string, port uint16) string {
	host := cmp.Or(name, addr, "unknown")
	if port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
