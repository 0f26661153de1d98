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
	"bpcc-nats/bridge/web"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// timeoutFlag adds --timeout, the time that a command waits for the server. It does not
// limit the time of reading while the server responds.
func timeoutFlag(c *cobra.Command, timeout *time.Duration) {
	c.Flags().DurationVar(timeout, "timeout", 10*time.Second, "fail when the NATS server has not responded for this long")
	completeFlag(c, "timeout", words("10s", "1m"))
}

// checkTimeout refuses a --timeout that allows no wait.
func checkTimeout(timeout time.Duration) error {
	if timeout <= 0 {
		return fmt.Errorf("%w: --timeout must be above 0, not %v", reader.ErrUsage, timeout)
	}
	return nil
}

// openReadOnly reads the configuration and connects a command that changes nothing.
func (p *program) openReadOnly(ctx context.Context, timeout time.Duration) (context.Context, *config.Config, *reader.Session, error) {
	if err := checkTimeout(timeout); err != nil {
		return ctx, nil, nil, err
	}
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return ctx, nil, nil, err
	}
	if c.Log.Level == "info" { // only the result is wanted
		log = p.err.Logger("warn", c.Log.Format)
	}
	sessionCtx, l, err := reader.ConnectReadOnly(ctx, c, timeout, log)
	if errors.Is(err, reader.ErrNothingToRead) {
		err = fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	return sessionCtx, c, l, err
}

// configure reads the configuration and makes its logger.
func (p *program) configure(purpose config.Purpose) (*config.Config, *slog.Logger, error) {
	c, warnings, err := config.Parse(p.env, purpose)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	return c, p.logger([]*config.Config{c}, warnings), nil
}

// configureAll is configure for all tenants of the process.
func (p *program) configureAll(purpose config.Purpose) ([]*config.Config, *slog.Logger, error) {
	all, warnings, err := config.ParseAll(p.env, purpose)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	return all, p.logger(all, warnings), nil
}

// logger makes the configured logger, and logs the warnings of reading the
// configuration.
func (p *program) logger(all []*config.Config, warnings []string) *slog.Logger {
	log := p.err.Logger(all[0].Log.Level, all[0].Log.Format)
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
	server, err := web.Listen(ctx, all[0].HTTP, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer server.Close()
	for nats := all[0].NATS; ; {
		all[0].NATS = nats // the embedded server sets its address
		err := runSession(ctx, all, server, log)
		// Another connection keeps the server's present limits. A new key needs a new process.
		if ctx.Err() != nil || !errors.Is(err, stream.ErrConnectionClosed) {
			return err
		}
		log.Error("NATS connection closed, connecting again", "err", err, "hint", stream.Hint(all[0].Stream, err))
		select {
		case <-ctx.Done():
		case <-time.After(all[0].Times().UnavailablePause):
		}
	}
}

// runSession connects and runs the bridges until ctx ends or the connection is closed.
func runSession(ctx context.Context, all []*config.Config, server *web.Server, log *slog.Logger) error {
	sessionCtx, l, err := reader.Connect(ctx, all[0], 0, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer l.Close()
	return runFleet(sessionCtx, all, l, server, log)
}

// runFleet provisions the streams and runs the bridges of all tenants until ctx
// ends.
func runFleet(ctx context.Context, all []*config.Config, l *reader.Session, server *web.Server, log *slog.Logger) error {
	fleet, err := bridge.NewFleet(all, l.JS, l.Server, log)
	if err != nil {
		return err
	}
	server.SetHandler(fleet.Handler())
	if err := provisionStreams(ctx, all[0], l, fleet, log); err != nil {
		return reader.StopCause(ctx, err)
	}
	return reader.StopCause(ctx, fleet.Run(ctx))
}

// provisionStreams creates the streams. It retries transient errors, such as no leader
// or too few servers for the replicas; until then the fleet is not ready for that reason.
func provisionStreams(ctx context.Context, c *config.Config, l *reader.Session, fleet *bridge.Fleet, log *slog.Logger) error {
	lastLogged := map[string]bool{}
	warn := func(text string, args ...any) {
		if key := fmt.Sprint(text, args); !lastLogged[key] {
			lastLogged[key] = true
			log.Warn(text, args...)
		}
	}
	for {
		done, err := stream.Provision(ctx, l.JS, c.Stream, c.Times(), l.Server)
		for _, p := range done {
			switch {
			case p.Lost != "" && !lastLogged[p.Stream]:
				lastLogged[p.Stream] = true
				p.LogLost(log)
			case p.Created:
				log.Info("stream created", "stream", p.Stream)
			}
			if p.Changed != "" {
				log.Info("stream limit changed", "stream", p.Stream, "changed", p.Changed)
			}
			for _, d := range p.Differs {
				warn("stream configuration differs; not changing it", "stream", p.Stream, "differs", d)
			}
		}
		if err == nil {
			fleet.SetBlocked("")
		}
		if err == nil || ctx.Err() != nil || !stream.IsTransient(err) {
			return err
		}
		fleet.SetBlocked(err.Error())
		warn("cannot create the streams, retrying", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (p *program) provisionCommand() *cobra.Command {
	var printOnly bool
	var timeout time.Duration
	c := &cobra.Command{
		Use: "provision", Short: "create the streams and report what differs",
		Example: `
NATS_URL=nats://nats.example.com:4222 BRIDGE_REPLICAS=3 bridge provision
NATS_URL=nats://nats.example.com:4222 BRIDGE_REPLICAS=3 bridge provision --print`,
		RunE: func(c *cobra.Command, _ []string) error {
			if printOnly {
				return p.printStreams()
			}
			return p.provision(c.Context(), timeout)
		},
	}
	c.Flags().BoolVar(&printOnly, "print", false, "print the wanted configurations as a JSON array, and create nothing")
	timeoutFlag(c, &timeout)
	return c
}

// printStreams prints the configurations of the streams, for those who create them by other means.
func (p *program) printStreams() error {
	c, _, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	return p.writeJSON(stream.Configs(c.Stream))
}

func (p *program) provision(ctx context.Context, timeout time.Duration) error {
	if err := checkTimeout(timeout); err != nil {
		return err
	}
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	sessionCtx, l, err := reader.Connect(ctx, c, timeout, log)
	if errors.Is(err, context.DeadlineExceeded) {
		err = reader.NoAnswer(nil, timeout, err)
	}
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	return reader.Unfinished(sessionCtx, p.writeProvisioned(sessionCtx, c, l, timeout, log))
}

// writeProvisioned creates the streams and writes what it did to each.
func (p *program) writeProvisioned(ctx context.Context, c *config.Config, l *reader.Session, timeout time.Duration, log *slog.Logger) error {
	created := map[string]bool{} // also by a call that failed later
	lost := map[string]stream.Provisioned{}
	var done []stream.Provisioned
	call := func(ctx context.Context) (err error) {
		done, err = stream.Provision(ctx, l.JS, c.Stream, c.Times(), l.Server)
		for _, s := range done {
			created[s.Stream] = created[s.Stream] || s.Created
			if s.Lost != "" {
				lost[s.Stream] = s
			}
		}
		return err
	}
	var err error
	if l.Server == nil {
		err = reader.Retry(ctx, l.NC, timeout, call)
	} else { // it answers, and may have to drop many events
		err = call(ctx)
	}
	for _, s := range done {
		if l, ok := lost[s.Stream]; ok {
			p.out.Printf("%s: history lost: stream recreated empty (%s)\n", s.Stream, l.Lost)
			l.LogLost(log)
		}
		switch {
		case created[s.Stream]:
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
