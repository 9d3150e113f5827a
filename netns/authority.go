package netns

import (
	"container/list"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/agentjail/agentjail/profiles"
)

const (
	// authorityLife is the CA's where the run has no time limit. What matters is that
	// its key is gone with the run; the date is for a certificate that somebody kept.
	authorityLife = 365 * 24 * time.Hour

	// leafLife is a host's certificate's; a new one is made when a seventh is left.
	leafLife = 7 * 24 * time.Hour

	// backdate is for clocks in the jail that a program has set back a little.
	backdate = time.Hour

	// maxLeaves bounds the cache: a name under a wildcard is made up by the agent.
	maxLeaves = 1024
)

// NewAuthority makes the CA of one run: its certificate in DER, for the jail's bundle
// of roots, and its key in PKCS #8, for Keys. It can vouch for no host but those whose
// rules need the plaintext: RFC 5280 section 4.2.1.10.
func NewAuthority(run string, n *profiles.Network, life time.Duration) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the run's certificate authority: %w", err)
	}
	if life <= 0 {
		life = authorityLife
	} else {
		life += 24 * time.Hour // the time limit is of the run, which begins later
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"agentjail"}, CommonName: "agentjail run " + run},
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:                    x509.KeyUsageCertSign,
		ExtKeyUsage:                 []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		PermittedDNSDomainsCritical: true,
	}
	constrain(template, n.Intercepts())
	cert, err = x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, fmt.Errorf("make the run's certificate authority: %w", err)
	}
	key, err = x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("make the run's certificate authority: %w", err)
	}
	return cert, key, nil
}

// constrain names the hosts that a CA may vouch for. A kind that none of them is of
// is shut out, since a constraint on names says nothing about addresses.
func constrain(t *x509.Certificate, rules []*profiles.NetRule) {
	anyName := false
	for _, r := range rules {
		for _, h := range r.Hosts {
			switch {
			case h.Kind == profiles.HostPrefix:
				t.PermittedIPRanges = append(t.PermittedIPRanges, ipNetwork(h.Prefix))
			case h.Name == "":
				anyName = true
			default: // the constraint covers the name and what is below it
				t.PermittedDNSDomains = append(t.PermittedDNSDomains, h.Name)
			}
		}
	}
	if anyName {
		t.PermittedDNSDomains = nil
	} else if len(t.PermittedDNSDomains) == 0 {
		t.PermittedDNSDomains = []string{"invalid"} // no host is in it: RFC 6761 section 6.4
	}
	if len(t.PermittedIPRanges) == 0 {
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			t.ExcludedIPRanges = append(t.ExcludedIPRanges, ipNetwork(netip.MustParsePrefix(all)))
		}
	}
}

func ipNetwork(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// serial is random and of 127 bits: positive and at most 20 octets (RFC 5280 section
// 4.1.2.2).
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

// leaves are the certificates with which the gateway stands in for hosts. They all
// have one key: it lives as long as the CA's and no longer.
type leaves struct {
	ca   *x509.Certificate
	sign *ecdsa.PrivateKey
	key  *ecdsa.PrivateKey

	mu     sync.Mutex
	byHost map[string]*list.Element
	used   *list.List // of *leaf, the latest first
}

type leaf struct {
	host string
	cert tls.Certificate
}

// newLeaves takes the CA's certificate and key as NewAuthority gave them.
func newLeaves(cert, key []byte) (*leaves, error) {
	ca, err := x509.ParseCertificate(cert)
	if err != nil {
		return nil, fmt.Errorf("the run's certificate authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("the run's certificate authority: %w", err)
	}
	sign, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !sign.PublicKey.Equal(ca.PublicKey) {
		return nil, fmt.Errorf("the run's certificate authority: the key is not the certificate's")
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &leaves{ca: ca, sign: sign, key: own, byHost: map[string]*list.Element{}, used: list.New()}, nil
}

// get gives the certificate for a canonical name or an address.
func (l *leaves) get(host string) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byHost[host]; e != nil {
		if f := e.Value.(*leaf); time.Until(f.cert.Leaf.NotAfter) > leafLife/7 || !f.cert.Leaf.NotAfter.Before(l.ca.NotAfter) {
			l.used.MoveToFront(e)
			return &f.cert, nil
		}
		l.used.Remove(e)
		delete(l.byHost, host)
	}
	f, err := l.make(host)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", host, err)
	}
	l.byHost[host] = l.used.PushFront(f)
	if l.used.Len() > maxLeaves {
		last := l.used.Remove(l.used.Back()).(*leaf)
		delete(l.byHost, last.host)
	}
	return &f.cert, nil
}

func (l *leaves) make(host string) (*leaf, error) {
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial(),
		NotBefore:    now.Add(-backdate), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(l.ca.NotAfter) {
		template.NotAfter = l.ca.NotAfter
	}
	if len(host) <= 64 { // ub-common-name of RFC 5280; what counts is the name below
		template.Subject = pkix.Name{CommonName: host}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		template.IPAddresses = []net.IP{a.AsSlice()}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, l.ca, l.key.Public(), l.sign)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The CA's own certificate is in the jail's roots and need not be sent.
	return &leaf{host, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: l.key, Leaf: parsed}}, nil
}
