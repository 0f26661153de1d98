package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/capacity"
	"bpcc-nats/bridge/check"
	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/stream"
	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/render"
)

func (p *program) checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "check", Short: "examine BPCC and NATS step by step; publish nothing",
		Example: `
BPCC_URL=https://acme.brightpattern.com BPCC_CLIENT_ID=stats.user BPCC_CLIENT_SECRET_FILE=/run/secrets/bpcc bridge check`,
		RunE: func(c *cobra.Command, _ []string) error { return p.check(c.Context(), asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print each step as a line of JSON")
	return c
}

func (p *program) check(ctx context.Context, asJSON bool) error {
	all, _, err := p.configureAll(config.ForSource)
	if err != nil {
		return err
	}
	d := render.Checks{Console: p.out, Data: p.data, JSON: asJSON}
	agents := 0 // of all tenants, as their snapshots show
	for _, c := range all {
		d.Start(fmt.Sprintf("%s as tenant %q", c.BPCC.URL, c.Tenant), c.Tenant)
		found, err := check.Source(ctx, c, d.StepUntil(ctx))
		if err := unlessReported(err); err != nil {
			return reader.Unfinished(ctx, err)
		}
		agents += found
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() == nil {
		if err := p.checkNATS(ctx, &d, agents); err != nil {
			return reader.Unfinished(ctx, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return reader.Unfinished(ctx, err) // without a verdict
	}
	return d.Finish()
}

// natsTimeout bounds how long a check waits for the NATS server.
const natsTimeout = 5 * time.Second

// checkNATS checks the NATS side that the environment names, else the store of the
// embedded server.
func (p *program) checkNATS(ctx context.Context, d *render.Checks, agents int) error {
	c, warnings, err := config.Parse(p.env, config.ForStream)
	if err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	if c.NATS.Embedded() {
		d.Start("NATS_URL is not set: bridge run starts its own server", "NATS")
		err := check.Store(c.Embedded, d.Step)
		if err == nil {
			check.StoreRetention(c, runningEvents(ctx, c), agents, d.Step)
		}
		return unlessReported(err)
	}
	p.logger([]*config.Config{c}, warnings)
	d.Start("NATS", "NATS")
	_, l, err := reader.Connect(ctx, c, natsTimeout, slog.New(slog.DiscardHandler))
	if err != nil {
		d.StepUntil(ctx)(check.Step{Name: "connect", Outcome: check.Failure, Found: err.Error(),
			Hint: reader.HintUnreachable})
		return nil
	}
	defer l.Close()
	err = check.Streams(ctx, c, l.NC, l.JS, d.StepUntil(ctx))
	if err == nil {
		check.Retention(ctx, c, l.JS, agents, d.StepUntil(ctx))
	}
	return unlessReported(err)
}

// embeddedTimeout bounds how long a check waits for the embedded server of a bridge that runs, which is
// on this machine.
const embeddedTimeout = time.Second

// runningEvents returns the stream of events of a bridge that runs with the embedded server on this
// machine, nil if none does.
func runningEvents(ctx context.Context, c *config.Config) *capacity.Stream {
	running := *c
	running.NATS.URL = "nats://" + c.Embedded.Listen
	_, l, err := reader.Connect(ctx, &running, embeddedTimeout, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil
	}
	defer l.Close()
	if l.NC.ConnectedServerName() != stream.EmbeddedName {
		return nil
	}
	use, err := capacity.Measure(ctx, l.JS, c.Stream, c.Times())
	events, exists := use.Find(capacity.Events)
	if err != nil || !exists {
		return nil
	}
	return &events
}

// unlessReported drops the error of a check whose failed steps have been reported.
func unlessReported(err error) error {
	if errors.Is(err, check.ErrFailed) {
		return nil
	}
	return err
}
