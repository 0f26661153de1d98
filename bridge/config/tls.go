package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// IsLoopback reports whether a host is certainly this machine. What a name other than localhost
// resolves to can change.
func IsLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// checkSourceTLS checks the TLS settings of the connection to BPCC.
func (c *Config) checkSourceTLS(fault func(name, format string, args ...any)) (warnings []string) {
	if u, err := url.Parse(c.URL); err == nil && u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		if c.AllowHTTP {
			warnings = append(warnings, "BPCC_URL is http: the secret and all data can be read and changed on the network")
		} else {
			fault("BPCC_URL", "plain http exposes the secret and all data on the network; use https, or set BPCC_ALLOW_HTTP=true if that is what you want")
		}
	}
	if c.CAFile != "" {
		var err error
		if c.RootCAs, err = readCA(c.CAFile); err != nil {
			fault("BPCC_CA_FILE", "%v", err)
		}
	}
	checkKeyPair(fault, "BPCC_CERT", c.Cert, "BPCC_KEY", c.Key)
	return warnings
}

// checkKeyPair checks the files of a certificate and its key.
func checkKeyPair(fault func(name, format string, args ...any), certName, cert, keyName, key string) {
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

// checkNATSAuth checks the authentication settings for the NATS server.
func (c *Config) checkNATSAuth(fault func(name, format string, args ...any)) {
	// The library's own error would contain a password of the URL.
	for server := range strings.SplitSeq(c.NATSURL, ",") {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		if _, err := url.Parse(server); err != nil {
			fault("NATS_URL", "an address is not of the form nats://host:4222 (percent-encode a password in it, or better use NATS_PASSWORD_FILE)")
		}
	}
	switch {
	case c.NATSUser != "" && c.NATSPassword == "":
		fault("NATS_PASSWORD", "not set, but NATS_USER is")
	case c.NATSUser == "" && c.NATSPassword != "":
		fault("NATS_USER", "not set, but NATS_PASSWORD is")
	}
	if c.NATSUser != "" && c.NATSToken != "" {
		fault("NATS_TOKEN", "set, and NATS_USER too; keep one")
	}
	if c.NATSCreds != "" && c.NATSNKey != "" {
		fault("NATS_NKEY", "set, and NATS_CREDS too; keep one")
	}
	checkKeyPair(fault, "NATS_CERT", c.NATSCert, "NATS_KEY", c.NATSKey)
	if c.NATSCA != "" {
		if _, err := readCA(c.NATSCA); err != nil {
			fault("NATS_CA", "%v", err)
		}
	}
	if c.NATSCreds != "" {
		if err := checkCreds(c.NATSCreds); err != nil {
			fault("NATS_CREDS", "%v", err)
		}
	}
	if c.NATSNKey != "" {
		if _, err := PublicKey(c.NATSNKey); err != nil {
			fault("NATS_NKEY", "%v", err)
		}
	}
	checkSubject(fault, "NATS_INBOX_PREFIX", c.NATSInboxPrefix, "_INBOX_bridge")
	checkSubject(fault, "NATS_JS_API_PREFIX", c.NATSAPIPrefix, "ACME.API")
}

// checkSubject checks a subject prefix, if it is set.
func checkSubject(fault func(name, format string, args ...any), name, subject, example string) {
	for token := range strings.SplitSeq(subject, ".") {
		if subject != "" && (token == "" || strings.ContainsAny(token, "*> \t\r\n")) {
			fault(name, "%q is not a subject: want tokens without wildcards or spaces, such as %s", subject, example)
			return
		}
	}
}

// checkCreds checks a file of NATS credentials.
func checkCreds(file string) error {
	if _, err := UserJWT(file); err != nil {
		return err
	}
	pair, err := UserKey(file)
	if err != nil {
		return fmt.Errorf("no nsc credentials in %s: %w", file, err)
	}
	pair.Wipe()
	return nil
}

// UserJWT returns the token in a file of NATS credentials.
func UserJWT(file string) (string, error) {
	content, err := ReadFile(file)
	if err != nil {
		return "", err
	}
	defer clear(content)
	token, err := nkeys.ParseDecoratedJWT(content)
	if err != nil {
		return "", fmt.Errorf("no nsc credentials in %s: %w", file, err)
	}
	return token, nil
}

// UserKey returns the key of a NATS user whose seed a file holds. The caller wipes it.
func UserKey(file string) (nkeys.KeyPair, error) {
	content, err := ReadFile(file)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return nkeys.ParseDecoratedUserNKey(content)
}

// PublicKey returns the public key of a file that holds the seed of a NATS user.
func PublicKey(file string) (string, error) {
	pair, err := UserKey(file)
	if err != nil {
		return "", fmt.Errorf("no user seed in %s: %w", file, err)
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

// configWarnings returns warnings about what other machines can reach without a password, and about
// settings without effect.
func (c *Config) configWarnings(purpose Purpose) (warnings []string) {
	reachable := func(address string) bool {
		host, _, err := net.SplitHostPort(address)
		return err == nil && !IsLoopback(host)
	}
	if purpose == ForBridge && c.HTTP != Off && reachable(c.HTTP) {
		warnings = append(warnings, fmt.Sprintf("BRIDGE_HTTP=%s can be reached from other machines without a password: keep it within a trusted network", c.HTTP))
	}
	if purpose != ForSource && c.Embedded() && reachable(c.EmbeddedListen) {
		warnings = append(warnings, fmt.Sprintf("BRIDGE_EMBEDDED_LISTEN=%s can be reached from other machines, and the embedded server has no password: "+
			"any client can read and write everything; set NATS_URL to your own server instead", c.EmbeddedListen))
	}
	if purpose != ForSource && c.StoreMax != 0 && !c.Embedded() {
		warnings = append(warnings, "BRIDGE_STORE_MAX is not used: it limits the embedded server, and NATS_URL or NATS_CONTEXT names another")
	}
	if purpose != ForSource && c.NATSContext != "" && c.NATSURL != "" {
		warnings = append(warnings, "NATS_CONTEXT and its credentials are not used, because NATS_URL is set")
	}
	return warnings
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
