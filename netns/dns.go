package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers the jail's questions by itself: nothing goes upstream until the
// agent connects.
type resolver struct {
	network *profiles.Network
	pool    *pool
	learn   bool // a learning run; see learnt
}

const (
	// dnsTTL keeps programs from asking again for each connection; an address
	// stands for its name for the whole run.
	dnsTTL = 60

	// dnsUDPSize is what an answer over UDP may be without EDNS (RFC 1035
	// section 2.3.4) and what we say that we take (RFC 6891). Our answers are far
	// smaller.
	dnsUDPSize = 512

	// The option Extended DNS Error and its code "Blocked": RFC 8914 sections 2
	// and 4.16.
	edeBlocked = 15
	optEDE     = 15

	maxEDEText = 200
)

var errNotAQuestion = errors.New("not a DNS question")

// answer turns a question into an answer and its record. What is no question gets
// no answer, so that nothing can be made to bounce.
//
// A refused name is NXDOMAIN, not REFUSED: musl leaves every code but NOERROR,
// NXDOMAIN and SERVFAIL unread and waits for its timeout, glibc and Go ask again
// and then call it a temporary failure, which programs retry. NXDOMAIN ends the
// matter at once everywhere, and the Extended DNS Error says what it really is.
func (r *resolver) answer(query []byte) ([]byte, audit.DNS, error) {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil, audit.DNS{}, errNotAQuestion
	}
	q, err := p.Question()
	if err != nil {
		return nil, audit.DNS{}, errNotAQuestion
	}
	reply := reply{header: dnsmessage.Header{
		ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired,
		RecursionAvailable: true,
	}, question: q}
	reply.edns, reply.badVersion = edns(&p)
	rec := audit.DNS{Name: nameText(q.Name), Type: typeText(q.Type), Outcome: audit.Allowed}

	_, extra := p.Question() // only reached by a caller that put two in
	switch {
	case h.OpCode != 0:
		reply.header.RCode = dnsmessage.RCodeNotImplemented
		rec.Outcome, rec.Reason = audit.Blocked, "not a standard query"
	case extra == nil:
		reply.header.RCode = dnsmessage.RCodeFormatError
		rec.Outcome, rec.Reason = audit.Blocked, "more than one question in a query"
	case reply.badVersion:
		rec.Outcome, rec.Reason = audit.Failed, "unknown version of EDNS"
	case q.Class != dnsmessage.ClassINET:
		reply.header.RCode = dnsmessage.RCodeRefused
		rec.Outcome, rec.Reason = audit.Blocked, "class is not IN"
	default:
		r.resolve(q, &reply, &rec)
	}
	rec.RCode = rcodeText(reply.header.RCode)
	if reply.badVersion {
		rec.RCode = "BADVERS"
	}
	for _, a := range reply.addrs {
		rec.Answers = append(rec.Answers, a.String())
	}
	if reply.ptr != "" {
		rec.Answers = append(rec.Answers, reply.ptr)
	}
	msg, err := reply.pack()
	return msg, rec, err
}

// resolve decides one question.
func (r *resolver) resolve(q dnsmessage.Question, reply *reply, rec *audit.DNS) {
	refuse := func(v profiles.Verdict) {
		reply.header.RCode = dnsmessage.RCodeNameError
		rec.Outcome, rec.Reason = audit.Blocked, v.Reason
		if v.Rule != nil {
			rec.Rule = v.Rule.Origin.String()
		}
		reply.ede = denial(v)
	}
	if a, ok := reverseName(rec.Name); ok {
		name, _ := r.pool.name(a)
		switch {
		case name == "":
			refuse(profiles.Verdict{Reason: "only addresses that stand for a name here have one"})
		case q.Type == dnsmessage.TypePTR:
			reply.ptr = name
		}
		return
	}
	name, addr, err := profiles.CanonicalHost(rec.Name)
	if err != nil {
		refuse(profiles.Verdict{Reason: err.Error()})
		return
	}
	if addr.IsValid() {
		refuse(profiles.Verdict{Reason: "an address was asked for as if it were a name"})
		return
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 section 6.3
		reply.address(q.Type, netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback())
		return
	}
	v := r.network.Resolve(name)
	if v.Action == profiles.Deny || v.Rule == nil {
		if r.learn && v.Rule == nil && r.learnt(name, q.Type, reply) {
			rec.Outcome, rec.Reason = audit.Blocked, v.Reason
			return
		}
		refuse(v) // of an ask, a person is asked once the agent connects
		return
	}
	rec.Rule = v.Rule.Origin.String()
	if q.Type != dnsmessage.TypeA && q.Type != dnsmessage.TypeAAAA {
		// NODATA: the name exists, and has nothing of that type. HTTPS and SVCB
		// are among these, so that no client learns of ECH keys or other ports.
		return
	}
	v4, v6, err := r.pool.assign(name, v.Rule)
	if err != nil {
		refuse(profiles.Verdict{Rule: v.Rule, Reason: err.Error()})
		return
	}
	reply.address(q.Type, v4, v6)
}

