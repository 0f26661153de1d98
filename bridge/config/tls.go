package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/nats-io/nats.go"
)

// IsLoopback reports whether a host is certainly this machine. What a name other than localhost
// resolves to can change.
func IsLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// checkKeyPair checks the files of a certificate and its key.
func checkKeyPair(fault faultFunc, certName, cert, keyName, key string) {
	switch {
	case cert == "" && key == "":
	case cert == "" || key == "":
		fault(certName, "%s and %s must be set together; one is not set", certName, keyName)
	default:
		if _, err := readKeyPair(cert, key); err != nil {
			fault(certName, "%v", err)
		}
	}
}

// readCA reads trusted root certificates.
func readCA(file string) (*x509.CertPool, error) {
	pem, err := ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no PEM certificate in %s", file)
	}
	return pool, nil
}

// readKeyPair reads a certificate and its key.
func readKeyPair(cert, key string) (*tls.Certificate, error) {
	certPEM, err := ReadFile(cert)
	if err != nil {
		return nil, err
	}
	keyPEM, err := ReadFile(key)
	if err != nil {
		return nil, err
	}
	defer clear(keyPEM)
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", cert, key, err)
	}
	return &pair, nil
}

// TLSHint returns what a person can do about a failed TLS handshake; "" if that is not what failed.
// The names are the variables of the trusted roots, of the own certificate, and of the address.
func TLSHint(err error, ca, cert, address string) string {
	var (
		unknown  x509.UnknownAuthorityError
		wrong    x509.HostnameError
		invalid  x509.CertificateInvalidError
		noTLS    tls.RecordHeaderError
		network  *net.OpError
		verified *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &unknown):
		return "the server's certificate is signed by an authority that is not trusted here; if it is the right server, set that authority's certificate in " + ca
	case errors.As(err, &wrong):
		return "the server's certificate is for another name; check " + address
	case errors.As(err, &invalid):
		return "the server's certificate is not valid (if it has expired: check this machine's clock, and ask the operator of the server to renew it)"
	case errors.As(err, &verified):
		return "the server's certificate could not be verified; check " + ca
	case errors.As(err, &noTLS), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not use TLS; check " + address
	case errors.As(err, &network) && network.Op == "remote error", errors.Is(err, nats.ErrTLS):
		// The libraries mark alerts of the other side and closed connections like this.
		return "the server refused the TLS handshake: it may require a client certificate that it trusts, in " + cert
	}
	return ""
}
