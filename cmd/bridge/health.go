package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/bridge/config"
	"bpcc-nats/bridge/web"
	"bpcc-nats/cmd/bridge/internal/console"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// healthTimeout is shorter than the usual timeout of a probe.
const healthTimeout = 3 * time.Second

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "report whether the bridge on this machine is ready",
		Example: `
bridge health`,
		RunE: func(c *cobra.Command, _ []string) error { return p.health(c.Context()) },
	}
}

// health requests /readyz of the bridge that runs with the same environment. It is for
// containers, which have no other HTTP client.
func (p *program) health(ctx context.Context) error {
	c, log, err := p.configure(config.ForStream)
	if err != nil {
		return err
	}
	if c.HTTP.Listen == config.Off {
		return fmt.Errorf("%w: BRIDGE_HTTP is off: the bridge serves no health", reader.ErrUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	body, err := web.Probe(ctx, c.HTTP, log)
	if err == nil || errors.Is(err, web.ErrNotReady) { // for people: another program may listen there
		err = errors.Join(err, p.out.Printf("%s", console.VisibleLines(string(body))))
	}
	switch {
	case errors.Is(err, web.ErrNotReady):
		return err
	case err != nil:
		return fmt.Errorf("request the health of the bridge: %w", err)
	}
	return nil
}
