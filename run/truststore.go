package run

import (
	"bytes"
	"crypto/sha1" // the format's own check of what is public
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/agentjail/agentjail/jail"
)

const (
	trustStorePath     = jail.InsideDir + "/cacerts.jks"
	trustStorePassword = "changeit" // Java's own; what is in it is public

	// javaOptions make every JVM read the trust store: it looks at no bundle in PEM.
	javaOptions = "-Djavax.net.ssl.trustStore=" + trustStorePath + " -Djavax.net.ssl.trustStorePassword=" + trustStorePassword + " -Djavax.net.ssl.trustStoreType=JKS"
)

// trustStore writes the certificates of a PEM bundle as a Java key store. The format
// is that of sun.security.provider.JavaKeyStore (OpenJDK), all numbers big-endian:
//
//	magic 0xfeedfeed, version 2, number of entries
//	each: tag 2 (trusted certificate), alias, milliseconds, "X.509", length, DER
//	SHA-1 over the password in UTF-16, "Mighty Aphrodite", and all of the above
func trustStore(bundle []byte, now time.Time) []byte {
	var certs [][]byte
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		// Java refuses the whole store for one that it can't read.
		if _, err := x509.ParseCertificate(block.Bytes); err == nil {
			certs = append(certs, block.Bytes)
		}
	}
	var b bytes.Buffer
	number := func(n uint32) { b.Write(binary.BigEndian.AppendUint32(nil, n)) }
	text := func(s string) { // modified UTF-8, which is ASCII here
		b.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
		b.WriteString(s)
	}
	number(0xfeedfeed)
	number(2)
	number(uint32(len(certs)))
	for i, der := range certs {
		number(2)
		text(fmt.Sprintf("agentjail-%d", i))
		b.Write(binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli())))
		text("X.509")
		number(uint32(len(der)))
		b.Write(der)
	}
	h := sha1.New()
	for _, unit := range utf16.Encode([]rune(trustStorePassword)) {
		h.Write(binary.BigEndian.AppendUint16(nil, unit))
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(b.Bytes())
	return h.Sum(b.Bytes())
}
