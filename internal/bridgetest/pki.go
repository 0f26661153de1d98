package bridgetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority of a test.
type CA struct {
	// File holds its certificate.
	File string

	t    *testing.T
	dir  string // with its files
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes an authority.
func NewCA(t *testing.T) *CA {
	t.Helper()
	a := &CA{t: t, dir: t.TempDir()}
	a.cert, a.key = a.createCert(&x509.Certificate{
		Subject: pkix.Name{CommonName: "a test's authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.File = filepath.Join(a.dir, "ca.pem")
	ReplaceFile(t, a.File, pemBlock("CERTIFICATE", a.cert.Raw))
	return a
}

// createCert makes a certificate that the authority signs, or itself if it has none.
func (a *CA) createCert(c *x509.Certificate, from *CA) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		a.t.Fatal(err)
	}
	c.NotBefore = time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := c, key
	if from != nil {
		parent, signer = from.cert, from.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// IssueCert writes a certificate for a name and 127.0.0.1, good for servers and
// clients, into name.pem and name.key.
func (a *CA) IssueCert(name string) (cert, key string) {
	return a.IssueCertUntil(name, time.Time{})
}

// IssueCertUntil is [CA.IssueCert] with the time at which the certificate expires.
func (a *CA) IssueCertUntil(name string, end time.Time) (certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.createCert(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	ReplaceFile(a.t, certFile, pemBlock("CERTIFICATE", cert.Raw))
	ReplaceFile(a.t, keyFile, pemBlock("PRIVATE KEY", raw))
	return certFile, keyFile
}

// ServerTLS is the configuration of a server that this authority vouches for; if
// strict, it wants the same of its clients.
func (a *CA) ServerTLS(strict bool) *tls.Config {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.IssueCert("server"))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if strict {
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		c.ClientCAs.AddCert(a.cert)
	}
	return c
}

func pemBlock(kind string, raw []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}))
}
