package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/bridge/trace"
	"bpcc-nats/bridge/web"
	"bpcc-nats/cmd/bridge/internal/build"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/service"
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
		c.Version = build.Read().Version
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

// traceTimeout is how long the last traces may take: the bridges may take ten seconds to stop before, and supervisors
// wait for no more than fifteen.
const traceTimeout = 2 * time.Second

func (p *program) runBridge(ctx context.Context) error {
	all, log, err := p.configureAll(config.ForBridge)
	if err != nil {
		return err
	}
	tracer, err := trace.New(ctx, p.env, all[0].Version, log)
	if err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	defer func() {
		closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceTimeout)
		defer cancel()
		if err := tracer.Close(closeCtx); err != nil {
			log.Warn("last traces not exported", "err", err)
		}
	}()
	reload := make(chan os.Signal, 1)
	if p.err.Terminal {
		var stop func()
		ctx, stop = endAtHangup(ctx)
		defer stop()
	} else if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(reload, syscall.SIGHUP)
		defer signal.Stop(reload)
	}
	server, err := web.Listen(ctx, all[0].HTTP, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer server.Close()
	stopDebug, err := web.ListenDebug(ctx, all[0].HTTP.Debug, log)
	if err != nil {
		return reader.StopCause(ctx, err)
	}
	defer stopDebug()
	s := &service.Service{Env: p.env, Configs: all, Server: server, Tracer: tracer, Log: log}
	return s.Run(ctx, reload)
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
