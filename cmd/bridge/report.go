package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bpcc-nats/cmd/bridge/internal/reader"
	"bpcc-nats/cmd/bridge/internal/times"
)

func (p *program) reportCommand() *cobra.Command {
	var o times.Options
	c := &cobra.Command{
		Use: "report [FILE]", Short: "sum up who was in which state for how long",
		Example: `
bridge report
bridge report --zone Europe/Berlin --since 2026-11-23 --until 2026-11-28 --csv > week.csv
bridge report --tenant acme --json | jq 'select(.agent == "john.smith")'
bridge report --zone Europe/Berlin tuesday.ndjson.gz`,
		Args: atMost(1), ValidArgsFunction: files,
		RunE: func(c *cobra.Command, args []string) error { return p.report(c.Context(), o, strings.Join(args, "")) },
	}
	o.AddFlags(c.Flags())
	timeoutFlag(c, &o.Timeout)
	return c
}

func (p *program) report(ctx context.Context, o times.Options, file string) error {
	bounds, err := o.Bounds(time.Now(), file != "", p.err)
	if err != nil {
		return fmt.Errorf("%w: %w", reader.ErrUsage, err)
	}
	defer p.collectLess()()
	out := times.Output{Options: o, Bounds: bounds, People: p.out, Data: p.data, Notes: p.err}
	if file != "" {
		return reader.Unfinished(ctx, out.File(ctx, file))
	}
	sessionCtx, c, l, err := p.openReadOnly(ctx, o.Timeout)
	if err != nil {
		return reader.Unfinished(ctx, err)
	}
	defer l.Close()
	return reader.Unfinished(sessionCtx, out.Stream(sessionCtx, l, c.Stream))
}
