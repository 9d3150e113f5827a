package netns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/agentjail/agentjail/audit"
	"github.com/agentjail/agentjail/profiles"
	"golang.org/x/net/dns/dnsmessage"
)

func testResolver() *resolver {
	n := &profiles.Network{
		Allow: []profiles.NetRule{
			allow(1, "allowed.example", profiles.ProtocolTLS, "", 443),
			allow(2, "*.wild.example", profiles.ProtocolTLS, "", 443),
		},
		Deny: []profiles.NetRule{allow(4, "evil.example", "", ""), allow(5, "*.evil.example", "", "")},
	}
	return &resolver{network: n, pool: newPool()}
}

func dnsQuestion(t testing.TB, name string, typ dnsmessage.Type, edns bool) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 77, RecursionDesired: true})
	b.StartQuestions()
	if err := b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}); err != nil {
		t.Fatal(err)
	}
	if edns {
		b.StartAdditionals()
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(1232, 0, false)
		b.OPTResource(h, dnsmessage.OPTResource{})
	}
	msg, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestAnswer(t *testing.T) {
	const (
		a, aaaa, txt, ptr, https = dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeTXT, dnsmessage.TypePTR, dnsmessage.Type(65)
	)
	r := testResolver()
	tests := []struct {
		name    string
		typ     dnsmessage.Type
		rcode   string
		answers string
		outcome audit.Outcome
		rule    string
	}{
		{"allowed.example.", a, "NOERROR", "198.18.0.1", audit.Allowed, "test.hcl:1"},
		{"ALLOWED.example.", aaaa, "NOERROR", "fd61:6a61:696c:1::1", audit.Allowed, "test.hcl:1"},
		{"allowed.example.", txt, "NOERROR", "", audit.Allowed, "test.hcl:1"},
		{"allowed.example.", https, "NOERROR", "", audit.Allowed, "test.hcl:1"},
		{"a.wild.example.", a, "NOERROR", "198.18.0.2", audit.Allowed, "test.hcl:2"},
		{"wild.example.", a, "NXDOMAIN", "", audit.Blocked, ""},
		{"other.example.", a, "NXDOMAIN", "", audit.Blocked, ""},
		{"evil.example.", a, "NXDOMAIN", "", audit.Blocked, "test.hcl:4"},
		{"127.0.0.1.", a, "NXDOMAIN", "", audit.Blocked, ""},
		{"0x7f.1.", a, "NXDOMAIN", "", audit.Blocked, ""},
		{"a\\000b.wild.example.", a, "NXDOMAIN", "", audit.Blocked, ""},
		{"localhost.", a, "NOERROR", "127.0.0.1", audit.Allowed, ""},
		{"localhost.", aaaa, "NOERROR", "::1", audit.Allowed, ""},
		{"1.0.18.198.in-addr.arpa.", ptr, "NOERROR", "allowed.example", audit.Allowed, ""},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.c.6.9.6.1.6.a.6.1.6.d.f.ip6.arpa.", ptr, "NOERROR", "allowed.example", audit.Allowed, ""},
		{"8.8.8.8.in-addr.arpa.", ptr, "NXDOMAIN", "", audit.Blocked, ""},
		{".", a, "NXDOMAIN", "", audit.Blocked, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name+tt.typ.String(), func(t *testing.T) {
			msg, rec, err := r.answer(dnsQuestion(t, tt.name, tt.typ, true))
			if err != nil {
				t.Fatal(err)
			}
			if rec.RCode != tt.rcode || rec.Outcome != tt.outcome || rec.Rule != tt.rule || strings.Join(rec.Answers, " ") != tt.answers {
				t.Errorf("record %+v", rec)
			}
			var m dnsmessage.Message
			if err := m.Unpack(msg); err != nil {
				t.Fatal(err)
			}
			if m.ID != 77 || !m.Response || rcodeText(m.RCode) != tt.rcode || len(m.Answers) != len(rec.Answers) {
				t.Errorf("message %+v", m)
			}
			ede := extendedError(m)
			if (tt.outcome == audit.Blocked) != (ede != "") {
				t.Errorf("extended error %q", ede)
			}
			if tt.rule != "" && tt.outcome == audit.Blocked && !strings.Contains(ede, tt.rule) {
				t.Errorf("extended error %q does not name %s", ede, tt.rule)
			}
		})
	}
}

func extendedError(m dnsmessage.Message) string {
	for _, r := range m.Additionals {
		if opt, ok := r.Body.(*dnsmessage.OPTResource); ok {
			for _, o := range opt.Options {
				if o.Code == 15 && len(o.Data) > 2 && o.Data[1] == 15 {
					return string(o.Data[2:])
				}
			}
		}
	}
	return ""
}

func TestAnswerWithoutEDNS(t *testing.T) {
	msg, _, err := testResolver().answer(dnsQuestion(t, "other.example.", dnsmessage.TypeA, false))
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(msg); err != nil || len(m.Additionals) != 0 {
		t.Errorf("an OPT record for who sent none: %+v %v", m, err)
	}
}

