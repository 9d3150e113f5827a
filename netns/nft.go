package netns

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// tableName is the table's name in the jail's own namespace.
const tableName = "agentjail"

// setChunk bounds the elements that go into a set with one message: a netlink
// attribute is at most 64 KiB.
const setChunk = 1000

// applyRules puts the plan's rules into the kernel, in one transaction.
//
// Three chains hook into the output of the namespace. "raw" and "nat" are there
// only where a port is redirected; everything else is kept from connection
// tracking, which costs a connection more than the relay does. "log" copies to
// NFLOG what the kernel is about to refuse.
func applyRules(p LinkPlan) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	r := ruler{c: c, table: c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName})}
	if len(p.Redirect) > 0 {
		if err := r.redirect(p); err != nil {
			return err
		}
	}
	if err := r.log(p); err != nil {
		return err
	}
	return c.Flush()
}

type ruler struct {
	c     *nftables.Conn
	table *nftables.Table
}

func (r *ruler) chain(name string, typ nftables.ChainType, prio *nftables.ChainPriority) *nftables.Chain {
	return r.c.AddChain(&nftables.Chain{
		Name: name, Table: r.table, Type: typ,
		Hooknum: nftables.ChainHookOutput, Priority: prio,
	})
}

// portSet makes a named set; an empty one matches nothing.
func (r *ruler) portSet(name string, ports []uint16) (*nftables.Set, error) {
	s := &nftables.Set{Table: r.table, Name: name, KeyType: nftables.TypeInetService}
	if err := r.c.AddSet(s, nil); err != nil {
		return nil, err
	}
	for len(ports) > 0 {
		n := min(len(ports), setChunk)
		var e []nftables.SetElement
		for _, p := range ports[:n] {
			e = append(e, nftables.SetElement{Key: binaryutil.BigEndian.PutUint16(p)})
		}
		if err := r.c.SetAddElements(s, e); err != nil {
			return nil, err
		}
		ports = ports[n:]
	}
	return s, nil
}

func (r *ruler) add(ch *nftables.Chain, parts ...[]expr.Any) {
	var exprs []expr.Any
	for _, p := range parts {
		exprs = append(exprs, p...)
	}
	r.c.AddRule(&nftables.Rule{Table: r.table, Chain: ch, Exprs: exprs})
}

func (r *ruler) redirect(p LinkPlan) error {
	ports, err := r.portSet("redirect", p.Redirect)
	if err != nil {
		return err
	}
	raw := r.chain("raw", nftables.ChainTypeFilter, nftables.ChainPriorityRaw)
	nat := r.chain("nat", nftables.ChainTypeNAT, nftables.ChainPriorityNATDest)
	untracked := join([]expr.Any{&expr.Notrack{}}, accept)
	redirect := []expr.Any{
		&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(p.To)},
		&expr.Redir{RegisterProtoMin: 1},
	}

	// What the redirect's listener sends has to be translated back. A connection
	// straight to the listener is tracked too, so that its original destination is
	// what was dialled: seen from the answer alone it would be the dialler.
	r.add(raw, l4(unix.IPPROTO_TCP), sport(p.To), accept)
	r.add(raw, l4(unix.IPPROTO_TCP), dport(p.To), accept)
	for _, a := range p.Local {
		r.add(raw, daddr(netip.PrefixFrom(a.Addr(), a.Addr().BitLen())), l4(unix.IPPROTO_TCP), dport(a.Port()), accept)
		r.add(nat, daddr(netip.PrefixFrom(a.Addr(), a.Addr().BitLen())), l4(unix.IPPROTO_TCP), dport(a.Port()), redirect)
	}
	for _, own := range ownPrefixes(p) {
		r.add(raw, daddr(own), untracked)
	}
	r.add(raw, l4(unix.IPPROTO_TCP), dportIn(ports), accept)
	r.add(raw, untracked)
	r.add(nat, l4(unix.IPPROTO_TCP), dportIn(ports), redirect)
	return nil
}

