package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
)

// configure reads the configuration and makes its logger.
func (p *program) configure(purpose config.Purpose) (*config.Config, *slog.Logger, error) {
	c, warnings, err := config.Parse(p.env, purpose)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return c, p.logger([]*config.Config{c}, warnings), nil
}

// configureAll is configure for all tenants of the process.
func (p *program) configureAll(purpose config.Purpose) ([]*config.Config, *slog.Logger, error) {
	all, warnings, err := config.ParseAll(p.env, purpose)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return all, p.logger(all, warnings), nil
}

// logger makes the configured logger, and logs the warnings of reading the
// configuration.
func (p *program) logger(all []*config.Config, warnings []string) *slog.Logger {
	log := p.err.Logger(all[0].LogLevel, all[0].LogFormat)
	for _, c := range all {
		c.Version = buildVersion()
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	return log
}

// natsSession is an open connection with JetStream.
type natsSession struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	server *stream.Server // nil if the server is another process
	cancel context.CancelCauseFunc
}

func (l *natsSession) close() {
	l.cancel(nil)
	if l.nc != nil {
		l.nc.Close()
	}
	if l.server != nil {
		l.server.Close()
	}
}

// openNATS connects to the configured server, waiting no longer than timeout if that
// is not 0, or starts the embedded one. The returned context ends, with the cause,
// when the connection is closed permanently.
func openNATS(ctx context.Context, c *config.Config, timeout time.Duration, log *slog.Logger) (context.Context, *natsSession, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &natsSession{cancel: cancel}
	if c.Embedded() {
		server, err := stream.StartEmbedded(c, log)
		if err != nil {
			cancel(err)
			return ctx, nil, err
		}
		l.server = server
		log.Info("no NATS_URL: a NATS server runs inside", "url", server.URL(), "store", c.StoreDir,
			"used_bytes", int64(server.Used()), "limit_bytes", int64(server.StoreMax()))
	}
	waiting := ctx
	if timeout > 0 {
		var stop context.CancelFunc
		waiting, stop = context.WithTimeout(ctx, timeout)
		defer stop()
	}
	nc, err := stream.Connect(waiting, c, log, cancel)
	if err != nil {
		l.close()
		return ctx, nil, err
	}
	l.nc = nc
	if l.js, err = stream.OpenJetStream(c, nc); err != nil {
		l.close()
		return ctx, nil, err
	}
	return ctx, l, nil
}

func (p *program) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "poll BPCC and publish what changes",
		Example: `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge run
NATS_URL=nats://nats.example.com:4222 NATS_CREDS=/run/secrets/bridge.creds BRIDGE_REPLICAS=3 bridge run`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error { return p.runBridge(c.Context()) },
	}
}

func (p *program) runBridge(ctx context.Context) error {
	all, log, err := p.configureAll(config.ForBridge)
	if err != nil {
		return err
	}
	server, err := serveHTTP(all[0], log)
	if err != nil {
		return err
	}
	defer server.close()
	sessionCtx, l, err := openNATS(ctx, all[0], 0, log)
	if err != nil {
		return stopCause(ctx, err)
	}
	defer l.close()
	return stopCause(sessionCtx, runFleet(sessionCtx, all, l, server, log))
}

// runFleet provisions the streams and runs the bridges of all tenants until ctx
// ends.
func runFleet(ctx context.Context, all []*config.Config, l *natsSession, server *httpServer, log *slog.Logger) error {
	fleet, err := bridge.NewFleet(all, l.js, l.server, log)
	if err != nil {
		return err
	}
	server.SetHandler(fleet.Handler())
	if err := provisionStreams(ctx, all[0], l, log); err != nil {
		return stopCause(ctx, err)
	}
	return stopCause(ctx, fleet.Run(ctx))
}

// stopCause turns the error of work that ended with ctx into why ctx ended: nil for a
// signal.
func stopCause(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrNoServers) {
		return nil
	}
	return err
}

// provisionStreams creates the streams. It retries transient errors, such as no leader
// or too few servers for the replicas.
func provisionStreams(ctx context.Context, c *config.Config, l *natsSession, log *slog.Logger) error {
	lastLogged := map[string]bool{}
	warn := func(text string, args ...any) {
		if key := fmt.Sprint(text, args); !lastLogged[key] {
			lastLogged[key] = true
			log.Warn(text, args...)
		}
	}
	for {
		done, err := stream.Provision(ctx, l.js, c, l.server)
		for _, p := range done {
			if p.Created {
				log.Info("stream created", "stream", p.Stream)
			}
			if p.Changed != "" {
				log.Info("stream limit changed", "stream", p.Stream, "changed", p.Changed)
			}
			for _, d := range p.Differs {
				warn("stream configuration differs; not changing it", "stream", p.Stream, "differs", d)
			}
		}
		if err == nil || ctx.Err() != nil || !stream.IsTransient(err) {
			return err
		}
		warn("cannot create the streams, retrying", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (p *program) provisionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "provision", Short: "create the streams and report what differs",
		Example: `
NATS_URL=nats://nats.example.com:4222 BRIDGE_REPLICAS=3 bridge provision`,
		Args: atMost(0),
		RunE: func(c *cobra.Command, _ []string) error { return p.provision(c.Context()) },
	}
}

func (p *program) provision(ctx context.Context) error {
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	sessionCtx, l, err := openNATS(ctx, c, 0, log)
	if err != nil {
		return stopCause(ctx, err)
	}
	defer l.close()
	return stopCause(sessionCtx, p.writeProvisioned(sessionCtx, c, l))
}

// writeProvisioned creates the streams and writes what it did to each.
func (p *program) writeProvisioned(ctx context.Context, c *config.Config, l *natsSession) error {
	done, err := stream.Provision(ctx, l.js, c, l.server)
	for _, s := range done {
		switch {
		case s.Created:
			p.out.Printf("%s: created\n", s.Stream)
		case s.Changed != "":
			p.out.Printf("%s: %s\n", s.Stream, s.Changed)
		case len(s.Differs) == 0:
			p.out.Printf("%s: configured as expected\n", s.Stream)
		default:
			p.out.Printf("%s: usable, not changed; it differs:\n", s.Stream)
			for _, d := range s.Differs {
				p.out.Printf("    %s\n", d)
			}
		}
	}
	return err
}
