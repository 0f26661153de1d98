package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// timeoutFlag adds --timeout, the time that openReadOnly and readers wait for the server. It does not
// limit the time of reading while the server responds.
func timeoutFlag(c *cobra.Command, timeout *time.Duration) {
	c.Flags().DurationVar(timeout, "timeout", 10*time.Second, "fail when the NATS server has not responded for this long")
	completeFlag(c, "timeout", words("10s", "1m"))
}

// openReadOnly reads the configuration and connects a command that changes nothing.
func (p *program) openReadOnly(ctx context.Context, timeout time.Duration) (context.Context, *config.Config, *reader.Session, error) {
	if timeout <= 0 {
		return ctx, nil, nil, fmt.Errorf("%w: --timeout must be above 0, not %v", errUsage, timeout)
	}
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return ctx, nil, nil, err
	}
	if c.LogLevel == "info" { // only the result is wanted
		log = p.err.Logger("warn", c.LogFormat)
	}
	sessionCtx, l, err := reader.ConnectReadOnly(ctx, c, timeout, log)
	if errors.Is(err, reader.ErrNothingToRead) {
		err = fmt.Errorf("%w: %w", errUsage, err)
	}
	return sessionCtx, c, l, err
}

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

func (p *program) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "poll BPCC and publish what changes",
		Example: `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge run
NATS_URL=nats://nats.example.com:4222 NATS_CREDS=/run/secrets/bridge.creds BRIDGE_REPLICAS=3 bridge run`,
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
	sessionCtx, l, err := reader.Connect(ctx, all[0], 0, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer l.Close()
	return runFleet(sessionCtx, all, l, server, log)
}

// runFleet provisions the streams and runs the bridges of all tenants until ctx
// ends.
func runFleet(ctx context.Context, all []*config.Config, l *reader.Session, server *httpServer, log *slog.Logger) error {
	fleet, err := bridge.NewFleet(all, l.JS, l.Server, log)
	if err != nil {
		return err
	}
	server.SetHandler(fleet.Handler())
	if err := provisionStreams(ctx, all[0], l, log); err != nil {
		return reader.StopCause(ctx, err)
	}
	return reader.StopCause(ctx, fleet.Run(ctx))
}

// provisionStreams creates the streams. It retries transient errors, such as no leader
// or too few servers for the replicas.
func provisionStreams(ctx context.Context, c *config.Config, l *reader.Session, log *slog.Logger) error {
	lastLogged := map[string]bool{}
	warn := func(text string, args ...any) {
		if key := fmt.Sprint(text, args); !lastLogged[key] {
			lastLogged[key] = true
			log.Warn(text, args...)
		}
	}
	for {
		done, err := stream.Provision(ctx, l.JS, c, l.Server)
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
		RunE: func(c *cobra.Command, _ []string) error { return p.provision(c.Context()) },
	}
}

func (p *program) provision(ctx context.Context) error {
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	sessionCtx, l, err := reader.Connect(ctx, c, 0, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer l.Close()
	return reader.StopCause(sessionCtx, p.writeProvisioned(sessionCtx, c, l))
}

// writeProvisioned creates the streams and writes what it did to each.
func (p *program) writeProvisioned(ctx context.Context, c *config.Config, l *reader.Session) error {
	done, err := stream.Provision(ctx, l.JS, c, l.Server)
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