func (r *ruler) log(p LinkPlan) error {
	direct, err := r.portSet("direct", p.direct())
	if err != nil {
		return err
	}
	ch := r.chain("log", nftables.ChainTypeFilter, nftables.ChainPriorityFilter)
	logs := []expr.Any{&expr.Log{
		// The group is what makes it NFLOG; the length is enough for every header
		// that the reader parses. A threshold of one sends each packet at once.
		Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_SNAPLEN | 1<<unix.NFTA_LOG_QTHRESHOLD,
		Group: p.Group, Snaplen: nflogSnap, QThreshold: 1,
	}}

	for _, own := range ownPrefixes(p) { // the agent with itself
		r.add(ch, daddr(own), accept)
	}
	resolvers := slices.DeleteFunc(slices.Clone(p.Sockets), func(s SocketPlan) bool { return s.Kind != SocketDNS })
	for _, s := range slices.Compact(resolvers) { // several share an address
		proto := byte(unix.IPPROTO_UDP)
		if s.Network == "tcp4" || s.Network == "tcp6" {
			proto = unix.IPPROTO_TCP
		}
		r.add(ch, daddr(netip.PrefixFrom(s.Addr, s.Addr.BitLen())), l4(proto), dport(s.Port), accept)
	}
	r.add(ch, l4(unix.IPPROTO_UDP), sport(dnsPort), accept) // its answers; the agent can't bind the port
	datagram, err := r.portSet("datagram", p.datagram())
	if err != nil {
		return err
	}
	r.add(ch, l4(unix.IPPROTO_UDP), sportIn(datagram), accept) // answers; the agent can't bind these either
	r.add(ch, l4(unix.IPPROTO_TCP), dportIn(direct), accept)   // the gateway records these
	r.add(ch, l4(unix.IPPROTO_TCP), notFirstPacket, accept)
	// The kernel's own refusals: ICMP destination unreachable (RFC 792 type 3),
	// ICMPv6 errors of type 1 to 4 (RFC 4443).
	r.add(ch, l4(unix.IPPROTO_ICMP), transport(0, []byte{3}), accept)
	r.add(ch, l4(unix.IPPROTO_ICMPV6), typeBetween(1, 4), accept)

	// The kernel would answer pings in the name of every address (they are all its
	// own), and would let multicast and broadcast go nowhere in silence. Dropping
	// them on the way out makes the sender's call fail with EPERM at once.
	r.add(ch, l4(unix.IPPROTO_ICMP), transport(0, []byte{8}), logs, drop)
	r.add(ch, l4(unix.IPPROTO_ICMPV6), transport(0, []byte{128}), logs, drop)
	for _, m := range []string{"224.0.0.0/4", "255.255.255.255/32", "ff00::/8"} {
		r.add(ch, daddr(netip.MustParsePrefix(m)), logs, drop)
	}
	r.add(ch, l4(unix.IPPROTO_UDP), dportIn(datagram), accept) // the gateway records these
	r.add(ch, logs)
	return nil
}

// ownPrefixes are the addresses where the agent talks to itself.
func ownPrefixes(p LinkPlan) []netip.Prefix {
	out := []netip.Prefix{loopback4, netip.PrefixFrom(jailAddr4, 32)}
	if p.ipv6() {
		out = append(out, loopback6, netip.PrefixFrom(jailAddr6, 128))
	}
	return out
}

var (
	accept = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop   = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}

	// notFirstPacket is "tcp flags & (fin|syn|rst|ack) != syn": byte 13 of the
	// header, RFC 9293 section 3.1.
	notFirstPacket = []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x17}, Xor: []byte{0}},
		&expr.Cmp{Register: 1, Op: expr.CmpOpNeq, Data: []byte{0x02}},
	}
)

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func l4(proto byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{proto}},
	}
}

// daddr matches a destination. The offsets are those of RFC 791 and RFC 8200.
func daddr(p netip.Prefix) []expr.Any {
	family, offset := byte(unix.NFPROTO_IPV4), uint32(16)
	if p.Addr().Is6() {
		family, offset = unix.NFPROTO_IPV6, 24
	}
	size := p.Addr().BitLen() / 8
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: []byte{family}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(size)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: p.Masked().Addr().AsSlice()},
	}
}

func sport(p uint16) []expr.Any { return transport(0, binaryutil.BigEndian.PutUint16(p)) }
func dport(p uint16) []expr.Any { return transport(2, binaryutil.BigEndian.PutUint16(p)) }

func transport(offset uint32, data []byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: uint32(len(data))},
		&expr.Cmp{Register: 1, Op: expr.CmpOpEq, Data: data},
	}
}

// typeBetween matches the first byte of ICMP's header.
func typeBetween(first, last byte) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Register: 1, Op: expr.CmpOpGte, Data: []byte{first}},
		&expr.Cmp{Register: 1, Op: expr.CmpOpLte, Data: []byte{last}},
	}
}

func sportIn(s *nftables.Set) []expr.Any { return portIn(0, s) }
func dportIn(s *nftables.Set) []expr.Any { return portIn(2, s) }

func portIn(offset uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
	}
}
