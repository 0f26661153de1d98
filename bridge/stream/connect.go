package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natscontext"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/outage"
)

// ErrNATSAuth is returned by [Connect] when the server refuses the credentials.
var ErrNATSAuth = errors.New("NATS server refused the credentials")

// reconnectWait is the wait between two attempts to reconnect.
const reconnectWait = time.Second

// Connect connects to the NATS server of the configuration, by its URL or a context of the nats CLI, and
// opens JetStream; the name of the connection tells the version of the program. It waits for the server
// until ctx ends. What waiting does not help ends it at once, refused credentials with [ErrNATSAuth]. A
// connection that was established reconnects without limit, with the present content of the files of
// secrets and certificates at each attempt; closed is called, with the reason, if it is closed
// nevertheless.
func Connect(ctx context.Context, c config.NATS, version string, log *slog.Logger, closed func(error)) (jetstream.JetStream, error) {
	r := &connLogger{log: log}
	options, err := natsOptions(c, version, r, closed)
	if err != nil {
		return nil, err
	}
	var unreachable outage.Outage
	for {
		nc, err := dial(ctx, &c, options)
		hint := natsHint(err)
		switch {
		case err == nil:
			r.conn.Store(nc)
			log.Info("connected to NATS", "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion(), "url", nc.ConnectedUrlRedacted())
			return openJetStream(c, nc)
		case refusedCredentials(err):
			return nil, fmt.Errorf("%w: %w; %s", ErrNATSAuth, err, hint)
		case ctx.Err() != nil:
			return nil, fmt.Errorf("connect to NATS: %w", err)
		case hint != "" && (!IsTransient(err) || tlsHint(err) != ""):
			return nil, fmt.Errorf("connect to NATS: %w; %s", err, hint)
		case !IsTransient(err):
			// A file, a context or an option is wrong; waiting does not help.
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		text := err.Error()
		if op := (*net.OpError)(nil); errors.As(err, &op) {
			text = hint + op.Err.Error() // without the local port, which differs each time
		}
		if lasts, due := unreachable.Failed(time.Now(), text); due {
			log.Warn("NATS server does not answer, retrying", "err", err, "lasts", lasts, "hint", hint)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS: %w: %w", context.Cause(ctx), err)
		case <-time.After(reconnectWait):
		}
	}
}

// openJetStream opens JetStream on a connection, in the domain or with the API prefix of the
// configuration.
func openJetStream(c config.NATS, nc *nats.Conn) (js jetstream.JetStream, err error) {
	switch {
	case c.Domain != "":
		js, err = jetstream.NewWithDomain(nc, c.Domain)
	case c.APIPrefix != "":
		js, err = jetstream.NewWithAPIPrefix(nc, c.APIPrefix)
	default:
		js, err = jetstream.New(nc)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("open JetStream: %w", err)
	}
	return js, nil
}

// dial connects, or returns when ctx ends. The library connects without a context: a connection
// that is established later is closed. The domain and the API prefix of a context complete the
// configuration.
func dial(ctx context.Context, c *config.NATS, options []nats.Option) (*nats.Conn, error) {
	type dialed struct {
		nc       *nats.Conn
		settings natscontext.Settings
		err      error
	}
	done := make(chan dialed)
	go func() {
		nc, settings, err := dialNow(*c, options)
		select {
		case done <- dialed{nc, settings, err}:
		case <-ctx.Done():
			if nc != nil {
				nc.Close()
			}
		}
	}()
	select {
	case d := <-done:
		if c.Domain == "" && c.APIPrefix == "" {
			c.Domain, c.APIPrefix = d.settings.JSDomain, d.settings.JSAPIPrefix
		}
		return d.nc, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func dialNow(c config.NATS, options []nats.Option) (*nats.Conn, natscontext.Settings, error) {
	if c.Context != "" && c.URL == "" {
		return natscontext.Connect(c.Context, options...)
	}
	nc, err := nats.Connect(c.URL, options...)
	return nc, natscontext.Settings{}, err
}

// refusedCredentials reports whether the server refused the credentials.
func refusedCredentials(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) ||
		errors.Is(err, nats.ErrAuthRevoked) || errors.Is(err, nats.ErrAccountAuthExpired)
}

// natsHint returns what a person can do about a failure of the connection; "" if that is not known.
func natsHint(err error) string {
	if hint := tlsHint(err); hint != "" {
		return hint
	}
	if network := net.Error(nil); errors.As(err, &network) && network.Timeout() {
		return "check NATS_URL and the way to it, and set NATS_TLS_FIRST=true if the server wants TLS before it sends anything (handshake_first)"
	}
	if IsTransient(err) {
		err = errors.Join(err, ErrNotConnected) // for a timeout of the connection is none of JetStream
	}
	return Hint(config.Stream{}, err)
}

// tlsHint is natsHint for a failed handshake.
func tlsHint(err error) string {
	return config.TLSHint(err, "NATS_CA", "NATS_CERT and NATS_KEY", "NATS_URL")
}

// ErrConnectionClosed is the reason of a connection that is closed although the program needs it, as after a
// message above a limit of the server that was lowered. Another connection may work.
var ErrConnectionClosed = errors.New("NATS connection closed")

// natsOptions returns the options of every connection. The files of secrets and certificates are
// read at each attempt to connect.
func natsOptions(c config.NATS, version string, r *connLogger, closed func(error)) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("bpcc-bridge " + version),
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
				r.beginInterruption(err, time.Now())
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			r.logInterruption(err, time.Now())
		}),
		// Such a server has stopped JetStream, and closes its connections one by one, over minutes.
		nats.LameDuckModeHandler(func(nc *nats.Conn) {
			r.logOnce(errLameDuck)
			r.setDown(errLameDuck)
			if err := nc.ForceReconnect(); err != nil {
				r.logOnce(err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			r.setDown(nil)
			r.log.Info("reconnected to NATS", "after", r.endInterruption(time.Now()), "version", nc.ConnectedServerVersion(), "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) {
			if refusedCredentials(err) {
				r.logInterruption(err, time.Now())
			} else {
				r.logOnce(err)
			}
			if c.NKey != "" && refusedCredentials(err) {
				closeForNewKey(c, nc, closed)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil {
				closed(fmt.Errorf("%w: %w", ErrConnectionClosed, err))
			}
		}),
	}
	add := func(on bool, o nats.Option) {
		if on {
			options = append(options, o)
		}
	}
	password := c.CurrentPassword(r.log)
	add(c.Creds != "", nats.UserJWT(func() (string, error) { return config.UserJWT(c.Creds) }, signWith(c.Creds)))
	add(c.User != "", nats.UserInfoHandler(func() (string, string) { return c.User, password() }))
	add(c.Token != "", nats.TokenHandler(c.CurrentToken(r.log)))
	add(c.InboxPrefix != "", nats.CustomInboxPrefix(c.InboxPrefix))
	add(c.CA != "" || c.Cert != "", natsTLS(c, r.log))
	add(c.TLSFirst, nats.TLSHandshakeFirst())
	if c.NKey != "" {
		public, err := config.PublicKey(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("NATS_NKEY: %w", err)
		}
		options = append(options, nats.Nkey(public, signWith(c.NKey)))
	}
	return append(options, r.asDialer), nil
}

// natsTLS uses the present content of the files at each handshake.
func natsTLS(c config.NATS, log *slog.Logger) nats.Option {
	var certHandler nats.TLSCertHandler
	if getCert := config.CurrentCertificate("NATS_CERT", c.Cert, c.Key, log); getCert != nil {
		certHandler = func() (tls.Certificate, error) { return *getCert(), nil }
	}
	var caHandler nats.RootCAsHandler
	if c.CA != "" {
		current := config.CurrentRootCAs("NATS_CA", c.CA, log)
		caHandler = func() (*x509.CertPool, error) { return current(), nil }
	}
	return func(o *nats.Options) error {
		o.Secure = true
		return nats.ClientTLSConfig(certHandler, caHandler)(o)
	}
}

// closeForNewKey closes the connection when the file holds another key than the one in use, which
// the library cannot exchange: a new process will use it.
func closeForNewKey(c config.NATS, nc *nats.Conn, closed func(error)) {
	// While the file cannot be read, the key has not changed.
	if public, err := config.PublicKey(c.NKey); err == nil && public != nc.Opts.Nkey {
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
