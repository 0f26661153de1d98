package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"

	"bpcc-nats/bridge/config"
)

// ErrNATSAuth is returned by [Connect] when the server refuses the credentials.
var ErrNATSAuth = errors.New("NATS server refused the credentials")

// reconnectWait is the wait between two attempts to reconnect.
const reconnectWait = time.Second

// Connect connects to the NATS server of the configuration, by its URL or a context of the nats
// CLI. It waits for the server until ctx ends; refused credentials end it at once with
// [ErrNATSAuth]. A connection that was established reconnects without limit, with the present
// content of the files of secrets and certificates at each attempt; closed is called, with the
// reason, if it is closed nevertheless.
func Connect(ctx context.Context, c *config.Config, log *slog.Logger, closed func(error)) (*nats.Conn, error) {
	r := &connLogger{log: log}
	options, err := natsOptions(c, r, closed)
	if err != nil {
		return nil, err
	}
	lastLogged := ""
	for {
		nc, err := dial(ctx, c, options)
		switch hint := natsHint(err); {
		case err == nil:
			r.conn.Store(nc)
			log.Info("connected to NATS", "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion(), "url", nc.ConnectedUrlRedacted())
			return nc, nil
		case refusedCredentials(err):
			return nil, fmt.Errorf("%w: %w; %s", ErrNATSAuth, err, hint)
		case hint != "":
			return nil, fmt.Errorf("connect to NATS: %w; %s", err, hint)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("connect to NATS: %w", err)
		case !isTransientConnect(err):
			// A file, a context or an option is wrong; waiting does not help.
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		if err.Error() != lastLogged {
			lastLogged = err.Error()
			log.Warn("NATS server does not answer, retrying", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS: %w: %w", context.Cause(ctx), err)
		case <-time.After(reconnectWait):
		}
	}
}

// OpenJetStream opens JetStream on a connection, with the API prefix of the configuration.
func OpenJetStream(c *config.Config, nc *nats.Conn) (js jetstream.JetStream, err error) {
	if c.NATSAPIPrefix != "" {
		js, err = jetstream.NewWithAPIPrefix(nc, c.NATSAPIPrefix)
	} else {
		js, err = jetstream.New(nc)
	}
	if err != nil {
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

// dial connects, or returns when ctx ends. The library connects without a context: a connection
// that is established later is closed.
func dial(ctx context.Context, c *config.Config, options []nats.Option) (*nats.Conn, error) {
	type dialed struct {
		nc  *nats.Conn
		err error
	}
	done := make(chan dialed)
	go func() {
		nc, err := dialNow(c, options)
		select {
		case done <- dialed{nc, err}:
		case <-ctx.Done():
			if nc != nil {
				nc.Close()
			}
		}
	}()
	select {
	case d := <-done:
		return d.nc, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func dialNow(c *config.Config, options []nats.Option) (*nats.Conn, error) {
	if c.NATSContext != "" && c.NATSURL == "" {
		nc, _, err := natscontext.Connect(c.NATSContext, options...)
		return nc, err
	}
	return nats.Connect(c.NATSURL, options...)
}

// refusedCredentials reports whether the server refused the credentials.
func refusedCredentials(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// isTransientConnect reports whether a failed attempt to connect may succeed later: connection
// refused, name not found, server shutting down.
func isTransientConnect(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, io.EOF) || errors.As(err, &network)
}

// natsHint returns what a person can do about a failure; "" if only waiting helps.
func natsHint(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return "the credentials have expired: get new ones from the operator of the server"
	case errors.Is(err, nats.ErrAuthRevoked):
		return "the credentials have been revoked: get new ones from the operator of the server"
	case refusedCredentials(err):
		return "check NATS_CREDS, NATS_NKEY, NATS_USER with NATS_PASSWORD, NATS_TOKEN, NATS_CERT with NATS_KEY, and NATS_CONTEXT"
	case errors.Is(err, nats.ErrPermissionViolation):
		return permissionHint
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server does not offer TLS; check NATS_URL, NATS_CA and NATS_CERT, which require it"
	}
	return config.TLSHint(err, "NATS_CA", "NATS_CERT and NATS_KEY", "NATS_URL")
}

// natsOptions returns the options of every connection. The files of secrets and certificates are
// read at each attempt to connect.
func natsOptions(c *config.Config, r *connLogger, closed func(error)) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("bpcc-bridge " + c.Version),
		nats.MaxReconnects(-1),
		nats.WriteBufferSize(writeBuffer),
		// After the credentials are corrected, the bridge must not need a restart.
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(func(int) time.Duration {
			r.onReconnectWait()
			return reconnectWait + time.Duration(rand.Int64N(int64(reconnectWait)/4))
		}),
		// Without it, a publish that returned an error may still be sent later.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				r.log.Warn("disconnected from NATS", "err", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { r.logOnce(err) }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			r.resetLogged()
			r.log.Info("reconnected to NATS", "version", nc.ConnectedServerVersion(), "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			r.logOnce(err)
			if c.NATSNKey != "" && refusedCredentials(err) {
				closeForNewKey(c, nc, closed)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil {
				closed(fmt.Errorf("NATS connection closed: %w", err))
			}
		}),
	}
	add := func(on bool, o nats.Option) {
		if on {
			options = append(options, o)
		}
	}
	password := c.CurrentSecret("NATS_PASSWORD", c.NATSPassword, r.log)
	add(c.NATSCreds != "", nats.UserJWT(func() (string, error) { return config.UserJWT(c.NATSCreds) }, signWith(c.NATSCreds)))
	add(c.NATSUser != "", nats.UserInfoHandler(func() (string, string) { return c.NATSUser, password() }))
	add(c.NATSToken != "", nats.TokenHandler(c.CurrentSecret("NATS_TOKEN", c.NATSToken, r.log)))
	add(c.NATSInboxPrefix != "", nats.CustomInboxPrefix(c.NATSInboxPrefix))
	add(c.NATSCA != "" || c.NATSCert != "", natsTLS(c, r.log))
	if c.NATSNKey != "" {
		public, err := config.PublicKey(c.NATSNKey)
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY: %w", err)
		}
		options = append(options, nats.Nkey(public, signWith(c.NATSNKey)))
	}
	return options, nil
}

// natsTLS uses the present content of the files at each handshake.
func natsTLS(c *config.Config, log *slog.Logger) nats.Option {
	var certHandler nats.TLSCertHandler
	if getCert := config.CurrentCertificate("NATS_CERT", c.NATSCert, c.NATSKey, log); getCert != nil {
		certHandler = func() (tls.Certificate, error) { return *getCert(), nil }
	}
	var caHandler nats.RootCAsHandler
	if c.NATSCA != "" {
		current := config.CurrentRootCAs("NATS_CA", c.NATSCA, log)
		caHandler = func() (*x509.CertPool, error) { return current(), nil }
	}
	return func(o *nats.Options) error {
		o.Secure = true
		return nats.ClientTLSConfig(certHandler, caHandler)(o)
	}
}

// closeForNewKey closes the connection when the file holds another key than the one in use, which
// the library cannot exchange: a new process will use it.
func closeForNewKey(c *config.Config, nc *nats.Conn, closed func(error)) {
	// While the file cannot be read, the key has not changed.
	if public, err := config.PublicKey(c.NATSNKey); err == nil && public != nc.Opts.Nkey {
		closed(fmt.Errorf("%w, and NATS_NKEY now holds a new key: the next start uses it", ErrNATSAuth))
		nc.Close()
	}
}

// writeBuffer is the number of bytes per write. A batch of a thousand events has a megabyte; each
// write wakes both sides.
const writeBuffer = 128 << 10

// signWith returns a function that signs what a server sends, with the seed that a file holds then.
func signWith(file string) nats.SignatureHandler {
	return func(nonce []byte) ([]byte, error) {
		pair, err := config.UserKey(file)
		if err != nil {
			return nil, err
		}
		defer pair.Wipe()
		return pair.Sign(nonce)
	}
}