// learnt gives a name that no rule is about an address all the same, so that the agent
// goes on and connects to a port: the record of that says which. The connection is
// refused, since no rule allows the name, and nothing goes upstream.
func (r *resolver) learnt(name string, t dnsmessage.Type, reply *reply) bool {
	if t != dnsmessage.TypeA && t != dnsmessage.TypeAAAA {
		return true // NODATA
	}
	v4, v6, err := r.pool.assign(name, &profiles.NetRule{Label: "learn"})
	if err != nil {
		return false
	}
	reply.address(t, v4, v6)
	return true
}

// reply is an answer in the making.
type reply struct {
	header     dnsmessage.Header
	question   dnsmessage.Question
	addrs      []netip.Addr
	ptr        string
	ede        string
	edns       bool
	badVersion bool
}

func (a *reply) address(t dnsmessage.Type, v4, v6 netip.Addr) {
	switch t {
	case dnsmessage.TypeA:
		a.addrs = []netip.Addr{v4}
	case dnsmessage.TypeAAAA:
		a.addrs = []netip.Addr{v6}
	}
}

func (a *reply) pack() ([]byte, error) {
	b := dnsmessage.NewBuilder(make([]byte, 0, dnsUDPSize), a.header)
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(a.question); err != nil {
		return nil, err
	}
	if err := b.StartAnswers(); err != nil {
		return nil, err
	}
	h := dnsmessage.ResourceHeader{Name: a.question.Name, Class: dnsmessage.ClassINET, TTL: dnsTTL}
	for _, addr := range a.addrs {
		var err error
		if addr.Is4() {
			err = b.AResource(h, dnsmessage.AResource{A: addr.As4()})
		} else {
			err = b.AAAAResource(h, dnsmessage.AAAAResource{AAAA: addr.As16()})
		}
		if err != nil {
			return nil, err
		}
	}
	if a.ptr != "" {
		name, err := dnsmessage.NewName(a.ptr + ".")
		if err != nil {
			return nil, err
		}
		if err := b.PTRResource(h, dnsmessage.PTRResource{PTR: name}); err != nil {
			return nil, err
		}
	}
	if a.edns { // RFC 6891 section 7: only to who sent one
		if err := a.packEDNS(&b); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

func (a *reply) packEDNS(b *dnsmessage.Builder) error {
	if err := b.StartAdditionals(); err != nil {
		return err
	}
	var h dnsmessage.ResourceHeader
	rcode := a.header.RCode
	if a.badVersion {
		rcode = 16 // BADVERS, RFC 6891 section 9
	}
	if err := h.SetEDNS0(4096, rcode, false); err != nil {
		return err
	}
	var opt dnsmessage.OPTResource
	if a.ede != "" {
		data := append([]byte{0, edeBlocked}, a.ede...)
		opt.Options = []dnsmessage.Option{{Code: optEDE, Data: data}}
	}
	return b.OPTResource(h, opt)
}

// edns looks for the OPT record of a query.
func edns(p *dnsmessage.Parser) (present, badVersion bool) {
	q := *p
	if q.SkipAllQuestions() != nil || q.SkipAllAnswers() != nil || q.SkipAllAuthorities() != nil {
		return false, false
	}
	for {
		h, err := q.AdditionalHeader()
		if err != nil {
			return false, false
		}
		if h.Type == dnsmessage.TypeOPT {
			return true, h.TTL>>16&0xff != 0
		}
		if q.SkipAdditional() != nil {
			return false, false
		}
	}
}

// denial is a refusal in one sentence, for the agent.
func denial(v profiles.Verdict) string {
	s := "agentjail: " + v.Reason
	if v.Rule != nil && v.Rule.Origin.String() != "" {
		s += " (" + v.Rule.Origin.String() + ")"
	}
	if len(s) > maxEDEText {
		s = strings.ToValidUTF8(s[:maxEDEText], "")
	}
	return s
}

// nameText is a name as it was asked for, without its final dot.
func nameText(n dnsmessage.Name) string {
	s := n.String()
	if s != "." {
		s = strings.TrimSuffix(s, ".")
	}
	return s
}

func typeText(t dnsmessage.Type) string {
	switch t {
	case 65:
		return "HTTPS"
	case 10:
		return "NULL"
	case 255:
		return "ANY"
	}
	if s, ok := strings.CutPrefix(t.String(), "Type"); ok {
		return s
	}
	return fmt.Sprintf("TYPE%d", uint16(t)) // RFC 3597
}

func rcodeText(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeSuccess:
		return "NOERROR"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeNameError:
		return "NXDOMAIN"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return strconv.Itoa(int(c))
}

// reverseName reads a name of in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa
// (RFC 3596 section 2.5).
func reverseName(s string) (netip.Addr, bool) {
	s = strings.ToLower(s)
	if rest, ok := strings.CutSuffix(s, ".in-addr.arpa"); ok {
		parts := strings.Split(rest, ".")
		if len(parts) != 4 {
			return netip.Addr{}, true
		}
		a, _ := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
		return a, true
	}
	if rest, ok := strings.CutSuffix(s, ".ip6.arpa"); ok {
		nibbles := strings.Split(rest, ".")
		if len(nibbles) != 32 {
			return netip.Addr{}, true
		}
		var b [16]byte
		for i, n := range nibbles {
			v, err := strconv.ParseUint(n, 16, 4)
			if err != nil {
				return netip.Addr{}, true
			}
			b[15-i/2] |= byte(v) << (4 * (i % 2))
		}
		return netip.AddrFrom16(b), true
	}
	return netip.Addr{}, false
}
