package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// ErrNATSAuth is returned by [Connect] when the server refuses the credentials.
var ErrNATSAuth = errors.New("the NATS server refuses the credentials")

// Connect connects to the NATS server that the configuration names, by its URL
// or a context of the nats CLI. It waits for the server until ctx ends; refused
// credentials end it at once with [ErrNATSAuth]. closed is called when a
// connection that was up is given up for good, with the reason.
func Connect(ctx context.Context, c *Config, log *slog.Logger, closed func(error)) (*nats.Conn, error) {
	options := append(c.natsOptions(log), nats.ClosedHandler(func(nc *nats.Conn) {
		if err := nc.LastError(); err != nil {
			closed(fmt.Errorf("the NATS connection is closed: %w", err))
		}
	}))
	told := ""
	for {
		nc, err := c.dial(options)
		switch {
		case err == nil:
			log.Info("connected to NATS", "server", nc.ConnectedServerName(), "version", nc.ConnectedServerVersion(), "url", nc.ConnectedUrlRedacted())
			return nc, nil
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
			return nil, fmt.Errorf("%w: %w; check NATS_CREDS, NATS_NKEY, NATS_USER or NATS_TOKEN", ErrNATSAuth, err)
		case !errors.Is(err, nats.ErrNoServers) && !errors.Is(err, nats.ErrTimeout):
			// A file, a context or an option is wrong; waiting mends nothing.
			return nil, fmt.Errorf("connect to NATS: %w", err)
		}
		if err.Error() != told {
			told = err.Error()
			log.Warn("the NATS server does not answer; waiting for it", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to NATS: %w", err)
		case <-time.After(time.Second):
		}
	}
}

func (c *Config) dial(options []nats.Option) (*nats.Conn, error) {
	if c.NATSContext != "" && c.NATSURL == "" {
		nc, _, err := natscontext.Connect(c.NATSContext, options...)
		return nc, err
	}
	return nats.Connect(c.NATSURL, options...)
}

func (c *Config) natsOptions(log *slog.Logger) []nats.Option {
	options := []nats.Option{
		nats.Name("bpcc-bridge " + c.Version),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		// Without it, a publish that returned an error may still be sent later.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("disconnected from NATS", "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", "url", nc.ConnectedUrlRedacted())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("NATS reports", "err", err)
		}),
	}
	add := func(on bool, o nats.Option) {
		if on {
			options = append(options, o)
		}
	}
	add(c.NATSCreds != "", nats.UserCredentials(c.NATSCreds))
	add(c.NATSUser != "", nats.UserInfo(c.NATSUser, string(c.NATSPassword)))
	add(c.NATSToken != "", nats.Token(string(c.NATSToken)))
	add(c.NATSCA != "", nats.RootCAs(c.NATSCA))
	add(c.NATSCert != "", nats.ClientCert(c.NATSCert, c.NATSKey))
	if c.NATSNKey != "" {
		o, err := nats.NkeyOptionFromSeed(c.NATSNKey)
		if err != nil {
			o = func(*nats.Options) error { return fmt.Errorf("NATS_NKEY: %w", err) }
		}
		options = append(options, o)
	}
	return options
}