func TestAnswerRefusesWhatIsNoQuestion(t *testing.T) {
	r := testResolver()
	q := dnsQuestion(t, "allowed.example.", dnsmessage.TypeA, false)
	response := append([]byte(nil), q...)
	response[2] |= 0x80
	for name, b := range map[string][]byte{"empty": nil, "cut": q[:14], "response": response} {
		if msg, _, err := r.answer(b); err == nil || msg != nil {
			t.Errorf("%s: got an answer", name)
		}
	}
	for name, change := range map[string]func([]byte){
		"NOTIMP":  func(b []byte) { b[2] |= 0x10 },    // opcode
		"REFUSED": func(b []byte) { b[len(b)-1] = 3 }, // class CH
	} {
		b := append([]byte(nil), q...)
		change(b)
		if _, rec, err := r.answer(b); err != nil || rec.RCode != name {
			t.Errorf("%s: got %+v %v", name, rec, err)
		}
	}
}

func TestPoolIsBounded(t *testing.T) {
	r := testResolver()
	rule := &r.network.Allow[1]
	last := ""
	for i := range maxWildcardNames {
		last = fmt.Sprintf("n%d.wild.example", i)
		if _, _, err := r.pool.assign(last, rule); err != nil {
			t.Fatal(err)
		}
	}
	msg, rec, err := r.answer(dnsQuestion(t, "onemore.wild.example.", dnsmessage.TypeA, false))
	if err != nil || msg == nil || rec.Outcome != audit.Blocked || !strings.Contains(rec.Reason, "too many") {
		t.Errorf("beyond the bound: %+v %v", rec, err)
	}
	if a, _, err := r.pool.assign(last, rule); err != nil {
		t.Error(err)
	} else if name, _ := r.pool.name(a); name != last {
		t.Errorf("%s stands for %q", a, name)
	}
	if _, _, err := r.pool.assign("allowed.example", &r.network.Allow[0]); err != nil {
		t.Errorf("a name that the profile wrote out: %v", err)
	}
}

func TestPoolName(t *testing.T) {
	p := newPool()
	v4, v6, err := p.assign("a.example", &profiles.NetRule{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		addr   string
		name   string
		inPool bool
	}{
		{v4.String(), "a.example", true},
		{v6.String(), "a.example", true},
		{"::ffff:" + v4.String(), "a.example", true},
		{"198.18.0.0", "", true},
		{"198.18.0.2", "", true},
		{"198.19.255.255", "", true},
		{"198.20.0.1", "", false},
		{"fd61:6a61:696c:1:ffff::1", "", true},
		{"fd61:6a61:696c:2::1", "", false},
		{"8.8.8.8", "", false},
	} {
		if name, in := p.name(netip.MustParseAddr(tt.addr)); name != tt.name || in != tt.inPool {
			t.Errorf("%s: %q %v", tt.addr, name, in)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(dnsQuestion(f, "allowed.example.", dnsmessage.TypeA, true))
	f.Add(dnsQuestion(f, "8.8.8.8.in-addr.arpa.", dnsmessage.TypePTR, false))
	r := testResolver()
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, rec, err := r.answer(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(msg); err != nil {
			t.Fatalf("the answer is malformed: %v", err)
		}
		if m.ID != uint16(b[0])<<8|uint16(b[1]) || !m.Response {
			t.Errorf("the answer is to another question: %+v", m.Header)
		}
		for _, a := range rec.Answers {
			if rec.Outcome != audit.Allowed {
				t.Errorf("a refused name has the answer %s", a)
			}
		}
	})
}

// TestAnswerLearning: in a learning run a name that no rule is about stands for an
// address, and is refused in the record all the same; a denied one is refused as ever,
// and the pool is bounded.
func TestAnswerLearning(t *testing.T) {
	r := testResolver()
	r.learn = true
	for _, tt := range []struct {
		name    string
		typ     dnsmessage.Type
		rcode   string
		answers int
		outcome audit.Outcome
	}{
		{"other.example.", dnsmessage.TypeA, "NOERROR", 1, audit.Blocked},
		{"other.example.", dnsmessage.TypeAAAA, "NOERROR", 1, audit.Blocked},
		{"other.example.", dnsmessage.TypeTXT, "NOERROR", 0, audit.Blocked},
		{"evil.example.", dnsmessage.TypeA, "NXDOMAIN", 0, audit.Blocked},
		{"allowed.example.", dnsmessage.TypeA, "NOERROR", 1, audit.Allowed},
	} {
		_, rec, err := r.answer(dnsQuestion(t, tt.name, tt.typ, false))
		if err != nil || rec.RCode != tt.rcode || len(rec.Answers) != tt.answers || rec.Outcome != tt.outcome {
			t.Errorf("%s %v: %+v %v", tt.name, tt.typ, rec, err)
		}
	}
	for i := range 2 * maxWildcardNames {
		if _, rec, err := r.answer(dnsQuestion(t, fmt.Sprintf("n%d.example.", i), dnsmessage.TypeA, false)); err != nil || rec.Outcome != audit.Blocked {
			t.Fatalf("name %d: %+v %v", i, rec, err)
		}
	}
	if n := len(r.pool.names); n > maxWildcardNames+3 {
		t.Errorf("%d names have an address", n)
	}
}
