package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"bpcc-nats/bridge/config"
)

// maxProbeBytes is how much of the response to a probe is read: another program may listen there.
const maxProbeBytes = 64 << 10

// ErrNotReady is returned by [Probe] when the bridge answers that it is not ready.
var ErrNotReady = errors.New("bridge not ready")

// errCertificate is returned when another program listens in the place of the bridge, or with another certificate.
var errCertificate = errors.New("server has another certificate than BRIDGE_HTTP_TLS_CERT")

// Probe requests /readyz of the server on this machine that has the same configuration, and returns the body of
// the response, also with [ErrNotReady]. It uses no proxy.
func Probe(ctx context.Context, c config.HTTP, log *slog.Logger) (body []byte, err error) {
	transport, scheme := &http.Transport{DisableKeepAlives: true}, "http"
	if certificate := config.CurrentCertificate("BRIDGE_HTTP_TLS_CERT", c.Cert, c.Key, log); certificate != nil {
		scheme = "https"
		transport.TLSClientConfig = &tls.Config{
			// The certificate is for the names by which others reach the server. It is compared below.
			InsecureSkipVerify: true,
			VerifyConnection: func(s tls.ConnectionState) error {
				own := certificate()
				if own == nil || len(s.PeerCertificates) == 0 || !bytes.Equal(own.Certificate[0], s.PeerCertificates[0].Raw) {
					return errCertificate
				}
				return nil
			},
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+DialAddress(c.Listen)+"/readyz", nil)
	if err != nil {
		return nil, err
	}
	if token := c.CurrentToken(log); token != nil {
		req.Header.Set("Authorization", "Bearer "+token())
	}
	response, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(io.LimitReader(response.Body, maxProbeBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%w: %s", ErrNotReady, response.Status)
	}
	return body, err
}

// DialAddress is the address under which to reach a listener: loopback if the listener
// has an unspecified address.
func DialAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "127.0.0.1"
		if addr.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
