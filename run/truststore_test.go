package run

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func storeCert(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(4e9, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTrustStore(t *testing.T) {
	bundle := append(append([]byte("# a comment\n"), storeCert(t, "one")...), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...)
	bundle = append(bundle, storeCert(t, "two")...)
	store := trustStore(bundle, time.UnixMilli(1234567890123))
	if binary.BigEndian.Uint32(store) != 0xfeedfeed || binary.BigEndian.Uint32(store[4:]) != 2 || binary.BigEndian.Uint32(store[8:]) != 2 {
		t.Fatalf("% x", store[:12])
	}
	body, sum := store[:len(store)-sha1.Size], store[len(store)-sha1.Size:]
	h := sha1.Sum(append([]byte("\x00c\x00h\x00a\x00n\x00g\x00e\x00i\x00tMighty Aphrodite"), body...))
	if string(h[:]) != string(sum) {
		t.Error("the digest is wrong")
	}
	keytool, err := exec.LookPath("keytool")
	if err != nil {
		t.Skip("the host lacks keytool: the store's form was checked, Java's reading of it was not")
	}
	path := filepath.Join(t.TempDir(), "store.jks")
	if err := os.WriteFile(path, store, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(keytool, "-list", "-v", "-storetype", "JKS", "-keystore", path, "-storepass", trustStorePassword).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "CN=one") || !strings.Contains(string(out), "CN=two") || strings.Count(string(out), "trustedCertEntry") != 2 {
		t.Errorf("keytool: %v\n%s", err, out)
	}
}
