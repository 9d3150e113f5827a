package attacks

import "golang.org/x/net/dns/dnsmessage"

// rules are attacks on what the profile denies by name, reached by another way to write
// it or by another name for it. The stage's profile allows all names below one domain
// and denies two of them, and allows an address in a network that it denies.
func rules() []Attack {
	const class = "CVE-2026-25724: an alias of what is denied"
	host := func(id, what, text string, name func(*Target) string) Attack {
		return Attack{ID: id, Line: 76, What: what, Class: class, Network: true, Without: Plain, ByMark: true,
			Try:     func(t *Target) string { return dialTLS(t, name(t)) },
			Stopped: []Stop{by(Rules, "no such host"), by(Names, "EOF", "ECONNRESET", "EPIPE", "alert")},
			Record:  &Record{"dns", "blocked", text}}
	}
	// Datagrams and connections go where no TLS name tells the gateway what was meant.
	address := func(id, what, class, text string, to func(*Target) string, stops ...Stop) Attack {
		a := Attack{ID: id, Line: 76, What: what, Class: class, Network: true, Without: Plain, ByMark: true, Stopped: stops,
			Try: func(t *Target) string { return dialHost(t, "tcp", to(t), RulePort) }}
		if text != "" {
			a.Record = &Record{"connect", "blocked", text}
		}
		return a
	}
	refused := by(Rules, "ECONNREFUSED", "ECONNRESET", "EPIPE", "EOF", "ok")
	return []Attack{
		host("rule-name", "connect to a denied name below an allowed wildcard", "denied.spell.", func(t *Target) string { return "denied." + t.Hosts.Spell }),
		host("rule-name-case", "connect to a denied name in other letters", "denied.spell.", func(t *Target) string { return "DeNiEd." + t.Hosts.Spell }),
		host("rule-name-dot", "connect to a denied name with a final dot", "denied.spell.", func(t *Target) string { return "denied." + t.Hosts.Spell + "." }),
		host("rule-name-idna", "connect to a denied international name by its ASCII form", "xn--bcher-kva.spell.", func(t *Target) string { return "xn--bcher-kva." + t.Hosts.Spell }),
		host("rule-name-idna-case", "connect to a denied international name by its ASCII form in other letters", "xn--bcher-kva.spell.", func(t *Target) string { return "XN--BCHER-KVA." + t.Hosts.Spell }),
		host("rule-name-cname", "connect to a name that no rule allows and that leads to an allowed one", "alias.", func(t *Target) string { return t.Hosts.Alias }),
		{ID: "rule-name-tls", Line: 76, What: "connect to an allowed name and say a denied one in TLS", Class: class, Network: true, Without: Plain, ByMark: true,
			Try: func(t *Target) string {
				return sendTLS(t, "open."+t.Hosts.Spell, "DENIED."+t.Hosts.Spell, "GET /"+t.Mark()+" HTTP/1.1\r\nHost: denied."+t.Hosts.Spell+"\r\nConnection: close\r\n\r\n")
			}, Stopped: []Stop{by(SNI, "EOF", "ECONNRESET", "EPIPE", "alert"), by(Names, "no such host")}},
		{ID: "rule-name-raw", Line: 76, What: "ask for a denied name in other letters, as a raw query", Class: class, Network: true, Without: Plain,
			Try:     func(t *Target) string { return query(dnsmessage.TypeA, "dENIED."+t.Hosts.Spell) },
			Stopped: []Stop{by(Rules, "NXDOMAIN", "REFUSED")}, Record: &Record{"dns", "blocked", "denied.spell."}},
		address("rule-address", "connect to an allowed address of a denied network", class, RuleAddress+":"+RulePort, func(*Target) string { return RuleAddress }, refused),
		address("rule-address-mapped", "connect to a denied address in its IPv6 form", class, "", func(*Target) string { return "::ffff:" + RuleAddress }, refused, by(NetNS, "ENETUNREACH", "EADDRNOTAVAIL", "EINVAL")),
		address("rule-address-name", "connect to a denied address by an allowed name", "DNS rebinding", "", func(t *Target) string { return "denied." + t.Hosts.Lead }, refused, by(Names, "no such host")),
		address("rule-address-cname", "connect to a denied address by an allowed name, which leads to another one", "DNS rebinding", "", func(t *Target) string { return "cname." + t.Hosts.Lead }, refused, by(Names, "no such host")),
	}
}

// RuleAddress is allowed at RulePort, and denied with the network that it is in: deny
// beats allow, whichever is the more exact.
const (
	RuleAddress = "10.77.0.5"
	RulePort    = "8081"
)
