package suite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/agentjail/agentjail/testdata/attack/attacks"
)

// authority vouches for the stage's servers, for as long as the suite runs.
type authority struct {
	pem  []byte
	leaf tls.Certificate
}

func newAuthority() (*authority, error) {
	const life = time.Hour
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the attack suite's stage"}, NotBefore: time.Now().Add(-life), NotAfter: time.Now().Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, PermittedDNSDomains: []string{domain}}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: domain}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		DNSNames: []string{"*." + domain, "*.rebind." + domain, "*.spell." + domain}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &authority{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), leaf: tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: key}}, nil
}

// The credential of the stage. It is one of no service.
const (
	secretVariable = "AGENTJAIL_ATTACK_SECRET"
	secretPrefix   = "ajsecret-"
)

func newSecret() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return secretPrefix + hex.EncodeToString(b[:])
}

// secretTarget lets a program know the secret when it sees it.
func secretTarget(secret string) attacks.Secret {
	sum := sha256.Sum256([]byte(secret))
	return attacks.Secret{Variable: secretVariable, Prefix: secretPrefix, Length: len(secret), SHA256: hex.EncodeToString(sum[:])}
}
